# SPDX-License-Identifier: Apache-2.0
"""AP of the instances of each thing class, by COCO's own evaluation of masks."""
from __future__ import annotations

from collections.abc import Iterator
import contextlib
from dataclasses import dataclass
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from seg_ros.core.labels import LabelSet
from seg_ros.core.types import Segmentation


@dataclass(frozen=True)
class Precision:
    """Average precision of a class or a mean over classes; NaN where the truth has none."""

    ap: float  # mean over the IoU thresholds 0.50, 0.55, ..., 0.95
    ap50: float  # at 0.50


class AveragePrecision:
    """AP of Lin et al. 2014 ("Microsoft COCO"), by mask, over all frames given to it.

    Truth instances below `min_area` pixels are neither wanted nor wrong, and neither are
    predictions below it that match nothing; on thing pixels without an instance nothing is wrong.
    """

    def __init__(self, label_set: LabelSet, *, min_area: int = 0) -> None:
        """Start with no instances."""
        self._label_set = label_set
        self._min_area = min_area
        self._frames: list[dict[str, int]] = []
        self._truths: list[dict[str, Any]] = []
        self._answers: list[dict[str, Any]] = []

    def update(self, truth: Segmentation, prediction: Segmentation) -> None:
        """Note the instances of one frame; both segmentations have one size."""
        if truth.size != prediction.size:
            raise ValueError(f'truth is {truth.size}, prediction is {prediction.size}, '
                             'expected one size')
        height, width = truth.class_map.shape
        self._frames.append({'id': len(self._frames) + 1, 'height': height, 'width': width})
        for class_id, mask, _ in _instances(truth):
            self._add_truth(class_id, mask, is_crowd=False)
        for class_id in self._label_set.thing_ids:
            crowd = (truth.class_map == class_id) & (truth.instance_map == 0)
            if crowd.any():
                self._add_truth(class_id, crowd, is_crowd=True)
        self._answers += [
            {'image_id': len(self._frames), 'category_id': class_id, 'score': score,
             'segmentation': _encoded(mask)} for class_id, mask, score in _instances(prediction)]

    def _add_truth(self, class_id: int, mask: NDArray[np.bool_], *, is_crowd: bool) -> None:
        """Note a true object, or a crowd of which nobody knows the objects."""
        # COCO's ids count from 1: it takes an id of 0 for no match
        self._truths.append({
            'id': len(self._truths) + 1, 'image_id': len(self._frames), 'category_id': class_id,
            'segmentation': _encoded(mask), 'area': int(mask.sum()), 'iscrowd': int(is_crowd)})

    def by_class(self) -> dict[str, Precision]:
        """Return the name of each thing class -> its AP."""
        ids = sorted(self._label_set.thing_ids)
        names = [self._label_set.names[i] for i in ids]
        if not self._truths:
            return dict.fromkeys(names, Precision(ap=float('nan'), ap50=float('nan')))
        precision = self._evaluate(ids)  # (10 thresholds, 101 recalls, classes), -1 = no truth
        known = np.where(precision < 0, np.nan, precision)
        return {name: Precision(ap=float(known[..., k].mean()), ap50=float(known[0, :, k].mean()))
                for k, name in enumerate(names)}

    def _evaluate(self, ids: list[int]) -> NDArray[np.float64]:
        """Run COCO's evaluation, which talks."""
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO()
            truth.dataset = {
                'info': {}, 'images': self._frames,
                'categories': [{'id': i} for i in ids], 'annotations': self._truths}
            truth.createIndex()
            # loadRes refuses an empty list, and writes into what it is given
            answers = truth.loadRes([*map(dict, self._answers)]) if self._answers else COCO()
            evaluation = COCOeval(truth, answers, 'segm')
            evaluation.params.areaRng = [[self._min_area, 1e10]]
            evaluation.params.areaRngLbl = ['all']
            evaluation.evaluate()
            evaluation.accumulate()
        precision: NDArray[np.float64] = evaluation.eval['precision'][:, :, :, 0, -1]
        return precision

    def things(self) -> Precision:
        """Return the mean over the thing classes that occur; NaN where none does."""
        known = [p for p in self.by_class().values() if np.isfinite(p.ap)]
        if not known:
            return Precision(ap=float('nan'), ap50=float('nan'))
        return Precision(ap=float(np.mean([p.ap for p in known])),
                         ap50=float(np.mean([p.ap50 for p in known])))


def _instances(segmentation: Segmentation) -> Iterator[tuple[int, NDArray[np.bool_], float]]:
    """Return class, (H, W) mask and score of each instance."""
    rows = segmentation.instances
    for row, (class_id, score) in enumerate(zip(rows.class_ids, rows.scores, strict=True)):
        yield int(class_id), segmentation.instance_map == row + 1, float(score)


def _encoded(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return an (H, W) mask as COCO's run lengths."""
    encoded: dict[str, Any] = rle.encode(np.asfortranarray(mask, np.uint8))
    return encoded
