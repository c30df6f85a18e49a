# SPDX-License-Identifier: Apache-2.0
"""Measures street_tiny: mIoU on CamVid val; PQ, AP and mIoU on streets it was not trained on."""
from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
import json
import logging
import math
from pathlib import Path
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from tqdm import tqdm

from seg_ros.core.memory import keep_freed_memory
from seg_ros.core.metrics import ConfusionMatrix, PanopticQuality, Quality
from seg_ros.core.types import Segmentation, segmentation_from_ids, segmentation_from_map
from seg_ros.models.contract import Model, ModelOptions
from seg_ros.models.street_tiny import load
from seg_ros.sim import Street
from training.average_precision import AveragePrecision, Precision
from training.data import HEIGHT, read_camvid, WIDTH
from training.synthetic import FIRST_UNSEEN_SEED, frame_numbers, RATE_HZ

REPORT = Path('reports/street_tiny.json')
MIN_AREA = 100  # pixels; smaller true instances are void
LEAST_SCORE = 0.05  # of an instance that AP hears of
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Example:
    """An image and what it shows."""

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    truth: Segmentation


def camvid_examples(*splits: str) -> Iterator[Example]:
    """Return the frames of splits; they have classes only."""
    data = read_camvid(*splits)
    for image, classes in zip(data.images, data.classes, strict=True):
        yield example_of_classes(image, classes)


def example_of_classes(image: NDArray[np.uint8], classes: NDArray[np.uint8]) -> Example:
    """Return an (H, W, 3) image of which the (H, W) classes are known, and no instances."""
    return Example(image, segmentation_from_map(
        class_map=classes, instance_map=np.zeros(classes.shape, np.int32), class_ids=(),
        scores=()))


def street_examples(seeds: Iterable[int], *, frames: int = 4) -> Iterator[Example]:
    """Return frames of synthetic streets, spread over the run of each."""
    for seed in seeds:
        street = Street(seed=seed, width=WIDTH, height=HEIGHT, rate_hz=RATE_HZ)
        for number in frame_numbers(seed, count=frames):
            frame = street.frame(int(number))
            yield Example(frame.image, segmentation_from_ids(frame.class_map, frame.instance_map))


@dataclass(frozen=True)
class Result:
    """The figures of one set of examples."""

    frames: int
    miou: float
    iou: dict[str, float]
    quality: dict[str, Quality]  # by class, and `all`, `things`, `stuff`
    precision: dict[str, Precision]  # by thing class, and `things`
    predict_ms: float  # median, one frame


def measure(model: Model, examples: Iterable[Example], *, total: int, title: str,
            has_instances: bool) -> Result:
    """Run the model over the examples; instances are compared where the truth has them."""
    confusion = ConfusionMatrix(model.label_set)
    instances = AveragePrecision(model.label_set, min_area=MIN_AREA)
    panoptic = PanopticQuality(model.label_set, min_area=MIN_AREA)
    times: list[float] = []
    for example in tqdm(examples, total=total, desc=title, unit='frame', mininterval=5):
        start = time.perf_counter()
        prediction = model.predict([example.image])[0]
        times.append(time.perf_counter() - start)
        confusion.update(example.truth.class_map, prediction.class_map)
        if has_instances:
            panoptic.update(example.truth, prediction)
            instances.update(example.truth, _unsure(model, example.image))
    quality = {**panoptic.by_class(), 'all': panoptic.all(), 'things': panoptic.things(),
               'stuff': panoptic.stuff()}
    return Result(frames=len(times), miou=confusion.miou(), iou=confusion.iou(),
                  quality=quality, predict_ms=1e3 * float(np.median(times)),
                  precision={**instances.by_class(), 'things': instances.things()})


def _unsure(model: Model, image: NDArray[np.uint8]) -> Segmentation:
    """Segment with every instance that the model thinks possible: AP weighs them by score."""
    deployed = model.options
    model.options = replace(deployed, score_threshold=LEAST_SCORE)
    try:
        return model.predict([image])[0]
    finally:
        model.options = deployed


def report(model: Model, *, seeds: Sequence[int]) -> dict[str, Any]:
    """Return the figures as they go into the report."""
    val = measure(model, camvid_examples('val'), total=101, title='CamVid val',
                  has_instances=False)
    streets = measure(model, street_examples(seeds), total=4 * len(seeds), title='streets',
                      has_instances=True)
    return {
        'weights_sha256': model.sha256,
        'camvid_val': {'frames': val.frames, 'miou': val.miou, 'iou': val.iou,
                       'predict_ms': val.predict_ms},
        'synthetic': {
            'seeds': [min(seeds), max(seeds)], 'frames': streets.frames, 'miou': streets.miou,
            'iou': streets.iou, 'predict_ms': streets.predict_ms,
            'quality': {name: asdict(q) for name, q in streets.quality.items()},
            'average_precision': {name: asdict(p) for name, p in streets.precision.items()}},
    }


def write_report(path: Path, figures: dict[str, Any]) -> dict[str, Any]:
    """Write figures as JSON, and return them as they are there."""
    written: dict[str, Any] = _finite(figures)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(written, indent=1) + '\n')
    return written


def _finite(value: Any) -> Any:
    """Return the value with null for what JSON has no number for, rounded to five places."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--weights', default='', help="a file; by default the package's")
    parser.add_argument('--seeds', type=int, nargs=2, metavar=('FIRST', 'COUNT'),
                        default=(FIRST_UNSEEN_SEED, 50))
    parser.add_argument('--score-threshold', type=float, default=0.5)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--output', type=Path, default=REPORT)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    model = load('', ModelOptions(weights=options.weights,
                                  score_threshold=options.score_threshold))
    first, count = options.seeds
    figures = write_report(options.output, report(model, seeds=range(first, first + count)))
    _print(figures)
    _logger.info('wrote %s', options.output)


def _print(figures: dict[str, Any]) -> None:
    """Print a table of the figures by class."""
    val, streets = figures['camvid_val'], figures['synthetic']
    row = '%-12s %10s %12s %8s %8s %8s %8s'
    _logger.info(row, 'class', 'IoU val', 'IoU streets', 'PQ', 'SQ', 'RQ', 'AP')
    for name, quality in streets['quality'].items():
        _logger.info(row, name, val['iou'].get(name, ''), streets['iou'].get(name, ''),
                     quality['pq'], quality['sq'], quality['rq'],
                     streets['average_precision'].get(name, {}).get('ap', ''))
    _logger.info('mIoU val %s, streets %s; %s ms a frame', val['miou'], streets['miou'],
                 val['predict_ms'])


if __name__ == '__main__':
    main()
