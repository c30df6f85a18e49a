# SPDX-License-Identifier: Apache-2.0
"""Checkerboard with faults on demand: raises, runs out of memory, NaN, hangs, is slow, exits."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import os
import re
import time

import numpy as np
from numpy.typing import NDArray
import torch

from seg_ros.core.types import Segmentation
from seg_ros.models.checkerboard import Checkerboard
from seg_ros.models.contract import (
    ALL_TASKS,
    ModelError,
    ModelInfo,
    ModelOptions,
    refuse_settings,
)
from seg_ros.models.postprocess import require_finite

MODELS = (
    ModelInfo(spec='faulty', tasks=ALL_TASKS, parameters=0, license='Apache-2.0',
              summary='checkerboard that fails as the first pixel says, or by frame number, '
              'such as `faulty/raise@3-5,slow@7=0.5`; for tests'),
)
FAULTS = ('raise', 'memory', 'nan', 'inf', 'hang', 'slow', 'lost', 'exit', 'ballast')
"""What can happen; `lost` is a device error that stays, `ballast` 200 MB until unloaded."""
_MARK = (255, 0, 254)  # red, green, and in the second pixel blue: what a marked image begins with
_HANG_S = 3600.0
_SLOW_S = 0.2
_BALLAST = 200  # blocks of a megabyte, as layers of a network are


@dataclass(frozen=True)
class _Step:
    """What happens on some frames; frame 0 is the warm-up."""

    fault: str
    first: int
    last: int
    seconds: float


def load(name: str, options: ModelOptions) -> Faulty:
    """Return the model that follows a script of `fault@frame`, or raise ModelError."""
    refuse_settings('faulty', options)
    try:
        return Faulty(options, script=[_step(text) for text in name.split(',') if text])
    except ValueError as error:
        raise ModelError(f'unknown model faulty/{name}: {error}') from error


def mark(image: NDArray[np.uint8], fault: str) -> NDArray[np.uint8]:
    """Return an (H, W >= 2, 3) image whose first two pixels ask for a fault."""
    marked = image.copy()
    marked[0, :2] = (*_MARK[:2], FAULTS.index(fault)), (*_MARK[:2], _MARK[2])
    return marked


def _step(text: str) -> _Step:
    """Parse `fault@first`, `fault@first-last` or `fault@first-`, perhaps with `=seconds`."""
    match = re.fullmatch(r'(\w+)@(\d+)(-(\d*))?(=([\d.]+))?', text)
    if not match or match[1] not in FAULTS:
        raise ValueError(f'cannot read {text!r}, expected fault@frame with one of '
                         f'{", ".join(FAULTS)}')
    first = int(match[2])
    last = first if match[3] is None else int(match[4] or 10**9)
    return _Step(match[1], first, last, float(match[6] or _SLOW_S))


class Faulty:
    """Answers as checkerboard does, where nothing is to go wrong."""

    label_set = Checkerboard.label_set
    tasks = ALL_TASKS
    sha256 = ''

    def __init__(self, options: ModelOptions, *, script: Sequence[_Step]) -> None:
        """Keep the script."""
        self.options = options
        self._script = script
        self._frame = 0
        self._lost = False
        self._ballast: list[NDArray[np.uint8]] = []

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Segmentation]:
        """Segment (H, W, 3) uint8 RGB images, or fail as the script says."""
        for image in images:
            for step in self._steps(image):
                self._fail(step)
            self._frame += 1
        return Checkerboard(self.options).predict(images)

    def _steps(self, image: NDArray[np.uint8]) -> list[_Step]:
        """Return what is to happen on this image."""
        if self._lost:
            return [_Step('lost', 0, 0, 0.0)]
        if self._script:
            return [step for step in self._script if step.first <= self._frame <= step.last]
        start = image[0, :2].tolist()
        marked = len(start) == 2 and start[0][:2] == [*_MARK[:2]] and start[1] == [*_MARK]
        if marked and start[0][2] < len(FAULTS):
            return [_Step(FAULTS[start[0][2]], 0, 0, _SLOW_S)]
        return []

    def _fail(self, step: _Step) -> None:
        """Let it happen."""
        if step.fault == 'slow':
            time.sleep(step.seconds)
            return
        if step.fault == 'ballast':
            self._ballast = [np.ones(1 << 20, np.uint8) for _ in range(_BALLAST)]
            return
        self._frame += 1  # a frame that fails is a frame
        if step.fault in ('nan', 'inf'):
            require_finite([torch.tensor([0.5, float(step.fault)])], model='faulty')
        if step.fault == 'raise':
            raise RuntimeError('faulty raises, as its script says')
        if step.fault == 'memory':
            raise torch.OutOfMemoryError('faulty is out of memory, as its script says')
        if step.fault == 'lost':
            self._lost = True
            raise torch.AcceleratorError('CUDA error: faulty lost its device')
        if step.fault == 'exit':
            os._exit(3)
        if step.fault == 'hang':
            time.sleep(_HANG_S)
