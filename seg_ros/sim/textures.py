# SPDX-License-Identifier: Apache-2.0
"""Tiles and pictures of materials: ground, sky, railings, hedges, the far skyline."""
from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_ros.sim.canvas import Texture

Colour = tuple[int, int, int]


def cloud_noise(rng: np.random.Generator, shape: tuple[int, int], *, coarse: int = 4,
                octaves: int = 4, fade: float = 0.6) -> NDArray[np.float32]:
    """Return smooth noise (h, w) that tiles, with mean 0 and standard deviation 1."""
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        rows = min(height, max(2, coarse * height // max(height, width) << octave))
        columns = min(width, max(2, coarse * width // max(height, width) << octave))
        grid = np.pad(rng.standard_normal((rows, columns), np.float32), 2, mode='wrap')
        across = width // columns
        if (columns + 2) * across < width:
            across += 1  # the grid must reach over any width
        up = cv2.resize(grid, ((columns + 4) * across, (rows + 4) * (height // rows)),
                        interpolation=cv2.INTER_CUBIC)
        top, left = 2 * (height // rows), 2 * across
        piece = np.resize(up[top:top + height, left:left + width], shape) \
            if up.shape[0] < top + height else up[top:top + height, left:left + width]
        total += piece * fade ** octave
    return (total - total.mean()) / max(float(total.std()), 1e-6)


def to_uint8(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Round and clip to 0..255."""
    return np.clip(values, 0, 255).astype(np.uint8)


def with_levels(picture: NDArray[np.uint8], ink: NDArray[np.uint8] | None = None,
                count: int = 5) -> Texture:
    """Return a texture with `count` levels, each half as large."""
    opaque = np.full(picture.shape[:2], 255, np.uint8)
    levels = [np.dstack([picture, opaque if ink is None else ink])]
    for _ in range(count - 1):
        size = (max(1, levels[-1].shape[1] // 2), max(1, levels[-1].shape[0] // 2))
        levels.append(cv2.resize(levels[-1], size, interpolation=cv2.INTER_AREA))
    return Texture(levels=tuple(levels), opaque=ink is None)


def asphalt_tile(rng: np.random.Generator, size: int = 512) -> NDArray[np.uint8]:
    """Return grain around 128 (size, size): stones, stains and cracks."""
    grain = rng.standard_normal((size, size), np.float32)
    tile = 128 + rng.uniform(5, 12) * grain + rng.uniform(2, 6) * cloud_noise(
        rng, (size, size), coarse=32, octaves=2)
    tile = to_uint8(tile)
    for _ in range(int(rng.integers(0, 5))):
        _crack(rng, tile)
    return tile


def _crack(rng: np.random.Generator, tile: NDArray[np.uint8]) -> None:
    size = tile.shape[0]
    steps = rng.normal(0, 14, (14, 2)) + rng.normal(0, 14, 2)
    points = (rng.uniform(0, size, 2) + np.cumsum(steps, axis=0)).astype(np.int32)
    cv2.polylines(tile, [points], False, int(rng.integers(70, 105)), 1, cv2.LINE_AA)


def worn_tile(rng: np.random.Generator, size: int = 512) -> NDArray[np.uint8]:
    """Return coarse light and dark places around 128 (size, size)."""
    tile = 128 + rng.uniform(4, 11) * cloud_noise(rng, (size, size), coarse=8, octaves=5)
    picture = to_uint8(tile)
    for _ in range(int(rng.integers(8, 40))):  # repairs with straight edges
        x, y = rng.integers(0, size, 2).tolist()
        w, h = int(rng.integers(3, 22)), int(rng.integers(5, 60))
        shade = picture[y:y + h, x:x + w]
        cv2.add(shade, float(rng.normal(-6, 14)), dst=shade)
    return cv2.GaussianBlur(picture, (0, 0), 0.6)


def slab_tile(rng: np.random.Generator, size: int = 512, slab: int = 39) -> NDArray[np.uint8]:
    """Return paving slabs with joints around 128 (size, size)."""
    rows, columns = size // slab + 1, size // (2 * slab) + 2
    tone = rng.normal(128, 9, (rows, columns)).astype(np.float32)
    tile = np.empty((size, size), np.float32)
    for row in range(rows):
        line = np.repeat(tone[row], 2 * slab)
        shift = slab if row % 2 else 0
        tile[row * slab:(row + 1) * slab] = line[shift:shift + size]
        tile[row * slab:row * slab + 2] -= 26
        for x in range(-shift % (2 * slab), size, 2 * slab):
            tile[row * slab:(row + 1) * slab, x:x + 2] -= 22
    return to_uint8(tile + 6 * rng.standard_normal((size, size), np.float32))


def grass_tile(rng: np.random.Generator, size: int = 512) -> NDArray[np.uint8]:
    """Return blades and tufts around 128 (size, size)."""
    tile = 128 + 16 * rng.standard_normal((size, size), np.float32)
    tile += 17 * cloud_noise(rng, (size, size), coarse=16, octaves=4, fade=0.8)
    return cv2.GaussianBlur(to_uint8(tile), (3, 3), 0)


def sky_panorama(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a sky (h, w, 3), zenith at the top, from blinding overcast to blue with clouds."""
    height, width = shape
    kind = rng.choice(['white', 'grey', 'blue', 'dusk'], p=[0.38, 0.22, 0.3, 0.1])
    zenith, horizon = {'white': ((236, 240, 246), (250, 250, 250)),
                       'grey': ((150, 158, 170), (214, 218, 222)),
                       'blue': ((112, 160, 220), (216, 230, 243)),
                       'dusk': ((96, 108, 130), (204, 190, 176))}[str(kind)]
    zenith = np.array(zenith) + rng.normal(0, 8, 3)
    ramp = np.linspace(0, 1, height)[:, None, None] ** 0.8
    sky = (zenith * (1 - ramp) + np.array(horizon) * ramp).astype(np.float32)
    sky = np.repeat(sky, width, axis=1)
    small = cloud_noise(rng, (height // 4, width // 4), coarse=10, octaves=5, fade=0.62)
    noise = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    cover = {'white': 0.5, 'grey': 0.8, 'blue': rng.uniform(0.0, 0.75), 'dusk': 0.7}[str(kind)]
    veil = np.clip((noise + 2.2 * cover - 1.0) * 0.6, 0, 1)[..., None] * (0.35 + 0.5 * cover)
    cloud = np.array(horizon, np.float32) * (0.97 - 0.10 * np.clip(noise, -1, 1.6))[..., None]
    return to_uint8(sky * (1 - veil) + cloud * veil)


def hedge_texture(rng: np.random.Generator) -> Texture:
    """Return a clipped hedge, 7.5 m long."""
    base = np.array(rng.choice([(62, 82, 44), (48, 66, 40), (84, 92, 52), (88, 74, 54)]))
    noise = cloud_noise(rng, (256, 512), coarse=32, octaves=4, fade=0.9)
    light = 1 + 0.33 * noise + 0.25 * np.linspace(1, -1, 256, dtype=np.float32)[:, None]
    picture = to_uint8(base * np.clip(light, 0.25, 2.2)[..., None]
                       + rng.normal(0, 7, (256, 512, 3)))
    return with_levels(picture, count=4)


def wall_texture(rng: np.random.Generator) -> Texture:
    """Return a low garden wall, 7.5 m long."""
    picture = bricks(rng, (112, 512), brick_colour(rng))
    picture[:9] = to_uint8(picture[:9] * 0.4 + rng.integers(90, 170))
    return with_levels(picture, count=4)


def brick_colour(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return one of the colours that Cambridge is built of."""
    palette = [(176, 158, 122), (190, 172, 134), (134, 84, 64), (152, 104, 80), (118, 102, 84),
               (160, 140, 112), (96, 80, 70)]
    return np.array(palette[int(rng.integers(len(palette)))]) * rng.uniform(0.8, 1.15)


def bricks(rng: np.random.Generator, shape: tuple[int, int],
           colour: NDArray[np.float64], size_px: float = 1.0) -> NDArray[np.uint8]:
    """Return brickwork (h, w, 3); a brick is about 12 x 4 `size_px`."""
    height, width = shape
    bh, bw = max(2, round(4 * size_px)), max(4, round(12 * size_px))
    rows, columns = height // bh + 1, width // bw + 2
    tone = rng.normal(1, 0.13, (rows, columns, 1)) * colour + rng.normal(0, 4, (rows, columns, 3))
    picture = np.repeat(np.repeat(tone.astype(np.float32), bh, axis=0), bw, axis=1)
    odd = np.roll(picture, bw // 2, axis=1)
    stripe = (np.arange(picture.shape[0]) // bh % 2).astype(bool)
    picture[stripe] = odd[stripe]
    picture[::bh] = picture[::bh] * 0.5 + 0.5 * (colour * 0.8 + 40)
    stain = 1 + 0.08 * cloud_noise(rng, (64, 64), coarse=3, octaves=3)
    picture = picture[:height, :width] * cv2.resize(stain, (width, height))[..., None]
    return to_uint8(picture + 5 * rng.standard_normal((height, width, 1), np.float32))


def railing_texture(rng: np.random.Generator) -> Texture:
    """Return a fence, 7.5 m long, with its ink: railings, mesh, guard rail or boards."""
    kind = str(rng.choice(['bars', 'bars', 'guard', 'mesh', 'boards']))
    shape = (128, 512)
    colour = np.array(rng.choice([(28, 30, 32), (150, 154, 158), (52, 74, 60), (216, 216, 212)]))
    picture = np.broadcast_to(colour, (*shape, 3)).astype(np.float32)
    ink = np.zeros(shape, np.uint8)
    if kind == 'boards':
        wood = np.array(rng.choice([(128, 98, 70), (104, 88, 76), (150, 124, 92)]))
        tone = np.repeat(rng.normal(1, 0.1, 32), 16)[None, :, None]
        picture = wood * tone * np.ones((*shape, 3), np.float32)
        picture[:, ::16] *= 0.5
        ink[:] = 255
    elif kind == 'mesh':
        for i in range(-128, 512, 12):
            cv2.line(ink, (i, 0), (i + 128, 128), 255, 2)
            cv2.line(ink, (i + 128, 0), (i, 128), 255, 2)
    elif kind == 'bars':
        ink[:, 3::13] = ink[:, 4::13] = ink[:, 5::13] = ink[:, 6::13] = 255
    else:
        ink[:, 4::22] = ink[:, 5::22] = ink[:, 6::22] = 255
        ink[52:60] = 255
    ink[6:15] = ink[108:116] = 255
    ink[:, :9] = ink[:, 256:265] = 255
    picture = picture + 6 * rng.standard_normal((*shape, 1), np.float32)
    return with_levels(to_uint8(picture), ink, count=4)


def skyline(rng: np.random.Generator, height: int = 64,
            width: int = 2048) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the far horizon all around: picture (h, w, 3) and class ids (h, w), 0 = sky."""
    picture = np.full((height, width, 3), 200, np.uint8)
    classes = np.zeros((height, width), np.uint8)
    leafy = rng.uniform(0.3, 0.9)
    x = 0
    while x < width:
        run = int(rng.integers(14, 70))
        top = int(rng.integers(8, 46))
        piece = slice(x, min(width, x + run))
        if rng.uniform() < leafy:
            crown = top + 7 * np.sin(np.linspace(0, math.pi, run)) + rng.normal(0, 1.5, run)
            rows = np.arange(height)[:, None] >= height - crown[None, :piece.stop - x]
            tone = np.array((86, 90, 72)) * rng.uniform(0.7, 1.25)
            noise = 1 + 0.2 * rng.standard_normal((height, piece.stop - x, 1))
            picture[:, piece][rows] = to_uint8(tone * noise)[rows]
            classes[:, piece][rows] = 5
        else:
            rows = np.broadcast_to(np.arange(height)[:, None] >= height - top,
                                   (height, piece.stop - x))
            tone = brick_colour(rng) * rng.uniform(0.7, 1.0)
            wall = np.broadcast_to(tone, (height, piece.stop - x, 3)).copy()
            wall[height - top + 3::6, 2::5] *= 0.6
            wall[height - top:height - top + 5] = (98, 92, 92)
            picture[:, piece][rows] = to_uint8(wall)[rows]
            classes[:, piece][rows] = 1
        x += run
    return picture, classes
