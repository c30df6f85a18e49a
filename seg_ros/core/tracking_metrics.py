# SPDX-License-Identifier: Apache-2.0
"""How well ids hold over a sequence: id switches, IDF1, mask HOTA, STQ and VPQ."""
from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from seg_ros.core.labels import LabelSet
from seg_ros.core.metrics import ConfusionMatrix, PanopticQuality
from seg_ros.core.types import Segmentation, segmentation_from_map

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

_ALPHAS = np.arange(1, 20) / 20  # HOTA's thresholds on IoU
_MATCH_IOU = 0.5
_EPSILON = 1e-9  # a similarity at a threshold reaches it, whatever the rounding


@dataclass(frozen=True)
class IdentityScores:
    """How well ids hold; the fractions are NaN where there is neither truth nor prediction."""

    frames: int
    object_frames: int  # truth instances, summed over frames
    id_switches: int  # CLEAR MOT (Bernardin and Stiefelhagen 2008): the truth's match changes id
    idf1: float  # Ristani et al. 2016
    hota: float  # Luiten et al. 2020, on masks, mean over 19 thresholds
    det_a: float  # detection accuracy, part of HOTA
    ass_a: float  # association accuracy, part of HOTA

    @property
    def switches_per_1000(self) -> float:
        """Return id switches in a thousand object-frames."""
        return 1000 * self.id_switches / self.object_frames if self.object_frames else 0.0


@dataclass(frozen=True, eq=False)
class _FrameOverlap:
    """Mask IoU of the instances of one frame."""

    truths: Rows  # (T,) index of the identity over the sequence
    predictions: Rows  # (P,)
    iou: Floats  # (T, P)


class Reappearances:
    """Gives objects that come back after a long time out of view a new identity.

    Nobody can know them again by looking: an object that was out of view for longer than
    max_gap_s is another one.
    """

    def __init__(self, *, max_gap_s: float = float('inf')) -> None:
        """Start without objects."""
        self._max_gap_s = max_gap_s + _EPSILON
        self._seen: dict[int, tuple[int, float]] = {}  # object -> identity, seconds
        self._used = 0

    def names(self, objects: NDArray[np.integer], *, time_s: float) -> NDArray[np.int64]:
        """Return (N,) identities, from 1, of the (N,) objects in view at a time."""
        return np.array([self._name(i, time_s) for i in objects.tolist()], np.int64)

    def _name(self, number: int, time_s: float) -> int:
        identity, last_s = self._seen.get(number, (0, -np.inf))
        if time_s - last_s > self._max_gap_s or not identity:
            self._used += 1
            identity = self._used
        self._seen[number] = identity, time_s
        return identity


class IdentityMetrics:
    """Gathers frames and scores their ids as TrackEval does, with mask IoU as similarity.

    The identities are the track ids of truth and prediction. Classes are not looked at.
    """

    def __init__(self) -> None:
        """Start without frames."""
        self._truths: dict[int, int] = {}
        self._predictions: dict[int, int] = {}
        self._frames: list[_FrameOverlap] = []

    def update(self, truth: Segmentation, prediction: Segmentation) -> None:
        """Add a frame; both segmentations have one size and track ids."""
        self.add(truths=truth.instances.ids, predictions=prediction.instances.ids,
                 iou=instance_iou(truth, prediction))

    def add(self, *, truths: NDArray[np.int64], predictions: NDArray[np.int64], iou: Floats
            ) -> None:
        """Add a frame by its identities (T,) and (P,) and the IoU (T, P) of their masks."""
        self._frames.append(_FrameOverlap(
            truths=_indices(self._truths, truths), iou=iou,
            predictions=_indices(self._predictions, predictions)))

    def scores(self) -> IdentityScores:
        """Return the scores of all frames so far."""
        det_a, ass_a, hota = self._hota()
        return IdentityScores(
            frames=len(self._frames), id_switches=self._id_switches(), idf1=self._idf1(),
            object_frames=sum(len(frame.truths) for frame in self._frames),
            det_a=det_a, ass_a=ass_a, hota=hota)

    def _id_switches(self) -> int:
        """Count how often a truth is matched to another id than at its last match."""
        last_id = np.full(len(self._truths), -1)
        before = np.full(len(self._truths), -1)  # matches of the previous frame alone
        switches = 0
        for frame in self._frames:
            if not frame.iou.size:
                continue  # as TrackEval: what was matched before it goes on after it
            kept = before[frame.truths, None] == frame.predictions[None]
            good = frame.iou >= _MATCH_IOU - _EPSILON
            rows, columns = linear_sum_assignment(
                np.where(good, 1000.0 * kept + frame.iou, 0), maximize=True)
            matched = good[rows, columns]
            truths, ids = frame.truths[rows[matched]], frame.predictions[columns[matched]]
            switches += int(((last_id[truths] >= 0) & (last_id[truths] != ids)).sum())
            last_id[truths] = ids
            before[:] = -1
            before[truths] = ids
        return switches

    def _idf1(self) -> float:
        """Return the F1 of the best one-to-one map between truth and predicted identities."""
        together = np.zeros((len(self._truths), len(self._predictions)))
        truths, predictions = self._appearances()
        for frame in self._frames:
            together[np.ix_(frame.truths, frame.predictions)] += \
                frame.iou >= _MATCH_IOU - _EPSILON
        rows, columns = linear_sum_assignment(together, maximize=True)
        both = truths.sum() + predictions.sum()
        return float(2 * together[rows, columns].sum() / both) if both else float('nan')

    def _hota(self) -> tuple[float, float, float]:
        """Return DetA, AssA and HOTA, means over the thresholds."""
        truths, predictions = self._appearances()
        if not truths.sum() + predictions.sum():
            return float('nan'), float('nan'), float('nan')
        alignment = self._alignment(truths, predictions)
        matches = np.zeros((len(_ALPHAS), len(truths), len(predictions)))
        for frame in self._frames:
            at = np.ix_(frame.truths, frame.predictions)
            rows, columns = linear_sum_assignment(alignment[at] * frame.iou, maximize=True)
            reached = frame.iou[rows, columns] >= _ALPHAS[:, None] - _EPSILON
            matches[:, frame.truths[rows], frame.predictions[columns]] += reached
        found = matches.sum(axis=(1, 2))
        det_a = found / (truths.sum() + predictions.sum() - found)
        pair_a = matches / np.maximum(
            truths[:, None] + predictions[None] - matches, 1)
        ass_a = (matches * pair_a).sum(axis=(1, 2)) / np.maximum(found, 1)
        return float(det_a.mean()), float(ass_a.mean()), float(np.sqrt(det_a * ass_a).mean())

    def _alignment(self, truths: Floats, predictions: Floats) -> Floats:
        """Return (T, P) how well two identities go together over the whole sequence."""
        potential = np.zeros((len(truths), len(predictions)))
        for frame in self._frames:
            others = frame.iou.sum(axis=0)[None] + frame.iou.sum(axis=1)[:, None] - frame.iou
            potential[np.ix_(frame.truths, frame.predictions)] += np.divide(
                frame.iou, others, out=np.zeros_like(frame.iou), where=others > 0)
        return potential / (truths[:, None] + predictions[None] - potential)

    def _appearances(self) -> tuple[Floats, Floats]:
        """Return in how many frames each truth (T,) and each prediction (P,) is."""
        truths, predictions = np.zeros(len(self._truths)), np.zeros(len(self._predictions))
        for frame in self._frames:
            truths[frame.truths] += 1
            predictions[frame.predictions] += 1
        return truths, predictions


def _indices(known: dict[int, int], ids: NDArray[np.int64]) -> Rows:
    """Return (N,) the index of each identity; new ones are added to the known."""
    return np.array([known.setdefault(i, len(known)) for i in ids.tolist()], np.intp)


def overlap(left: NDArray[np.int32], right: NDArray[np.int32], *, rows: int, columns: int
            ) -> NDArray[np.int64]:
    """Return (rows, columns) counts of pixels with each pair of values of two (H, W) maps."""
    joint = left.astype(np.intp)
    joint *= columns
    joint += right
    return np.bincount(joint.ravel(), minlength=rows * columns).reshape(rows, columns)


def instance_iou(truth: Segmentation, prediction: Segmentation) -> Floats:
    """Return (T, P) IoU of the masks of two segmentations of one size."""
    shared = overlap(truth.instance_map, prediction.instance_map,
                     rows=len(truth.instances) + 1, columns=len(prediction.instances) + 1)
    union = shared.sum(axis=1)[1:, None] + shared.sum(axis=0)[None, 1:] - shared[1:, 1:]
    return shared[1:, 1:] / np.maximum(union, 1)


class SegmentationTrackingQuality:
    """STQ of Weber et al. 2021 ("STEP", section 4): the geometric mean of SQ and AQ.

    SQ is the mIoU of the class maps. AQ measures identities by pixels, whatever their class;
    pixels whose truth is void do not count.
    """

    def __init__(self, label_set: LabelSet) -> None:
        """Start without frames."""
        self._classes = ConfusionMatrix(label_set)
        self._known = len(label_set)
        self._together: dict[tuple[int, int], int] = {}  # (truth, prediction) -> pixels; 0 = none

    def update(self, truth: Segmentation, prediction: Segmentation) -> None:
        """Add a frame; both segmentations have one size and track ids."""
        self._classes.update(truth.class_map, prediction.class_map)
        valid = truth.class_map < self._known
        shared = overlap(truth.instance_map[valid], prediction.instance_map[valid],
                         rows=len(truth.instances) + 1, columns=len(prediction.instances) + 1)
        truth_ids = [0, *truth.instances.ids.tolist()]
        ids = [0, *prediction.instances.ids.tolist()]
        for row, column in zip(*np.nonzero(shared), strict=True):
            pair = (truth_ids[row], ids[column])
            self._together[pair] = self._together.get(pair, 0) + int(shared[row, column])

    @property
    def sq(self) -> float:
        """Return the segmentation quality."""
        return self._classes.miou()

    @property
    def aq(self) -> float:
        """Return the association quality; NaN without a truth identity."""
        truth_sizes: dict[int, int] = {}
        sizes: dict[int, int] = {}
        for (truth, prediction), pixels in self._together.items():
            truth_sizes[truth] = truth_sizes.get(truth, 0) + pixels
            sizes[prediction] = sizes.get(prediction, 0) + pixels
        quality = {truth: 0.0 for truth in truth_sizes if truth}
        for (truth, prediction), pixels in self._together.items():
            if truth and prediction:
                union = truth_sizes[truth] + sizes[prediction] - pixels
                quality[truth] += pixels * pixels / union
        return float(np.mean([quality[truth] / truth_sizes[truth] for truth in quality])) \
            if quality else float('nan')

    @property
    def stq(self) -> float:
        """Return the square root of SQ x AQ."""
        return float(np.sqrt(self.sq * self.aq))


class VideoPanopticQuality:
    """VPQ of Kim et al. 2020 ("Video Panoptic Segmentation", section 4).

    The PQ of tubes over every window of k frames in a row, mean over several k. A tube is what
    has one id and one class; the rules for void are those of PQ.
    """

    def __init__(self, label_set: LabelSet, *, windows: Sequence[int] = (1, 2, 3, 4)) -> None:
        """Start without frames; windows are the k."""
        self._qualities = {k: PanopticQuality(label_set) for k in windows}
        self._frames: deque[tuple[Segmentation, Segmentation]] = deque(maxlen=max(windows))

    def update(self, truth: Segmentation, prediction: Segmentation) -> None:
        """Add the next frame; both segmentations have one size and track ids."""
        self._frames.append((truth, prediction))
        for k, quality in self._qualities.items():
            if len(self._frames) >= k:
                window = list(self._frames)[-k:]
                quality.update(_stacked([pair[0] for pair in window]),
                               _stacked([pair[1] for pair in window]))

    def by_window(self) -> dict[int, float]:
        """Return k -> VPQ of windows of k frames, the mean over classes that occur."""
        return {k: quality.all().pq for k, quality in self._qualities.items()}

    def vpq(self) -> float:
        """Return the mean over the windows that the sequence is long enough for."""
        values = np.array(list(self.by_window().values()))
        return float(np.nanmean(values)) if np.isfinite(values).any() else float('nan')


def _stacked(frames: Sequence[Segmentation]) -> Segmentation:
    """Return frames one below the other, in which a tube is one instance."""
    tubes: dict[tuple[int, int], int] = {}
    maps = []
    for frame in frames:
        pairs = zip(frame.instances.ids.tolist(), frame.instances.class_ids.tolist(), strict=True)
        values = [tubes.setdefault(pair, len(tubes) + 1) for pair in pairs]
        maps.append(np.array([0, *values], np.int32)[frame.instance_map])
    return segmentation_from_map(
        class_map=np.concatenate([frame.class_map for frame in frames]),
        instance_map=np.concatenate(maps), class_ids=[class_id for _, class_id in tubes],
        scores=np.ones(len(tubes), np.float32))
