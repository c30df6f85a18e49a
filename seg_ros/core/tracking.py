# SPDX-License-Identifier: Apache-2.0
"""Trackers give instances ids that last: from the masks of frames and their stamps alone."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count, islice
import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from seg_ros.core.config import TrackingConfig
from seg_ros.core.labels import LabelSet
from seg_ros.core.motion import centres_and_sizes, Floats, Motion
from seg_ros.core.types import Instances, look_up, Segmentation

Rows = NDArray[np.intp]

_SAMPLES = 1 << 14  # pixels of the reduced map, about: masks are compared on these
_FEW_SAMPLES = 6  # smaller masks say little: boxes alone decide
_BUFFER = 0.15  # of a box's size, added on each side before boxes are compared
_LOST_DISCOUNT = 0.2  # what is seen goes before what has long been lost
_SAME_ROLE, _OTHER_ROLE = 0.9, 0.6  # similarity counts less between other classes
_MAX_SURPRISE = 13.28  # chi-square of four axes, 99 %
_MAX_AREA_RATIO = 3.0  # of boxes that are matched by distance alone
_VOTES_S = 1.0  # votes for a track's class fade with this time constant
_STICKY = 1.5  # another class takes over when it has so many times the votes
_ROLES = (
    frozenset(('car', 'truck', 'bus', 'van', 'train', 'tram', 'trailer', 'caravan', 'vehicle')),
    frozenset(('person', 'pedestrian', 'rider', 'bicyclist', 'cyclist', 'motorcyclist')),
    frozenset(('bicycle', 'motorcycle', 'bike', 'motorbike', 'bicyclist', 'rider')),
)


@dataclass(frozen=True)
class TrackCounts:
    """How many tracks there are and were."""

    active: int = 0  # seen in the newest frame
    lost: int = 0  # not seen, but not given up
    born: int = 0
    ended: int = 0


class Tracker(Protocol):
    """Names each object for as long as it is seen. One tracker a camera, called every frame."""

    def update(self, segmentation: Segmentation, *, stamp: int) -> Segmentation:
        """Return the segmentation with track ids; stamp in ns."""
        ...

    def apply(self, config: TrackingConfig) -> None:
        """Use a new configuration from the next frame on."""
        ...

    def reset(self) -> None:
        """Forget every track; their ids are never used again."""
        ...

    @property
    def counts(self) -> TrackCounts:
        """Return how many tracks there are and were."""
        ...


class NoTracker:
    """Leaves every instance without a track: ids count from 1 in each frame."""

    counts = TrackCounts()

    def update(self, segmentation: Segmentation, *, stamp: int) -> Segmentation:
        """Return the segmentation as it is."""
        return segmentation

    def apply(self, config: TrackingConfig) -> None:
        """Do nothing."""

    def reset(self) -> None:
        """Do nothing."""


def make_tracker(config: TrackingConfig, label_set: LabelSet, *, ids: Iterator[int]) -> Tracker:
    """Return the tracker that a configuration asks for; ids yields numbers never used before."""
    return MaskTracker(config, label_set, ids=ids) if config.enabled else NoTracker()


@dataclass(frozen=True, eq=False)
class _Samples:
    """The pixels of the tracks' newest masks, on a grid, relative to their boxes."""

    owner: Rows  # (P,) row of the track
    offset: Floats  # (P, 2) x, y from the box's centre, in widths and heights of the box

    def join(self, other: _Samples) -> _Samples:
        return _Samples(np.concatenate((self.owner, other.owner)),
                        np.concatenate((self.offset, other.offset)))


@dataclass(frozen=True, eq=False)
class _Tracks:
    """A struct of arrays, row = track."""

    ids: NDArray[np.int64]  # (T,)
    seen_ns: NDArray[np.int64]  # (T,) stamp of the last frame that showed it
    class_ids: NDArray[np.uint8]  # (T,) published
    votes: NDArray[np.float32]  # (T, 256) for each class, fading
    motion: Motion
    samples: _Samples

    def __len__(self) -> int:
        return len(self.ids)

    @staticmethod
    def none() -> _Tracks:
        return _Tracks(ids=np.zeros(0, np.int64), seen_ns=np.zeros(0, np.int64),
                       class_ids=np.zeros(0, np.uint8), votes=np.zeros((0, 256), np.float32),
                       motion=Motion.start(np.zeros((0, 4))),
                       samples=_Samples(np.zeros(0, np.intp), np.zeros((0, 2))))

    def take(self, rows: Rows) -> _Tracks:
        """Return some of the tracks."""
        new_row = np.full(len(self), -1)
        new_row[rows] = np.arange(len(rows))
        owner = new_row[self.samples.owner]
        kept = owner >= 0
        return _Tracks(self.ids[rows], self.seen_ns[rows], self.class_ids[rows],
                       self.votes[rows], self.motion.take(rows),
                       _Samples(owner[kept], self.samples.offset[kept]))

    def join(self, other: _Tracks) -> _Tracks:
        """Return both, one after the other."""
        moved = replace(other.samples, owner=other.samples.owner + len(self))
        return _Tracks(np.concatenate((self.ids, other.ids)),
                       np.concatenate((self.seen_ns, other.seen_ns)),
                       np.concatenate((self.class_ids, other.class_ids)),
                       np.concatenate((self.votes, other.votes)),
                       self.motion.join(other.motion), self.samples.join(moved))


@dataclass(frozen=True, eq=False)
class _Sighting:
    """What one frame shows, as the matching needs it."""

    instances: Instances
    measured: Floats  # (N, 4) centre x, centre y, width, height
    grid: NDArray[np.int32]  # (h, w) the instance map at every step-th pixel
    step: int
    areas: NDArray[np.int64]  # (N,) pixels of the grid

    @staticmethod
    def of(segmentation: Segmentation) -> _Sighting:
        height, width = segmentation.size
        step = max(1, math.ceil(math.sqrt(height * width / _SAMPLES)))
        grid = segmentation.instance_map[step // 2::step, step // 2::step]
        areas = np.bincount(grid.ravel(), minlength=len(segmentation.instances) + 1)[1:]
        return _Sighting(segmentation.instances, centres_and_sizes(segmentation.instances.boxes),
                         grid, step, areas)

    def samples(self) -> _Samples:
        """Return the grid's pixels; the owner is the row of the instance."""
        rows, columns = np.nonzero(self.grid)
        owner = (self.grid[rows, columns] - 1).astype(np.intp)
        pixels = np.stack((columns, rows), axis=1) * self.step + (self.step // 2 + 0.5)
        offset = (pixels - self.measured[owner, :2]) / self.measured[owner, 2:]
        return _Samples(owner, offset)


class MaskTracker:
    """Matches the masks of a frame with the tracks' masks, moved to where they should be now.

    Motion is a Kalman filter in real time (SORT, Bewley et al. 2016). Similarity is the mean of
    the masks' and the boxes' overlap, less between unlike classes. Sure instances are matched
    before unsure ones (ByteTrack, Zhang et al. 2022), and what is left by the distance that the
    filter still finds likely (DeepSORT, Wojke et al. 2017). Every instance gets an id at once.
    """

    def __init__(self, config: TrackingConfig, label_set: LabelSet, *,
                 ids: Iterator[int] | None = None) -> None:
        """Start without tracks; ids yields numbers never used before, else from 1."""
        self._config = config
        self._affinity = _class_affinity(label_set)
        self._ids = count(1) if ids is None else ids
        self._tracks = _Tracks.none()
        self._stamp = 0
        self._size = (0, 0)
        self._counts = TrackCounts()

    @property
    def counts(self) -> TrackCounts:
        """Return how many tracks there are and were."""
        return self._counts

    def apply(self, config: TrackingConfig) -> None:
        """Use a new configuration from the next frame on."""
        self._config = config

    def reset(self) -> None:
        """Forget every track; their ids are never used again."""
        self._counts = replace(self._counts, active=0, lost=0,
                               ended=self._counts.ended + len(self._tracks))
        self._tracks = _Tracks.none()

    def update(self, segmentation: Segmentation, *, stamp: int) -> Segmentation:
        """Return the segmentation with track ids and steady classes; stamp in ns.

        A stamp before the last one, a gap longer than max_lost_s and another image size start
        anew: nothing is known about such a frame's past.
        """
        seconds = 1e-9 * (stamp - self._stamp)
        if not 0 <= seconds <= self._config.max_lost_s or segmentation.size != self._size:
            self.reset()
            seconds = 0.0
        tracks = _predicted(self._remembered(stamp), seconds=seconds, last_stamp=self._stamp)
        self._stamp, self._size = stamp, segmentation.size
        sighting = _Sighting.of(segmentation)
        track_of = self._match(tracks, sighting)  # (N,) -1 = new
        self._tracks, seen = self._advance(tracks, sighting, track_of, seconds=seconds)
        return _named(segmentation, seen)

    def _remembered(self, stamp: int) -> _Tracks:
        """Return the tracks that have not been unseen for too long."""
        unseen_ns = stamp - self._tracks.seen_ns
        return self._tracks.take(np.flatnonzero(unseen_ns <= 1e9 * self._config.max_lost_s))

    def _match(self, tracks: _Tracks, sighting: _Sighting) -> Rows:
        """Return (N,) the row of each instance's track, -1 where none fits."""
        track_of = np.full(len(sighting.instances), -1)
        if not len(tracks) or not len(sighting.instances):
            return track_of
        config = self._config
        affinity = self._affinity[np.ix_(tracks.class_ids, sighting.instances.class_ids)]
        similarity = affinity * _similarity(tracks, sighting)
        unseen_s = 1e-9 * (self._stamp - tracks.seen_ns)
        similarity *= 1 - _LOST_DISCOUNT * np.minimum(
            unseen_s / max(config.max_lost_s, 1e-9), 1)[:, None]
        sure = (sighting.instances.scores >= config.score_threshold) \
            & (sighting.areas * sighting.step ** 2 >= config.min_area)
        for stage in (sure, ~sure):
            _assign(track_of, np.where(similarity >= config.iou_threshold, similarity, 0),
                    instances=stage)
        likely = affinity * _likelihood(tracks.motion, sighting.measured)
        _assign(track_of, likely, instances=track_of < 0)
        return track_of

    def _advance(self, tracks: _Tracks, sighting: _Sighting, track_of: Rows, *,
                 seconds: float) -> tuple[_Tracks, _Tracks]:
        """Return all tracks after a frame, and those of its instances in their order."""
        known, new = np.flatnonzero(track_of >= 0), np.flatnonzero(track_of < 0)
        old = tracks.take(track_of[known])
        seen = replace(old, motion=old.motion.update(sighting.measured[known])).join(
            self._born(sighting, new))
        order = np.argsort(np.concatenate((known, new)))
        seen = replace(_voted(seen.take(order), sighting.instances, seconds=seconds),
                       samples=sighting.samples(),
                       seen_ns=np.full(len(order), self._stamp))
        unseen = np.setdiff1d(np.arange(len(tracks)), track_of)
        born = self._counts.born + len(new)
        self._counts = TrackCounts(active=len(seen), lost=len(unseen), born=born,
                                   ended=born - len(seen) - len(unseen))
        return seen.join(tracks.take(unseen)), seen

    def _born(self, sighting: _Sighting, rows: Rows) -> _Tracks:
        """Return new tracks of instances."""
        return replace(
            _Tracks.none(), ids=np.array(list(islice(self._ids, len(rows))), np.int64),
            seen_ns=np.full(len(rows), self._stamp),
            class_ids=sighting.instances.class_ids[rows],
            votes=np.zeros((len(rows), 256), np.float32),
            motion=Motion.start(sighting.measured[rows]))


def _class_affinity(label_set: LabelSet) -> Floats:
    """Return (256, 256) factors of similarity between class ids."""
    affinity = np.full((256, 256), _OTHER_ROLE)
    for role in _ROLES:
        members = [i for i, name in enumerate(label_set.names) if name.lower() in role]
        affinity[np.ix_(members, members)] = _SAME_ROLE
    np.fill_diagonal(affinity, 1.0)
    return affinity


def _predicted(tracks: _Tracks, *, seconds: float, last_stamp: int) -> _Tracks:
    """Return the tracks some time after the last frame."""
    return replace(tracks, motion=tracks.motion.predict(
        seconds=seconds, unseen=tracks.seen_ns < last_stamp))


def _voted(tracks: _Tracks, instances: Instances, *, seconds: float) -> _Tracks:
    """Return the tracks after each instance voted for a class, by its score."""
    votes = tracks.votes * np.float32(math.exp(-seconds / _VOTES_S))
    rows = np.arange(len(tracks))
    votes[rows, instances.class_ids] += np.maximum(instances.scores, 1e-3)
    best = votes.argmax(axis=1)
    better = votes[rows, best] > _STICKY * votes[rows, tracks.class_ids]
    class_ids = np.where(better, best, tracks.class_ids).astype(np.uint8)
    return replace(tracks, votes=votes, class_ids=class_ids)


def _similarity(tracks: _Tracks, sighting: _Sighting) -> Floats:
    """Return (T, N) in 0..1: mean of mask overlap and box IoU; boxes alone for tiny masks."""
    box_iou = _box_iou(tracks.motion.position, sighting.measured)
    mask_overlap, samples = _mask_overlap(tracks, sighting)
    few = np.minimum(samples[:, None], sighting.areas[None]) < _FEW_SAMPLES
    return np.where(few, box_iou, (mask_overlap + box_iou) / 2)


def _mask_overlap(tracks: _Tracks, sighting: _Sighting) -> tuple[Floats, Rows]:
    """Return (T, N) overlap of the moved masks with the frame's, and the masks' (T,) samples.

    The mean of IoU and of the share of the smaller mask: what hides an object leaves that share.
    One histogram over (track, value of the instance map where the track's pixel is now).
    """
    owner = tracks.samples.owner
    position = tracks.motion.position
    pixels = tracks.samples.offset * position[owner, 2:] + position[owner, :2]
    cells = (pixels / sighting.step).astype(np.intp)
    height, width = sighting.grid.shape
    inside = ((pixels >= 0) & (cells < (width, height))).all(axis=1)
    cells, owner = cells[inside], owner[inside]
    values = len(sighting.areas) + 1
    joint = owner * values + sighting.grid[cells[:, 1], cells[:, 0]]
    histogram = np.bincount(joint, minlength=len(tracks) * values).reshape(-1, values)
    samples = histogram.sum(axis=1)
    shared, areas = histogram[:, 1:], sighting.areas[None]
    union = samples[:, None] + areas - shared
    smaller = np.minimum(samples[:, None], areas)
    overlap = (shared / np.maximum(union, 1) + shared / np.maximum(smaller, 1)) / 2
    return overlap, samples


def _box_iou(left: Floats, right: Floats) -> Floats:
    """Return (T, N) IoU of boxes as centre and size, each made a little larger.

    Larger, so that thin ones still touch after they moved (C-BIoU, Yang et al. 2023).
    """
    left_half, right_half = ((0.5 + _BUFFER) * boxes[:, 2:] + 1 for boxes in (left, right))
    distance = np.abs(left[:, None, :2] - right[None, :, :2])
    both = left_half[:, None] + right_half[None]
    smaller = 2 * np.minimum(left_half[:, None], right_half[None])
    shared = np.clip(both - distance, 0, smaller).prod(axis=-1)
    areas = 4 * left_half.prod(axis=-1)[:, None] + 4 * right_half.prod(axis=-1)[None]
    return shared / (areas - shared)


def _likelihood(motion: Motion, measured: Floats) -> Floats:
    """Return (T, N): 1 where a box is as predicted, 0 and less where the filter rules it out."""
    areas = motion.position[:, 2:].prod(axis=1)[:, None] / measured[:, 2:].prod(axis=1)[None]
    alike = np.abs(np.log(areas)) < math.log(_MAX_AREA_RATIO)
    return np.where(alike, 1 - motion.surprise(measured) / _MAX_SURPRISE, 0)


def _assign(track_of: Rows, similarity: Floats, *, instances: NDArray[np.bool_]) -> None:
    """Give instances (N,) the free tracks that make the sum of similarity largest.

    Pairs without a positive similarity stay apart.
    """
    columns = np.flatnonzero(instances)
    rows = np.setdiff1d(np.arange(len(similarity)), track_of)
    good = np.maximum(similarity[np.ix_(rows, columns)], 0)
    chosen_rows, chosen_columns = linear_sum_assignment(good, maximize=True)
    fits = good[chosen_rows, chosen_columns] > 0
    track_of[columns[chosen_columns[fits]]] = rows[chosen_rows[fits]]


def _named(segmentation: Segmentation, tracks: _Tracks) -> Segmentation:
    """Return the segmentation with its instances' ids, and their classes in map and array."""
    old = segmentation.instances
    instances = replace(old, track_ids=tracks.ids, class_ids=tracks.class_ids)
    changed = np.flatnonzero(old.class_ids != tracks.class_ids)
    if not len(changed):
        return replace(segmentation, instances=instances)
    is_changed = np.zeros(len(old) + 1, bool)
    is_changed[changed + 1] = True
    class_of_value = np.concatenate((np.zeros(1, np.uint8), tracks.class_ids))
    class_map = segmentation.class_map.copy()
    np.copyto(class_map, look_up(class_of_value, segmentation.instance_map),
              where=look_up(is_changed, segmentation.instance_map))
    return replace(segmentation, instances=instances, class_map=class_map)
