# SPDX-License-Identifier: Apache-2.0
"""Shifts the scores of a weights file so that 0.5 is the threshold with the best things."""
from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
import logging
import math
from pathlib import Path

import torch

from seg_ros.core.metrics import PanopticQuality
from seg_ros.models.contract import ModelOptions
from seg_ros.models.street_tiny import read_weights, StreetTiny
from training.evaluate import Example, MIN_AREA, street_examples
from training.export import PACKAGE_WEIGHTS, write_weights
from training.synthetic import FIRST_UNSEEN_SEED

SEEDS = range(FIRST_UNSEEN_SEED - 25, FIRST_UNSEEN_SEED)
"""Streets for this alone: the training comes nowhere near them, the evaluation starts behind."""

THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
_logger = logging.getLogger(__name__)


def quality_of_things(model: StreetTiny, examples: Sequence[Example], threshold: float) -> float:
    """Return the PQ of the thing classes with a score threshold."""
    model.options = replace(model.options, score_threshold=threshold)
    panoptic = PanopticQuality(model.label_set, min_area=MIN_AREA)
    for example in examples:
        panoptic.update(example.truth, model.predict([example.image])[0])
    quality = panoptic.things().pq
    _logger.info('threshold %.2f: PQ of things %.4f', threshold, quality)
    return quality


def calibrate(path: Path) -> None:
    """Find the best threshold for a weights file, and write it back with shifted scores."""
    weights = read_weights(str(path))
    write_weights(path, weights.tensors, replace(weights.contract, score_bias=0.0))
    model = StreetTiny(ModelOptions(weights=str(path)))
    examples = list(street_examples(SEEDS))
    best = max(THRESHOLDS, key=lambda t: quality_of_things(model, examples, t))
    # sigmoid(logit + bias) = 0.5 where sigmoid(logit) = best
    bias = math.log((1 - best) / best)
    write_weights(path, weights.tensors, replace(weights.contract, score_bias=bias))
    _logger.info('score 0.5 is now what was %.2f', best)


def main(arguments: Sequence[str] | None = None) -> None:
    """Calibrate a file in place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('weights', type=Path, nargs='?', default=PACKAGE_WEIGHTS)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    torch.set_num_threads(2)
    calibrate(options.weights)


if __name__ == '__main__':
    main()
