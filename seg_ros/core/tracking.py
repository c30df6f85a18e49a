# SPDX-License-Identifier: Apache-2.0
"""Trackers give instances ids that last: from masks and stamps, and colours where known."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, islice
import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from seg_ros.core.appearance import blended, CELLS, known_looks, unlikeness
from seg_ros.core.config import TrackingConfig
from seg_ros.core.labels import LabelSet
from seg_ros.core.motion import Floats, Motion
from seg_ros.core.sighting import Bools, completed, Rows, Samples, Sighting
from seg_ros.core.splits import pieces, united
from seg_ros.core.types import Instances, look_up, Segmentation

_SAME_MASK = 0.25  # overlap of masks, of what may be one whatever its box
_FEW_SAMPLES = 6  # smaller masks say little: boxes alone decide
_BUFFER = 0.15  # of a box's size, added on each side before boxes are compared
_SAME_ROLE, _OTHER_ROLE = 0.9, 0.2  # overlap counts less between other classes
_MAX_SURPRISE = 9.49  # chi-square of four axes, 95 % (DeepSORT)
_MAX_AREA_RATIO = 5.0  # of boxes: what was hidden behind a large object is not that object
_ROOM = 0.15  # of a box's size, by which it may look out behind what hides it
_OTHER_COLOURS = 12.0  # powers of e: what was not in the last frame does not come back so unlike
_UNSURE = 12.0  # how trust in overlap falls with the variance of the place, in squares of a width
_LOOKS_S = 0.5  # colours of a track follow with this time constant
_VOTES_S = 1.0  # votes for a track's class fade with this time constant
_STICKY = 1.5  # another class takes over when it has so many times the votes
_ROLES = (
    frozenset(('car', 'truck', 'bus', 'van', 'train', 'tram', 'trailer', 'caravan', 'vehicle')),
    frozenset(('person', 'pedestrian', 'rider', 'bicyclist', 'cyclist', 'motorcyclist')),
    frozenset(('bicycle', 'motorcycle', 'bike', 'motorbike', 'bicyclist', 'rider')),
)


@dataclass(frozen=True)
class Odds:
    """Weights of what speaks for and against a track and an instance being one object.

    Their sum is the logarithm of the odds. They are those of a conditional logistic regression on
    true maps and on what a network sees of streets (benchmarks.track_odds), simplified and rounded
    by the id switches there (docs/tracking.md).
    """

    prior: float = 1.0  # of any pair
    masks: float = 8.0  # of their overlap, as far as it is sure where the track should be
    boxes: float = 12.0
    boxes_alone: float = 4.0  # more of boxes, where masks are too small
    expected: float = 7.0  # as far as it is not: of the place expected
    surprise: float = -0.2  # and of the squared distance from there, by its variance
    hidden: float = -2.0  # where hidden parts are supposed
    last_part: float = -1.0  # where what is at the border is taken for the last part
    outside: float = -3.0  # where nothing of the track should be seen any more
    unlike: float = -1.0  # of each power of e that colours are less like
    other_class: float = -3.0  # of another class that has nothing in common
    lost: float = -1.0  # where the track was not in the last frame


@dataclass(frozen=True)
class TrackCounts:
    """How many tracks there are and were."""

    active: int = 0  # seen in the newest frame
    lost: int = 0  # not seen, but not given up
    born: int = 0
    ended: int = 0


class Tracker(Protocol):
    """Names each object for as long as it is seen. One tracker a camera, called every frame."""

    def update(self, segmentation: Segmentation, *, stamp: int,
               image: NDArray[np.uint8] | None = None) -> Segmentation:
        """Return the segmentation with track ids; stamp in ns, image (H, W, 3) RGB."""
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

    def update(self, segmentation: Segmentation, *, stamp: int,
               image: NDArray[np.uint8] | None = None) -> Segmentation:
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
class _Tracks:
    """A struct of arrays, row = track."""

    ids: NDArray[np.int64]  # (T,)
    seen_ns: NDArray[np.int64]  # (T,) stamp of the last frame that showed it
    class_ids: NDArray[np.uint8]  # (T,) published
    votes: NDArray[np.float32]  # (T, 256) for each class, fading
    slots: NDArray[np.int64]  # (T,) as in Instances, -1 = none
    motion: Motion
    sizes: Floats  # (T, 2) width and height when it was seen last
    looks: Floats  # (T, BANDS, 3) fading mean, as `looks_in` gives them
    samples: Samples  # of the mask that was seen last
    split_s: Floats  # (T,) how long the model has split it by now

    def __len__(self) -> int:
        return len(self.ids)

    @staticmethod
    def none() -> _Tracks:
        return _Tracks(ids=np.zeros(0, np.int64), seen_ns=np.zeros(0, np.int64),
                       class_ids=np.zeros(0, np.uint8), votes=np.zeros((0, 256), np.float32),
                       slots=np.zeros(0, np.int64), motion=Motion.start(np.zeros((0, 4))),
                       sizes=np.zeros((0, 2)), looks=np.zeros((0, CELLS)), samples=Samples.none(),
                       split_s=np.zeros(0))

    def take(self, rows: Rows) -> _Tracks:
        """Return some of the tracks."""
        return replace(self, **{name: values[rows] for name, values in self._columns()},
                       motion=self.motion.take(rows),
                       samples=self.samples.take(rows, count=len(self)))

    def join(self, other: _Tracks) -> _Tracks:
        """Return both, one after the other."""
        if not len(other):
            return self
        return replace(self, **{name: np.concatenate((values, getattr(other, name)))
                                for name, values in self._columns()},
                       motion=self.motion.join(other.motion),
                       samples=self.samples.join(other.samples, count=len(self)))

    def _columns(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Return the fields that are arrays, a row a track."""
        return ((name, values) for name, values in vars(self).items()
                if isinstance(values, np.ndarray))


class MaskTracker:
    """Matches the masks of a frame with the tracks' masks, moved to where they should be now.

    Motion is a Kalman filter in real time (SORT, Bewley et al. 2016). Similarity is how far masks
    and boxes overlap, or how likely the filter finds the box where it is not sure of the place
    (DeepSORT, Wojke et al. 2017), less between unlike classes and colours: the logarithm of the
    odds that both are one object, so that the largest sum is what is most likely, whatever the
    scores. Those that a streaming model names by a query slot are matched first, as far as their
    masks confirm it. What would be new where a track is missed takes that track up, if its colours
    allow it. Every instance gets an id at once.
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

    def update(self, segmentation: Segmentation, *, stamp: int,
               image: NDArray[np.uint8] | None = None) -> Segmentation:
        """Return the segmentation with track ids and steady classes; stamp in ns.

        The image is (H, W, 3) RGB; without it masks alone decide. A stamp before the last one, a
        gap longer than max_lost_s and another image size start anew: nothing is known about such
        a frame's past.
        """
        seconds = 1e-9 * (stamp - self._stamp)
        if not 0 <= seconds <= self._config.max_lost_s or segmentation.size != self._size:
            self.reset()
            seconds = 0.0
        tracks = _predicted(self._remembered(stamp), seconds=seconds, last_stamp=self._stamp)
        sighting = Sighting.of(segmentation, image)
        track_of = self._match(tracks, sighting)
        tracks, whole_of = self._split(tracks, sighting, track_of, seconds=seconds)
        if (whole_of >= 0).any():
            segmentation, track_of = united(segmentation, whole_of), track_of[whole_of < 0]
            sighting = Sighting.of(segmentation, image)
        self._stamp, self._size = stamp, segmentation.size
        self._tracks, seen = self._advance(tracks, sighting, track_of, seconds=seconds)
        return _named(segmentation, seen)

    def _remembered(self, stamp: int) -> _Tracks:
        """Return the tracks that have not been unseen for too long."""
        known = stamp - self._tracks.seen_ns <= 1e9 * self._config.max_lost_s
        return self._tracks if known.all() else self._tracks.take(np.flatnonzero(known))

    def _match(self, tracks: _Tracks, sighting: Sighting) -> Rows:
        """Return (N,) the row of each instance's track, -1 where none fits."""
        track_of = np.full(len(sighting.instances), -1)
        if not len(tracks) or not len(sighting.instances):
            return track_of
        similarity = self._similarity(tracks, sighting)
        if sighting.instances.slots is not None:
            _assign(track_of, np.where(_same_slot(tracks, sighting.instances), similarity, 0))
        _assign(track_of, similarity)
        if (track_of < 0).any():
            _assign(track_of, self._likeness_of_rest(tracks, sighting))
        return track_of

    def _likeness_of_rest(self, tracks: _Tracks, sighting: Sighting) -> Floats:
        """Return (T, N) how alike tracks and instances are that lie in one place but do not fit.

        New objects are rare where known ones are missed, even if those seem impossible: most
        often one of the two is a small part. Colours must be known and not speak against it, and
        the instance must be sure and large enough.
        """
        config, instances = self._config, sighting.instances
        rest = self._affinity_of(tracks, sighting) >= _SAME_ROLE
        rest &= instances.scores >= config.score_threshold
        rest &= sighting.areas * sighting.step ** 2 >= config.min_area
        rest &= _box_iou(tracks.motion.position, sighting.measured[None]) > 0
        rest &= known_looks(tracks.looks)[:, None] & known_looks(sighting.looks)
        unlike = unlikeness(tracks.looks, sighting.looks)
        return np.where(rest, _OTHER_COLOURS - unlike, 0)

    def _split(self, tracks: _Tracks, sighting: Sighting, track_of: Rows, *, seconds: float
               ) -> tuple[_Tracks, Rows]:
        """Return the tracks, and (N,) which instance each instance is a piece of, -1 for none.

        What the model splits for longer than max_split_s was more than one object.
        """
        whole_of = np.full(len(track_of), -1)
        if self._config.max_split_s and (track_of < 0).any():
            shared, samples = _shared_samples(tracks, sighting)
            whole_of = pieces(sighting, track_of, shared=shared, samples=samples)
        parts = np.flatnonzero(whole_of >= 0)
        rows = track_of[whole_of[parts]]
        split_s = np.zeros(len(tracks))
        split_s[rows] = tracks.split_s[rows] + seconds
        whole_of[parts[split_s[rows] > self._config.max_split_s]] = -1
        return replace(tracks, split_s=split_s), whole_of

    def _similarity(self, tracks: _Tracks, sighting: Sighting, *, weights: Odds = Odds()
                    ) -> Floats:
        """Return (T, N) logarithms of odds, 0 where track and instance cannot be one object."""
        lost = tracks.seen_ns < self._stamp  # not in the last frame
        affinity = self._affinity_of(tracks, sighting)
        fit = _fit(tracks, sighting, lost=lost, weights=weights)
        possible = (affinity * fit.overlap >= self._config.iou_threshold) \
            | (fit.near & (affinity >= _SAME_ROLE))
        unlike = unlikeness(tracks.looks, sighting.looks)
        possible &= (unlike < _OTHER_COLOURS) | ~lost[:, None]
        odds = fit.odds + weights.unlike * unlike + weights.other_class * (1 - affinity) \
            + weights.lost * lost[:, None]
        return np.where(possible, odds, 0)

    def _affinity_of(self, tracks: _Tracks, sighting: Sighting) -> Floats:
        """Return (T, N) factors of similarity between the classes of tracks and instances."""
        return self._affinity[np.ix_(tracks.class_ids, sighting.instances.class_ids)]

    def _advance(self, tracks: _Tracks, sighting: Sighting, track_of: Rows, *,
                 seconds: float) -> tuple[_Tracks, _Tracks]:
        """Return all tracks after a frame, and those of its instances in their order."""
        known, new = np.flatnonzero(track_of >= 0), np.flatnonzero(track_of < 0)
        # their masks are this frame's from now on
        old = replace(tracks, samples=Samples.none()).take(track_of[known])
        motion = old.motion.update(sighting.measured[known], hidden=sighting.hidden[known],
                                   seconds=seconds)
        looks = blended(old.looks, sighting.looks[known],
                        share=1 - math.exp(-seconds / _LOOKS_S))
        seen = replace(old, motion=motion, looks=looks, sizes=motion.position[:, 2:])
        if len(new):
            seen = seen.join(self._born(sighting, new)).take(
                np.argsort(np.concatenate((known, new))))
        seen = replace(_voted(seen, sighting.instances, seconds=seconds),
                       samples=sighting.samples(seen.motion.position),
                       slots=_slots(sighting.instances),
                       seen_ns=np.full(len(seen), self._stamp))
        unseen = _free(len(tracks), track_of)
        born = self._counts.born + len(new)
        self._counts = TrackCounts(active=len(seen), lost=len(unseen), born=born,
                                   ended=born - len(seen) - len(unseen))
        return seen.join(tracks.take(unseen)), seen

    def _born(self, sighting: Sighting, rows: Rows) -> _Tracks:
        """Return new tracks of instances."""
        return replace(
            _Tracks.none(), ids=np.array(list(islice(self._ids, len(rows))), np.int64),
            seen_ns=np.full(len(rows), self._stamp), split_s=np.zeros(len(rows)),
            class_ids=sighting.instances.class_ids[rows],
            votes=np.zeros((len(rows), 256), np.float32),
            slots=_slots(sighting.instances)[rows],
            motion=Motion.start(sighting.measured[rows]), sizes=sighting.measured[rows, 2:],
            looks=sighting.looks[rows])


def _slots(instances: Instances) -> NDArray[np.int64]:
    """Return (N,) slots, -1 where there is none."""
    return np.full(len(instances), -1) if instances.slots is None else instances.slots


def _same_slot(tracks: _Tracks, instances: Instances) -> Bools:
    """Return (T, N) whether the query slot that found the instance found the track before."""
    slots = _slots(instances)
    return (tracks.slots[:, None] == slots[None]) & (slots >= 0)[None]


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


@dataclass(frozen=True, eq=False)
class _Fit:
    """How tracks and instances fit, (T, N) each."""

    overlap: Floats  # 0..1, of masks and boxes
    near: Bools  # whether the filter believes the box
    odds: Floats  # logarithm of the odds that both are one object, before looks

    def or_else(self, columns: Rows, other: _Fit, *, supposed: float) -> _Fit:
        """Return the better of the two for some instances; what the other supposes has odds."""
        overlap, near, odds = self.overlap.copy(), self.near.copy(), self.odds.copy()
        overlap[:, columns] = np.maximum(overlap[:, columns], other.overlap)
        near[:, columns] |= other.near
        odds[:, columns] = np.maximum(odds[:, columns], other.odds + supposed)
        return _Fit(overlap, near, odds)


def _fit(tracks: _Tracks, sighting: Sighting, *, lost: Bools, weights: Odds) -> _Fit:
    """Return how all tracks and instances fit; lost (T,) tracks were not in the last frame.

    What is cut off by the image's border may be as large as the track was; so may, for less,
    what a nearer object hides, and what comes out from behind something that is no instance.
    """
    masks = _Masks.of(tracks, sighting, lost=lost)
    fit_of = partial(_fit_of, tracks, sighting, masks=masks, weights=weights)
    everything, measured = np.arange(len(sighting.areas)), sighting.measured[None]
    sizes, position = tracks.sizes[:, None], tracks.motion.position
    fit = fit_of(everything, boxes=completed(
        measured, cut=sighting.cut[None], sizes=sizes))
    behind = np.flatnonzero((sighting.hidden & ~sighting.cut).any(axis=1))
    if len(behind):
        boxes = completed(measured[:, behind], cut=sighting.hidden[behind][None], sizes=sizes,
                          expected=position[:, None, :2])
        fit = fit.or_else(behind, fit_of(
            behind, boxes=boxes, allowed=_fits_behind(boxes, sighting.reach[behind])),
            supposed=weights.hidden)
    if tracks.motion.walled.any():
        strips = np.flatnonzero(~sighting.hidden[:, [0, 2]].any(axis=1))
        fit = fit.or_else(strips, fit_of(
            strips, allowed=tracks.motion.walled[:, None] & _level(measured[:, strips], position),
            boxes=_coming_out(measured[:, strips], position, sizes=sizes)),
            supposed=weights.hidden)
    leaving = np.flatnonzero(sighting.cut.any(axis=1))
    if len(leaving):
        cut = sighting.cut[leaving]
        boxes = completed(_last_parts(measured[:, leaving], position, cut=cut), cut=cut[None],
                          sizes=sizes)
        fit = fit.or_else(leaving, fit_of(leaving, boxes=boxes), supposed=weights.last_part)
    return fit


def _fit_of(tracks: _Tracks, sighting: Sighting, instances: Rows, *, masks: _Masks,
            weights: Odds, boxes: Floats, allowed: Bools | bool = True) -> _Fit:
    """Return the fit of tracks and n instances, if these are as large as boxes (T, n, 4)."""
    motion, leaves = tracks.motion, sighting.cut[instances].any(axis=1)
    grown = boxes[..., 2:].prod(axis=-1) / motion.position[:, None, 2:].prod(axis=-1)
    # any part of what leaves may be the last one that is seen
    alike = _alike(grown) | masks.same[:, instances] | leaves
    outside = _outside(motion.position, sighting)[:, None]
    alike &= allowed & (leaves | ~outside)
    overlap, few = masks.overlap[:, instances], masks.few[:, instances]
    box_iou, surprise = _box_iou(motion.position, boxes), motion.surprise(boxes)
    sure = 1 / (1 + _UNSURE * motion.spread()[:, None])
    odds = sure * (weights.masks * overlap * ~few + weights.boxes * box_iou) \
        + weights.boxes_alone * box_iou * few \
        + (1 - sure) * (weights.expected + weights.surprise * surprise) \
        + weights.outside * outside + weights.prior
    return _Fit(overlap=np.where(alike, np.where(few, box_iou, (overlap + box_iou) / 2), 0),
                near=alike & (surprise < _MAX_SURPRISE), odds=np.where(alike, odds, -np.inf))


def _coming_out(measured: Floats, position: Floats, *, sizes: Floats) -> Floats:
    """Return boxes (T, n, 4), at least as wide as sizes (T, 1, 2) at these heights.

    The side that is supposed to be still hidden is the one that brings the box nearer to where it
    should be.
    """
    right = position[:, None, 0] > measured[..., 0]
    seen = np.zeros_like(right)
    return completed(measured, cut=np.stack((~right, seen, right, seen), axis=-1), sizes=sizes)


def _level(measured: Floats, position: Floats) -> Bools:
    """Return (T, n) whether boxes lie as high as tracks should, or within that height."""
    expected = position[:, None]
    slack = np.abs(measured[..., 3] - expected[..., 3]) / 2
    off: Floats = np.abs(measured[..., 1] - expected[..., 1])
    return off <= slack + _ROOM * expected[..., 3]


def _alike(ratio: Floats) -> Bools:
    """Return whether areas of that ratio may be those of one object."""
    return (ratio < _MAX_AREA_RATIO) & (ratio > 1 / _MAX_AREA_RATIO)


def _last_parts(measured: Floats, position: Floats, *, cut: Bools) -> Floats:
    """Return boxes (T, n, 4), those that the image's border cuts as long as expected there.

    What is left of an object at a border may be its least part: along the border it tells no
    size, if it lies where the track should be.
    """
    crossed = np.stack((cut[:, 1] | cut[:, 3], cut[:, 0] | cut[:, 2]), axis=1)  # of the other axis
    expected = position[:, None]
    slack = (expected[..., 2:] - measured[..., 2:]) / 2
    inside = np.abs(measured[..., :2] - expected[..., :2]) <= slack + _ROOM * expected[..., 2:]
    part = crossed & inside & (slack > 0)
    return np.where(np.concatenate((part, part), axis=-1), expected, measured)


def _outside(boxes: Floats, sighting: Sighting) -> Bools:
    """Return (T,) whether boxes (T, 4), centre and size, lie outside of the image."""
    height, width = (sighting.step * cells for cells in sighting.grid.shape)
    half = boxes[:, 2:] / 2
    beyond: Bools = (boxes[:, :2] + half <= 0) | (boxes[:, :2] - half >= (width, height))
    return beyond[:, 0] | beyond[:, 1]


def _fits_behind(boxes: Floats, reach: Floats) -> Bools:
    """Return (T, N) whether boxes (T, N, 4) go on no further than they would be hidden.

    Otherwise what is left of the object would be seen on the other side.
    """
    room = _ROOM * boxes[..., 2:] + 1
    half = boxes[..., 2:] / 2 - room
    inside: Bools = (boxes[..., :2] - half >= reach[:, :2]) \
        & (boxes[..., :2] + half <= reach[:, 2:])
    return inside[..., 0] & inside[..., 1]


@dataclass(frozen=True, eq=False)
class _Masks:
    """How the tracks' masks, moved to where they should be, and the frame's compare, (T, N)."""

    overlap: Floats  # 0..1
    few: Bools  # where it says little
    same: Bools  # they overlap from one frame to the next, and are about as large

    @staticmethod
    def of(tracks: _Tracks, sighting: Sighting, *, lost: Bools) -> _Masks:
        """Compare them; what lost (T,) tracks showed is long ago."""
        overlap, samples = _mask_overlap(tracks, sighting)
        few = np.minimum(samples[:, None], sighting.areas[None]) < _FEW_SAMPLES
        alike = _alike(sighting.areas[None] / np.maximum(samples, 1)[:, None])
        return _Masks(overlap, few, alike & (overlap > _SAME_MASK) & ~lost[:, None])


def _mask_overlap(tracks: _Tracks, sighting: Sighting) -> tuple[Floats, Rows]:
    """Return (T, N) overlap of the moved masks with the frame's, and the masks' (T,) samples.

    The mean of IoU and of the share of the smaller mask: what hides an object leaves that share.
    """
    shared, samples = _shared_samples(tracks, sighting)
    areas = sighting.areas[None]
    union = samples[:, None] + areas - shared
    smaller = np.minimum(samples[:, None], areas)
    overlap = (shared / np.maximum(union, 1) + shared / np.maximum(smaller, 1)) / 2
    return overlap, samples


def _shared_samples(tracks: _Tracks, sighting: Sighting) -> tuple[Floats, Rows]:
    """Return how many pixels of the grid moved masks and the frame's share (T, N), and have (T,).

    One histogram over (track, value of the instance map where the track's pixel is now).
    """
    owner, position = tracks.samples.owner, tracks.motion.position
    height, width = sighting.grid.shape
    column, row = (tracks.samples.offset[axis] * position[:, axis + 2].take(owner)
                   + position[:, axis].take(owner) for axis in (0, 1))
    inside = np.flatnonzero((column >= 0) & (column < width * sighting.step)
                            & (row >= 0) & (row < height * sighting.step))
    columns, rows = ((pixels.take(inside) / sighting.step).astype(np.intp)
                     for pixels in (column, row))
    owner = owner.take(inside)
    values = len(sighting.areas) + 1
    joint = owner * values + sighting.grid[rows, columns]
    histogram = np.bincount(joint, minlength=len(tracks) * values).reshape(-1, values)
    # a mask that shrinks lies double
    return np.minimum(histogram[:, 1:], sighting.areas[None]), histogram.sum(axis=1)


def _box_iou(left: Floats, right: Floats) -> Floats:
    """Return (T, N) IoU of boxes (T, 4) and (T, N, 4), centre and size, each made a little larger.

    Larger, so that thin ones still touch after they moved (C-BIoU, Yang et al. 2023).
    """
    left = left[:, None]
    left_half, right_half = ((0.5 + _BUFFER) * boxes[..., 2:] + 1 for boxes in (left, right))
    distance = np.abs(left[..., :2] - right[..., :2])
    smaller = 2 * np.minimum(left_half, right_half)
    shared = np.clip(left_half + right_half - distance, 0, smaller).prod(axis=-1)
    areas = 4 * left_half.prod(axis=-1) + 4 * right_half.prod(axis=-1)
    return shared / (areas - shared)


def _assign(track_of: Rows, similarity: Floats) -> None:
    """Give instances (N,) without a track the free ones that make the sum of similarity largest.

    Pairs without a positive similarity stay apart.
    """
    columns = np.flatnonzero(track_of < 0)
    rows = _free(len(similarity), track_of)
    if not len(columns) or not len(rows):
        return
    good = np.maximum(similarity[np.ix_(rows, columns)], 0)
    chosen_rows, chosen_columns = linear_sum_assignment(good, maximize=True)
    fits = good[chosen_rows, chosen_columns] > 0
    track_of[columns[chosen_columns[fits]]] = rows[chosen_rows[fits]]


def _free(count: int, track_of: Rows) -> Rows:
    """Return the rows of `count` tracks that no instance (N,) has; -1 stands for none."""
    free = np.ones(count + 1, bool)
    free[track_of] = False
    return np.flatnonzero(free[:count])


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
