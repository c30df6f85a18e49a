# SPDX-License-Identifier: Apache-2.0
"""Every parameter once: type, default, range and meaning.

From here come the ROS declaration, the check of each value, and the table in the README.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
import math
import re
from typing import Any

ParameterValue = bool | int | float | str | tuple[str, ...]


@dataclass(frozen=True)
class Parameter:
    """One parameter as users see it."""

    name: str
    default: ParameterValue
    meaning: str
    minimum: float = -math.inf
    maximum: float = math.inf
    choices: tuple[str, ...] = ()
    fixed: str = ''  # why it cannot change while the node is configured; empty = it can
    read_only: bool = False  # fixed from the start on, configured or not

    @property
    def kind(self) -> str:
        """Return the type's name: bool, int, float, string or string[]."""
        names = {bool: 'bool', int: 'int', float: 'float', str: 'string', tuple: 'string[]'}
        return names[type(self.default)]

    def check(self, value: object) -> ParameterValue:
        """Return the value in this parameter's type, or raise ValueError with the rule."""
        typed = self._typed(value)
        if isinstance(typed, (int, float)) and not isinstance(typed, bool):
            # written so that NaN fails as well
            if not self.minimum <= typed <= self.maximum:
                raise ValueError(f'{self.name} is {typed}, expected {self.range_text}')
        if self.choices and typed not in self.choices:
            raise ValueError(f'{self.name} is {typed!r}, expected {self.range_text}')
        return typed

    def _typed(self, value: object) -> ParameterValue:
        """Return the value converted where nothing is lost: int to float, list to tuple."""
        if isinstance(self.default, float) and type(value) is int:
            return float(value)
        if isinstance(self.default, tuple) and isinstance(value, Iterable) \
                and not isinstance(value, (str, bytes)):
            items = tuple(value)
            if all(isinstance(item, str) for item in items):
                return items
        if type(value) is type(self.default) and not isinstance(value, tuple):
            return value
        raise ValueError(f'{self.name} is {value!r}, expected a {self.kind}')

    @property
    def range_text(self) -> str:
        """Return the rule for people: `0.0 to 1.0`, `a, b or c`, or nothing."""
        if self.choices:
            return ' or '.join((', '.join(map(repr, self.choices[:-1])), repr(self.choices[-1])))
        if math.isfinite(self.maximum):
            return f'{self.minimum} to {self.maximum}'
        return f'at least {self.minimum}' if math.isfinite(self.minimum) else ''


MAX_GRID_CELLS = 4_000_000
_LOADED = 'the model is loaded with it: set it before configure'
_TRUSTED = 'anybody on the network may set parameters: give it at start'
_CONNECTED = 'topics are made with it: set it before configure'


def _parameter(default: ParameterValue, meaning: str, **rules: Any) -> Any:
    """Declare a dataclass field that is a parameter."""
    return field(default=default, metadata={'meaning': meaning, 'rules': rules})


@dataclass(frozen=True)
class TrackingConfig:
    """Parameters `tracking.*`."""

    enabled: bool = _parameter(
        False, 'give instances ids that last over frames and classes that do not flicker; false '
        'counts from 1 in every frame')
    max_lost_s: float = _parameter(
        1.0, 'seconds that an unseen object is remembered; a longer gap between frames forgets '
        'all of them', minimum=0.0, maximum=60.0)
    iou_threshold: float = _parameter(
        0.1, 'least overlap of an instance with where its track should be now (mean of mask '
        'and box IoU, less for another class)', minimum=0.0, maximum=1.0)
    score_threshold: float = _parameter(
        0.6, 'least score of an instance that takes up a track which is missed where it is, '
        'though it does not fit; with a lower one it gets a new id', minimum=0.0, maximum=1.0)
    min_area: int = _parameter(
        0, 'least pixels of such an instance', minimum=0)
    max_split_s: float = _parameter(
        0.5, 'seconds that a tracked object stays one instance while the model splits it; a piece '
        'of which the model is sure (score 0.9) is an object at once, and with 0 every piece is',
        minimum=0.0, maximum=60.0)


@dataclass(frozen=True)
class ModelConfig:
    """Parameters `model.*`: how the models run."""

    precision: str = _parameter(
        'auto', 'numbers that a network computes in; auto is 16 bits where the device has them in '
        'hardware, is faster with them and answers as in fp32 (`model.min_agreement`)',
        choices=('auto', 'fp32', 'bf16', 'fp16'), fixed=_LOADED)
    compile: str = _parameter(
        'off', 'torch.compile: seconds to minutes at configure, kept in the cache folder of the '
        'user; `max` also tunes kernels and records CUDA graphs',
        choices=('off', 'default', 'max'), fixed=_LOADED)
    min_agreement: float = _parameter(
        0.98, 'least share of pixels, on each of four rendered street frames at configure, that a '
        'faster mode must answer as fp32 without a compiler does', minimum=0.0, maximum=1.0,
        fixed=_LOADED)
    frame_size: str = _parameter(
        '640x480', 'size of the frames to come as `WIDTHxHEIGHT`: what is compiled and warmed up '
        'for at configure; others are answered as well, the first of each later', fixed=_LOADED)
    input_size: str = _parameter(
        '', 'what frames are resized to fit into for the network, instead of its own choice, as '
        '`WIDTHxHEIGHT`: smaller is faster and sees less; upright frames turn it', fixed=_LOADED)


@dataclass(frozen=True)
class DepthConfig:
    """Parameters `depth.*`."""

    input: str = _parameter(
        'none', 'where the 3D outputs get their depth from: `depth` (an image, with '
        '`depth/camera_info`) or `cloud` (organised as the image); none makes no 3D topics',
        choices=('none', 'image', 'cloud'), fixed=_CONNECTED)
    tolerance_s: float = _parameter(
        0.02, 'how far the stamps of image and depth may be apart; 0 joins equal ones only',
        minimum=0.0, maximum=1.0)
    max_wait_s: float = _parameter(
        0.3, 'how long a segmented frame waits for its depth; its 2D outputs do not wait',
        minimum=0.0, maximum=10.0)
    min_m: float = _parameter(0.1, 'nearer depth is invalid, metres', minimum=0.0)
    max_m: float = _parameter(100.0, 'farther depth is invalid, metres', minimum=0.0)
    voxel_m: float = _parameter(
        0.05, 'side of the cubes that `obstacles` and `drivable` have one point in; 0 keeps all',
        minimum=0.0, maximum=10.0)


@dataclass(frozen=True)
class GroundConfig:
    """Parameters `ground.*`: the grid of the ground ahead of a camera without depth."""

    grid: bool = _parameter(False, 'publish `drivable_grid`', fixed=_CONNECTED)
    frame: str = _parameter(
        'base_footprint', 'frame of `drivable_grid`: z up, the ground at z = 0', fixed=_CONNECTED)
    pose: str = _parameter(
        'parameters', "where the camera is: `ground.height_m` above the frame's origin, looking "
        'along x and `ground.pitch` down, or what `tf` says',
        choices=('parameters', 'tf'), fixed=_CONNECTED)
    height_m: float = _parameter(
        1.0, 'height of the camera above the ground', minimum=0.01, maximum=100.0)
    pitch: float = _parameter(
        0.0, 'how far the camera looks down, radians', minimum=-1.5, maximum=1.5)
    resolution_m: float = _parameter(
        0.1, 'side of a cell of `drivable_grid`', minimum=0.01, maximum=10.0)
    length_m: float = _parameter(
        12.0, 'how far `drivable_grid` reaches ahead of the camera', minimum=0.1, maximum=200.0)
    width_m: float = _parameter(
        12.0, 'how wide `drivable_grid` is, half on each side', minimum=0.1, maximum=200.0)
    obstacle_depth_m: float = _parameter(
        0.5, 'how far beyond its foot an obstacle counts; what it hides beyond that is unknown',
        minimum=0.0, maximum=100.0)
    clearance_m: float = _parameter(
        0.0, 'how far above the ground the lowest edge of an obstacle may be, as a bumper is: the '
        'ground below counts as obstacle too', minimum=0.0, maximum=2.0)

    @property
    def cells(self) -> int:
        """Return about how many cells the grid has."""
        return round(self.length_m / self.resolution_m * self.width_m / self.resolution_m)


@dataclass(frozen=True)
class Config:
    """The node's parameters; nested classes are dotted names."""

    panoptic_model: str = _parameter(
        '', 'model that serves all three tasks, such as `street_tiny`; that is also what runs '
        'when no model is set', fixed=_LOADED)
    semantic_model: str = _parameter(
        '', 'model for classes; with instance_model the two are fused to panoptic', fixed=_LOADED)
    instance_model: str = _parameter(
        '', 'model for instances; with semantic_model the two are fused to panoptic',
        fixed=_LOADED)
    panoptic_weights: str = _parameter(
        '', "weight file for panoptic_model, instead of the model's own", fixed=_LOADED)
    semantic_weights: str = _parameter(
        '', "weight file for semantic_model, instead of the model's own", fixed=_LOADED)
    instance_weights: str = _parameter(
        '', "weight file for instance_model, instead of the model's own", fixed=_LOADED)
    panoptic_sha256: str = _parameter(
        '', 'sha256 that the file of panoptic_model must have, 64 hexadecimal digits; empty means '
        'any', fixed=_TRUSTED, read_only=True)
    semantic_sha256: str = _parameter(
        '', 'sha256 that the file of semantic_model must have, 64 hexadecimal digits; empty means '
        'any', fixed=_TRUSTED, read_only=True)
    instance_sha256: str = _parameter(
        '', 'sha256 that the file of instance_model must have, 64 hexadecimal digits; empty means '
        'any', fixed=_TRUSTED, read_only=True)
    allow_download: bool = _parameter(
        False, 'fetch weights that are not on this machine; false says how to fetch them',
        fixed=_TRUSTED, read_only=True)
    allow_executable_models: bool = _parameter(
        False, 'load model files that are programs (`.pt2`, TorchScript), where their sha256 is '
        'pinned too', fixed=_TRUSTED, read_only=True)
    device: str = _parameter(
        'auto', '`auto` (a GPU if there is one, else the CPU with a warning), `cpu` or `cuda:N`',
        fixed=_LOADED)
    classes: tuple[str, ...] = _parameter(
        (), 'classes to publish, in this order: `name` keeps one, `name,name=new_name` merges, '
        'the others become void; empty keeps all')
    score_threshold: float = _parameter(
        0.5, 'instances with a lower score are not reported; their pixels keep their class',
        minimum=0.0, maximum=1.0)
    min_area: int = _parameter(
        0, 'instances with fewer pixels are not reported; their pixels keep their class',
        minimum=0)
    overlap_threshold: float = _parameter(
        0.5, 'an instance is dropped where better ones cover a larger share of its mask',
        minimum=0.0, maximum=1.0)
    query_threshold: float = _parameter(
        0.8, 'panoptic models of queries (EoMT, Mask2Former and their kin): queries with a lower '
        'score take no part', minimum=0.0, maximum=1.0)
    query_kept_share: float = _parameter(
        0.8, 'likewise: a segment that wins a smaller share of its own mask is dropped, and its '
        'pixels are void', minimum=0.0, maximum=1.0)
    cameras: tuple[str, ...] = _parameter(
        (), 'names of several cameras: topics are then below `<name>/`, as `front/image` and '
        '`front/semantic/image_raw`; empty means one camera without a name', fixed=_CONNECTED)
    image_transport: str = _parameter(
        'raw', 'subscribe to `image` or to `image/compressed`', choices=('raw', 'compressed'),
        fixed=_CONNECTED)
    image_reliability: str = _parameter(
        'auto', 'QoS of the image subscription; auto follows what the publishers offer',
        choices=('auto', 'reliable', 'best_effort'), fixed=_CONNECTED)
    max_image_pixels: int = _parameter(
        1 << 26, 'larger images are refused before anything is decoded', minimum=1)
    queue_depth: int = _parameter(
        2, 'messages that a published topic keeps for a slow subscriber', minimum=1, maximum=5,
        fixed=_CONNECTED)
    output_size: str = _parameter(
        '', 'size of the label images as `WIDTHxHEIGHT`; empty means the size of the input')
    confidence: bool = _parameter(False, 'publish `semantic/confidence`')
    foreground_classes: tuple[str, ...] = _parameter(
        (), 'classes that are 1 in `foreground/image_raw`; empty means the topic is not there')
    obstacle_classes: tuple[str, ...] = _parameter(
        (), 'classes in the cloud `obstacles`, and obstacles in `drivable_grid`; `*` is every '
        'pixel that no drivable class has, void too; empty means that the cloud is not there')
    drivable_classes: tuple[str, ...] = _parameter(
        (), 'classes in the cloud `drivable`, and drivable in `drivable_grid`; empty means that '
        'the cloud is not there')
    detection_class_id: str = _parameter(
        'name', "what a detection's class_id holds: the class name or its number as text",
        choices=('name', 'number'))
    panoptic_encoding: str = _parameter(
        'instance_high', 'how class and instance share a pixel of `panoptic/image_raw`',
        choices=('instance_high', 'class_high', 'cityscapes'))
    overlay_jpeg_quality: int = _parameter(
        80, 'JPEG quality of `overlay/image_raw/compressed`', minimum=1, maximum=100)
    always_run: bool = _parameter(
        False, 'run the model on every frame even while nobody subscribes to an output')
    max_rate_hz: float = _parameter(
        0.0, 'frames a second and camera that are segmented at most, the others are skipped; 0 '
        'means all', minimum=0.0)
    ignore_masks: tuple[str, ...] = _parameter(
        (), 'PNG files, one for each camera in order, an empty text for none: pixels that are not '
        'black there show the robot itself and are void, in any size by nearest neighbour',
        fixed=_CONNECTED)
    camera_timeout_s: float = _parameter(
        1.0, 'seconds without an image before diagnostics and one warning say so; never less than '
        '3 of the periods that the camera had', minimum=0.1)
    inference_timeout_s: float = _parameter(
        60.0, 'seconds that one inference may take before the process ends with code 1, for a '
        'supervisor to start it again; 0 means for ever', minimum=0.0)
    threads: int = _parameter(
        0, 'CPU threads for the model; 0 leaves the choice to torch', minimum=0, maximum=256,
        fixed=_LOADED)
    autostart: bool = _parameter(
        True, 'configure and activate at start; false waits for a lifecycle manager',
        fixed='it is read once, at start')
    model: ModelConfig = ModelConfig()
    tracking: TrackingConfig = TrackingConfig()
    depth: DepthConfig = DepthConfig()
    ground: GroundConfig = GroundConfig()

    def __post_init__(self) -> None:
        """Raise ValueError where values do not go together."""
        for parameter in PARAMETERS:
            parameter.check(value_of(self, parameter.name))
        if self.panoptic_model and (self.semantic_model or self.instance_model):
            other = self.semantic_model or self.instance_model
            raise ValueError(f'panoptic_model {self.panoptic_model!r} and {other!r} are set, '
                             'expected either a panoptic model or semantic and instance models')
        for task in ('panoptic', 'semantic', 'instance'):
            self._check_file(task)
        _check_cameras(self.cameras)
        _check_space(self)
        if self.ignore_masks and len(self.ignore_masks) != max(len(self.cameras), 1):
            raise ValueError(f'ignore_masks has {len(self.ignore_masks)} files, expected one for '
                             f'each of {max(len(self.cameras), 1)} cameras')
        for name in ('output_size', 'model.input_size'):
            self._check_size(name)
        if not parse_size(self.model.frame_size, name='model.frame_size'):
            raise ValueError('model.frame_size is empty, expected WIDTHxHEIGHT such as 640x480')
        if not re.fullmatch(r'auto|cpu|cuda(:\d+)?', self.device):
            raise ValueError(f'device is {self.device!r}, expected auto, cpu or cuda:N')

    def _check_size(self, name: str) -> None:
        """Raise ValueError where images would be made larger than any that is let in."""
        text = str(value_of(self, name))
        width, height = parse_size(text, name=name) or (1, 1)
        if width * height > self.max_image_pixels:
            raise ValueError(f'{name} is {text!r} = {width * height} pixels, '
                             f'expected at most max_image_pixels = {self.max_image_pixels}')

    def _check_file(self, task: str) -> None:
        """Raise ValueError where a task's weights or their hash do not go with its model."""
        alone = task == 'panoptic' and not (self.semantic_model or self.instance_model)
        for name in (f'{task}_weights', f'{task}_sha256'):
            if getattr(self, name) and not getattr(self, f'{task}_model') and not alone:
                raise ValueError(f'{name} is {getattr(self, name)!r} but {task}_model is empty, '
                                 'expected a model that reads them')
        sha256 = getattr(self, f'{task}_sha256')
        if sha256 and not re.fullmatch('[0-9a-f]{64}', sha256):
            raise ValueError(f'{task}_sha256 is {sha256!r}, expected 64 hexadecimal digits in '
                             'lower case, as sha256sum prints them')


def _check_cameras(names: tuple[str, ...]) -> None:
    """Raise ValueError where a name is no part of a topic's name, or is there twice."""
    for name in names:
        if not re.fullmatch(r'[A-Za-z][A-Za-z0-9_]*', name):
            raise ValueError(f'cameras has {name!r}, expected a letter and then letters, digits '
                             'or underscores')
        if names.count(name) > 1:
            raise ValueError(f'cameras has {name!r} more than once, expected different names')


def _check_space(config: Config) -> None:
    """Raise ValueError where the parameters of depth and ground do not go together."""
    depth, ground = config.depth, config.ground
    if depth.min_m >= depth.max_m:
        raise ValueError(f'depth.min_m is {depth.min_m} and depth.max_m is {depth.max_m}, '
                         'expected the first to be less')
    needs = 'ground.grid is true' if ground.grid else "obstacle_classes has '*'" \
        if '*' in config.obstacle_classes else ''
    if needs and not config.drivable_classes:
        raise ValueError(f'{needs} but drivable_classes is empty, expected the classes that can '
                         'be driven on')
    both = sorted(set(config.obstacle_classes).intersection(config.drivable_classes))
    if both:
        raise ValueError(f'classes {both} are in obstacle_classes and in drivable_classes, '
                         'expected each in one')
    if ground.cells > MAX_GRID_CELLS:
        raise ValueError(f'drivable_grid would have {ground.cells} cells, expected at most '
                         f'{MAX_GRID_CELLS}: raise ground.resolution_m')


def parse_size(text: str, *, name: str = 'output_size') -> tuple[int, int] | None:
    """Return (width, height) of `WIDTHxHEIGHT`, None of an empty text; ValueError otherwise."""
    if not text:
        return None
    match = re.fullmatch(r'([1-9]\d{0,4})x([1-9]\d{0,4})', text)
    if not match:
        raise ValueError(f'{name} is {text!r}, expected WIDTHxHEIGHT such as 640x480')
    return int(match[1]), int(match[2])


def _describe(config_class: type, prefix: str = '') -> tuple[Parameter, ...]:
    """Return the parameters of a config class, nested ones with dotted names."""
    found: list[Parameter] = []
    for item in fields(config_class):
        if 'meaning' in item.metadata:
            found.append(Parameter(name=prefix + item.name, default=item.default,  # type: ignore[arg-type]
                                   meaning=item.metadata['meaning'], **item.metadata['rules']))
        else:
            found.extend(_describe(type(item.default), prefix=f'{prefix}{item.name}.'))
    return tuple(found)


PARAMETERS = _describe(Config)


def value_of(config: Config, name: str) -> ParameterValue:
    """Return the value of a parameter by its dotted name."""
    value: Any = config
    for part in name.split('.'):
        value = getattr(value, part)
    return value


def config_from(values: Mapping[str, object]) -> Config:
    """Build a Config from dotted names; missing ones have their defaults.

    Raises ValueError with one sentence for an unknown name, a wrong type or a broken rule.
    """
    known = {parameter.name: parameter for parameter in PARAMETERS}
    for name in values:
        if name not in known:
            raise ValueError(unknown_parameter(name, known))
    checked = {name: known[name].check(value) for name, value in values.items()}
    return Config(
        **{name: value for name, value in checked.items() if '.' not in name},  # type: ignore[arg-type]
        model=ModelConfig(**_group(checked, 'model')),  # type: ignore[arg-type]
        tracking=TrackingConfig(**_group(checked, 'tracking')),  # type: ignore[arg-type]
        depth=DepthConfig(**_group(checked, 'depth')),  # type: ignore[arg-type]
        ground=GroundConfig(**_group(checked, 'ground')))  # type: ignore[arg-type]


def _group(values: Mapping[str, ParameterValue], group: str) -> dict[str, ParameterValue]:
    """Return the values below `group.` under their short names."""
    prefix = group + '.'
    return {name.removeprefix(prefix): value for name, value in values.items()
            if name.startswith(prefix)}


def unknown_parameter(name: str, known: Iterable[str]) -> str:
    """Return the sentence for a name that nobody declared, with the nearest known one."""
    near = nearest_name(name, known)
    hint = f', did you mean {near!r}?' if near else ', see the parameter table in the README'
    return f'unknown parameter {name!r}{hint}'


def nearest_name(name: str, known: Iterable[str]) -> str:
    """Return the known name within edit distance 2, or an empty string."""
    distances = {candidate: _edit_distance(name, candidate) for candidate in known}
    nearest = min(distances, key=lambda candidate: distances[candidate])
    return nearest if distances[nearest] <= 2 else ''


def _edit_distance(left: str, right: str) -> int:
    """Return Levenshtein's distance (Wagner and Fischer 1974)."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, start=1):
        previous, row[0] = row[0], i
        for j, b in enumerate(right, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


def parameter_table() -> str:
    """Return the README's parameter table in Markdown."""
    lines = ['| parameter | type | default | range | live | meaning |',
             '|---|---|---|---|---|---|']
    for parameter in PARAMETERS:
        default = list(parameter.default) if isinstance(parameter.default, tuple) \
            else parameter.default
        text = str(default).lower() if isinstance(default, bool) else repr(default)
        live = '' if parameter.fixed else 'yes'
        rule = parameter.range_text.replace("'", '`')
        lines.append(f'| `{parameter.name}` | {parameter.kind} | `{text}` | {rule} | {live} | '
                     f'{parameter.meaning} |')
    return '\n'.join(lines)
