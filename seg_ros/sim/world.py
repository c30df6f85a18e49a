# SPDX-License-Identifier: Apache-2.0
"""What stands along the road, chunk by chunk, as a function of seed and chunk number."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seg_ros.sim.cars import CarLook, random_look, SHAPES
from seg_ros.sim.path import Road

CHUNK_M = 40.0
ZONES = ('shops', 'terrace', 'detached', 'park', 'modern')
FACADES_EACH, TREES = 4, 16
FACADE_STYLES = ('shop', 'terrace', 'modern', 'plain')


@dataclass(frozen=True)
class House:
    """A house front parallel to the road."""

    s0: float
    s1: float
    d: float  # signed, metres right of the road's middle
    facade: int
    scale: float  # of the facade's height
    roof_m: float  # height of the pitched roof, 0 = flat
    gable: bool  # its wall towards the camera can be seen
    tint: float


@dataclass(frozen=True)
class Tree:
    """A tree, a bush or a hedge plant."""

    s: float
    d: float
    height_m: float
    sprite: int
    tint: float


@dataclass(frozen=True)
class Post:
    """A pole: lamp post, bollard, or the post of a sign."""

    s: float
    d: float
    height_m: float
    radius_m: float
    arm_m: float  # signed reach of a lamp's arm along d
    tone: float


@dataclass(frozen=True)
class Sign:
    """A plate that faces oncoming drivers."""

    s: float
    d: float
    low_m: float
    width_m: float
    height_m: float
    kind: str  # disc, triangle, plate, signal, board
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class Barrier:
    """A railing, a hedge or a low wall along the road."""

    s0: float
    s1: float
    d0: float
    d1: float
    height_m: float
    kind: str  # fence, hedge, wall
    texture: int


@dataclass(frozen=True)
class ParkedCar:
    """A car at the kerb or in a front yard."""

    instance_id: int
    s: float
    d: float
    yaw: float
    look: CarLook


@dataclass(frozen=True)
class Junction:
    """A side road without houses, between s0 and s1."""

    s0: float
    s1: float
    left: bool
    right: bool


@dataclass(frozen=True)
class Crossing:
    """A zebra crossing."""

    s0: float
    s1: float


@dataclass(frozen=True)
class Walkers:
    """Where the pedestrians of a chunk have their homes."""

    s: float
    side: int
    d: float
    count: int
    reach_m: float
    speed: float
    start_s: float
    first_id: int


@dataclass(frozen=True)
class Chunk:
    """Everything that stands on 40 m of road."""

    number: int
    zones: tuple[str, str]  # left, right
    junction: Junction | None
    crossing: Crossing | None
    houses: tuple[House, ...]
    trees: tuple[Tree, ...]
    posts: tuple[Post, ...]
    signs: tuple[Sign, ...]
    barriers: tuple[Barrier, ...]
    cars: tuple[ParkedCar, ...]
    walkers: tuple[Walkers, ...]


def static_id(chunk: int, slot: int, kind: int) -> int:
    """Return an instance id that nothing else ever has: kind 0..7, slot 0..127."""
    return 1 + kind + 8 * (slot + 128 * (chunk + 64))


class World:
    """The things along one seed's road."""

    def __init__(self, seed: int, road: Road,
                 facade_sizes: tuple[tuple[float, float], ...]) -> None:
        """Draw the character of the town."""
        self._seed, self._road, self._sizes = seed, road, facade_sizes
        rng = np.random.default_rng([seed, 10])
        self.crowd = float(rng.uniform(0.15, 1.0))
        self._parking = float(rng.uniform(0.1, 0.85))
        self._greenery = float(rng.uniform(0.35, 1.0))
        weights = rng.dirichlet([1.4, 1.3, 0.9, 0.6, 0.7])
        self._weights = 0.08 * np.ones(5) / 5 + 0.92 * weights
        self._bare = float(rng.choice([0.0, 0.5, 0.9]))
        self._furniture = float(rng.uniform(0.4, 1.0))

    def zone(self, chunk: int, side: int) -> str:
        """Return what a side of the road is like; about 120 m at a time."""
        shift = 1 if side > 0 else 0
        rng = np.random.default_rng([self._seed, 11, (chunk + 64 + shift) // 3, side + 1])
        return str(rng.choice(ZONES, p=self._weights / self._weights.sum()))

    def chunk(self, number: int) -> Chunk:
        """Build one chunk (number >= -2)."""
        rng = np.random.default_rng([self._seed, 12, number + 64])
        start = number * CHUNK_M
        zones = self.zone(number, -1), self.zone(number, 1)
        junction = self._junction(rng, start)
        crossing = None
        if rng.uniform() < 0.22:
            at = start + rng.uniform(1, 5)
            crossing = Crossing(at, at + 2.8)
        builder = _Builder(self, rng, number)
        for side in (-1, 1):
            builder.side(side, zones[(side + 1) // 2], junction)
        if crossing is not None:
            builder.belisha(crossing)
        return Chunk(number=number, zones=zones, junction=junction, crossing=crossing,
                     houses=tuple(builder.houses), trees=tuple(builder.trees),
                     posts=tuple(builder.posts), signs=tuple(builder.signs),
                     barriers=tuple(builder.barriers), cars=tuple(builder.cars),
                     walkers=tuple(builder.walkers))

    def _junction(self, rng: np.random.Generator, start: float) -> Junction | None:
        if rng.uniform() > 0.3:
            return None
        middle, half = start + rng.uniform(16, 24), rng.uniform(3.2, 5.5)
        which = rng.uniform()
        return Junction(middle - half, middle + half, bool(which < 0.7), bool(which > 0.35))


class _Builder:
    """Fills one chunk; keeps the lists while it does."""

    def __init__(self, world: World, rng: np.random.Generator, number: int) -> None:
        self.world, self.rng, self.number = world, rng, number
        self.start = number * CHUNK_M
        self.houses: list[House] = []
        self.trees: list[Tree] = []
        self.posts: list[Post] = []
        self.signs: list[Sign] = []
        self.barriers: list[Barrier] = []
        self.cars: list[ParkedCar] = []
        self.walkers: list[Walkers] = []
        self._people = 0

    def side(self, side: int, zone: str, junction: Junction | None) -> None:
        """Fill one side of the road."""
        kerb = float(self.world._road.half_width(self.start + CHUNK_M / 2))
        edge = kerb + float(self.world._road.pavement_m[(side + 1) // 2])
        spans = [(self.start, self.start + CHUNK_M)]
        open_here = junction is not None and (junction.left if side < 0 else junction.right)
        if junction is not None and open_here:
            spans = [(self.start, junction.s0 - 0.5), (junction.s1 + 0.5, self.start + CHUNK_M)]
        for s0, s1 in spans:
            self._lots(side, zone, edge, s0, s1)
            self._parked(side, kerb, s0, s1)
        self._furniture(side, kerb, edge, zone, spans)
        self._people_here(side, kerb, edge, zone)

    def _lots(self, side: int, zone: str, edge: float, s0: float, s1: float) -> None:
        if zone == 'park':
            self._park(side, edge, s0, s1)
            return
        rng = self.rng
        styles = {'shops': (0, 0, 0, 2), 'terrace': (1,), 'detached': (3, 3, 1), 'modern': (2,)}
        setback = {'shops': 0.05, 'terrace': rng.uniform(0.8, 3.2),
                   'detached': rng.uniform(4.0, 9.0), 'modern': rng.uniform(0.5, 6.0)}[zone]
        s, last_top, first = s0, 0.0, True
        while s < s1 - 3.0:
            if zone == 'detached':
                s += rng.uniform(1.0, 5.0)
            style = styles[zone][int(rng.integers(len(styles[zone])))]
            facade = style * FACADES_EACH + int(rng.integers(FACADES_EACH))
            width, height = self.world._sizes[facade]
            end = min(s1, s + width)
            if s1 - end < 3.0 and zone != 'detached':
                end = s1
            if end - s < 3.0:
                break
            scale = float(rng.uniform(0.92, 1.12))
            d = side * (edge + setback + float(rng.uniform(0, 0.25)))
            roof = 0.0 if style == 2 else float(rng.uniform(1.8, 3.4))
            tall = height * scale
            gable = zone == 'detached' or first or tall + roof / 2 > last_top + 0.3
            overlap = 0.0 if zone == 'detached' else 0.35  # no sky between neighbours
            self.houses.append(House(s0=s, s1=end + overlap, d=d, facade=facade, scale=scale,
                                     roof_m=roof, gable=gable,
                                     tint=float(rng.uniform(0.85, 1.12))))
            last_top, s, first = tall + roof / 2, end, False
        if setback > 0.7:
            self._front_gardens(side, edge, setback, s0, s1)
        if zone == 'shops':
            self._shop_boards(side, edge, s0, s1)

    def _front_gardens(self, side: int, edge: float, setback: float, s0: float,
                       s1: float) -> None:
        rng = self.rng
        s = s0
        while s < s1 - 1.0:
            end = min(s1, s + rng.uniform(4, 11))
            kind = str(rng.choice(['fence', 'hedge', 'wall', 'none'], p=[.46, .24, .16, .14]))
            if kind != 'none':
                tall = {'fence': rng.uniform(0.8, 1.7), 'hedge': rng.uniform(0.9, 2.2),
                        'wall': rng.uniform(0.5, 1.2)}[kind]
                d = side * (edge + 0.1)
                self.barriers.append(Barrier(s, end - 0.6, d, d, float(tall), kind,
                                             int(rng.integers(4))))
            if rng.uniform() < self.world._greenery * min(1.0, setback / 3):
                self._tree(s + 1.5, side * (edge + setback * rng.uniform(0.3, 0.8)),
                           tall=float(rng.uniform(2.0, 4.0 + 1.2 * setback)),
                           bush=rng.uniform() < 0.5)
            if setback > 5.2 and rng.uniform() < 0.5:
                look = random_look(rng, small=True)
                self._car(s + 2.5, side * (edge + setback - 2.6), side * 1.57, look)
            s = end

    def _park(self, side: int, edge: float, s0: float, s1: float) -> None:
        rng = self.rng
        kind = str(rng.choice(['fence', 'hedge', 'wall', 'none'], p=[0.6, 0.2, 0.08, 0.12]))
        if kind != 'none':
            tall = float(rng.uniform(0.9, 2.0) if kind != 'wall' else rng.uniform(0.8, 2.4))
            d = side * (edge + 0.15)
            self.barriers.append(Barrier(s0, s1, d, d, tall, kind, int(rng.integers(4))))
        for _ in range(int(rng.integers(7, 13))):
            self._tree(float(rng.uniform(s0, s1)), side * (edge + float(rng.uniform(1.5, 14))),
                       tall=float(rng.uniform(6, 15)), bush=rng.uniform() < 0.2)

    def _tree(self, s: float, d: float, *, tall: float, bush: bool) -> None:
        rng = self.rng
        if bush:
            sprite, tall = 13 + int(rng.integers(3)), min(tall, 2.6)
        elif rng.uniform() < self.world._bare:
            sprite = 5 + int(rng.integers(5))
        else:
            sprite = int(rng.choice([0, 1, 2, 3, 4, 10, 11, 12]))
        self.trees.append(Tree(s, d, tall, sprite, float(rng.uniform(0.8, 1.15))))

    def _shop_boards(self, side: int, edge: float, s0: float, s1: float) -> None:
        """Hang boards at right angles from the shops, and stand one on the pavement."""
        rng = self.rng
        for _ in range(int(rng.integers(1, 4))):
            colour = tuple(int(c) for c in rng.integers(20, 240, 3))
            self.signs.append(Sign(s=float(rng.uniform(s0, s1)), d=side * (edge - 0.45),
                                   low_m=float(rng.uniform(2.5, 3.2)),
                                   width_m=float(rng.uniform(0.5, 0.9)),
                                   height_m=float(rng.uniform(0.5, 1.1)), kind='board',
                                   colour=(colour[0], colour[1], colour[2])))

    def _car(self, s: float, d: float, yaw: float, look: CarLook) -> None:
        if len(self.cars) < 127:
            ident = static_id(self.number, len(self.cars), 0)
            self.cars.append(ParkedCar(ident, float(s), float(d), float(yaw), look))

    def _parked(self, side: int, kerb: float, s0: float, s1: float) -> None:
        rng, world = self.rng, self.world
        if world._road.parking_m < 0.3:
            return
        s = s0 + float(rng.uniform(0, 4))
        free = rng.uniform() < 0.25
        while True:
            look = random_look(rng, small=True)
            length, width = SHAPES[look.shape][2], SHAPES[look.shape][0]
            if s + length > s1 - 1.0:
                return
            if not free and rng.uniform() < world._parking:
                inset = 0.25 if world._road.parking_m > 1 else -0.35  # half on the pavement
                yaw = float(rng.normal(0, 0.02)) + (0.0 if rng.uniform() < 0.7 else np.pi)
                self._car(s + length / 2, side * (kerb - width / 2 - inset), yaw, look)
            s += length + float(rng.uniform(0.5, 1.6))

    def _furniture(self, side: int, kerb: float, edge: float, zone: str,
                   spans: list[tuple[float, float]]) -> None:
        rng, near = self.rng, side * (kerb + 0.35)
        amount = self.world._furniture
        tone = float(rng.uniform(50, 170))
        if (self.number + (side > 0)) % 2 == 0 or zone == 'modern':
            s = self.start + float(rng.uniform(0, 30))
            self.posts.append(Post(s, near, float(rng.uniform(5.0, 9.0)), 0.09,
                                   -side * float(rng.uniform(0.6, 2.0)), tone))
        for _ in range(int(rng.poisson(1.7 * amount))):
            self._traffic_sign(side, near, tone)
        if rng.uniform() < 0.3 * amount:
            s = self.start + float(rng.uniform(0, 34))
            for i in range(int(rng.integers(3, 7))):
                self.posts.append(Post(s + 1.6 * i, near, 0.95, 0.08, 0.0, tone * 0.5))
        if rng.uniform() < 0.25 * amount:
            self._signal(side, near, spans[0][1] - 1.0)
        if rng.uniform() < 0.42 * amount:
            s0, s1 = spans[-1]
            self.barriers.append(Barrier(s0 + 1, min(s1, s0 + rng.uniform(5, 14)),
                                         side * (kerb + 0.2), side * (kerb + 0.2), 1.05, 'fence',
                                         int(rng.integers(4))))
        leafy = 0.35 if zone == 'shops' else 1.1
        for _ in range(int(rng.poisson(self.world._greenery * leafy))):
            self._tree(self.start + float(rng.uniform(2, 38)), side * (kerb + 0.7),
                       tall=float(rng.uniform(5.0, 11)), bush=False)

    def _traffic_sign(self, side: int, near: float, tone: float) -> None:
        rng = self.rng
        s = self.start + float(rng.uniform(1, 39))
        kind = str(rng.choice(['disc', 'triangle', 'plate', 'disc', 'board']))
        low = float(rng.uniform(1.9, 2.6))
        big = float(rng.uniform(0.6, 0.95)) if kind != 'board' else float(rng.uniform(0.9, 2.2))
        tall = big if kind != 'board' else big * float(rng.uniform(0.5, 1.1))
        colour = [(30, 70, 160), (200, 30, 34), (240, 240, 236), (40, 110, 60), (236, 196, 40)][
            int(rng.integers(5))]
        self.signs.append(Sign(s, near, low, big, tall, kind, colour))
        self.posts.append(Post(s + 0.06, near, low + tall * 0.9, 0.04, 0.0, tone))
        if rng.uniform() < 0.35:
            self.signs.append(Sign(s, near, low - 0.45, 0.5, 0.35, 'plate', (236, 234, 226)))

    def _signal(self, side: int, near: float, s: float) -> None:
        self.posts.append(Post(s + 0.05, near, 2.4, 0.06, 0.0, 60.0))
        self.signs.append(Sign(s, near, 2.2, 0.42, 1.05, 'signal', (24, 24, 26)))
        if self.rng.uniform() < 0.5:
            self.signs.append(Sign(s, -near, 2.2, 0.42, 1.05, 'signal', (24, 24, 26)))
            self.posts.append(Post(s + 0.05, -near, 2.4, 0.06, 0.0, 60.0))

    def belisha(self, crossing: Crossing) -> None:
        """Put the banded posts with amber globes beside a zebra crossing."""
        kerb = float(self.world._road.half_width(crossing.s0))
        for side in (-1, 1):
            d = side * (kerb + 0.3)
            self.posts.append(Post(crossing.s0 - 0.3, d, 2.6, 0.06, 0.0, 150.0))
            self.signs.append(Sign(crossing.s0 - 0.35, d, 2.5, 0.34, 0.34, 'disc',
                                   (240, 176, 40)))

    def _people_here(self, side: int, kerb: float, edge: float, zone: str) -> None:
        rng = self.rng
        busy = {'shops': 1.6, 'terrace': 0.8, 'detached': 0.5, 'park': 0.7, 'modern': 1.0}[zone]
        for _ in range(int(rng.poisson(1.9 * busy * self.world.crowd))):
            count = int(rng.choice([1, 1, 2, 3]))
            if self._people + count > 120:
                return
            d = side * float(rng.uniform(kerb + 0.5, max(kerb + 0.7, edge - 0.3)))
            stands = rng.uniform() < 0.22
            self.walkers.append(Walkers(
                s=self.start + float(rng.uniform(0, CHUNK_M)), side=side, d=d, count=count,
                reach_m=0.0 if stands else float(rng.uniform(8, 45)),
                speed=float(rng.uniform(0.9, 1.7)), start_s=float(rng.uniform(0, 100)),
                first_id=static_id(self.number, self._people, 1)))
            self._people += count
