# SPDX-License-Identifier: Apache-2.0
"""mIoU and panoptic quality, from one histogram over truth and prediction each."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seg_ros.core.labels import LabelSet
from seg_ros.core.types import Segmentation, VOID


class ConfusionMatrix:
    """Counts pixels by (truth class, predicted class) over all frames given to it.

    The last column holds predicted void and ids outside of the label set: a miss of the truth
    class. Truth pixels with an ignored id, and with any id outside of the label set, are not
    counted; `ignored` says how many there were of each.
    """

    def __init__(self, label_set: LabelSet, *, ignore_ids: Iterable[int] = (VOID,)) -> None:
        """Start with no pixels."""
        self._label_set = label_set
        self._ignore_ids = frozenset(ignore_ids)
        self._counts = np.zeros((256, 256), np.int64)

    def update(self, truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> None:
        """Count the pixels of one frame; both maps are (H, W) class ids."""
        if truth.shape != prediction.shape:
            raise ValueError(f'truth is {truth.shape}, prediction is {prediction.shape}, '
                             'expected one shape')
        joint = truth.astype(np.intp)  # bincount's own type: nothing is converted twice
        joint <<= 8
        joint |= prediction
        self._counts += np.bincount(joint.ravel(), minlength=1 << 16).reshape(256, 256)

    @property
    def matrix(self) -> NDArray[np.int64]:
        """Return the (C, C + 1) counts; rows of ignored classes are zero."""
        count = len(self._label_set)
        known = self._counts[:count, :count]
        others = self._counts[:count, count:].sum(axis=1, keepdims=True)
        matrix = np.concatenate((known, others), axis=1)
        matrix[self._ignored_classes] = 0
        return matrix

    @property
    def _ignored_classes(self) -> list[int]:
        return [i for i in self._ignore_ids if i < len(self._label_set)]

    @property
    def ignored(self) -> dict[int, int]:
        """Return truth id -> pixels not counted."""
        pixels = self._counts.sum(axis=1)
        count = len(self._label_set)
        return {int(i): int(pixels[i]) for i in np.flatnonzero(pixels)
                if i >= count or i in self._ignore_ids}

    def iou(self) -> dict[str, float]:
        """Return class name -> intersection over union.

        NaN for an ignored class, and for one that is neither in truth nor in prediction.
        """
        matrix = self.matrix
        true_positive = np.diagonal(matrix).astype(float)
        union = matrix.sum(axis=1) + matrix[:, :-1].sum(axis=0) - true_positive
        # false alarms of a class whose truth is not looked at say nothing about it
        union[self._ignored_classes] = 0
        ious = np.divide(true_positive, union, out=np.full(len(union), np.nan), where=union > 0)
        return dict(zip(self._label_set.names, ious.tolist(), strict=True))

    def miou(self) -> float:
        """Return the mean IoU over the classes that occur; NaN where none does."""
        ious = np.array(list(self.iou().values()))
        return float(np.nanmean(ious)) if np.isfinite(ious).any() else float('nan')


@dataclass(frozen=True)
class Quality:
    """Panoptic quality of a class or a mean over classes."""

    pq: float
    sq: float  # segmentation quality: mean IoU of the matched segments
    rq: float  # recognition quality: F1 of the matching
    truths: int  # segments in the truth


class PanopticQuality:
    """PQ of Kirillov et al. 2019 ("Panoptic Segmentation", section 4), over all frames given.

    Void rules as there: truth void is taken out of every union, and a prediction that lies to
    more than half on it is not a false positive. A thing pixel without an instance is void, in
    truth and prediction. Truth instances below `min_area` pixels are void too.
    """

    def __init__(self, label_set: LabelSet, *, min_area: int = 0) -> None:
        """Start with no segments."""
        self._label_set = label_set
        self._min_area = min_area
        count = len(label_set)
        self._iou_sum = np.zeros(count)
        self._matched = np.zeros(count, np.int64)
        self._false_positives = np.zeros(count, np.int64)
        self._false_negatives = np.zeros(count, np.int64)

    def update(self, truth: Segmentation, prediction: Segmentation) -> None:
        """Match the segments of one frame; both segmentations have one size."""
        if truth.size != prediction.size:
            raise ValueError(f'truth is {truth.size}, prediction is {prediction.size}, '
                             'expected one size')
        overlap = _overlaps(truth, prediction)
        truth_is_segment = self._is_segment(overlap.sum(axis=1), min_area=self._min_area)
        is_segment = self._is_segment(overlap.sum(axis=0), min_area=0)
        truth_classes = _segment_classes(truth)[truth_is_segment]
        classes = _segment_classes(prediction)[is_segment]
        shared = overlap[truth_is_segment][:, is_segment]
        truth_area = overlap[truth_is_segment].sum(axis=1)
        area = overlap[:, is_segment].sum(axis=0)
        on_void = area - shared.sum(axis=0)
        union = truth_area[:, None] + (area - on_void)[None, :] - shared
        iou = np.where(truth_classes[:, None] == classes[None, :],
                       shared / np.maximum(union, 1), 0.0)
        rows, columns = np.nonzero(iou > 0.5)  # at most one a row and a column
        np.add.at(self._iou_sum, truth_classes[rows], iou[rows, columns])
        np.add.at(self._matched, truth_classes[rows], 1)
        np.add.at(self._false_negatives, np.delete(truth_classes, rows), 1)
        excused = on_void > 0.5 * area
        excused[columns] = True
        np.add.at(self._false_positives, classes[~excused], 1)

    def _is_segment(self, areas: NDArray[np.int64], *, min_area: int) -> NDArray[np.bool_]:
        """Return which of (256 classes, then N instances) are segments; the others are void."""
        count = len(self._label_set)
        stuff = areas[:count] > 0
        stuff[sorted(self._label_set.thing_ids)] = False
        unknown = np.zeros(VOID + 1 - count, bool)
        return np.concatenate((stuff, unknown, areas[VOID + 1:] >= max(min_area, 1)))

    def by_class(self) -> dict[str, Quality]:
        """Return class name -> quality; NaN where truth and prediction lack the class."""
        return {name: self._quality(i) for i, name in enumerate(self._label_set.names)}

    def _quality(self, class_id: int) -> Quality:
        matched = int(self._matched[class_id])
        missed = int(self._false_negatives[class_id])
        segments = matched + 0.5 * (missed + int(self._false_positives[class_id]))
        if segments == 0:
            return Quality(pq=float('nan'), sq=float('nan'), rq=float('nan'), truths=0)
        sq = float(self._iou_sum[class_id]) / matched if matched else 0.0
        rq = matched / segments
        return Quality(pq=sq * rq, sq=sq, rq=rq, truths=matched + missed)

    def all(self) -> Quality:
        """Return the mean over the classes that occur."""
        return self._mean(self._label_set.names)

    def things(self) -> Quality:
        """Return the mean over the thing classes that occur."""
        return self._mean(sorted(self._label_set.things))

    def stuff(self) -> Quality:
        """Return the mean over the stuff classes that occur."""
        return self._mean([n for n in self._label_set.names if n not in self._label_set.things])

    def _mean(self, names: Iterable[str]) -> Quality:
        by_class = self.by_class()
        occurring = [by_class[name] for name in names if np.isfinite(by_class[name].pq)]
        if not occurring:
            return Quality(pq=float('nan'), sq=float('nan'), rq=float('nan'), truths=0)
        return Quality(
            pq=float(np.mean([q.pq for q in occurring])),
            sq=float(np.mean([q.sq for q in occurring])),
            rq=float(np.mean([q.rq for q in occurring])),
            truths=sum(q.truths for q in occurring))


def _overlaps(truth: Segmentation, prediction: Segmentation) -> NDArray[np.int64]:
    """Return the pixels that each two of (256 classes, then N instances) share."""
    rows = VOID + 1 + len(truth.instances)
    columns = VOID + 1 + len(prediction.instances)
    joint = truth.segment_index.copy()
    joint *= columns
    joint += prediction.segment_index
    return np.bincount(joint.ravel(), minlength=rows * columns).reshape(rows, columns)


def _segment_classes(segmentation: Segmentation) -> NDArray[np.int64]:
    """Return the class of each of (256 classes, then N instances)."""
    return np.concatenate((np.arange(VOID + 1), segmentation.instances.class_ids))
