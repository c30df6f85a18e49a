# SPDX-License-Identifier: Apache-2.0
"""Where boxes are and how fast they move: Kalman filters in real time, all tracks at once."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_MIN_SIZE = 1.0  # pixels; no box shrinks below
# All relative to the size of a box, so that near and far objects are alike
_POSITION_STD = 0.06  # of a measurement, beside half a pixel
_FIRST_SPEED_STD = 1.5  # sizes a second, of a box seen once
_ACCELERATION = 2.0  # sizes a second, of speed changes over one second
_AXES = np.array([1.0, 1.0, 0.25, 0.25])  # of both: sizes change less than places
_MAX_GROWTH = 3.0  # sizes a second
_MAX_STEP = 0.5  # of relative growth in one prediction
_LOOSE = 25.0  # a box that is looked for may be so much worse, in variance
_MIN_TRUST = 0.1
_GROWTH_FADE_S = 0.3  # an unseen box soon stops to grow or shrink


@dataclass(frozen=True, eq=False)
class Motion:
    """Boxes as centre and size under constant velocity, four independent axes each.

    Kalman's filter (1960) with white acceleration noise, written out for the two states of an
    axis: position and speed.
    """

    position: Floats  # (T, 4) centre x, centre y, width, height, pixels
    speed: Floats  # (T, 4) pixels a second
    position_var: Floats  # (T, 4)
    covariance: Floats  # (T, 4) of position and speed
    speed_var: Floats  # (T, 4)

    @staticmethod
    def start(measured: Floats) -> Motion:
        """Return the motion of boxes (T, 4) seen for the first time: at rest, but unsure."""
        scale = _scale(measured)
        return Motion(position=measured, speed=np.zeros_like(measured),
                      position_var=_measured_var(scale),
                      covariance=np.zeros_like(measured),
                      speed_var=(_FIRST_SPEED_STD * _AXES * scale) ** 2)

    def take(self, rows: NDArray[np.integer | np.bool_]) -> Motion:
        """Return the motion of some tracks."""
        return Motion(self.position[rows], self.speed[rows], self.position_var[rows],
                      self.covariance[rows], self.speed_var[rows])

    def join(self, other: Motion) -> Motion:
        """Return both, one after the other."""
        return Motion(*(np.concatenate(pair) for pair in (
            (self.position, other.position), (self.speed, other.speed),
            (self.position_var, other.position_var), (self.covariance, other.covariance),
            (self.speed_var, other.speed_var))))

    def predict(self, *, seconds: float, unseen: NDArray[np.bool_]) -> Motion:
        """Return the motion some time later; the growth of unseen (T,) boxes fades.

        What comes nearer at a constant speed grows and moves ever faster in the image: with the
        relative growth g, an image distance after t is 1 / (1 - g t) times as large.
        """
        speed = self.speed.copy()
        speed[unseen, 2:] *= np.exp(-seconds / _GROWTH_FADE_S)
        growth = self._growth() * seconds
        stretch = 1 / (1 - np.clip(growth, -_MAX_STEP, _MAX_STEP))
        position = self.position + speed * (seconds * stretch)
        speed = speed * stretch ** 2
        np.maximum(position[:, 2:], _MIN_SIZE, out=position[:, 2:])
        noise = (_ACCELERATION * _AXES * _scale(self.position)) ** 2 * seconds
        return Motion(
            position=position, speed=speed,
            position_var=self.position_var + seconds * (
                2 * self.covariance + seconds * self.speed_var) + noise * seconds ** 2 / 3,
            covariance=self.covariance + seconds * self.speed_var + noise * seconds / 2,
            speed_var=self.speed_var + noise)

    def _growth(self) -> Floats:
        """Return (T, 1) relative growth of the height a second, as far as it is known."""
        height = self.position[:, 3:]
        growth = self.speed[:, 3:] / height
        certain = growth ** 2 / (growth ** 2 + self.speed_var[:, 3:] / height ** 2 + 1e-12)
        return growth * certain

    def update(self, measured: Floats) -> Motion:
        """Return the motion after boxes (T, 4) were seen."""
        trust = _trust(self.position, measured)
        innovation_var = self.position_var + _measured_var(_scale(measured)) / trust
        gain = self.position_var / innovation_var
        speed_gain = self.covariance / innovation_var
        surprise = measured - self.position
        position = self.position + gain * surprise
        np.maximum(position[:, 2:], _MIN_SIZE, out=position[:, 2:])
        speed = self.speed + speed_gain * surprise
        limit = _MAX_GROWTH * position[:, 2:]
        np.clip(speed[:, 2:], -limit, limit, out=speed[:, 2:])
        return Motion(
            position=position, speed=speed,
            position_var=(1 - gain) * self.position_var,
            covariance=(1 - gain) * self.covariance,
            speed_var=self.speed_var - speed_gain * self.covariance)

    def surprise(self, measured: Floats) -> Floats:
        """Return (T, N): Mahalanobis distance squared to boxes (T, N, 4), four axes."""
        scale = np.sqrt(np.maximum(measured[..., 2:3] * measured[..., 3:], _MIN_SIZE))
        variance = self.position_var[:, None] + _LOOSE * ((_POSITION_STD * scale) ** 2 + 0.25)
        return ((measured - self.position[:, None]) ** 2 / variance).sum(axis=-1)

    def boxes(self) -> Floats:
        """Return (T, 4) x_min y_min x_max y_max."""
        half = self.position[:, 2:] / 2
        return np.concatenate((self.position[:, :2] - half, self.position[:, :2] + half), axis=1)


def centres_and_sizes(boxes: NDArray[np.float32]) -> Floats:
    """Return (N, 4) centre x, centre y, width, height of (N, 4) xyxy boxes."""
    corners = boxes.astype(np.float64)
    return np.concatenate(((corners[:, :2] + corners[:, 2:]) / 2,
                           corners[:, 2:] - corners[:, :2]), axis=1)


def _scale(measured: Floats) -> Floats:
    """Return (N, 1) sizes that noise is relative to: the root of the area."""
    return np.sqrt(np.maximum(measured[:, 2:3] * measured[:, 3:4], _MIN_SIZE))


def _measured_var(scale: Floats) -> Floats:
    """Return (N, 4) variances of a measurement."""
    return np.repeat((_POSITION_STD * scale) ** 2 + 0.25, 4, axis=1)


def _trust(predicted: Floats, measured: Floats) -> Floats:
    """Return (T, 4) in (0, 1]: how far to trust boxes, as a divisor of their variance.

    A box that is narrower than its height tells is hidden at one side: its centre and width say
    little, and the same for a box that is too low.
    """
    ratio = measured[:, 2:] / predicted[:, 2:]
    slimmer = ratio[:, :1] / ratio[:, 1:]
    trust = np.minimum(1.0, np.concatenate((slimmer, 1 / slimmer), axis=1)) ** 2
    return np.tile(np.maximum(trust, _MIN_TRUST), 2)
