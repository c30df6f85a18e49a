# SPDX-License-Identifier: Apache-2.0
"""Takes out of a trained street_tiny the channels that matter least; it learns on without them.

The importance of a channel is the square of what the loss would change by without it, to the
first order: its scale times the gradient of its scale, plus the same of its shift, summed over
the layers that write it (Molchanov et al. 2019, "Importance estimation for neural network
pruning").
"""
from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import logging
from pathlib import Path

import torch
from tqdm import tqdm

from seg_ros.models.street_tiny import CHANNELS, Channels, StreetNetwork
from training.data import Batch, read_camvid, Samples
from training.export import network_of, STREET, Tensors, write_weights
from training.losses import losses
from training.synthetic import read_synthetic
from training.train import first_weights, RUNS, SYNTHETIC_FRAMES

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Group:
    """Channels that stay or go together, because sums add them."""

    written: tuple[str, ...]  # by these modules of the network
    read: tuple[str, ...]  # by those
    kept: int


def groups(to: Channels) -> list[Group]:
    """Return every group of the network, with as many channels as the narrower one has."""
    blocks_8, blocks_16 = ('to_8.1', 'to_8.2'), ('to_16.1', 'to_16.2')
    context = 'to_16.3.mix'
    return [
        Group(('to_2',), ('to_4', 'skip_2'), to.at_2),
        Group(('to_4',), ('to_8.0', 'skip_4'), to.at_4),
        Group(('to_8.0', *_of(blocks_8, 'second')), (*_of(blocks_8, 'first'), 'to_16.0', 'skip_8'),
              to.at_8),
        Group(('to_16.0', *_of(blocks_16, 'second'), context),
              (*_of(blocks_16, 'first'), context, 'from_16'), to.at_16),
        *(Group((f'{block}.first',), (f'{block}.second',), to.at_8) for block in blocks_8),
        *(Group((f'{block}.first',), (f'{block}.second',), to.at_16) for block in blocks_16),
        Group(('from_16', 'skip_8'), ('mix_8',), to.at_8),
        Group(('mix_8',), ('from_8',), to.at_8),
        Group(('from_8', 'skip_4'), ('mix_4',), to.at_4),
        Group(('mix_4',), ('from_4', 'instance'), to.decoder),
        Group(('from_4', 'skip_2'), ('semantic.0',), to.at_2),
        Group(('semantic.0',), ('semantic.1',), to.at_2),
    ]


def _of(blocks: Sequence[str], layer: str) -> tuple[str, ...]:
    """Return the layer of that name of each residual block."""
    return tuple(f'{block}.{layer}' for block in blocks)


def importance(network: StreetNetwork, batches: Iterable[Batch]) -> dict[str, torch.Tensor]:
    """Return by layer that is normalised the (channels,) signed importances of each batch."""
    network.eval().to(memory_format=torch.channels_last)
    found: dict[str, list[torch.Tensor]] = {}
    for batch in batches:
        network.zero_grad()
        losses(network(batch.normalised_images()), batch, overlap=1.0).total.backward()
        for name, module in network.named_modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                terms = [p * p.grad for p in module.parameters() if p.grad is not None]
                found.setdefault(name.removesuffix('.bn'), []).append(
                    torch.stack(terms).sum(dim=0).detach())
    return {name: torch.stack(changes) for name, changes in found.items()}


def slimmed(tensors: Tensors, importances: Tensors, to: Channels) -> dict[str, torch.Tensor]:
    """Return the tensors of a network as wide as `to`, of the channels that matter most."""
    result = dict(tensors)
    for group in groups(to):
        change = sum(importances[name] for name in group.written if name in importances)
        matters = torch.as_tensor(change).square().sum(dim=0)
        kept = matters.topk(group.kept).indices.sort().values
        _logger.info('%s: %d of %d channels, %.1f %% of the importance', group.written[0],
                     group.kept, len(matters), 100 * matters[kept].sum() / matters.sum())
        for name, tensor in result.items():
            if _belongs(name, group.written) and tensor.ndim:
                result[name] = tensor = tensor[kept]
            if _belongs(name, group.read) and tensor.ndim == 4:
                result[name] = tensor[:, kept]
    return result


def _belongs(name: str, modules: Sequence[str]) -> bool:
    """Tell whether a tensor is of one of the modules."""
    return any(name.startswith(f'{module}.') for module in modules)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write slimmer weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('weights', type=Path, help='checkpoint or weights file')
    parser.add_argument('output', type=Path)
    parser.add_argument('--batches', type=int, default=50, help='of 8, half of each source')
    parser.add_argument('--synthetic-frames', type=int, default=SYNTHETIC_FRAMES)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    samples = Samples(
        [read_camvid('train'), read_synthetic(RUNS / 'synthetic',
                                              frames=options.synthetic_frames)],
        batch_size=8, seed=0, size_at=lambda _: STREET.input_size)
    tensors = first_weights(options.weights)
    importances = importance(network_of(tensors), (
        samples[number] for number in tqdm(range(options.batches), unit='batch')))
    write_weights(options.output, slimmed(tensors, importances, CHANNELS), STREET)


if __name__ == '__main__':
    main()
