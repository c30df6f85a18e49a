# SPDX-License-Identifier: Apache-2.0
"""Cars, vans, lorries and buses as small polygon models."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cache
import math

import numpy as np
from numpy.typing import NDArray

from seg_ros.sim.camera import clip_near, NEAR_M
from seg_ros.sim.canvas import Canvas, subpixels
from seg_ros.sim.parts import PartsWindow

Points = NDArray[np.float64]
_TYRE, _HUB, _GLASS = (26.0, 26.0, 28.0), (120.0, 122.0, 126.0), (44.0, 50.0, 58.0)
_LAMP, _TAIL, _DARK = (226.0, 226.0, 216.0), (150.0, 24.0, 22.0), (30.0, 30.0, 32.0)
_PLATE_FRONT, _PLATE_BACK = (222.0, 222.0, 214.0), (222.0, 186.0, 60.0)
_BODY = (-1.0, 0.0, 0.0)  # stands for the car's own paint
_TRIM = (-2.0, 0.0, 0.0)  # a darker tone of it


@dataclass(frozen=True)
class Face:
    """A flat piece of the body with details drawn on it."""

    outline: Points  # (N, 3) car frame: x right, y up, z forward, metres
    normal: Points  # (3,) outward
    details: tuple[tuple[tuple[float, float, float], Points], ...]  # colour, outline (N, 3)
    colour: tuple[float, float, float] = _BODY


@dataclass(frozen=True)
class CarModel:
    """The faces of one body shape, in an order that paints correctly from eye height."""

    faces: tuple[Face, ...]
    size_m: tuple[float, float, float]  # width, height, length


@dataclass(frozen=True)
class CarMesh:
    """A car model as arrays: polygon i has the points starts[i] to starts[i + 1]."""

    points: Points  # (P, 3) car frame
    starts: tuple[int, ...]  # (N + 1,)
    face: NDArray[np.intp]  # (N,) the face that the polygon lies in
    painted: NDArray[np.intp]  # the polygons in the car's paint
    trim: NDArray[np.intp]  # those in a darker tone of it
    glass: NDArray[np.intp]
    colours: Points  # (N, 3)
    lean: Points  # (G, 1) how much the panes of glass face the sky, 0..1
    small: NDArray[np.bool_]  # (N,) left out far away
    normals: Points  # (F, 3) outward
    anchors: Points  # (F, 3) a point of each face


@dataclass(frozen=True)
class CarLook:
    """Which body and which paint."""

    shape: str
    paint: tuple[float, float, float]


SHAPES = {  # width, height, length, belt line, bonnet line, cabin from the back: 4 stations
    'hatch': (1.70, 1.48, 3.90, 0.92, 0.80, (-1.90, -1.45, 0.25, 1.05)),
    'saloon': (1.78, 1.44, 4.60, 0.93, 0.78, (-1.75, -1.05, 0.30, 1.15)),
    'estate': (1.78, 1.50, 4.65, 0.94, 0.80, (-2.25, -1.95, 0.25, 1.15)),
    'suv': (1.88, 1.78, 4.55, 1.08, 0.98, (-2.20, -1.90, 0.30, 1.05)),
    'mpv': (1.82, 1.68, 4.30, 1.00, 0.92, (-2.10, -1.85, 0.65, 1.50)),
    'van': (1.95, 2.20, 5.10, 1.20, 1.05, (-2.52, -2.45, 1.15, 1.90)),
    'lorry': (2.30, 3.10, 7.00, 1.30, 1.20, (-3.48, -3.46, 3.30, 3.46)),
    'bus': (2.50, 3.00, 11.0, 1.15, 1.10, (-5.48, -5.46, 5.40, 5.48)),
    'decker': (2.50, 4.30, 10.5, 1.15, 1.10, (-5.23, -5.21, 5.15, 5.23)),
}
_SHARES = {'hatch': .30, 'saloon': .21, 'estate': .13, 'suv': .09, 'mpv': .08, 'van': .12,
           'lorry': .025, 'bus': .025, 'decker': .02}
_PAINTS = ((38, 40, 44), (30, 32, 36), (150, 154, 158), (176, 180, 184), (208, 210, 212),
           (110, 116, 122), (44, 58, 96), (40, 70, 130), (120, 28, 30), (158, 34, 32),
           (40, 66, 52), (92, 98, 110), (190, 180, 150), (70, 30, 40), (88, 128, 160))


def random_look(rng: np.random.Generator, *, small: bool) -> CarLook:
    """Draw a body and a paint; `small` leaves out lorries and buses."""
    names = list(SHAPES)[:6] if small else list(SHAPES)
    shares = np.array([_SHARES[name] for name in names])
    shape = str(rng.choice(names, p=shares / shares.sum()))
    paints = np.array(_PAINTS)
    paint = paints[int(rng.integers(len(paints)))]
    if shape in ('van', 'lorry') and rng.uniform() < 0.6:
        paint = np.array((206, 208, 206))
    if shape in ('bus', 'decker'):
        paint = np.array([(40, 84, 150), (170, 36, 34), (210, 212, 206), (60, 120, 84)]
                         [int(rng.integers(4))])
    red, green, blue = np.clip(paint * rng.uniform(0.85, 1.15), 8, 235).tolist()
    return CarLook(shape=shape, paint=(red, green, blue))


@cache
def car_model(shape: str) -> CarModel:
    """Build the body of a shape."""
    width, height, length, belt, bonnet, stations = SHAPES[shape]
    half = width / 2
    boxy = shape in ('van', 'lorry', 'bus', 'decker')
    waist = half * (0.98 if boxy else 0.92)  # cabin at the belt line
    top = half * (0.95 if boxy else 0.72)  # cabin at the roof
    back, front, low = -length / 2, length / 2, 0.22
    a, b, c, d = stations
    rise = belt - 0.06 if not boxy else belt
    body = [(back + 0.05, rise), (a, belt), (d, belt), (front - 0.12, bonnet), (front, 0.6),
            (front - 0.04, low), (back + 0.04, low), (back, 0.6)]
    faces = _extrude(body, half)
    faces += _cabin(a=a, b=b, c=c, d=d, belt=belt, roof=height, waist=waist, top=top, shape=shape)
    named = [_dress(face, half=half, length=length, shape=shape, bonnet=bonnet) for face in faces]
    return CarModel(faces=tuple(named), size_m=(width, height, length))


@cache
def car_mesh(shape: str) -> CarMesh:
    """Lay the faces of a shape out as arrays."""
    faces = car_model(shape).faces
    polygons = []
    for i, face in enumerate(faces):
        polygons.append((i, face.colour, face.outline, False))
        polygons += [(i, colour, outline, n > 0) for n, (colour, outline)
                     in enumerate(face.details)]
    colours = [colour for _, colour, _, _ in polygons]
    painted, trim, glass = (np.array([i for i, colour in enumerate(colours) if colour == kind],
                                     np.intp) for kind in (_BODY, _TRIM, _GLASS))
    face = np.array([i for i, _, _, _ in polygons])
    normals = np.array([face.normal for face in faces])
    ends = np.cumsum([len(outline) for _, _, outline, _ in polygons]).tolist()
    return CarMesh(points=np.concatenate([outline for _, _, outline, _ in polygons]),
                   starts=(0, *ends), face=face, painted=painted, trim=trim, glass=glass,
                   colours=np.array(colours),
                   lean=np.maximum(normals[face[glass], 1], 0.0)[:, None],
                   small=np.array([small for _, _, _, small in polygons]),
                   normals=normals,
                   anchors=np.array([face.outline[0] for face in faces]))


def _extrude(profile: list[tuple[float, float]], half: float) -> list[Face]:
    """Pull a side view (z, y), clockwise from the upper back, across the car's width."""
    count = len(profile)
    faces = []
    for i, (z0, y0) in enumerate(profile):
        z1, y1 = profile[(i + 1) % count]
        outline = np.array([(-half, y0, z0), (half, y0, z0), (half, y1, z1), (-half, y1, z1)])
        run = math.hypot(z1 - z0, y1 - y0)
        faces.append(Face(outline, np.array([0, (z1 - z0) / run, -(y1 - y0) / run]), ()))
    for side in (-1, 1):
        outline = np.array([(side * half, y, z) for z, y in profile])
        faces.append(Face(outline, np.array([float(side), 0, 0]), ()))
    return faces


def _cabin(*, a: float, b: float, c: float, d: float, belt: float, roof: float, waist: float,
           top: float, shape: str) -> list[Face]:
    """Return roof, windscreen, rear window and sides with their panes."""
    def ring(z: float, x: float, y: float) -> tuple[Points, Points]:
        return np.array([-x, y, z]), np.array([x, y, z])
    al, ar = ring(a, waist, belt)
    bl, br = ring(b, top, roof)
    cl, cr = ring(c, top, roof)
    dl, dr = ring(d, waist, belt)
    faces = [Face(np.array([bl, br, cr, cl]), np.array([0, 1.0, 0]), ())]
    rear_pane = _inset(np.array([bl, br, ar, al]), 0.10, 0.10)
    if shape in ('van', 'lorry'):
        rear_pane = rear_pane if shape == 'van' else rear_pane * np.nan
    front_pane = _inset(np.array([cl, cr, dr, dl]), 0.07, 0.10)
    if shape == 'decker':
        front_pane = _inset(np.array([cl, cr, dr, dl]), 0.07, 0.04)
    faces.append(Face(np.array([bl, br, ar, al]), _normal(bl, br, al, back=True),
                      ((_GLASS, rear_pane),) if np.isfinite(rear_pane).all() else ()))
    faces.append(Face(np.array([cl, cr, dr, dl]), _normal(cl, cr, dl, back=False),
                      ((_GLASS, front_pane),)))
    for side, quad in ((-1, np.array([bl, cl, dl, al])), (1, np.array([br, cr, dr, ar]))):
        run = np.array([float(side) * (roof - belt), waist - top, 0])
        faces.append(Face(quad, run / np.linalg.norm(run), _panes(quad, shape)))
    return faces


def _normal(left: Points, right: Points, below: Points, *, back: bool) -> Points:
    normal = np.cross(right - left, below - left)
    normal = normal / np.linalg.norm(normal)
    outward = -1 if back else 1
    return normal if normal[2] * outward > 0 else -normal


def _inset(quad: Points, side: float, edge: float) -> Points:
    """Shrink a quad (top left, top right, bottom right, bottom left)."""
    return _patch(quad, side, edge, 1 - side, 1 - edge)


def _patch(quad: Points, u0: float, v0: float, u1: float, v1: float) -> Points:
    """Return the piece of a quad between fractions of its width and height."""
    def at(u: float, v: float) -> Points:
        upper = quad[0] + (quad[1] - quad[0]) * u
        lower = quad[3] + (quad[2] - quad[3]) * u
        return upper + (lower - upper) * v
    return np.array([at(u0, v0), at(u1, v0), at(u1, v1), at(u0, v1)])


def _panes(quad: Points, shape: str) -> tuple[tuple[tuple[float, float, float], Points], ...]:
    """Return the side windows of a cabin, from the back to the front."""
    if shape == 'lorry':
        return ((_GLASS, _patch(quad, 0.80, 0.35, 0.97, 0.75)),
                (_DARK, _patch(quad, 0.765, 0.0, 0.775, 1.0)))
    if shape == 'van':
        return ((_GLASS, _patch(quad, 0.72, 0.12, 0.97, 0.94)),)
    if shape in ('bus', 'decker'):
        rows = ((0.08, 0.42), (0.58, 0.95)) if shape == 'decker' else ((0.12, 0.8),)
        return tuple((_GLASS, _patch(quad, i / 8 + 0.008, v0, (i + 1) / 8 - 0.008, v1))
                     for v0, v1 in rows for i in range(8))
    return ((_GLASS, _patch(quad, 0.04, 0.12, 0.30, 0.97)),
            (_GLASS, _patch(quad, 0.33, 0.12, 0.62, 0.97)),
            (_GLASS, _patch(quad, 0.65, 0.12, 0.96, 0.97)))


def _dress(face: Face, *, half: float, length: float, shape: str, bonnet: float) -> Face:
    """Add lamps, plates, wheels and trim to the faces of the lower body."""
    upright = abs(face.normal[1]) < 0.35
    low = face.outline[:, 1].max() < 1.31 and face.outline[:, 1].min() < 0.7
    if not (upright and low):
        return face
    details: list[tuple[tuple[float, float, float], Points]] = list(face.details)
    if abs(face.normal[0]) > 0.9:
        details += _side_details(float(np.sign(face.normal[0])), half, length, shape)
    elif face.outline[:, 1].max() > 0.62:
        quad = _upright(face.outline)
        front = face.normal[2] > 0
        lamp = _LAMP if front else _TAIL
        details += [(lamp, _patch(quad, 0.02, 0.1, 0.22, 0.85)),
                    (lamp, _patch(quad, 0.78, 0.1, 0.98, 0.85))]
        middle = (_DARK, _patch(quad, 0.28, 0.25, 0.72, 0.8)) if front else \
            (_PLATE_BACK, _patch(quad, 0.36, 0.35, 0.64, 0.75))
        details.append(middle)
    else:
        quad = _upright(face.outline)
        details.append((_DARK, _patch(quad, 0.0, 0.55, 1.0, 1.0)))
        if face.normal[2] > 0:
            details.append((_PLATE_FRONT, _patch(quad, 0.35, 0.1, 0.65, 0.4)))
    return Face(face.outline, face.normal, tuple(details), face.colour)


def _upright(outline: Points) -> Points:
    """Order a cross-wise quad as top left, top right, bottom right, bottom left."""
    ordered = outline[np.lexsort((outline[:, 0], -outline[:, 1]))]
    return np.array([ordered[0], ordered[1], ordered[3], ordered[2]])


def _side_details(side: float, half: float, length: float,
                  shape: str) -> list[tuple[tuple[float, float, float], Points]]:
    big = shape in ('lorry', 'bus', 'decker')
    radius = 0.48 if big else 0.36 if shape in ('van', 'suv') else 0.32
    axles = (-0.30 * length, 0.30 * length)
    x = side * half
    band = [(x, 0.52, -length / 2 + 0.02), (x, 0.52, length / 2 - 0.02),
            (x, 0.46, length / 2 - 0.02), (x, 0.46, -length / 2 + 0.02)]
    sill = [(x, 0.34, -length / 2 + 0.05), (x, 0.34, length / 2 - 0.05),
            (x, 0.22, length / 2 - 0.05), (x, 0.22, -length / 2 + 0.05)]
    details = [(_TRIM, np.array(band)), (_DARK, np.array(sill))]
    for z in axles:
        details += [(_DARK, _wheel(x, z, radius * 1.17, radius)), (_TYRE, _wheel(x, z, radius)),
                    (_HUB, _wheel(x, z, radius * 0.58, radius))]
    return details


def _wheel(x: float, z: float, radius: float, axle_up: float | None = None) -> Points:
    angle = np.linspace(0, 2 * math.pi, 12, endpoint=False)
    up = (radius if axle_up is None else axle_up) + radius * np.sin(angle)
    return np.stack([np.full(12, x), np.maximum(up, 0.0), z + radius * np.cos(angle)], axis=1)


@dataclass(frozen=True)
class Light:
    """What the light of a moment does to a face."""

    sun: Points  # (3,) unit, level frame with y down, towards the sun
    strength: float
    ambient: float

    def on(self, normal: Points) -> float:
        """Return the gain of a face with a level normal (3,)."""
        direct = max(0.0, float(normal @ self.sun))
        return self.ambient * (0.86 - 0.16 * float(normal[1])) + self.strength * direct


def paint_car(canvas: Canvas, *, look: CarLook, foot: Points, yaw: float, tag: int, light: Light,
              haze: float, grain: NDArray[np.uint8]) -> None:
    """Paint a car whose footprint has its middle at level position `foot` (3,)."""
    mesh = car_mesh(look.shape)
    cos, sin = math.cos(yaw), math.sin(yaw)
    turn = np.array([[cos, 0, sin], [0, -1, 0], [-sin, 0, cos]])  # level_from_car
    to_optical = canvas.view.optical_from_level @ turn
    origin = canvas.view.optical_from_level @ foot
    points = mesh.points @ to_optical.T + origin
    depth = points[:, 2]
    if depth.max() < NEAR_M + 0.2:
        return
    clipped = depth.min() < NEAR_M
    pixels = canvas.view.project(_in_front(points) if clipped else points)
    window = canvas.window(pixels, margin=2)
    if window is None:
        return
    if canvas.buried(window, 1.0 / max(float(depth.min()), NEAR_M)):
        return
    parts = PartsWindow(canvas, window)
    planes = canvas.view.inverse_depth_planes(mesh.normals @ to_optical.T,
                                              mesh.anchors @ to_optical.T + origin)
    parts.use(_tones(mesh, look, light, turn), planes[mesh.face])
    eye = -(foot @ turn)  # the camera in the car frame
    facing = ((eye - mesh.anchors) * mesh.normals).sum(axis=1) > 0
    far = float(origin[2]) > 45.0
    drawn = facing[mesh.face]
    if far:
        drawn &= ~mesh.small
    fixed = subpixels(pixels, window)
    for number in np.flatnonzero(drawn).tolist():
        piece = slice(mesh.starts[number], mesh.starts[number + 1])
        if not clipped:
            parts.fill(fixed[piece], number + 1)
            continue
        shape = clip_near(points[piece])
        if len(shape) > 2:
            parts.polygon(canvas.view.project(shape), number + 1)
    parts.paint(tag, gain=1.0, haze=haze, grain=grain,
                between_m=(max(float(depth.min()), NEAR_M), float(depth.max())))


def _in_front(points: Points) -> Points:
    """Move the points behind the near plane onto it."""
    moved = points.copy()
    np.maximum(moved[:, 2], NEAR_M, out=moved[:, 2])
    return moved


def _tones(mesh: CarMesh, look: CarLook, light: Light, turn: Points) -> Points:
    """Return the colour (N, 3) of every polygon in this light."""
    normals = mesh.normals @ turn.T
    gains = light.ambient * (0.86 - 0.16 * normals[:, 1])
    gains += light.strength * np.maximum(normals @ light.sun, 0.0)
    gain = gains[mesh.face][:, None]
    paint = np.array(look.paint)
    dim = 0.3 + 0.7 * gain
    tones = mesh.colours * dim
    tones[mesh.painted] = paint * gain[mesh.painted]
    tones[mesh.trim] = paint * (0.6 * dim[mesh.trim])
    # glass mirrors the sky, more so where it leans back
    tones[mesh.glass] = np.multiply(_GLASS, gain[mesh.glass]) + 62 * light.ambient * mesh.lean
    return tones
