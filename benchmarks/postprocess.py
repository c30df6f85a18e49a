# SPDX-License-Identifier: Apache-2.0
"""The pairs for queries and class logits: our way to labels beside transformers' own."""
from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import torch
import transformers

from benchmarks.paired import Pair
from seg_ros.core.labels import LabelSet
from seg_ros.models.contract import ModelOptions, Task
from seg_ros.models.postprocess_labels import label_pixels
from seg_ros.models.postprocess_queries import Queries, QueryContract, segment_queries

SIZE = (720, 1280)
KEPT = 30  # queries that find something; the others are of the null class
_STUFF_SEGMENTS = 10
_THINGS, _CLASSES = 80, 133  # of COCO panoptic, things first
_STUFF = tuple(range(_THINGS, _CLASSES))
_LABEL_SET = LabelSet(tuple(f'class {i}' for i in range(_CLASSES)),
                      frozenset(f'class {i}' for i in range(_THINGS)))


def pairs() -> tuple[Pair, ...]:
    """Return the scenes of EoMT, Mask2Former and SegFormer at 720p, as published."""
    eomt = make_scene(queries=200, cells=(160, 160), image_cells=(90, 160))
    mask2former = make_scene(queries=100, cells=(200, 356), image_cells=(200, 356))
    return (_eomt_panoptic(eomt), _mask2former_panoptic(mask2former), _eomt_instance(eomt),
            _segformer())


@dataclass(frozen=True, eq=False)
class Scene:
    """What a network says of an image with many segments."""

    class_logits: torch.Tensor  # (Q, classes + 1)
    mask_logits: torch.Tensor  # (Q, h, w)
    image_cells: tuple[float, float]  # rows and columns that the image covers; padding follows

    def queries(self) -> Queries:
        """Return it for our side."""
        return Queries(self.class_logits, self.mask_logits, extent=self.image_cells)

    def outputs(self) -> SimpleNamespace:
        """Return it for the library's side."""
        return SimpleNamespace(masks_queries_logits=self.mask_logits[None],
                               class_queries_logits=self.class_logits[None])


def make_scene(*, queries: int, cells: tuple[int, int], image_cells: tuple[int, int]) -> Scene:
    """Return a seeded random scene: ten large segments of stuff and twenty small things.

    The kept masks share the image out among them, as in a picture where everything is something.
    Inside a mask is sure, outside it is sure that there is nothing, and the edge takes a few
    cells, as networks have it; queries of the null class repeat some of these masks.
    """
    generator = torch.Generator().manual_seed(0)
    middles = torch.rand((KEPT, 2), generator=generator) * torch.tensor(image_cells)
    radii = torch.where(torch.arange(KEPT) < _STUFF_SEGMENTS, 3.0, 1.0)
    y = torch.arange(cells[0])[:, None]
    x = torch.arange(cells[1])[None, :]
    away = torch.stack([torch.hypot(y - row, x - column) / radius for (row, column), radius
                        in zip(middles.tolist(), radii.tolist(), strict=True)])
    nearest, second = away.topk(2, dim=0, largest=False).values
    others = torch.where(away == nearest, second, nearest)
    noise = 0.3 * torch.randn((queries, *cells), generator=generator)
    masks = (3 * (others - away)).clamp(-9, 9)[torch.arange(queries) % KEPT] + noise
    classes = torch.randn((queries, _CLASSES + 1), generator=generator)
    ids = torch.full((queries,), _CLASSES)
    ids[:_STUFF_SEGMENTS] = torch.tensor(_STUFF[:_STUFF_SEGMENTS])
    ids[_STUFF_SEGMENTS:KEPT] = torch.randint(
        0, _THINGS, (KEPT - _STUFF_SEGMENTS,), generator=generator)
    classes[torch.arange(queries), ids] += 12
    return Scene(class_logits=classes, mask_logits=masks, image_cells=image_cells)


def _rival() -> str:
    return f'transformers {transformers.__version__}'


def _ours(scene: Scene, task: Task, *, score_threshold: float = 0.5, overlap_threshold: float = 0.5
          ) -> object:
    """Answer as the node does, labels on the host at the end."""
    return segment_queries(
        scene.queries(), size=SIZE, task=task, contract=QueryContract(_LABEL_SET),
        options=ModelOptions(score_threshold=score_threshold,
                             overlap_threshold=overlap_threshold))


def _eomt_processor() -> transformers.BaseImageProcessor:
    """Return the processor of the COCO checkpoints: the longer side to 640, then padded."""
    return transformers.EomtImageProcessor(
        size={'shortest_edge': 640, 'longest_edge': 640}, do_pad=True, do_split_image=False)


def _eomt_panoptic(scene: Scene) -> Pair:
    processor, outputs = _eomt_processor(), scene.outputs()
    return Pair(
        name=f'EoMT panoptic, {SIZE[1]}x{SIZE[0]}, 200 queries, {KEPT} kept',
        ours=lambda: _ours(scene, Task.PANOPTIC),
        theirs=lambda: processor.post_process_panoptic_segmentation(
            outputs, target_sizes=[SIZE], stuff_classes=list(_STUFF)),
        rival=_rival(), goal=5.0)


def _mask2former_panoptic(scene: Scene) -> Pair:
    processor, outputs = transformers.Mask2FormerImageProcessor(), scene.outputs()
    return Pair(
        name=f'Mask2Former panoptic, {SIZE[1]}x{SIZE[0]}, 100 queries, {KEPT} kept',
        ours=lambda: _ours(scene, Task.PANOPTIC),
        theirs=lambda: processor.post_process_panoptic_segmentation(
            outputs, threshold=0.8, target_sizes=[SIZE], label_ids_to_fuse=set(_STUFF)),
        rival=_rival(), goal=3.0)


def _eomt_instance(scene: Scene) -> Pair:
    processor, outputs = _eomt_processor(), scene.outputs()
    return Pair(
        name=f'EoMT instance, {SIZE[1]}x{SIZE[0]}, 200 queries, {KEPT} kept',
        ours=lambda: _ours(scene, Task.INSTANCE),
        theirs=lambda: processor.post_process_instance_segmentation(
            outputs, target_sizes=[SIZE], threshold=0.5),
        rival=_rival(), goal=5.0)


def _segformer() -> Pair:
    """Return the logits of a class each for the masks of a scene, at a quarter of the frame."""
    logits = make_scene(queries=KEPT, cells=(180, 320), image_cells=(180, 320)).mask_logits
    processor = transformers.SegformerImageProcessor()
    table = torch.arange(KEPT, dtype=torch.uint8)
    return Pair(
        name=f'SegFormer semantic, {SIZE[1]}x{SIZE[0]}, {KEPT} classes',
        ours=lambda: label_pixels(logits, size=SIZE, class_table=table, options=ModelOptions()),
        theirs=lambda: processor.post_process_semantic_segmentation(
            SimpleNamespace(logits=logits[None]), target_sizes=[SIZE]),
        rival=_rival(), goal=3.0)
