# SPDX-License-Identifier: Apache-2.0
"""Depth images to points in space: one point a pixel, organised as the image."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seg_ros.core.pinhole import Pinhole
from seg_ros.core.types import look_up

POINT = np.dtype([('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('rgb', '<u4'), ('label', '<u4'),
                  ('instance', '<u4')])
"""One labelled point; rgb holds 0x00RRGGBB, the bits that PCL and RViz call a float32."""


@dataclass(frozen=True, eq=False)
class PointMap:
    """Where each pixel of an image is: metres, optical frame, NaN where nothing was measured."""

    x: NDArray[np.float32]  # (H, W)
    y: NDArray[np.float32]  # (H, W)
    z: NDArray[np.float32]  # (H, W)

    def __post_init__(self) -> None:
        """Raise ValueError where the planes differ."""
        for name in ('x', 'y', 'z'):
            plane = getattr(self, name)
            if plane.dtype != np.float32 or plane.ndim != 2 or plane.shape != self.z.shape:
                raise ValueError(f'{name} is {plane.dtype} {plane.shape}, expected float32 '
                                 f'{self.z.shape}')

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Return where there is a point (H, W)."""
        return np.isfinite(self.z)

    def take(self, flat: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the points (N, 3) of flat pixel numbers (N,)."""
        return np.stack([plane.ravel()[flat] for plane in (self.x, self.y, self.z)], axis=1)


def metres_of(raw: NDArray[np.uint16] | NDArray[np.float32], *, min_m: float = 0.0,
              max_m: float = np.inf) -> NDArray[np.float32]:
    """Return an (H, W) depth image in metres with NaN where it is invalid or out of range.

    As REP 118 has it: uint16 counts millimetres and 0 is invalid; float32 is in metres. There,
    NaN, both infinities, 0 and what is below it are all invalid here.
    """
    if raw.dtype not in (np.uint16, np.float32):
        raise ValueError(f'depth is {raw.dtype}, expected uint16 millimetres or float32 metres')
    unit = np.float32(1e-3 if raw.dtype == np.uint16 else 1.0)
    depth: NDArray[np.float32] = raw * unit
    with np.errstate(invalid='ignore'):
        valid = (depth > 0) & (depth >= np.float32(min_m)) & (depth <= np.float32(max_m)) \
            & (depth < np.inf)
    depth[~valid] = np.nan
    return depth


def on_raster(depth: NDArray[np.float32], *, camera: Pinhole, raster: Pinhole
              ) -> NDArray[np.float32]:
    """Return an (H, W) depth image of one camera on the raster of another in the same place.

    Each pixel takes the nearest depth along its own ray, never a mean over an edge; pixels that
    the depth camera does not see are NaN. Both are pinholes that look the same way, so that rows
    and columns are looked up apart.
    """
    if (camera.height, camera.width) != depth.shape:
        raise ValueError(f'depth is {depth.shape[1]}x{depth.shape[0]} pixels, but its camera_info '
                         f'says {camera.width}x{camera.height}')
    if camera == raster:
        return depth
    rows, row_seen = _nearest(raster.ray_y, focal=camera.fy, centre=camera.cy,
                              count=camera.height)
    columns, column_seen = _nearest(raster.ray_x, focal=camera.fx, centre=camera.cx,
                                    count=camera.width)
    moved: NDArray[np.float32] = depth[rows][:, columns]
    moved[~row_seen] = np.nan
    moved[:, ~column_seen] = np.nan
    return moved


def _nearest(rays: NDArray[np.float32], *, focal: float, centre: float, count: int
             ) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return the pixels of one axis that rays fall on, and which of them are on the image."""
    pixels = np.floor(rays.astype(np.float64) * focal + centre + 0.5).astype(np.intp)
    return np.clip(pixels, 0, count - 1), (pixels >= 0) & (pixels < count)


def back_project(depth: NDArray[np.float32], camera: Pinhole) -> PointMap:
    """Return the points of an (H, W) depth image in metres, NaN where invalid."""
    if depth.shape != (camera.height, camera.width):
        raise ValueError(f'depth is {depth.shape[1]}x{depth.shape[0]} pixels, expected '
                         f'{camera.width}x{camera.height}')
    return PointMap(x=depth * camera.ray_x, y=depth * camera.ray_y[:, None], z=depth)


def pack_points(points: PointMap, *, image: NDArray[np.uint8], class_map: NDArray[np.uint8],
                id_map: NDArray[np.int32], out: NDArray[np.void] | None = None
                ) -> NDArray[np.void]:
    """Return the labelled cloud (H, W) of POINT; `out` is memory to write it into.

    image is (H, W, 3) RGB, the maps are (H, W). Pixels without a measurement keep colour, label
    and instance, and have NaN for x, y and z.
    """
    packed = np.empty(points.z.shape, POINT) if out is None else out
    for name, plane in (('x', points.x), ('y', points.y), ('z', points.z), ('label', class_map),
                        ('instance', id_map)):
        packed[name] = plane
    colour = packed['rgb'][..., None].view(np.uint8)  # little endian: blue, green, red, 0
    for i in range(3):
        colour[..., i] = image[..., 2 - i]
    colour[..., 3] = 0
    return packed


def chosen_points(points: PointMap, class_map: NDArray[np.uint8], chosen: NDArray[np.bool_]
                  ) -> NDArray[np.float32]:
    """Return the measured points (N, 3) of the classes that a (256,) table has chosen."""
    return points.take(np.flatnonzero(look_up(chosen, class_map) & points.measured))


def thin_out(points: NDArray[np.float32], *, voxel_m: float) -> NDArray[np.float32]:
    """Return one point a cube of a grid with side voxel_m: the mean of those in it; 0 keeps all.

    points is (N, 3); the result is ordered by cube and equal for every order of the points, up
    to rounding.
    """
    if voxel_m <= 0 or not len(points):
        return points
    planes = np.ascontiguousarray(points.T)  # numpy reduces long rows many times faster
    cubes = np.floor(planes * np.float32(1 / voxel_m)).astype(np.int64)
    cubes -= cubes.min(axis=1, keepdims=True)
    sides = cubes.max(axis=1) + 1
    keys = (cubes[2] * sides[1] + cubes[1]) * sides[0] + cubes[0]
    order = np.argsort(keys)
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    counts = np.diff(starts, append=len(order))
    means = [np.add.reduceat(plane[order].astype(np.float64), starts) / counts
             for plane in planes]
    return np.stack(means, axis=1).astype(np.float32)
