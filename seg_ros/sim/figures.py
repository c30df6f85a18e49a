# SPDX-License-Identifier: Apache-2.0
"""Walking people and cyclists as posed skeletons with thick limbs."""
from __future__ import annotations

from dataclasses import dataclass
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_ros.sim.canvas import Canvas, SUBPIXEL_BITS
from seg_ros.sim.parts import facing_plane, GLASSY, PartsWindow

Points = NDArray[np.float64]
Colour = tuple[float, float, float]
_SKINS = ((224, 180, 152), (206, 160, 130), (150, 106, 80), (96, 66, 50), (232, 196, 172))
_HAIR = ((38, 30, 26), (84, 60, 40), (20, 18, 18), (150, 120, 80), (170, 168, 164), (110, 60, 36))
_CLOTHES = ((34, 36, 42), (24, 24, 26), (54, 62, 84), (88, 88, 90), (120, 28, 34), (60, 78, 60),
            (150, 140, 120), (206, 204, 198), (40, 66, 120), (92, 70, 56), (176, 60, 60),
            (190, 160, 40), (110, 70, 110), (140, 150, 160))
_TROUSERS = ((40, 48, 72), (30, 32, 38), (24, 24, 26), (70, 76, 92), (96, 88, 74), (56, 54, 52))
_GLASSY = (GLASSY, GLASSY, GLASSY)


@dataclass(frozen=True)
class PersonLook:
    """Stature and clothes of one person, and the bicycle below, if any."""

    height_m: float
    width: float  # 1 = average
    skin: Colour
    hair: Colour
    top: Colour
    trousers: Colour
    shoes: Colour
    coat: bool
    bag: str  # '', 'back' or 'hand'
    helmet: bool
    bicycle: Colour


class Limb(NamedTuple):
    """A thick line between two points (3,) of the body frame: x right, y up, z forward."""

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radius_m: float
    colour: Colour


def random_person(rng: np.random.Generator, *, rides: bool = False) -> PersonLook:
    """Draw a person."""
    def pick(palette: tuple[Colour, ...], wobble: float = 0.15) -> Colour:
        red, green, blue = (np.array(palette[int(rng.integers(len(palette)))])
                            * rng.uniform(1 - wobble, 1 + wobble)).tolist()
        return red, green, blue
    child = rng.uniform() < 0.1 and not rides
    hi_vis = rides and rng.uniform() < 0.3
    return PersonLook(
        height_m=float(rng.uniform(1.05, 1.4) if child else rng.normal(1.71, 0.08)),
        width=float(rng.uniform(0.9, 1.3)), skin=pick(_SKINS), hair=pick(_HAIR),
        top=(206.0, 220.0, 40.0) if hi_vis else pick(_CLOTHES), trousers=pick(_TROUSERS),
        shoes=pick(((24, 22, 22), (60, 44, 34), (200, 200, 200))),
        coat=bool(rng.uniform() < 0.35), bag=str(rng.choice(['', '', 'back', 'hand'])),
        helmet=bool(rng.uniform() < 0.5), bicycle=pick(_CLOTHES, 0.3))


def walking_pose(look: PersonLook, phase: float, stride: float) -> list[Limb]:
    """Return the limbs of a walker; phase in radians, stride 0 = stands, 1 = strides out."""
    h, w = look.height_m, look.width
    limbs: list[Limb] = []
    hip_up, shoulder_up = 0.52 * h, 0.815 * h
    hip_x, shoulder_x = 0.055 * h, 0.105 * h * w
    for side, shift in ((-1, 0.0), (1, math.pi)):
        limbs += _leg(look, side * hip_x, hip_up, phase + shift, stride)
    for side, shift in ((-1, math.pi), (1, 0.0)):
        limbs += _arm(look, side * shoulder_x, shoulder_up, phase + shift, stride)
    low = 0.36 * h if look.coat else 0.47 * h
    limbs += _torso(look, low=low, high=shoulder_up, lean=0.02)
    limbs += _head(look, up=0.925 * h, forward=0.02)
    if look.bag == 'back':
        limbs.append(Limb((0, 0.62 * h, -0.17), (0, 0.74 * h, -0.17), 0.12, look.bicycle))
    elif look.bag == 'hand':
        limbs.append(Limb((0.26, 0.34 * h, 0.0), (0.26, 0.42 * h, 0.0), 0.10, look.bicycle))
    return limbs


def _leg(look: PersonLook, x: float, hip_up: float, phase: float, stride: float) -> list[Limb]:
    h = look.height_m
    swing = 0.48 * stride * math.sin(phase)
    bend = 0.75 * stride * max(0.0, math.sin(phase + 1.9))
    knee = (x, hip_up - 0.26 * h * math.cos(swing), 0.26 * h * math.sin(swing))
    ankle = (x, max(0.05, knee[1] - 0.235 * h * math.cos(swing - bend)),
             knee[2] + 0.235 * h * math.sin(swing - bend))
    toe = (x, max(0.03, ankle[1] - 0.03), ankle[2] + 0.10)
    return [Limb(ankle, toe, 0.045, look.shoes),
            Limb(knee, ankle, 0.058 * look.width, look.trousers),
            Limb((x, hip_up, 0.0), knee, 0.078 * look.width, look.trousers)]


def _arm(look: PersonLook, x: float, up: float, phase: float, stride: float) -> list[Limb]:
    h = look.height_m
    swing = 0.4 * stride * math.sin(phase)
    out = 0.03 if x > 0 else -0.03
    elbow = (x + out, up - 0.17 * h, 0.17 * h * math.sin(swing))
    hand = (x + out, elbow[1] - 0.13 * h, elbow[2] + 0.13 * h * math.sin(swing + 0.35))
    return [Limb(hand, (hand[0], hand[1] - 0.05, hand[2]), 0.035, look.skin),
            Limb(elbow, hand, 0.042, look.top), Limb((x, up, 0.0), elbow, 0.055, look.top)]


def _torso(look: PersonLook, *, low: float, high: float, lean: float) -> list[Limb]:
    x = 0.07 * look.height_m * look.width
    r = 0.092 * look.width
    hem = x * (1.15 if look.coat else 0.75)
    return [Limb((hem, low + 0.05, 0.0), (x, high - 0.06, lean), r, look.top),
            Limb((-hem, low + 0.05, 0.0), (-x, high - 0.06, lean), r, look.top),
            Limb((0, low + 0.05, 0.0), (0, high - 0.03, lean), r * 1.1, look.top)]


def _head(look: PersonLook, *, up: float, forward: float) -> list[Limb]:
    crown = (230.0, 230.0, 226.0) if look.helmet and look.bicycle[0] > 90 else look.hair
    return [Limb((0, up - 0.14, forward), (0, up - 0.04, forward), 0.055, look.skin),
            Limb((0, up + 0.035, forward - 0.035), (0, up + 0.02, forward - 0.04), 0.105, crown),
            Limb((0, up - 0.035, forward + 0.035), (0, up + 0.01, forward + 0.04), 0.08,
                 look.skin)]


WHEEL_M, _AXLE_Z = 0.34, 0.53


def riding_pose(look: PersonLook, phase: float) -> list[Limb]:
    """Return the limbs of a cyclist without the wheels; phase of the pedals in radians."""
    saddle, bars = (0.0, 0.94, -0.22), (0.0, 1.0, 0.42)
    hip, shoulder = (0.0, 1.02, -0.20), (0.0, 1.42, 0.12)
    crank = (0.0, 0.28, 0.0)
    limbs = [Limb(crank, saddle, 0.022, look.bicycle), Limb(crank, bars, 0.022, look.bicycle),
             Limb((0, 0.82, -0.18), (0, 0.88, 0.40), 0.022, look.bicycle),
             Limb((0, WHEEL_M, _AXLE_Z), bars, 0.022, look.bicycle),
             Limb((0, WHEEL_M, -_AXLE_Z), crank, 0.02, look.bicycle),
             Limb((0, WHEEL_M, -_AXLE_Z), saddle, 0.018, look.bicycle),
             Limb((-0.25, 1.02, 0.40), (0.25, 1.02, 0.40), 0.02, (30.0, 30.0, 30.0)),
             Limb((0, 0.96, -0.30), (0, 0.96, -0.12), 0.045, (24.0, 24.0, 24.0))]
    for side in (-1, 1):
        limbs += _pedalling_leg(look, side, phase + (math.pi if side > 0 else 0.0))
        limbs.append(Limb((side * 0.18, shoulder[1] - 0.04, shoulder[2]),
                          (side * 0.24, 1.18, 0.22), 0.05, look.top))
        limbs.append(Limb((side * 0.24, 1.18, 0.22), (side * 0.23, 1.05, 0.40), 0.042, look.top))
    for x in (-0.1, 0.0, 0.1):
        limbs.append(Limb((x * look.width, hip[1], hip[2]),
                          (x * 1.2 * look.width, shoulder[1] - 0.05, shoulder[2]), 0.105,
                          look.top))
    limbs += _head(look, up=1.60, forward=0.20)
    if look.bag == 'back':
        limbs.append(Limb((0, 1.18, -0.16), (0, 1.36, -0.04), 0.12, look.trousers))
    return limbs


def _pedalling_leg(look: PersonLook, side: int, phase: float) -> list[Limb]:
    foot = (side * 0.11, 0.30 + 0.17 * math.sin(phase), 0.02 + 0.17 * math.cos(phase))
    knee = (side * 0.12, (1.0 + foot[1]) / 2 + 0.04, (foot[2] - 0.2) / 2 + 0.28)
    return [Limb(foot, (foot[0], foot[1] - 0.02, foot[2] + 0.1), 0.045, look.shoes),
            Limb(knee, foot, 0.055, look.trousers),
            Limb((side * 0.1, 1.0, -0.18), knee, 0.08, look.trousers)]


def paint_person(canvas: Canvas, *, look: PersonLook, foot: Points, yaw: float, tag: int,
                 phase: float, stride: float, rides: bool, gain: float, haze: float,
                 grain: NDArray[np.uint8]) -> None:
    """Paint a walker, or a rider with the bicycle, standing at level position `foot` (3,)."""
    reach = canvas.view.model.width / 2 / canvas.view.model.fx
    if foot[2] < 1.3 or abs(foot[0]) > reach * 1.1 * foot[2] + 1.2:
        return
    limbs = riding_pose(look, phase) if rides else walking_pose(look, phase, stride)
    if not rides and foot[2] > 38.0:
        limbs = [limb for limb in limbs if limb.radius_m > 0.05]  # arms and shoes are too thin
    ends = np.array([(*limb.start, *limb.end) for limb in limbs])
    to_optical, origin = _placing(canvas, foot, yaw)
    points = ends.reshape(-1, 3) @ to_optical.T + origin
    wheels = _wheels() @ to_optical.T + origin if rides else np.empty((0, 3))
    everything = np.concatenate([points, wheels])
    if everything[:, 2].min() < 1.0:
        return
    focal = canvas.view.model.fx
    pixels = canvas.view.project(everything)
    window = canvas.window(pixels, margin=2 + focal * 0.15 / everything[:, 2].min())
    if window is None:
        return
    if canvas.buried(window, 1.0 / float(everything[:, 2].min())):
        return
    parts = PartsWindow(canvas, window)
    if rides:
        _draw_wheels(parts, pixels[len(points):], float(origin[2]), focal)
    fixed = np.rint((pixels[:len(points)] - (window.x0, window.y0)) * (1 << SUBPIXEL_BITS))
    _draw_limbs(parts, limbs, fixed.astype(np.int64).reshape(-1, 4).tolist(),
                points[:, 2].reshape(-1, 2).mean(axis=1), focal)
    parts.paint(tag, gain=gain, haze=haze, grain=grain)


def _placing(canvas: Canvas, foot: Points, yaw: float) -> tuple[Points, Points]:
    cos, sin = math.cos(yaw), math.sin(yaw)
    turn = np.array([[cos, 0, sin], [0, -1, 0], [-sin, 0, cos]])
    return canvas.view.optical_from_level @ turn, canvas.view.optical_from_level @ foot


def _draw_limbs(parts: PartsWindow, limbs: list[Limb], ends: list[list[int]], depth: Points,
                focal: float) -> None:
    """Draw the limbs from the farthest to the nearest."""
    depths = depth.tolist()
    for i in sorted(range(len(limbs)), key=depths.__getitem__, reverse=True):
        limb = limbs[i]
        number = parts.part(limb.colour, facing_plane(depths[i]))
        thickness = max(1, round(2 * limb.radius_m * focal / depths[i]))
        x0, y0, x1, y1 = ends[i]
        parts.stroke((x0, y0), (x1, y1), thickness, number)


def _wheels() -> Points:
    """Return the rims of both wheels (24, 3), body frame."""
    angle = np.linspace(0, 2 * math.pi, 12, endpoint=False)
    return np.array([(0.0, WHEEL_M + WHEEL_M * math.sin(a), z + WHEEL_M * math.cos(a))
                     for z in (-_AXLE_Z, _AXLE_Z) for a in angle.tolist()])


def _draw_wheels(parts: PartsWindow, rims: Points, depth_m: float, focal: float) -> None:
    """Draw rims and let the street show between the spokes; the label covers the whole wheel."""
    plane = facing_plane(depth_m)
    inside = parts.part(_GLASSY, plane)
    rim = parts.part((28.0, 28.0, 28.0), plane)
    thickness = max(1, round(0.045 * focal / depth_m))
    for wheel in (rims[:12], rims[12:]):
        parts.polygon(wheel, inside)
        fixed = np.rint((wheel - (parts.window.x0, parts.window.y0)) * (1 << SUBPIXEL_BITS))
        corners = fixed.astype(np.int64).tolist()
        for i, corner in enumerate(corners):
            parts.stroke(tuple(corners[i - 1]), tuple(corner), thickness, rim)
