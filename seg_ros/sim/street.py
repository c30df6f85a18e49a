# SPDX-License-Identifier: Apache-2.0
"""The synthetic street: a camera image with depth and exact labels for any frame of a seed."""
from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from seg_ros.sim.camera import CameraModel, CameraView, rotation
from seg_ros.sim.canvas import Canvas
from seg_ros.sim.cars import CarLook, SHAPES
from seg_ros.sim.classes import BICYCLIST
from seg_ros.sim.path import EgoMotion, LocalRoad, Road
from seg_ros.sim.render import make_scenery, Renderer, Scene
from seg_ros.sim.traffic import Actor, Traffic
from seg_ros.sim.weather import random_weather, Sensor
from seg_ros.sim.world import Chunk, CHUNK_M, World

_CHUNKS_KEPT = 32
_AHEAD_M = 130.0
_LONGEST = 7  # times the other side of an image


@dataclass(frozen=True)
class ObjectPose:
    """Where one object is; its box is upright when the camera is level."""

    instance_id: int
    class_id: int
    centre_m: NDArray[np.float64]  # (3,) middle of the box, optical frame
    size_m: NDArray[np.float64]  # (3,) width, height, length
    yaw: float  # of its front, radians to the right of the camera's axis
    corners_m: NDArray[np.float64]  # (8, 3) of the box, optical frame


@dataclass(frozen=True)
class StreetFrame:
    """One frame and the truth about it."""

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    depth: NDArray[np.float32]  # (H, W) metres along the optical axis, +inf = sky
    class_map: NDArray[np.uint8]  # (H, W)
    instance_map: NDArray[np.int32]  # (H, W) 0 = none; ids stay with objects over the run
    objects: tuple[ObjectPose, ...]  # those with at least one pixel, by id
    time_s: float
    optical_from_level: NDArray[np.float64]  # (3, 3) the camera's tilt against gravity
    camera_height_m: float  # above the ground, which is flat


class Street:
    """A procedural street seen from a moving car.

    Every frame is a pure function of seed, size, rate and index.
    """

    def __init__(self, *, seed: int, width: int = 640, height: int = 480,
                 rate_hz: float = 10.0) -> None:
        """Draw a town; raise ValueError for a seed, a size or a rate that cannot be."""
        if seed < 0:
            raise ValueError(f'seed is {seed}, expected 0 or more')
        if not (32 <= width <= 4096 and 32 <= height <= 4096):
            raise ValueError(f'image size is {width} x {height}, expected 32 to 4096 each')
        if max(width, height) > _LONGEST * min(width, height):
            raise ValueError(f'image size is {width} x {height}, expected one side to be at most '
                             f'{_LONGEST} times the other')
        if not (math.isfinite(rate_hz) and rate_hz > 0):
            raise ValueError(f'rate is {rate_hz} Hz, expected a number above 0')
        rng = np.random.default_rng([seed, 0])
        focal = float(rng.uniform(0.92, 1.2)) * width
        self.camera = CameraModel(width=width, height=height, fx=focal, fy=focal,
                                  cx=(width - 1) / 2, cy=(height - 1) / 2)
        self._seed, self._rate_hz = seed, rate_hz
        self._start_s = float(rng.uniform(0.0, 60.0))
        self._road, self._ego = Road(seed), EgoMotion(seed)
        scenery = make_scenery(seed, width, height)
        self._weather = random_weather(rng)
        self._sensor = Sensor(np.random.default_rng([seed, 4]), width, height)
        sizes = tuple((facade.width_m, facade.height_m) for facade in scenery.facades)
        self._world = World(seed, self._road, sizes)
        self._traffic = Traffic(seed, self._road, self._ego, self._world)
        self._renderer = Renderer(scenery, self._weather, self._road)
        self._chunks: OrderedDict[int, Chunk] = OrderedDict()

    def frame(self, index: int) -> StreetFrame:
        """Return frame `index` (0 or more), taken index / rate_hz seconds after the first."""
        if index < 0:
            raise ValueError(f'frame index is {index}, expected 0 or more')
        time_s = index / self._rate_hz
        moment = time_s + self._start_s
        s = self._ego.s(moment)
        local = self._road.around(s=s, d=-self._road.lane_m / 2 + self._ego.lateral(moment),
                                  height_m=self._ego.height_m)
        yaw, pitch, roll = self._ego.tilt(moment)
        view = CameraView(self.camera, rotation(yaw=yaw, pitch=pitch, roll=roll),
                          self._ego.height_m)
        chunks = self._chunks_around(s)
        actors = self._traffic.at(moment, s, chunks)
        canvas = Canvas(view)
        self._renderer.paint(canvas, Scene(s=s, heading=float(self._road.heading(s)) + yaw,
                                           local=local, chunks=chunks, actors=actors))
        noise = np.random.default_rng([self._seed, 5, index])
        image = self._sensor.expose(canvas.finished_image(), noise)
        seen_ids = canvas.seen_instances()
        seen = [actor for actor in actors if actor.instance_id in seen_ids]
        return StreetFrame(image=image, depth=canvas.depth(), class_map=canvas.class_map(),
                           instance_map=canvas.instance_map(), time_s=time_s,
                           objects=_poses(seen, view, local, s, yaw),
                           optical_from_level=view.optical_from_level,
                           camera_height_m=view.height_m)

    def _chunks_around(self, s: float) -> list[Chunk]:
        first, last = math.floor((s - 6.0) / CHUNK_M), math.floor((s + _AHEAD_M) / CHUNK_M)
        return [self._chunk(number) for number in range(first, last + 1)]

    def _chunk(self, number: int) -> Chunk:
        if number not in self._chunks:
            self._chunks[number] = self._world.chunk(number)
            if len(self._chunks) > _CHUNKS_KEPT:
                self._chunks.popitem(last=False)
        return self._chunks[number]


def _poses(actors: list[Actor], view: CameraView, local: LocalRoad, s: float,
           camera_yaw: float) -> tuple[ObjectPose, ...]:
    """Return the poses of actors, by id."""
    poses = []
    for actor in sorted(actors, key=lambda actor: actor.instance_id):
        size = _size(actor)
        middle = local.to_level([actor.s - s], actor.d, size[1] / 2)
        yaw = actor.yaw + float(local.heading_at(actor.s - s))
        corners = middle + _corners(size, yaw)
        poses.append(ObjectPose(instance_id=actor.instance_id, class_id=actor.class_id,
                                centre_m=view.to_optical(middle)[0], size_m=size,
                                yaw=math.remainder(yaw - camera_yaw, 2 * math.pi),
                                corners_m=view.to_optical(corners)))
    return tuple(poses)


def _corners(size: NDArray[np.float64], yaw: float) -> NDArray[np.float64]:
    """Return the corners (8, 3) of a box around its middle, level frame."""
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    x, y, z = (signs * size / 2).T
    cos, sin = math.cos(yaw), math.sin(yaw)
    return np.stack([cos * x + sin * z, y, cos * z - sin * x], axis=1)


def _size(actor: Actor) -> NDArray[np.float64]:
    """Return width, height and length, metres."""
    if isinstance(actor.look, CarLook):
        return np.array(SHAPES[actor.look.shape][:3])
    if actor.class_id == BICYCLIST:
        return np.array([0.6, 1.75, 1.75])
    return np.array([0.5 * actor.look.width, actor.look.height_m, 0.6])
