# SPDX-License-Identifier: Apache-2.0
"""Measures what other light, blur, noise and scale cost: mIoU on val as other cameras see it."""
from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from seg_ros.core.memory import keep_freed_memory
from seg_ros.models.contract import Model, ModelOptions
from seg_ros.models.street_tiny import StreetTiny
from training.data import Labelled, read_camvid, tone_curve, View, warped
from training.evaluate import Example, example_of_classes, measure, write_report
from training.export import TRAIN_WEIGHTS

REPORT = Path('reports/street_tiny_shifted.json')
_logger = logging.getLogger(__name__)

Way = Callable[[View], View]


def toned(*, gamma: float = 1.0, gain: Sequence[float] = (1.0, 1.0, 1.0), offset: float = 0.0
          ) -> Way:
    """Return what another exposure, white balance or haze makes of a view."""
    curve = tone_curve(gamma=gamma, gain=gain, offset=offset)
    return lambda view: replace(view, image=np.asarray(cv2.LUT(view.image, curve), np.uint8))


def grey(view: View) -> View:
    """Return the view without its colours."""
    one = cv2.cvtColor(view.image, cv2.COLOR_RGB2GRAY)
    return replace(view, image=np.asarray(cv2.cvtColor(one, cv2.COLOR_GRAY2RGB), np.uint8))


def blurred(view: View) -> View:
    """Return the view through a lens that is out of focus, by 1.2 pixels."""
    return replace(view, image=np.asarray(cv2.GaussianBlur(view.image, (0, 0), 1.2), np.uint8))


def noisy(view: View) -> View:
    """Return the view with Gaussian noise of 10 grey levels, the same every time."""
    noise = np.random.default_rng(0).normal(0, 10, view.image.shape)
    return replace(view, image=np.clip(view.image + noise, 0, 255).astype(np.uint8))


def enlarged(view: View, *, scale: float = 1.4) -> View:
    """Return the middle of the view, as a longer lens sees it."""
    height, width = view.classes.shape
    matrix = np.array([[scale, 0, (1 - scale) * (width - 1) / 2],
                       [0, scale, (1 - scale) * (height - 1) / 2]])
    return warped(view, matrix, size=(width, height))


WAYS: dict[str, Way] = {
    'as it is': lambda view: view,
    'darker': toned(gamma=1.5, gain=(0.75, 0.75, 0.8)),
    'brighter': toned(gamma=0.65, gain=(1.2, 1.2, 1.15), offset=0.05),
    'warmer': toned(gain=(1.2, 1.0, 0.75)),
    'cooler': toned(gain=(0.8, 1.0, 1.2)),
    'hazy': toned(gain=(0.55, 0.55, 0.55), offset=0.2),
    'grey': grey,
    'blurred': blurred,
    'noisy': noisy,
    'enlarged': enlarged,
}


def examples(data: Labelled, way: Way) -> Iterator[Example]:
    """Yield the frames, each seen in that way."""
    for view in map(way, map(data.view, range(len(data)))):
        yield example_of_classes(view.image, view.classes)


def report(model: Model, data: Labelled) -> dict[str, Any]:
    """Return the figures of each way."""
    ways = {name: measure(model, examples(data, way), total=len(data), title=name,
                          has_instances=False) for name, way in WAYS.items()}
    return {'weights_sha256': model.sha256, 'frames': len(data),
            'ways': {name: {'miou': result.miou, 'iou': result.iou}
                     for name, result in ways.items()}}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--weights', default=str(TRAIN_WEIGHTS))
    parser.add_argument('--output', type=Path, default=REPORT)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    keep_freed_memory()
    torch.set_num_threads(2)
    model = StreetTiny(ModelOptions(weights=options.weights))
    figures = write_report(options.output, report(model, read_camvid('val')))
    for way, row in figures['ways'].items():
        _logger.info('%-12s mIoU %.4f', way, row['miou'])


if __name__ == '__main__':
    main()
