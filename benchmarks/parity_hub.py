# SPDX-License-Identifier: Apache-2.0
"""Small random models of the hub beside transformers, or beside the papers' loops."""
from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch.nn import functional
from tqdm import tqdm
import transformers

from benchmarks import paper_loops, tiny_hub
from benchmarks.parity import compare, Row
from seg_ros.models import load_model
from seg_ros.models.contract import ModelOptions, Task
from seg_ros.sim import Street

FRAMES = ((tiny_hub.SIZE, tiny_hub.SIZE), (180, 320))  # height, width
THING_IDS = frozenset(tiny_hub.NAMES.index(name) for name in tiny_hub.THINGS)
OPTIONS = {'query_threshold': 0.5, 'query_kept_share': 0.05, 'score_threshold': 0.3,
           'overlap_threshold': 1.0}
"""So that the many segments of random networks, which contradict each other, are seen."""

Maps = tuple[NDArray[np.uint8], NDArray[np.int32]]
_LIBRARY = f'transformers {transformers.__version__}'
_LOOP = "the paper's loop on the library's logits"


def rows() -> Iterator[Row]:
    """Compare every kind in every task that it serves."""
    with TemporaryDirectory() as folder:
        for kind in tqdm(tiny_hub.KINDS, desc='hub'):
            saved = tiny_hub.save(kind, Path(folder) / kind)
            for size in FRAMES:
                yield from rows_of(kind, saved, size)


def rows_of(kind: str, folder: Path, size: tuple[int, int]) -> Iterator[Row]:
    """Compare one kind on one frame, in every task that it serves."""
    # padding to a square and resizing twice are the library's own ways, which ours leaves out
    if kind in ('eomt', 'eomt_masked', 'eomt_dinov3') and size[0] != size[1]:
        return
    image = Street(seed=10_007, width=size[1], height=size[0]).frame(60).image
    model = load_model(f'huggingface/{folder}', ModelOptions())
    for task in sorted(model.tasks):
        model.options = ModelOptions(task=task, **OPTIONS)
        answer = model.predict([image])[0]
        reference, theirs = library_maps(kind, folder, image, task)
        yield compare(family=kind, task=str(task), reference=reference, theirs=theirs,
                      ours=(answer.class_map, answer.instance_map))


def library_maps(kind: str, folder: Path, image: NDArray[np.uint8], task: Task
                 ) -> tuple[str, Maps]:
    """Return the reference, and its maps of classes and instances."""
    processor = _processor(kind, folder)
    if kind == 'videomt':
        inputs = processor(videos=[[image]], return_tensors='pt')
    elif kind == 'oneformer':
        inputs = processor(images=image, task_inputs=[str(task)], return_tensors='pt')
    else:
        inputs = processor(images=image, return_tensors='pt')
    offsets = inputs.pop('patch_offsets', None)
    with torch.inference_mode():
        outputs = _network(folder)(**inputs)
    size = image.shape[:2]
    if kind == 'eomt_windows':
        outputs.patch_offsets = offsets
    if kind in ('segformer', 'upernet', 'eomt_windows'):
        classes = processor.post_process_semantic_segmentation(outputs, target_sizes=[size])[0]
        return _LIBRARY, (classes.numpy().astype(np.uint8), np.zeros(size, np.int32))
    if kind == 'rf_detr':
        return _LIBRARY, _maps(processor.post_process_instance_segmentation(
            outputs, target_sizes=[size], threshold=OPTIONS['score_threshold'])[0], range(5))
    if kind == 'videomt' and task is Task.PANOPTIC:
        return _LIBRARY, _maps(processor.post_process_panoptic_segmentation(
            outputs, target_sizes=[size], threshold=OPTIONS['query_threshold'],
            overlap_mask_area_threshold=OPTIONS['query_kept_share'],
            label_ids_to_fuse=[0, 1, 2])[0], THING_IDS)
    if kind.startswith('eomt') and task is Task.PANOPTIC:
        return _LIBRARY, _maps(processor.post_process_panoptic_segmentation(
            outputs, target_sizes=[size], threshold=OPTIONS['query_threshold'],
            overlap_mask_area_threshold=OPTIONS['query_kept_share'],
            stuff_classes=[0, 1, 2])[0], THING_IDS)
    return _LOOP, _told(outputs, size, task)


@lru_cache(maxsize=1)
def _network(folder: Path) -> Any:
    """Return the library's own network."""
    name = transformers.AutoConfig.from_pretrained(folder).architectures[0]
    return getattr(transformers, name).from_pretrained(folder, local_files_only=True).eval()


def _processor(kind: str, folder: Path) -> Any:
    """Return the library's own preprocessing."""
    if kind == 'videomt':
        return transformers.VideomtVideoProcessor.from_pretrained(folder)
    if kind == 'oneformer':
        return transformers.OneFormerProcessor.from_pretrained(folder)
    return transformers.AutoImageProcessor.from_pretrained(folder)


def _maps(answer: dict[str, Any], thing_ids: Any) -> Maps:
    """Return the maps of the library's segment ids and their list."""
    ids = answer['segmentation'].numpy().astype(int)
    class_map, instance_map = np.full(ids.shape, 255, np.uint8), np.zeros(ids.shape, np.int32)
    for entry in sorted(answer['segments_info'], key=lambda entry: entry['id']):
        mine = ids == entry['id']
        class_map[mine] = entry['label_id']
        if entry['label_id'] in thing_ids and mine.any():
            instance_map[mine] = instance_map.max() + 1
    return class_map, instance_map


def _told(outputs: Any, size: tuple[int, int], task: Task) -> Maps:
    """Return the maps that the papers' loops make of the library's logits."""
    classes = outputs.class_queries_logits[0]
    logits = functional.interpolate(outputs.masks_queries_logits, size=size, mode='bilinear')[0]
    if task is Task.SEMANTIC:
        best = paper_loops.class_sums(classes, logits).argmax(dim=0)
        return best.numpy().astype(np.uint8), np.zeros(size, np.int32)
    told = paper_loops.panoptic(
        classes, logits, thing_ids=THING_IDS, object_threshold=OPTIONS['query_threshold'],
        overlap_threshold=OPTIONS['query_kept_share']) if task is Task.PANOPTIC else \
        paper_loops.instances(classes, logits, thing_ids=THING_IDS,
                              score_threshold=OPTIONS['score_threshold'],
                              overlap_threshold=OPTIONS['overlap_threshold'])
    return told.class_map, told.instance_map
