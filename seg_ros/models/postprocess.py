# SPDX-License-Identifier: Apache-2.0
"""From what networks put out to a Segmentation, on the device, with one copy to the host."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch.nn import functional

from seg_ros.core.types import look_up, Segmentation, segmentation_from_map, VOID
from seg_ros.models.contract import ModelOptions, NotFiniteError

Region = tuple[slice, slice]
"""Rows and columns of a frame."""

Canvas = torch.Tensor | NDArray[Any]
"""A map on the device; one on the host as NumPy has it, which is faster at small ones."""

_HALF = np.float32(0.5)
_MOST_IN_A_BYTE = 255
_ROUNDING = np.float32(12 * 2 ** -25)  # of a pixel's probability: six times each in two ways


@dataclass(frozen=True, eq=False)
class Centres:
    """Centres of objects, the best first."""

    positions: torch.Tensor  # (K, 2) float32 row, column, pixels of the network's input
    things: torch.Tensor  # (K,) int64 place of the class among the things
    scores: torch.Tensor  # (K,) float32 in [0, 1]

    def take(self, kept: torch.Tensor) -> Centres:
        """Return those that a (K,) bool mask names."""
        return Centres(self.positions[kept], self.things[kept], self.scores[kept])


def require_finite(outputs: Iterable[torch.Tensor], *, model: str) -> None:
    """Raise NotFiniteError where a network's raw outputs hold NaN or infinity.

    Every family asks this of its logits before argmax, which would call NaN class 0.
    """
    # a sum is finite only if all of its terms are; one copy to the host for all of them
    sums = [output.sum(dtype=torch.float32) for output in outputs]
    if not torch.isfinite(torch.stack(sums)).all():
        raise NotFiniteError(f'{model} computed values that are not finite: its weights, the '
                             'image or the device are damaged')


def pixel_of_cell(cell: torch.Tensor, *, stride: float) -> torch.Tensor:
    """Return where the middle of a cell of a coarse grid lies, in pixels, along one axis."""
    return (cell + 0.5) * stride - 0.5


def find_centres(scores: torch.Tensor, *, threshold: float, stride: int, window: int = 5,
                 limit: int = 100) -> Centres:
    """Return the best local maxima of (T, h, w) scores, one map a thing class.

    A maximum is nowhere smaller than its window of cells and at least `threshold`; at most
    `limit` of them are kept. Equal neighbours (a plateau) count once, the first in reading order.
    """
    places = (scores >= threshold).flatten().nonzero()[:, 0]
    places = places[_is_peak(scores, places, window=window)]
    order = torch.argsort(scores.flatten()[places], descending=True, stable=True)
    places = places[order[:limit]]
    height, width = scores.shape[1:]
    rows, columns = places // width % height, places % width
    things = places // (height * width)
    kept = _first_of_plateau(rows, columns, things, window=window)
    positions = pixel_of_cell(torch.stack((rows, columns), dim=1), stride=stride)
    return Centres(positions, things, scores=scores.flatten()[places]).take(kept)


def _is_peak(scores: torch.Tensor, places: torch.Tensor, *, window: int) -> torch.Tensor:
    """Return which of (K,) places in (T, h, w) scores are nowhere smaller than their window."""
    # few places are above the threshold: their windows cost less than a maximum everywhere
    height, width = scores.shape[1:]
    border = window // 2
    padded = functional.pad(scores, (border,) * 4, value=-torch.inf)
    windows = padded.unfold(1, window, 1).unfold(2, window, 1)  # a view, (T, h, w, window, window)
    near = windows[places // (height * width), places // width % height, places % width]
    return near.amax(dim=(1, 2)) == scores.flatten()[places]


def _first_of_plateau(rows: torch.Tensor, columns: torch.Tensor, things: torch.Tensor, *,
                      window: int) -> torch.Tensor:
    """Return which of (K,) maxima have no earlier one of their class within their window."""
    near = ((rows[:, None] - rows[None]).abs() <= window // 2) \
        & ((columns[:, None] - columns[None]).abs() <= window // 2) \
        & (things[:, None] == things[None])
    return ~near.tril(diagonal=-1).any(dim=1)


def group_pixels(votes: torch.Tensor, centres: Centres, *, things: int, reach: float,
                 asked: torch.Tensor | None = None) -> torch.Tensor:
    """Return the (things, h, w) owner of each cell, were it of that class: 0 or 1 + row.

    Cheng et al. 2020, "Panoptic-DeepLab", section 3.3, class by class: (2, h, w) votes say at
    which row and column, in pixels, a cell believes its object's centre to be; the nearest centre
    of the class owns the cell (the first of equals), unless it is farther than `reach` pixels.
    `asked` (things, h, w) bool are the cells that matter, all by default; the others get 0.
    """
    owners = torch.zeros((things, votes[0].numel()), dtype=torch.int64, device=votes.device)
    flat_votes = votes.flatten(1)
    for thing in range(things):
        members = torch.nonzero(centres.things == thing)[:, 0]
        if len(members) == 0:
            continue
        cells = slice(None) if asked is None else asked[thing].flatten().nonzero()[:, 0]
        rows, columns = centres.positions[members].T[:, :, None]
        own_votes = flat_votes[:, cells]
        nearest, place = ((own_votes[0] - rows) ** 2 + (own_votes[1] - columns) ** 2).min(dim=0)
        owners[thing, cells] = torch.where(nearest <= reach ** 2, members[place] + 1, 0)
    return owners.view(things, *votes.shape[1:])


def own_pixels(classes: torch.Tensor, votes: torch.Tensor, centres: Centres, *, things: int,
               layer_of_class: torch.Tensor, cells: tuple[torch.Tensor, torch.Tensor],
               reach: float, min_area: int) -> torch.Tensor:
    """Return the (H, W) int32 owner of each pixel by its class and vote: 0 or 1 + row.

    A pixel asks for the owner among the centres of its own class' layer only, so that the class
    and the instance map agree. layer_of_class is (256,) class id -> 0 = stuff, else 1 + layer;
    votes are (2, h, w) as in group_pixels; cells are (H,) rows and (W,) columns of the votes.
    Owners of fewer than min_area pixels get none.
    """
    rows, columns = votes.shape[1:]
    layers = layer_of_class.index_select(0, classes.flatten().int())
    pixels = layers.nonzero()[:, 0]  # things cover little of most frames: the rest costs nothing
    row, column = pixels // classes.shape[1], pixels % classes.shape[1]
    places = cells[0][row] * columns + cells[1][column]
    slots = (layers[pixels].long() - 1) * (rows * columns) + places
    asked = torch.zeros(things * rows * columns, dtype=torch.bool, device=votes.device)
    asked[slots] = True
    owners = group_pixels(votes, centres, things=things, reach=reach,
                          asked=asked.view(things, rows, columns))
    owner = owners.flatten()[slots]
    if min_area > 1:
        owner = owner * (torch.bincount(owner) >= min_area)[owner]
    owner_map = torch.zeros(classes.numel(), dtype=torch.int32, device=votes.device)
    owner_map[pixels] = owner.to(torch.int32)
    return owner_map.view(classes.shape)


def settle_overlaps(*, masks: torch.Tensor, class_ids: torch.Tensor, scores: torch.Tensor,
                    options: ModelOptions) -> Segmentation:
    """Give each pixel one owner among (N, H, W) bool masks; void outside of them.

    Kirillov et al. 2019, section 7: instances in order of score (the first of equals wins), each
    takes what is free of its mask, and is dropped where better ones cover more of it than
    `options.overlap_threshold`; a dropped instance leaves its pixels to the next. An owner's
    score is its pixels' confidence. Runs on the masks' device without a sync for each mask.
    class_ids is (N,) uint8, scores (N,) in [0, 1]; NotFiniteError where one is NaN.
    """
    require_finite((scores,), model='the network')
    order = torch.argsort(scores, descending=True, stable=True)
    order = order[scores[order] >= options.score_threshold]
    owner = _nobody(masks.shape[1:], count=len(order), device=masks.device)
    canvas, sheets = _canvas(owner), _canvas(masks)
    kept: list[int] = []
    for row in order.tolist():
        if _claim(canvas, sheets[row], value=len(kept) + 1,
                  overlap_threshold=options.overlap_threshold):
            kept.append(row)
    return segmentation_of_owners(
        owner, class_ids=class_ids[kept], scores=scores[kept], options=options)


def _nobody(size: Sequence[int], *, count: int, device: torch.device) -> torch.Tensor:
    """Return an (H, W) map of zeros that can hold so many owners, in bytes where they do."""
    dtype = torch.uint8 if count <= _MOST_IN_A_BYTE else torch.int32
    return torch.zeros(tuple(size), dtype=dtype, device=device)


def _canvas(values: torch.Tensor) -> Canvas:
    """Return the same memory as what claims work on."""
    return values.numpy() if values.device.type == 'cpu' else values


def _claim(owner: Canvas, mask: Canvas, *, value: int, overlap_threshold: float) -> bool:
    """Write value where an (h, w) mask finds owner 0, unless too much of it has an owner.

    Returns whether it may have written: a device is not waited for.
    """
    if isinstance(owner, torch.Tensor):
        _claim_on_device(owner, torch.as_tensor(mask), value=value,
                         overlap_threshold=overlap_threshold)
        return True
    return _claim_on_host(owner, np.asarray(mask), value=value,
                          overlap_threshold=overlap_threshold)


def _claim_on_host(owner: NDArray[Any], mask: NDArray[np.bool_], *, value: int,
                   overlap_threshold: float) -> bool:
    """Claim with NumPy, which counts booleans several times as fast as torch."""
    free = mask.view(np.uint8) > owner
    area, gain = np.count_nonzero(mask), np.count_nonzero(free)
    if gain == 0 or area - gain > overlap_threshold * area:
        return False
    # nobody is 0, so adding is writing
    owner += np.multiply(free.view(np.uint8), value, dtype=owner.dtype)
    return True


def _claim_on_device(owner: torch.Tensor, mask: torch.Tensor, *, value: int,
                     overlap_threshold: float) -> None:
    """Claim without a sync."""
    free = mask & (owner == 0)
    area = torch.count_nonzero(mask)
    # float64 as on the host: float32 would round the share of a large mask
    kept = (area - torch.count_nonzero(free)).double() <= overlap_threshold * area.double()
    owner.masked_fill_(free & kept & (area > 0), value)


def segmentation_of_owners(owner: torch.Tensor, *, class_ids: torch.Tensor, scores: torch.Tensor,
                           options: ModelOptions, within: Sequence[Region] | None = None
                           ) -> Segmentation:
    """Return the instances of an (H, W) integer map of 0 or 1 + row; void outside of them.

    class_ids is (N,) uint8, scores (N,) in [0, 1]; an owner's score is its pixels' confidence.
    `within` are the N regions that hold all pixels of their owner, where that is known.
    """
    value_map = owner.cpu().numpy()
    host_classes, host_scores = class_ids.cpu().numpy(), scores.cpu().numpy()
    class_of_value = np.concatenate(([VOID], host_classes)).astype(np.uint8)
    byte_of_value = np.round(255 * np.concatenate(([0.0], host_scores))).astype(np.uint8)
    return segmentation_from_map(
        class_map=look_up(class_of_value, value_map), instance_map=value_map,
        boxes=None if within is None else _boxes_within(value_map, within),
        class_ids=host_classes, scores=host_scores,
        confidence=look_up(byte_of_value, value_map) if options.confidence else None)


def _boxes_within(value_map: NDArray[Any], regions: Sequence[Region]) -> NDArray[np.float32]:
    """Return the (N, 4) tight boxes of values 1..N, all of whose pixels are in their regions."""
    boxes = np.zeros((len(regions), 4), np.float32)
    for row, region in enumerate(regions):
        mask = value_map[region] == row + 1
        left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
        if width:
            left, top = left + region[1].start, top + region[0].start
            boxes[row] = left, top, left + width, top + height
    return boxes


@contextmanager
def _for_small_crops() -> Iterator[None]:
    """Let torch work alone and OpenCV by its own code, in this thread.

    To wake other threads for each crop costs more than they save, and Intel's code, which OpenCV
    takes where it can, rounds where it should not.
    """
    threads, with_ipp = torch.get_num_threads(), cv2.ipp.useIPP()
    torch.set_num_threads(1)
    cv2.ipp.setUseIPP(False)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.ipp.setUseIPP(with_ipp)


@_for_small_crops()
def paint_crops(*, crops: torch.Tensor, boxes: torch.Tensor, class_ids: torch.Tensor,
                scores: torch.Tensor, size: tuple[int, int], options: ModelOptions
                ) -> Segmentation:
    """Give each pixel one owner among masks that are known inside their boxes only.

    The answer of `settle_overlaps` to the masks that torchvision's `paste_masks_in_image` would
    make, without ever making a mask of the frame's size: each crop is resized to its box, as
    there, and painted into the label map. crops is (N, S, S) probabilities, boxes (N, 4) xyxy in
    pixels of a (height, width) frame, class_ids (N,) uint8, scores (N,) in [0, 1].
    """
    require_finite((scores, crops, boxes), model='the network')
    order = torch.argsort(scores, descending=True, stable=True)
    order = order[scores[order] >= options.score_threshold]
    corners = _pasted_corners(boxes[order], crop_size=crops.shape[-1], size=size).cpu().numpy()
    padded = functional.pad(crops[order].float(), (1, 1, 1, 1))
    placed = _placed(padded, corners, size)
    owner = _nobody(size, count=len(order), device=crops.device)
    canvas = _canvas(owner)
    kept: list[int] = []
    for place, mask in enumerate(_masks(placed)):
        if 0 not in mask.shape and _claim(
                canvas[placed.regions[place]], mask, value=len(kept) + 1,
                overlap_threshold=options.overlap_threshold):
            kept.append(place)
    rows = order[kept]
    return segmentation_of_owners(
        owner, class_ids=class_ids[rows], scores=scores[rows], options=options,
        within=[placed.regions[place] for place in kept])


def _pasted_corners(boxes: torch.Tensor, *, crop_size: int, size: tuple[int, int]
                    ) -> torch.Tensor:
    """Return (N, 4) int64 first and last column and row of crops with one cell of margin."""
    height, width = size
    # a box may lead out of the frame, but not cost more than a few frames
    limit = torch.tensor([width, height, width, height], device=boxes.device)
    boxes = torch.minimum(torch.maximum(boxes, -limit), 2 * limit)
    half = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * ((crop_size + 2) / crop_size)
    middle = (boxes[:, 2:] + boxes[:, :2]) * 0.5
    return torch.cat((middle - half, middle + half), dim=1).to(torch.int64)


def _regions(first: NDArray[np.int64], stop: NDArray[np.int64]) -> list[Region]:
    """Return the pixels from (N, 2) first columns and rows up to those that are stopped at."""
    return [(slice(top, bottom), slice(left, right))
            for (left, top), (right, bottom) in zip(first.tolist(), stop.tolist(), strict=True)]


@dataclass(frozen=True, eq=False)
class _Placed:
    """Crops and where they lie in a frame; a part of each may be outside."""

    crops: torch.Tensor  # (N, S, S)
    extents: NDArray[np.int64]  # (N, 2) width and height of a whole crop, pixels
    regions: list[Region]  # of the frame
    shown: list[Region]  # the same, in pixels of the whole crop

    def mask(self, place: int) -> torch.Tensor:
        """Return where a crop is above 0.5 in its region."""
        width, height = self.extents[place].tolist()
        pixels = resized(self.crops[place][None, None], height, width)[0, 0]
        return pixels[self.shown[place]] > 0.5


def _placed(crops: torch.Tensor, corners: NDArray[np.int64], size: tuple[int, int]) -> _Placed:
    """Place (N, S, S) crops at (N, 4) corners in a (height, width) frame."""
    origin, end = corners[:, :2], corners[:, 2:] + 1
    first, stop = (place.clip(0, size[::-1]) for place in (origin, end))
    return _Placed(crops, extents=np.maximum(end - origin, 1), regions=_regions(first, stop),
                   shown=_regions(first - origin, stop - origin))


def _masks(placed: _Placed) -> Iterator[Canvas]:
    """Yield where each crop is above 0.5 in its region."""
    if placed.crops.device.type == 'cpu':
        yield from _masks_on_host(placed)
    else:
        yield from map(placed.mask, range(len(placed.crops)))


def _masks_on_host(placed: _Placed) -> Iterator[NDArray[np.bool_]]:
    """Yield the masks by OpenCV, which is several times as fast.

    Where an order of summing decides, torch's does.
    """
    cells = np.float32(placed.crops.shape[-1])
    # torch rounds the cells of a pixel to float32: OpenCV, told so, finds the same places
    scales = (cells / placed.extents.astype(np.float32)).astype(np.float64)
    stretch = 1 / scales
    # of one scale in eight no inverse leads back, and a place may be rounded to its neighbour
    inexact = (1 / stretch != scales).any(axis=1)
    errors = np.where(inexact, _ROUNDING + 2 * np.spacing(cells), _ROUNDING)
    limits = zip(_HALF + errors, _HALF - errors, strict=True)
    for place, (crop, (across, down), (high, low), shown) in enumerate(zip(
            placed.crops.numpy(), stretch.tolist(), limits, placed.shown, strict=True)):
        pixels = cv2.resize(crop, None, fx=across, fy=down)[shown]
        mask = pixels > high
        if np.count_nonzero(mask) == np.count_nonzero(pixels > low):
            yield mask
        else:
            yield placed.mask(place).numpy()


def resized(cells: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return the (N, C, height, width) pixels of (N, C, h, w) cells, bilinear."""
    return functional.interpolate(cells, size=(height, width), mode='bilinear',
                                  align_corners=False)
