# SPDX-License-Identifier: Apache-2.0
"""What every model family offers: the Model protocol, what a user may ask of it, what it is."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
import torch

from seg_ros.core.labels import LabelSet
from seg_ros.core.types import Segmentation


class Task(StrEnum):
    """The three kinds of segmentation."""

    SEMANTIC = 'semantic'
    INSTANCE = 'instance'
    PANOPTIC = 'panoptic'


ALL_TASKS = frozenset(Task)


class ModelError(Exception):
    """A model that cannot be loaded or run: one sentence that names it, the reason, a remedy."""


class NotFiniteError(ModelError):
    """A network put out NaN or infinity: no label can be had of that."""


class OutOfMemoryError(ModelError):
    """The device has not the memory for an image."""


class DeviceLostError(ModelError):
    """The device no longer computes; only a new process helps."""


@dataclass(frozen=True)
class Acceleration:
    """How a network is run."""

    precision: str = 'fp32'  # fp32, bf16 or fp16
    compile: str = 'off'  # off, default or max

    def __str__(self) -> str:
        """Return it for people: `bf16, compiled (max)`."""
        return self.precision if self.compile == 'off' else \
            f'{self.precision}, compiled ({self.compile})'


@dataclass(frozen=True)
class ModelOptions:
    """What a user may ask of a model."""

    device: torch.device = torch.device('cpu')
    task: Task | None = None  # what the answer is for; None = the most that the model serves
    confidence: bool = False  # fill Segmentation.confidence
    score_threshold: float = 0.5  # instances below it are not reported
    min_area: int = 0  # pixels; smaller instances are not reported
    overlap_threshold: float = 0.5  # largest share of a mask that better instances may cover
    query_threshold: float = 0.8  # panoptic queries with a lower score take no part
    query_kept_share: float = 0.8  # one that wins less of its own mask is dropped
    weights: str = ''  # a file that replaces the family's own weights
    sha256: str = ''  # what the weights must have; empty = any
    allow_download: bool = False  # fetch weights that are not on this machine
    allow_executable_models: bool = False  # load pinned programs (.pt2, TorchScript)
    input_size: tuple[int, int] | None = None  # width, height that frames fit into; see fit
    acceleration: Acceleration = Acceleration()


def fit(*, height: int, width: int, into: tuple[int, int]) -> tuple[int, int]:
    """Return the largest (rows, columns) in a frame's proportions that a size can hold.

    `into` is width, height, or height, width for a frame that is higher than wide.
    """
    factor = min(max(into) / max(height, width), min(into) / min(height, width))
    return max(round(height * factor), 1), max(round(width * factor), 1)


def refuse_settings(name: str, options: ModelOptions) -> None:
    """Raise ModelError where a model without a network is given weights or an input size."""
    for what, value in (('weights', options.weights), ('input size', options.input_size)):
        if value:
            raise ModelError(f'{name} has no {what}, but {value!r} is given: '
                             'leave the parameter empty')


@dataclass(frozen=True)
class ModelInfo:
    """A line of `seg_ros models`."""

    spec: str  # what the user types
    tasks: frozenset[Task]
    parameters: int
    license: str  # of the weights
    summary: str  # one phrase


class Model(Protocol):
    """A loaded model. Called from one thread."""

    label_set: LabelSet
    tasks: frozenset[Task]
    options: ModelOptions  # thresholds may be replaced between two calls of predict
    sha256: str  # of the bytes that were parsed; empty where there are none

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Segmentation]:
        """Segment (H, W, 3) uint8 RGB images, each at its own size; raise ModelError."""
        ...


@dataclass(frozen=True)
class Moment:
    """Where and when an image was taken."""

    stream: str  # name of the camera, empty for the only one
    stamp: int  # ns


@runtime_checkable
class StreamingModel(Protocol):
    """A model that carries something from one image of a stream to the next."""

    def predict_next(self, images: Sequence[NDArray[np.uint8]], moments: Sequence[Moment]
                     ) -> list[Segmentation]:
        """Segment the next image of each stream; raise ModelError, and then carry nothing on.

        A stamp before the stream's last one, a gap longer than a second and another image size
        start anew.
        """
        ...

    def forget(self) -> None:
        """Let the next image of each stream be its first."""
        ...
