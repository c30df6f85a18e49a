# SPDX-License-Identifier: Apache-2.0
"""`seg_ros evaluate`: class maps against labels, and how fast they come."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
import json
import math
from pathlib import Path
import time

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
import torch
from tqdm import tqdm

from seg_ros.core.labels import LabelSet
from seg_ros.core.metrics import ConfusionMatrix
from seg_ros.models.contract import ModelError, Task
from seg_ros.models.pipeline import Pipeline
from seg_ros.sim.recording import image_files, read_image
from seg_ros.tools.models import pipeline_from


@dataclass(frozen=True)
class Pair:
    """An image and its labels."""

    name: str
    image: Path
    labels: Path


@dataclass(frozen=True)
class Evaluation:
    """What came out."""

    frames: int
    seconds: float  # model and merge alone
    iou: Mapping[str, float]  # NaN where truth and prediction lack the class
    miou: float
    ignored: Mapping[int, int]  # label id -> pixels
    pixels: int  # of all labels, ignored ones too

    @property
    def fps(self) -> float:
        """Return frames a second of model and merge; files are read and counted beside it."""
        return self.frames / self.seconds if self.seconds else math.nan


def run(options: Namespace) -> int:
    """Evaluate as the options say, print a table, and write the JSON file if one is named."""
    if options.batch < 1:
        raise ValueError(f'--batch is {options.batch}, expected at least 1')
    pairs = pair_files(Path(options.images), Path(options.labels))
    ignore_ids = parse_ids(options.ignore_ids)
    pipeline = pipeline_from(options)
    _refuse_instances_alone(pipeline, options.model)
    with tqdm(pairs, unit='frame', desc=options.model) as progress:
        evaluation = evaluate(pipeline, progress, ignore_ids=ignore_ids, batch=options.batch)
    print(report(evaluation, pipeline.label_set))
    print(
        f'model {options.model} on {pipeline.device}, {torch.get_num_threads()} threads, '
        f'{options.batch} at a time'
    )
    if options.json:
        figures = {
            **as_json(evaluation),
            'model': options.model,
            'weights_sha256': dict(pipeline.models),
            'device': str(pipeline.device),
            'threads': torch.get_num_threads(),
            'batch': options.batch,
        }
        Path(options.json).write_text(json.dumps(figures, indent=2) + '\n')
    return 0


def _refuse_instances_alone(pipeline: Pipeline, spec: str) -> None:
    """Raise ModelError for a model whose class map is void outside of its instances."""
    if Task.SEMANTIC not in pipeline.tasks and Task.PANOPTIC not in pipeline.tasks:
        raise ModelError(
            f'model {spec!r} serves instance segmentation only, expected one that '
            'gives every pixel a class'
        )


def evaluate(
    pipeline: Pipeline, pairs: Iterable[Pair], *, ignore_ids: Iterable[int], batch: int = 1
) -> Evaluation:
    """Segment every image, so many at a time, and compare it with its labels."""
    pipeline.warm_up()
    confusion = ConfusionMatrix(pipeline.label_set, ignore_ids=ignore_ids)
    frames, seconds, pixels = 0, 0.0, 0
    rest = iter(pairs)
    while some := [read_pair(pair) for pair in islice(rest, batch)]:
        start = time.perf_counter()
        answers = pipeline.infer([image for image, _ in some])
        segmentations = [pipeline.merge(answer) for answer in answers]
        seconds += time.perf_counter() - start
        for (_, labels), segmentation in zip(some, segmentations, strict=True):
            confusion.update(labels, segmentation.class_map)
            frames += 1
            pixels += labels.size
    return Evaluation(
        frames=frames,
        seconds=seconds,
        iou=confusion.iou(),
        miou=confusion.miou(),
        ignored=confusion.ignored,
        pixels=pixels,
    )


def pair_files(images: Path, labels: Path) -> tuple[Pair, ...]:
    """Return images and labels that share a stem, in the order of their names.

    Raises ValueError where a file has no partner: a figure over a part of the data would look
    like one over all of it.
    """
    image_of, labels_of = _by_stem(image_files(images)), _by_stem(image_files(labels))
    for found, wanted, what in (
        (image_of, labels_of, 'labels'),
        (labels_of, image_of, 'an image'),
    ):
        alone = sorted(found.keys() - wanted.keys())
        if alone:
            raise ValueError(
                f'{len(alone)} of {len(found)} files lack {what} of the same stem, '
                f'the first is {str(found[alone[0]])!r}'
            )
    return tuple(Pair(name, image_of[name], labels_of[name]) for name in sorted(image_of))


def _by_stem(files: Sequence[Path]) -> dict[str, Path]:
    """Return stem -> file; raise ValueError where two files share one."""
    found: dict[str, Path] = {}
    for file in files:
        if file.stem in found:
            raise ValueError(
                f'{str(found[file.stem])!r} and {str(file)!r} have one stem, '
                'expected one file each'
            )
        found[file.stem] = file
    return found


def read_pair(pair: Pair) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the (H, W, 3) RGB image and its (H, W) class ids."""
    image, labels = read_image(pair.image), read_labels(pair.labels)
    if image.shape[:2] != labels.shape:
        raise ValueError(
            f'image {str(pair.image)!r} is {image.shape[1]}x{image.shape[0]}, its labels are '
            f'{labels.shape[1]}x{labels.shape[0]}, expected one size'
        )
    return image, labels


def read_labels(path: Path) -> NDArray[np.uint8]:
    """Return the (H, W) class ids of an 8-bit image, grey or with a palette."""
    try:
        with Image.open(path) as image:
            # Pillow, because OpenCV turns a palette into colours
            if image.mode not in ('L', 'P'):
                raise ValueError(
                    f'labels {str(path)!r} have mode {image.mode}, expected one byte a pixel '
                    '(8-bit grey or palette)'
                )
            return np.array(image)
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f'cannot decode labels {str(path)!r}: {error}') from error


def parse_ids(text: str) -> frozenset[int]:
    """Return the ids of `255,11`; an empty text has none."""
    parts = [part.strip() for part in text.split(',') if part.strip()]
    if not all(part.isdecimal() and int(part) <= 255 for part in parts):
        raise ValueError(f'cannot read ignore ids {text!r}, expected 0 to 255 with commas between')
    return frozenset(map(int, parts))


def report(evaluation: Evaluation, label_set: LabelSet) -> str:
    """Return the table for people."""
    width = max(len('class'), *map(len, label_set.names))
    lines = ['', f'{"class":{width}}     IoU']
    lines += [f'{name:{width}}  {_share(iou)}' for name, iou in evaluation.iou.items()]
    lines += [f'{"mIoU":{width}}  {_share(evaluation.miou)}', '']
    for label_id, pixels in evaluation.ignored.items():
        share = pixels / evaluation.pixels
        lines.append(f'not counted: label id {label_id}, {pixels} pixels ({share:.1%})')
    lines.append(
        f'{evaluation.frames} frames, {evaluation.fps:.1f} a second '
        '(model and merge alone, without reading files)'
    )
    return '\n'.join(lines)


def _share(value: float) -> str:
    """Return a share in a column of six."""
    return 'absent' if math.isnan(value) else f'{value:6.4f}'


def as_json(evaluation: Evaluation) -> dict[str, object]:
    """Return the figures for machines; a class that does not occur is null."""
    return {
        'miou': _or_none(evaluation.miou),
        'iou': {name: _or_none(iou) for name, iou in evaluation.iou.items()},
        'fps': _or_none(evaluation.fps),
        'frames': evaluation.frames,
        'ignored': {str(label_id): pixels for label_id, pixels in evaluation.ignored.items()},
    }


def _or_none(value: float) -> float | None:
    """Return NaN as None, which JSON has a word for."""
    return None if math.isnan(value) else value
