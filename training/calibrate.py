# SPDX-License-Identifier: Apache-2.0
"""Shifts class logits of a weights file to the best mIoU, and its scores to the best threshold."""
from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace
import logging
import math
from pathlib import Path

import torch

from seg_ros.core.metrics import ConfusionMatrix, PanopticQuality
from seg_ros.core.types import VOID
from seg_ros.models.contract import ModelOptions
from seg_ros.models.street_tiny import read_weights, sampled, StreetTiny
from training.data import SPLITS
from training.evaluate import camvid_examples, Example, MIN_AREA, street_examples
from training.export import PACKAGE_WEIGHTS, STREET, write_weights
from training.synthetic import FIRST_UNSEEN_SEED

SEEDS = range(FIRST_UNSEEN_SEED - 25, FIRST_UNSEEN_SEED)
"""Streets for this alone: the training comes nowhere near them, the evaluation starts behind."""

THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
SHIFTS = (-1.0, -0.5, -0.25, 0.25, 0.5, 1.0)
"""Of a class logit, tried one after the other."""

ROUNDS = 3  # over all classes
EVERY = 23  # cells of the output are one that is looked at
_BIAS = 'semantic.1.bias'  # of the class logits
_logger = logging.getLogger(__name__)

Cells = tuple[torch.Tensor, torch.Tensor]
"""(n, classes) logits and the (n,) true classes of cells."""


@torch.inference_mode()
def labelled_cells(model: StreetTiny, examples: Iterable[Example]) -> Cells:
    """Return what the network says of cells of known class."""
    logits, truths = [], []
    for example in examples:
        found = model.network(model._prepare(example.image)).semantic[0]
        classes = sampled(example.truth.class_map, found.shape[1:])
        truth = torch.from_numpy(classes.flatten()[::EVERY])
        known = truth != VOID
        logits.append(found.flatten(1).T[::EVERY][known])
        truths.append(truth[known])
    return torch.cat(logits), torch.cat(truths)


def mean_iou(cells: Cells, shifts: torch.Tensor) -> float:
    """Return the mIoU over the classes that occur, with shifted logits."""
    logits, truth = cells
    confusion = ConfusionMatrix(STREET.label_set)
    confusion.update(truth.numpy(), (logits + shifts).argmax(dim=1).numpy())
    return confusion.miou()


def class_shifts(sources: Sequence[Cells]) -> torch.Tensor:
    """Return the (classes,) shifts with which the mean mIoU of the sources is best.

    The loss counts rare classes for more than they are; a constant for each class takes back what
    of that costs more than it brings (Menon et al. 2021, "Long-tail learning via logit
    adjustment", after the training). One class at a time, as long as it helps.
    """
    shifts = torch.zeros(sources[0][0].shape[1])

    def quality(candidate: torch.Tensor) -> float:
        return sum(mean_iou(cells, candidate) for cells in sources) / len(sources)

    before = quality(shifts)
    for class_id in ROUNDS * tuple(range(len(shifts))):
        steps = torch.zeros(len(SHIFTS) + 1, len(shifts))
        steps[1:, class_id] = torch.tensor(SHIFTS)
        shifts = max(shifts + steps, key=quality)
    _logger.info('classes shifted by %s: mean mIoU %.4f -> %.4f',
                 [round(float(shift), 2) for shift in shifts], before, quality(shifts))
    return shifts


def quality_of_things(model: StreetTiny, examples: Sequence[Example], threshold: float) -> float:
    """Return the PQ of the thing classes with a score threshold."""
    model.options = replace(model.options, score_threshold=threshold)
    panoptic = PanopticQuality(model.label_set, min_area=MIN_AREA)
    for example in examples:
        panoptic.update(example.truth, model.predict([example.image])[0])
    quality = panoptic.things().pq
    _logger.info('threshold %.2f: PQ of things %.4f', threshold, quality)
    return quality


def calibrate(path: Path, *, splits: Sequence[str] = ('train',)) -> None:
    """Calibrate a weights file in place, on streets kept for it and CamVid that it learnt from."""
    streets = list(street_examples(SEEDS))
    examples = [streets, *([camvid_examples(*splits)] if splits else [])]
    calibrate_classes(path, examples)
    calibrate_scores(path, streets)


def calibrate_classes(path: Path, sources: Sequence[Iterable[Example]]) -> None:
    """Shift the class logits of a weights file."""
    weights = read_weights(str(path))
    model = StreetTiny(ModelOptions(weights=str(path)))
    shifts = class_shifts([labelled_cells(model, examples) for examples in sources])
    tensors = {**weights.tensors, _BIAS: weights.tensors[_BIAS] + shifts}
    write_weights(path, tensors, weights.contract)


def calibrate_scores(path: Path, examples: Sequence[Example]) -> None:
    """Find the best threshold for a weights file, and write it back with shifted scores."""
    weights = read_weights(str(path))
    write_weights(path, weights.tensors, replace(weights.contract, score_bias=0.0))
    model = StreetTiny(ModelOptions(weights=str(path)))
    best = max(THRESHOLDS, key=lambda t: quality_of_things(model, examples, t))
    # sigmoid(logit + bias) = 0.5 where sigmoid(logit) = best
    bias = math.log((1 - best) / best)
    write_weights(path, weights.tensors, replace(weights.contract, score_bias=bias))
    _logger.info('score 0.5 is now what was %.2f', best)


def main(arguments: Sequence[str] | None = None) -> None:
    """Calibrate a file in place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('weights', type=Path, nargs='?', default=PACKAGE_WEIGHTS)
    parser.add_argument('--splits', nargs='*', choices=SPLITS, default=['train'],
                        help='of CamVid, that the weights learnt from')
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    torch.set_num_threads(2)
    calibrate(options.weights, splits=options.splits)


if __name__ == '__main__':
    main()
