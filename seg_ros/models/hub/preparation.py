# SPDX-License-Identifier: Apache-2.0
"""From a camera image to the pixels that a network was trained on, on the device."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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

    pixels: torch.Tensor  # (1, 3, h, w) normalised; (N, 3, h, w) of N windows
    image_size: tuple[int, int]  # rows, columns of the pixels that show the image
    starts: tuple[int, ...] = ()  # of windows along the longer axis, one an entry of pixels

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
    resizes: bool = True  # else an image keeps its size
    for_windows: bool = False  # published for square windows that slide over the resized image
    window: int | None = None  # side of the windows; none where the image is seen whole

    @property
    def leaves_room(self) -> bool:
        """Return whether images are published to lie at the top left of a padded square."""
        return not self.for_windows and self.shape is None

    def fitting(self, input_size: tuple[int, int]) -> Preparation:
        """Return the preparation that fits images whole into a (width, height), or turned."""
        return replace(self, resizes=True, shape=None, window=None, pad_to=None,
                       edges=(min(input_size), max(input_size)))

    def size_of(self, height: int, width: int) -> tuple[int, int]:
        """Return (rows, columns) of a height x width image after the resize."""
        if not self.resizes:
            return height, width
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
        if self.window is None:
            return Prepared(pixels=normalised[None], image_size=size)
        starts = window_starts(max(size), self.window)
        axis = 1 if size[0] > size[1] else 2
        windows = [normalised.narrow(axis, start, self.window) for start in starts]
        return Prepared(pixels=torch.stack(windows), image_size=size, starts=starts)

    def _padding(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return what is added left, right, above, below."""
        least = self.pad_to or (0, 0)
        bottom, right = (
            math.ceil(max(side, wanted) / self.patch) * self.patch - side
            for side, wanted in zip(size, least, strict=True))
        return 0, right, 0, bottom


def window_starts(length: int, window: int) -> tuple[int, ...]:
    """Return where as few windows as cover a length begin, as evenly as whole pixels allow."""
    count = math.ceil(length / window)
    overlap = (count * window - length) / (count - 1) if count > 1 else 0
    return tuple(int(place * (window - overlap)) for place in range(count))


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
    window = edges[0] if getattr(processor, 'do_split_image', False) and not edges[1] else None
    return Preparation(
        shape=shape, edges=edges, patch=patch, pads_pixels=pads_pixels, rounds=rounds,
        resizes=processor.do_resize, window=window or None, for_windows=bool(window),
        divisor=getattr(processor, 'size_divisor', None) or 1,
        pad_to=_pad_size(processor), resample=int(processor.resample),
        scale=float(processor.rescale_factor) if processor.do_rescale else 1.0,
        mean=tuple(processor.image_mean) if processor.do_normalize else (0.0, 0.0, 0.0),
        std=tuple(processor.image_std) if processor.do_normalize else (1.0, 1.0, 1.0))


def _pad_size(processor: Any) -> tuple[int, int] | None:
    """Return the (height, width) that a processor pads to, if it does."""
    size = dict(getattr(processor, 'pad_size', None) or {})
    return (size['height'], size['width']) if size.get('height') else None
