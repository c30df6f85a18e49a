# SPDX-License-Identifier: Apache-2.0
"""Chooses how a model runs: a faster mode must answer as fp32 without a compiler does."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
import io
import logging
import time

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import linear_sum_assignment
import torch

from seg_ros.core.config import ModelConfig, parse_size
from seg_ros.core.types import Segmentation
from seg_ros.models.acceleration import network_of, preferred_precision
from seg_ros.models.contract import Acceleration, Model, ModelError

WARM_UP_RUNS = 3
"""CUDA graphs are recorded in the second run and replayed from the third on."""

Load = Callable[[Acceleration], Model]
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Agreement:
    """How a model runs, and what a comparison with fp32 without a compiler said."""

    acceleration: Acceleration
    share: float = 1.0  # of pixels with the same class and instance
    speed: float = 1.0  # times as fast as fp32 without a compiler, both on the check frames

    def __str__(self) -> str:
        """Return it for people and diagnostics."""
        if self.acceleration == Acceleration():
            return str(self.acceleration)
        return (f'{self.acceleration}: {self.share:.2%} of the pixels as in fp32, '
                f'{self.speed:.2f} times as fast')


@dataclass(frozen=True, eq=False)
class _Answers:
    """What a model said of the check frames, and how long it took."""

    segmentations: Sequence[Segmentation]
    seconds: float  # a frame, median


def choose(spec: str, load: Load, *, device: torch.device, config: ModelConfig
           ) -> tuple[Model, Agreement]:
    """Load a model in the mode that the configuration asks for, if that mode can be trusted.

    `auto` falls back to fp32 with one warning; a precision that was asked for by name, or a
    compiler, raises ModelError where it agrees on fewer pixels than `config.min_agreement`.
    """
    plain = load(Acceleration())
    precision = config.precision
    if precision == 'auto':
        precision = preferred_precision(device)
    wanted = Acceleration(precision=precision, compile=config.compile)
    if wanted == Acceleration():
        return plain, Agreement(wanted)
    if not network_of(plain):
        if config.precision != 'auto' or config.compile != 'off':
            _logger.warning(f'{spec} has no precision or compiler to choose, it runs as it is')
        return plain, Agreement(Acceleration())
    frames = check_frames(config.frame_size)
    try:
        truth = _answers(plain, frames)
    except RuntimeError as error:
        raise ModelError(f'{spec} cannot run on {device}: {_cause(error)}'
                         f'{size_advice(config)}') from error
    try:
        return _trusted(spec, load, wanted, frames=frames, truth=truth, config=config)
    except ModelError as error:
        if config.precision != 'auto' or wanted.precision == 'fp32':
            raise
        _logger.warning(f'{error}; falling back to fp32')
    fallback = Acceleration(compile=config.compile)
    if fallback == Acceleration():
        return plain, Agreement(fallback)
    return _trusted(spec, load, fallback, frames=frames, truth=truth, config=config)


def _trusted(spec: str, load: Load, wanted: Acceleration, *, frames: Sequence[NDArray[np.uint8]],
             truth: _Answers, config: ModelConfig) -> tuple[Model, Agreement]:
    """Load a mode and hold it against the truth; raises ModelError where it may not run."""
    try:
        model = load(wanted)
        answers = _answers(model, frames)
    # an operator that this precision lacks on this device, numbers beyond its range, no memory
    except (RuntimeError, ModelError) as error:
        raise ModelError(f'{spec} cannot run in {wanted}: {_cause(error)}; '
                         'set model.precision to fp32') from error
    share = min(map(equal_share, truth.segmentations, answers.segmentations))
    network = network_of(model)
    # a compiler that failed has left the network without it
    agreement = Agreement(network.acceleration if network else wanted, share=share,
                          speed=truth.seconds / answers.seconds)
    if share < config.min_agreement:
        raise ModelError(f'{spec} in {wanted} answers {share:.2%} of the pixels as in fp32, '
                         f'expected at least model.min_agreement = {config.min_agreement:.2%}')
    if config.precision == 'auto' and wanted.precision != 'fp32' and agreement.speed < 1.0:
        raise ModelError(f'{spec} in {wanted} is {agreement.speed:.2f} times as fast as in fp32')
    _logger.info(f'{spec} in {agreement}')
    return model, agreement


def size_advice(config: ModelConfig) -> str:
    """Return what to add to an error of a model that sees frames of the size that a user chose."""
    return f'; model.input_size is {config.input_size}, another one may do' \
        if config.input_size else ''


def _cause(error: Exception) -> str:
    """Return the first line of what an error says, short."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _answers(model: Model, frames: Sequence[NDArray[np.uint8]]) -> _Answers:
    """Warm a model up and ask it about each frame."""
    for _ in range(WARM_UP_RUNS):
        model.predict(frames[:1])
    segmentations, seconds = [], []
    for frame in frames:
        begun_s = time.perf_counter()
        segmentations += model.predict([frame])
        seconds.append(time.perf_counter() - begun_s)
    return _Answers(segmentations=segmentations, seconds=float(np.median(seconds)))


def equal_share(reference: Segmentation, other: Segmentation) -> float:
    """Return the share of pixels with the same class and the same instance.

    Which instance is which is chosen so that most pixels agree, one for one: their numbers follow
    the scores, which may swap in another precision.
    """
    values = len(reference.instances) + 1, len(other.instances) + 1
    joint = np.bincount(
        (reference.instance_map * values[1] + other.instance_map).ravel(),
        minlength=values[0] * values[1]).reshape(values)
    partner = np.full(values[1], -1)  # of no instance: one more than the other has
    partner[0] = 0
    rows, columns = linear_sum_assignment(joint[1:, 1:], maximize=True)
    partner[columns + 1] = rows + 1
    same = (reference.class_map == other.class_map) \
        & (reference.instance_map == partner[other.instance_map])
    return float(same.mean())


@lru_cache(maxsize=2)
def check_frames(size: str) -> tuple[NDArray[np.uint8], ...]:
    """Return the package's four frames of the synthetic street as (H, W, 3) RGB of a size.

    No camera has sent a frame at configure, and a network's rounding shows on any picture of
    many edges and objects; random pixels would have none.
    """
    wanted = parse_size(size) or (640, 480)
    folder = resources.files('seg_ros.models') / 'check_frames'
    return tuple(_decoded(file.read_bytes(), size=wanted)
                 for file in sorted(folder.iterdir(), key=lambda file: file.name)
                 if file.name.endswith('.jpg'))


def _decoded(data: bytes, *, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Decode a JPEG file at another (width, height)."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert('RGB').resize(size, Image.Resampling.BILINEAR))
