# SPDX-License-Identifier: Apache-2.0
"""From the queries of windows that slide over an image to its classes."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
import torch

from seg_ros.core.types import Segmentation, segmentation_from_map
from seg_ros.models.contract import ModelOptions
from seg_ros.models.postprocess import require_finite
from seg_ros.models.postprocess_queries import (
    Axis,
    best_classes,
    Grid,
    make_grid,
    QueryContract,
    strips,
)


@dataclass(frozen=True, eq=False)
class Windows:
    """What a network says of N square windows in a row over a resized image."""

    class_logits: torch.Tensor  # (N, Q, C + 1), the null class last
    mask_logits: torch.Tensor  # (N, Q, h, w) on a coarse grid of cells
    starts: tuple[int, ...]  # (N,) first pixel of each along the image's longer axis
    side: int  # pixels of a window, and of the image's shorter axis
    image_size: tuple[int, int]  # rows, columns of the resized image

    def transposed(self) -> Windows:
        """Return the windows of the transposed image."""
        rows, columns = self.image_size
        return replace(self, mask_logits=self.mask_logits.transpose(2, 3),
                       image_size=(columns, rows))


def label_windows(windows: Windows, *, size: tuple[int, int], contract: QueryContract,
                  options: ModelOptions) -> Segmentation:
    """Return the class of each pixel of the (height, width) = size frame; NotFiniteError.

    Kerssies et al. 2025, "EoMT", as evaluated: MaskFormer's sums of probability x mask in each
    window, their mean where windows overlap, resized to the frame. A strip of rows at a time.
    """
    require_finite((windows.class_logits, windows.mask_logits), model='the network')
    is_tall = windows.image_size[0] > windows.image_size[1]
    if is_tall:
        windows, size = windows.transposed(), (size[1], size[0])
    classes, confidences = [], []
    for values in _strips_of_sums(windows, size, contract):
        best, class_ids = best_classes(values)
        classes.append(class_ids)
        if options.confidence:
            share = best / values.sum(dim=0).clamp(min=1e-12)
            confidences.append((255 * share).round_().to(torch.uint8))
    class_map, *confidence = (
        _upright(parts, is_tall) for parts in (classes, confidences) if parts)
    return segmentation_from_map(
        class_map=class_map, instance_map=np.zeros(class_map.shape, np.int32), class_ids=(),
        scores=(), confidence=confidence[0] if confidence else None)


def _upright(parts: list[torch.Tensor], is_tall: bool) -> NDArray[np.uint8]:
    """Return the whole of strips as the frame lies."""
    whole = torch.cat(parts)
    upright: NDArray[np.uint8] = (whole.T.contiguous() if is_tall else whole).cpu().numpy()
    return upright


def _strips_of_sums(windows: Windows, size: tuple[int, int], contract: QueryContract
                    ) -> Iterator[torch.Tensor]:
    """Yield the (C, rows, W) sums of strips of a wide frame, from the top."""
    shares = torch.stack([contract.probabilities(logits).T for logits in windows.class_logits])
    frame = make_grid(windows.image_size, size, windows.mask_logits.device)
    for strip in strips(frame, shares.shape[1] + shares.shape[2]):
        sums = _sums(windows, shares, strip.rows.span)
        yield Grid(rows=_from_first(strip.rows), columns=strip.columns).resize(sums)


def _from_first(axis: Axis) -> Axis:
    """Return an axis among cells of which there are no others before its own."""
    return replace(axis, span=slice(0, axis.span.stop - axis.span.start))


def _sums(windows: Windows, shares: torch.Tensor, rows: slice) -> torch.Tensor:
    """Return the (C, rows, columns) mean sums of some rows of a resized image.

    shares are the (N, C, Q) probabilities of each window.
    """
    masks = windows.mask_logits.float()
    whole = make_grid(masks.shape[2:], (windows.side, windows.side), masks.device)
    grid = Grid(rows=whole.rows.part(rows.start, rows.stop), columns=whole.columns)
    height, width = rows.stop - rows.start, windows.image_size[1]
    total = masks.new_zeros((shares.shape[1], height, width))
    covered = masks.new_zeros(width)
    for start, share, mask in zip(windows.starts, shares, masks, strict=True):
        here = slice(start, start + windows.side)
        seen = grid.resize(mask).sigmoid_().flatten(1)
        total[:, :, here] += (share @ seen).view(len(share), height, windows.side)
        covered[here] += 1
    return total.div_(covered)
