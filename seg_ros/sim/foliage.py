# SPDX-License-Identifier: Apache-2.0
"""Pictures of trees and bushes: leafy, evergreen and bare."""
from __future__ import annotations

from dataclasses import dataclass
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_ros.sim.textures import cloud_noise, to_uint8

SIZE = 320
_LEAVES = ((66, 80, 42), (50, 64, 36), (88, 92, 52), (40, 52, 36), (106, 96, 64), (98, 88, 74),
           (72, 76, 60), (84, 74, 62), (58, 70, 50))


@dataclass(frozen=True)
class TreeSprite:
    """A tree as a flat picture; its foot is the middle of the lower edge."""

    levels: tuple[NDArray[np.uint8], ...]  # (h, w, 4): red, green, blue, ink
    masks: tuple[NDArray[np.uint8], ...]  # (h, w): 255 where the label is tree
    aspect: float  # width / height


def make_tree(rng: np.random.Generator, kind: str) -> TreeSprite:
    """Draw a tree: 'leafy', 'bare', 'conifer' or 'bush'."""
    if kind == 'bare':
        picture, mask = _bare(rng)
    else:
        picture, mask = _leafy(rng, kind)
    levels, masks = [picture], [mask]
    for _ in range(4):
        size = (levels[-1].shape[1] // 2, levels[-1].shape[0] // 2)
        levels.append(cv2.resize(levels[-1], size, interpolation=cv2.INTER_AREA))
        masks.append(cv2.resize(masks[-1], size, interpolation=cv2.INTER_AREA))
    aspect = {'leafy': rng.uniform(0.6, 1.0), 'bare': rng.uniform(0.6, 0.95),
              'conifer': rng.uniform(0.35, 0.6), 'bush': rng.uniform(1.2, 2.4)}[kind]
    return TreeSprite(levels=tuple(levels), masks=tuple(masks), aspect=float(aspect))


def _leafy(rng: np.random.Generator,
           kind: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pile up blobs of leaves, lit from above, over a trunk."""
    hull = np.zeros((SIZE, SIZE), np.uint8)
    relief = np.zeros((SIZE, SIZE), np.float32)
    for x, y, radius in _blobs(rng, kind):
        cv2.circle(hull, (x, y), radius, 255, -1)
        cv2.circle(relief, (x, y - radius // 4), max(2, int(radius * 0.75)),
                   float(rng.uniform(-0.6, 0.9)), -1)
    ragged = cloud_noise(rng, (SIZE, SIZE), coarse=20, octaves=4, fade=0.85)
    soft = cv2.GaussianBlur(hull, (0, 0), 9).astype(np.float32)
    mask = ((soft + 46 * ragged > 128) & (soft > 30)).astype(np.uint8) * 255
    mask[:2] = mask[:, :2] = mask[:, -2:] = 0
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    base = np.array(rng.choice(_LEAVES)) * rng.uniform(0.65, 1.1)
    clumps = cloud_noise(rng, (SIZE, SIZE), coarse=20, octaves=2)
    grain = cloud_noise(rng, (SIZE, SIZE), coarse=80, octaves=2, fade=1.0)
    light = (1 + 0.22 * cv2.GaussianBlur(relief, (0, 0), 7) + 0.26 * clumps + 0.3 * grain
             + np.linspace(0.25, -0.35, SIZE, dtype=np.float32)[:, None])
    picture = np.empty((SIZE, SIZE, 4), np.uint8)
    tint = 1 + 0.06 * clumps[..., None] * np.array([1.0, 0.6, -0.4], np.float32)
    picture[..., :3] = to_uint8(base * np.clip(light, 0.15, 2.3)[..., None] * tint)
    holes = (grain + 0.6 * ragged > rng.uniform(1.5, 2.8)) & (clumps < 0.4)
    picture[..., 3] = np.where(holes, 0, mask)
    if kind != 'bush':
        _trunk(rng, picture, mask, bottom_of_crown=int(SIZE * 0.75))
    return picture, mask


def _blobs(rng: np.random.Generator, kind: str) -> list[tuple[int, int, int]]:
    if kind == 'conifer':
        return [(int(SIZE / 2 + rng.normal(0, 5)), int(y), int(10 + (y / SIZE) * SIZE * 0.36))
                for y in np.linspace(20, SIZE * 0.62, 14)]
    if kind == 'bush':
        return [(int(rng.uniform(50, SIZE - 50)), int(rng.uniform(130, SIZE - 20)),
                 int(rng.uniform(40, 90))) for _ in range(16)]
    blobs = []
    for _ in range(34):
        angle, reach = rng.uniform(0, 2 * math.pi), math.sqrt(rng.uniform(0, 1))
        blobs.append((int(SIZE * (0.5 + 0.32 * reach * math.cos(angle))),
                      int(SIZE * (0.42 + 0.27 * reach * math.sin(angle))),
                      int(rng.uniform(0.05, 0.13) * SIZE)))
    return blobs


def _trunk(rng: np.random.Generator, picture: NDArray[np.uint8], mask: NDArray[np.uint8],
           bottom_of_crown: int) -> None:
    half = int(rng.uniform(4, 9))
    x = SIZE // 2
    tone = [int(c) for c in np.array((70, 60, 50)) * rng.uniform(0.6, 1.3)]
    shape = np.array([[x - half, SIZE - 1], [x - half + 2, bottom_of_crown - 30],
                      [x + half - 2, bottom_of_crown - 30], [x + half, SIZE - 1]])
    free = np.zeros_like(mask)
    cv2.fillConvexPoly(free, shape, 255)
    free[mask > 0] = 0
    picture[free > 0] = (*tone, 255)
    mask[free > 0] = 255


def _bare(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Grow branches; the label covers the crown they span, as annotators draw it."""
    ink = np.zeros((SIZE, SIZE), np.uint8)
    tips: list[tuple[float, float]] = []
    stack = [(SIZE / 2, SIZE - 1.0, -math.pi / 2 + rng.normal(0, 0.04), SIZE * 0.205,
              rng.uniform(8, 13), 0)]
    spread = rng.uniform(0.35, 0.6)
    while stack:
        x, y, angle, length, width, depth = stack.pop()
        x1, y1 = x + length * math.cos(angle), y + length * math.sin(angle)
        cv2.line(ink, (int(x), int(y)), (int(x1), int(y1)), 255, max(1, int(width)))
        if depth >= 8 or length < 5:
            tips.append((x1, y1))
            continue
        for _ in range(2 if depth < 4 else int(rng.integers(1, 4))):
            stack.append((x1, y1, angle + rng.normal(0, spread) - 0.06 * math.cos(angle),
                          length * rng.uniform(0.66, 0.9), width * 0.66, depth + 1))
    hull = np.zeros_like(ink)
    for x, y in tips:
        cv2.circle(hull, (int(x), int(y)), 12, 255, -1)
    hull = cv2.morphologyEx(hull, cv2.MORPH_CLOSE,
                            cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (37, 37)))
    thick = cv2.GaussianBlur(hull, (0, 0), 12) / 255.0  # twigs are denser inside
    twigs = rng.uniform(0, 1, ink.shape) < rng.uniform(0.15, 0.5) * thick
    mask = cv2.max(hull, ink)
    tone = np.array((74, 66, 60)) * rng.uniform(0.55, 1.2)
    picture = np.empty((*ink.shape, 4), np.uint8)
    picture[..., :3] = to_uint8(tone * (1 + 0.15 * rng.standard_normal((*ink.shape, 1))))
    picture[..., 3] = np.where(twigs & (hull > 0), 255, ink)
    return picture, mask
