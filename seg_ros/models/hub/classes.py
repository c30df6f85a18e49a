# SPDX-License-Identifier: Apache-2.0
"""Class names, things and stuff of a model folder's config."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seg_ros.core.labels import LabelSet

_CITYSCAPES_THINGS = frozenset({
    'person', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle'})
_COCO_THINGS = 80  # all instance classes, the first of the 133 panoptic ones
_ADE20K_STUFF = frozenset({  # of the 150 classes of SceneParse150, as in its panoptic challenge
    0, 1, 2, 3, 4, 5, 6, 9, 11, 13, 16, 17, 21, 25, 26, 28, 29, 34, 40, 46, 48, 51, 52, 54, 59, 60,
    61, 63, 68, 77, 79, 84, 91, 94, 96, 99, 100, 101, 105, 106, 109, 113, 114, 117, 122, 128, 131,
    140, 141, 145})
_UNUSED = frozenset({'N/A', 'n/a', ''})


@dataclass(frozen=True)
class Classes:
    """The label set, and the network's class of each of its ids."""

    label_set: LabelSet
    used: tuple[int, ...]


def read_classes(config: Mapping[str, Any], *, channels: int, all_things: bool) -> Classes:
    """Return the classes of a config.json for a network with so many class channels.

    Names are `id2label`'s; without a name, or with N/A, a channel is not used. Things are, in this
    order: the names in `things`, which is no key of transformers but ours; all classes where
    `all_things` says that the network finds nothing else; those of COCO, Cityscapes or ADE20K
    where the names are theirs; none. Raises ValueError.
    """
    labels = config.get('id2label') or {}
    try:
        names = {int(key): str(name).strip() for key, name in labels.items()}
    except (AttributeError, ValueError):
        raise ValueError('its id2label is no map of class number -> name') from None
    used = tuple(place for place in sorted(names)
                 if 0 <= place < channels and names[place] not in _UNUSED)
    kept = tuple(names[place] for place in used)
    if not kept:
        raise ValueError(f'its id2label names none of its {channels} classes')
    if 'things' in config:
        things = frozenset(map(str, config['things']))
    else:
        things = frozenset(kept) if all_things else _known_things(kept)
    return Classes(label_set=LabelSet(kept, things), used=used)


def _known_things(names: Sequence[str]) -> frozenset[str]:
    """Return the things of a data set that is known by its names, or none."""
    if len(names) in (_COCO_THINGS, _COCO_THINGS + 53) \
            and (names[0], names[_COCO_THINGS - 1]) == ('person', 'toothbrush'):
        return frozenset(names[:_COCO_THINGS])
    if len(names) == 150 and names[0] == 'wall' and names[12] == 'person':
        return frozenset(name for place, name in enumerate(names) if place not in _ADE20K_STUFF)
    if len(names) == 19 and _CITYSCAPES_THINGS.issubset(names):
        return _CITYSCAPES_THINGS
    return frozenset()
