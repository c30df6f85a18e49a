# SPDX-License-Identifier: Apache-2.0
"""What a training run does and when, and how a machine is put to use for it."""
from __future__ import annotations

from dataclasses import dataclass
import math
import os
import time

import torch

from training.data import Augmentation
from training.export import STREET


@dataclass(frozen=True)
class Plan:
    """What a run does; a resumed run follows the plan that it is resumed with."""

    steps: int = 12_000
    minutes: float = 0.0  # where not 0, the plan ends by the clock and not after its steps
    batch_size: int = 8
    parts: int = 2  # of a batch, each normalised by itself
    size: tuple[int, int] = (520, 392)  # width, height of the crops, multiples of 4
    whole_from: float = 0.6  # share of the plan; then crops are as large as frames
    peak_rate: float = 2e-3
    warm_up: int = 100  # steps
    weight_decay: float = 0.02
    average: float = 0.998  # share of the old average that each step keeps
    overlap: float = 1.0  # weight of the overlap loss beside the cross-entropy
    augmentation: Augmentation = Augmentation()
    width: int = 1  # of the network, in that of the packaged one
    seed: int = 1

    def __post_init__(self) -> None:
        """Raise ValueError where a batch does not make its parts."""
        if self.batch_size % self.parts:
            raise ValueError(f'{self.batch_size} samples do not make {self.parts} equal parts, '
                             'expected a batch size that parts divide')

    def share(self, step: int, elapsed_s: float) -> float:
        """Return how much of the plan is done, 0 to 1."""
        return min(1.0, elapsed_s / (60 * self.minutes) if self.minutes else step / self.steps)

    def size_at(self, share: float) -> tuple[int, int]:
        """Return the width and height of the crops."""
        return self.size if share < self.whole_from else STREET.input_size

    def rate(self, step: int, share: float) -> float:
        """Return the learning rate: a linear rise, then half a cosine down to 0."""
        rise = min(1.0, (step + 1) / self.warm_up)
        return self.peak_rate * rise * 0.5 * (1 + math.cos(math.pi * share))


class Clock:
    """The seconds that a run has taken, those before a stop included."""

    def __init__(self, elapsed_s: float = 0.0) -> None:
        """Go on from so many seconds."""
        self._begun_s = time.monotonic() - elapsed_s

    @property
    def elapsed_s(self) -> float:
        """Return the seconds until now."""
        return time.monotonic() - self._begun_s


@dataclass(frozen=True)
class Machine:
    """How a device is kept busy."""

    parts: int  # of a batch, worked off in parallel
    workers: int  # processes that make batches

    @staticmethod
    def with_device(device: torch.device) -> Machine:
        """Return what is best on a device: a GPU wants whole batches, and many of them."""
        cores = os.cpu_count() or 1
        if device.type == 'cuda':
            return Machine(parts=1, workers=max(1, cores - 1))
        return Machine(parts=2, workers=1)
