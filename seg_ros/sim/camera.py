# SPDX-License-Identifier: Apache-2.0
"""The pinhole camera of the synthetic street, and where it stands in one frame."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
import math

import numpy as np
from numpy.typing import NDArray

from seg_ros.core.pinhole import Pinhole

NEAR_M = 0.6  # nothing nearer than this is drawn


@dataclass(frozen=True)
class CameraModel(Pinhole):
    """The pinhole that the street is painted through."""

    @cached_property
    def focal(self) -> NDArray[np.float64]:
        """Return fx, fy."""
        return np.array([self.fx, self.fy])

    @cached_property
    def centre(self) -> NDArray[np.float64]:
        """Return cx, cy."""
        return np.array([self.cx, self.cy])


@dataclass(frozen=True)
class CameraView:
    """A camera above flat ground.

    The level frame starts in the camera: x right, y down, z forward, ground at y = height_m.
    """

    model: CameraModel
    optical_from_level: NDArray[np.float64]  # (3, 3) rotation
    height_m: float

    def to_optical(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn level points (N, 3) into the optical frame (N, 3), metres."""
        return points @ self.optical_from_level.T

    def project(self, optical: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the pixels (N, 2) of points (N, 3) in front of the camera."""
        pixels = optical[:, :2] / optical[:, 2:]
        pixels *= self.model.focal
        pixels += self.model.centre
        return pixels

    def level_rays(self) -> NDArray[np.float64]:
        """Return the (3, 3) matrix from homogeneous pixels to rays in the level frame."""
        model = self.model
        rays = np.array([[1 / model.fx, 0, -model.cx / model.fx],
                         [0, 1 / model.fy, -model.cy / model.fy],
                         [0, 0, 1.0]])
        return self.optical_from_level.T @ rays

    def ground_plane(self) -> NDArray[np.float64]:
        """Return (a, b, c) with 1 / depth = a u + b v + c on the ground."""
        return self.level_rays()[1] / self.height_m

    def inverse_depth_plane(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (a, b, c) with 1 / depth = a u + b v + c on the plane of three optical points."""
        normal = cross(points[1] - points[0], points[2] - points[0])
        return self.inverse_depth_planes(normal[None], points[:1])[0]

    def inverse_depth_planes(self, normals: NDArray[np.float64],
                             points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (a, b, c) (N, 3) of planes with optical normals (N, 3) through points (N, 3).

        A plane seen exactly from its edge has no finite answer and gets one at its point.
        """
        model = self.model
        offset = (normals * points).sum(axis=1)
        edge_on = np.abs(offset) < 1e-6
        scaled = normals / np.where(edge_on, 1.0, offset)[:, None]
        planes = scaled / (model.fx, model.fy, 1.0)
        planes[:, 2] -= planes[:, 0] * model.cx + planes[:, 1] * model.cy
        planes[edge_on, :2] = 0.0
        planes[edge_on, 2] = 1.0 / np.maximum(points[edge_on, 2], NEAR_M)
        return planes


def cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cross product of two 3-vectors, faster than numpy's general one."""
    ax, ay, az = a.tolist()
    bx, by, bz = b.tolist()
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def rotation(*, yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """Return optical_from_level: yaw to the right, pitch down, roll clockwise, radians."""
    cy, sy = math.cos(yaw), math.sin(yaw)
    cp, sp = math.cos(pitch), math.sin(pitch)
    cr, sr = math.cos(roll), math.sin(roll)
    turn = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    tilt = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1.0]])
    return tilt @ nod @ turn


def clip_near(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut a convex polygon (N, 3), optical frame, at the near plane; (0, 3) if all is behind."""
    depth = points[:, 2].tolist()
    if min(depth) >= NEAR_M:
        return points
    kept: list[NDArray[np.float64]] = []
    for i, this in enumerate(depth):
        before = depth[i - 1]
        if (before >= NEAR_M) != (this >= NEAR_M):
            kept.append(points[i - 1] + (points[i] - points[i - 1])
                        * ((NEAR_M - before) / (this - before)))
        if this >= NEAR_M:
            kept.append(points[i])
    return np.array(kept).reshape(-1, 3)
