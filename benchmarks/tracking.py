# SPDX-License-Identifier: Apache-2.0
"""How well ids hold, ours beside ByteTrack's on the same masks: true ones, and street_tiny's."""
from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from itertools import count, product
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import supervision
from tqdm import tqdm
from trackers import ByteTrackTracker

from benchmarks.track_scenes import LABEL_SET, Moment, scripted_scenes, street_scenes
from seg_ros.core.config import TrackingConfig
from seg_ros.core.panoptic import keep_instances
from seg_ros.core.tracking import MaskTracker
from seg_ros.core.tracking_metrics import IdentityMetrics
from seg_ros.core.types import Segmentation
from seg_ros.models import load_model
from seg_ros.models.contract import Model, ModelOptions

ROOT = Path(__file__).resolve().parent.parent
MIN_AREA = 100  # pixels; smaller true instances are not counted, nor what is predicted on them
GRID = tuple(product((0.05, 0.1, 0.2, 0.3), (0.5, 0.6), (30, 60)))
"""ByteTrack's least IoU, its line between high and low scores, frames of 30 Hz it remembers."""

Update = Callable[[Moment, Segmentation], Segmentation]


class Ours:
    """Our tracker, as the node runs it."""

    def __init__(self) -> None:
        """Start without tracks."""
        self._tracker = MaskTracker(TrackingConfig(enabled=True), LABEL_SET)

    def __call__(self, moment: Moment, segmentation: Segmentation) -> Segmentation:
        """Return the segmentation with track ids."""
        return self._tracker.update(segmentation, stamp=moment.stamp, image=moment.image)


class ByteTrack:
    """ByteTrack of `trackers` by boxes and true time, its ids painted on the same masks."""

    def __init__(self, *, iou: float, high: float, buffer: int) -> None:
        """Start without tracks; an instance counts from the first frame on."""
        self._make = lambda: ByteTrackTracker(
            minimum_iou_threshold=iou, high_conf_det_threshold=high, lost_track_buffer=buffer,
            track_activation_threshold=0.0, minimum_consecutive_frames=1, frame_rate=30.0)
        self._tracker, self._stamp = self._make(), -1
        self._ids: dict[tuple[int, int], int] = {}  # start over, its id -> ours
        self._starts, self._free = 0, count(1)

    def __call__(self, moment: Moment, segmentation: Segmentation) -> Segmentation:
        """Return the segmentation with track ids; what it leaves unnamed is left out."""
        if moment.stamp <= self._stamp:  # it has no word for a bag that loops: start over
            self._tracker, self._starts = self._make(), self._starts + 1
        self._stamp = moment.stamp
        instances = segmentation.instances
        found = self._tracker.update(supervision.Detections(
            xyxy=instances.boxes, confidence=instances.scores,
            class_id=instances.class_ids.astype(int),
            data={'row': np.arange(len(instances))}), timestamp=1e-9 * moment.stamp)
        ids = np.zeros(len(instances), np.int64)
        for row, number in zip(found.data.get('row', ()), found.tracker_id, strict=True):
            if number >= 0:
                ids[int(row)] = self._named(int(number))
        return _with_ids(segmentation, ids)

    def _named(self, number: int) -> int:
        key = (self._starts, number)
        if key not in self._ids:
            self._ids[key] = next(self._free)
        return self._ids[key]


def _with_ids(segmentation: Segmentation, ids: NDArray[np.int64]) -> Segmentation:
    """Return the segmentation with ids (N,); instances with 0 are left out."""
    kept = keep_instances(segmentation, ids > 0)
    return replace(kept, instances=replace(kept.instances, track_ids=ids[ids > 0]))


def score(runs: Sequence[Sequence[Moment]], make: Callable[[], Update],
          see: Callable[[Moment], Segmentation]) -> dict[str, Any]:
    """Return the scores of a tracker over the runs of a scene; see gives what it is shown."""
    metrics = IdentityMetrics()
    for number, moments in enumerate(runs):
        track = make()
        for moment in moments:
            tracked = track(moment, see(moment))
            counted = keep_instances(moment.truth, _areas(moment.truth) >= MIN_AREA)
            metrics.update(_apart(counted, number),
                           _apart(_judged(tracked, moment.truth), number))
    scores = metrics.scores()
    return asdict(scores) | {'switches_per_1000': scores.switches_per_1000}


def _judged(prediction: Segmentation, truth: Segmentation) -> Segmentation:
    """Leave out what is smaller than MIN_AREA or lies, by half, on true objects that are."""
    small = np.concatenate(([False], _areas(truth) < MIN_AREA))
    on_small = np.bincount(prediction.instance_map.ravel(), small[truth.instance_map].ravel(),
                           minlength=len(prediction.instances) + 1)[1:]
    areas = _areas(prediction)
    return keep_instances(prediction, (areas >= MIN_AREA) & (on_small < 0.5 * areas))


def _areas(segmentation: Segmentation) -> NDArray[np.intp]:
    """Return the (N,) pixels of the instances."""
    return np.bincount(segmentation.instance_map.ravel(),
                       minlength=len(segmentation.instances) + 1)[1:]


def _apart(segmentation: Segmentation, run: int) -> Segmentation:
    """Return the segmentation with ids that no other run has."""
    instances = segmentation.instances
    return replace(segmentation, instances=replace(
        instances, track_ids=instances.track_ids + run * 1_000_000))


def true_map(moment: Moment) -> Segmentation:
    """Return the truth as a model would give it."""
    instances = moment.truth.instances
    return replace(moment.truth, instances=replace(
        instances, track_ids=np.zeros(len(instances), np.int64)))


class Deployed:
    """What street_tiny sees; each frame of a street is looked at once."""

    def __init__(self, model: Model) -> None:
        """Keep the model."""
        self._model = model
        self._answer = lru_cache(maxsize=None)(self._segment)
        self._images: dict[tuple[int, int], NDArray[np.uint8]] = {}

    def __call__(self, moment: Moment) -> Segmentation:
        """Return the model's answer."""
        if moment.key is None:
            raise ValueError('the moment is not of a street, expected one that was rendered')
        self._images[moment.key] = moment.image
        return self._answer(moment.key)

    def _segment(self, key: tuple[int, int]) -> Segmentation:
        return self._model.predict([self._images.pop(key)])[0]


def compare(scenes: Iterable[tuple[str, Callable[[], list[list[Moment]]]]],
            see: Callable[[Moment], Segmentation], *, title: str) -> dict[str, Any]:
    """Return scene -> scores of ours and of ByteTrack, at the best of GRID by HOTA."""
    results: dict[str, Any] = {}
    for name, make_runs in tqdm(list(scenes), desc=title, unit='scene'):
        runs = make_runs()
        rivals = [score(runs, lambda i=iou, h=high, b=buffer: ByteTrack(iou=i, high=h, buffer=b),
                        see) for iou, high, buffer in _grid(see)]
        results[name] = {
            'ours': score(runs, Ours, see),
            'bytetrack': max(rivals, key=lambda row: (row['hota'], -row['id_switches']))}
    return results


def _grid(see: Callable[[Moment], Segmentation]) -> list[tuple[float, float, int]]:
    """Return the settings to try; true maps have no low scores to tell apart."""
    return [row for row in GRID if see is not true_map or row[1] == GRID[0][1]]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--json', type=Path, default=ROOT / 'reports' / 'tracking.json')
    arguments = parser.parse_args()
    streets, scripted = street_scenes(), scripted_scenes()
    deployed = Deployed(load_model('street_tiny', ModelOptions()))
    report = {
        'true maps': compare((streets | scripted).items(), true_map, title='true maps'),
        'street_tiny': compare(streets.items(), deployed, title='street_tiny')}
    for source, scenes in report.items():
        print(f'\n{source:<32}{"HOTA":>14}{"IDF1":>16}{"switches":>12}   (ours, ByteTrack)')
        for name, row in scenes.items():
            ours, rival = row['ours'], row['bytetrack']
            print(f'{name:<32}{ours["hota"]:>8.3f}{rival["hota"]:>7.3f}{ours["idf1"]:>8.3f}'
                  f'{rival["idf1"]:>7.3f}{ours["id_switches"]:>7}{rival["id_switches"]:>6} in '
                  f'{ours["object_frames"]}')
    arguments.json.write_text(json.dumps(report, indent=1) + '\n')


if __name__ == '__main__':
    main()
