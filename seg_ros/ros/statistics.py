# SPDX-License-Identifier: Apache-2.0
"""What the node counts and times, shared by the callbacks and the worker."""
from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import threading
import time

import numpy as np

_WINDOW = 300  # the newest samples that percentiles look at


@dataclass(frozen=True)
class Snapshot:
    """The statistics at one moment."""

    counts: dict[str, int]  # received, processed, dropped, unwanted, rejected.*, failed.*
    percentiles: dict[str, tuple[float, float]]  # name -> (p50, p99), ms
    last_error: str


class Statistics:
    """Counters, durations and the last error; safe to use from several threads."""

    def __init__(self) -> None:
        """Start at zero."""
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter({
            'received': 0, 'processed': 0, 'dropped': 0, 'unwanted': 0})
        self._samples_ms: defaultdict[str, deque[float]] = defaultdict(
            lambda: deque(maxlen=_WINDOW))
        self._last_error = ''

    def count(self, name: str) -> None:
        """Add one to a counter."""
        with self._lock:
            self._counts[name] += 1

    def fail(self, name: str, sentence: str) -> None:
        """Add one to a counter of failures and keep the sentence."""
        with self._lock:
            self._counts[name] += 1
            self._last_error = sentence

    def sample(self, name: str, milliseconds: float) -> None:
        """Keep one duration or age."""
        with self._lock:
            self._samples_ms[name].append(milliseconds)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage of a frame's way."""
        start = time.perf_counter()
        yield
        self.sample(f'stage_ms.{name}', 1e3 * (time.perf_counter() - start))

    def snapshot(self) -> Snapshot:
        """Return everything as it is now."""
        with self._lock:
            samples = {name: list(values) for name, values in self._samples_ms.items()}
            counts, last_error = dict(self._counts), self._last_error
        return Snapshot(counts=counts, last_error=last_error, percentiles={
            name: (float(np.percentile(values, 50)), float(np.percentile(values, 99)))
            for name, values in samples.items()})
