# SPDX-License-Identifier: Apache-2.0
"""From what networks put out to a Segmentation, on the device, with one copy to the host."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from seg_ros.core.types import Segmentation, segmentation_from_map, VOID
from seg_ros.models.contract import ModelOptions, NotFiniteError


@dataclass(frozen=True, eq=False)
class Centres:
    """Centres of objects, the best first."""

    positions: torch.Tensor  # (K, 2) float32 row, column, pixels of the network's input
    things: torch.Tensor  # (K,) int64 place of the class among the things
    scores: torch.Tensor  # (K,) float32 in [0, 1]


def require_finite(outputs: Iterable[torch.Tensor], *, model: str) -> None:
    """Raise NotFiniteError where a network's raw outputs hold NaN or infinity.

    Every family asks this of its logits before argmax, which would call NaN class 0.
    """
    # a sum is finite only if all of its terms are; one copy to the host for all of them
    sums = [output.sum(dtype=torch.float32) for output in outputs]
    if not torch.isfinite(torch.stack(sums)).all():
        raise NotFiniteError(f'{model} computed values that are not finite: its weights, the '
                             'image or the device are damaged')


def pixel_of_cell(cell: torch.Tensor, *, stride: float) -> torch.Tensor:
    """Return where the middle of a cell of a coarse grid lies, in pixels, along one axis."""
    return (cell + 0.5) * stride - 0.5


def find_centres(scores: torch.Tensor, *, threshold: float, stride: int, window: int = 5,
                 limit: int = 100) -> Centres:
    """Return the best local maxima of (T, h, w) scores, one map a thing class.

    A maximum is nowhere smaller than its window of cells and at least `threshold`; at most
    `limit` of them are kept. Equal neighbours (a plateau) count once, the first in reading order.
    """
    peak = functional.max_pool2d(scores[None], window, stride=1, padding=window // 2)[0]
    places = ((scores == peak) & (scores >= threshold)).flatten().nonzero()[:, 0]
    order = torch.argsort(scores.flatten()[places], descending=True, stable=True)
    places = places[order[:limit]]
    height, width = scores.shape[1:]
    rows, columns = places // width % height, places % width
    things = places // (height * width)
    kept = _first_of_plateau(rows, columns, things, window=window)
    positions = pixel_of_cell(torch.stack((rows, columns), dim=1), stride=stride)
    return Centres(positions=positions[kept], things=things[kept],
                   scores=scores.flatten()[places][kept])


def _first_of_plateau(rows: torch.Tensor, columns: torch.Tensor, things: torch.Tensor, *,
                      window: int) -> torch.Tensor:
    """Return which of (K,) maxima have no earlier one of their class within their window."""
    near = ((rows[:, None] - rows[None]).abs() <= window // 2) \
        & ((columns[:, None] - columns[None]).abs() <= window // 2) \
        & (things[:, None] == things[None])
    return ~near.tril(diagonal=-1).any(dim=1)


def group_pixels(votes: torch.Tensor, centres: Centres, *, things: int, reach: float
                 ) -> torch.Tensor:
    """Return the (things, h, w) owner of each cell, were it of that class: 0 or 1 + row.

    Cheng et al. 2020, "Panoptic-DeepLab", section 3.3, class by class: (2, h, w) votes say at
    which row and column, in pixels, a cell believes its object's centre to be; the nearest centre
    of the class owns the cell (the first of equals), unless it is farther than `reach` pixels.
    """
    owners = torch.zeros((things, *votes.shape[1:]), dtype=torch.int64, device=votes.device)
    for thing in range(things):
        members = torch.nonzero(centres.things == thing)[:, 0]
        if len(members) == 0:
            continue
        rows, columns = centres.positions[members].T[:, :, None, None]
        nearest, place = ((votes[0] - rows) ** 2 + (votes[1] - columns) ** 2).min(dim=0)
        owners[thing] = torch.where(nearest <= reach ** 2, members[place] + 1, 0)
    return owners


def settle_overlaps(*, masks: torch.Tensor, class_ids: torch.Tensor, scores: torch.Tensor,
                    options: ModelOptions) -> Segmentation:
    """Give each pixel one owner among (N, H, W) bool masks; void outside of them.

    Kirillov et al. 2019, section 7: instances in order of score (the first of equals wins), each
    takes what is free of its mask, and is dropped where better ones cover more of it than
    `options.overlap_threshold`; a dropped instance leaves its pixels to the next. An owner's
    score is its pixels' confidence. Runs on the masks' device without a sync for each mask.
    class_ids is (N,) uint8, scores (N,) in [0, 1].
    """
    order = torch.argsort(scores, descending=True, stable=True)
    order = order[scores[order] >= options.score_threshold]
    owner = torch.zeros(masks.shape[1:], dtype=torch.int32, device=masks.device)
    areas = masks.sum(dim=(1, 2))
    for value, row in enumerate(order.tolist(), start=1):
        free = masks[row] & (owner == 0)
        covered = areas[row] - free.sum()
        kept = (covered <= options.overlap_threshold * areas[row]) & (areas[row] > 0)
        owner.masked_fill_(free & kept, value)
    instance_map = owner.cpu().numpy()
    sorted_classes = class_ids[order].cpu().numpy()
    sorted_scores = scores[order].cpu().numpy()
    class_of_value = np.concatenate(([VOID], sorted_classes)).astype(np.uint8)
    byte_of_value = np.round(255 * np.concatenate(([0.0], sorted_scores))).astype(np.uint8)
    return segmentation_from_map(
        class_map=class_of_value[instance_map], instance_map=instance_map,
        class_ids=sorted_classes, scores=sorted_scores,
        confidence=byte_of_value[instance_map] if options.confidence else None)
