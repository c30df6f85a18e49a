# SPDX-License-Identifier: Apache-2.0
"""From the logits of classes on a coarse grid to the class of each pixel."""
from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from seg_ros.core.types import look_up, Segmentation, segmentation_from_map, VOID
from seg_ros.models.contract import ModelOptions
from seg_ros.models.postprocess import require_finite, resized
from seg_ros.models.postprocess_queries import Grid, make_grid

_CHANNELS_AT_ONCE = 16
_LOGITS_AT_ONCE = 1 << 20


def label_pixels(logits: torch.Tensor, *, size: tuple[int, int], class_table: torch.Tensor,
                 options: ModelOptions, grid: Grid | None = None) -> Segmentation:
    """Return the best class of each pixel of (C, h, w) logits, at (height, width).

    class_table is (C,) uint8, channel -> class id, 255 = void. Confidence is the softmax of the
    best channel, 0 on void; channels and grid as in `best_channels`.
    """
    require_finite((logits,), model='the network')
    channels, confidence = best_channels(
        logits.float(), size=size, want_confidence=options.confidence, grid=grid)
    if channels.device.type == 'cpu':
        class_map = look_up(class_table.numpy(), channels.numpy())
    else:
        class_map = class_table[channels.long()].cpu().numpy()
    if confidence is not None:
        confidence[class_map == VOID] = 0
    return segmentation_from_map(
        class_map=class_map, instance_map=np.zeros(size, np.int32), class_ids=(), scores=(),
        confidence=confidence)


def best_channels(logits: torch.Tensor, *, size: tuple[int, int], want_confidence: bool = False,
                  grid: Grid | None = None
                  ) -> tuple[torch.Tensor, NDArray[np.uint8] | None]:
    """Return the (H, W) channel and the uint8 confidence, if wanted, of (C, h, w) float32 logits.

    They are resized bilinearly to (height, width) = size, or as the grid says where only a part
    of them shows the image, then compared (the first of equals wins). The channel is uint8 where
    that holds all of them. Confidence is round(255 p), p the softmax of the best channel, on the
    host.
    """
    if logits.device.type == 'cpu' and not want_confidence:
        grid = grid or make_grid(logits.shape[1:], size, logits.device)
        return torch.from_numpy(_best_on_host(logits, grid)), None
    best, channels, log_sum = _compared(logits, size=size, want_sum=want_confidence, grid=grid)
    if not want_confidence:
        return channels, None
    share = torch.exp(best - log_sum).mul_(255).round_().clamp_(0, 255)
    return channels, share.to(torch.uint8).cpu().numpy()


def _compared(logits: torch.Tensor, *, size: tuple[int, int], want_sum: bool, grid: Grid | None
              ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (H, W) maximum, its channel, and logsumexp (if wanted) of resized logits.

    A few channels at a time: all of them at the frame's size would be a gigabyte for 150 classes
    at 1080p.
    """
    device = logits.device
    best = torch.full(size, -torch.inf, device=device)
    channels = torch.zeros(size, dtype=_type_for(len(logits)), device=device)
    log_sum = torch.full(size, -torch.inf, device=device)
    for first in range(0, len(logits), _CHANNELS_AT_ONCE):
        some = logits[first:first + _CHANNELS_AT_ONCE]
        part = grid.resize(some) if grid else resized(some[None], *size)[0]
        value, place = part.max(dim=0)
        channels = torch.where(value > best, (place + first).to(channels.dtype), channels)
        best = torch.maximum(best, value)
        if want_sum:
            log_sum = torch.logaddexp(log_sum, part.logsumexp(dim=0))
    return best, channels, log_sum


def _type_for(channels: int) -> torch.dtype:
    """Return the smallest type that holds so many channels' numbers."""
    return torch.uint8 if channels <= 256 else torch.int32


def _best_on_host(logits: torch.Tensor, grid: Grid) -> NDArray[np.integer[Any]]:
    """Return the (H, W) best channel of each pixel of (C, h, w) logits on the host.

    Where the four cells around a pixel agree, so does each mean of them: only the others, a few
    in a hundred in most images, have to be resized.
    """
    cells = logits[:, grid.rows.span, grid.columns.span].permute(1, 2, 0)
    height, width, channels = cells.shape
    coarse = cells.argmax(dim=2).to(_type_for(channels)).numpy()
    rows, columns = grid.rows.low.numpy(), grid.columns.low.numpy()
    best = coarse[rows].take(columns, axis=1)
    unsure = np.flatnonzero(~_agreed(coarse)[rows].take(columns, axis=1))
    flat = cells.reshape(height * width, channels)
    step = max(1, _LOGITS_AT_ONCE // channels)
    for first in range(0, len(unsure), step):
        some = unsure[first:first + step]
        best.ravel()[some] = _between(flat, grid, some, width)
    return best


def _agreed(coarse: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Return (h, w) whether a cell, the next one, and those below of both have one channel."""
    padded = np.pad(coarse, ((0, 1), (0, 1)), mode='edge')
    own = padded[:-1, :-1]
    return (own == padded[1:, :-1]) & (own == padded[:-1, 1:]) & (own == padded[1:, 1:])


def _between(cells: torch.Tensor, grid: Grid, pixels: NDArray[np.intp], width: int
             ) -> NDArray[np.integer[Any]]:
    """Return the (n,) best channel of some pixels among (cells, C) logits, `width` cells a row.

    pixels are places in the flattened image.
    """
    place = torch.from_numpy(pixels)
    row, column = place // grid.size[1], place % grid.size[1]
    rows, columns = grid.rows, grid.columns
    left, right, across = (
        x.index_select(0, column) for x in (columns.low, columns.high, columns.weight))
    above, below = (
        torch.lerp(cells.index_select(0, first + left), cells.index_select(0, first + right),
                   across[:, None])
        for first in (width * y.index_select(0, row) for y in (rows.low, rows.high)))
    between = torch.lerp(above, below, rows.weight.index_select(0, row)[:, None])
    return between.argmax(dim=1).numpy()
