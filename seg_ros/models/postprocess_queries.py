# SPDX-License-Identifier: Apache-2.0
"""From the class and mask logits of queries to a Segmentation, for each of the three tasks.

Serves every model that answers with queries (MaskFormer and its heirs, EoMT, RF-DETR). Pixels are
interpolated from the coarse masks straight to the output's size, and only where a query can still
win: on a CPU there is no buffer of queries x height x width; of instances the bits are kept, each
mask within its own window.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch.nn import functional

from seg_ros.core.labels import LabelSet
from seg_ros.core.types import Segmentation, segmentation_from_map, VOID
from seg_ros.models.contract import ModelOptions, Task
from seg_ros.models.postprocess import require_finite

CANDIDATES = 100
"""Instance: so many pairs of query and class are looked at, the best first."""

_NO_MASK = 1e-30  # probability x mask: float32 has no digits for what is much smaller
_TILE = 8  # cells of a mask along each axis that are judged together
_RIVALS = 4  # masks of a tile that may share it out
_SLACK = 1e-5  # of a logit: more than interpolation can round
_STRIP = 1 << 21  # values that semantic inference holds at a time


@dataclass(frozen=True, eq=False)
class Queries:
    """What a network says of one image."""

    class_logits: torch.Tensor  # (Q, C), or (Q, C + 1) with the null class last
    mask_logits: torch.Tensor  # (Q, h, w) on a coarse grid of cells
    extent: tuple[float, float] | None = None
    """Rows and columns of cells that the image covers, in part too; what follows is padding."""

    def grid(self, size: tuple[int, int]) -> Grid:
        """Return how (height, width) = size pixels lie among the cells of the masks."""
        masks = self.mask_logits
        return make_grid(self.extent or masks.shape[1:], size, masks.device)


@dataclass(frozen=True, eq=False)
class QueryContract:
    """How the queries of a network are meant."""

    label_set: LabelSet
    null_class: bool = True  # softmax with a null class; otherwise sigmoids, one class or several
    score_by_mask: bool = True  # an instance's score is also how sure its mask is of itself
    carried: bool = False  # a query follows its object from frame to frame: report it as slot
    used: tuple[int, ...] | None = None  # the network's class of each id; None: they are the ids

    def probabilities(self, class_logits: torch.Tensor) -> torch.Tensor:
        """Return the (Q, classes of the label set) probabilities of (Q, C or C + 1) logits."""
        logits = class_logits.float()
        every = logits.softmax(dim=1)[:, :-1] if self.null_class else logits.sigmoid()
        return every if self.used is None else every[:, list(self.used)]


def segment_queries(queries: Queries, *, size: tuple[int, int], task: Task,
                    contract: QueryContract, options: ModelOptions) -> Segmentation:
    """Return the (height, width) = size answer for a task; raises NotFiniteError.

    Panoptic: Cheng et al. 2021, "Mask2Former", with EoMT's rule that a pixel below one half of its
    owner's mask is void. Instance: Mask2Former's pairs of query and class, overlaps settled by
    score as in Kirillov et al. 2019. Semantic: Cheng et al. 2021, "MaskFormer", section 3.4.
    """
    require_finite((queries.class_logits, queries.mask_logits), model='the network')
    solve = {Task.PANOPTIC: _panoptic, Task.INSTANCE: _instance, Task.SEMANTIC: _semantic}[task]
    return solve(queries, queries.grid(size), contract, options)


@dataclass(frozen=True, eq=False)
class Axis:
    """How the pixels of one axis lie among the cells: bilinear, pixel centres at half."""

    low: torch.Tensor  # (n,) int64 cell at or before each pixel, counted from the span's first
    high: torch.Tensor  # (n,) int64 the cell after it, the last one at the end
    weight: torch.Tensor  # (n,) float32 of the cell after it
    span: slice  # cells with image, one that is covered in part included
    cells: tuple[int, ...]  # (n,) cell at or before each pixel, on the host
    starts: tuple[int, ...]  # (tiles + 1,) first pixel of each tile, and n

    def part(self, start: int, stop: int) -> Axis:
        """Return pixels start..stop, among the cells that they are made of alone."""
        first, pixels = self.cells[start], slice(start, stop)
        return Axis(low=self.low[pixels] - first, high=self.high[pixels] - first,
                    weight=self.weight[pixels], cells=self.cells[pixels], starts=(),
                    span=slice(first, min(self.cells[stop - 1] + 2, self.span.stop)))


@lru_cache(maxsize=16)
def make_axis(extent: float, pixels: int, device: torch.device) -> Axis:
    """Return how `pixels` pixels lie among the first `extent` cells of an axis.

    Where torch's `interpolate` puts them: cells a pixel, and then places, are rounded to float32.
    """
    limit = math.ceil(extent - 1e-6)
    scale = np.float64(np.float32(extent) / np.float32(pixels))
    places = ((np.arange(pixels) + 0.5) * scale - 0.5).clip(0, limit - 1).astype(np.float32)
    low = places.astype(np.int64)
    tiles = _TILE * np.arange(-(-limit // _TILE))
    return Axis(
        low=torch.from_numpy(low).to(device),
        high=torch.from_numpy(np.minimum(low + 1, limit - 1)).to(device),
        weight=torch.from_numpy(places - low.astype(np.float32)).to(device),
        span=slice(0, limit), cells=tuple(low.tolist()),
        starts=(*np.searchsorted(low, tiles).tolist(), pixels))


@dataclass(frozen=True, eq=False)
class Grid:
    """The pixels of an image among the cells of its masks."""

    rows: Axis
    columns: Axis

    @property
    def size(self) -> tuple[int, int]:
        """Return (height, width), pixels."""
        return len(self.rows.cells), len(self.columns.cells)

    def part(self, window: Window) -> Grid:
        """Return the pixels of a window."""
        return Grid(rows=self.rows.part(window.top, window.bottom),
                    columns=self.columns.part(window.left, window.right))

    def between(self, left: int, right: int) -> Grid:
        """Return the pixels of some columns."""
        return Grid(rows=self.rows, columns=self.columns.part(left, right))

    def resize(self, masks: torch.Tensor) -> torch.Tensor:
        """Return (..., height, width) pixels of (..., h, w) cells."""
        rows, columns = self.rows, self.columns
        cells = masks[..., rows.span, columns.span]
        wide = torch.lerp(cells.index_select(-1, columns.low),
                          cells.index_select(-1, columns.high), columns.weight)
        return torch.lerp(wide.index_select(-2, rows.low), wide.index_select(-2, rows.high),
                          rows.weight[:, None])

    def tiles(self, masks: torch.Tensor) -> Tiles:
        """Return the tiles of pixels over (K, h, w) masks."""
        cells = masks[:, self.rows.span, self.columns.span]
        # to one cell past a multiple: the pixels of a tile reach one cell into the next
        missing = (0, -cells.shape[2] % _TILE + 1, 0, -cells.shape[1] % _TILE + 1)
        return Tiles(cells=functional.pad(cells, missing, mode='replicate'), grid=self)


def make_grid(extent: Sequence[float], size: tuple[int, int], device: torch.device) -> Grid:
    """Return how (height, width) = size pixels lie among the first rows and columns of cells."""
    rows, columns = (make_axis(float(cells), pixels, device)
                     for cells, pixels in zip(extent, size, strict=True))
    return Grid(rows=rows, columns=columns)


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels, half-open."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Return the index into (H, W)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def size(self) -> tuple[int, int]:
        """Return (rows, columns); a tile has none where the image is smaller than its masks."""
        return self.bottom - self.top, self.right - self.left


@dataclass(frozen=True, eq=False)
class Tiles:
    """K masks within tiles of pixels; a tile's pixels are made of its cells alone."""

    cells: torch.Tensor  # (K, _TILE x tile rows + 1, _TILE x tile columns + 1) logits
    grid: Grid

    def reduce(self, reduction: Callable[..., torch.Tensor]) -> torch.Tensor:
        """Return (K, tile rows, tile columns): amax, amin or mean of the cells of each tile."""
        rows = reduction(self.cells.unfold(1, _TILE + 1, _TILE), dim=3)
        return reduction(rows.unfold(2, _TILE + 1, _TILE), dim=3)

    def where_it_matters(self, scores: torch.Tensor) -> torch.Tensor:
        """Return (K, tile rows, tile columns): a mask may win a pixel, or holds one.

        A mask gives a pixel no more than score x sigmoid of its highest cell. If the best pixel
        anywhere is sure to have more, the mask loses the whole tile.
        """
        highest = self.reduce(torch.amax)
        slack = _SLACK * (1 + self.reduce(torch.amin).abs().maximum(highest.abs()))
        at_best = (highest + slack).sigmoid() * scores[:, None, None]
        return (at_best >= self._least_best(scores, slack.amax(dim=0))) | (highest >= -slack)

    def _least_best(self, scores: torch.Tensor, slack: torch.Tensor) -> torch.Tensor:
        """Return (tile rows, tile columns): no pixel's best score x sigmoid is lower.

        The best of some masks is at least as good as their mean, which is interpolated as they
        are: so the lowest cell of the mean is a bound, even where one mask ends and the next
        begins. The masks with the highest means are tried: the first, the first two, and so on.
        """
        means = self.reduce(torch.mean)
        first = means.topk(min(_RIVALS, len(means)), dim=0).indices
        patches = self.cells.unfold(1, _TILE + 1, _TILE).unfold(2, _TILE + 1, _TILE)
        rows, columns = (torch.arange(count, device=means.device) for count in means.shape[1:])
        counts = torch.arange(1, len(first) + 1, device=means.device)[:, None, None]
        sums = patches[first, rows[:, None], columns].cumsum(dim=0)
        lowest = sums.amin(dim=(3, 4)) / counts
        weights = scores[first].cummin(dim=0).values
        return ((lowest - slack).sigmoid() * weights).amax(dim=0)

    @property
    def is_held(self) -> torch.Tensor:
        """Return (K, tile rows, tile columns): some pixel may be within the mask."""
        highest = self.reduce(torch.amax)
        return highest >= -_SLACK * (1 + highest.abs())

    def bands(self, matters: torch.Tensor) -> Iterator[tuple[Grid, list[tuple[int, Window]]]]:
        """Yield each row of tiles, and the masks that matter there, each with its window."""
        marks = matters.cpu().numpy()
        tops, lefts = self.grid.rows.starts, self.grid.columns.starts
        first = marks.argmax(axis=2)
        last = marks.shape[2] - marks[:, :, ::-1].argmax(axis=2)
        for band in range(marks.shape[1]):
            windows = [(int(k), Window(top=tops[band], bottom=tops[band + 1],
                                       left=lefts[first[k, band]], right=lefts[last[k, band]]))
                       for k in np.flatnonzero(marks[:, band].any(axis=1))]
            if tops[band + 1] > tops[band]:
                rows = self.grid.rows.part(tops[band], tops[band + 1])
                yield (Grid(rows=rows, columns=self.grid.columns),
                       [(k, window) for k, window in windows if all(window.size)])

    def windows(self, matters: torch.Tensor) -> list[Window]:
        """Return the window of each mask; without pixels where nothing matters."""
        marks = matters.cpu().numpy()
        return [_around(mark, self.grid) for mark in marks]


def _around(mark: NDArray[np.bool_], grid: Grid) -> Window:
    """Return the window around the marked tiles."""
    rows, columns = np.flatnonzero(mark.any(axis=1)), np.flatnonzero(mark.any(axis=0))
    if len(rows) == 0:
        return Window(top=0, bottom=0, left=0, right=0)
    tops, lefts = grid.rows.starts, grid.columns.starts
    return Window(top=tops[rows[0]], bottom=tops[rows[-1] + 1],
                  left=lefts[columns[0]], right=lefts[columns[-1] + 1])


@dataclass(frozen=True, eq=False)
class Owners:
    """Which of K masks wins each pixel."""

    owner: torch.Tensor  # (H, W) int32
    best: torch.Tensor  # (H, W) float32 score x sigmoid of the owner
    areas: torch.Tensor  # (K,) int64 pixels of each mask of at least one half


def find_owners(masks: torch.Tensor, scores: torch.Tensor, grid: Grid) -> Owners:
    """Return who wins, of (K, h, w) mask logits with (K,) scores: the first of equals.

    On a CPU a pass over the masks, each where it may win a pixel; elsewhere band by band at once.
    """
    find = _find_one_by_one if masks.device.type == 'cpu' else _find_at_once
    return find(masks, scores, grid)


def _find_one_by_one(masks: torch.Tensor, scores: torch.Tensor, grid: Grid) -> Owners:
    """Keep a running maximum, and its owner, over the masks that matter in each band."""
    owner = torch.zeros(grid.size, dtype=torch.int32, device=masks.device)
    best = torch.full(grid.size, -1.0, device=masks.device)
    areas = torch.zeros(len(masks), dtype=torch.int64, device=masks.device)
    tiles = grid.tiles(masks)
    weights = scores.tolist()
    for band, windows in tiles.bands(tiles.where_it_matters(scores)):
        for k, window in windows:
            part = band.between(window.left, window.right)
            weighed = part.resize(masks[k]).sigmoid_().mul_(weights[k])
            areas[k] += torch.count_nonzero(weighed >= 0.5 * weights[k])
            here = best[window.slices]
            owner[window.slices].masked_fill_(weighed > here, k)
            torch.maximum(here, weighed, out=here)
    return Owners(owner=owner, best=best, areas=areas)


def _find_at_once(masks: torch.Tensor, scores: torch.Tensor, grid: Grid) -> Owners:
    """Take the maximum over all masks, one band of rows after the other."""
    weights = scores[:, None, None]
    owner, best, areas = [], [], []
    for strip in strips(grid, len(masks)):
        weighed = strip.resize(masks).sigmoid_().mul_(weights)
        values, rows = weighed.max(dim=0)
        owner.append(rows.to(torch.int32))
        best.append(values)
        areas.append((weighed >= 0.5 * weights).sum(dim=(1, 2)))
    return Owners(owner=torch.cat(owner), best=torch.cat(best),
                  areas=torch.stack(areas).sum(dim=0))


def strips(grid: Grid, layers: int) -> Iterator[Grid]:
    """Yield the grid in strips of rows such that `layers` of them are no large buffer."""
    height, width = grid.size
    limit = _STRIP if grid.rows.low.device.type == 'cpu' else 64 * _STRIP
    step = max(1, limit // (layers * width))
    for top in range(0, height, step):
        yield grid.part(Window(top=top, bottom=min(top + step, height), left=0, right=width))


def _panoptic(queries: Queries, grid: Grid, contract: QueryContract, options: ModelOptions
              ) -> Segmentation:
    """Give each pixel to the query with the largest score x mask; drop what wins too little."""
    scores, class_ids = contract.probabilities(queries.class_logits).max(dim=1)
    takes_part = _is_object(queries, contract) & (scores > options.query_threshold)
    rows = torch.nonzero(takes_part)[:, 0]
    if len(rows) == 0:
        return _all_void(grid, contract, options)
    scores = scores[rows]
    found = find_owners(queries.mask_logits[rows].float(), scores, grid)
    # the score is a factor of both sides, so this is exactly sigmoid >= one half
    solid = found.best >= (0.5 * scores)[found.owner.flatten()].view(grid.size)
    codes = 2 * found.owner + solid
    counts = torch.bincount(codes.flatten(), minlength=2 * len(rows)).view(-1, 2)
    kept = _large_enough(counts.cpu().numpy(), found.areas.cpu().numpy(), options.query_kept_share)
    return _published(codes, found.best, _Segments(
        kept=kept, class_ids=class_ids[rows].cpu().numpy().astype(np.uint8),
        scores=scores.cpu().numpy(), rows=rows.cpu().numpy()), contract, options)


def _is_object(queries: Queries, contract: QueryContract) -> torch.Tensor:
    """Return (Q,): the best of all classes is one of the label set, not the null class."""
    best = queries.class_logits.argmax(dim=1)
    used = contract.used or range(len(contract.label_set))
    return torch.isin(best, torch.tensor(used, device=best.device))


def _large_enough(won: NDArray[np.int64], areas: NDArray[np.int64], kept_share: float
                  ) -> NDArray[np.bool_]:
    """Return (K,): has a solid pixel, and wins enough of the (K,) area of its mask.

    won is (K, 2): pixels where the owner's mask is below one half, and where it is not.
    """
    share = won.sum(axis=1) / np.maximum(areas, 1)
    return (won[:, 1] > 0) & (share >= kept_share)


@dataclass(frozen=True, eq=False)
class _Segments:
    """What the K queries that take part stand for."""

    kept: NDArray[np.bool_]  # (K,)
    class_ids: NDArray[np.uint8]  # (K,)
    scores: NDArray[np.float32]  # (K,)
    rows: NDArray[np.int64]  # (K,) of the queries


def _published(codes: torch.Tensor, best: torch.Tensor, segments: _Segments,
               contract: QueryContract, options: ModelOptions) -> Segmentation:
    """Return the answer of (H, W) codes 2 k (owned by k, void) and 2 k + 1 (owned and solid)."""
    is_thing = contract.label_set.is_thing()[segments.class_ids] & segments.kept
    class_of_code = np.full((len(segments.kept), 2), VOID, np.uint8)
    class_of_code[segments.kept, 1] = segments.class_ids[segments.kept]
    value_of_code = np.zeros((len(segments.kept), 2), np.int32)
    value_of_code[is_thing, 1] = np.arange(1, is_thing.sum() + 1)
    class_map = _look_up(class_of_code, codes)
    rows = segments.rows[is_thing]
    return segmentation_from_map(
        class_map=class_map.cpu().numpy(),
        instance_map=_look_up(value_of_code, codes).cpu().numpy(),
        class_ids=segments.class_ids[is_thing], scores=segments.scores[is_thing],
        confidence=_bytes(best * (class_map != VOID)) if options.confidence else None,
        slots=rows if contract.carried else None)


def _look_up(table: NDArray[Any], codes: torch.Tensor) -> torch.Tensor:
    """Return the entries of a table at (H, W) codes, on the codes' device."""
    entries = torch.from_numpy(table.reshape(-1)).to(codes.device)
    return entries.index_select(0, codes.flatten()).view(codes.shape)


def _bytes(probabilities: torch.Tensor) -> NDArray[np.uint8]:
    """Return (H, W) round(255 p)."""
    return (255 * probabilities).round_().to(torch.uint8).cpu().numpy()


def _all_void(grid: Grid, contract: QueryContract, options: ModelOptions) -> Segmentation:
    """Return the answer of no query."""
    return segmentation_from_map(
        class_map=np.full(grid.size, VOID, np.uint8), instance_map=np.zeros(grid.size, np.int32),
        class_ids=(), scores=(), slots=np.zeros(0, np.int64) if contract.carried else None,
        confidence=np.zeros(grid.size, np.uint8) if options.confidence else None)


def best_classes(sums: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the largest of (C, ...) sums of classes, and its class, void where no mask says any.

    Far from every mask all sums are zero or its rounding, and any class would be a guess.
    """
    best, class_ids = sums.max(dim=0)
    return best, class_ids.to(torch.uint8).masked_fill_(best < _NO_MASK, VOID)


def _semantic(queries: Queries, grid: Grid, contract: QueryContract, options: ModelOptions
              ) -> Segmentation:
    """Give each pixel the class with the largest sum of probability x mask over the queries."""
    shares = contract.probabilities(queries.class_logits).T.contiguous()
    masks = queries.mask_logits.float()
    classes, confidences = [], []
    for strip in strips(grid, sum(shares.shape)):
        seen = strip.resize(masks).sigmoid_().flatten(1)
        sums = shares @ seen
        best, class_ids = best_classes(sums)
        classes.append(class_ids.view(strip.size))
        if options.confidence:
            confidences.append((best / sums.sum(dim=0).clamp(min=1e-12)).view(strip.size))
    class_map = torch.cat(classes)
    return segmentation_from_map(
        class_map=class_map.cpu().numpy(), instance_map=np.zeros(grid.size, np.int32),
        class_ids=(), scores=(),
        confidence=_bytes(torch.cat(confidences)) if confidences else None)


def _instance(queries: Queries, grid: Grid, contract: QueryContract, options: ModelOptions
              ) -> Segmentation:
    """Settle the overlaps of the best pairs of query and thing class, the best score first."""
    pairs = _best_pairs(queries, contract, options.score_threshold)
    if len(pairs.rows) == 0:
        return _all_void(grid, contract, options)
    rows, places = torch.unique(pairs.rows, return_inverse=True)
    parts = _parts(queries.mask_logits[rows].float(), grid)
    scores = pairs.scores * parts.certainty[places] if contract.score_by_mask else pairs.scores
    order = torch.argsort(scores, descending=True, stable=True)
    order = order[scores[order] >= options.score_threshold]
    return _painted(parts, _Pairs(
        rows=pairs.rows[order], class_ids=pairs.class_ids[order], scores=scores[order]),
        places[order], grid, contract, options)


@dataclass(frozen=True, eq=False)
class _Pairs:
    """N pairs of a query and a class that it may be."""

    rows: torch.Tensor  # (N,) int64 of the queries
    class_ids: torch.Tensor  # (N,) int64
    scores: torch.Tensor  # (N,) float32


def _best_pairs(queries: Queries, contract: QueryContract, threshold: float) -> _Pairs:
    """Return the pairs of at least the threshold, the best first, at most CANDIDATES."""
    probabilities = contract.probabilities(queries.class_logits)
    things = torch.tensor(sorted(contract.label_set.thing_ids), dtype=torch.int64,
                          device=probabilities.device)
    values = probabilities[:, things].flatten()
    order = torch.argsort(values, descending=True, stable=True)[:CANDIDATES]
    # a mask can only make a score smaller
    order = order[values[order] >= threshold]
    if len(things) == 0:
        return _Pairs(rows=order, class_ids=order, scores=values)
    return _Pairs(rows=order // len(things), class_ids=things[order % len(things)],
                  scores=values[order])


@dataclass(frozen=True, eq=False)
class _Parts:
    """Masks at the output's size, each only where it is."""

    windows: list[Window]
    masks: list[torch.Tensor]  # (rows, columns) bool, one a window
    areas: torch.Tensor  # (K,) int64 pixels
    certainty: torch.Tensor  # (K,) float32 mean of sigmoid within the mask, 0 where it is empty


def _parts(masks: torch.Tensor, grid: Grid) -> _Parts:
    """Return the pixels above one half of (K, h, w) mask logits."""
    tiles = grid.tiles(masks)
    windows = tiles.windows(tiles.is_held)
    pixels, areas, sums = [], [], []
    for mask, window in zip(masks, windows, strict=True):
        logits = grid.part(window).resize(mask) if all(window.size) \
            else mask.new_zeros(window.size)
        pixels.append(logits > 0)
        areas.append(torch.count_nonzero(pixels[-1]))
        sums.append((logits.sigmoid_() * pixels[-1]).sum())
    area = torch.stack(areas)
    return _Parts(windows=windows, masks=pixels, areas=area,
                  certainty=torch.stack(sums) / area.clamp(min=1))


def _painted(parts: _Parts, pairs: _Pairs, places: torch.Tensor, grid: Grid,
             contract: QueryContract, options: ModelOptions) -> Segmentation:
    """Give each pixel one owner: pairs in falling order of score, as settle_overlaps does."""
    owner = torch.zeros(grid.size, dtype=torch.int32, device=pairs.rows.device)
    for value, place in enumerate(places.tolist(), start=1):
        mask, area, here = parts.masks[place], parts.areas[place], \
            owner[parts.windows[place].slices]
        free = mask & (here == 0)
        kept = area - free.sum() <= options.overlap_threshold * area
        here.masked_fill_(free & kept, value)
    class_ids = pairs.class_ids.cpu().numpy().astype(np.uint8)
    scores = pairs.scores.cpu().numpy()
    score_of_value = torch.cat((pairs.scores.new_zeros(1), pairs.scores))
    class_map = _look_up(np.concatenate((np.array([VOID], np.uint8), class_ids)), owner)
    return segmentation_from_map(
        class_map=class_map.cpu().numpy(), instance_map=owner.cpu().numpy(),
        class_ids=class_ids, scores=scores,
        slots=_first_of_each(pairs.rows.cpu().numpy()) if contract.carried else None,
        confidence=_bytes(score_of_value[owner]) if options.confidence else None)


def _first_of_each(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (N,) rows with -1 where one was there before: a query under a second class."""
    slots = np.full(len(rows), -1, np.int64)
    _, first = np.unique(rows, return_index=True)
    slots[first] = rows[first]
    return slots
