# SPDX-License-Identifier: Apache-2.0
"""Where the road runs and how the camera car drives along it, as functions of way and time."""
from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

BEHIND_M, AHEAD_M, STEP_M = 30.0, 230.0, 1.0
_GRID = np.arange(-BEHIND_M, AHEAD_M + STEP_M, STEP_M)


@dataclass(frozen=True)
class LocalRoad:
    """The road around the camera; s = metres ahead along it, d = metres right of its middle."""

    x: NDArray[np.float64]  # (K,) of the middle line, level frame of a camera at d = 0
    z: NDArray[np.float64]  # (K,)
    heading: NDArray[np.float64]  # (K,) radians to the right
    camera_d: float
    camera_height_m: float

    def heading_at(self, s: ArrayLike) -> NDArray[np.float64]:
        """Return the road's heading at s, radians to the right of the camera's road heading."""
        return np.interp(s, _GRID, self.heading)

    def to_level(self, s: ArrayLike, d: ArrayLike, up: ArrayLike = 0.0) -> NDArray[np.float64]:
        """Return level points (N, 3) of road positions, `up` metres above the ground."""
        heading = np.interp(s, _GRID, self.heading)
        level = np.empty((*heading.shape, 3))
        level[..., 0] = np.interp(s, _GRID, self.x) + np.cos(heading) * d - self.camera_d
        level[..., 1] = self.camera_height_m - np.asarray(up)
        level[..., 2] = np.interp(s, _GRID, self.z) - np.sin(heading) * d
        return level


class Road:
    """A gently winding road whose shape is a closed form of the distance along it."""

    def __init__(self, seed: int) -> None:
        """Draw the road of one seed."""
        rng = np.random.default_rng([seed, 1])
        self._length = rng.uniform((18, 45, 110), (30, 80, 200))  # metres a radian
        bend = rng.choice([0.15, 0.6, 1.0], p=[0.35, 0.4, 0.25])
        self._swing = bend * rng.uniform(-1, 1, 3) * (0.02, 0.14, 0.35)  # heading, radians
        self._phase = rng.uniform(0, 2 * math.pi, 3)
        self.parking_m = float(rng.choice([0.0, 0.4, 2.0], p=[0.25, 0.3, 0.45]))
        self.lane_m = float(rng.uniform(2.9, 3.7))
        self.pavement_m = rng.uniform(1.9, 4.2, 2)  # left, right
        self._width_phase = rng.uniform(0, 2 * math.pi)

    def heading(self, s: ArrayLike) -> NDArray[np.float64]:
        """Return the heading at s, radians to the right."""
        angle = np.asarray(s, np.float64)[..., None] / self._length + self._phase
        return (np.sin(angle) * self._swing).sum(axis=-1)

    def half_width(self, s: ArrayLike) -> NDArray[np.float64]:
        """Return half the carriageway's width at s, metres."""
        swell = np.sin(np.asarray(s, np.float64) / 70.0 + self._width_phase)
        return self.lane_m + self.parking_m + 0.35 * swell

    def around(self, *, s: float, d: float, height_m: float) -> LocalRoad:
        """Return the road as seen from s, d."""
        heading = self.heading(_GRID + s) - float(self.heading(s))
        middle = (heading[1:] + heading[:-1]) / 2
        x = np.concatenate([[0.0], np.cumsum(np.sin(middle))]) * STEP_M
        z = np.concatenate([[0.0], np.cumsum(np.cos(middle))]) * STEP_M
        here = round(BEHIND_M / STEP_M)
        return LocalRoad(x=x - x[here], z=z - z[here], heading=heading, camera_d=d,
                         camera_height_m=height_m)


class EgoMotion:
    """The camera car's way over time: it drives, slows, stands at a light and drives on."""

    def __init__(self, seed: int) -> None:
        """Draw the drive of one seed; its legs are drawn as they are needed."""
        self._seed = seed
        style = np.random.default_rng([seed, 2])
        self._cruise = float(style.uniform(5.0, 11.0))
        self._stop_share = float(style.uniform(0.1, 0.45))
        self._sway = style.uniform(0, 2 * math.pi, 8)
        self._shake = float(style.uniform(0.3, 1.3))
        self.pitch0 = float(style.normal(0.0, 0.02))
        self.roll0 = float(style.normal(0.0, 0.007))
        self.yaw0 = float(style.normal(0.0, 0.025))
        self.height_m = float(style.uniform(1.3, 1.6))
        self._starts: list[tuple[float, float]] = [(-40.0, 0.0)]  # time, s; a memo
        self._speeds: list[float] = [self._speed(0)]

    def _speed(self, leg: int) -> float:
        rng = np.random.default_rng([self._seed, 3, leg])
        stands = rng.uniform() < self._stop_share
        return 0.0 if stands else self._cruise * float(rng.uniform(0.5, 1.25))

    def _leg(self, time_s: float) -> tuple[int, float, float]:
        while self._starts[-1][0] <= time_s:
            leg = len(self._starts) - 1
            start, s = self._starts[-1]
            self._speeds.append(self._speed(leg + 1))
            lasts = 4.0 + 1.5 * (leg * 7 % 5)
            self._starts.append(
                (start + lasts, s + lasts * (self._speeds[leg] + self._speeds[leg + 1]) / 2))
        low, high = 0, len(self._starts) - 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._starts[middle][0] <= time_s else (low, middle)
        start, s = self._starts[low]
        return low, start, s

    def s(self, time_s: float) -> float:
        """Return the metres driven along the road at a time (from 40 s before the first frame)."""
        leg, start, s = self._leg(time_s)
        lasts = self._starts[leg + 1][0] - start
        part = (time_s - start) / lasts
        slow, fast = self._speeds[leg], self._speeds[leg + 1]
        return s + lasts * (slow * part + (fast - slow) * (part ** 3 - part ** 4 / 2))

    def lateral(self, time_s: float) -> float:
        """Return the wander inside the lane, metres to the right."""
        p = self._sway
        return 0.22 * math.sin(time_s / 3.1 + p[0]) + 0.15 * math.sin(time_s / 7.7 + p[1])

    def tilt(self, time_s: float) -> tuple[float, float, float]:
        """Return yaw, pitch and roll of the camera, radians."""
        p, k, driving = self._sway, self._shake, min(1.0, self.speed(time_s) / 4)
        yaw = self.yaw0 + 0.012 * math.sin(time_s / 2.3 + p[2]) * driving
        pitch = self.pitch0 + k * driving * (0.004 * math.sin(time_s * 7.1 + p[3])
                                             + 0.003 * math.sin(time_s * 11.7 + p[4]))
        roll = self.roll0 + k * driving * (0.005 * math.sin(time_s * 3.3 + p[5])
                                           + 0.003 * math.sin(time_s * 8.9 + p[6]))
        return yaw, pitch, roll

    def speed(self, time_s: float) -> float:
        """Return the speed, m/s."""
        return (self.s(time_s + 0.05) - self.s(time_s - 0.05)) / 0.1
