# SPDX-License-Identifier: Apache-2.0
"""Draws what street_tiny gets most wrong: of each weak class its worst frame, each frame once.

Of the synthetic street by default: docs/street_tiny_failures.jpg. Pictures of CamVid's frames
belong into output/, which git ignores.
"""
from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import logging
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seg_ros.core.labels import LabelSet
from seg_ros.core.overlay import draw_overlay
from seg_ros.core.types import Segmentation, VOID
from seg_ros.models.contract import Model, ModelOptions
from seg_ros.models.street_tiny import load
from training.evaluate import camvid_examples, Example, street_examples
from training.synthetic import FIRST_UNSEEN_SEED

STREETS = range(FIRST_UNSEEN_SEED, FIRST_UNSEEN_SEED + 12)
CLASSES = ('pole', 'sign_symbol', 'fence', 'pedestrian', 'bicyclist')
GAP, PAPER, INK = 6, 255, (30, 30, 30)
CAPTION = 26  # pixels of height
MISSED, WRONG = (255, 60, 60), (60, 120, 255)
"""Colours of a class's pixels that were not found, and of those that are not of it."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Failure:
    """A frame and what the model made of it."""

    example: Example
    answer: Segmentation
    missed: NDArray[np.bool_]  # (H, W) of the class, and taken for another
    wrong: NDArray[np.bool_]  # (H, W) taken for the class, and of another

    @property
    def pixels(self) -> int:
        """Count the wrong pixels."""
        return int(self.missed.sum() + self.wrong.sum())


def failure(example: Example, answer: Segmentation, class_id: int) -> Failure:
    """Compare one class with the truth; void has none."""
    truth = example.truth.class_map
    is_true, is_said = truth == class_id, answer.class_map == class_id
    return Failure(example, answer, missed=is_true & ~is_said,
                   wrong=is_said & ~is_true & (truth != VOID))


def worst(model: Model, examples: Iterable[Example], names: Sequence[str]) -> dict[str, Failure]:
    """Return class name -> its worst frame among the examples.

    A frame stands for one class only: the oddest one would be the worst of most classes.
    """
    answered = [(example, model.predict([example.image])[0]) for example in examples]
    found: dict[str, Failure] = {}
    for name in names:
        class_id = model.label_set.id_of(name)
        failures = [failure(example, answer, class_id) for example, answer in answered]
        place = max(range(len(failures)), key=lambda number: failures[number].pixels, default=0)
        if failures and failures[place].pixels:
            found[name] = failures[place]
            del answered[place]
    return found


def sheet(failures: dict[str, Failure], label_set: LabelSet) -> NDArray[np.uint8]:
    """Return a row a class: truth, answer, and the class's wrong pixels; RGB."""
    gap = np.full((GAP, 1, 3), PAPER, np.uint8)
    rows = [part for name, one in failures.items() for part in (
        _row(name, one, label_set), gap)]
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.broadcast_to(row, (row.shape[0], width, 3)) for row in rows[:-1]])


def _row(name: str, one: Failure, label_set: LabelSet) -> NDArray[np.uint8]:
    """Return the three pictures of a class under a caption."""
    image = one.example.image
    pictures = [draw_overlay(image, one.example.truth, label_set),
                draw_overlay(image, one.answer, label_set), _marked(image, one)]
    gap = np.full((image.shape[0], GAP, 3), PAPER, np.uint8)
    row = np.concatenate([pictures[0], gap, pictures[1], gap, pictures[2]], axis=1)
    caption = np.full((CAPTION, row.shape[1], 3), PAPER, np.uint8)
    texts = (f'{name}: truth', 'answer', f'{one.missed.sum()} pixels missed (red), '
             f'{one.wrong.sum()} wrong (blue)')
    for column, text in enumerate(texts):
        cv2.putText(caption, text, (column * (image.shape[1] + GAP) + 4, CAPTION - 8),
                    cv2.FONT_HERSHEY_SIMPLEX, 0.5, INK, 1, cv2.LINE_AA)
    return np.concatenate([caption, row])


def _marked(image: NDArray[np.uint8], one: Failure) -> NDArray[np.uint8]:
    """Return the image, darker, with the wrong pixels in colour."""
    marked = image // 2
    marked[one.missed], marked[one.wrong] = MISSED, WRONG
    return np.asarray(marked, np.uint8)


def main(arguments: Sequence[str] | None = None) -> None:
    """Find the worst frames and draw them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--camvid', action='store_true', help='of real frames, into output/')
    parser.add_argument('--weights', default='', help="a file; by default the package's")
    parser.add_argument('--width', type=int, default=1000, help='of the sheet, pixels')
    parser.add_argument('--output', type=Path)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    model = load('', ModelOptions(weights=options.weights))
    examples = camvid_examples('val') if options.camvid else street_examples(STREETS)
    output = options.output or Path('output/camvid_failures.jpg' if options.camvid
                                    else 'docs/street_tiny_failures.jpg')
    found = worst(model, tqdm(examples, unit='frame'), CLASSES)
    picture = sheet(found, model.label_set)
    height = round(picture.shape[0] * options.width / picture.shape[1])
    small = cv2.resize(picture, (options.width, height), interpolation=cv2.INTER_AREA)
    output.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(output), small[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, 82))
    _logger.info('wrote %s', output)


if __name__ == '__main__':
    main()
