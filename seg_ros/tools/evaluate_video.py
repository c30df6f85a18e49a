# SPDX-License-Identifier: Apache-2.0
"""`seg_ros evaluate --video`: how well ids hold over images in order, with truth for each."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from itertools import count
import json
import math
from pathlib import Path
import re
import time
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
import torch
from tqdm import tqdm

from seg_ros.core.config import TrackingConfig
from seg_ros.core.labels import LabelSet
from seg_ros.core.tracking import make_tracker
from seg_ros.core.tracking_metrics import (
    IdentityMetrics,
    IdentityScores,
    Reappearances,
    SegmentationTrackingQuality,
    VideoPanopticQuality,
)
from seg_ros.core.types import Segmentation, segmentation_from_ids, VOID
from seg_ros.models.contract import ModelError, Moment, Task
from seg_ros.models.pipeline import Pipeline
from seg_ros.sim.recording import read_image
from seg_ros.tools.evaluate import Pair, pair_files, parse_ids
from seg_ros.tools.models import config_of
from seg_ros.tools.truth_files import read_truth

_MAX_RATE_HZ = 1000.0


@dataclass(frozen=True)
class VideoEvaluation:
    """What came out; fractions are NaN where there is nothing to measure."""

    identity: IdentityScores  # of all classes together
    stq: float
    sq: float  # part of STQ: the mIoU of the class maps
    aq: float  # part of STQ: how well identities hold, by pixels
    vpq: float
    seconds: float  # model, merge and tracker

    @property
    def fps(self) -> float:
        """Return frames a second; files are read and counted beside it."""
        return self.identity.frames / self.seconds if self.seconds else math.nan


class Segmenter(Protocol):
    """Says what a frame shows, without ids that last."""

    label_set: LabelSet

    def segment(
        self, image: NDArray[np.uint8], *, truth: Segmentation, stamp: int
    ) -> Segmentation:
        """Return the segmentation of an (H, W, 3) RGB image; stamp in ns."""
        ...


class ModelSegmenter:
    """Asks the models."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Warm up; raise ModelError for models without instances or without whole class maps."""
        if Task.PANOPTIC not in pipeline.tasks:
            raise ModelError(
                f'the models serve {" and ".join(sorted(pipeline.tasks))} segmentation only, '
                'expected a panoptic one, or a semantic and an instance one'
            )
        self.label_set = pipeline.label_set
        self._pipeline = pipeline
        pipeline.warm_up()

    def segment(
        self, image: NDArray[np.uint8], *, truth: Segmentation, stamp: int
    ) -> Segmentation:
        """Return what the models see; a streaming one goes on from the last frame."""
        answers = self._pipeline.infer([image], [Moment(stream='', stamp=stamp)])
        return self._pipeline.merge(answers[0])


class TrueSegmenter:
    """Gives the truth: what is measured then is the tracker alone."""

    # without a model nobody says what classes mean: whatever has instances is a thing
    label_set = LabelSet(
        tuple(f'class {i}' for i in range(VOID)), frozenset(f'class {i}' for i in range(VOID))
    )

    def segment(
        self, image: NDArray[np.uint8], *, truth: Segmentation, stamp: int
    ) -> Segmentation:
        """Return the truth without its ids."""
        blank = np.zeros(len(truth.instances), np.int64)
        return replace(truth, instances=replace(truth.instances, track_ids=blank))


@dataclass(frozen=True)
class TruthReader:
    """Reads truth as the metrics want it."""

    format_name: str
    label_set: LabelSet
    ignore_ids: frozenset[int] = frozenset()
    min_area: int = 0  # pixels; smaller instances are void
    reappearances: Reappearances = field(default_factory=Reappearances)

    def read(self, pair: Pair, *, time_s: float) -> tuple[NDArray[np.uint8], Segmentation]:
        """Return the (H, W, 3) RGB image and its truth with identities as track ids."""
        image = read_image(pair.image)
        class_map, ids = read_truth(pair.labels, self.format_name)
        if image.shape[:2] != class_map.shape:
            raise ValueError(
                f'image {str(pair.image)!r} is {image.shape[1]}x{image.shape[0]}, its truth is '
                f'{class_map.shape[1]}x{class_map.shape[0]}, expected one size'
            )
        return image, self._truth(class_map, ids, time_s=time_s)

    def _truth(self, class_map: NDArray[np.uint8], ids: NDArray[np.int32], *, time_s: float
               ) -> Segmentation:
        """Return the truth; what is not counted is void, what is stuff for the model has no id."""
        void = (class_map >= len(self.label_set)) | np.isin(class_map, list(self.ignore_ids))
        found, rows, areas = np.unique(ids, return_inverse=True, return_counts=True)
        # before anything is left out: what is small is in view
        identities = np.where(found > 0, self.reappearances.names(found, time_s=time_s), 0)
        small = (found > 0) & (areas < self.min_area)
        void |= small[rows].reshape(ids.shape)
        ids = np.where(void | ~self.label_set.is_thing()[class_map], 0, ids)
        truth = segmentation_from_ids(np.where(void, VOID, class_map).astype(np.uint8), ids)
        names = identities[np.isin(found, ids[ids > 0])]
        return replace(truth, instances=replace(truth.instances, track_ids=names))


def run(options: Namespace) -> int:
    """Evaluate as the options say, print a table, and write the JSON file if one is named."""
    rate_hz = _rate(options.rate_hz)
    pairs = sorted(
        pair_files(Path(options.images), Path(options.labels)),
        key=lambda pair: in_order(pair.name),
    )
    ignore_ids = parse_ids(options.ignore_ids)
    # before the user's own, which may turn it off
    options.parameters = ['tracking.enabled=true', *options.parameters]
    config = config_of(options)
    pipeline = None if options.tracker_alone else Pipeline(config)
    segmenter = ModelSegmenter(pipeline) if pipeline else TrueSegmenter()
    reader = TruthReader(
        options.truth or 'grey16', segmenter.label_set, ignore_ids, options.min_area or 0,
        Reappearances(max_gap_s=_gap(options.max_gap_s)),
    )
    with tqdm(pairs, unit='frame', desc=options.model if pipeline else 'tracker') as progress:
        evaluation = evaluate(
            segmenter, progress, reader=reader, tracking=config.tracking, rate_hz=rate_hz
        )
    print(report(evaluation))
    print(_about(options, pipeline))
    if options.json:
        figures = {**as_json(evaluation), 'rate_hz': rate_hz,
                   'max_gap_s': options.max_gap_s, 'tracking': asdict(config.tracking),
                   'model': options.model if pipeline else None,
                   'weights_sha256': dict(pipeline.models) if pipeline else {},
                   'device': str(pipeline.device) if pipeline else None,
                   'threads': torch.get_num_threads()}
        Path(options.json).write_text(json.dumps(figures, indent=2) + '\n')
    return 0


def _rate(rate_hz: float | None) -> float:
    """Return the rate, or raise ValueError."""
    if rate_hz is None:
        raise ValueError('--video needs --rate-hz, the frames a second of the images')
    if not 0 < rate_hz <= _MAX_RATE_HZ:
        raise ValueError(
            f'--rate-hz is {rate_hz:g}, expected above 0 and at most {_MAX_RATE_HZ:g}'
        )
    return rate_hz


def _gap(max_gap_s: float | None) -> float:
    """Return the longest gap of one identity, or raise ValueError."""
    if max_gap_s is None:
        return math.inf
    if not max_gap_s >= 0:
        raise ValueError(f'--max-gap-s is {max_gap_s:g}, expected at least 0')
    return max_gap_s


def in_order(name: str) -> list[tuple[int, str]]:
    """Return a sort key that counts: frame9 comes before frame10."""
    return [(int(part), '') if part.isdecimal() else (-1, part)
            for part in re.split(r'(\d+)', name) if part]


def evaluate(
    segmenter: Segmenter,
    pairs: Iterable[Pair],
    *,
    reader: TruthReader,
    tracking: TrackingConfig,
    rate_hz: float,
) -> VideoEvaluation:
    """Segment and track every image in order and compare with the truth."""
    label_set = segmenter.label_set
    tracker = make_tracker(tracking, label_set, ids=count(1))
    identity, vpq = IdentityMetrics(), VideoPanopticQuality(label_set)
    stq = SegmentationTrackingQuality(label_set)
    seconds = 0.0
    for index, pair in enumerate(pairs):
        image, truth = reader.read(pair, time_s=index / rate_hz)
        stamp = round(1e9 * index / rate_hz)
        start = time.perf_counter()
        found = segmenter.segment(image, truth=truth, stamp=stamp)
        tracked = tracker.update(found, stamp=stamp, image=image)
        seconds += time.perf_counter() - start
        identity.update(truth, without_void(tracked, truth, label_set))
        stq.update(truth, tracked)
        vpq.update(truth, tracked)
    return VideoEvaluation(identity=identity.scores(), stq=stq.stq, sq=stq.sq, aq=stq.aq,
                           vpq=vpq.vpq(), seconds=seconds)


def without_void(
    prediction: Segmentation, truth: Segmentation, label_set: LabelSet
) -> Segmentation:
    """Return the prediction without instances that lie to more than half on void truth.

    Nobody knows whether they are right: as in PQ, they are no false alarms. A true thing pixel
    that no instance owns is void too.
    """
    unlabelled = truth.class_map >= len(label_set)
    void = (unlabelled | label_set.is_thing()[truth.class_map]) & (truth.instance_map == 0)
    values = len(prediction.instances) + 1
    areas = np.bincount(prediction.instance_map.ravel(), minlength=values)
    on_void = np.bincount(prediction.instance_map[void], minlength=values)
    kept = (2 * on_void <= areas)[1:]
    value_of = np.zeros(values, np.int32)
    value_of[1:][kept] = np.arange(1, kept.sum() + 1)
    # ids first: rows that are left must not be counted anew
    named = replace(prediction.instances, track_ids=np.asarray(prediction.instances.ids, np.int64))
    return replace(prediction, instance_map=value_of[prediction.instance_map],
                   instances=named.take(kept))


def report(evaluation: VideoEvaluation) -> str:
    """Return the table for people."""
    scores = evaluation.identity
    rows = (
        ('HOTA', scores.hota, f'DetA {scores.det_a:.4f}, AssA {scores.ass_a:.4f}'),
        ('IDF1', scores.idf1, ''),
        ('STQ', evaluation.stq, f'SQ {evaluation.sq:.4f}, AQ {evaluation.aq:.4f}'),
        ('VPQ', evaluation.vpq, ''),
        ('mIoU', evaluation.sq, ''),
    )
    lines = ['']
    for name, value, parts in rows:
        shown = 'absent' if math.isnan(value) else f'{value:6.4f}'
        lines.append(f'{name:4}  {shown}  {parts}'.rstrip())
    lines += [
        '',
        f'{scores.id_switches} id switches in {scores.object_frames} object-frames '
        f'({scores.switches_per_1000:.1f} in 1,000)',
        f'{scores.frames} frames, {evaluation.fps:.1f} a second '
        '(without reading files)',
    ]
    return '\n'.join(lines)


def _about(options: Namespace, pipeline: Pipeline | None) -> str:
    """Return what was measured."""
    if pipeline is None:
        return 'the tracker alone, on the true instances'
    return f'model {options.model} on {pipeline.device}, {torch.get_num_threads()} threads'


def as_json(evaluation: VideoEvaluation) -> dict[str, object]:
    """Return the figures for machines; what could not be measured is null."""
    figures = {
        **asdict(evaluation.identity),
        'switches_per_1000': evaluation.identity.switches_per_1000,
        'stq': evaluation.stq,
        'sq': evaluation.sq,
        'aq': evaluation.aq,
        'vpq': evaluation.vpq,
        'miou': evaluation.sq,
        'fps': evaluation.fps,
    }
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in figures.items()
    }
