# SPDX-License-Identifier: Apache-2.0
"""Pixels that show the robot itself: void in every output, and no instance reaches into them."""
from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from seg_ros.core.panoptic import keep_instances, nearest_indices
from seg_ros.core.types import Segmentation, tight_boxes, VOID

_MAX_PIXELS = 1 << 26


class IgnoreMask:
    """Takes the ignored pixels out of segmentations of any size."""

    def __init__(self, path: str) -> None:
        """Read a PNG, of which every pixel that is not black is ignored; raises ValueError.

        An empty path ignores nothing.
        """
        self._mask = _read(path) if path else np.zeros((1, 1), bool)
        self._at = lru_cache(maxsize=2)(self._resized)

    def apply(self, segmentation: Segmentation) -> Segmentation:
        """Return the segmentation with void where the mask is; boxes are tight again."""
        if not self._mask.any():
            return segmentation
        ignored = self._at(*segmentation.size)
        instance_map = np.where(ignored, np.int32(0), segmentation.instance_map)
        boxes = tight_boxes(instance_map, len(segmentation.instances))
        confidence = segmentation.confidence
        masked = replace(
            segmentation, class_map=np.where(ignored, np.uint8(VOID), segmentation.class_map),
            instance_map=instance_map, instances=replace(segmentation.instances, boxes=boxes),
            confidence=None if confidence is None
            else np.where(ignored, np.uint8(0), confidence))
        return keep_instances(masked, boxes[:, 2] > boxes[:, 0])

    def _resized(self, height: int, width: int) -> NDArray[np.bool_]:
        """Return the (height, width) mask by nearest neighbour."""
        rows = nearest_indices(self._mask.shape[0], height)
        return self._mask[rows][:, nearest_indices(self._mask.shape[1], width)]


def _read(path: str) -> NDArray[np.bool_]:
    """Return (H, W) True where a PNG is not black; raises ValueError with one sentence."""
    try:
        if not Path(path).is_file():
            raise ValueError('there is no such file')
        with PillowImage.open(path, formats=('PNG',)) as picture:
            if picture.width * picture.height > _MAX_PIXELS:
                raise ValueError(f'it has {picture.width}x{picture.height} pixels')
            return np.asarray(picture.convert('RGB')).any(axis=-1)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f'cannot read ignore mask {path!r}: {reason}, expected a PNG image'
                         ) from error
