# SPDX-License-Identifier: Apache-2.0
"""Lays instances over a semantic map, and packs class and instance into one number."""
from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from seg_ros.core.labels import ClassRemap, LabelSet
from seg_ros.core.types import Instances, look_up, Segmentation, segmentation_from_map, VOID

INSTANCE_LIMIT = 1 << 15
"""Packed instance values stay below this, so that a signed 32-bit pixel never turns negative."""
CITYSCAPES_FACTOR = 1000


class PanopticEncoding(StrEnum):
    """How class and instance share one int32."""

    INSTANCE_HIGH = 'instance_high'  # (instance << 16) | class: SemanticKITTI, Hydra's receiver
    CLASS_HIGH = 'class_high'  # (class << 16) | instance: MIT semantic_inference
    CITYSCAPES = 'cityscapes'  # class * 1000 + k with an instance, else the bare class


def fuse(*, semantic: Segmentation, instance: Segmentation, fused: ClassRemap) -> Segmentation:
    """Lay an instance result over a semantic one of the same size.

    The merge of Kirillov et al. 2019 ("Panoptic Segmentation", section 7) after its overlap
    rule, which the instance model has applied while masks existed: each instance keeps its
    pixels, the semantic class stays where none is. `fused` maps the instance model's class ids
    into the fused label set; instances of a class that it drops are dropped. A semantic thing
    pixel without an instance keeps its class.
    """
    if semantic.size != instance.size:
        raise ValueError(f'semantic map is {semantic.size}, instance map is {instance.size}, '
                         'expected one size')
    class_ids = fused.table[instance.instances.class_ids]
    kept = keep_instances(instance, class_ids != VOID)
    instances = replace(kept.instances, class_ids=class_ids[class_ids != VOID])
    owned = kept.instance_map > 0
    class_of_value = np.concatenate((np.array([VOID], np.uint8), instances.class_ids))
    return Segmentation(
        class_map=_lay_over(semantic.class_map, look_up(class_of_value, kept.instance_map),
                            where=owned),
        instance_map=kept.instance_map, instances=instances,
        confidence=None if semantic.confidence is None else _lay_over(
            semantic.confidence, _score_bytes(kept), where=owned))


def _lay_over(below: NDArray[np.uint8], above: NDArray[np.uint8] | np.uint8, *,
              where: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return what lies above where the mask says so, and what is below elsewhere."""
    # three times as fast as np.where
    result = below.copy()
    np.copyto(result, above, where=where)
    return result


def _score_bytes(segmentation: Segmentation) -> NDArray[np.uint8]:
    """Return (H, W) round(255 score) of the instance of each pixel, 0 where none is."""
    scores = np.concatenate(([0.0], segmentation.instances.scores))
    return look_up(np.round(255 * scores).astype(np.uint8), segmentation.instance_map)


def semantic_part(segmentation: Segmentation) -> Segmentation:
    """Return the class map alone, as a semantic model gives it."""
    return replace(segmentation, instances=Instances.empty(),
                   instance_map=np.zeros_like(segmentation.instance_map))


def instance_part(segmentation: Segmentation) -> Segmentation:
    """Return the instances alone: void outside of them, as an instance model gives it."""
    outside = segmentation.instance_map == 0
    confidence = segmentation.confidence
    return replace(
        segmentation,
        class_map=_lay_over(segmentation.class_map, np.uint8(VOID), where=outside),
        confidence=None if confidence is None else _lay_over(
            confidence, np.uint8(0), where=outside))


def remap(segmentation: Segmentation, classes: ClassRemap) -> Segmentation:
    """Return the segmentation in the user's classes; dropped classes become void, uncounted."""
    class_ids = classes.table[segmentation.instances.class_ids]
    counted = classes.label_set.is_thing()[class_ids]
    class_map = look_up(classes.table, segmentation.class_map)
    confidence = segmentation.confidence
    if confidence is not None:
        confidence = _lay_over(confidence, np.uint8(0), where=class_map == VOID)
    return keep_instances(
        replace(segmentation, class_map=class_map, confidence=confidence,
                instances=replace(segmentation.instances, class_ids=class_ids)), counted)


def keep_instances(segmentation: Segmentation, keep: NDArray[np.bool_]) -> Segmentation:
    """Return the segmentation with only the instances of the (N,) mask; classes stay."""
    if keep.all():
        return segmentation
    new_value = np.zeros(len(keep) + 1, np.int32)
    new_value[1:][keep] = np.arange(1, keep.sum() + 1)
    return replace(segmentation, instance_map=look_up(new_value, segmentation.instance_map),
                   instances=segmentation.instances.take(keep))


def resize(segmentation: Segmentation, *, width: int, height: int) -> Segmentation:
    """Return the segmentation at another size by nearest neighbour (pixel centres)."""
    old_height, old_width = segmentation.size
    if (old_height, old_width) == (height, width):
        return segmentation
    rows = nearest_indices(old_height, height)
    columns = nearest_indices(old_width, width)
    instance_map = segmentation.instance_map[rows][:, columns]
    old = segmentation.instances
    confidence = segmentation.confidence
    resized = segmentation_from_map(
        class_map=segmentation.class_map[rows][:, columns],
        instance_map=instance_map,
        class_ids=old.class_ids, scores=old.scores,
        confidence=None if confidence is None else confidence[rows][:, columns], slots=old.slots)
    if not old.track_ids.any():
        return resized
    survived = np.bincount(instance_map.ravel(), minlength=len(old) + 1)[1:] > 0
    return replace(resized, instances=replace(resized.instances,
                                              track_ids=old.track_ids[survived]))


def nearest_indices(old: int, new: int) -> NDArray[np.intp]:
    """Return the (new,) old pixel of an axis whose centre is nearest to each new one."""
    return (2 * np.arange(new) + 1) * old // (2 * new)


def fold_ids(ids: NDArray[np.int64], *, limit: int) -> NDArray[np.int64]:
    """Return (N,) unique values in 1..limit-1: small ids stay, large ones wrap around.

    Long-lived track ids outgrow the packed field; a wrapped value moves on to the next free one
    while another id of the frame has it. Raises ValueError where the ids do not fit at all.
    """
    if len(ids) >= limit:
        raise ValueError(f'{len(ids)} instances in one frame, expected below {limit}')
    folded = np.where(ids < limit, ids, (ids - 1) % (limit - 1) + 1)
    if len(np.unique(folded)) == len(folded):
        return folded
    taken = set(folded[ids < limit].tolist())
    for row in np.flatnonzero(ids >= limit):
        while int(folded[row]) in taken:
            folded[row] = folded[row] % (limit - 1) + 1
        taken.add(int(folded[row]))
    return folded


def check_encoding(encoding: PanopticEncoding, label_set: LabelSet) -> None:
    """Raise ValueError where the encoding cannot carry the label set without ambiguity."""
    if encoding is PanopticEncoding.CITYSCAPES and 0 in label_set.thing_ids:
        raise ValueError(f'panoptic_encoding cityscapes cannot tell instances of class 0 '
                         f'({label_set.names[0]!r}) from bare class ids, expected stuff there: '
                         'reorder with `classes` or choose another encoding')


def pack(segmentation: Segmentation, encoding: PanopticEncoding) -> NDArray[np.int32]:
    """Return (H, W) class and instance in one number; void is class 255, no instance is 0."""
    cityscapes = encoding is PanopticEncoding.CITYSCAPES
    limit = CITYSCAPES_FACTOR + 1 if cityscapes else INSTANCE_LIMIT
    classes = np.arange(VOID + 1, dtype=np.int32)
    values = fold_ids(segmentation.instances.ids, limit=limit).astype(np.int32)
    owners = segmentation.instances.class_ids.astype(np.int32)
    if encoding is PanopticEncoding.INSTANCE_HIGH:
        packed_instances = values << 16 | owners
    elif encoding is PanopticEncoding.CLASS_HIGH:
        classes, packed_instances = classes << 16, owners << 16 | values
    else:
        packed_instances = owners * CITYSCAPES_FACTOR + values - 1
    table = np.concatenate((classes, packed_instances))
    return look_up(table, segmentation.segment_index)


def unpack(packed: NDArray[np.int32], encoding: PanopticEncoding
           ) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return (class map, packed instance values) of `pack`'s output, 0 = no instance."""
    if encoding is PanopticEncoding.INSTANCE_HIGH:
        class_map, instance_map = packed & 0xFFFF, packed >> 16
    elif encoding is PanopticEncoding.CLASS_HIGH:
        class_map, instance_map = packed >> 16, packed & 0xFFFF
    else:
        bare = packed < CITYSCAPES_FACTOR
        class_map = np.where(bare, packed, packed // CITYSCAPES_FACTOR)
        instance_map = np.where(bare, 0, packed % CITYSCAPES_FACTOR + 1)
    return class_map.astype(np.uint8), instance_map.astype(np.int32)
