# SPDX-License-Identifier: Apache-2.0
"""Measures what to expect where it never was: trains without a drive of CamVid, looks at it.

Val says little of that, because `train` knows its drive. One network learns from the synthetic
street alone; from there, one for each drive learns from the other two, too. They are trained far
shorter than the packaged one. What was trained before is measured, not trained again.
"""
from __future__ import annotations

import argparse
from collections.abc import Sequence
import logging
from pathlib import Path
from typing import Any

import torch

from seg_ros.core.memory import keep_freed_memory
from seg_ros.models.contract import Model, ModelOptions
from seg_ros.models.street_tiny import StreetTiny
from training import train
from training.data import DRIVES
from training.evaluate import camvid_examples, measure, write_report

REPORT = Path('reports/street_tiny_drives.json')
VAL_DRIVE = '0016E5'
STREET_ALONE = ('--splits', '--minutes', '14', '--peak-rate', '3e-3', '--seed', '51')
OTHER_DRIVES = ('--steps', '2400', '--peak-rate', '2e-3', '--seed', '5')
_logger = logging.getLogger(__name__)


def trained(name: str, words: Sequence[str]) -> Path:
    """Return the folder of a run, trained unless its weights are there."""
    run = train.RUNS / 'drives' / name
    weights = run / 'street_tiny.safetensors'
    if not weights.exists():
        _logger.info('training: %s', run)
        train.main([*words, '--run', f'drives/{name}', '--no-evaluate', '--output', str(weights)])
    return run


def trained_without(drive: str) -> Path:
    """Return the weights of a network that has seen the street and the other drives."""
    street = trained('street', STREET_ALONE)
    others = [f'train/{other}' for other in DRIVES if other != drive]
    run = trained(drive, ('--splits', *others, '--start-from', str(street / 'checkpoint.pt'),
                          *OTHER_DRIVES))
    return run / 'street_tiny.safetensors'


def measured(model: Model, drive: str) -> dict[str, Any]:
    """Return the figures on a drive, and val's where the model was trained on its drive."""
    there = _look(model, f'train/{drive}')
    val = {} if drive == VAL_DRIVE else {'val_miou': _look(model, 'val')['miou']}
    return {**there, **val}


def _look(model: Model, split: str) -> dict[str, Any]:
    """Return the figures on a split of CamVid."""
    examples = list(camvid_examples(split))
    result = measure(model, examples, total=len(examples), title=split, has_instances=False)
    return {'frames': result.frames, 'miou': result.miou, 'iou': result.iou}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, measure, and write the report after each drive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--output', type=Path, default=REPORT)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    keep_freed_memory()
    torch.set_num_threads(2)
    report: dict[str, Any] = {}
    for drive in DRIVES:
        model = StreetTiny(ModelOptions(weights=str(trained_without(drive))))
        report[drive] = measured(model, drive)
        _logger.info('without %s: mIoU %.4f there', drive, report[drive]['miou'])
        write_report(options.output, report)


if __name__ == '__main__':
    main()
