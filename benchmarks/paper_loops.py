# SPDX-License-Identifier: Apache-2.0
"""The papers' loops over queries, as plainly as they are told: what fast code is compared with."""
from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
import torch

VOID = 255


@dataclass
class Told:
    """What a loop says of an image."""

    class_map: NDArray[np.uint8]  # (H, W)
    instance_map: NDArray[np.int32]  # (H, W) 1 + row of found
    found: list[tuple[int, float]] = field(default_factory=list)  # class id and score, one a thing

    @staticmethod
    def nothing(size: tuple[int, int]) -> Told:
        """Return an image of nothing."""
        return Told(np.full(size, VOID, np.uint8), np.zeros(size, np.int32))

    def add(self, class_id: int, score: float, mask: torch.Tensor) -> None:
        """Count a thing that owns a mask."""
        self.found.append((class_id, score))
        self.class_map[mask.numpy()] = class_id
        self.instance_map[mask.numpy()] = len(self.found)


def probabilities(class_logits: torch.Tensor, *, null_class: bool
                  ) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (Q, C) probabilities without the null class, and (Q,) who believes in it most."""
    if null_class:
        every = class_logits.softmax(dim=1)
        return every[:, :-1], every.argmax(dim=1) == every.shape[1] - 1
    return class_logits.sigmoid(), torch.zeros(len(class_logits), dtype=torch.bool)


def panoptic(class_logits: torch.Tensor, logits: torch.Tensor, *, thing_ids: Collection[int],
             null_class: bool = True, object_threshold: float = 0.8,
             overlap_threshold: float = 0.8) -> Told:
    """Follow Mask2Former's panoptic inference with EoMT's final mask; logits are (Q, H, W)."""
    every, is_null = probabilities(class_logits, null_class=null_class)
    scores, labels = every.max(dim=1)
    keep = ~is_null & (scores > object_threshold)
    scores, labels = scores[keep], labels[keep]
    told = Told.nothing(tuple(logits.shape[1:]))
    if len(scores) == 0:
        return told
    # one by one: torch rounds the tail of an array otherwise, and equal masks must stay equal
    masks = [mask.sigmoid() for mask in logits[keep]]
    mask_ids = (scores[:, None, None] * torch.stack(masks)).argmax(dim=0)
    for k, class_id in enumerate(labels.tolist()):
        own = mask_ids == k
        original = masks[k] >= 0.5
        final = own & original
        if not own.any() or not original.any() or not final.any():
            continue
        if own.sum().item() / original.sum().item() < overlap_threshold:
            continue
        if class_id in thing_ids:
            told.add(class_id, scores[k].item(), final)
        else:
            told.class_map[final.numpy()] = class_id
    return told


def instances(class_logits: torch.Tensor, logits: torch.Tensor, *, thing_ids: Collection[int],
              score_threshold: float, overlap_threshold: float, null_class: bool = True,
              score_by_mask: bool = True) -> Told:
    """Follow Mask2Former's instance inference, then Kirillov et al. 2019, section 7."""
    every, _ = probabilities(class_logits, null_class=null_class)
    pairs = sorted(((every[q, c].item(), q, c) for q in range(len(every))
                    for c in sorted(thing_ids)), key=lambda pair: -pair[0])[:100]
    scored = []
    for probability, q, c in pairs:
        mask = logits[q] > 0
        certainty = (logits[q].sigmoid() * mask).sum().item() / max(1, mask.sum().item())
        scored.append((probability * (certainty if score_by_mask else 1), q, c))
    told = Told.nothing(tuple(logits.shape[1:]))
    taken = torch.zeros(logits.shape[1:], dtype=torch.bool)
    for score, q, c in sorted(scored, key=lambda entry: -entry[0]):
        mask = logits[q] > 0
        free = mask & ~taken
        if score < score_threshold or not free.any() \
                or (mask & taken).sum() > overlap_threshold * mask.sum():
            continue
        told.add(c, score, free)
        taken |= free
    return told


def class_sums(class_logits: torch.Tensor, logits: torch.Tensor, *, null_class: bool = True
               ) -> torch.Tensor:
    """Return the (C, H, W) sums of MaskFormer's semantic inference."""
    every, _ = probabilities(class_logits, null_class=null_class)
    return torch.einsum('qc,qhw->chw', every, logits.sigmoid())
