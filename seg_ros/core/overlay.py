# SPDX-License-Identifier: Apache-2.0
"""Colours for people: a segmentation painted over its image."""
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_ros.core.labels import LabelSet
from seg_ros.core.types import look_up, Segmentation

_PIXEL = np.dtype('V3')  # an RGB pixel as one item: masks over (H, W) are far faster with it
_OUTLINE = np.full(3, 255, np.uint8).view(_PIXEL)  # the line around each instance


def segment_colours(segmentation: Segmentation, label_set: LabelSet) -> NDArray[np.uint8]:
    """Return the (256 + N, 3) RGB table of `Segmentation.segment_index`: classes, then instances.

    An instance has its class's colour, shifted by its published id, so that neighbours differ
    and a tracked object keeps its colour.
    """
    classes = label_set.colours()
    ids = segmentation.instances.ids
    # a hash of the id: consecutive ids get shifts that are far apart
    shifts = np.stack([(ids * factor) % 121 - 40 for factor in (53, 97, 29)], axis=1)
    own = classes[segmentation.instances.class_ids].astype(np.int64) + shifts.reshape(-1, 3)
    return np.concatenate((classes, np.clip(own, 0, 255).astype(np.uint8)))


def colour_map(segmentation: Segmentation, label_set: LabelSet) -> NDArray[np.uint8]:
    """Return (H, W, 3) RGB: each segment in its colour, void black."""
    return look_up(segment_colours(segmentation, label_set), segmentation.segment_index)


def draw_overlay(image: NDArray[np.uint8], segmentation: Segmentation, label_set: LabelSet
                 ) -> NDArray[np.uint8]:
    """Return a new (H, W, 3) RGB image: half image, half colour, instances outlined; void as is.

    The image has the segmentation's size.
    """
    halves = segment_colours(segmentation, label_set) >> 1
    painted = look_up(halves, segmentation.segment_index)
    # halves before the sum keep everything in uint8: no wider copy of the image
    painted += image >> 1
    pixels = painted.view(_PIXEL)[..., 0]
    void = segmentation.class_map >= len(label_set)
    np.copyto(pixels, np.ascontiguousarray(image).view(_PIXEL)[..., 0], where=void)
    np.copyto(pixels, _OUTLINE, where=_outlines(segmentation.instance_map))
    return painted


def _outlines(instance_map: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return (H, W): pixels of an instance beside a pixel that is not of it."""
    edge = np.zeros(instance_map.shape, bool)
    sideways = instance_map[:, :-1] != instance_map[:, 1:]
    edge[:, :-1] = sideways
    edge[:, 1:] |= sideways
    upwards = instance_map[:-1] != instance_map[1:]
    edge[:-1] |= upwards
    edge[1:] |= upwards
    edge &= instance_map > 0
    return edge
