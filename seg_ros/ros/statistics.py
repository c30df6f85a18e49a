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
_COUNTED = ('received', 'processed', 'dropped', 'lost', 'limited', 'unwanted')


@dataclass(frozen=True)
class Event:
    """Something that went wrong."""

    code: str = ''  # of ros/codes.py
    sentence: str = ''


@dataclass(frozen=True)
class Snapshot:
    """The statistics at one moment."""

    counts: dict[str, int]  # those of _COUNTED and the codes of what went wrong
    samples_ms: dict[str, tuple[float, ...]]
    last_error: Event
    last_warning: Event

    @property
    def percentiles(self) -> dict[str, tuple[float, float]]:
        """Return name -> (p50, p99) of the newest samples, ms."""
        return {name: (float(np.percentile(values, 50)), float(np.percentile(values, 99)))
                for name, values in self.samples_ms.items()}

    def total(self, *prefixes: str) -> int:
        """Return the sum of the counters whose names begin with one of the prefixes."""
        return sum(count for name, count in self.counts.items() if name.startswith(prefixes))


class Statistics:
    """Counters, durations and what last went wrong; safe to use from several threads."""

    def __init__(self) -> None:
        """Start at zero."""
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter(dict.fromkeys(_COUNTED, 0))
        self._samples_ms: defaultdict[str, deque[float]] = defaultdict(
            lambda: deque(maxlen=_WINDOW))
        self._last_error = Event()
        self._last_warning = Event()

    def count(self, name: str, number: int = 1) -> None:
        """Add to a counter."""
        with self._lock:
            self._counts[name] += number

    def fail(self, error: Event) -> None:
        """Count a failure by its code and keep its sentence."""
        with self._lock:
            self._counts[error.code] += 1
            self._last_error = error

    def warn(self, warning: Event) -> None:
        """Count a warning by its code and keep its sentence."""
        with self._lock:
            self._counts[warning.code] += 1
            self._last_warning = warning

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
            return Snapshot(
                counts=dict(self._counts), last_error=self._last_error,
                last_warning=self._last_warning,
                samples_ms={name: tuple(values) for name, values in self._samples_ms.items()})
