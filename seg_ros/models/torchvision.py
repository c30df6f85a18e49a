# SPDX-License-Identifier: Apache-2.0
"""torchvision's own: LRASPP, DeepLabV3 and FCN for classes, Mask R-CNN for instances."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torchvision.models import get_model, get_model_weights, WeightsEnum
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import resize_boxes
from torchvision.ops import FrozenBatchNorm2d
from torchvision.transforms import functional

from seg_ros.core.labels import LabelSet
from seg_ros.core.types import Segmentation, VOID
from seg_ros.models.acceleration import accelerate
from seg_ros.models.contract import fit, Model, ModelError, ModelInfo, ModelOptions, Task
from seg_ros.models.postprocess import paint_crops, require_finite
from seg_ros.models.postprocess_labels import label_pixels
from seg_ros.models.weights import check_pin, fill, ModelFile, parse_tensors, read_file, refuse

MAX_ASPECT = 8
"""A frame that is longer than so many times its other side is seen at a lower resolution."""

_NOT_CLASSES = ('__background__', 'N/A')
_SEMANTIC = ('lraspp_mobilenet_v3_large', 'deeplabv3_mobilenet_v3_large', 'deeplabv3_resnet50',
             'deeplabv3_resnet101', 'fcn_resnet50', 'fcn_resnet101')
_INSTANCE = ('maskrcnn_resnet50_fpn', 'maskrcnn_resnet50_fpn_v2')


def published_weights(name: str) -> WeightsEnum:
    """Return what torchvision says of a model's weights: address, class names, preprocessing."""
    return get_model_weights(name).DEFAULT


def _info(name: str, task: Task, summary: str) -> ModelInfo:
    return ModelInfo(
        spec=f'torchvision/{name}', tasks=frozenset({task}), license='BSD-3-Clause',
        parameters=published_weights(name).meta['num_params'], summary=summary)


MODELS = (
    *(_info(name, Task.SEMANTIC, 'the 20 classes of Pascal VOC') for name in _SEMANTIC),
    *(_info(name, Task.INSTANCE, 'the 80 classes of COCO') for name in _INSTANCE),
)


def load(name: str, options: ModelOptions) -> Model:
    """Load a network with its published weights or with `options.weights`; raises ModelError."""
    if name not in (*_SEMANTIC, *_INSTANCE):
        raise ModelError(f'unknown model torchvision/{name}, expected one of '
                         f'{", ".join(info.spec for info in MODELS)}')
    published = published_weights(name)
    file = _weights_file(name, published, options)
    classes = len(published.meta['categories'])
    network = _empty_network(name, classes=classes)
    tensors = {key: tensor for key, tensor in parse_tensors(file).items()
               if not key.startswith('aux_classifier.')}  # a head for training only
    fill(network, tensors, name=file.name,
         remedy=f'give the weights of a {name} of {classes} classes')
    kind = Semantic if name in _SEMANTIC else MaskRcnn
    return kind(network, spec=f'torchvision/{name}', sha256=file.sha256, options=options,
                classes=classes_of(published))


def _empty_network(name: str, *, classes: int) -> nn.Module:
    """Make a network; without `weights_backbone` torchvision would download one."""
    network: nn.Module = get_model(name, weights=None, weights_backbone=None, num_classes=classes)
    if name == 'maskrcnn_resnet50_fpn':
        _freeze_norms(network)
    return network


def _freeze_norms(network: nn.Module) -> None:
    """Give a network the normalisation that the weights of Mask R-CNN v1 were trained with."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, FrozenBatchNorm2d(child.num_features, eps=0.0))


def cached_file(published: WeightsEnum) -> Path:
    """Return where torch keeps published weights once somebody fetched them."""
    return Path(torch.hub.get_dir()) / 'checkpoints' / Path(published.url).name


def _weights_file(name: str, published: WeightsEnum, options: ModelOptions) -> ModelFile:
    """Read the user's file, or torch's cache, filled first if that is allowed."""
    if options.weights:
        return read_file(options.weights, sha256=options.sha256)
    path = cached_file(published)
    if not path.exists():
        if not options.allow_download:
            raise ModelError(
                f'the weights of torchvision/{name} are not on this machine: no {path}; fetch '
                f'them with `curl --create-dirs -o {path} {published.url}`, give a file as '
                '*_weights, or set allow_download')
        download(published.url, path)
    # torchvision's file names end in the first digits of their sha256
    file = read_file(path, sha256=path.stem.rpartition('-')[2],
                     remedy='delete it and fetch it again')
    check_pin(path, file.sha256, wanted=options.sha256)
    return file


def download(url: str, path: Path) -> None:
    """Fetch a file whose name ends in the first digits of its sha256; raises ModelError."""
    prefix = path.stem.rpartition('-')[2]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix)
    except (URLError, OSError, RuntimeError) as error:
        refuse(url, f'the download failed ({error})',
               remedy=f'fetch it by hand to {path}, or give a file as *_weights')


@dataclass(frozen=True, eq=False)
class Classes:
    """The classes of published weights, without those that are none."""

    label_set: LabelSet
    table: torch.Tensor  # (channels,) uint8 channel of the network -> class id, 255 = void


def classes_of(published: WeightsEnum) -> Classes:
    """Return the classes that metadata names.

    Background says that none of the classes is there, which is what void says; a class of its
    own would be taken for something known. The ten N/A of COCO were never trained. VOC and COCO
    name countable things only.
    """
    channels = published.meta['categories']
    names = tuple(name for name in channels if name not in _NOT_CLASSES)
    table = [VOID if name in _NOT_CLASSES else names.index(name) for name in channels]
    return Classes(label_set=LabelSet(names, frozenset(names)),
                   table=torch.tensor(table, dtype=torch.uint8))


class _Network:
    """What the two kinds of models share: one image at a time, to the device and back."""

    tasks: frozenset[Task]

    def __init__(self, network: nn.Module, *, spec: str, sha256: str, options: ModelOptions,
                 classes: Classes) -> None:
        """Put a network on the device."""
        self.network = accelerate(network, options)
        self.spec = spec
        self.sha256 = sha256
        self.options = options
        self.label_set = classes.label_set
        self._class_table = classes.table.to(options.device)

    @torch.inference_mode()
    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Segmentation]:
        """Segment (H, W, 3) uint8 RGB images, each at its own size; raises ModelError."""
        # one at a time: a batch may round differently, and one image must have one answer
        return [self._segment(self._pixels(image)) for image in images]

    def _pixels(self, image: NDArray[np.uint8]) -> torch.Tensor:
        """Return (3, H, W) uint8 on the device."""
        if not image.size:
            raise ModelError(f'{self.spec} got an image of {image.shape[1]}x{image.shape[0]}, '
                             'expected pixels')
        return torch.from_numpy(np.array(image, order='C')).to(self.options.device).permute(
            2, 0, 1)

    def _segment(self, pixels: torch.Tensor) -> Segmentation:
        raise NotImplementedError


class _CoarseLogits(nn.Module):
    """(N, 3, H, W) normalised images -> (N, C, h, w) logits at the network's own resolution.

    torchvision's forward would resize them to its input; once, to the frame, is faster and
    sharper.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.backbone, self.classifier = network.backbone, network.classifier

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.backbone(images)
        is_lraspp = 'high' in features
        logits: torch.Tensor = self.classifier(features if is_lraspp else features['out'])
        return logits


class Semantic(_Network):
    """LRASPP, DeepLabV3 or FCN: a class for each pixel."""

    tasks = frozenset({Task.SEMANTIC})
    short_side = 520
    """Pixels of the network's input, as in torchvision's preset for these weights."""

    def __init__(self, network: nn.Module, *, spec: str, sha256: str, options: ModelOptions,
                 classes: Classes) -> None:
        """Put a network on the device."""
        super().__init__(_CoarseLogits(network), spec=spec, sha256=sha256, options=options,
                         classes=classes)
        self._input_size = options.input_size

    def _segment(self, pixels: torch.Tensor) -> Segmentation:
        logits = self.network(self._prepare(pixels)[None])[0]
        require_finite([logits], model=self.spec)
        height, width = pixels.shape[1:]
        return label_pixels(logits, size=(height, width), class_table=self._class_table,
                            options=self.options)

    def _prepare(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the (3, h, w) input that torchvision's preset `SemanticSegmentation` makes."""
        height, width = pixels.shape[1:]
        size = fit(height=height, width=width, into=self._input_size) if self._input_size else \
            preset_size(height, width, short_side=self.short_side)
        resized = functional.resize(pixels, list(size), antialias=True)
        return functional.normalize(
            functional.convert_image_dtype(resized), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def preset_size(height: int, width: int, *, short_side: int) -> tuple[int, int]:
    """Return the (height, width) whose short side is given, rounded as torchvision's resize."""
    short, long = min(height, width), max(height, width)
    if long > MAX_ASPECT * short:
        scaled_short = max(short_side * MAX_ASPECT * short // long, 1)
        scaled_long = short_side * MAX_ASPECT
    else:
        scaled_short, scaled_long = short_side, int(short_side * long / short)
    return (scaled_short, scaled_long) if height <= width else (scaled_long, scaled_short)


class _Detector(nn.Module):
    """Mask R-CNN on an image that its transform has prepared, with all that its heads said."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.backbone, self.rpn, self.roi_heads = network.backbone, network.rpn, network.roi_heads
        # torchvision drops NaN like a low score: what the heads say is looked at before
        self.said: list[torch.Tensor] = []
        for head in (self.rpn.head, self.roi_heads.box_predictor, self.roi_heads.mask_predictor):
            head.register_forward_hook(self._overhear)

    def forward(self, image: torch.Tensor, size: tuple[int, int]) -> dict[str, torch.Tensor]:
        """Find the instances in (1, 3, H, W) of which (height, width) is no padding."""
        return self._detect(image, size, self.backbone(image))

    @torch.compiler.disable
    def _detect(self, image: torch.Tensor, size: tuple[int, int],
                features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Find without the compiler: how many there are differs from image to image."""
        self.said.clear()
        proposals, _ = self.rpn(ImageList(image, [size]), features)
        found: dict[str, torch.Tensor] = self.roi_heads(features, proposals, [size])[0][0]
        return found

    def _overhear(self, head: nn.Module, inputs: Any, output: Any) -> Any:
        """Note what a head says; it goes on in fp32, in 16 bits boxes would jump by pixels."""
        exact = _in_fp32(output)
        self.said.extend(_tensors_of(exact))
        return exact


class MaskRcnn(_Network):
    """Mask R-CNN, v1 or v2: boxes with a crop of the mask in each."""

    tasks = frozenset({Task.INSTANCE})

    def __init__(self, network: Any, *, spec: str, sha256: str, options: ModelOptions,
                 classes: Classes) -> None:
        """Put a network on the device."""
        self._detector = _Detector(network)
        super().__init__(self._detector, spec=spec, sha256=sha256, options=options,
                         classes=classes)
        self.transform = network.transform
        if options.input_size:
            self.transform.min_size = (min(options.input_size),)
            self.transform.max_size = max(options.input_size)
        self._least_score = network.roi_heads.score_thresh

    def _segment(self, pixels: torch.Tensor) -> Segmentation:
        height, width = pixels.shape[1:]
        if min(height, width) * self.transform.max_size < max(height, width):
            raise ModelError(f'{self.spec} got an image of {width}x{height}, expected no side '
                             f'longer than {self.transform.max_size} times the other')
        images, _ = self.transform([functional.convert_image_dtype(pixels)])
        # what nobody wants needs no suppression and no mask
        self._detector.roi_heads.score_thresh = max(
            self._least_score, _just_below(self.options.score_threshold))
        found = self.network(images.tensors, images.image_sizes[0])
        require_finite(self._detector.said, model=self.spec)
        class_ids = self._class_table[found['labels']]
        known = class_ids != VOID
        boxes = resize_boxes(found['boxes'], images.image_sizes[0], (height, width))
        return paint_crops(
            crops=found['masks'][known, 0], boxes=boxes[known], class_ids=class_ids[known],
            scores=found['scores'][known], size=(height, width), options=self.options)


def _in_fp32(output: Any) -> Any:
    """Return what a module put out, a tensor or nested lists of them, in fp32."""
    if isinstance(output, torch.Tensor):
        return output.float()
    return type(output)(_in_fp32(part) for part in output)


def _tensors_of(output: Any) -> list[torch.Tensor]:
    """Return the tensors in what a module put out."""
    if isinstance(output, torch.Tensor):
        return [output]
    return [tensor for part in output for tensor in _tensors_of(part)]


def _just_below(threshold: float) -> float:
    """Return the float32 before a threshold: torchvision keeps what is above it, we what is at."""
    return float(np.nextafter(np.float32(threshold), np.float32(-1)))
