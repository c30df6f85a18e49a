# SPDX-License-Identifier: Apache-2.0
"""Labels that are a known function of the pixel's colour, to check everything around a model."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
import torch

from seg_ros.core.labels import LabelSet
from seg_ros.core.types import Segmentation, segmentation_from_map
from seg_ros.models.contract import (
    ALL_TASKS,
    Model,
    ModelError,
    ModelInfo,
    ModelOptions,
    refuse_settings,
    Task,
)
from seg_ros.models.postprocess import settle_overlaps

LABEL_SET = LabelSet(('ground', 'wall', 'plant', 'box', 'ball'), frozenset({'box', 'ball'}))
INSTANCES_PER_CLASS = 4
OVERLAPPING_LABEL_SET = LabelSet(('ball', 'robot'), frozenset({'ball', 'robot'}))
OVERLAPPING_MASKS = 8

MODELS = (
    ModelInfo(spec='checkerboard', tasks=ALL_TASKS, parameters=0, license='Apache-2.0',
              summary='class and instance from the colour, for tests'),
    ModelInfo(spec='checkerboard/overlapping', tasks=frozenset({Task.INSTANCE}), parameters=0,
              license='Apache-2.0', summary='eight masks that overlap, from blue, for tests'),
    ModelInfo(spec='checkerboard/fixed', tasks=ALL_TASKS, parameters=0, license='Apache-2.0',
              summary='one answer whatever the image shows: costs nothing, for benchmarks'),
)


def load(name: str, options: ModelOptions) -> Model:
    """Return one of the test models, or raise ModelError."""
    kinds: dict[str, Callable[[ModelOptions], Model]] = {
        '': Checkerboard, 'overlapping': OverlappingMasks, 'fixed': FixedPattern}
    if name not in kinds:
        raise ModelError(f'unknown model checkerboard/{name}, expected '
                         f'{", ".join(info.spec for info in MODELS)}')
    refuse_settings('checkerboard', options)
    return kinds[name](options)


def class_of_colour(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (H, W) classes of an (H, W, 3) RGB image: red modulo 6, where 5 is void."""
    table = np.arange(256, dtype=np.uint8) % (len(LABEL_SET) + 1)
    table[table == len(LABEL_SET)] = 255
    return table[image[..., 0]]


def instance_of_colour(image: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return (H, W) instance names of an (H, W, 3) RGB image: green's top bits, things only.

    A thing whose green has the lowest bit set is not counted (instance 0).
    """
    classes = class_of_colour(image)
    first = np.zeros(256, np.int32)
    for place, class_id in enumerate(sorted(LABEL_SET.thing_ids)):
        first[class_id] = 1 + place * INSTANCES_PER_CLASS
    green = image[..., 1]
    counted = LABEL_SET.is_thing()[classes] & (green & 1 == 0)
    return np.where(counted, first[classes] + (green >> 6), 0).astype(np.int32)


class Checkerboard:
    """Panoptic: red is the class, green the instance, blue the confidence."""

    label_set = LABEL_SET
    tasks = ALL_TASKS
    sha256 = ''

    def __init__(self, options: ModelOptions) -> None:
        """Keep the options; there is nothing to load."""
        self.options = options

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Segmentation]:
        """Segment (H, W, 3) uint8 RGB images."""
        return [self._segment(image) for image in images]

    def _segment(self, image: NDArray[np.uint8]) -> Segmentation:
        classes = class_of_colour(image)
        confidence = np.where(classes == 255, 0, image[..., 2]).astype(np.uint8)
        return segmentation_from_map(
            class_map=classes, instance_map=instance_of_colour(image),
            class_ids=np.repeat(sorted(LABEL_SET.thing_ids), INSTANCES_PER_CLASS),
            scores=np.linspace(0.95, 0.6, len(LABEL_SET.thing_ids) * INSTANCES_PER_CLASS),
            confidence=confidence if self.options.confidence else None)


class OverlappingMasks:
    """Instance: bit k of blue is mask k; lower bits have higher scores; classes alternate."""

    label_set = OVERLAPPING_LABEL_SET
    tasks = frozenset({Task.INSTANCE})
    sha256 = ''

    def __init__(self, options: ModelOptions) -> None:
        """Keep the options; there is nothing to load."""
        self.options = options

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Segmentation]:
        """Segment (H, W, 3) uint8 RGB images."""
        return [self._segment(image) for image in images]

    def _segment(self, image: NDArray[np.uint8]) -> Segmentation:
        masks, class_ids, scores = masks_of_colour(image)
        return settle_overlaps(
            masks=torch.from_numpy(masks), class_ids=torch.from_numpy(class_ids),
            scores=torch.from_numpy(scores), options=self.options)


def masks_of_colour(image: NDArray[np.uint8]
                    ) -> tuple[NDArray[np.bool_], NDArray[np.uint8], NDArray[np.float32]]:
    """Return (8, H, W) masks, (8,) class ids and (8,) scores of an (H, W, 3) RGB image."""
    bits = np.arange(OVERLAPPING_MASKS)
    masks = (image[None, ..., 2] >> bits[:, None, None]).astype(np.uint8) & 1 > 0
    return masks, (bits % 2).astype(np.uint8), (0.95 - 0.05 * bits).astype(np.float32)


class FixedPattern:
    """Panoptic: stripes of every class and twenty boxes, made once for each size."""

    label_set = LABEL_SET
    tasks = ALL_TASKS
    sha256 = ''

    def __init__(self, options: ModelOptions) -> None:
        """Keep the options; there is nothing to load."""
        self.options = options

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Segmentation]:
        """Return the pattern in the size of each (H, W, 3) image."""
        patterns = [_pattern(*image.shape[:2]) for image in images]
        if self.options.confidence:
            return patterns
        return [replace(pattern, confidence=None) for pattern in patterns]


@lru_cache(maxsize=4)
def _pattern(height: int, width: int) -> Segmentation:
    """Return stripes of stuff with a grid of 5 x 4 boxes."""
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    row, column = rows * 4 // height, columns * 5 // width
    in_box = (rows * 8 // height % 2 == 1) & (columns * 10 // width % 2 == 1)
    instance_map = np.where(in_box, row * 5 + column + 1, 0).astype(np.int32)
    class_map = np.where(in_box, 3, columns * 3 // width).astype(np.uint8)
    return segmentation_from_map(
        class_map=class_map, instance_map=instance_map, class_ids=np.full(20, 3),
        scores=np.full(20, 0.9), confidence=np.full((height, width), 200, np.uint8))
