# SPDX-License-Identifier: Apache-2.0
"""From the outputs of each of the four contracts to a Segmentation; what does not fit is said."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from seg_ros.core.types import Segmentation, segmentation_from_map, VOID
from seg_ros.models.contract import ModelOptions, Task
from seg_ros.models.own.description import (
    BoxesMasks,
    CenterOffset,
    Classes,
    Description,
    QueryMasks,
    SemanticLogits,
)
from seg_ros.models.own.preparation import Prepared
from seg_ros.models.postprocess import (
    find_centres,
    own_pixels,
    paint_crops,
    pixel_of_cell,
    require_finite,
    settle_overlaps,
)
from seg_ros.models.postprocess_labels import label_pixels
from seg_ros.models.postprocess_queries import (
    Grid,
    make_grid,
    Queries,
    QueryContract,
    segment_queries,
)

_MOST_TASKS = (Task.PANOPTIC, Task.INSTANCE, Task.SEMANTIC)


class Reader(Protocol):
    """Reads the outputs of a contract, in the order of its roles."""

    def __call__(self, outputs: Sequence[torch.Tensor], frame: Prepared, options: ModelOptions
                 ) -> Segmentation:
        """Return the answer; raises ValueError where shapes do not fit, NotFiniteError."""
        ...


def reader_of(description: Description, device: torch.device) -> Reader:
    """Return what reads the outputs of a description's network."""
    contract, classes = description.contract, description.classes
    if isinstance(contract, SemanticLogits):
        return LogitsReader(classes, device)
    if isinstance(contract, QueryMasks):
        return QueryReader(contract, classes, description.tasks)
    if isinstance(contract, BoxesMasks):
        return BoxesReader(contract, classes, device)
    return CenterReader(contract, classes, device)


def _without_batch(output: torch.Tensor, name: str, axes: str) -> torch.Tensor:
    """Return an output without its batch of one; axes are the names of those that remain."""
    rank = len(axes.split(','))
    if output.is_complex():
        raise ValueError(f'its output for {name} has complex numbers, expected real ones')
    if rank > 1 and 0 in output.shape[1 - rank:]:  # no instance or query is an answer too
        raise ValueError(f'its output for {name} is empty: {tuple(output.shape)}')
    if output.ndim == rank + 1 and len(output) == 1:
        return output[0]
    if output.ndim == rank:
        return output
    raise ValueError(f'its output for {name} is {tuple(output.shape)}, expected (1, {axes})')


def _expect(found: int, expected: int, what: str) -> None:
    """Raise ValueError where two counts differ."""
    if found != expected:
        raise ValueError(f'{what} is {found}, expected {expected}')


def _grid(frame: Prepared, cells: torch.Tensor) -> Grid:
    """Return how the pixels of the image lie among (..., h, w) cells over the whole input."""
    return make_grid(frame.extent(cells.shape[-2:]), frame.size, cells.device)


def _label(logits: torch.Tensor, frame: Prepared, classes: Classes, table: torch.Tensor,
           options: ModelOptions) -> Segmentation:
    """Return the classes of (C, h, w) logits."""
    _expect(len(logits), len(classes.channels), 'its number of class logits')
    return label_pixels(logits, size=frame.size, class_table=table, options=options,
                        grid=_grid(frame, logits) if frame.is_padded else None)


class LogitsReader:
    """semantic_logits."""

    def __init__(self, classes: Classes, device: torch.device) -> None:
        """Put the class table on the device."""
        self._classes = classes
        self._table = torch.from_numpy(classes.table()).to(device)

    def __call__(self, outputs: Sequence[torch.Tensor], frame: Prepared, options: ModelOptions
                 ) -> Segmentation:
        """Return the class of each pixel."""
        logits = _without_batch(outputs[0], 'logits', 'classes, rows, columns')
        return _label(logits, frame, self._classes, self._table, options)


class QueryReader:
    """query_masks."""

    def __init__(self, contract: QueryMasks, classes: Classes, tasks: frozenset[Task]) -> None:
        """Say how the queries are meant."""
        self._channels = len(classes.channels) + contract.null_class
        self._task = next(task for task in _MOST_TASKS if task in tasks)
        self._contract = QueryContract(
            classes.label_set, null_class=contract.null_class, used=classes.used,
            score_by_mask=contract.score_by_mask)

    def __call__(self, outputs: Sequence[torch.Tensor], frame: Prepared, options: ModelOptions
                 ) -> Segmentation:
        """Return what the queries found, for the task of the options."""
        classes = _without_batch(outputs[0], 'classes', 'queries, classes')
        masks = _without_batch(outputs[1], 'masks', 'queries, rows, columns')
        _expect(len(masks), len(classes), 'its number of masks')
        null = ' with the null class' if self._contract.null_class else ''
        _expect(classes.shape[1], self._channels, f'its number of class logits{null}')
        queries = Queries(classes, masks, extent=frame.extent(masks.shape[1:]))
        return segment_queries(queries, size=frame.size, task=options.task or self._task,
                               contract=self._contract, options=options)


class BoxesReader:
    """boxes_masks."""

    def __init__(self, contract: BoxesMasks, classes: Classes, device: torch.device) -> None:
        """Put the class table on the device."""
        self._contract = contract
        self._table = torch.from_numpy(classes.table()).to(device)

    def __call__(self, outputs: Sequence[torch.Tensor], frame: Prepared, options: ModelOptions
                 ) -> Segmentation:
        """Return the instances; those that are no class are left out."""
        boxes, numbers, scores, masks = self._checked(outputs)
        require_finite((boxes, numbers, scores, masks), model='the network')
        class_ids = self._class_ids(numbers)
        kept = (class_ids != VOID) & (_probabilities(scores, 'scores') >= options.score_threshold)
        masks = masks[kept].float()
        masks = masks.sigmoid() if self._contract.mask_values == 'logits' \
            else _probabilities(masks, 'masks')
        boxes, class_ids, scores = boxes[kept].float(), class_ids[kept], scores[kept].float()
        if self._contract.mask_frame == 'input':
            return _settle(masks, class_ids, scores, frame, options)
        return paint_crops(crops=masks, boxes=self._in_image(boxes, frame), class_ids=class_ids,
                           scores=scores, size=frame.size, options=options)

    def _checked(self, outputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Return boxes, class numbers, scores and masks, one row an instance."""
        boxes = _without_batch(outputs[0], 'boxes', 'instances, 4')
        numbers = _without_batch(outputs[1], 'classes', 'instances')
        scores = _without_batch(outputs[2], 'scores', 'instances')
        masks = outputs[3]
        if masks.ndim == 4 and masks.shape[1] == 1 and len(masks) == len(boxes):
            masks = masks[:, 0]  # a mask is one channel of its instance
        masks = _without_batch(masks, 'masks', 'instances, rows, columns')
        _expect(boxes.shape[1], 4, 'its number of values of a box')
        for rows, name in ((numbers, 'classes'), (scores, 'scores'), (masks, 'masks')):
            _expect(len(rows), len(boxes), f'its number of {name}')
        if self._contract.mask_frame == 'box' and masks.shape[1] != masks.shape[2]:
            raise ValueError(f'its masks are {masks.shape[1]}x{masks.shape[2]}, expected square '
                             'crops of their boxes, or `mask_frame: input`')
        return boxes, numbers, scores, masks

    def _class_ids(self, numbers: torch.Tensor) -> torch.Tensor:
        """Return the (N,) uint8 ids of class numbers, 255 where one is no class."""
        count = len(self._table)
        if numbers.is_floating_point() and not torch.equal(numbers, numbers.round()):
            raise ValueError('its class numbers are not whole: name the outputs of each role')
        if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < count:
            raise ValueError(f'its class numbers are {int(numbers.min())} to '
                             f'{int(numbers.max())}, expected 0 to {count - 1}: `classes` names '
                             'one for each, ~ where there is none')
        return self._table[numbers.long()]

    def _in_image(self, boxes: torch.Tensor, frame: Prepared) -> torch.Tensor:
        """Return (N, 4) xyxy in pixels of the image."""
        if self._contract.box_format == 'cxcywh':
            half = boxes[:, 2:] / 2
            boxes = torch.cat((boxes[:, :2] - half, boxes[:, :2] + half), dim=1)
        sides = frame.pixels.shape[2:] if self._contract.box_unit == 'input' else (1, 1)
        factors = [size * side / shown for size, side, shown in zip(
            frame.size, sides, frame.shown, strict=True)]
        return boxes * torch.tensor([factors[1], factors[0]] * 2, device=boxes.device)


def _probabilities(values: torch.Tensor, name: str) -> torch.Tensor:
    """Return values that are all in [0, 1]; raises ValueError."""
    # a rounding beyond 1 is none of the network's faults
    if values.numel() and not -1e-3 <= float(values.min()) <= float(values.max()) <= 1.001:
        raise ValueError(f'its {name} are {float(values.min()):.3g} to '
                         f'{float(values.max()):.3g}, expected probabilities from 0 to 1')
    return values.clamp(0, 1)


def _settle(masks: torch.Tensor, class_ids: torch.Tensor, scores: torch.Tensor, frame: Prepared,
            options: ModelOptions) -> Segmentation:
    """Return the instances of (N, h, w) masks over the whole input."""
    grid = _grid(frame, masks)
    whole = [grid.resize(mask) > 0.5 for mask in masks]  # one at a time: floats of all are large
    pixels = torch.stack(whole) if whole else masks.new_zeros((0, *frame.size), dtype=torch.bool)
    return settle_overlaps(masks=pixels, class_ids=class_ids, scores=scores.clamp(0, 1),
                           options=options)


class CenterReader:
    """center_offset: Cheng et al. 2020, "Panoptic-DeepLab", section 3.3."""

    def __init__(self, contract: CenterOffset, classes: Classes, device: torch.device) -> None:
        """Put the tables on the device."""
        self._contract = contract
        self._classes = classes
        self._table = torch.from_numpy(classes.table()).to(device)
        label_set = classes.label_set
        self._thing_ids = torch.tensor([label_set.id_of(name) for name in classes.things],
                                       device=device)

    def __call__(self, outputs: Sequence[torch.Tensor], frame: Prepared, options: ModelOptions
                 ) -> Segmentation:
        """Return the classes, and the instances of things: each pixel's nearest centre."""
        logits = _without_batch(outputs[0], 'semantic', 'classes, rows, columns')
        centres, offsets = self._checked(outputs, frame)
        require_finite((logits, centres, offsets), model='the network')
        seen = _label(logits, frame, self._classes, self._table, options)
        class_map = torch.from_numpy(seen.class_map).to(logits.device)
        scores = centres.float().sigmoid() if self._contract.centre_values == 'logits' \
            else _probabilities(centres.float(), 'centres')
        found = find_centres(scores, threshold=options.score_threshold,
                             stride=self._contract.stride, window=self._contract.window)
        owner = own_pixels(
            class_map, self._votes(offsets.float()), found, things=len(centres),
            layer_of_class=self._layers(len(centres)), cells=_cells(frame, offsets),
            reach=self._contract.reach, min_area=options.min_area)
        class_of_owner = self._classes_of(found.things, owner, class_map) \
            if len(centres) == 1 else self._thing_ids[found.things]
        return _counted(seen, owner, class_of_owner, found.scores)

    def _checked(self, outputs: Sequence[torch.Tensor], frame: Prepared
                 ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (1 or things, h, w) centres and (2, h, w) offsets."""
        centres = _without_batch(outputs[1], 'centres', 'maps, rows, columns')
        offsets = _without_batch(outputs[2], 'offsets', '2, rows, columns')
        _expect(len(offsets), 2, 'its number of offsets of a cell')
        things = len(self._thing_ids)
        if len(centres) not in (1, things):
            raise ValueError(f'its number of maps of centres is {len(centres)}, expected 1 for '
                             f'all things or {things}, one for each')
        cells = tuple(-(-side // self._contract.stride) for side in frame.pixels.shape[2:])
        for output, name in ((centres, 'centres'), (offsets, 'offsets')):
            if tuple(output.shape[1:]) != cells:
                raise ValueError(
                    f'its output for {name} has {output.shape[1]}x{output.shape[2]} cells, '
                    f'expected {cells[0]}x{cells[1]}: a stride of {self._contract.stride} in an '
                    f'input of {frame.pixels.shape[2]}x{frame.pixels.shape[3]}')
        return centres, offsets

    def _votes(self, offsets: torch.Tensor) -> torch.Tensor:
        """Return (2, h, w) rows, columns of the input where each cell believes its centre."""
        if self._contract.offset_order == 'xy':
            offsets = offsets.flip(0)
        places = torch.meshgrid(*(
            pixel_of_cell(torch.arange(cells, device=offsets.device), stride=self._contract.stride)
            for cells in offsets.shape[1:]), indexing='ij')
        return offsets * self._contract.offset_unit + torch.stack(places)

    def _layers(self, maps: int) -> torch.Tensor:
        """Return (256,) class id -> 0 for stuff, else 1 + its map of centres."""
        layers = torch.zeros(256, dtype=torch.int64, device=self._thing_ids.device)
        layers[self._thing_ids] = 1 if maps == 1 else torch.arange(
            1, maps + 1, device=layers.device)
        return layers

    def _classes_of(self, things: torch.Tensor, owner: torch.Tensor, class_map: torch.Tensor
                    ) -> torch.Tensor:
        """Return (K,) the most frequent class among the pixels of each centre."""
        votes = torch.bincount(
            owner.flatten().long() * 256 + class_map.flatten(),
            minlength=256 * (len(things) + 1)).view(-1, 256)
        return votes[1:].argmax(dim=1)


def _cells(frame: Prepared, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the row of cells of each row of pixels, and the column of each column."""
    rows, columns = (
        ((torch.arange(pixels, device=cells.device) + 0.5) * (extent / pixels)).long()
        .clamp(max=count - 1)
        for extent, pixels, count in zip(
            frame.extent(cells.shape[-2:]), frame.size, cells.shape[-2:], strict=True))
    return rows, columns


def _counted(seen: Segmentation, owner: torch.Tensor, class_of_owner: torch.Tensor,
             scores: torch.Tensor) -> Segmentation:
    """Return a semantic answer with the instances of an (H, W) map of 0 or 1 + row."""
    instance_map = owner.cpu().numpy()
    class_ids = class_of_owner.to(torch.uint8).cpu().numpy()
    own = np.concatenate((np.array([VOID], np.uint8), class_ids))[instance_map]
    return segmentation_from_map(
        class_map=np.where(instance_map > 0, own, seen.class_map).astype(np.uint8),
        instance_map=instance_map, class_ids=class_ids, scores=scores.cpu().numpy(),
        confidence=seen.confidence)
