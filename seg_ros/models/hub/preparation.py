# SPDX-License-Identifier: Apache-2.0
"""From a camera image to the pixels that a network was trained on, on the device."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch.nn import functional
from torchvision.transforms.v2 import functional as vision
from transformers.image_transforms import get_size_with_aspect_ratio
from transformers.image_utils import pil_torch_interpolation_mapping, PILImageResampling


@dataclass(frozen=True, eq=False)
class Prepared:
    """The input of a network for one image."""

    pixels: torch.Tensor  # (1, 3, h, w) normalised
    image_size: tuple[int, int]  # rows, columns of the pixels that show the image

    def extent(self, cells: Sequence[int]) -> tuple[float, float]:
        """Return the rows and columns of (h, w) cells over all pixels that show the image."""
        rows, columns = (shown * count / side for shown, count, side in zip(
            self.image_size, cells, self.pixels.shape[2:], strict=True))
        return rows, columns


@dataclass(frozen=True)
class Preparation:
    """What a preprocessor_config.json says, resolved."""

    shape: tuple[int, int] | None  # height, width, whatever the image's proportions; else
    edges: tuple[int, int | None]  # length of the shorter edge, limit of the longer one
    divisor: int  # resized sides are rounded up to multiples of it
    patch: int  # padded sides are multiples of it
    pad_to: tuple[int, int] | None  # height, width at least, after padding
    pads_pixels: bool  # padding is black and normalised; else it is zero after that
    resample: int  # as PIL counts: 2 is bilinear
    rounds: bool  # resized pixels are bytes again; else not, and without antialiasing
    scale: float  # of a byte
    mean: tuple[float, ...]  # of scaled values
    std: tuple[float, ...]

    def size_of(self, height: int, width: int) -> tuple[int, int]:
        """Return (rows, columns) of a height x width image after the resize."""
        size = self.shape or get_size_with_aspect_ratio((height, width), *self.edges)
        rows, columns = (max(1, math.ceil(side / self.divisor)) * self.divisor for side in size)
        return rows, columns

    def apply(self, image: NDArray[np.uint8], device: torch.device) -> Prepared:
        """Return the input for an (H, W, 3) uint8 RGB image."""
        pixels = torch.from_numpy(np.array(image, order='C')).to(device).permute(2, 0, 1)
        size = self.size_of(*image.shape[:2])
        if not self.rounds:
            pixels = pixels.float()
        if size != image.shape[:2]:
            how = pil_torch_interpolation_mapping[PILImageResampling(self.resample)]
            pixels = vision.resize(pixels, list(size), interpolation=how, antialias=self.rounds)
        padding = self._padding(size)
        if self.pads_pixels:
            pixels = functional.pad(pixels, padding)
        mean = torch.tensor(self.mean, device=device)[:, None, None]
        std = torch.tensor(self.std, device=device)[:, None, None]
        normalised = (pixels * self.scale - mean) / std
        if not self.pads_pixels:
            normalised = functional.pad(normalised, padding)
        return Prepared(pixels=normalised[None], image_size=size)

    def _padding(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return what is added left, right, above, below."""
        least = self.pad_to or (0, 0)
        bottom, right = (
            math.ceil(max(side, wanted) / self.patch) * self.patch - side
            for side, wanted in zip(size, least, strict=True))
        return 0, right, 0, bottom


def read_preparation(processor: Any, *, patch: int = 1, pads_pixels: bool = False,
                     rounds: bool = True) -> Preparation:
    """Return the steps of an image processor of transformers; raises ValueError."""
    size = {name: int(value) for name, value in dict(processor.size).items() if value}
    shape: tuple[int, int] | None = None
    edges: tuple[int, int | None] = 0, None
    if 'height' in size and 'width' in size:
        shape = size['height'], size['width']
    elif 'shortest_edge' in size:
        edges = size['shortest_edge'], size.get('longest_edge')
    elif processor.do_resize:
        raise ValueError(f'its preprocessor resizes to {size}, expected height and width or '
                         'shortest_edge and longest_edge')
    return Preparation(
        shape=shape, edges=edges, patch=patch, pads_pixels=pads_pixels, rounds=rounds,
        divisor=getattr(processor, 'size_divisor', None) or 1,
        pad_to=_pad_size(processor), resample=int(processor.resample),
        scale=float(processor.rescale_factor) if processor.do_rescale else 1.0,
        mean=tuple(processor.image_mean) if processor.do_normalize else (0.0, 0.0, 0.0),
        std=tuple(processor.image_std) if processor.do_normalize else (1.0, 1.0, 1.0))


def _pad_size(processor: Any) -> tuple[int, int] | None:
    """Return the (height, width) that a processor pads to, if it does."""
    size = dict(getattr(processor, 'pad_size', None) or {})
    return (size['height'], size['width']) if size.get('height') else None
