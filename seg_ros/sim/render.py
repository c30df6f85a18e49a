# SPDX-License-Identifier: Apache-2.0
"""Paints one frame: sky and skyline, ground, what stands there, what moves."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_ros.sim.canvas import Canvas, inked, paint_quad, Texture
from seg_ros.sim.cars import CarLook, Light, paint_car, SHAPES
from seg_ros.sim.classes import BICYCLIST, BUILDING, CAR, FENCE, POLE, SIGN, TREE
from seg_ros.sim.facades import Facade, make_facade
from seg_ros.sim.figures import paint_person, PersonLook
from seg_ros.sim.foliage import make_tree, TreeSprite
from seg_ros.sim.ground import Ground, GroundLook, random_ground
from seg_ros.sim.parts import facing_plane, PartsWindow
from seg_ros.sim.path import LocalRoad, Road
from seg_ros.sim.textures import (
    cloud_noise,
    hedge_texture,
    railing_texture,
    sky_panorama,
    skyline,
    to_uint8,
    wall_texture,
)
from seg_ros.sim.traffic import Actor
from seg_ros.sim.weather import Weather
from seg_ros.sim.world import Barrier, Chunk, FACADE_STYLES, FACADES_EACH, House, Post, Sign, Tree

Points = NDArray[np.float64]
ToPixels = Callable[[list[tuple[float, float]] | Points], Points]
_FAR_M, _STANDING_FAR_M = 130.0, 95.0
_TREE_KINDS = ('leafy',) * 5 + ('bare',) * 5 + ('conifer',) * 3 + ('bush',) * 3


@dataclass(frozen=True)
class Scenery:
    """All pictures that a seed paints with."""

    facades: tuple[Facade, ...]
    trees: tuple[TreeSprite, ...]
    barriers: dict[str, tuple[Texture, ...]]
    ground: GroundLook
    sky: NDArray[np.uint8]  # (height, 2 width, 4)
    skyline: NDArray[np.uint8]  # (h, w, 4)
    skyline_classes: NDArray[np.uint8]
    grain: NDArray[np.uint8]  # (1024, 1024, 4) around 128, lies over flat colours


def make_scenery(seed: int, width: int, height: int) -> Scenery:
    """Draw all pictures of a seed."""
    rng = np.random.default_rng([seed, 30])
    facades = tuple(make_facade(rng, style) for style in FACADE_STYLES
                    for _ in range(FACADES_EACH))
    trees = tuple(make_tree(rng, kind) for kind in _TREE_KINDS)
    barriers = {'fence': tuple(railing_texture(rng) for _ in range(4)),
                'hedge': tuple(hedge_texture(rng) for _ in range(4)),
                'wall': tuple(wall_texture(rng) for _ in range(4))}
    picture, classes = skyline(rng)
    grain = 128 + 4 * cloud_noise(rng, (512, 512), coarse=64, octaves=3, fade=0.8) \
        + 3 * rng.standard_normal((512, 512), np.float32)
    return Scenery(facades=facades, trees=trees, barriers=barriers, ground=random_ground(rng),
                   sky=cv2.cvtColor(sky_panorama(rng, (height, 2 * width)), cv2.COLOR_RGB2RGBA),
                   skyline=cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA),
                   skyline_classes=classes,
                   grain=cv2.merge([np.tile(to_uint8(grain), (2, 2))] * 4))


@dataclass(frozen=True)
class Scene:
    """What is to be seen in one frame."""

    s: float
    heading: float  # of the road at the camera, radians
    local: LocalRoad
    chunks: list[Chunk]
    actors: list[Actor]


class Renderer:
    """Paints the frames of one seed."""

    def __init__(self, scenery: Scenery, weather: Weather, road: Road) -> None:
        """Keep what all frames share."""
        self._scenery, self._weather, self._road = scenery, weather, road

    def paint(self, canvas: Canvas, scene: Scene) -> None:
        """Paint a scene: the far first, so that railings show what is behind them."""
        light = self._weather.light(scene.heading)
        self._sky(canvas, scene)
        ground = Ground(canvas, self._road, scene.local, self._scenery.ground, scene.s)
        ground.paint(scene.chunks)
        self._shadows(ground, scene, light)
        ground.finish()
        brush = _Brush(canvas, self._scenery, self._weather, light, scene)
        jobs = [*brush.standing_jobs(scene.chunks), *brush.actor_jobs(scene.actors)]
        # solid things from the front, so that what they hide costs nothing; then, from the back,
        # what one can look through
        for job in sorted((job for job in jobs if job.solid), key=lambda job: job.depth_m):
            job.paint()
        for job in sorted((job for job in jobs if not job.solid), key=lambda job: -job.depth_m):
            job.paint()

    def _sky(self, canvas: Canvas, scene: Scene) -> None:
        """Copy a window of the sky and stand the skyline on the horizon."""
        sky, height, width = self._scenery.sky, canvas.height, canvas.width
        horizon = _horizon(canvas)
        shift = int((scene.heading % (2 * math.pi)) / (2 * math.pi) * 0.25 * width) \
            % (sky.shape[1] - width)
        shown = min(max(horizon + 8, 1), height, sky.shape[0])
        first = sky.shape[0] - shown
        canvas.image[:shown] = sky[first:first + shown, shift:shift + width]
        self._skyline(canvas, scene, horizon)

    def _skyline(self, canvas: Canvas, scene: Scene, horizon: int) -> None:
        scenery = self._scenery
        rows, columns = scenery.skyline_classes.shape
        seen = 2 * math.atan(canvas.width / 2 / canvas.view.model.fx) / (2 * math.pi) * columns
        left = int((scene.heading / (2 * math.pi) * columns - seen / 2) % columns)
        index = (left + (np.arange(canvas.width) * (seen / canvas.width)).astype(int)) % columns
        tall = round(canvas.height * 0.085)
        bottom = min(max(horizon + 10, 0), canvas.height)
        top = max(0, bottom - tall)
        pick = np.arange(bottom - top) * rows // max(tall, 1)
        classes = scenery.skyline_classes[pick][:, index]
        picture = scenery.skyline[pick][:, index]
        haze = self._weather.haze(300.0) * 0.7
        picture = cv2.convertScaleAbs(picture, alpha=1 - haze, beta=190 * haze)
        area = np.s_[top:bottom]
        for class_id in (BUILDING, TREE):
            mask = classes == class_id
            canvas.tag[area][mask] = canvas.new_tag(class_id)
            canvas.inverse_depth[area][mask] = np.float32(1 / 400.0)
            cv2.copyTo(picture, mask.view(np.uint8), canvas.image[area])

    def _shadows(self, ground: Ground, scene: Scene, light: Light) -> None:
        """Lay the shadows of houses, trees and actors on the ground."""
        weather = self._weather
        shade = int(255 * (1 - weather.shadow))
        slope = np.array([-light.sun[0], 0, -light.sun[2]]) / max(-float(light.sun[1]), 0.2)
        local, s = scene.local, scene.s
        if weather.strength > 0.3:
            for chunk in scene.chunks:
                for house in chunk.houses:
                    if not 0 < house.s1 - s < 80:
                        continue
                    tall = self._scenery.facades[house.facade].height_m * house.scale
                    foot = local.to_level([house.s0 - s, house.s1 - s], house.d)
                    if foot[:, 2].max() > 1.0:
                        tip = foot[::-1] + slope * tall
                        ground.shadow(np.concatenate([foot, tip]), shade)
                for tree in chunk.trees:
                    if abs(tree.d) < 14 and 0 < tree.s - s < 45:
                        foot = local.to_level([tree.s - s], tree.d)
                        _blob(ground, foot[0] + slope * tree.height_m * 0.6,
                              tree.height_m * 0.35, shade)
        self._actor_shadows(ground, scene, slope, shade)

    def _actor_shadows(self, ground: Ground, scene: Scene, slope: Points, shade: int) -> None:
        near = [a for a in scene.actors
                if 0 < a.s - scene.s < (55.0 if a.class_id == CAR else 28.0)]
        feet = scene.local.to_level(np.array([a.s - scene.s for a in near]),
                                    np.array([a.d for a in near]))
        for actor, foot in zip(near, feet, strict=True):
            if not isinstance(actor.look, CarLook):
                _blob(ground, foot, 0.25 if actor.class_id != BICYCLIST else 0.4, shade)
                continue
            width, height, length = SHAPES[actor.look.shape][:3]
            yaw = actor.yaw + float(scene.local.heading_at(actor.s - scene.s))
            cos, sin = math.cos(yaw), math.sin(yaw)
            turn = np.array([[cos, 0, -sin], [0, 0, 0], [sin, 0, cos]])
            base = (_FOOTPRINT * (width / 2, 0, length / 2)) @ turn + foot
            if self._weather.strength > 0.3:
                outline = np.concatenate([base, base + slope * height * 0.8])
                hull = cv2.convexHull(outline[:, ::2].astype(np.float32))[:, 0]
                cast = np.full((len(hull), 3), foot[1])
                cast[:, ::2] = hull
                ground.shadow(cast, shade)
            ground.shadow(foot + (base - foot) * 1.06, min(shade, 92))


_FOOTPRINT = np.array([(-1, 0, -1), (1, 0, -1), (1, 0, 1), (-1, 0, 1.0)])
_ANGLES = np.linspace(0, 2 * math.pi, 9, endpoint=False)
_RING = np.stack([np.cos(_ANGLES), np.zeros(9), np.sin(_ANGLES)], axis=1)


def _blob(ground: Ground, middle: Points, radius: float, shade: int) -> None:
    if middle[2] > radius + 1.0:
        ground.shadow(middle + radius * _RING, shade)


def _horizon(canvas: Canvas) -> int:
    """Return the row of the horizon in the middle of the image."""
    a, b, c = canvas.view.ground_plane()
    return int(round((-c - a * canvas.width / 2) / b))


class Job(NamedTuple):
    """One thing to paint."""

    depth_m: float
    solid: bool  # False: the image shows what is behind in places
    paint: Callable[[], None]


class _Brush:
    """Turns the things of a scene into (depth, paint it) jobs."""

    def __init__(self, canvas: Canvas, scenery: Scenery, weather: Weather, light: Light,
                 scene: Scene) -> None:
        self._canvas, self._scenery, self._weather = canvas, scenery, weather
        self._light, self._local, self._s = light, scene.local, scene.s
        self._tags = {c: canvas.new_tag(c) for c in (BUILDING, TREE, POLE, SIGN, FENCE)}
        self._side_slope = 1.25 * canvas.width / 2 / canvas.view.model.fx

    def standing_jobs(self, chunks: list[Chunk]) -> Iterable[Job]:
        """Yield the jobs of all that stands in some chunks."""
        yield from self._houses([house for chunk in chunks for house in chunk.houses])
        for chunk in chunks:
            for barrier in chunk.barriers:
                yield from self._barrier(barrier)
        yield from self._standing([tree for chunk in chunks for tree in chunk.trees],
                                  self._tree, solid=False)
        yield from self._standing([post for chunk in chunks for post in chunk.posts],
                                  self._post, solid=True)
        yield from self._standing([sign for chunk in chunks for sign in chunk.signs],
                                  self._sign, solid=True)

    def actor_jobs(self, actors: list[Actor]) -> list[Job]:
        """Return the jobs of all that moves."""
        if not actors:
            return []
        feet = self._local.to_level(np.array([actor.s for actor in actors]) - self._s,
                                    np.array([actor.d for actor in actors]))
        return [Job(depth, actor.class_id != BICYCLIST, lambda a=actor, f=foot: self._actor(a, f))
                for actor, foot, depth in zip(actors, feet, feet[:, 2].tolist(), strict=True)
                if depth > -4.0 and abs(foot[0]) < max(depth, 0.0) * self._side_slope + 4]

    def _standing(self, things: list, paint: Callable, *, solid: bool) -> Iterable[Job]:
        if not things:
            return
        feet = self._local.to_level(np.array([thing.s for thing in things]) - self._s,
                                    np.array([thing.d for thing in things]))
        for thing, foot, depth in zip(things, feet, feet[:, 2].tolist(), strict=True):
            if 1.2 < depth < _STANDING_FAR_M and abs(foot[0]) < depth * self._side_slope + 5:
                yield Job(depth, solid, lambda t=thing, f=foot: paint(t, f))

    def _gain(self, normal: Points, tint: float = 1.0) -> float:
        return self._light.on(normal) * tint

    def _to_optical(self, points: Points) -> Points:
        return self._canvas.view.to_optical(points)

    def _hidden(self, left: Points, right: Points) -> bool:
        """Say whether a wall between two level foot points is outside the view."""
        x0, _, z0 = left.tolist()
        x1, _, z1 = right.tolist()
        slope = self._side_slope
        return (max(z0, z1) < 1.0 or min(z0, z1) > _FAR_M + 20.0
                or (x0 > slope * z0 and x1 > slope * z1)
                or (x0 < -slope * z0 and x1 < -slope * z1))

    def _wall(self, left: Points, right: Points, down: Points, texture: Texture, *,
              class_id: int, tint: float = 1.0, outline: Points | None = None) -> Iterable[Job]:
        """Yield the job of a wall `down` (3,) to two level foot points, if it can be seen."""
        if self._hidden(left, right):
            return
        along = right - left
        length = math.hypot(along[0], along[2])
        normal = np.array([along[2], 0.0, -along[0]]) / max(length, 1e-6)
        normal = normal if normal @ left < 0 else -normal
        depth = (float(left[2]) + float(right[2])) / 2
        corner, along, down = self._to_optical(np.array([left - down, along, down]))
        gain = self._gain(normal, tint)

        def job() -> None:
            paint_quad(self._canvas, corner=corner, along=along, down=down, texture=texture,
                       tag=self._tags[class_id], gain=gain, haze=self._weather.haze(depth),
                       outline=outline)
        yield Job(depth, texture.opaque, job)

    def _houses(self, houses: list[House]) -> Iterable[Job]:
        """Return fronts, gables and roofs."""
        if not houses:
            return
        deep = [math.copysign(9.0, house.d) for house in houses]
        s = [(h.s0, h.s1, h.s0, h.s0) for h in houses]
        d = [(h.d, h.d, h.d + b, h.d + b / 2) for h, b in zip(houses, deep, strict=True)]
        feet = self._local.to_level(np.array(s) - self._s, np.array(d))
        depth = feet[..., 2]
        within = (depth.max(axis=1) >= 1.0) & (depth.min(axis=1) <= _FAR_M + 20.0)
        for i in np.flatnonzero(within).tolist():
            yield from self._walls(houses[i], feet[i])

    def _walls(self, house: House, feet: Points) -> Iterable[Job]:
        """Return front, roof and gable of a house; feet: near, far, near behind, near ridge."""
        facade = self._scenery.facades[house.facade]
        tall = facade.height_m * house.scale
        near, far, back, ridge = feet
        left, right = (near, far) if house.d < 0 else (far, near)
        down, tint = np.array([0.0, tall, 0.0]), house.tint
        yield from self._wall(left, right, down, facade.front, class_id=BUILDING, tint=tint)
        if house.roof_m > 0:
            slant = near - ridge + (0.0, house.roof_m, 0.0)
            yield from self._wall(left - down, right - down, slant, facade.roof,
                                  class_id=BUILDING, tint=tint)
        if house.gable:
            top = tall + house.roof_m
            eaves = house.roof_m / top
            pent = np.array([[0, eaves], [0.5, 0.0], [1, eaves], [1, 1], [0, 1.0]])
            yield from self._wall(near, back, np.array([0.0, top, 0.0]), facade.side,
                                  class_id=BUILDING, tint=tint, outline=pent)

    def _barrier(self, barrier: Barrier) -> Iterable[Job]:
        """Return the jobs of a railing, cut into pieces that a texture covers."""
        if barrier.s1 - self._s < 1.0 or barrier.s0 - self._s > 70.0:
            return
        count = max(1, round((barrier.s1 - barrier.s0) / 7.5))
        s = np.linspace(barrier.s0, barrier.s1, count + 1) - self._s
        feet = self._local.to_level(s, np.linspace(barrier.d0, barrier.d1, count + 1))
        class_id = {'fence': FENCE, 'hedge': TREE, 'wall': BUILDING}[barrier.kind]
        texture = self._scenery.barriers[barrier.kind][barrier.texture]
        down = np.array([0.0, barrier.height_m, 0.0])
        for left, right in zip(feet[:-1], feet[1:], strict=True):
            yield from self._wall(left, right, down, texture, class_id=class_id)

    def _tree(self, tree: Tree, foot: Points) -> None:
        """Paint a sprite, scaled to its distance."""
        sprite = self._scenery.trees[tree.sprite]
        base = self._canvas.view.optical_from_level @ foot
        focal, depth = self._canvas.view.model.fx, float(base[2])
        if depth < 1.5:
            return
        tall = tree.height_m * focal / depth
        wide = tall * sprite.aspect
        foot_px = self._canvas.view.project(base[None])[0]
        box = np.array([[foot_px[0] - wide / 2, foot_px[1] - tall],
                        [foot_px[0] + wide / 2, foot_px[1]]])
        window = self._canvas.window(box, margin=0)
        if window is None:
            return
        if self._canvas.buried(window, 1 / depth):
            return
        level = int(math.log2(max(sprite.levels[0].shape[0] / max(tall, 1.0), 1.0)) + 0.3)
        level = min(level, len(sprite.levels) - 1)
        source = sprite.levels[level]
        scale_x, scale_y = source.shape[1] / wide, source.shape[0] / tall
        to_sprite = np.array([[scale_x, 0, (window.x0 - box[0, 0]) * scale_x],
                              [0, scale_y, (window.y0 - box[0, 1]) * scale_y]])
        size, flags = window.shape[::-1], cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        mask = cv2.warpAffine(sprite.masks[level], to_sprite, size, flags=flags)
        _, mask = cv2.threshold(mask, 127, 255, cv2.THRESH_BINARY)
        claimed = self._canvas.claim(
            window, mask=mask, tag=self._tags[TREE],
            inverse_depth=np.full(mask.shape, 1 / depth, np.float32))
        if claimed is None:
            return
        shown, seen = claimed
        picture = cv2.warpAffine(source, to_sprite, size, flags=flags)[shown.inside(window)]
        haze = self._weather.haze(depth)
        gain = (self._light.ambient + 0.5 * self._light.strength) * tree.tint
        colour = cv2.convertScaleAbs(picture, alpha=gain * (1 - haze), beta=190 * haze)
        self._canvas.ink(shown, colour, inked(picture, seen))

    def _upright(self, foot: Points, box_m: tuple[float, float, float, float]
                 ) -> tuple[PartsWindow, ToPixels, float] | None:
        """Open a window around a thing that faces the camera: left, right, low, high in metres."""
        view = self._canvas.view
        origin = view.optical_from_level @ foot
        axes = np.array([view.optical_from_level[:, 0], -view.optical_from_level[:, 1]])
        if origin[2] < 1.2:
            return None

        def at(metres: list[tuple[float, float]] | Points) -> Points:
            return view.project(origin + np.array(metres) @ axes)
        left, right, low, high = box_m
        corners = at([(left, low), (right, low), (left, high), (right, high)])
        window = self._canvas.window(corners, margin=2)
        if window is None or self._canvas.buried(window, 1.05 / float(origin[2])):
            return None
        return PartsWindow(self._canvas, window), at, float(origin[2])

    def _post(self, post: Post, foot: Points) -> None:
        """Paint a pole with its lamp."""
        reach = abs(post.arm_m)
        opened = self._upright(foot, (-reach - .3, reach + .3, 0.0, post.height_m + 0.6))
        if opened is None:
            return
        parts, at, depth = opened
        plane, focal = facing_plane(depth), self._canvas.view.model.fx
        gain = self._light.ambient + 0.4 * self._light.strength
        tone = np.array([post.tone, post.tone * 1.01, post.tone * 1.02]) * gain
        number = parts.part(tone.tolist(), plane)
        half = max(post.radius_m, 0.85 * depth / focal)  # a pole is never thinner than a pixel
        taper = 0.6 if post.height_m > 3 else 1.0
        outline = [(-half, 0), (-half * taper, post.height_m), (half * taper, post.height_m),
                   (half, 0)]
        numbers = [number]
        if reach > 0:
            arm, lamp = math.copysign(1.0, post.arm_m), max(0.12, 1.2 * depth / focal)
            top = post.height_m
            outline += [(0, top - half), (0, top + half), (arm * reach, top + 0.35 + half),
                        (arm * reach, top + 0.35 - half),
                        (arm * reach, top + .3), (arm * (reach + .05), top + .4),
                        (arm * (reach - .55), top + .3 + lamp),
                        (arm * (reach - .6), top + .2)]
            numbers += [number, parts.part((tone * 0.8 + 30).tolist(), plane)]
        parts.polygons(at(outline), (4, 8, 12), numbers)
        parts.paint(self._tags[POLE], gain=1.0, haze=self._weather.haze(depth))

    def _sign(self, sign: Sign, foot: Points) -> None:
        """Paint a traffic sign, a signal or a board."""
        half, low, high = sign.width_m / 2, sign.low_m, sign.low_m + sign.height_m
        opened = self._upright(foot, (-half, half, low, high))
        if opened is None:
            return
        parts, at, depth = opened
        gain = self._light.ambient + 0.4 * self._light.strength
        plane, (colours, points, ends) = facing_plane(depth), _sign_outlines(sign)
        numbers = [parts.part([c * gain for c in colour], plane)
                   for colour in (colours[:1] if depth > 70 else colours)]
        parts.polygons(at(points), ends, numbers)
        parts.paint(self._tags[SIGN], gain=1.0, haze=self._weather.haze(depth))

    def _actor(self, actor: Actor, foot: Points) -> None:
        """Paint a car, a walker or a rider with its own tag."""
        yaw = actor.yaw + float(self._local.heading_at(actor.s - self._s))
        tag = self._canvas.new_tag(actor.class_id, actor.instance_id)
        haze = self._weather.haze(float(foot[2]))
        grain = self._grain(actor.instance_id)
        if isinstance(actor.look, CarLook):
            paint_car(self._canvas, look=actor.look, foot=foot, yaw=yaw, tag=tag,
                      light=self._light, haze=haze, grain=grain)
        elif isinstance(actor.look, PersonLook):
            gain = self._light.ambient + 0.45 * self._light.strength
            paint_person(self._canvas, look=actor.look, foot=foot, yaw=yaw, tag=tag,
                         phase=actor.phase, stride=actor.stride,
                         rides=actor.class_id == BICYCLIST, gain=gain, haze=haze, grain=grain)

    def _grain(self, ident: int) -> NDArray[np.uint8]:
        """Return the object's own piece of the grain."""
        x, y = ident * 37 % 240, ident * 101 % 240
        return self._scenery.grain[y:, x:]


@lru_cache(maxsize=2048)
def _sign_outlines(sign: Sign) -> tuple[tuple[tuple[int, int, int], ...], Points,
                                        tuple[int, ...]]:
    """Return the colours, all points (P, 2) in metres and the ends of a sign's polygons."""
    half, low, high = sign.width_m / 2, sign.low_m, sign.low_m + sign.height_m
    colours, shapes = zip(*_sign_parts(sign, half, low, high), strict=True)
    return (colours, np.array([point for shape in shapes for point in shape]),
            tuple(np.cumsum([len(shape) for shape in shapes]).tolist()))


def _sign_parts(sign: Sign, half: float, low: float, high: float
                ) -> list[tuple[tuple[int, int, int], list[tuple[float, float]]]]:
    """Return coloured polygons (x, y), metres, of one sign."""
    middle = (low + high) / 2
    if sign.kind == 'disc':
        ring = [(half * math.cos(a), middle + half * math.sin(a))
                for a in np.linspace(0, 2 * math.pi, 14, endpoint=False).tolist()]
        inner = [(x * 0.72, middle + (y - middle) * 0.72) for x, y in ring]
        fill = (236, 236, 232) if sign.colour[0] > 190 else (214, 220, 236)
        return [(sign.colour, ring), (fill, inner)]
    if sign.kind == 'triangle':
        outer = [(-half, low), (half, low), (0.0, high)]
        inner = [(-half * .62, low + .12), (half * .62, low + .12), (0.0, high - .18)]
        return [((196, 32, 36), outer), ((238, 238, 232), inner)]
    box = [(-half, low), (half, low), (half, high), (-half, high)]
    if sign.kind == 'signal':
        lamps = [((22, 22, 24), box)]
        lit = int(sign.s) % 3
        for i, colour in enumerate(((220, 40, 30), (230, 160, 30), (50, 210, 130))):
            y = high - (i + 0.5) * (high - low) / 3
            tone = colour if i == lit else (52, 50, 48)
            lamps.append((tone, [(-.1, y), (-.07, y - .09), (.07, y - .09), (.1, y),
                                 (.07, y + .09), (-.07, y + .09)]))
        return lamps
    edge = 0.08 * (high - low)
    light = sum(sign.colour) > 380
    ink = (40, 40, 44) if light else (230, 230, 226)
    rows = [(ink, [(-half * .7, y), (half * .7, y), (half * .7, y + edge), (-half * .7, y + edge)])
            for y in (low + 2.5 * edge, low + 6 * edge, low + 9 * edge)]
    return [(sign.colour, box), *rows]
