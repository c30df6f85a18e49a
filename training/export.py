# SPDX-License-Identifier: Apache-2.0
"""Writes a trained network as the safetensors file that seg_ros/models/street_tiny.py reads."""
from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
import os
from pathlib import Path

from safetensors.torch import save
import torch

from seg_ros.models.street_tiny import CHANNELS, Channels, channels_of, Contract, StreetNetwork

Tensors = Mapping[str, torch.Tensor]
"""Of a network, by name."""

PACKAGE_WEIGHTS = Path('seg_ros/models/weights/street_tiny.safetensors')
TRAIN_WEIGHTS = Path('training/weights/street_tiny_train.safetensors')
"""What the packaged weights were before they learnt from val too: what val measures."""

STREET = Contract(
    class_names=('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign_symbol', 'fence',
                 'car', 'pedestrian', 'bicyclist'),
    things=('car', 'pedestrian', 'bicyclist'),
    input_size=(720, 544),
    mean=(105.0, 108.0, 110.0),
    std=(75.0, 76.0, 76.0),
    score_scale=1.0,
    score_bias=0.0,
)
"""CamVid's 11 classes in CamVid's order, and round numbers near the mean of its images."""


def write_weights(path: Path, tensors: Tensors, contract: Contract) -> None:
    """Write the tensors with their contract; the file appears whole or not at all."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    part = path.with_suffix('.part')
    path.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(save(whole, metadata=contract.metadata(whole)))
    os.replace(part, path)


def new_network(channels: Channels = CHANNELS) -> StreetNetwork:
    """Return an untrained network for the street's classes."""
    return StreetNetwork(
        classes=len(STREET.class_names), things=len(STREET.things), channels=channels)


def network_of(tensors: Tensors) -> StreetNetwork:
    """Return the network of tensors of whatever width."""
    network = new_network(channels_of(tensors))
    network.load_state_dict(tensors)
    return network


def main(arguments: Sequence[str] | None = None) -> None:
    """Export the averaged weights of a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('--output', type=Path, default=PACKAGE_WEIGHTS)
    options = parser.parse_args(arguments)
    checkpoint = torch.load(options.checkpoint, map_location='cpu', weights_only=True)
    write_weights(options.output, checkpoint['average'], STREET)


if __name__ == '__main__':
    main()
