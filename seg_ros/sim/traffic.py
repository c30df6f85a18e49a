# SPDX-License-Identifier: Apache-2.0
"""What moves: walkers, cars and cyclists whose place is a closed form of the time."""
from __future__ import annotations

from collections.abc import Iterator
import math
from typing import NamedTuple

import numpy as np

from seg_ros.sim.cars import CarLook, random_look, SHAPES
from seg_ros.sim.classes import BICYCLIST, CAR, PEDESTRIAN
from seg_ros.sim.figures import PersonLook, random_person
from seg_ros.sim.path import EgoMotion, Road
from seg_ros.sim.world import Chunk, Junction, static_id, World

_CARS_SEEN_M, _PEOPLE_SEEN_M = 130.0, 80.0
_ONCOMING, _AHEAD, _OVERTAKING, _CROSSING_CAR = 2, 3, 4, 5
_CYCLIST, _CROSSING_PERSON = 6, 7


class Actor(NamedTuple):
    """One car, pedestrian or bicyclist at one moment, in road coordinates."""

    instance_id: int
    class_id: int
    s: float
    d: float
    yaw: float  # radians to the right of the road's direction
    look: CarLook | PersonLook
    phase: float = 0.0  # of legs, radians
    stride: float = 0.0


class Traffic:
    """All actors of one seed."""

    def __init__(self, seed: int, road: Road, ego: EgoMotion, world: World) -> None:
        """Draw how busy the streets are."""
        self._seed, self._road, self._ego, self._world = seed, road, ego, world
        rng = np.random.default_rng([seed, 20])
        self._oncoming_gap_s = float(rng.uniform(3.0, 10.0) / (0.4 + world.crowd))
        self._oncoming_speed = float(rng.uniform(6, 12))
        self._cyclist_gap_s = float(rng.uniform(9, 30))
        self._lead = bool(rng.uniform() < 0.5)
        self._looks: dict[int, PersonLook | CarLook] = {}  # a memo, bounded

    def at(self, time_s: float, s: float, chunks: list[Chunk]) -> list[Actor]:
        """Return the actors near the camera at road distance s."""
        actors: list[Actor] = []
        for chunk in chunks:
            actors += [Actor(car.instance_id, CAR, car.s, car.d, car.yaw, car.look)
                       for car in chunk.cars]
            actors += self._walkers(chunk, time_s)
            if chunk.junction is not None:
                actors += self._side_traffic(chunk.number, chunk.junction, time_s)
        actors += self._oncoming(time_s)
        actors += self._ahead(time_s)
        actors += self._overtaking(time_s)
        actors += self._cyclists(time_s)
        actors += self._crossing_people(time_s)
        return [actor for actor in actors
                if -8 < actor.s - s < (_CARS_SEEN_M if actor.class_id == CAR else _PEOPLE_SEEN_M)]

    def _rng(self, kind: int, slot: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, 21, kind, slot + 4096])

    def _person(self, ident: int, *, rides: bool = False) -> PersonLook:
        look = self._looks.get(ident)
        if not isinstance(look, PersonLook):
            look = random_person(np.random.default_rng([self._seed, 22, ident]), rides=rides)
            self._remember(ident, look)
        return look

    def _car(self, ident: int, *, small: bool = False) -> CarLook:
        look = self._looks.get(ident)
        if not isinstance(look, CarLook):
            look = random_look(np.random.default_rng([self._seed, 23, ident]), small=small)
            self._remember(ident, look)
        return look

    def _remember(self, ident: int, look: PersonLook | CarLook) -> None:
        if len(self._looks) > 2000:
            self._looks.clear()
        self._looks[ident] = look

    def _walkers(self, chunk: Chunk, time_s: float) -> Iterator[Actor]:
        """Let people stroll to and fro around their homes, or stand and talk."""
        for group in chunk.walkers:
            for i in range(group.count):
                ident = group.first_id + 8 * i
                aside = 0.55 * i - 0.25
                if group.reach_m == 0.0:
                    yaw = 2.1 * i + group.start_s
                    yield Actor(ident, PEDESTRIAN, group.s + 0.5 * math.sin(yaw),
                                group.d + 0.4 * math.cos(yaw), yaw + math.pi,
                                self._person(ident), phase=time_s * 0.3 + i, stride=0.12)
                    continue
                walked = group.speed * (time_s + group.start_s) + 0.35 * i
                place = walked % (4 * group.reach_m)
                back = place > 2 * group.reach_m
                s = group.s - group.reach_m + (4 * group.reach_m - place if back else place)
                yield Actor(ident, PEDESTRIAN, s, group.d + aside * group.side * 0.8,
                            math.pi if back else 0.0, self._person(ident),
                            phase=walked * 4.3 + i, stride=1.0)

    def _slots(self, time_s: float, gap_s: float, before_s: float,
               after_s: float) -> Iterator[tuple[int, float]]:
        """Yield (slot, its time) of a schedule with one event every `gap_s`, jittered."""
        first = math.floor((time_s - after_s) / gap_s) - 1
        for slot in range(max(first, -60), math.ceil((time_s + before_s) / gap_s) + 1):
            jitter = ((slot * 2654435761 + self._seed * 40503) % 1000) / 1000 * 0.6
            yield slot, (slot + jitter) * gap_s

    def _oncoming(self, time_s: float) -> Iterator[Actor]:
        speed, lane = self._oncoming_speed, self._road.lane_m / 2
        for slot, meets_s in self._slots(time_s, self._oncoming_gap_s, 24.0, 4.0):
            ident = static_id(slot, 0, _ONCOMING)
            s = self._ego.s(max(meets_s, -38.0)) - speed * (time_s - meets_s)
            look = self._car(ident)
            room = SHAPES[look.shape][0] / 2 + 0.3
            yield Actor(ident, CAR, s, max(lane, room) + 0.15 * math.sin(slot), math.pi, look)

    def _ahead(self, time_s: float) -> Iterator[Actor]:
        """Let a few cars drive ahead; each stays for a while and then turns off to the left."""
        if not self._lead:
            return
        lasts = 34.0
        for place in range(3):
            episode = math.floor(time_s / lasts + 0.37 * place)
            rng = self._rng(_AHEAD, episode * 4 + place)
            if rng.uniform() > 0.45 + 0.5 * self._world.crowd:
                continue
            since = time_s - (episode - 0.37 * place) * lasts
            ident = static_id(episode * 4 + place, 1, _AHEAD)
            gap = 9.5 + 10.0 * place + 2.5 * float(rng.uniform())
            s = self._ego.s(time_s + 1.1 * (place + 1)) + gap
            away = max(0.0, since - (lasts - 9.0))  # pulls away before it is gone
            come = max(0.0, 6.0 - since)
            s += 1.6 * away ** 2 + 2.6 * come ** 2
            yield Actor(ident, CAR, s, -self._road.lane_m / 2 + 0.1 * math.sin(time_s / 2 + place),
                        0.0, self._car(ident))

    def _overtaking(self, time_s: float) -> Iterator[Actor]:
        """Let a car swing past on the right, fall back and return, over and over."""
        period = 46.0
        episode = math.floor(time_s / period)
        rng = self._rng(_OVERTAKING, episode)
        if rng.uniform() > 0.4:
            return
        part = (time_s - episode * period) / period * 2 * math.pi
        ident = static_id(episode, 2, _OVERTAKING)
        ahead = -14.0 + 26.0 * (1 - math.cos(part)) * 0.5 + 10.0 * (1 - math.cos(2 * part)) * 0.5
        d = self._road.lane_m / 2 - 0.2
        yield Actor(ident, CAR, self._ego.s(time_s) + ahead, d, 0.03 * math.sin(part),
                    self._car(ident, small=True))

    def _cyclists(self, time_s: float) -> Iterator[Actor]:
        """Let cyclists ride near the kerb, both ways; slot parity says which."""
        for slot, meets_s in self._slots(time_s, self._cyclist_gap_s, 34.0, 34.0):
            rng = self._rng(_CYCLIST, slot)
            with_us = rng.uniform() < 0.6
            speed = float(rng.uniform(3.2, 6.5)) * (1 if with_us else -1)
            s = self._ego.s(max(meets_s, -38.0)) + speed * (time_s - meets_s) \
                + float(rng.uniform(4, 16))
            ident = static_id(slot, 3, _CYCLIST)
            # cars parked half on the pavement still take 1.4 m of the road
            taken = 1.4 if 0.3 < self._road.parking_m < 1.0 else self._road.parking_m
            d = (float(self._road.half_width(s)) - taken - 0.6) * (-1 if with_us else 1)
            yield Actor(ident, BICYCLIST, s, d, 0.0 if with_us else math.pi,
                        self._person(ident, rides=True), phase=-time_s * abs(speed) * 1.1)

    def _crossing_people(self, time_s: float) -> Iterator[Actor]:
        """Let people cross the road well before the camera car gets there."""
        gap = 7.0 / (0.35 + self._world.crowd)
        for slot, starts_s in self._slots(time_s, gap, 0.0, 22.0):
            rng = self._rng(_CROSSING_PERSON, slot)
            kind_rides = rng.uniform() < 0.08
            speed = float(rng.uniform(2.4, 3.6) if kind_rides else rng.uniform(1.0, 1.7))
            waits = float(rng.uniform(1.0, 4.0))
            half = float(self._road.half_width(0.0)) + 1.2
            lasts = 2 * half / speed
            s = self._ego.s(max(starts_s + waits + lasts, -38)) + float(rng.uniform(5, 22))
            way = 1 if rng.uniform() < 0.5 else -1
            slant = float(rng.normal(0, 0.2))
            moving = time_s - starts_s - waits
            for i in range(int(rng.choice([1, 1, 2, 3])) if not kind_rides else 1):
                ident = static_id(slot, 4 + i, _CROSSING_PERSON)
                done = min(max(moving - 0.25 * i, 0.0), lasts)
                yield self._crosser(ident, rides=kind_rides, s=s + 0.7 * i, way=way, half=half,
                                    walked=done * speed, slant=slant,
                                    moves=0.0 < moving - 0.25 * i < lasts)

    def _crosser(self, ident: int, *, rides: bool, s: float, way: int, half: float,
                 walked: float, slant: float, moves: bool) -> Actor:
        yaw = way * math.pi / 2 + slant
        return Actor(ident, BICYCLIST if rides else PEDESTRIAN,
                     s - slant * way * (walked - half) * 0.5, way * (walked - half), yaw,
                     self._person(ident, rides=rides),
                     phase=walked * (2.2 if rides else 4.3), stride=1.0 if moves else 0.1)

    def _side_traffic(self, number: int, junction: Junction, time_s: float) -> Iterator[Actor]:
        """Let cars and cyclists cross at a junction while the camera car is not in it."""
        middle = (junction.s0 + junction.s1) / 2
        period = 9.0
        for slot in (math.floor(time_s / period), math.floor(time_s / period) - 1):
            rng = self._rng(_CROSSING_CAR, number * 4096 + slot % 4096)
            rides = rng.uniform() < 0.2
            if rng.uniform() > 0.35 + 0.5 * self._world.crowd:
                continue
            way = 1 if rng.uniform() < 0.5 else -1
            speed = float(rng.uniform(4, 8))
            d = way * (speed * (time_s - slot * period) - 36.0)
            inside = self._ego.s(time_s - 2), self._ego.s(time_s + 2)
            if abs(d) > 36 or (inside[1] > junction.s0 - 6 and inside[0] < junction.s1 + 3):
                continue
            ident = static_id(number * 512 + slot % 512, 8, _CROSSING_CAR)
            lane = middle - way * 1.4
            if rides:
                yield Actor(ident, BICYCLIST, lane, d, way * math.pi / 2,
                            self._person(ident, rides=True), phase=time_s * 6)
            else:
                yield Actor(ident, CAR, lane, d, way * math.pi / 2, self._car(ident, small=True))
