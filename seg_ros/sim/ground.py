# SPDX-License-Identifier: Apache-2.0
"""The flat ground: road, pavement, grass, markings, textures and shadows."""
from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_ros.sim.canvas import Canvas, SUBPIXEL_BITS
from seg_ros.sim.classes import PAVEMENT, ROAD, TREE
from seg_ros.sim.path import LocalRoad, Road
from seg_ros.sim.textures import asphalt_tile, grass_tile, slab_tile, worn_tile
from seg_ros.sim.world import Chunk

FINE_PX_M, COARSE_PX_M, GRASS_PX_M = 64.0, 10.0, 32.0
TILE_PX = 512  # the period of all tiles
REACH_M = 190.0
_STATIONS = np.array([1.5, 3, 4, 5, 6, 7.5, 9, 11, 13, 16, 20, 25, 31, 38, 46, 56, 68, 82, 98, 116,
                      140, REACH_M])
_QUAD_ALONG = np.array([[0, 1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3, 0]])
_QUAD_ACROSS = np.array([[0, 0, 0, 0, 1, 1, 1, 1.0]])
Points = NDArray[np.float64]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class GroundLook:
    """Materials of one seed."""

    fine: tuple[NDArray[np.uint8], ...]  # asphalt by halving resolution
    coarse: NDArray[np.uint8]
    slabs: NDArray[np.uint8]
    grass: NDArray[np.uint8]
    road: tuple[int, int, int]
    pavement: tuple[int, int, int]
    lawn: tuple[int, int, int]
    paint: tuple[int, int, int]
    kerb: tuple[int, int, int]
    yellow: bool
    dash_m: tuple[float, float]  # length, gap
    edge_lines: bool


def random_ground(rng: np.random.Generator) -> GroundLook:
    """Draw the materials of one seed."""
    def grey(low: float, high: float, tint: float = 3.0) -> tuple[int, int, int]:
        r, g, b = (rng.uniform(low, high) + rng.normal(0, tint, 3)).astype(int).tolist()
        return r, g, b
    fine = asphalt_tile(rng)
    half = cv2.resize(np.tile(fine, (2, 2)), (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA)

    def spread(tile: NDArray[np.uint8], rows: int = 4) -> NDArray[np.uint8]:
        return np.tile(tile, (rows, 4))  # looking up inside a picture is fast, wrapping is slow
    lawns = [(92, 104, 58), (74, 92, 48), (112, 108, 70)]
    r, g, b = lawns[int(rng.integers(3))]
    return GroundLook(fine=(spread(fine), spread(half)), coarse=spread(worn_tile(rng), 5),
                      slabs=spread(slab_tile(rng)),
                      grass=spread(grass_tile(rng)), road=grey(72, 128),
                      pavement=grey(110, 168, 6),
                      lawn=(r, g, b), paint=grey(185, 232), kerb=grey(130, 185),
                      yellow=bool(rng.uniform() < 0.5),
                      dash_m=((4.0, 2.0), (2.0, 4.0), (6.0, 3.0))[int(rng.integers(3))],
                      edge_lines=bool(rng.uniform() < 0.3))


class Ground:
    """Paints the ground of one frame."""

    def __init__(self, canvas: Canvas, road: Road, local: LocalRoad, look: GroundLook,
                 s: float) -> None:
        """Prepare to paint around road distance s."""
        self._canvas, self._road, self._local, self._look, self._s = canvas, road, local, look, s
        self._tags = {c: canvas.new_tag(c) for c in (ROAD, PAVEMENT, TREE)}
        self._pending: list[tuple[tuple[float, float], tuple[float, float], Colour,
                                  int | None]] = []
        self._shade = np.full((canvas.height, canvas.width), 255, np.uint8)
        self._top = self._horizon_row()

    def paint(self, chunks: list[Chunk]) -> None:
        """Paint all that is flat, without texture and shadow."""
        self._base()
        for chunk in chunks:
            self._yards(chunk)
        self._flush()
        self._strips()
        for chunk in chunks:
            self._side_road(chunk)
        self._road_strip()
        self._wear()
        self._markings(chunks)
        self._flush()

    def shadow(self, level_points: Points, shade: int) -> None:
        """Darken a polygon (N, 3) of ground points to shade / 255."""
        pixels = self._pixels(level_points)
        if pixels is not None:
            cv2.fillPoly(self._shade, [pixels], shade, shift=SUBPIXEL_BITS)

    def finish(self) -> None:
        """Lay texture and shadows over the painted ground."""
        canvas, top = self._canvas, self._top
        if top >= canvas.height:
            return
        detail = self._detail(top)
        shade = cv2.blur(self._shade[top:], (7, 3))
        detail = cv2.multiply(detail, shade, scale=1 / 255)
        image = canvas.image[top:]
        cv2.copyTo(cv2.multiply(image, cv2.merge([detail] * 4), scale=1 / 128),
                   (canvas.tag[top:] > 0).view(np.uint8), image)

    def _horizon_row(self) -> int:
        """Return the first row with ground that is nearer than the reach."""
        a, b, c = self._canvas.view.ground_plane()
        width = self._canvas.width - 1
        row = (1 / (2 * REACH_M) - c - np.array([0.0, a * width])) / b
        return int(np.clip(math.floor(row.min()), 0, self._canvas.height))

    def _base(self) -> None:
        """Fill everything below the horizon with grass."""
        canvas = self._canvas
        rows = slice(self._top, canvas.height)
        a, b, c = canvas.view.ground_plane()
        across, down = np.arange(canvas.width) * a, np.arange(canvas.height)[rows, None] * b + c
        inverse = np.empty((len(down), len(across)), np.float32)
        np.add(across, down, out=inverse, casting='same_kind')
        below = inverse > np.float32(1 / (2 * REACH_M))
        np.copyto(canvas.inverse_depth[rows], inverse, where=below)
        np.copyto(canvas.tag[rows], np.uint16(self._tags[TREE]), where=below)
        lawn = np.empty((*inverse.shape, 4), np.uint8)
        cv2.rectangle(lawn, (0, 0), inverse.shape[::-1], (*self._look.lawn, 0), -1)
        cv2.copyTo(lawn, below.view(np.uint8), canvas.image[rows])

    def _pixels(self, level_points: Points) -> NDArray[np.int32] | None:
        """Return subpixels (N, 2) of ground points, None where nothing of them is in view."""
        optical = self._canvas.view.to_optical(level_points)
        depth = optical[:, 2]
        if depth.max() < 0.8:
            return None
        if depth.min() < 0.8:  # what is nearer lies below the picture's lower edge
            optical[:, 2] = np.maximum(depth, 0.8)
        pixels = self._canvas.view.project(optical)
        low, high = pixels.min(axis=0).tolist(), pixels.max(axis=0).tolist()
        if high[0] < 0 or high[1] < 0 or low[0] >= self._canvas.width \
                or low[1] >= self._canvas.height:
            return None
        return _fixed(pixels)

    def _fill(self, level_points: Points, colour: tuple[int, int, int],
              class_id: int | None) -> None:
        """Fill a polygon (N, 3); class None keeps the label (paint on the road)."""
        pixels = self._pixels(level_points)
        if pixels is not None:
            self._fill_pixels([pixels], colour, class_id)

    def _fill_pixels(self, pixels: list[NDArray[np.int32]], colour: Colour,
                     class_id: int | None) -> None:
        line = cv2.LINE_AA if class_id is None else cv2.LINE_8
        cv2.fillPoly(self._canvas.image, pixels, colour, lineType=line, shift=SUBPIXEL_BITS)
        if class_id is not None:
            cv2.fillPoly(self._canvas.tag, pixels, self._tags[class_id], shift=SUBPIXEL_BITS)

    def _quad(self, s0: float, s1: float, d0: float, d1: float, colour: tuple[int, int, int],
              class_id: int | None = None) -> None:
        """Fill a rectangle in road coordinates, s relative to the camera."""
        if s1 < 1.0 or s0 > REACH_M:
            return
        self._pending.append(((max(s0, 1.0), min(s1, REACH_M)), (d0, d1), colour, class_id))

    def _flush(self) -> None:
        """Fill the rectangles that were asked for, in their order."""
        if not self._pending:
            return
        ends = np.array([s for s, _, _, _ in self._pending])  # (N, 2)
        sides = np.array([d for _, d, _, _ in self._pending])
        s = ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * _QUAD_ALONG
        d = sides[:, :1] + (sides[:, 1:] - sides[:, :1]) * _QUAD_ACROSS
        optical = self._canvas.view.to_optical(self._local.to_level(s, d).reshape(-1, 3))
        optical[:, 2] = np.maximum(optical[:, 2], 0.8)
        fixed = _fixed(self._canvas.view.project(optical)).reshape(-1, 8, 2)
        for (colour, class_id), group in groupby(
                zip(self._pending, fixed, strict=True), key=lambda pair: pair[0][2:]):
            self._fill_pixels([shape for _, shape in group], colour, class_id)
        self._pending.clear()

    def _strip(self, d0: Points, d1: Points, colour: tuple[int, int, int],
               class_id: int | None) -> None:
        there = self._local.to_level(np.concatenate([_STATIONS, _STATIONS[::-1]]),
                                     np.concatenate([d0, d1[::-1]]))
        self._fill(there, colour, class_id)

    def _yards(self, chunk: Chunk) -> None:
        """Pave what lies behind the pavement, except in parks and gardens."""
        s0 = chunk.number * 40.0 - self._s
        kerb = float(self._road.half_width(chunk.number * 40.0))
        for side, zone in zip((-1, 1), chunk.zones, strict=True):
            if zone in ('shops', 'modern', 'terrace'):
                self._quad(s0, s0 + 40.0, side * kerb, side * (kerb + 14.0),
                           self._look.pavement, PAVEMENT)

    def _strips(self) -> None:
        kerb = self._road.half_width(_STATIONS + self._s)
        for side, width in zip((-1, 1), self._road.pavement_m, strict=True):
            self._strip(side * kerb, side * (kerb + width), self._look.pavement, PAVEMENT)
            self._strip(side * kerb, side * (kerb + 0.16), self._look.kerb, PAVEMENT)

    def _side_road(self, chunk: Chunk) -> None:
        junction = chunk.junction
        if junction is None:
            return
        s0, s1 = junction.s0 - self._s, junction.s1 - self._s
        kerb = float(self._road.half_width(junction.s0))
        for side, there in ((-1, junction.left), (1, junction.right)):
            if not there:
                continue
            self._quad(s0 - 0.4, s1 + 0.4, side * kerb, side * (kerb + 40), self._look.pavement,
                       PAVEMENT)
            self._quad(s0 + 1.3, s1 - 1.3, side * (kerb - 0.3), side * (kerb + 60),
                       self._look.road, ROAD)
            self._flush()
            for at, way in ((s0 + 1.3, -1), (s1 - 1.3, 1)):
                if at > 1.5:
                    corner = self._local.to_level(
                        np.array([at, at + way * 2.6, at]),
                        side * np.array([kerb - 0.2, kerb - 0.2, kerb + 2.4]))
                    self._fill(corner, self._look.road, ROAD)

    def _road_strip(self) -> None:
        kerb = self._road.half_width(_STATIONS + self._s)
        self._strip(-kerb, kerb, self._look.road, ROAD)

    def _wear(self) -> None:
        """Darken or lighten the wheels' tracks and set covers and repairs into the road."""
        lane = self._road.lane_m
        worn = tuple(int(c * 1.06) for c in self._look.road)
        for d in (-lane * 0.74, -lane * 0.26, lane * 0.26, lane * 0.74):
            flat = np.full(len(_STATIONS), d)
            self._strip(flat - 0.22, flat + 0.22, (worn[0], worn[1], worn[2]), None)
        first = int(self._s // 9)
        for cell in range(first, first + 7):
            place = (cell * 2654435761 + 12345) % 1000003
            s = cell * 9 + place % 7 - self._s
            d = -lane + (place // 7 % 100) / 50 * lane
            tone = 0.72 + (place // 700 % 50) / 100
            colour = tuple(int(c * tone) for c in self._look.road)
            size = (0.6, 0.6) if place % 3 else (1.2 + place % 5, 0.9)
            self._quad(s, s + size[0], d, d + size[1], (colour[0], colour[1], colour[2]))

    def _markings(self, chunks: list[Chunk]) -> None:
        look, lane = self._look, self._road.lane_m
        dash, gap = look.dash_m
        step = dash + gap
        first = math.floor(self._s / step)
        for i in range(first, first + int(90 / step)):
            self._quad(i * step - self._s, i * step + dash - self._s, -0.06, 0.06, look.paint)
        kerb = self._road.half_width(_STATIONS + self._s)
        if look.yellow:
            for side in (-1, 1):
                for inset in (0.3, 0.52):
                    self._strip(side * (kerb - inset), side * (kerb - inset - 0.09),
                                (196, 164, 58), None)
        if look.edge_lines or self._road.parking_m > 1:
            for side in (-1, 1):
                flat = np.full(len(_STATIONS), side * lane)
                self._strip(flat, flat + 0.1, look.paint, None)
        for chunk in chunks:
            self._crossing(chunk)

    def _crossing(self, chunk: Chunk) -> None:
        look = self._look
        if chunk.crossing is not None:
            s0, s1 = chunk.crossing.s0 - self._s, chunk.crossing.s1 - self._s
            half = float(self._road.half_width(chunk.crossing.s0))
            for i, d in enumerate(np.arange(-half, half - 0.3, 0.6).tolist()):
                if i % 2 == 0:
                    self._quad(s0, s1, d, d + 0.6, look.paint)
            for i in range(6):  # zigzag lines on both sides
                for edge, way in ((s0 - 1.2, -1), (s1 + 1.2, 1)):
                    for middle in (0.0, -half + 0.5, half - 0.5):
                        shift = 0.25 * (-1) ** i
                        self._quad(edge + way * i * 2, edge + way * i * 2 + 1.9, middle + shift,
                                   middle + shift + 0.1, look.paint)
        if chunk.junction is not None:
            s0 = chunk.junction.s0 - self._s
            if chunk.number % 2:
                self._quad(s0 - 2.0, s0 - 1.7, -self._road.lane_m, 0.0, look.paint)

    def _detail(self, top: int) -> NDArray[np.uint8]:
        """Return the texture of all rows from `top` (h, W), 128 = plain."""
        canvas, look = self._canvas, self._look
        detail = self._warp(look.coarse, COARSE_PX_M, top, canvas.height)
        near, middle = self._row_at(7.0), self._row_at(17.0)
        for image, scale, first, last in ((look.fine[1], FINE_PX_M / 2, middle, near),
                                          (look.fine[0], FINE_PX_M, near, canvas.height)):
            if first < last:
                piece = detail[first - top:last - top]
                cv2.multiply(self._warp(image, scale, first, last), piece, dst=piece,
                             scale=1 / 128)
        for class_id, tile, px_m, until_m in ((PAVEMENT, look.slabs, FINE_PX_M, 24.0),
                                              (TREE, look.grass, GRASS_PX_M, 48.0)):
            first = self._row_at(until_m)
            mask = (canvas.tag[first:] == self._tags[class_id]).view(np.uint8)
            _, y, _, rows = cv2.boundingRect(mask)
            if rows:
                last = first + y + rows
                cv2.copyTo(self._warp(tile, px_m, first, last), mask[:last - first],
                           detail[first - top:last - top])
        return detail

    def _row_at(self, distance_m: float) -> int:
        """Return the row that the ground at a distance reaches in the middle of the image."""
        a, b, c = self._canvas.view.ground_plane()
        row = (1 / distance_m - c - a * self._canvas.width / 2) / b
        return int(np.clip(row, self._top, self._canvas.height))

    def _warp(self, tile: NDArray[np.uint8], px_m: float, first: int,
              last: int) -> NDArray[np.uint8]:
        """Look up a tile for rows first..last: one homography from pixel to ground."""
        canvas = self._canvas
        rays = canvas.view.level_rays()
        period = TILE_PX / px_m
        middle = tile.shape[1] / px_m / 2
        shift_x, shift_z = self._local.camera_d + middle, self._s % period
        h = canvas.view.height_m
        to_tile = np.stack([px_m * (h * rays[0] + shift_x * rays[1]),
                            px_m * (h * rays[2] + shift_z * rays[1]), rays[1]])
        to_tile[:, 2] += to_tile[:, 1] * first
        return cv2.warpPerspective(tile, to_tile, (canvas.width, last - first),
                                   flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                                   borderMode=cv2.BORDER_WRAP)


def _fixed(pixels: Points) -> NDArray[np.int32]:
    """Return pixels (N, 2) in OpenCV's fixed point, kept where it does not overflow."""
    kept = np.maximum(np.minimum(pixels, 30000.0), -30000.0)
    return np.rint(kept * (1 << SUBPIXEL_BITS)).astype(np.int32)
