# SPDX-License-Identifier: Apache-2.0
"""Frame, Instances and Segmentation: the values that flow, checked at birth."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

VOID = 255
"""Class id of an unlabelled pixel."""


def _check(array: NDArray[np.generic], *, name: str, dtype: type[np.generic],
           shape: tuple[int | None, ...]) -> None:
    """Raise ValueError unless an array has the dtype and shape (None: any length)."""
    fits = array.ndim == len(shape) and all(
        want is None or have == want for have, want in zip(array.shape, shape, strict=True))
    if not fits or array.dtype != dtype:
        wanted = '(' + ', '.join('n' if side is None else str(side) for side in shape) + ')'
        raise ValueError(f'{name} is {array.dtype} {array.shape}, '
                         f'expected {np.dtype(dtype)} {wanted}')


@dataclass(frozen=True, eq=False)
class Frame:
    """One camera image."""

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    stamp: int  # ns
    frame_id: str

    def __post_init__(self) -> None:
        """Raise ValueError where a field breaks its contract."""
        _check(self.image, name='image', dtype=np.uint8, shape=(None, None, 3))


@dataclass(frozen=True, eq=False)
class Instances:
    """A struct of arrays: row i is the object with value i + 1 in the instance map."""

    boxes: NDArray[np.float32]  # (N, 4) x_min y_min x_max y_max, pixels, half-open, tight
    class_ids: NDArray[np.uint8]  # (N,)
    scores: NDArray[np.float32]  # (N,) in [0, 1]
    track_ids: NDArray[np.int64]  # (N,) 0 = not tracked
    slots: NDArray[np.int64] | None = None
    """(N,) which of a streaming model's queries, carried from frame to frame, found the instance,
    -1 = none: a hint that the tracker confirms by mask. None where the model has no such queries.
    """

    def __post_init__(self) -> None:
        """Raise ValueError where a field breaks its contract."""
        count = len(self.scores)
        _check(self.boxes, name='boxes', dtype=np.float32, shape=(count, 4))
        _check(self.class_ids, name='class_ids', dtype=np.uint8, shape=(count,))
        _check(self.scores, name='scores', dtype=np.float32, shape=(count,))
        _check(self.track_ids, name='track_ids', dtype=np.int64, shape=(count,))
        if self.track_ids.any() and (
                self.track_ids.min() < 1 or len(np.unique(self.track_ids)) < count):
            raise ValueError(f'track_ids {self.track_ids.tolist()}, '
                             'expected all 0 or positive and unique')
        if self.slots is not None:
            _check(self.slots, name='slots', dtype=np.int64, shape=(count,))
            named = self.slots[self.slots >= 0]
            if len(np.unique(named)) < len(named):
                raise ValueError(f'slots {self.slots.tolist()}, expected -1 or unique')

    def __len__(self) -> int:
        """Count the instances."""
        return len(self.scores)

    @property
    def ids(self) -> NDArray[np.int64]:
        """Return the (N,) published ids: track ids, or 1..N in a frame that is not tracked."""
        return self.track_ids if self.track_ids.any() else np.arange(1, len(self) + 1)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Instances:
        """Return some of the instances, by an (N,) mask or by their rows."""
        return Instances(
            boxes=self.boxes[rows], class_ids=self.class_ids[rows], scores=self.scores[rows],
            track_ids=self.track_ids[rows], slots=None if self.slots is None else self.slots[rows])

    @staticmethod
    def empty() -> Instances:
        """Return no instances."""
        return Instances(
            boxes=np.zeros((0, 4), np.float32),
            class_ids=np.zeros(0, np.uint8),
            scores=np.zeros(0, np.float32),
            track_ids=np.zeros(0, np.int64),
        )


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What one frame shows: a class for each pixel and the instances among them.

    Semantic-only results have no instances; instance-only results are void outside of theirs.
    A thing pixel that no instance owns keeps its class and has instance 0.
    """

    class_map: NDArray[np.uint8]  # (H, W) class ids, 255 = void
    instance_map: NDArray[np.int32]  # (H, W) 1 + row in instances, 0 = none
    instances: Instances
    confidence: NDArray[np.uint8] | None = None  # (H, W) round(255 p), 0 on void

    def __post_init__(self) -> None:
        """Raise ValueError where shapes and types disagree; contents are the tests' business."""
        _check(self.class_map, name='class_map', dtype=np.uint8, shape=(None, None))
        height, width = self.size
        _check(self.instance_map, name='instance_map', dtype=np.int32, shape=(height, width))
        if self.confidence is not None:
            _check(self.confidence, name='confidence', dtype=np.uint8, shape=(height, width))

    @cached_property
    def segment_index(self) -> NDArray[np.intp]:
        """Return (H, W) indices into (256 classes, then N instances): which segment has a pixel.

        Made once: the packed image and the overlay both look their values up with it.
        """
        index = self.class_map.astype(np.intp)  # what numpy would turn any other index into
        np.add(self.instance_map, VOID, out=index, where=self.instance_map > 0)
        index.setflags(write=False)
        return index

    def id_map(self) -> NDArray[np.int32]:
        """Return the (H, W) published id of each pixel, 0 = none."""
        if not self.instances.track_ids.any():
            return self.instance_map
        id_of_value = np.concatenate(([0], self.instances.ids)).astype(np.int32)
        return look_up(id_of_value, self.instance_map)

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width) in pixels."""
        height, width = self.class_map.shape
        return height, width


def look_up(table: NDArray[Any], indices: NDArray[np.integer[Any]]) -> NDArray[Any]:
    """Return the table's rows at (H, W) indices, which must not be outside of it."""
    if indices.dtype == table.dtype == np.uint8 and table.ndim == 1:
        return _translated(table, indices)
    # 'clip' spares numpy the check of each index: two to four times as fast as table[indices]
    return table.take(indices, axis=0, mode='clip')


def _translated(table: NDArray[np.uint8], indices: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
    """Return the bytes of a table at byte indices, twice as fast as by any other index."""
    complete = table.tobytes().ljust(256, b'\0')
    answer = bytearray(np.ascontiguousarray(indices)).translate(complete)
    return np.frombuffer(answer, np.uint8).reshape(indices.shape)


def tight_boxes(instance_map: NDArray[np.integer[Any]], count: int) -> NDArray[np.float32]:
    """Return the (count, 4) half-open boxes of ids 1..count; an id without pixels has zeros."""
    boxes = np.zeros((count, 4), np.float32)
    # find_objects is one pass in C, and independent of how many ids there are
    for row, slices in enumerate(find_objects(instance_map, max_label=count)):
        if slices is not None:
            rows, columns = slices
            boxes[row] = columns.start, rows.start, columns.stop, rows.stop
    return boxes


def segmentation_from_map(
    *,
    class_map: NDArray[np.uint8],
    instance_map: NDArray[np.integer[Any]],
    class_ids: Iterable[int] | NDArray[np.uint8],
    scores: Iterable[float] | NDArray[np.float32],
    confidence: NDArray[np.uint8] | None = None,
    slots: NDArray[np.int64] | None = None,
    boxes: NDArray[np.float32] | None = None,
) -> Segmentation:
    """Build a Segmentation from a map with values 0..N; rows without a pixel are dropped.

    class_ids, scores and slots have length N, row i speaks of value i + 1. Values are renumbered
    without gaps and boxes are measured on the map, so array and map cannot disagree; the caller
    may have measured the (N, 4) boxes, as `tight_boxes` would.
    """
    class_ids = np.asarray(class_ids, np.uint8).reshape(-1)
    scores = np.asarray(scores, np.float32).reshape(-1)
    if len(class_ids) != len(scores):
        raise ValueError(f'{len(class_ids)} class_ids and {len(scores)} scores, expected as many')
    instances = Instances(
        boxes=tight_boxes(instance_map, len(scores)) if boxes is None else boxes,
        class_ids=class_ids, scores=scores, track_ids=np.zeros(len(scores), np.int64), slots=slots)
    present = instances.boxes[:, 2] > instances.boxes[:, 0]
    if not present.all():
        new_value = np.zeros(len(scores) + 1, instance_map.dtype)
        new_value[1:][present] = np.arange(1, present.sum() + 1)
        instance_map = look_up(new_value, instance_map)
        instances = instances.take(present)
    return Segmentation(class_map=class_map, instances=instances, confidence=confidence,
                        instance_map=instance_map.astype(np.int32, copy=False))


def segmentation_from_ids(class_map: NDArray[np.uint8], ids: NDArray[np.int32]) -> Segmentation:
    """Build a Segmentation of (H, W) classes and instance ids of any size, 0 = none; score 1."""
    owned = ids > 0
    found, first, rows = np.unique(ids[owned], return_index=True, return_inverse=True)
    instance_map = np.zeros(ids.shape, np.int32)
    instance_map[owned] = rows.ravel() + 1
    return segmentation_from_map(
        class_map=class_map, instance_map=instance_map, class_ids=class_map[owned][first],
        scores=np.ones(len(found), np.float32))
