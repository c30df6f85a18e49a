# SPDX-License-Identifier: Apache-2.0
"""Gives a trained street_tiny more channels; it answers as before, and learns on with them."""
from __future__ import annotations

import torch

from seg_ros.models.street_tiny import channels_of
from training.export import Tensors


def widened(tensors: Tensors, fresh: Tensors) -> dict[str, torch.Tensor]:
    """Return the tensors of a network as wide as `fresh`, that answers as that of `tensors` does.

    New channels see what is there with the weights of `fresh`; nothing that was there sees them,
    until training wants it to (after Chen et al. 2016, "Net2Net: accelerating learning via
    knowledge transfer", where channels are doubled and halved). Raises ValueError where `fresh`
    is narrower.
    """
    have, wanted = channels_of(tensors), channels_of(fresh)
    if any(map(int.__gt__, have, wanted)):
        raise ValueError(f'weights of {have} are wider than the network, expected at most '
                         f'{wanted}: make them narrower with training.slim')
    result = {name: tensor.clone() for name, tensor in fresh.items()}
    for name, old in tensors.items():
        if old.ndim == 4:
            result[name][:len(old), old.shape[1]:] = 0
        result[name][tuple(map(slice, old.shape))] = old
    return result
