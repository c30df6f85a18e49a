# SPDX-License-Identifier: Apache-2.0
"""From what networks put out to a Segmentation, on the device, with one copy to the host."""
from __future__ import annotations

import numpy as np
import torch

from seg_ros.core.types import Segmentation, segmentation_from_map, VOID
from seg_ros.models.contract import ModelOptions


def settle_overlaps(*, masks: torch.Tensor, class_ids: torch.Tensor, scores: torch.Tensor,
                    options: ModelOptions) -> Segmentation:
    """Give each pixel one owner among (N, H, W) bool masks; void outside of them.

    Kirillov et al. 2019, section 7: instances in order of score (the first of equals wins), each
    takes what is free of its mask, and is dropped where better ones cover more of it than
    `options.overlap_threshold`; a dropped instance leaves its pixels to the next. Runs on the
    masks' device without a sync for each mask. class_ids is (N,) uint8, scores (N,) in [0, 1].
    """
    order = torch.argsort(scores, descending=True, stable=True)
    order = order[scores[order] >= options.score_threshold]
    owner = torch.zeros(masks.shape[1:], dtype=torch.int32, device=masks.device)
    areas = masks.sum(dim=(1, 2))
    for value, row in enumerate(order.tolist(), start=1):
        free = masks[row] & (owner == 0)
        covered = areas[row] - free.sum()
        kept = (covered <= options.overlap_threshold * areas[row]) & (areas[row] > 0)
        owner += value * (free & kept)
    instance_map = owner.cpu().numpy()
    sorted_classes = class_ids[order].cpu().numpy()
    class_of_value = np.concatenate(([VOID], sorted_classes)).astype(np.uint8)
    return segmentation_from_map(
        class_map=class_of_value[instance_map], instance_map=instance_map,
        class_ids=sorted_classes, scores=scores[order].cpu().numpy())
