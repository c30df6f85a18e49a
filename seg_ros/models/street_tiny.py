# SPDX-License-Identifier: Apache-2.0
"""The embedded default: a small panoptic network for streets, its weights in the package."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
import hashlib
from importlib import resources
import json
import math
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from seg_ros.core.labels import LabelSet
from seg_ros.core.types import look_up, Segmentation, segmentation_from_map
from seg_ros.models.acceleration import accelerate
from seg_ros.models.contract import ALL_TASKS, fit, Model, ModelError, ModelInfo, ModelOptions
from seg_ros.models.postprocess import (
    Centres,
    find_centres,
    own_pixels,
    pixel_of_cell,
    require_finite,
)
from seg_ros.models.postprocess_labels import best_channels
from seg_ros.models.side_by_side import side_by_side
from seg_ros.models.weights import file_of, fill, ModelFile, read_file, refuse

FORMAT = 4
"""Version of the metadata; a file with another is refused."""

STRIDE = 4
"""Pixels of the network's input for each cell of its output, along each axis."""

OFFSET_UNIT = 16.0
"""Pixels of the network's input that an offset of 1 stands for."""

REACH = 24.0
"""Pixels of the network's input: a vote farther from every centre belongs to no instance."""

LIKELY = 0.5
"""Score of a centre that is one: scores are calibrated to it."""

MOST_CHANNELS = 512
"""Of a layer; a file with more is damaged, and must not make a network that fills the memory."""

_MULTIPLE = 2 * STRIDE
_WEIGHTS = 'street_tiny.safetensors'
_REMEDY = 'reinstall the package or give another file'

MODELS = (
    ModelInfo(spec='street_tiny', tasks=ALL_TASKS, parameters=944_352, license='Apache-2.0',
              summary='small panoptic network for streets, for demonstration and start-up'),
)


def load(name: str, options: ModelOptions) -> Model:
    """Load the network of the package, or of `options.weights`; raises ModelError."""
    if name:
        raise ModelError(f'unknown model street_tiny/{name}, expected street_tiny')
    return StreetTiny(options)


class Features(NamedTuple):
    """What the network says of (N, 3, H, W) images, with h = H / 4, w = W / 4, rounded up."""

    semantic: torch.Tensor  # (N, classes, H / 2, W / 2) logits
    centres: torch.Tensor  # (N, things, h, w) logits: the centre of an object of that class
    offsets: torch.Tensor  # (N, 2, h, w) rows, columns to the centre, OFFSET_UNIT pixels


class Channels(NamedTuple):
    """How wide the network is at each resolution, and between decoder and heads."""

    at_2: int = 16
    at_4: int = 48
    at_8: int = 64
    at_16: int = 128
    decoder: int = 48

    def times(self, width: int) -> Channels:
        """Return those of a network that is `width` times as wide."""
        return Channels(*(width * channels for channels in self))


CHANNELS = Channels()
"""Those of the packaged network."""


class ConvBn(nn.Module):
    """A convolution that keeps its size or divides it by the stride, normalised."""

    def __init__(self, inputs: int, outputs: int, *, size: int = 3, stride: int = 1,
                 dilation: int = 1, activated: bool = True) -> None:
        """Make the layers."""
        super().__init__()
        self.conv = nn.Conv2d(
            inputs, outputs, size, stride, dilation * (size // 2), dilation, bias=False)
        self.bn: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(outputs)
        self.activated = activated

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve, normalise, rectify."""
        y: torch.Tensor = self.bn(self.conv(x))
        return functional.relu(y, inplace=True) if self.activated else y

    def fuse(self) -> None:
        """Fold the normalisation into the convolution, for inference."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv = fuse_conv_bn_eval(self.conv, self.bn)
            self.bn = nn.Identity()


class Head(nn.Conv2d):
    """A 1x1 convolution with a bias whose outputs are answers."""

    def __init__(self, inputs: int, outputs: int) -> None:
        """Make the layer."""
        super().__init__(inputs, outputs, 1)
        self.answers = outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve."""
        return super().forward(x)[:, :self.answers]

    def pad(self) -> None:
        """Add outputs that are always 0, to a multiple of 16, for inference.

        What a CPU does for other numbers takes up to four times as long, and rounds differently
        by the number of threads.
        """
        lacking = -self.answers % 16
        self.weight = nn.Parameter(functional.pad(self.weight, (0, 0) * 3 + (0, lacking)))
        if self.bias is not None:
            self.bias = nn.Parameter(functional.pad(self.bias, (0, lacking)))


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, channels: int, *, dilation: int = 1) -> None:
        """Make the layers; the second convolution is the dilated one."""
        super().__init__()
        self.first = ConvBn(channels, channels)
        self.second = ConvBn(channels, channels, dilation=dilation, activated=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add what the convolutions find."""
        return functional.relu(x + self.second(self.first(x)), inplace=True)


class Context(nn.Module):
    """Adds to every cell what the whole image looks like."""

    def __init__(self, channels: int) -> None:
        """Make the layer."""
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the mixed mean."""
        mixed: torch.Tensor = self.mix(x.mean(dim=(2, 3), keepdim=True))
        return x + mixed


class StreetNetwork(nn.Module):
    """Residual encoder to 1/16, additive decoder to 1/4, heads after Panoptic-DeepLab.

    Dense 3x3 convolutions only: on a CPU they run at several times the arithmetic rate of
    depthwise ones. Heads: Cheng et al. 2020, "Panoptic-DeepLab", with a centre map a thing class,
    and classes at 1/2 with few channels, because a pole is narrower than a cell of 1/4.
    """

    def __init__(self, *, classes: int, things: int, channels: Channels = CHANNELS) -> None:
        """Make the layers; without `channels` those of the packaged network."""
        super().__init__()
        self.things = things
        c2, c4, c8, c16, decoder = channels
        self.to_2 = ConvBn(3, c2, stride=2)
        self.to_4 = ConvBn(c2, c4, stride=2)
        self.to_8 = nn.Sequential(
            ConvBn(c4, c8, stride=2), Residual(c8), Residual(c8))
        self.to_16 = nn.Sequential(
            ConvBn(c8, c16, stride=2), Residual(c16, dilation=2), Residual(c16, dilation=8),
            Context(c16))
        self.from_16 = ConvBn(c16, c8, size=1)
        self.skip_8 = ConvBn(c8, c8, size=1)
        self.mix_8 = ConvBn(c8, c8)
        self.from_8 = ConvBn(c8, c4, size=1)
        self.skip_4 = ConvBn(c4, c4, size=1)
        self.mix_4 = ConvBn(c4, decoder)
        self.from_4 = ConvBn(decoder, c2, size=1)
        self.skip_2 = ConvBn(c2, c2, size=1)
        self.semantic = nn.Sequential(ConvBn(c2, c2), Head(c2, classes))
        self.instance = Head(decoder, things + 2)
        # centres are rare: start from a probability of 2 %
        nn.init.constant_(self.instance.get_parameter('bias')[:things], -4.0)

    def forward(self, x: torch.Tensor) -> Features:
        """Segment (N, 3, H, W) normalised images of any size."""
        at_2: torch.Tensor = self.to_2(x)
        at_4: torch.Tensor = self.to_4(at_2)
        at_8: torch.Tensor = self.to_8(at_4)
        at_16: torch.Tensor = self.to_16(at_8)
        up_8 = self.mix_8(_twice(self.from_16(at_16), like=at_8) + self.skip_8(at_8))
        up_4 = self.mix_4(_twice(self.from_8(up_8), like=at_4) + self.skip_4(at_4))
        up_2 = _twice(self.from_4(up_4), like=at_2) + self.skip_2(at_2)
        instance: torch.Tensor = self.instance(up_4)
        return Features(
            semantic=self.semantic(up_2),
            centres=instance[:, :self.things],
            offsets=instance[:, self.things:])

    def fuse(self) -> None:
        """Fold every normalisation into its convolution; the network is for inference then."""
        for module in self.modules():
            if isinstance(module, ConvBn):
                module.fuse()
            elif isinstance(module, Head):
                module.pad()


def channels_of(tensors: Mapping[str, torch.Tensor]) -> Channels:
    """Return how wide the network of these tensors is; CHANNELS where they are of none."""
    writers = 'to_2', 'to_4', 'to_8.0', 'to_16.0', 'mix_4'
    kernels = (tensors.get(f'{name}.conv.weight', torch.empty(0)) for name in writers)
    counts = [len(kernel) if kernel.ndim else 0 for kernel in kernels]
    # what does not fit CHANNELS either is refused for its shapes
    return Channels(*counts) if all(0 < c <= MOST_CHANNELS for c in counts) else CHANNELS


def _twice(x: torch.Tensor, *, like: torch.Tensor) -> torch.Tensor:
    """Enlarge by two, and cut what an odd size has too much."""
    # a fixed factor, not a size: cells lie at the same places for odd and even sizes
    doubled = functional.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)
    return doubled[..., :like.shape[2], :like.shape[3]]


@dataclass(frozen=True)
class Contract:
    """What a weights file says of itself: its label set and what its network expects."""

    class_names: tuple[str, ...]
    things: tuple[str, ...]  # in the order of the network's centre maps
    input_size: tuple[int, int]  # width, height of the training images, pixels
    mean: tuple[float, float, float]  # of RGB values in [0, 255]
    std: tuple[float, float, float]
    score_scale: float  # score = sigmoid(scale * centre logit + bias)
    score_bias: float

    @property
    def label_set(self) -> LabelSet:
        """Return the classes of the network."""
        return LabelSet(self.class_names, frozenset(self.things))

    def metadata(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
        """Return the safetensors metadata that belongs to this contract and these tensors."""
        fields = {name: json.dumps(value) for name, value in asdict(self).items()}
        return {**fields, 'format': str(FORMAT), 'content_sha256': _digest(fields, tensors)}

    @staticmethod
    def from_metadata(metadata: Mapping[str, str]) -> Contract:
        """Read the fields; raises KeyError, TypeError or ValueError where one is no good."""
        if metadata['format'] != str(FORMAT):
            raise ValueError(f'its format is {metadata["format"]}, expected {FORMAT}')
        fields: dict[str, Any] = {}
        for name in Contract.__dataclass_fields__:
            value = json.loads(metadata[name])
            fields[name] = tuple(value) if isinstance(value, list) else value
        contract = Contract(**fields)
        contract._check()
        return contract

    def _check(self) -> None:
        """Raise TypeError or ValueError where a field makes no sense."""
        if not self.label_set.things:
            raise ValueError('it names no thing classes')
        numbers = (*self.input_size, *self.mean, *self.std, self.score_scale, self.score_bias)
        lengths = len(self.input_size), len(self.mean), len(self.std)
        if lengths != (2, 3, 3) or not all(map(math.isfinite, numbers)):
            raise ValueError('its input size or normalisation is no list of numbers')
        if min(*self.input_size, *self.std) <= 0:
            raise ValueError('its input size or normalisation is not positive')


def _digest(fields: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> str:
    """Return the sha256 of the metadata's fields and of the tensors, both sorted by name."""
    # safetensors has no checksum, and a flipped bit in a weight is a valid number
    sha = hashlib.sha256(json.dumps(fields, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}'.encode())
        sha.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


@dataclass(frozen=True)
class Weights:
    """A weights file that was read and found whole."""

    contract: Contract
    tensors: Mapping[str, torch.Tensor]
    sha256: str  # of the bytes that were parsed


def read_weights(path: str, *, sha256: str = '') -> Weights:
    """Read a file, the package's where path is empty; raises ModelError."""
    if path:
        file = read_file(path, sha256=sha256, remedy=_REMEDY)
    else:
        data = (resources.files('seg_ros.models') / 'weights' / _WEIGHTS).read_bytes()
        file = file_of(data, name=f'{_WEIGHTS} of the package', sha256=sha256, remedy=_REMEDY)
    try:
        return _parse_weights(file)
    except KeyError as error:
        refuse(file.name, f'its metadata lacks {error}', remedy=_REMEDY)
    except (TypeError, ValueError) as error:
        refuse(file.name, str(error), remedy=_REMEDY)
    except SafetensorError as error:
        refuse(file.name, f'it is no safetensors file ({error})', remedy=_REMEDY)


def _parse_weights(file: ModelFile) -> Weights:
    """Parse the bytes of a safetensors file and check them against their own metadata."""
    tensors = parse_safetensors(file.data)
    metadata = _metadata(file.data)
    contract = Contract.from_metadata(metadata)
    fields = {name: metadata[name] for name in Contract.__dataclass_fields__}
    if metadata['content_sha256'] != _digest(fields, tensors):
        raise ValueError('its content does not have the checksum that it was written with')
    return Weights(contract=contract, tensors=tensors, sha256=file.sha256)


def _metadata(data: bytes) -> Mapping[str, str]:
    """Return the metadata in the header of a safetensors file that was parsed before."""
    # the header is a length in 8 bytes, little endian, and so many bytes of JSON
    header = json.loads(data[8:8 + int.from_bytes(data[:8], 'little')])
    metadata: Mapping[str, str] = header.get('__metadata__', {})
    return metadata


def _build(weights: Weights, name: str) -> StreetNetwork:
    """Make the network for inference; raises ModelError where the tensors do not fit it."""
    contract = weights.contract
    network = StreetNetwork(classes=len(contract.class_names), things=len(contract.things),
                            channels=channels_of(weights.tensors))
    fill(network, weights.tensors, name=name, remedy=_REMEDY)
    network.eval()
    network.fuse()
    return network


class StreetTiny:
    """The model: classes and instances of street scenes, images of any size."""

    tasks = ALL_TASKS

    def __init__(self, options: ModelOptions) -> None:
        """Read the weights and put the network on the device; raises ModelError."""
        self.options = options
        weights = read_weights(options.weights, sha256=options.sha256)
        self.contract = weights.contract
        self.label_set = weights.contract.label_set
        self.sha256 = weights.sha256
        network = _build(weights, options.weights or _WEIGHTS)
        self.network = accelerate(network, options)
        mean, std = (torch.tensor(values, device=options.device).view(1, 3, 1, 1)
                     for values in (self.contract.mean, self.contract.std))
        self._gain, self._offset = 1 / std, -mean / std
        thing_ids = [self.label_set.id_of(name) for name in self.contract.things]
        self._thing_ids = torch.tensor(thing_ids, device=options.device)
        # 0 = stuff, otherwise 1 + the class's place among the centre maps
        self._layer_of_class = torch.zeros(256, dtype=torch.uint8, device=options.device)
        self._layer_of_class[self._thing_ids] = torch.arange(
            1, len(thing_ids) + 1, dtype=torch.uint8, device=options.device)

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Segmentation]:
        """Segment (H, W, 3) uint8 RGB images, each at its own size; raises ModelError."""
        # each by itself: a batch may round differently, and one image must have one answer;
        # compiled code belongs to one thread
        if self.options.device.type == 'cpu' and self.options.acceleration.compile == 'off':
            return side_by_side(self._segment, images)
        return [self._segment(image) for image in images]

    @torch.inference_mode()
    def _segment(self, image: NDArray[np.uint8]) -> Segmentation:
        """Segment one image."""
        height, width = image.shape[:2]
        if not height or not width:
            raise ModelError(f'street_tiny got an image of {width}x{height}, expected pixels')
        features = self.network(self._prepare(image))
        require_finite(features, model='street_tiny')
        return self._decode(features, height=height, width=width)

    def _prepare(self, image: NDArray[np.uint8]) -> torch.Tensor:
        """Return the (1, 3, h, w) normalised input, at the size that the network works at."""
        height, width = image.shape[:2]
        pixels = torch.from_numpy(np.array(image, order='C')).to(self.options.device)
        x = pixels[None].permute(0, 3, 1, 2)
        wanted = self.options.input_size
        size = fit(height=height, width=width, into=wanted) if wanted else \
            working_size(height=height, width=width, trained=self.contract.input_size)
        if size != (height, width):
            # bytes are resized several times as fast, where the device can
            x = functional.interpolate(x if x.device.type == 'cpu' else x.float(), size=size,
                                       mode='bilinear', align_corners=False, antialias=True)
        return torch.addcmul(self._offset, x.float(), self._gain)  # one pass: half of the time

    def _decode(self, features: Features, *, height: int, width: int) -> Segmentation:
        """Make the maps of one (height, width) image on the device, then copy them over."""
        classes, confidence = best_channels(features.semantic[0].float(), size=(height, width),
                                            want_confidence=self.options.confidence)
        centres = self._centres(features)
        owners = self._owner_of_pixel(self._votes(features), centres, classes)
        class_map, instance_map = classes.cpu().numpy(), owners.cpu().numpy()
        class_ids = self._thing_ids[centres.things].tolist()
        scores = centres.scores.tolist()
        for class_id, region in self._unowned_regions(class_map, instance_map, features):
            class_ids.append(class_id)
            scores.append(self._share_of_class(features, class_id, region))
            instance_map[region] = len(scores)
        wanted = np.array([0, *scores]) >= self.options.score_threshold
        values = np.arange(len(wanted), dtype=np.int32) * wanted
        return segmentation_from_map(
            class_map=class_map, instance_map=look_up(values, instance_map),
            class_ids=class_ids, scores=scores, confidence=confidence)

    def _centres(self, features: Features) -> Centres:
        """Return the likely centres, and less likely ones where they are wanted."""
        # who asks for sure instances only must not get what the others leave as one object
        peaks = find_centres(
            self._scores(features), threshold=min(self.options.score_threshold, LIKELY),
            stride=STRIDE, window=3)
        return without_echoes(peaks, features.offsets[0].float())

    def _votes(self, features: Features) -> torch.Tensor:
        """Return where each cell of 1/2 believes its object's centre to be, (2, 2h, 2w)."""
        return votes_of_offsets(refined_offsets(features.offsets[0].float()))

    def _unowned_regions(self, class_map: NDArray[np.uint8], instance_map: NDArray[np.int32],
                         features: Features) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Yield class and (H, W) mask of what is an object, though no centre was found for it.

        Large near ones are cut by the image's border, and their centres are hard to see. What a
        centre's votes miss at its object's rim is smaller than a circle of REACH.
        """
        seen = features.offsets[0, 0].numel() * STRIDE ** 2
        least = max(math.pi * REACH ** 2 * class_map.size / seen, self.options.min_area)
        layers = look_up(self._layer_of_class.cpu().numpy(), class_map)
        layers[instance_map > 0] = 0
        if np.count_nonzero(layers) < least:
            return
        for layer, class_id in enumerate(self._thing_ids.tolist(), start=1):
            yield from ((class_id, region) for region in large_regions(
                layers == layer, least=least))

    def _share_of_class(self, features: Features, class_id: int, region: NDArray[np.bool_]
                        ) -> float:
        """Return the mean probability of a class over the cells of an (H, W) region."""
        logits = features.semantic[0].float()
        cells = torch.from_numpy(sampled(region, logits.shape[1:])).to(logits.device)
        # a cell in a row, and numpy's mean: others round differently by the number of threads
        by_cell = logits[:, cells].T.contiguous().softmax(dim=1)
        return float(by_cell[:, class_id].cpu().numpy().mean())

    def _scores(self, features: Features) -> torch.Tensor:
        """Return the (things, h, w) scores: how likely a centre there is a true instance."""
        logits = features.centres[0].float()
        return torch.sigmoid(logits * self.contract.score_scale + self.contract.score_bias)

    def _owner_of_pixel(self, votes: torch.Tensor, centres: Centres, classes: torch.Tensor
                        ) -> torch.Tensor:
        """Return the (H, W) int32 instance map of (2, h, w) votes and (H, W) classes."""
        rows, columns = (_nearest(cells, pixels, votes.device) for cells, pixels in zip(
            votes.shape[1:], classes.shape, strict=True))
        return own_pixels(
            classes, votes, centres, things=len(self.contract.things), cells=(rows, columns),
            layer_of_class=self._layer_of_class, reach=REACH, min_area=self.options.min_area)


def working_size(*, height: int, width: int, trained: tuple[int, int]) -> tuple[int, int]:
    """Return the (height, width) that the network sees of a height x width image.

    As many pixels as the (width, height) that it was trained at, in the image's proportions (up
    to 16 to 1), rounded so that its output grid covers the image exactly.
    """
    ratio = min(max(height / width, 1 / 16), 16)
    area = trained[0] * trained[1]
    return (max(round(math.sqrt(area * ratio) / _MULTIPLE), 1) * _MULTIPLE,
            max(round(math.sqrt(area / ratio) / _MULTIPLE), 1) * _MULTIPLE)


def without_echoes(centres: Centres, offsets: torch.Tensor) -> Centres:
    """Return the centres less those that believe in a better one of their class.

    Objects stand closer than one object's peaks lie, so that no window tells them apart; but the
    cell of a true centre points at itself. It is an echo unless (2, h, w) offsets lead it to less
    than half as far from itself as from every better one.
    """
    rows, columns = (centres.positions / STRIDE).long().T
    votes = centres.positions + OFFSET_UNIT * offsets[:, rows, columns].T
    away = torch.cdist(votes, centres.positions)
    is_better = (centres.things[:, None] == centres.things).tril(diagonal=-1)
    is_echo = (is_better & (away < 2 * away.diagonal()[:, None])).any(dim=1)
    return centres.take(~is_echo)


def refined_offsets(offsets: torch.Tensor) -> torch.Tensor:
    """Return (2, h, w) offsets, each led on half of the way by the cell that it points at.

    That cell lies nearer to the centre, and knows better where it is.
    """
    cells = offsets * (OFFSET_UNIT / STRIDE)
    rows, columns = (
        (torch.arange(size, device=cells.device).view(shape) + step).round().long().clamp(
            0, size - 1)
        for size, shape, step in zip(cells.shape[1:], ((-1, 1), (1, -1)), cells, strict=True))
    return offsets + 0.5 * offsets[:, rows, columns]


def sampled(pixels: NDArray[Any], cells: Sequence[int]) -> NDArray[Any]:
    """Return the (h, w) values of (H, W) pixels at cells (h, w): the first pixel of each."""
    rows, columns = (np.arange(count) * size // count
                     for count, size in zip(cells, pixels.shape, strict=True))
    return pixels[rows][:, columns]


def large_regions(mask: NDArray[np.bool_], *, least: float) -> Iterator[NDArray[np.bool_]]:
    """Yield the connected parts of an (H, W) mask that have at least so many pixels."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    for part, area in enumerate(stats[1:, cv2.CC_STAT_AREA], start=1):
        if area >= least:
            yield labels == part


def votes_of_offsets(offsets: torch.Tensor) -> torch.Tensor:
    """Return where (2, h, w) offsets point: (2, 2h, 2w) rows, columns, pixels of the input."""
    fine = functional.interpolate(offsets[None], scale_factor=2, mode='bilinear',
                                  align_corners=False)[0]
    height, width = fine.shape[1:]
    rows = pixel_of_cell(torch.arange(height, device=fine.device), stride=STRIDE / 2)
    columns = pixel_of_cell(torch.arange(width, device=fine.device), stride=STRIDE / 2)
    return fine * OFFSET_UNIT + torch.stack(torch.meshgrid(rows, columns, indexing='ij'))


def _nearest(cells: int, pixels: int, device: torch.device) -> torch.Tensor:
    """Return the (pixels,) index of the cell that each pixel of an axis lies in."""
    return torch.div(torch.arange(pixels, device=device) * cells, pixels, rounding_mode='floor')
