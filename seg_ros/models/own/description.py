# SPDX-License-Identifier: Apache-2.0
"""The YAML beside a model file: its classes, its input and which contract its outputs follow."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
import yaml

from seg_ros.core.config import nearest_name, parse_size
from seg_ros.core.labels import LabelSet
from seg_ros.core.types import VOID
from seg_ros.models.contract import ALL_TASKS, Task

MAX_BYTES = 1 << 16
_DEEPEST = 8  # tables and lists within each other
_LONGEST_SIDE = 16_384
_SHOWN = 80  # characters of a value in a sentence


@dataclass(frozen=True)
class Classes:
    """What the channels or numbers of a network stand for."""

    channels: tuple[str, ...]  # a name each; '' is no class, its pixels are void
    things: tuple[str, ...]  # in the order of the YAML

    @property
    def label_set(self) -> LabelSet:
        """Return the classes that have a name."""
        return LabelSet(tuple(filter(None, self.channels)), frozenset(self.things))

    @property
    def used(self) -> tuple[int, ...]:
        """Return the channel of each class id."""
        return tuple(place for place, name in enumerate(self.channels) if name)

    def table(self) -> NDArray[np.uint8]:
        """Return the (channels,) class ids, 255 = void."""
        table = np.full(len(self.channels), VOID, np.uint8)
        table[list(self.used)] = np.arange(len(self.used))
        return table


@dataclass(frozen=True)
class Input:
    """How an image is made into the network's input."""

    size: tuple[int, int] | None  # height, width; None = the image's own
    multiple: int  # sides of an image of any size are made multiples of it
    resize: str  # stretch: to the size; pad: keep proportions, black to the right and below
    colours: str  # rgb or bgr
    scale: float  # of a byte
    mean: tuple[float, float, float]  # of scaled values, in the order of colours
    std: tuple[float, float, float]
    dtype: str  # float32 or float16


@dataclass(frozen=True)
class SemanticLogits:
    """A logit for each class and cell."""

    name: ClassVar[str] = 'semantic_logits'
    roles: ClassVar[tuple[str, ...]] = ('logits',)


@dataclass(frozen=True)
class QueryMasks:
    """Queries with the logits of a class and of a mask each."""

    name: ClassVar[str] = 'query_masks'
    roles: ClassVar[tuple[str, ...]] = ('classes', 'masks')
    null_class: bool  # softmax with a null class behind the others; else sigmoids
    score_by_mask: bool  # an instance's score is also how sure its mask is of itself


@dataclass(frozen=True)
class BoxesMasks:
    """Instances with a box, a class number, a score and a mask each."""

    name: ClassVar[str] = 'boxes_masks'
    roles: ClassVar[tuple[str, ...]] = ('boxes', 'classes', 'scores', 'masks')
    box_format: str  # xyxy or cxcywh
    box_unit: str  # pixels of the input, or input: shares of its width and height
    mask_frame: str  # box: square crops of their boxes; input: all of the input
    mask_values: str  # probabilities or logits


@dataclass(frozen=True)
class CenterOffset:
    """Logits of classes, centres of objects, and offsets from each cell to its centre."""

    name: ClassVar[str] = 'center_offset'
    roles: ClassVar[tuple[str, ...]] = ('semantic', 'centres', 'offsets')
    stride: int  # pixels of the input for each cell of centres and offsets
    offset_unit: float  # pixels of the input that an offset of 1 stands for
    offset_order: str  # yx or xy
    reach: float  # pixels of the input: a farther vote belongs to no instance
    window: int  # cells, odd: a centre is the largest of its window
    centre_values: str  # probabilities or logits


Contract = SemanticLogits | QueryMasks | BoxesMasks | CenterOffset


@dataclass(frozen=True)
class Description:
    """A YAML that was read and found sound."""

    classes: Classes
    input: Input
    contract: Contract
    outputs: tuple[str | int, ...]  # name or place of the output for each of the contract's roles

    @property
    def tasks(self) -> frozenset[Task]:
        """Return what can be answered: without things nothing can be counted."""
        if isinstance(self.contract, BoxesMasks):
            return frozenset({Task.INSTANCE})
        if isinstance(self.contract, SemanticLogits) or not self.classes.things:
            return frozenset({Task.SEMANTIC})
        return ALL_TASKS


def parse_description(data: bytes) -> Description:
    """Return what a YAML says; raises ValueError with one sentence about what is wrong in it."""
    keys = _Keys(_parse_yaml(data), place='')
    kind = keys.choice('contract', tuple(_CONTRACTS))
    keys.refuse_others(('contract', 'classes', 'things', 'input', 'outputs', *_OPTIONS[kind]),
                       belongs={key: name for name, own in _OPTIONS.items() for key in own})
    classes = _classes(keys, all_things=kind == BoxesMasks.name)
    contract = _CONTRACTS[kind](keys)
    if isinstance(contract, CenterOffset) and not classes.things:
        raise ValueError(f'things is empty, but {kind} counts things: name the countable classes')
    return Description(classes=classes, input=_input(keys), contract=contract,
                       outputs=_outputs(keys, contract.roles))


def _parse_yaml(data: bytes) -> object:
    """Return the content of a YAML, or raise ValueError."""
    try:
        trap = _trap_in(yaml.parse(data, Loader=yaml.SafeLoader))
        content = None if trap else yaml.safe_load(data)
    # ValueError: a date or a number that there is not
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, 'problem_mark', None)
        where = f' in line {mark.line + 1}' if mark else ''
        problem = getattr(error, 'problem', None) or type(error).__name__
        raise ValueError(f'it is no YAML ({problem}{where})') from None
    if trap:
        raise ValueError(trap)
    return content


def _trap_in(events: Iterable[yaml.Event]) -> str:
    """Return why a small YAML would take long to read or become huge, empty where it would not."""
    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            return 'it has an alias (*name), expected plain values'
        if depth > _DEEPEST:
            return f'it is nested more than {_DEEPEST} deep, expected tables and lists'
    return ''


def _shown(value: object) -> str:
    """Return a value for a sentence, short."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f'{text[:_SHOWN]}...'


class _Keys:
    """A table of a YAML, read key by key; each value is checked as it is taken."""

    def __init__(self, values: object, *, place: str) -> None:
        """Take a table; `place` and a dot stand before its keys in sentences."""
        if not isinstance(values, Mapping):
            raise ValueError(f'{place.rstrip(".") or "it"} is {_shown(values)}, '
                             'expected a table of keys')
        self.values = values
        self.place = place

    def refuse_others(self, known: Iterable[str], *, belongs: Mapping[str, str] | None = None
                      ) -> None:
        """Raise ValueError where there is a key that is not known, and name the nearest."""
        known = tuple(known)
        for key in self.values:
            if key in known:
                continue
            near = nearest_name(str(key), known)
            owner = (belongs or {}).get(key)
            hint = f'did you mean {near!r}?' if near else \
                f'it is one of {owner}' if owner else f'expected {", ".join(known)}'
            raise ValueError(f'unknown key {self.place + str(key)[:_SHOWN]!r}, {hint}')

    def take(self, key: str, rule: str, default: Any = None) -> Any:
        """Return a value; raises ValueError with the rule where it is missing."""
        if key not in self.values:
            if default is None:
                raise ValueError(f'{self.place}{key} is missing, expected {rule}')
            return default
        return self.values[key]

    def refuse(self, key: str, value: object, rule: str) -> ValueError:
        """Return the error about a value."""
        return ValueError(f'{self.place}{key} is {_shown(value)}, expected {rule}')

    def choice(self, key: str, choices: Sequence[str], default: str | None = None) -> str:
        """Return one of some words."""
        rule = f'one of {", ".join(choices)}'
        value = self.take(key, rule, default)
        if not isinstance(value, str) or value not in choices:
            raise self.refuse(key, value, rule)
        return value

    def truth(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self.take(key, 'true or false', default)
        if not isinstance(value, bool):
            raise self.refuse(key, value, 'true or false')
        return value

    def whole(self, key: str, default: int | None = None) -> int:
        """Return a whole number from 1 up."""
        rule = f'a whole number from 1 to {_LONGEST_SIDE}'
        value = self.take(key, rule, default)
        if type(value) is not int or not 1 <= value <= _LONGEST_SIDE:
            raise self.refuse(key, value, rule)
        return value

    def positive(self, key: str, default: float | None = None) -> float:
        """Return a positive number, or the fraction `a/b`."""
        rule = 'a positive number or a fraction such as 1/255'
        value = self.take(key, rule, default)
        number = _number(value)
        if not 0 < number < math.inf:
            raise self.refuse(key, value, rule)
        return number

    def colour(self, key: str, default: float, *, positive: bool = False
               ) -> tuple[float, float, float]:
        """Return three numbers, one a colour."""
        rule = f'three {"positive " if positive else ""}numbers, one a colour'
        value = self.take(key, rule, [default] * 3)
        if not isinstance(value, list) or len(value) != 3:
            raise self.refuse(key, value, rule)
        first, second, third = map(_number, value)
        if not all(map(math.isfinite, (first, second, third))) \
                or (positive and min(first, second, third) <= 0):
            raise self.refuse(key, value, rule)
        return first, second, third


def _number(value: object) -> float:
    """Return a number, or the fraction that a text stands for; NaN where it is neither."""
    try:
        if isinstance(value, str):  # YAML reads 1e-3 as text too
            above, slash, below = value.partition('/')
            return float(above) / float(below) if slash else float(above)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return float(value) if is_number else math.nan  # type: ignore[arg-type]
    except (ValueError, ArithmeticError):
        return math.nan


def _classes(keys: _Keys, *, all_things: bool) -> Classes:
    """Return names by channel and the things, all of them where there is nothing else."""
    rule = 'a list of names in the order of the channels (~ = no class)'
    names = keys.take('classes', rule)
    if not isinstance(names, list):
        raise keys.refuse('classes', names, rule)
    channels = tuple(_name(keys, f'classes[{place}]', name) for place, name in enumerate(names))
    named = list(filter(None, channels))
    things = keys.take('things', 'a list of names', named if all_things else [])
    if not isinstance(things, list):
        raise keys.refuse('things', things, 'a list of names')
    for name in things:
        if not isinstance(name, str) or name not in named:
            near = nearest_name(str(name), named)
            raise keys.refuse('things', name, f'classes; did you mean {near!r}?' if near
                              else 'names that are in classes')
    if all_things and set(things) != set(named):
        raise keys.refuse('things', things, 'all classes, or no such key: every box is a thing')
    classes = Classes(channels=channels, things=tuple(dict.fromkeys(things)))
    classes.label_set  # noqa: B018  raises ValueError
    return classes


def _name(keys: _Keys, key: str, name: object) -> str:
    """Return the name of a channel, empty where it has none."""
    if name is None:
        return ''
    # YAML reads no, off and 1 as other things than text
    if not isinstance(name, str) or not name.strip():
        raise keys.refuse(key, name, 'a name (in quotes where YAML reads it as something else), '
                                     'or ~ for no class')
    return name.strip()


def _input(keys: _Keys) -> Input:
    """Return how images are prepared."""
    table = _Keys(keys.take('input', 'a table with size, mean, std'), place='input.')
    table.refuse_others(('size', 'multiple', 'resize', 'colours', 'scale', 'mean', 'std', 'dtype'))
    size = _size(table)
    if size and 'multiple' in table.values:
        raise ValueError('input.multiple is given, but input.size is fixed: '
                         'leave it out, or set input.size to any')
    return Input(
        size=size, multiple=table.whole('multiple', 1),
        resize=table.choice('resize', ('stretch', 'pad'), 'stretch'),
        colours=table.choice('colours', ('rgb', 'bgr'), 'rgb'),
        scale=table.positive('scale', 1 / 255), mean=table.colour('mean', 0.0),
        std=table.colour('std', 1.0, positive=True),
        dtype=table.choice('dtype', ('float32', 'float16'), 'float32'))


def _size(table: _Keys) -> tuple[int, int] | None:
    """Return the (height, width) of the input, None for any."""
    rule = f'any or WIDTHxHEIGHT such as 1024x512, at most {_LONGEST_SIDE}'
    value = table.take('size', rule)
    if value == 'any':
        return None
    try:
        size = parse_size(value) if isinstance(value, str) else None
    except ValueError:
        size = None
    if not size or max(size) > _LONGEST_SIDE:
        raise table.refuse('size', value, rule)
    return size[1], size[0]


def _outputs(keys: _Keys, roles: Sequence[str]) -> tuple[str | int, ...]:
    """Return the name or the place of each role's output; in their order by default."""
    table = _Keys(keys.take('outputs', '', dict(zip(roles, range(len(roles)), strict=True))),
                  place='outputs.')
    table.refuse_others(roles)
    rule = 'the name of an output, or its place from 0'
    found = tuple(table.take(role, rule) for role in roles)
    for role, value in zip(roles, found, strict=True):
        if not (isinstance(value, str) and value) and not (type(value) is int and value >= 0):
            raise table.refuse(role, value, rule)
        if found.count(value) > 1:
            raise table.refuse(role, value, 'an output of its own for each role')
    return found


def _query_masks(keys: _Keys) -> QueryMasks:
    null_class = keys.truth('null_class', True)
    return QueryMasks(null_class=null_class,
                      score_by_mask=keys.truth('score_by_mask', null_class))


def _boxes_masks(keys: _Keys) -> BoxesMasks:
    return BoxesMasks(
        box_format=keys.choice('box_format', ('xyxy', 'cxcywh'), 'xyxy'),
        box_unit=keys.choice('box_unit', ('pixels', 'input'), 'pixels'),
        mask_frame=keys.choice('mask_frame', ('box', 'input'), 'box'),
        mask_values=keys.choice('mask_values', ('probabilities', 'logits'), 'probabilities'))


def _center_offset(keys: _Keys) -> CenterOffset:
    window = keys.whole('window', 5)
    if window % 2 == 0:
        raise keys.refuse('window', window, 'an odd number')
    return CenterOffset(
        stride=keys.whole('stride'), offset_unit=keys.positive('offset_unit', 1.0),
        offset_order=keys.choice('offset_order', ('yx', 'xy'), 'yx'),
        reach=keys.positive('reach', 1e6), window=window,
        centre_values=keys.choice('centre_values', ('probabilities', 'logits'), 'probabilities'))


_CONTRACTS: dict[str, Any] = {
    SemanticLogits.name: lambda keys: SemanticLogits(),
    QueryMasks.name: _query_masks,
    BoxesMasks.name: _boxes_masks,
    CenterOffset.name: _center_offset,
}
_OPTIONS: dict[str, tuple[str, ...]] = {
    contract.name: tuple(option.name for option in fields(contract))
    for contract in (SemanticLogits, QueryMasks, BoxesMasks, CenterOffset)}
