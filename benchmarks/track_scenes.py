# SPDX-License-Identifier: Apache-2.0
"""Scenes with exact identities for trackers: streets at several rates, and scripted encounters."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import count, islice

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seg_ros.core.labels import LabelSet
from seg_ros.core.tracking_metrics import Reappearances
from seg_ros.core.types import Segmentation, segmentation_from_ids
from seg_ros.sim import CLASS_NAMES, Street, THINGS
from seg_ros.sim.street import ObjectPose

LABEL_SET = LabelSet(tuple(CLASS_NAMES), frozenset(THINGS))
SIZE = (320, 240)  # width, height, pixels
STREETS, FIRST_SEED = 18, 44_000  # in no training, and no tracker was tuned on them
SECONDS = 10.0
RATE_HZ = 30.0  # that streets are rendered at; the others take every n-th frame
IN_VIEW = 16  # pixels; an object that shows less is out of view
SAME_PLACE_M = 2.0  # cars whose middles come nearer drive through one another


@dataclass(frozen=True, eq=False)
class Moment:
    """One frame with its truth; track ids of the truth are identities."""

    stamp: int  # ns
    image: NDArray[np.uint8]  # (H, W, 3) RGB
    truth: Segmentation
    key: tuple[int, int] | None = None  # street's seed and frame, for what is kept by frame


@dataclass(frozen=True, eq=False)
class _Seen:
    """A frame before its objects have identities."""

    time_s: float
    image: NDArray[np.uint8]
    class_map: NDArray[np.uint8]
    ids: NDArray[np.int32]  # (H, W) of the objects, 0 = none
    key: tuple[int, int] | None = None


def street_scenes(streets: int = STREETS) -> dict[str, Callable[[], list[list[Moment]]]]:
    """Return name -> runs, one a seed."""
    at = {f'street, {rate:g} Hz': lambda rate=rate: street_runs(_seeds(streets), rate_hz=rate)
          for rate in (30.0, 15.0, 10.0, 5.0)}
    return {
        **at,
        'camera dropout of 1 s, 15 Hz': lambda: [_named(_dropout(_every(seed, 15.0)))
                                                 for seed in _seeds(streets)],
        'bag loop, 15 Hz': lambda: [_looped(_every(seed, 15.0)[:75])
                                    for seed in _seeds(streets)]}


def scripted_scenes() -> dict[str, Callable[[], list[list[Moment]]]]:
    """Return name -> runs of one encounter each, at several speeds."""
    return {name: lambda make=make: [_named(_play(make(factor), seconds=6.0, rate_hz=15.0))
                                     for factor in (0.7, 1.0, 1.4)]
            for name, make in (('crossing pedestrians', _crossing),
                               ('car behind a pole', _behind_a_pole),
                               ('long occlusion', _long_occlusion),
                               ('leaving and coming back', _leaving))}


def street_runs(seeds: Iterable[int], *, rate_hz: float) -> list[list[Moment]]:
    """Return a run for each of these streets whose truth can be seen."""
    return [_named(_every(seed, rate_hz)) for seed in seeds if _rendered(seed)]


@cache
def _seeds(streets: int) -> tuple[int, ...]:
    """Return the first seeds of so many streets whose truth can be seen."""
    return tuple(islice((seed for seed in count(FIRST_SEED) if _rendered(seed)), streets))


@cache
def _rendered(seed: int) -> list[_Seen]:
    """Return the frames of a street, none if cars drive through one another there.

    The simulator lets them: one vanishes where another stands, and nobody can see which is which.
    """
    street = Street(seed=seed, width=SIZE[0], height=SIZE[1], rate_hz=RATE_HZ)
    frames: list[_Seen] = []
    for index in tqdm(range(round(SECONDS * RATE_HZ)), desc=f'street {seed}', unit='frame',
                      leave=False):
        frame = street.frame(index)
        if in_one_another(frame.objects):
            return []
        frames.append(_Seen(frame.time_s, frame.image, frame.class_map, frame.instance_map,
                            (seed, index)))
    return frames


def in_one_another(objects: Sequence[ObjectPose]) -> bool:
    """Return whether two cars are in one place."""
    middles = np.array([pose.centre_m for pose in objects
                        if CLASS_NAMES[pose.class_id] == 'car']).reshape(-1, 3)
    distances = np.linalg.norm(middles[:, None] - middles[None], axis=-1)
    return bool((distances < SAME_PLACE_M).sum() > len(middles))


def _every(seed: int, rate_hz: float) -> list[_Seen]:
    return _rendered(seed)[::round(RATE_HZ / rate_hz)]


def _dropout(frames: Sequence[_Seen]) -> list[_Seen]:
    """Return the frames without those of the second after the fourth."""
    return [frame for frame in frames if not 4.0 < frame.time_s < 5.0]


def _looped(frames: Sequence[_Seen]) -> list[Moment]:
    """Return the frames twice, with stamps that jump back: nobody could know an object again."""
    first = _named(frames)
    used = 1 + max(int(moment.truth.instances.track_ids.max(initial=0)) for moment in first)
    again = [replace(moment, truth=_with_ids(
        moment.truth, moment.truth.instances.track_ids + used)) for moment in first]
    return first + again


def _named(frames: Sequence[_Seen], *, max_lost_s: float = 1.0) -> list[Moment]:
    """Name the objects; one that was out of view for longer than max_lost_s is another."""
    reappearances, moments = Reappearances(max_gap_s=max_lost_s), []
    for frame in frames:
        ids, areas = np.unique(frame.ids, return_counts=True)
        in_view = ids[(areas >= IN_VIEW) & (ids > 0)]
        truth = segmentation_from_ids(frame.class_map, np.where(
            np.isin(frame.ids, in_view), frame.ids, 0))
        names = reappearances.names(in_view, time_s=frame.time_s)
        moments.append(Moment(stamp=round(1e9 * frame.time_s), image=frame.image, key=frame.key,
                              truth=_with_ids(truth, names)))
    return moments


def _with_ids(truth: Segmentation, ids: NDArray[np.int64]) -> Segmentation:
    return replace(truth, instances=replace(truth.instances, track_ids=ids))


@dataclass(frozen=True)
class _Figure:
    """A silhouette that moves along a line; later ones stand before earlier ones."""

    class_name: str
    colour: tuple[int, int, int]
    size: tuple[int, int]  # width, height, pixels
    start: tuple[float, float]  # centre x, y, pixels
    speed: tuple[float, float] = (0.0, 0.0)  # pixels a second
    turns_at_s: float = np.inf  # from then on the other way
    is_object: bool = True

    def centre(self, time_s: float) -> tuple[float, float]:
        """Return where it is."""
        gone_s = min(time_s, self.turns_at_s) - max(time_s - self.turns_at_s, 0.0)
        return self.start[0] + self.speed[0] * gone_s, self.start[1] + self.speed[1] * gone_s


def _crossing(factor: float) -> list[_Figure]:
    people = []
    for row, (x, speed, colour) in enumerate((
            (30, 45, (170, 40, 40)), (285, -48, (40, 60, 150)), (60, 38, (60, 120, 60)),
            (300, -60, (190, 180, 60)))):
        people.append(_Figure('pedestrian', colour, (18, 60 + 4 * row), (x, 130 + 5 * row),
                              (factor * speed, 0)))
    return people


def _behind_a_pole(factor: float) -> list[_Figure]:
    return [_Figure('car', (150, 30, 30), (60, 34), (20, 140), (60 * factor, 0)),
            _Figure('car', (40, 60, 130), (50, 30), (300, 128), (-70 * factor, 0)),
            _Figure('pole', (90, 90, 95), (24, 160), (150, 110), is_object=False)]


def _long_occlusion(factor: float) -> list[_Figure]:
    # hidden for 0.6 s to 1.2 s: in some runs longer than a track is remembered
    return [_Figure('pedestrian', (170, 40, 40), (16, 56), (40, 130), (70 * factor, 0)),
            _Figure('bicyclist', (50, 110, 60), (36, 50), (290, 132), (-90 * factor, 0)),
            _Figure('building', (120, 100, 90), (84, 200), (165, 110), is_object=False)]


def _leaving(factor: float) -> list[_Figure]:
    return [_Figure('car', (150, 30, 30), (60, 40), (230, 150), (100 * factor, 0), 1.4 / factor),
            _Figure('pedestrian', (40, 60, 150), (18, 60), (60, 130), (-50 * factor, 0),
                    1.9 / factor),
            _Figure('car', (60, 60, 60), (50, 32), (150, 120), (10, 0))]


def _play(figures: Sequence[_Figure], *, seconds: float, rate_hz: float) -> list[_Seen]:
    return [_drawn(figures, index / rate_hz, seed=index)
            for index in range(round(seconds * rate_hz))]


def _drawn(figures: Sequence[_Figure], time_s: float, *, seed: int) -> _Seen:
    width, height = SIZE
    image = np.full((height, width, 3), 128, np.uint8)
    class_map = np.full((height, width), CLASS_NAMES.index('road'), np.uint8)
    ids = np.zeros((height, width), np.int32)
    v, u = np.indices((height, width))
    for number, figure in enumerate(figures, start=1):
        x, y = figure.centre(time_s)
        half_width, half_height = figure.size[0] / 2, figure.size[1] / 2
        # rounder than a box, fuller than an ellipse
        inside = np.abs((u - x) / half_width) ** 4 + np.abs((v - y) / half_height) ** 4 < 1
        image[inside] = figure.colour
        class_map[inside] = CLASS_NAMES.index(figure.class_name)
        ids[inside] = number if figure.is_object else 0
    noise = np.random.default_rng(seed).normal(0, 6, image.shape)
    return _Seen(time_s, np.clip(image + noise, 0, 255).astype(np.uint8), class_map, ids)
