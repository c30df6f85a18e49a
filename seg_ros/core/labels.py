# SPDX-License-Identifier: Apache-2.0
"""LabelSet: names, things and stuff, colours, and maps from one set of classes to another."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seg_ros.core.types import VOID

_STREET_COLOURS: Mapping[str, tuple[int, int, int]] = {
    # Cityscapes' colours, so that people see what they are used to
    'sky': (70, 130, 180),
    'building': (70, 70, 70),
    'pole': (153, 153, 153),
    'road': (128, 64, 128),
    'pavement': (244, 35, 232),
    'sidewalk': (244, 35, 232),
    'tree': (107, 142, 35),
    'vegetation': (107, 142, 35),
    'sign_symbol': (220, 220, 0),
    'fence': (190, 153, 153),
    'car': (0, 0, 142),
    'pedestrian': (220, 20, 60),
    'person': (220, 20, 60),
    'bicyclist': (255, 0, 0),
    'rider': (255, 0, 0),
}


@dataclass(frozen=True)
class LabelSet:
    """The classes that ids stand for: id = index into names."""

    names: tuple[str, ...]
    things: frozenset[str]  # names of the countable classes; the others are stuff

    def __post_init__(self) -> None:
        """Raise ValueError where the set cannot label a mono8 image."""
        if not 1 <= len(self.names) <= VOID:
            raise ValueError(f'{len(self.names)} classes do not fit a mono8 label image, '
                             f'expected 1 to {VOID}: merge or drop some with `classes`')
        doubled = sorted({name for name in self.names if self.names.count(name) > 1})
        if doubled:
            raise ValueError(f'class names {doubled} occur more than once, names must be unique')
        strangers = sorted(self.things.difference(self.names))
        if strangers:
            raise ValueError(f'things {strangers} are not among the class names')

    def __len__(self) -> int:
        """Count the classes."""
        return len(self.names)

    def id_of(self, name: str) -> int:
        """Return the id of a class name, or raise ValueError that lists the names."""
        if name not in self.names:
            raise ValueError(f'unknown class {name!r}, expected one of {", ".join(self.names)}')
        return self.names.index(name)

    def texts(self, kind: str) -> tuple[str, ...]:
        """Return what messages call the classes, by id: their `name` or their `number`."""
        return self.names if kind == 'name' else tuple(map(str, range(len(self))))

    @property
    def thing_ids(self) -> frozenset[int]:
        """Return the ids of the countable classes."""
        return frozenset(self.names.index(name) for name in self.things)

    def is_thing(self) -> NDArray[np.bool_]:
        """Return a (256,) look-up table: class id -> countable; void is not."""
        table = np.zeros(256, bool)
        table[sorted(self.thing_ids)] = True
        return table

    def colours(self) -> NDArray[np.uint8]:
        """Return a (256, 3) look-up table: class id -> RGB; void and unknown ids are black."""
        table = np.zeros((256, 3), np.uint8)
        for class_id, name in enumerate(self.names):
            table[class_id] = _STREET_COLOURS.get(name) or _distinct_colour(class_id)
        return table


def _distinct_colour(index: int) -> tuple[int, int, int]:
    """Return an RGB colour far from its neighbours': hues in steps of the golden ratio."""
    hue = index * 0.618033988749895 % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.55 + 0.3 * (index % 2), 0.95 - 0.2 * (index % 3))
    return round(255 * red), round(255 * green), round(255 * blue)


@dataclass(frozen=True, eq=False)
class ClassRemap:
    """A map from a model's classes to the user's, as a table that serves maps and ids alike."""

    label_set: LabelSet
    table: NDArray[np.uint8]  # (256,) model's class id -> user's class id, 255 = dropped


def remap_classes(model: LabelSet, rules: Sequence[str]) -> ClassRemap:
    """Return the remap that rules such as `car,truck=vehicle` ask for; no rule keeps the set.

    Each rule is `names=new_name`: the model's names, separated by commas, become one class; a
    bare `name` keeps its own. Ids follow the order of the rules, classes that no rule names are
    dropped to void. A merged class is a thing if all its parts are; parts of both kinds, an
    unknown name or one that is named twice raise ValueError.
    """
    if not rules:
        return ClassRemap(model, identity_table(len(model)))
    table = np.full(256, VOID, np.uint8)
    names: list[str] = []
    things: set[str] = set()
    for rule in rules:
        parts, new_name = _parse_rule(rule)
        if new_name not in names:
            names.append(new_name)
        for class_id in map(model.id_of, parts):
            if table[class_id] != VOID:
                raise ValueError(f'class {model.names[class_id]!r} is named by two rules of '
                                 '`classes`, expected once')
            table[class_id] = names.index(new_name)
        if model.things.intersection(parts):
            things.add(new_name)
    _refuse_mixed(model, table, names)
    return ClassRemap(LabelSet(tuple(names), frozenset(things)), table)


def _parse_rule(rule: str) -> tuple[list[str], str]:
    """Split `a,b=c` into (['a', 'b'], 'c') and `a` into (['a'], 'a')."""
    left, equals, right = rule.partition('=')
    parts = [part.strip() for part in left.split(',') if part.strip()]
    new_name = right.strip() if equals else ', '.join(parts)
    if not parts or not new_name or (not equals and len(parts) > 1):
        raise ValueError(f'cannot read {rule!r} in `classes`, expected `name` or '
                         '`name,name=new_name`')
    return parts, new_name


def _refuse_mixed(model: LabelSet, table: NDArray[np.uint8], names: list[str]) -> None:
    """Raise ValueError where a new class joins things and stuff."""
    for new_id, new_name in enumerate(names):
        sources = [model.names[i] for i in np.flatnonzero(table[:len(model)] == new_id)]
        if 0 < len(model.things.intersection(sources)) < len(sources):
            raise ValueError(f'class {new_name!r} would join things and stuff ({sources}), '
                             'expected all of one kind')


def identity_table(count: int) -> NDArray[np.uint8]:
    """Return a (256,) table that keeps ids below count and sends the rest to void."""
    table = np.full(256, VOID, np.uint8)
    table[:count] = np.arange(count)
    return table


def fused_label_set(semantic: LabelSet, instance: LabelSet) -> ClassRemap:
    """Return the semantic classes, then the instance classes that are not there by name.

    The table maps the instance model's ids into the fused set. An instance class is a thing in
    it even if the semantic model calls the same name stuff: somebody counts it now.
    """
    new_names = [name for name in instance.names
                 if name in instance.things and name not in semantic.names]
    names = semantic.names + tuple(new_names)
    fused = LabelSet(names, semantic.things | instance.things)
    table = np.full(256, VOID, np.uint8)
    for class_id, name in enumerate(instance.names):
        if name in instance.things:
            table[class_id] = fused.id_of(name)
    return ClassRemap(fused, table)
