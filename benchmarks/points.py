# SPDX-License-Identifier: Apache-2.0
"""The pairs for points: depth to a labelled cloud, beside depth to a cloud in plain numpy."""
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.paired import Pair
from seg_ros.core.pinhole import Pinhole
from seg_ros.core.points import back_project, metres_of, pack_points, POINT
from seg_ros.sim import DepthSensor, Street

SIZE = (640, 480)


def pairs() -> tuple[Pair, ...]:
    """Return a frame of the street, with the depth of its simulated sensor in millimetres."""
    street = Street(seed=10_011, width=SIZE[0], height=SIZE[1])
    frame = street.frame(60)
    measured = DepthSensor().measure(frame.depth, image=frame.image, camera=street.camera, seed=0)
    millimetres = np.nan_to_num(measured * 1000).astype(np.uint16)
    camera = Pinhole(width=SIZE[0], height=SIZE[1], fx=street.camera.fx, fy=street.camera.fy,
                     cx=street.camera.cx, cy=street.camera.cy)

    def ours() -> NDArray[np.void]:
        points = back_project(metres_of(millimetres), camera)
        return pack_points(points, image=frame.image, class_map=frame.class_map,
                           id_map=frame.instance_map)
    name = f'{SIZE[0]}x{SIZE[1]}'
    return (
        Pair(name=f'labelled cloud, {name}', ours=ours, goal=1.0,
             theirs=lambda: plain_labelled(millimetres, camera, frame.image, frame.class_map,
                                           frame.instance_map),
             rival='plain numpy, the same bytes'),
        Pair(name=f'labelled cloud, {name}, beside x y z alone', ours=ours, goal=1.0,
             theirs=lambda: plain_points(millimetres, camera),
             rival='plain numpy, without colour, label and instance'))


def plain_points(millimetres: NDArray[np.uint16], camera: Pinhole) -> NDArray[np.float32]:
    """Return x y z (H, W, 3), NaN where invalid, as it is usually written."""
    z = np.where(millimetres > 0, millimetres / 1000.0, np.nan)
    v, u = np.indices(z.shape)
    x, y = (u - camera.cx) * z / camera.fx, (v - camera.cy) * z / camera.fy
    return np.stack([x, y, z], axis=-1).astype(np.float32)


def plain_labelled(millimetres: NDArray[np.uint16], camera: Pinhole, image: NDArray[np.uint8],
                   class_map: NDArray[np.uint8], id_map: NDArray[np.int32]) -> NDArray[np.void]:
    """Return the labelled cloud, as it is usually written."""
    points = plain_points(millimetres, camera)
    packed = np.zeros(millimetres.shape, POINT)
    packed['x'], packed['y'], packed['z'] = points[..., 0], points[..., 1], points[..., 2]
    red, green, blue = (image[..., i].astype(np.uint32) for i in range(3))
    packed['rgb'] = red << 16 | green << 8 | blue
    packed['label'], packed['instance'] = class_map, id_map
    return packed
