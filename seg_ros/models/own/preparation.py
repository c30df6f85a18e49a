# SPDX-License-Identifier: Apache-2.0
"""From a camera image to the input that a YAML describes, and where the image lies in it."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
import torch
from torch.nn import functional

from seg_ros.models.contract import fit
from seg_ros.models.own.description import Input

_TYPES = {'float32': torch.float32, 'float16': torch.float16}


@dataclass(frozen=True, eq=False)
class Prepared:
    """The input of a network for one image."""

    pixels: torch.Tensor  # (1, 3, h, w)
    shown: tuple[int, int]  # rows, columns of the pixels that show the image; black follows
    size: tuple[int, int]  # height, width of the image

    def extent(self, cells: Sequence[int]) -> tuple[float, float]:
        """Return the rows and columns of (h, w) cells over all pixels that show the image."""
        rows, columns = (shown * count / side for shown, count, side in zip(
            self.shown, cells, self.pixels.shape[2:], strict=True))
        return rows, columns

    @property
    def is_padded(self) -> bool:
        """Return whether a part of the input shows nothing."""
        return self.shown != tuple(self.pixels.shape[2:])


def prepare(image: NDArray[np.uint8], how: Input, device: torch.device,
            into: tuple[int, int] | None = None) -> Prepared:
    """Return the input for an (H, W, 3) uint8 RGB image.

    Where any size is allowed the image is resized to fit `into` a width and height first.
    """
    height, width = image.shape[:2]
    rows, columns = fit(height=height, width=width, into=into) \
        if into and how.size is None else (height, width)
    shown, size = sizes(how, height=rows, width=columns)
    x = torch.from_numpy(np.array(image, order='C')).to(device).permute(2, 0, 1)[None].float()
    if how.colours == 'bgr':
        x = x.flip(1)
    if shown != (height, width):
        x = functional.interpolate(x, size=shown, mode='bilinear', align_corners=False,
                                   antialias=True)
    x = functional.pad(x, (0, size[1] - shown[1], 0, size[0] - shown[0]))
    mean = torch.tensor(how.mean, device=device)[:, None, None]
    std = torch.tensor(how.std, device=device)[:, None, None]
    pixels = ((x * how.scale - mean) / std).to(_TYPES[how.dtype])
    return Prepared(pixels=pixels, shown=shown, size=(height, width))


def sizes(how: Input, *, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the (rows, columns) that show a height x width image, and those of the input."""
    if how.size is None:
        rounded = _multiple(height, how.multiple), _multiple(width, how.multiple)
        return (height, width) if how.resize == 'pad' else rounded, rounded
    if how.resize == 'stretch':
        return how.size, how.size
    factor = min(how.size[0] / height, how.size[1] / width)
    shown = (min(max(round(height * factor), 1), how.size[0]),
             min(max(round(width * factor), 1), how.size[1]))
    return shown, how.size


def _multiple(side: int, step: int) -> int:
    """Return the first multiple of a step that is not less than a side."""
    return -(-side // step) * step
