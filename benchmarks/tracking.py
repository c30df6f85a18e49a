# SPDX-License-Identifier: Apache-2.0
"""How well ids hold, ours beside ByteTrack's on the same masks: true ones, and street_tiny's."""
from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from itertools import count, product
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import supervision
from tqdm import tqdm
from trackers import ByteTrackTracker

from benchmarks.track_scenes import (
    LABEL_SET,
    Moment,
    scripted_scenes,
    street_scenes,
    STREETS,
)
from seg_ros.core.config import config_from, TrackingConfig
from seg_ros.core.tracking import MaskTracker
from seg_ros.core.tracking_metrics import IdentityMetrics, instance_iou, overlap
from seg_ros.core.types import Segmentation
from seg_ros.models import load_model
from seg_ros.models.contract import Model, ModelOptions
from seg_ros.tools.models import assignments

REPORT = Path(__file__).resolve().parent.parent / 'reports' / 'tracking.json'
SOURCES = ('true maps', 'street_tiny')
SAME = 0.5  # an instance of a larger IoU is an object's, and no other one
MIN_AREA = 100  # pixels; smaller true instances are not counted, nor what is predicted on them
GRID = tuple(product((0.05, 0.1, 0.2, 0.3), (0.5, 0.6), (30, 60)))
"""ByteTrack's least IoU, its line between high and low scores, frames of 30 Hz it remembers."""


@dataclass(frozen=True, eq=False)
class Shown:
    """What every tracker is shown of a frame, and how what it says of it is judged."""

    moment: Moment
    segmentation: Segmentation
    truth_ids: NDArray[np.int64]  # (T,) of the truths that count
    counts: NDArray[np.bool_]  # (N,) whether the instance counts
    iou: NDArray[np.float64]  # (T, N) of masks

    @staticmethod
    def of(moment: Moment, segmentation: Segmentation) -> Shown:
        """Leave out what is smaller than MIN_AREA or lies, by half, on true objects that are."""
        truth = moment.truth
        shared = overlap(truth.instance_map, segmentation.instance_map,
                         rows=len(truth.instances) + 1, columns=len(segmentation.instances) + 1)
        truth_areas, areas = shared.sum(axis=1)[1:], shared.sum(axis=0)[1:]
        shared = shared[1:, 1:]
        large = truth_areas >= MIN_AREA
        counts = (areas >= MIN_AREA) & (shared[~large].sum(axis=0) < 0.5 * areas)
        iou = shared / (truth_areas[:, None] + areas[None] - shared)
        return Shown(moment, segmentation, truth.instances.track_ids[large], counts, iou[large])

    def objects(self) -> NDArray[np.int64]:
        """Return (N,) true identities of the instances, 0 for what is none; small ones too."""
        truth = self.moment.truth
        rows, columns = np.nonzero(instance_iou(truth, self.segmentation) > SAME)
        objects = np.zeros(len(self.segmentation.instances), np.int64)
        objects[columns] = truth.instances.track_ids[rows]
        return objects


Update = Callable[[Shown], tuple[Shown, NDArray[np.int64]]]
"""Returns what a tracker makes of a frame: its instances, and the (N,) track ids, 0 for none."""


class Ours:
    """Our tracker, as the node runs it; also without the image, for what colours bring."""

    def __init__(self, config: TrackingConfig, *, colours: bool = True) -> None:
        """Start without tracks."""
        self._tracker = MaskTracker(config, LABEL_SET)
        self._colours = colours

    def __call__(self, frame: Shown) -> tuple[Shown, NDArray[np.int64]]:
        """Return the frame, with pieces of one object put together, and the (N,) track ids."""
        tracked = self._tracker.update(
            frame.segmentation, stamp=frame.moment.stamp,
            image=frame.moment.image if self._colours else None)
        is_same = len(tracked.instances) == len(frame.segmentation.instances)
        return frame if is_same else Shown.of(frame.moment, tracked), tracked.instances.track_ids


class ByteTrack:
    """ByteTrack of `trackers` by boxes and true time, its ids on the same masks."""

    def __init__(self, *, iou: float, high: float, buffer: int) -> None:
        """Start without tracks; an instance counts from the first frame on."""
        self._make = lambda: ByteTrackTracker(
            minimum_iou_threshold=iou, high_conf_det_threshold=high, lost_track_buffer=buffer,
            track_activation_threshold=0.0, minimum_consecutive_frames=1, frame_rate=30.0)
        self._tracker, self._stamp = self._make(), -1
        self._ids: dict[tuple[int, int], int] = {}  # start over, its id -> ours
        self._starts, self._free = 0, count(1)

    def __call__(self, frame: Shown) -> tuple[Shown, NDArray[np.int64]]:
        """Return the frame and the (N,) track ids, 0 for what it leaves unnamed."""
        moment, instances = frame.moment, frame.segmentation.instances
        if moment.stamp <= self._stamp:  # it has no word for a bag that loops: start over
            self._tracker, self._starts = self._make(), self._starts + 1
        self._stamp = moment.stamp
        found = self._tracker.update(supervision.Detections(
            xyxy=instances.boxes, confidence=instances.scores,
            class_id=instances.class_ids.astype(int),
            data={'row': np.arange(len(instances))}), timestamp=1e-9 * moment.stamp)
        ids = np.zeros(len(instances), np.int64)
        for row, number in zip(found.data.get('row', ()), found.tracker_id, strict=True):
            if number >= 0:
                ids[int(row)] = self._named(int(number))
        return frame, ids

    def _named(self, number: int) -> int:
        key = (self._starts, number)
        if key not in self._ids:
            self._ids[key] = next(self._free)
        return self._ids[key]


class OursWhereNamed:
    """Ours, without the instances that ByteTrack leaves unnamed: who is silent cannot be wrong."""

    def __init__(self, config: TrackingConfig, rival: ByteTrack) -> None:
        """Start both without tracks."""
        self._ours, self._rival = Ours(config), rival

    def __call__(self, frame: Shown) -> tuple[Shown, NDArray[np.int64]]:
        """Return what ours does, with the id 0 for what the rival leaves unnamed."""
        _, rival_ids = self._rival(frame)
        shown, ids = self._ours(frame)
        parts = overlap(shown.segmentation.instance_map, frame.segmentation.instance_map,
                        rows=len(ids) + 1, columns=len(rival_ids) + 1)[1:, 1:]
        return shown, np.where(parts[:, rival_ids > 0].any(axis=1), ids, 0)


def score(runs: Sequence[Sequence[Shown]], make: Callable[[], Update]) -> dict[str, Any]:
    """Return the scores of a tracker over the runs of a scene."""
    metrics, named = IdentityMetrics(), 0
    for number, frames in enumerate(runs):
        track, offset = make(), number * 1_000_000  # no two runs share an identity
        for frame in frames:
            shown, ids = track(frame)
            kept = shown.counts & (ids > 0)
            named += int(kept.sum())
            metrics.add(truths=shown.truth_ids + offset, predictions=ids[kept] + offset,
                        iou=shown.iou[:, kept])
    scores = metrics.scores()
    return asdict(scores) | {'switches_per_1000': scores.switches_per_1000, 'named': named}


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


def view_of(source: str) -> Callable[[Moment], Segmentation]:
    """Return what gives the segmentation of a moment, by one of SOURCES."""
    if source == SOURCES[0]:
        return true_map
    return Deployed(load_model('street_tiny', ModelOptions()))


def compare(scenes: Iterable[tuple[str, Callable[[], list[list[Moment]]]]],
            see: Callable[[Moment], Segmentation], *, config: TrackingConfig, title: str
            ) -> dict[str, Any]:
    """Return scene -> scores of ours and of ByteTrack, at the best of GRID by HOTA."""
    results: dict[str, Any] = {}
    for name, make_runs in tqdm(list(scenes), desc=title, unit='scene'):
        runs = [[Shown.of(moment, see(moment)) for moment in run] for run in make_runs()]
        makes = [partial(ByteTrack, iou=iou, high=high, buffer=buffer)
                 for iou, high, buffer in _grid(see)]
        rivals = [(score(runs, make), make) for make in tqdm(makes, desc=name, leave=False)]
        rival, make = max(rivals, key=lambda row: (row[0]['hota'], -row[0]['id_switches']))
        results[name] = {
            'ours': score(runs, partial(Ours, config)),
            'masks': score(runs, partial(Ours, config, colours=False)),
            'ours_where_named': score(runs, lambda make=make: OursWhereNamed(config, make())),
            'bytetrack': rival}
    return results


def _grid(see: Callable[[Moment], Segmentation]) -> list[tuple[float, float, int]]:
    """Return the settings to try; true maps have no low scores to tell apart."""
    return [row for row in GRID if see is not true_map or row[1] == GRID[0][1]]


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--json', type=Path, help='where to write the report; by default that of '
                        'the tables, if it is measured as they are')
    parser.add_argument('--only', choices=SOURCES,
                        help='measure anew on these and keep the rest of the report')
    parser.add_argument('--streets', type=int, default=STREETS,
                        help='measure on so many (the tables: %(default)s)')
    parser.add_argument('-p', dest='parameters', action='append', default=[], metavar='NAME=VALUE',
                        help='a parameter of ours, such as tracking.max_split_s=0')
    arguments = parser.parse_args(words)
    try:
        config = config_from(
            {'tracking.enabled': True, **assignments(arguments.parameters)}).tracking
    except ValueError as error:
        parser.error(str(error))
    report = _measured(arguments, config)
    _print(report)
    is_of_tables = arguments.streets == STREETS and not arguments.parameters
    path = arguments.json or (REPORT if is_of_tables else None)
    if path:
        kept = json.loads(path.read_text()) if arguments.only and path.exists() else {}
        path.write_text(json.dumps(kept | report, indent=1) + '\n')


def _measured(arguments: argparse.Namespace, config: TrackingConfig) -> dict[str, Any]:
    """Return what the command line asks to measure of a tracker with this configuration."""
    streets = street_scenes(arguments.streets)
    report: dict[str, Any] = {'streets': arguments.streets}
    if arguments.only != 'street_tiny':
        report['true maps'] = compare((streets | scripted_scenes()).items(), true_map,
                                      config=config, title='true maps')
    if arguments.only != 'true maps':
        report['street_tiny'] = compare(streets.items(), view_of('street_tiny'), config=config,
                                        title='street_tiny')
    return report


def _print(report: Mapping[str, Any]) -> None:
    for source in (name for name in SOURCES if name in report):
        print(f'\n{source:<32}{"HOTA":>14}{"IDF1":>16}{"switches":>12}   (ours, ByteTrack)')
        for name, row in report[source].items():
            ours, rival = row['ours'], row['bytetrack']
            print(f'{name:<32}{ours["hota"]:>8.3f}{rival["hota"]:>7.3f}{ours["idf1"]:>8.3f}'
                  f'{rival["idf1"]:>7.3f}{ours["id_switches"]:>7}{rival["id_switches"]:>6} in '
                  f'{ours["object_frames"]}')


if __name__ == '__main__':
    main()
