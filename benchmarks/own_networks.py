# SPDX-License-Identifier: Apache-2.0
"""A small network for each of the four contracts, and its files as docs/your_model.md says."""
from __future__ import annotations

from collections.abc import Sequence
import hashlib
from pathlib import Path
import re

import torch
from torch import nn
import yaml

DOCUMENT = Path(__file__).parents[1] / 'docs' / 'your_model.md'
FORMATS = ('.onnx', '.pt2', '.ts')


def block(name: str) -> str:
    """Return the code below `<!-- name -->` in the document."""
    return re.search(rf'<!-- {re.escape(name)} -->\n```\w+\n(.*?)```', DOCUMENT.read_text(),
                     re.DOTALL)[1]


class SemanticNetwork(nn.Module):
    """Four classes at half the resolution."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 1))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return what the document's YAML names."""
        return {'logits': self.layers(x)}


class QueryNetwork(nn.Module):
    """Twelve queries of four classes and the null class, masks at a quarter."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.masks = nn.Sequential(nn.Conv2d(3, 8, 7, 4, 3), nn.Tanh(), nn.Conv2d(8, 12, 1))
        self.classes = nn.Parameter(5 * torch.randn(1, 12, 5))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return what the document's YAML names."""
        return {'class_logits': self.classes + x.mean(), 'mask_logits': 9 * self.masks(x)}


class BoxNetwork(nn.Module):
    """Eight boxes at random, one of them the background, one beyond the image."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        low = torch.rand(8, 2) * torch.tensor([200.0, 150.0])
        high = low + 20 + torch.rand(8, 2) * 100
        # names other than the outputs': the exporter of ONNX calls weights by theirs
        self.corners = nn.Parameter(torch.cat((low, high), dim=1))
        self.numbers = nn.Buffer(torch.tensor([1, 2, 1, 0, 2, 1, 2, 2]))
        self.sureness = nn.Parameter(2 * torch.rand(8))
        self.crops = nn.Parameter(4 * torch.randn(8, 1, 14, 14))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return what the document's YAML names."""
        seen = x.mean() / 100
        return {'boxes': self.corners + 10 * seen, 'labels': self.numbers + 0,
                'scores': (self.sureness + seen).sigmoid(),
                'masks': (self.crops + seen).sigmoid()}


class CentreNetwork(nn.Module):
    """Four classes, two of them things, at a quarter of the resolution."""

    def __init__(self, maps: int = 2) -> None:
        """Make the layers."""
        super().__init__()
        self.maps = maps
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 7, 4, 3), nn.Tanh(), nn.Conv2d(8, 4 + maps + 2, 1))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return what the document's YAML names."""
        y = self.layers(8 * x - 4)
        return {'semantic': 5 * y[:, :4], 'centres': 20 * y[:, 4:4 + self.maps],
                'offsets': y[:, 4 + self.maps:]}


NETWORKS = {'semantic_logits': SemanticNetwork, 'query_masks': QueryNetwork,
            'boxes_masks': BoxNetwork, 'center_offset': CentreNetwork}


def network_for(contract: str, seed: int = 1) -> nn.Module:
    """Return a contract's network, always the same."""
    torch.manual_seed(seed)
    return NETWORKS[contract]().eval().requires_grad_(False)


def side_lengths(description: dict) -> tuple[int, int]:
    """Return (height, width) of an example for a YAML."""
    size = description['input']['size']
    if size == 'any':
        return 96, 128
    width, height = map(int, size.split('x'))
    return height, width


def export(network: nn.Module, suffix: str, folder: Path, *, names: Sequence[str],
           size: tuple[int, int], fixed: bool) -> Path:
    """Write road.SUFFIX into a folder with the document's own lines."""
    code = block(f'export {suffix}').replace("['logits']", repr(list(names)))
    code = code.replace("'road.", f"'{folder}/road.")
    if fixed:
        code = re.sub(r',\s*dynamic_shapes=\(sides,\)', '', code)
    exec(code, {'torch': torch, 'network': network, 'example': torch.rand(1, 3, *size)})
    return folder / f'road{suffix}'


def write_model(contract: str, suffix: str, folder: Path) -> Path:
    """Write a contract's network in a format, and the document's YAML beside it."""
    text = block(contract)
    description = yaml.safe_load(text)
    network = network_for(contract)
    (folder / 'road.yaml').write_text(text)
    return export(network, suffix, folder, names=list(network(torch.rand(1, 3, 96, 128))),
                  size=side_lengths(description), fixed=description['input']['size'] != 'any')


def pin(path: Path) -> str:
    """Return what sha256sum says."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
