# SPDX-License-Identifier: Apache-2.0
"""Pictures of house fronts: walls, windows, doors and shops."""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_ros.sim.canvas import Texture
from seg_ros.sim.textures import brick_colour, bricks, cloud_noise, to_uint8, with_levels

PX_M = 36.0  # pixels a metre of the finest level


@dataclass(frozen=True)
class Facade:
    """A house front and what belongs to it."""

    style: str  # shop, terrace, modern or plain
    width_m: float
    height_m: float
    front: Texture
    side: Texture  # the gable wall
    roof: Texture


def make_facade(rng: np.random.Generator, style: str) -> Facade:
    """Draw one house of a style."""
    floors = int({'shop': rng.integers(2, 5), 'terrace': rng.integers(2, 4),
                  'modern': rng.integers(3, 6), 'plain': rng.integers(1, 3)}[style])
    floor_m = float(rng.uniform(2.6, 3.3))
    bays = int(rng.integers(3, 6)) if style != 'modern' else int(rng.integers(5, 9))
    bay_m = float(rng.uniform(2.2, 3.2))
    width, height = bays * bay_m, floors * floor_m + 0.6
    shape = (round(height * PX_M), round(width * PX_M))
    colour = brick_colour(rng)
    wall = _wall(rng, shape, colour, style)
    side = _wall(rng, (shape[0] // 2, 160), colour * 0.92, 'terrace')
    _openings(rng, wall, floors=floors, bays=bays, style=style)
    _weather(rng, wall)
    return Facade(style=style, width_m=width, height_m=height, front=with_levels(wall),
                  side=with_levels(side, count=3), roof=_roof(rng))


def _wall(rng: np.random.Generator, shape: tuple[int, int], colour: NDArray[np.float64],
          style: str) -> NDArray[np.uint8]:
    if style == 'modern' or rng.uniform() < 0.25:
        tone = colour if rng.uniform() < 0.4 else np.array(rng.choice(
            [(214, 210, 200), (186, 186, 182), (128, 132, 136), (226, 220, 204)]))
        wall = np.broadcast_to(tone, (*shape, 3)) + rng.normal(0, 4, (*shape, 1))
        wall = to_uint8(wall)
        if style == 'modern':
            wall[::int(rng.integers(20, 60))] = to_uint8(tone * 0.75)
        return wall
    return bricks(rng, shape, colour, size_px=0.9)


def _openings(rng: np.random.Generator, wall: NDArray[np.uint8], *, floors: int, bays: int,
              style: str) -> None:
    height, width = wall.shape[:2]
    margin = round(0.6 * PX_M)
    floor, bay = (height - margin) / floors, width / bays
    frame = np.array(rng.choice([(232, 230, 224), (236, 236, 236), (70, 62, 54), (40, 44, 50)]))
    wide, tall = rng.uniform(0.34, 0.62), rng.uniform(0.5, 0.68)
    if style == 'modern':
        wide, tall = rng.uniform(0.6, 0.93), rng.uniform(0.5, 0.8)
    lintel = rng.uniform() < 0.6
    for level in range(floors):
        bottom = height - level * floor
        if level == 0 and style == 'shop':
            _shop(rng, wall[round(bottom - floor):round(bottom)])
            continue
        door = int(rng.integers(bays)) if level == 0 else -1
        for column in range(bays):
            x = round((column + 0.5 - wide / 2) * bay)
            w, h = round(wide * bay), round(tall * floor)
            y = round(bottom - floor * 0.28 - h)
            if column == door:
                h, w = round(2.1 * PX_M), round(0.95 * PX_M)
                _door(rng, wall[round(bottom) - h:round(bottom), x:x + w])
            else:
                _window(rng, wall, x, max(0, y), w, h, frame=frame, lintel=lintel)
    cv2.rectangle(wall, (0, 0), (width, round(0.22 * PX_M)),
                  [int(c) for c in rng.integers(60, 215) * np.ones(3)], -1)  # eaves
    if rng.uniform() < 0.7:
        x = int(rng.integers(width))
        cv2.line(wall, (x, 0), (x, height), (40, 40, 42), 3)  # downpipe


def _window(rng: np.random.Generator, wall: NDArray[np.uint8], x: int, y: int, w: int, h: int, *,
            frame: NDArray[np.int64], lintel: bool) -> None:
    border = max(2, round(0.07 * PX_M))
    tone = [int(c) for c in frame]
    if lintel:
        cv2.rectangle(wall, (x - 3, y - 7), (x + w + 3, y), (206, 198, 178), -1)
    cv2.rectangle(wall, (x - 3, y + h), (x + w + 3, y + h + 4), (196, 190, 176), -1)
    cv2.rectangle(wall, (x, y), (x + w, y + h), tone, -1)
    pane = wall[y + border:y + h - border, x + border:x + w - border]
    if pane.size:
        _glass(rng, pane)
    cv2.line(wall, (x, y + h // 2), (x + w, y + h // 2), tone, border)
    for i in range(1, 1 + int(w > 1.3 * PX_M) + int(w > 2.2 * PX_M)):
        at = x + i * w // (2 + int(w > 2.2 * PX_M))
        cv2.line(wall, (at, y), (at, y + h), tone, border)
    cv2.line(wall, (x - 1, y), (x + w, y), (46, 42, 40), 2)  # the reveal's shadow


def _glass(rng: np.random.Generator, pane: NDArray[np.uint8]) -> None:
    """Fill a pane with a dark room, some curtains and a piece of sky."""
    height, width = pane.shape[:2]
    dark = np.array(rng.choice([(34, 38, 44), (52, 58, 64), (78, 88, 98), (24, 24, 28)]))
    ramp = np.linspace(rng.uniform(0.9, 2.0), 0.8, height)[:, None, None]
    pane[:] = to_uint8(dark * ramp + np.zeros((1, width, 1)))
    kind = rng.uniform()
    if kind < 0.3:
        side = max(1, width // 4)
        pane[:, :side] = pane[:, -side:] = rng.integers(110, 210)
    elif kind < 0.45:
        pane[:height // 2] = rng.integers(120, 225)
    elif kind < 0.65:
        shine = np.array([[0, height], [width // 2, 0], [width, 0], [width // 2, height]])
        cv2.fillConvexPoly(pane, shine.astype(np.int32), [int(c) for c in rng.integers(105, 185)
                                                        + np.array([0, 6, 12])])


def _door(rng: np.random.Generator, door: NDArray[np.uint8]) -> None:
    door[:] = rng.choice([(30, 44, 80), (96, 26, 28), (26, 60, 44), (24, 24, 26), (226, 222, 212)])
    door[:8] = (60, 66, 72)
    door[:, :3] = door[:, -3:] = (220, 216, 208)


def _shop(rng: np.random.Generator, strip: NDArray[np.uint8]) -> None:
    """Fill the ground floor with a shop window under its sign board."""
    height, width = strip.shape[:2]
    board = np.array(rng.choice([(28, 70, 52), (120, 24, 30), (26, 34, 84), (36, 34, 34),
                                 (222, 214, 196), (206, 150, 30), (70, 130, 160)]))
    strip[:] = to_uint8(board * 0.9)
    top = round(height * 0.24)
    ink = [int(c) for c in (np.full(3, 235) if board.mean() < 130 else np.full(3, 40))]
    x = round(width * 0.15)
    while x < width * 0.85:  # lettering that nobody has to read
        w = int(rng.integers(4, 11))
        thickness = -1 if rng.uniform() < 0.5 else 2
        cv2.rectangle(strip, (x, top // 3), (x + w, top - 8), ink, thickness)
        x += w + int(rng.integers(3, 9))
    panes = int(rng.integers(2, 5))
    for i in range(panes):
        x0, x1 = round(i * width / panes) + 4, round((i + 1) * width / panes) - 4
        pane = strip[top + 3:height - round(0.35 * PX_M), x0:x1]
        _glass(rng, pane)
        for _ in range(int(rng.integers(0, 7))):  # goods and posters
            px, py = int(rng.integers(pane.shape[1])), int(rng.integers(pane.shape[0]))
            tone = [int(c) for c in rng.integers(30, 245, 3)]
            cv2.rectangle(pane, (px, py), (px + int(rng.integers(4, 26)),
                                           py + int(rng.integers(4, 30))), tone, -1)
    if rng.uniform() < 0.35:
        strip[top:top + 20] = to_uint8(np.repeat(board, 1) * 0.6)  # awning


def _weather(rng: np.random.Generator, wall: NDArray[np.uint8]) -> None:
    stain = 1 + 0.07 * cloud_noise(rng, (64, 64), coarse=4, octaves=3)
    wall[:] = to_uint8(wall * cv2.resize(stain, wall.shape[1::-1])[..., None])


def _roof(rng: np.random.Generator) -> Texture:
    tone = np.array(rng.choice([(92, 92, 98), (116, 82, 66), (78, 76, 76), (132, 122, 108)]))
    rows = np.repeat(rng.normal(1, 0.12, (32, 64)), 2, axis=1)
    picture = np.repeat(rows, 4, axis=0)
    picture[::4] *= 0.8
    return with_levels(to_uint8(tone * picture[..., None] + rng.normal(0, 5, (128, 128, 1))),
                       count=4)
