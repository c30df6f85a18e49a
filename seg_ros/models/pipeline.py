# SPDX-License-Identifier: Apache-2.0
"""The models that a configuration names, run and merged into one answer in the user's classes."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import logging

import numpy as np
from numpy.typing import NDArray
import torch

from seg_ros.core.config import Config, parse_size
from seg_ros.core.labels import ClassRemap, fused_label_set, LabelSet, remap_classes
from seg_ros.core.panoptic import (
    check_encoding,
    fuse,
    instance_part,
    keep_instances,
    PanopticEncoding,
    remap,
    semantic_part,
)
from seg_ros.core.types import Segmentation
from seg_ros.models import load_model
from seg_ros.models.agreement import (
    Agreement,
    check_frames,
    choose,
    size_advice,
    WARM_UP_RUNS,
)
from seg_ros.models.contract import (
    Acceleration,
    DeviceLostError,
    Model,
    ModelError,
    ModelOptions,
    Moment,
    NotFiniteError,
    OutOfMemoryError,
    StreamingModel,
    Task,
)

DEFAULT_MODEL = 'street_tiny'
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Part:
    """A model and the task that it is there for."""

    spec: str
    task: Task
    model: Model
    agreement: Agreement  # how it runs


class Pipeline:
    """Runs one panoptic, semantic or instance model, or a semantic and an instance model fused.

    Construction loads the models and raises ModelError or ValueError with one sentence. Used
    from one thread.
    """

    def __init__(self, config: Config) -> None:
        """Load the models that the configuration names."""
        self._config = config
        self.device = choose_device(config.device)
        if config.threads:
            torch.set_num_threads(config.threads)
        self._parts = [self._load(task, spec) for task, spec in _wanted(config).items()]
        self._fused = _joined_classes(self._parts)
        self.tasks = _served(self._parts)
        self._classes = self.classes_of(config)

    @property
    def label_set(self) -> LabelSet:
        """Return the classes of the results."""
        return self._classes.label_set

    @property
    def models(self) -> Mapping[str, str]:
        """Return spec -> sha256 of its weights, empty where it has none."""
        return {part.spec: part.model.sha256 for part in self._parts}

    def classes_of(self, config: Config) -> ClassRemap:
        """Return the user's classes, or raise ValueError where a parameter does not fit them."""
        classes = remap_classes(self._fused.label_set, config.classes)
        for name in (*config.foreground_classes, *config.drivable_classes,
                     *(name for name in config.obstacle_classes if name != '*')):
            classes.label_set.id_of(name)
        if Task.PANOPTIC in self.tasks:
            check_encoding(PanopticEncoding(config.panoptic_encoding), classes.label_set)
        return classes

    @property
    def loaded(self) -> tuple[Model, ...]:
        """Return the models, in the order of the results that merge takes."""
        return tuple(part.model for part in self._parts)

    @property
    def modes(self) -> Mapping[str, str]:
        """Return spec -> how it runs: precision, compiler, agreement with fp32."""
        return {part.spec: str(part.agreement) for part in self._parts}

    @property
    def input_size(self) -> str:
        """Return what frames are resized to fit into, empty where each model chooses."""
        return self._config.model.input_size

    def apply(self, config: Config) -> None:
        """Take over a new configuration from the next image on; raises ValueError, all or none."""
        self._classes = self.classes_of(config)
        self._config = config
        for part in self._parts:
            part.model.options = self._options(part.task, part.agreement.acceleration)

    def infer(self, images: Sequence[NDArray[np.uint8]], moments: Sequence[Moment] = ()
              ) -> list[tuple[Segmentation, ...]]:
        """Return what each model says of each (H, W, 3) uint8 RGB image; raises ModelError.

        With moments, one an image, streaming models go on from each stream's last image; without,
        an image has no past. DeviceLostError where no further image can be served.
        """
        try:
            answers = self._predict(images, moments)
        except ModelError:
            raise
        except Exception as error:  # whatever a network raises
            raise self._explained(error) from error
        for image, results in zip(images, answers, strict=True):
            for part, result in zip(self._parts, results, strict=True):
                _check(result, image=image, spec=part.spec)
        return answers

    def merge(self, results: tuple[Segmentation, ...]) -> Segmentation:
        """Return one answer of the models' answers to one image: fused, filtered, remapped."""
        parts = [_only(task=part.task, segmentation=self._filtered(result))
                 for part, result in zip(self._parts, results, strict=True)]
        whole = parts[0] if len(parts) == 1 else fuse(
            semantic=parts[0], instance=parts[1], fused=self._fused)
        return remap(whole, self._classes) if self._config.classes else whole

    def segment(self, image: NDArray[np.uint8]) -> Segmentation:
        """Return the answer to one (H, W, 3) uint8 RGB image."""
        return self.merge(self.infer([image])[0])

    def warm_up(self) -> None:
        """Run on frames of the size to come, so that the first finds everything chosen.

        On the thread that will run the model: compiled code and CUDA graphs belong to it.
        """
        compiled = any(part.agreement.acceleration.compile != 'off' for part in self._parts)
        for _ in range(WARM_UP_RUNS if compiled else 1):
            self._try(check_frames(self._config.model.frame_size)[0])

    def _try(self, image: NDArray[np.uint8]) -> None:
        """Run on an image; raises ModelError that names the input size where one is wanted."""
        try:
            self.segment(image)
        except (OutOfMemoryError, DeviceLostError, NotFiniteError):
            raise
        except ModelError as error:
            if not self.input_size:
                raise
            raise ModelError(f'{error}{size_advice(self._config.model)}') from error

    def forget(self) -> None:
        """Let the next image of each stream be its first."""
        for model in self.loaded:
            if isinstance(model, StreamingModel):
                model.forget()

    def _predict(self, images: Sequence[NDArray[np.uint8]], moments: Sequence[Moment] = ()
                 ) -> list[tuple[Segmentation, ...]]:
        answers = (model.predict_next(images, moments)
                   if moments and isinstance(model, StreamingModel) else model.predict(images)
                   for model in self.loaded)
        return list(zip(*answers, strict=True))

    def _explained(self, error: Exception) -> ModelError:
        """Return what a network's exception means for the next image."""
        cause = f'{type(error).__name__}: {(str(error).splitlines() or [""])[0]}'
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
            if self.device.type == 'cuda':
                torch.cuda.empty_cache()  # what is cached in other sizes may be what is missing
            return OutOfMemoryError(f'{cause}: expected a smaller image or model')
        if isinstance(error, torch.AcceleratorError) and not self._computes():
            return DeviceLostError(f'device {self.device} is lost ({cause})')
        return ModelError(f'the model failed: {cause}')

    def _computes(self) -> bool:
        """Return whether the device still serves an image; an error of a lost one stays."""
        try:
            self._predict([np.zeros((32, 32, 3), np.uint8)])
        except torch.AcceleratorError:
            return False
        return True

    def _load(self, task: Task, spec: str) -> _Part:
        model, agreement = choose(
            spec, lambda acceleration: load_model(spec, self._options(task, acceleration)),
            device=self.device, config=self._config.model)
        if task not in model.tasks:
            raise ModelError(f'{task}_model is {spec!r}, which serves '
                             f'{" and ".join(sorted(model.tasks))} segmentation only')
        return _Part(spec=spec, task=task, model=model, agreement=agreement)

    def _options(self, task: Task, acceleration: Acceleration) -> ModelOptions:
        config = self._config
        return ModelOptions(
            device=self.device, task=task, confidence=config.confidence, min_area=config.min_area,
            score_threshold=config.score_threshold, overlap_threshold=config.overlap_threshold,
            query_threshold=config.query_threshold, query_kept_share=config.query_kept_share,
            weights=getattr(config, f'{task}_weights'),
            sha256=getattr(config, f'{task}_sha256'), allow_download=config.allow_download,
            allow_executable_models=config.allow_executable_models,
            input_size=parse_size(config.model.input_size, name='model.input_size'),
            acceleration=acceleration)

    def _filtered(self, segmentation: Segmentation) -> Segmentation:
        """Drop instances below the thresholds, whatever the model made of them."""
        keep = segmentation.instances.scores >= self._config.score_threshold
        if self._config.min_area:
            areas = np.bincount(segmentation.instance_map.ravel(), minlength=len(keep) + 1)
            keep &= areas[1:] >= self._config.min_area
        return keep_instances(segmentation, keep)


def _check(result: Segmentation, *, image: NDArray[np.uint8], spec: str) -> None:
    """Raise ModelError where an answer cannot be one to the image."""
    if result.size != image.shape[:2]:
        raise ModelError(f'model {spec!r} answered a {image.shape[:2]} image '
                         f'with {result.size}, expected the same size')
    if not np.isfinite(result.instances.scores).all():
        raise NotFiniteError(f'model {spec!r} gave scores that are not finite')


def choose_device(wanted: str) -> torch.device:
    """Return the device that `auto`, `cpu` or `cuda:N` stands for, or raise ModelError."""
    if wanted == 'auto':
        if torch.cuda.is_available():
            return torch.device('cuda:0')
        _logger.warning('no GPU found, running on the CPU')
        return torch.device('cpu')
    device = torch.device(wanted)
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(f'device {wanted!r} is not there ({torch.cuda.device_count()} GPUs '
                         'found), expected auto, cpu or a GPU that exists')
    return device


def _wanted(config: Config) -> dict[Task, str]:
    """Return task -> spec, the semantic one first; street_tiny where nothing is named."""
    named = {Task.PANOPTIC: config.panoptic_model, Task.SEMANTIC: config.semantic_model,
             Task.INSTANCE: config.instance_model}
    return {task: spec for task, spec in named.items() if spec} or {Task.PANOPTIC: DEFAULT_MODEL}


def _joined_classes(parts: Sequence[_Part]) -> ClassRemap:
    """Return the label set of the merged answer, with the instance model's way into it."""
    if len(parts) == 1:
        return remap_classes(parts[0].model.label_set, ())
    return fused_label_set(parts[0].model.label_set, parts[1].model.label_set)


def _served(parts: Sequence[_Part]) -> frozenset[Task]:
    """Return the tasks that the parts serve together."""
    tasks = {part.task for part in parts}
    return frozenset(Task) if len(tasks) == 2 or Task.PANOPTIC in tasks else frozenset(tasks)


def _only(*, task: Task, segmentation: Segmentation) -> Segmentation:
    """Return the part of an answer that its task is about."""
    if task is Task.SEMANTIC:
        return semantic_part(segmentation)
    if task is Task.INSTANCE:
        return instance_part(segmentation)
    return segmentation
