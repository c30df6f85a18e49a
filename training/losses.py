# SPDX-License-Identifier: Apache-2.0
"""What the training minimises: classes, centres and offsets."""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from seg_ros.core.types import VOID
from seg_ros.models.street_tiny import Features
from training.data import Batch

CLASS_SHARE = (0.17, 0.23, 0.012, 0.31, 0.06, 0.1, 0.012, 0.012, 0.06, 0.008, 0.008)
"""Share of the pixels of each class, about, in the street's order."""


@dataclass(frozen=True)
class Losses:
    """The terms of the loss, each a scalar."""

    semantic: torch.Tensor
    centres: torch.Tensor
    offsets: torch.Tensor
    imitation: torch.Tensor  # 0 without a teacher

    @property
    def total(self) -> torch.Tensor:
        """Return the weighted sum."""
        return self.semantic + 0.15 * self.centres + 0.4 * self.offsets + self.imitation

    def detached(self) -> Losses:
        """Return the numbers alone."""
        return Losses(**{name: value.detach() for name, value in vars(self).items()})


def losses(features: Features, batch: Batch, *, overlap: float,
           taught: torch.Tensor | None = None) -> Losses:
    """Compare the network's answer with the truth, and with what a teacher says.

    `taught` are a teacher's log-probabilities of the samples that are scarce.
    """
    semantic = features.semantic.float()
    return Losses(
        semantic=semantic_loss(semantic, batch, overlap=overlap),
        centres=centre_loss(features.centres.float(), batch.centres, batch.is_counted),
        offsets=offset_loss(features.offsets.float(), batch.offsets, batch.weights),
        imitation=semantic.new_zeros(()) if taught is None
        else imitation_loss(semantic[batch.is_scarce], taught))


def imitation_loss(logits: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
    """Return how far (N, C, h, w) logits are from a teacher's log-probabilities: the divergence.

    After Hinton et al. 2015, "Distilling the knowledge in a neural network", at temperature 1.
    Void pixels count too: the teacher has an opinion on them.
    """
    own = functional.log_softmax(logits, dim=1)
    return (taught.exp() * (taught - own)).sum(dim=1).mean()


def semantic_loss(logits: torch.Tensor, batch: Batch, *, overlap: float) -> torch.Tensor:
    """Return cross-entropy, rare classes weighted up, plus `overlap` x what theirs lacks."""
    share = torch.tensor(CLASS_SHARE, device=logits.device)
    weights = (0.1 / share).sqrt()
    logs = functional.log_softmax(logits, dim=1)
    entropy = functional.nll_loss(logs, batch.classes, weight=weights, ignore_index=VOID)
    return entropy + overlap * overlap_loss(logs.exp(), batch.classes)


def overlap_loss(probability: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Return 1 - soft IoU, the mean over the classes that occur.

    Takes (N, C, h, w) probabilities and (N, h, w) class ids. Every class counts the same, however
    few its pixels (Rahman and Wang 2016, "Optimizing intersection-over-union").
    """
    count = probability.shape[1]
    known = classes != VOID
    ids = classes.where(known, 0)
    right = probability.gather(1, ids[:, None])[:, 0] * known
    shared = right.new_zeros(count).index_add(0, ids.flatten(), right.flatten())
    true = right.new_zeros(count).index_add(0, ids.flatten(), known.flatten().to(right.dtype))
    claimed = (probability * known[:, None]).sum(dim=(0, 2, 3))
    iou = shared / (claimed + true - shared).clamp(min=1)
    occurs = true > 0
    return ((1 - iou) * occurs).sum() / occurs.sum().clamp(min=1)


def centre_loss(logits: torch.Tensor, truth: torch.Tensor, is_counted: torch.Tensor
                ) -> torch.Tensor:
    """Return the focal loss of Zhou et al. 2019, "Objects as points", over known cells."""
    probability = torch.sigmoid(logits)
    is_centre = truth > 0.999
    found = (1 - probability) ** 2 * functional.logsigmoid(logits)
    quiet = (1 - truth) ** 4 * probability ** 2 * functional.logsigmoid(-logits)
    loss = -torch.where(is_centre, found, quiet) * is_counted[:, None]
    return loss.sum() / is_centre.sum().clamp(min=1)


def offset_loss(offsets: torch.Tensor, truth: torch.Tensor, weights: torch.Tensor
                ) -> torch.Tensor:
    """Return the weighted mean distance, rows plus columns, in OFFSET_UNIT pixels."""
    distance = (offsets - truth).abs().sum(dim=1)
    return (distance * weights).sum() / weights.sum().clamp(min=1)
