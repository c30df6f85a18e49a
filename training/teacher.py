# SPDX-License-Identifier: Apache-2.0
"""A network that another one imitates."""
from __future__ import annotations

import math

import torch

from seg_ros.models.street_tiny import StreetNetwork


class Teacher:
    """What a network says of an image and of its mirror image, averaged; it does not change.

    The mean sees more than the network does by itself, so that a network can be its own teacher.
    """

    def __init__(self, network: StreetNetwork, device: torch.device) -> None:
        """Make the network ready for this alone; it can no longer be trained."""
        network.eval()
        network.fuse()
        self._network = network.requires_grad_(False).to(device).to(
            memory_format=torch.channels_last)

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the (N, classes, H / 2, W / 2) log-probabilities of (N, 3, H, W) images."""
        seen, mirrored = (
            self._network(x.contiguous(memory_format=torch.channels_last)).semantic.float()
            for x in (images, images.flip(3)))
        sides = torch.stack((seen.log_softmax(dim=1), mirrored.flip(3).log_softmax(dim=1)))
        mean: torch.Tensor = sides.logsumexp(dim=0) - math.log(2)
        return mean
