# SPDX-License-Identifier: Apache-2.0
"""Networks of transformers as models: built from bytes that were hashed, run image by image."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
import transformers
from transformers.utils import logging as transformers_logging

from seg_ros.core.types import Segmentation
from seg_ros.models.acceleration import accelerate
from seg_ros.models.contract import ALL_TASKS, Model, ModelError, ModelOptions, Moment, Task
from seg_ros.models.hub.classes import Classes, read_classes
from seg_ros.models.hub.eomt import EomtNetwork
from seg_ros.models.hub.preparation import Preparation, Prepared, read_preparation
from seg_ros.models.postprocess import require_finite
from seg_ros.models.postprocess_labels import label_pixels
from seg_ros.models.postprocess_queries import Queries, QueryContract, segment_queries
from seg_ros.models.postprocess_windows import label_windows, Windows
from seg_ros.models.weights import ModelFolder, parse_tensors, read_file, refuse

_TRAINED = 'network.encoder.backbone.'  # what the tensors of EoMT's training code begin with
_MOST_WINDOWS = 16  # of an image that is longer than wide
_LONGEST_GAP_NS = 1_000_000_000  # after a longer one a stream starts anew
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kind:
    """A kind of network of transformers, by the `model_type` of its config."""

    network: str  # name of its class
    processor: str  # name of its image processor's class
    has_queries: bool = True
    null_class: bool = True  # queries: softmax with a null class, else sigmoids
    all_things: bool = False  # finds nothing that is not countable
    is_eomt: bool = False
    is_square: bool = False  # sees squares, whatever the image's proportions


KINDS = {
    'segformer': Kind('SegformerForSemanticSegmentation', 'SegformerImageProcessor',
                      has_queries=False),
    'upernet': Kind('UperNetForSemanticSegmentation', 'SegformerImageProcessor',
                    has_queries=False),
    'rf_detr': Kind('RfDetrForInstanceSegmentation', 'RfDetrImageProcessor',
                    null_class=False, all_things=True, is_square=True),
    'maskformer': Kind('MaskFormerForInstanceSegmentation', 'MaskFormerImageProcessor'),
    'mask2former': Kind('Mask2FormerForUniversalSegmentation', 'Mask2FormerImageProcessor'),
    'oneformer': Kind('OneFormerForUniversalSegmentation', 'OneFormerImageProcessor'),
    'eomt': Kind('EomtForUniversalSegmentation', 'EomtImageProcessor', is_eomt=True),
    'eomt_dinov3': Kind('EomtDinov3ForUniversalSegmentation', 'EomtImageProcessor', is_eomt=True),
    'videomt': Kind('VideomtForUniversalSegmentation', 'VideomtVideoProcessor', is_eomt=True),
}


def build(name: str, folder: Path, content: ModelFolder, options: ModelOptions) -> Model:
    """Return the model of a folder that was read; raises ModelError."""
    spec = f'huggingface/{name}'
    tensors = parse_tensors(read_file(options.weights)) if options.weights else content.tensors
    _refuse_training_code(tensors, options.weights or spec)
    config = _setting(content, ('config.json',), spec)
    kind = KINDS.get(config.get('model_type', ''))
    if kind is None:
        refuse(spec, f'its model_type is {config.get("model_type")!r}, expected one of '
                     f'{", ".join(sorted(KINDS))}')
    try:
        settings = getattr(transformers, kind.network).config_class.from_dict(config)
        classes = read_classes(config, channels=settings.num_labels, all_things=kind.all_things)
        network = _network(kind, settings, tensors, options.weights or spec)
        return _model(_Parts(
            spec=spec, kind=kind, network=network, sha256=content.sha256, classes=classes,
            preparation=_preparation(kind, content, settings, spec, options.input_size)),
            folder, options)
    except ModelError:
        raise
    except (AttributeError, ImportError, KeyError, OSError, RuntimeError, TypeError, ValueError
            ) as error:
        refuse(spec, f'{type(error).__name__}: {error}')


@dataclass(frozen=True, eq=False)
class _Parts:
    """What a model is put together from."""

    spec: str
    kind: Kind
    network: Any  # a model of transformers
    classes: Classes
    preparation: Preparation
    sha256: str


def _model(parts: _Parts, folder: Path, options: ModelOptions) -> Model:
    """Return the class of model that runs a kind."""
    if not parts.kind.has_queries:
        return SemanticModel(parts, options)
    if parts.kind.network.startswith('Videomt'):
        return VideoModel(parts, options, EomtNetwork(parts.network, spreads=True))
    if parts.kind.is_eomt:
        make = WindowModel if parts.preparation.window else QueryModel
        return make(parts, options, EomtNetwork(
            parts.network, spreads=not parts.preparation.leaves_room))
    if parts.kind.network.startswith('OneFormer'):
        return OneFormerModel(parts, options, _OneFormer(parts.network), _task_tokens(folder))
    return QueryModel(parts, options, _ByName(parts.network))


def _setting(content: ModelFolder, names: Sequence[str], spec: str) -> dict[str, Any]:
    """Return the first of some JSON files that a folder has."""
    for name in names:
        if isinstance(content.settings.get(name), dict):
            return dict(content.settings[name])
    refuse(spec, f'it has no {" or ".join(names)}')


def _refuse_training_code(tensors: Mapping[str, torch.Tensor], name: str) -> None:
    """Raise ModelError where EoMT's training code named tensors, which may not be weights."""
    if not any(tensor.startswith(_TRAINED) for tensor in tensors):
        return
    if f'{_TRAINED}patch_embed.register_tokens' in tensors:
        refuse(name, "it holds differences to DINOv3's gated weights, not weights",
               remedy='give the complete checkpoint, such as '
                      'huggingface/tue-mps/eomt-dinov3-coco-panoptic-large-640')
    refuse(name, "its tensors have the names of EoMT's training code",
           remedy='give it as transformers saves it, such as '
                  'huggingface/tue-mps/coco_panoptic_eomt_large_640')


def _network(kind: Kind, settings: Any, tensors: Mapping[str, torch.Tensor], name: str) -> Any:
    """Return the network with its weights; raises ModelError that names where they are from."""
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        network, report = getattr(transformers, kind.network).from_pretrained(
            None, config=settings, state_dict=dict(tensors), dtype=torch.float32,
            output_loading_info=True, ignore_mismatched_sizes=True)
    finally:
        if bars:
            transformers_logging.enable_progress_bar()
    wrong = sorted(map(str, (*report['missing_keys'], *report['mismatched_keys'])))
    if wrong:
        refuse(name, f'{len(wrong)} tensors are missing or have another shape, such as {wrong[0]}')
    return network


def _preparation(kind: Kind, content: ModelFolder, settings: Any, spec: str,
                 input_size: tuple[int, int] | None) -> Preparation:
    """Return how images are made into pixels, of an input (width, height) if one is wanted."""
    steps = _setting(
        content, ('preprocessor_config.json', 'video_preprocessor_config.json',
                  'processor_config.json'), spec)
    # processors of images with text keep the image's part below a name
    steps = steps.get('image_processor', steps)
    # OneFormer's would fetch the names of the classes, which the config has
    steps.pop('class_info_file', None)
    processor = getattr(transformers, kind.processor).from_dict(steps)
    published = read_preparation(
        processor, patch=settings.patch_size if kind.is_eomt else 1,
        pads_pixels=kind.is_eomt, rounds=kind.network != 'RfDetrForInstanceSegmentation')
    if input_size is None:
        return published
    if not kind.is_square:
        return published.fitting(input_size)
    backbone = settings.backbone_config
    return _square(published, input_size, spec=spec,
                   step=backbone.patch_size * backbone.num_windows)


def _square(published: Preparation, input_size: tuple[int, int], *, spec: str, step: int
            ) -> Preparation:
    """Return a preparation of another square side; raises ModelError."""
    width, height = input_size
    if width != height or width % step:
        side = max(round(min(width, height) / step), 1) * step
        raise ModelError(f'model.input_size is {width}x{height}, but {spec} sees squares: '
                         f'expected sides that are multiples of {step}, such as {side}x{side}')
    return replace(published, shape=(height, width))


class _HubModel:
    """What all of them share; one image at a time: one image must have one answer."""

    def __init__(self, parts: _Parts, options: ModelOptions) -> None:
        """Take over the parts."""
        self.spec = parts.spec
        self.label_set = parts.classes.label_set
        self.sha256 = parts.sha256
        self.options = options
        self.preparation = parts.preparation

    @torch.inference_mode()
    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Segmentation]:
        """Segment (H, W, 3) uint8 RGB images, each at its own size; raises ModelError."""
        return [self._segment(image) for image in images]

    def _segment(self, image: NDArray[np.uint8]) -> Segmentation:
        raise NotImplementedError

    def _prepare(self, image: NDArray[np.uint8]) -> Prepared:
        if not image.size:
            raise ModelError(f'{self.spec} got an image of {image.shape[1]}x{image.shape[0]}, '
                             'expected pixels')
        return self.preparation.apply(image, self.options.device)


class SemanticModel(_HubModel):
    """SegFormer, UperNet: one logit a class."""

    tasks = frozenset({Task.SEMANTIC})

    def __init__(self, parts: _Parts, options: ModelOptions) -> None:
        """Take over the parts."""
        super().__init__(parts, options)
        self.network = accelerate(parts.network, options)
        self._channels = torch.tensor(parts.classes.used, device=options.device)
        self._ids = torch.arange(len(self.label_set), dtype=torch.uint8, device=options.device)

    def _segment(self, image: NDArray[np.uint8]) -> Segmentation:
        logits = self.network(pixel_values=self._prepare(image).pixels).logits
        require_finite([logits], model=self.spec)
        return label_pixels(logits[0, self._channels], size=image.shape[:2],
                            class_table=self._ids, options=self.options)


class _ByName(nn.Module):
    """The logits of MaskFormer, Mask2Former and RF-DETR-Seg, by whatever name."""

    def __init__(self, network: Any) -> None:
        """Take over the network."""
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (N, Q, h, w) mask logits and (N, Q, C) class logits."""
        answer = self.network(pixel_values=pixels)
        if 'pred_masks' in answer:
            return answer.pred_masks, answer.logits
        return answer.masks_queries_logits, answer.class_queries_logits


class _OneFormer(nn.Module):
    """The logits of OneFormer, which is told its task."""

    def __init__(self, network: Any) -> None:
        """Take over the network."""
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor, tokens: torch.Tensor
                ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (N, Q, h, w) mask logits and (N, Q, C) class logits; tokens are (1, n)."""
        answer = self.network(pixel_values=pixels, task_inputs=tokens)
        return answer.masks_queries_logits, answer.class_queries_logits


def _task_tokens(folder: Path) -> dict[Task, torch.Tensor]:
    """Return the tokens of the sentence that tells OneFormer its task."""
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    # the network reads token numbers as they are, zeros behind the sentence
    tokens = {task: tokenizer(f'the task is {task}', padding='max_length', truncation=True,
                              max_length=77, return_tensors='pt') for task in Task}
    return {task: text['input_ids'] * text['attention_mask'] for task, text in tokens.items()}


class QueryModel(_HubModel):
    """EoMT, MaskFormer and its heirs, RF-DETR-Seg: queries with a class and a mask each."""

    def __init__(self, parts: _Parts, options: ModelOptions, network: nn.Module) -> None:
        """Take over the parts; `network` gives the logits of masks and classes."""
        super().__init__(parts, options)
        self.network = accelerate(network, options)
        self.tasks = _tasks(self.spec, parts)
        self.contract = QueryContract(
            self.label_set, null_class=parts.kind.null_class, used=parts.classes.used,
            score_by_mask=parts.kind.null_class, carried=isinstance(self, VideoModel))

    @property
    def task(self) -> Task:
        """Return what the answer is for."""
        most = (Task.PANOPTIC, Task.INSTANCE, Task.SEMANTIC)
        return self.options.task or next(task for task in most if task in self.tasks)

    def _segment(self, image: NDArray[np.uint8]) -> Segmentation:
        prepared = self._prepare(image)
        masks, classes = self._logits(prepared.pixels)
        return self._settle(image, prepared, masks, classes)

    def _logits(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the (1, Q, h, w) mask and (1, Q, C) class logits."""
        masks, classes, *_ = self.network(pixels)
        return masks, classes

    def _settle(self, image: NDArray[np.uint8], prepared: Prepared, masks: torch.Tensor,
                classes: torch.Tensor) -> Segmentation:
        """Return the answer of the (1, Q, ...) logits of one image."""
        height, width = image.shape[:2]
        return segment_queries(
            Queries(classes[0], masks[0], extent=prepared.extent(masks.shape[2:])),
            size=(height, width), task=self.task, contract=self.contract, options=self.options)


def _tasks(spec: str, parts: _Parts) -> frozenset[Task]:
    """Return what can be answered: without things nothing can be counted."""
    if parts.kind.all_things:
        return frozenset({Task.INSTANCE})
    # trained for classes alone: a query is all objects of its class
    if parts.preparation.for_windows:
        return frozenset({Task.SEMANTIC})
    if parts.classes.label_set.things:
        return ALL_TASKS
    _logger.warning('%s does not say which of its classes are things, so it is semantic only; '
                    'list their names as "things" in its config.json', spec)
    return frozenset({Task.SEMANTIC})


class WindowModel(QueryModel):
    """EoMT for classes alone: trained on square windows, which slide over the image."""

    def _segment(self, image: NDArray[np.uint8]) -> Segmentation:
        height, width = image.shape[:2]
        if max(height, width) > _MOST_WINDOWS * min(height, width) > 0:
            raise ModelError(f'{self.spec} got an image of {width}x{height}, expected no side '
                             f'longer than {_MOST_WINDOWS} times the other')
        prepared = self._prepare(image)
        masks, classes = self._logits(prepared.pixels)
        return label_windows(
            Windows(class_logits=classes, mask_logits=masks, starts=prepared.starts,
                    side=prepared.pixels.shape[3], image_size=prepared.image_size),
            size=(height, width), contract=self.contract, options=self.options)


class OneFormerModel(QueryModel):
    """OneFormer: the network hears which task it is for."""

    def __init__(self, parts: _Parts, options: ModelOptions, network: nn.Module,
                 tokens: Mapping[Task, torch.Tensor]) -> None:
        """Take over the parts, and the (1, n) tokens of each task's sentence."""
        super().__init__(parts, options, network)
        self._tokens = {task: token.to(options.device) for task, token in tokens.items()}

    def _logits(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        masks, classes = self.network(pixels, self._tokens[self.task])
        return masks, classes


@dataclass(frozen=True, eq=False)
class _Past:
    """What a stream's last image left."""

    stamp: int  # ns
    size: tuple[int, int]  # of the image
    queries: torch.Tensor  # (1, Q, channels)

    def leads_to(self, image: NDArray[np.uint8], stamp: int) -> bool:
        """Return whether an image goes on from here."""
        return 0 <= stamp - self.stamp <= _LONGEST_GAP_NS and image.shape[:2] == self.size


class VideoModel(QueryModel):
    """VidEoMT: each image of a stream starts from the queries that the last one left."""

    def __init__(self, parts: _Parts, options: ModelOptions, network: nn.Module) -> None:
        """Take over the parts; no stream has begun."""
        super().__init__(parts, options, network)
        self._past: dict[str, _Past] = {}

    @torch.inference_mode()
    def predict_next(self, images: Sequence[NDArray[np.uint8]], moments: Sequence[Moment]
                     ) -> list[Segmentation]:
        """Segment the next image of each stream; see contract.StreamingModel."""
        past, answers = dict(self._past), []
        for image, moment in zip(images, moments, strict=True):
            prepared, before = self._prepare(image), past.get(moment.stream)
            goes_on = before is not None and before.leads_to(image, moment.stamp)
            found = self.network(prepared.pixels, before.queries if before and goes_on else None)
            answers.append(self._settle(image, prepared, found.masks, found.classes))
            # a copy: what a compiled network answers is overwritten by its next call
            past[moment.stream] = _Past(stamp=moment.stamp, size=image.shape[:2],
                                        queries=found.queries.clone())
        # only now: a batch that fails is tried again, image by image
        self._past = past
        return answers

    def forget(self) -> None:
        """Let the next image of each stream be its first."""
        self._past = {}
