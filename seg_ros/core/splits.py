# SPDX-License-Identifier: Apache-2.0
"""Tells the pieces in which an unsure model splits an object from objects that are new."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from seg_ros.core.motion import Floats
from seg_ros.core.sighting import Rows, Sighting
from seg_ros.core.types import Instances, look_up, Segmentation

_SURE = 0.9  # an instance of such a score is an object
_INSIDE = 0.4  # least share of a piece that lies where the track should be now
_BETTER = 0.05  # IoU with the track's mask, moved there, that the piece adds
_FEW_SAMPLES = 12  # a smaller track's mask tells nothing


def pieces(sighting: Sighting, track_of: Rows, *, shared: Floats, samples: Rows) -> Rows:
    """Return (N,) the row of the instance that an instance is a piece of, -1 for none.

    A piece has no track, but lies where the track of an instance of its class should be, and what
    is seen of that track is more like it with the piece than without. Shared (T, N) and samples
    (T,) are of the tracks' masks, moved to where they should be, on the sighting's grid.
    """
    whole_of = np.full(len(track_of), -1)
    new = np.flatnonzero(_may_be_pieces(sighting.instances) & (track_of < 0))
    known = np.flatnonzero(track_of >= 0)
    if not len(new) or not len(known):
        return whole_of
    whole = known[shared[np.ix_(track_of[known], new)].argmax(axis=0)]
    rows, areas, classes = track_of[whole], sighting.areas, sighting.instances.class_ids
    extent, inside = samples[rows], shared[rows, new]
    alone = _iou(shared[rows, whole], extent, areas[whole])
    together = _iou(shared[rows, whole] + inside, extent, areas[whole] + areas[new])
    is_piece = (inside >= _INSIDE * areas[new]) & (together >= alone + _BETTER) \
        & (extent >= _FEW_SAMPLES) & (classes[new] == classes[whole])
    whole_of[new[is_piece]] = whole[is_piece]
    return whole_of


def _may_be_pieces(instances: Instances) -> NDArray[np.bool_]:
    """Return (N,) whether the model itself is unsure of the instance."""
    unsure: NDArray[np.bool_] = instances.scores < _SURE
    return unsure if instances.slots is None else unsure & (instances.slots < 0)


def _iou(shared: Floats, left: Rows, right: Rows) -> Floats:
    """Return the IoU of masks of left and right pixels."""
    return shared / np.maximum(left + right - shared, 1)


def united(segmentation: Segmentation, whole_of: Rows) -> Segmentation:
    """Return the segmentation with pieces as parts of the instances of the rows whole_of (N,).

    -1 stands for an instance that is no piece. Both are of one class, and the better score holds
    for both. The order stays.
    """
    old, parts = segmentation.instances, np.flatnonzero(whole_of >= 0)
    wholes, kept = whole_of[parts], whole_of < 0
    values = np.concatenate(([0], np.cumsum(kept))).astype(np.int32)
    values[parts + 1] = values[wholes + 1]
    boxes, scores = old.boxes.copy(), old.scores.copy()
    np.minimum.at(boxes[:, :2], wholes, old.boxes[parts, :2])
    np.maximum.at(boxes[:, 2:], wholes, old.boxes[parts, 2:])
    np.maximum.at(scores, wholes, old.scores[parts])
    return replace(segmentation, instance_map=look_up(values, segmentation.instance_map),
                   instances=replace(old, boxes=boxes, scores=scores).take(kept))
