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
_SLIM = 0.4  # width of a slim box, by its height
_SUDDEN = 9.0  # chi-square of one axis, 99.7 %
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
    sized: NDArray[np.bool_]  # (T, 2) whether width and height were measured at last

    @staticmethod
    def start(measured: Floats) -> Motion:
        """Return the motion of boxes (T, 4) seen for the first time: at rest, but unsure."""
        scale = _scale(measured)
        return Motion(position=measured, speed=np.zeros_like(measured),
                      position_var=_measured_var(scale),
                      covariance=np.zeros_like(measured),
                      speed_var=(_FIRST_SPEED_STD * _AXES * scale) ** 2,
                      sized=np.ones((len(measured), 2), bool))

    def take(self, rows: NDArray[np.integer | np.bool_]) -> Motion:
        """Return the motion of some tracks."""
        return Motion(self.position[rows], self.speed[rows], self.position_var[rows],
                      self.covariance[rows], self.speed_var[rows], self.sized[rows])

    def join(self, other: Motion) -> Motion:
        """Return both, one after the other."""
        return Motion(position=np.concatenate((self.position, other.position)),
                      speed=np.concatenate((self.speed, other.speed)),
                      position_var=np.concatenate((self.position_var, other.position_var)),
                      covariance=np.concatenate((self.covariance, other.covariance)),
                      speed_var=np.concatenate((self.speed_var, other.speed_var)),
                      sized=np.concatenate((self.sized, other.sized)))

    def predict(self, *, seconds: float, unseen: NDArray[np.bool_]) -> Motion:
        """Return the motion some time later; the growth of unseen (T,) boxes fades.

        What comes nearer at a constant speed grows and moves ever faster in the image: with the
        relative growth g, an image distance after t is 1 / (1 - g t) times as large.
        """
        speed = self.speed.copy()
        known = self.sized & ~unseen[:, None]
        speed[:, 2:] *= np.where(known, 1, np.exp(-seconds / _GROWTH_FADE_S))
        growth = self._growth() * known[:, 1:] * seconds
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
            speed_var=self.speed_var + noise, sized=self.sized)

    def _growth(self) -> Floats:
        """Return (T, 1) relative growth of the height a second, as far as it is known."""
        height = self.position[:, 3:]
        growth = self.speed[:, 3:] / height
        certain = growth ** 2 / (growth ** 2 + self.speed_var[:, 3:] / height ** 2 + 1e-12)
        return growth * certain

    def update(self, measured: Floats, *, hidden: NDArray[np.bool_]) -> Motion:
        """Return the motion after boxes (T, 4) were seen, of which some sides are hidden.

        hidden is (T, 4) left, top, right, bottom: true where the object may go on behind that
        side. A size that changes too suddenly for the filter has a hidden side too: the one that
        moved. What one side tells moves the box; only both tell how large it is and how it grows.
        """
        var = _measured_var(_scale(self.position))
        sides = _Sides.of(self, measured, hidden=hidden, var=var)
        noise = var.copy()
        noise[:, :2] += sides.slack ** 2
        gain = self.position_var / (self.position_var + noise)
        speed_gain = self.covariance / (self.position_var + noise)
        gain[:, 2:] *= sides.sized
        speed_gain[:, 2:] *= sides.sized
        position = self.position + gain * sides.surprise
        position += sides.revealed  # not a motion
        np.maximum(position[:, 2:], _MIN_SIZE, out=position[:, 2:])
        speed = self.speed + speed_gain * sides.surprise
        limit = _MAX_GROWTH * position[:, 2:]
        np.clip(speed[:, 2:], -limit, limit, out=speed[:, 2:])
        return Motion(
            position=position, speed=speed,
            position_var=(1 - gain) * self.position_var,
            covariance=(1 - gain) * self.covariance,
            speed_var=self.speed_var - speed_gain * self.covariance, sized=sides.sized)

    def surprise(self, measured: Floats) -> Floats:
        """Return (T, N): Mahalanobis distance squared to boxes (T, N, 4), four axes."""
        scale = np.sqrt(np.maximum(measured[..., 2:3] * measured[..., 3:], _MIN_SIZE))
        variance = self.position_var[:, None] + _LOOSE * ((_POSITION_STD * scale) ** 2 + 0.25)
        return ((measured - self.position[:, None]) ** 2 / variance).sum(axis=-1)

    def spread(self) -> Floats:
        """Return (T,) variance of the place along x, in squares of the width of a slim box."""
        area = np.maximum(self.position[:, 2] * self.position[:, 3], _MIN_SIZE)
        return self.position_var[:, 0] / (_SLIM * area)

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


@dataclass(frozen=True, eq=False)
class _Sides:
    """What the sides of boxes tell, by axis."""

    surprise: Floats  # (T, 4) by which centre and size differ from what was expected
    slack: Floats  # (T, 2) pixels by which the centre may be elsewhere: both sides are hidden
    sized: NDArray[np.bool_]  # (T, 2) whether both sides are seen
    revealed: Floats  # (T, 4) what to add where more is seen than was known

    @staticmethod
    def of(motion: Motion, measured: Floats, *, hidden: NDArray[np.bool_], var: Floats) -> _Sides:
        off = measured - motion.position
        centre, longer = off[:, :2], off[:, 2:]
        low, high = centre - longer / 2, centre + longer / 2  # of the sides
        hidden_low, hidden_high = hidden[:, :2], hidden[:, 2:]
        sudden = longer ** 2 > _SUDDEN * (motion.position_var + var)[:, 2:]
        sudden &= ~(hidden_low | hidden_high)
        low_moved = np.abs(low) > np.abs(high)
        hidden_low = hidden_low | (sudden & low_moved)
        hidden_high = hidden_high | (sudden & ~low_moved)
        both = hidden_low & hidden_high
        sized = ~(hidden_low | hidden_high)
        seen = np.where(hidden_low, high, low)  # of the only side
        moved = np.where(sized | both, centre, seen)
        more = np.maximum(longer, 0) * ~sized
        # the side that is seen stays where it is
        anchor = np.where(both, 0.0, np.where(hidden_low, -0.5, 0.5))
        return _Sides(surprise=np.concatenate((moved, longer), axis=1),
                      slack=np.maximum(-longer / 2, 0) * both, sized=sized,
                      revealed=np.concatenate((anchor * more, more), axis=1))
