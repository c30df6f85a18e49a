# SPDX-License-Identifier: Apache-2.0
"""Where boxes are and how fast they move: Kalman filters in real time, all tracks at once."""
from __future__ import annotations

from dataclasses import dataclass, replace
import math

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
_LAGGING = 4.0  # chi-square of one axis, 95 %: of what is narrower than usual
_ONE_SIDED = 1 / 3  # of what is missing: nearer to where it was expected is one side, no more
_ALIKE = 0.7  # sides that moved so much alike are both hidden
_WIDER_S, _NARROWER_S = 0.3, 1.5  # the usual width follows with these time constants
_VARIES, _VARIES_S = 0.3, 0.5  # by how much widths differ at first, and how fast that is learnt
_GROWTH_FADE_S = 0.3  # an unseen box soon stops to grow or shrink
_STEADY_S = 0.2  # so long a seen one goes on as it did, then only as what comes nearer does


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
    walled: NDArray[np.bool_]  # (T,) whether the left or right was behind a wall at last
    aspect: Floats  # (T,) usual width by height
    aspect_var: Floats  # (T,) and its variance, as when somebody walks

    @staticmethod
    def start(measured: Floats) -> Motion:
        """Return the motion of boxes (T, 4) seen for the first time: at rest, but unsure."""
        scale = _scale(measured)
        aspect = measured[:, 2] / np.maximum(measured[:, 3], _MIN_SIZE)
        return Motion(position=measured, speed=np.zeros_like(measured),
                      position_var=_measured_var(scale),
                      covariance=np.zeros_like(measured),
                      speed_var=(_FIRST_SPEED_STD * _AXES * scale) ** 2,
                      sized=np.ones((len(measured), 2), bool),
                      walled=np.zeros(len(measured), bool),
                      aspect=aspect, aspect_var=(_VARIES * aspect) ** 2)

    def take(self, rows: NDArray[np.integer | np.bool_]) -> Motion:
        """Return the motion of some tracks."""
        return Motion(**{name: values[rows] for name, values in vars(self).items()})

    def join(self, other: Motion) -> Motion:
        """Return both, one after the other."""
        return Motion(**{name: np.concatenate((values, getattr(other, name)))
                         for name, values in vars(self).items()})

    def predict(self, *, seconds: float, unseen: NDArray[np.bool_]) -> Motion:
        """Return the motion some time later; the growth of unseen (T,) boxes fades.

        What comes nearer at a constant speed grows and moves ever faster in the image: with the
        relative growth g, an image distance after t is 1 / (1 - g t) times as large. What a size
        changes by besides, as when somebody walks or turns, does not last over a long step.
        """
        speed = self.speed.copy()
        known = self.sized & ~unseen[:, None]
        speed[:, 2:] *= np.where(known, 1, np.exp(-seconds / _GROWTH_FADE_S))
        growth = self._growth() * known[:, 1:]
        own = (speed[:, 2:] - growth * self.position[:, 2:]) * known
        speed[:, 2:] -= (1 - _lasting(seconds)) * own
        stretch = 1 / (1 - np.clip(growth * seconds, -_MAX_STEP, _MAX_STEP))
        position = self.position + speed * (seconds * stretch)
        speed = speed * stretch ** 2
        np.maximum(position[:, 2:], _MIN_SIZE, out=position[:, 2:])
        noise = (_ACCELERATION * _AXES * _scale(self.position)) ** 2 * seconds
        return replace(
            self, position=position, speed=speed,
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

    def update(self, measured: Floats, *, hidden: NDArray[np.bool_], seconds: float) -> Motion:
        """Return the motion after boxes (T, 4) were seen, of which some sides are hidden.

        hidden is (T, 4) left, top, right, bottom: true where the object may go on behind that
        side. A size that changes too suddenly for the filter has a hidden side too: the one that
        moved. So has what is narrower than usual while one side moves as it was expected to: the
        other one stays behind at the edge of something that is no instance, as a wall. What one
        side tells moves the box; only both tell how large it is and how it grows. It is so many
        seconds since the last frame.
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
        aspect, aspect_var = self._usual_aspect(measured, sides, seconds=seconds)
        limit = _MAX_GROWTH * position[:, 2:]
        np.clip(speed[:, 2:], -limit, limit, out=speed[:, 2:])
        return Motion(
            position=position, speed=speed,
            position_var=(1 - gain) * self.position_var,
            covariance=(1 - gain) * self.covariance,
            speed_var=self.speed_var - speed_gain * self.covariance, sized=sides.sized,
            walled=sides.walled, aspect=aspect, aspect_var=aspect_var)

    def _usual_aspect(self, measured: Floats, sides: _Sides, *, seconds: float
                      ) -> tuple[Floats, Floats]:
        """Return the (T,) mean and variance of width by height after boxes (T, 4) were seen."""
        more = measured[:, 2] / self.position[:, 3] - self.aspect
        wider, narrower, varied = (1 - math.exp(-seconds / fade_s)
                                   for fade_s in (_WIDER_S, _NARROWER_S, _VARIES_S))
        whole = sides.sized[:, 0]
        mean = self.aspect + np.where(more > 0, wider, narrower) * (whole | sides.walled) * more
        return mean, self.aspect_var + varied * whole * (more ** 2 - self.aspect_var)

    def usual_width(self) -> tuple[Floats, Floats]:
        """Return the (T,) widths that are usual at these heights and their variance, pixels."""
        height = self.position[:, 3]
        return self.aspect * height, self.aspect_var * height ** 2

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


def _lasting(seconds: float) -> float:
    """Return the mean, over a step, of what is 1 at first and fades after _STEADY_S."""
    if seconds <= _STEADY_S:
        return 1.0
    fading = 1 - math.exp((_STEADY_S - seconds) / _GROWTH_FADE_S)
    return (_STEADY_S + _GROWTH_FADE_S * fading) / seconds


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
    walled: NDArray[np.bool_]  # (T,) whether the left or right is behind a wall
    revealed: Floats  # (T, 4) what to add where more is seen than was known

    @staticmethod
    def of(motion: Motion, measured: Floats, *, hidden: NDArray[np.bool_], var: Floats) -> _Sides:
        off = measured - motion.position
        centre, longer = off[:, :2], off[:, 2:]
        low, high = centre - longer / 2, centre + longer / 2  # of the sides
        hidden_low, hidden_high = hidden[:, :2], hidden[:, 2:]
        sudden = longer ** 2 > _SUDDEN * (motion.position_var + var)[:, 2:]
        walled, missing = _behind_a_wall(motion, measured, low=low[:, 0], high=high[:, 0],
                                         var=var[:, 2])
        walled &= ~(hidden_low | hidden_high)[:, 0]
        sudden[:, 0] |= walled
        sudden &= ~(hidden_low | hidden_high)
        hidden_low = hidden_low | (sudden & (np.abs(low) > _ALIKE * np.abs(high)))
        hidden_high = hidden_high | (sudden & (np.abs(high) >= _ALIKE * np.abs(low)))
        both = hidden_low & hidden_high
        sized = ~(hidden_low | hidden_high)
        seen = np.where(hidden_low, high, low)  # of the only side
        moved = np.where(sized | both, centre, seen)
        more = np.maximum(longer, 0) * ~sized
        more[:, 0] = np.where(walled, missing + longer[:, 0], more[:, 0])
        # the side that is seen stays where it is
        anchor = np.where(both, 0.0, np.where(hidden_low, -0.5, 0.5))
        return _Sides(surprise=np.concatenate((moved, longer), axis=1),
                      slack=np.maximum(-longer / 2, 0) * both, sized=sized,
                      walled=walled, revealed=np.concatenate((anchor * more, more), axis=1))


def _behind_a_wall(motion: Motion, measured: Floats, *, low: Floats, high: Floats, var: Floats
                   ) -> tuple[NDArray[np.bool_], Floats]:
    """Return (T,) whether left or right lags behind, and how much of the usual width is missing.

    A wall, a pillar or a tree is no instance: all that tells of it is that one side of a box goes
    on as it was expected to, and the other one does not. Low and high (T,) are by how much left
    and right differ from what was expected.
    """
    usual, usual_var = motion.usual_width()
    missing = usual - measured[:, 2]
    nearer, farther = np.sort(np.abs((low, high)), axis=0)
    return (missing > np.sqrt(_LAGGING * (var + usual_var))) \
        & (nearer < _ONE_SIDED * missing) & (farther > _ONE_SIDED * missing), missing
