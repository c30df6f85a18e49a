# SPDX-License-Identifier: Apache-2.0
"""One thread that runs the model: jobs in order, and of each source's frames only the newest."""
from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from statistics import median
import threading
import time
from typing import Generic, TypeVar

S = TypeVar('S')
T = TypeVar('T')
R = TypeVar('R')
_MEASURED = 9  # newest batches that the usual one is the median of


class Worker(Generic[S, T]):
    """Runs submitted jobs first, then `process` on the newest item of every source that has one.

    A batch takes all that waits, so no source is served twice while another waits. All inference
    happens on this one thread: CUDA graphs and compiled models demand it.
    """

    def __init__(self, process: Callable[[Sequence[tuple[S, T]]], None], *,
                 on_drop: Callable[[S], None]) -> None:
        """Start the thread; on_drop hears of each item that a newer one replaced."""
        self._process = process
        self._on_drop = on_drop
        self._jobs: deque[Callable[[], None]] = deque()
        self._newest: dict[S, T] = {}
        self._batch_since_s = 0.0  # 0 = no batch in the works
        self._batches_s: deque[float] = deque(maxlen=_MEASURED)
        self._busy = False
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name='worker', daemon=True)
        self._thread.start()

    @property
    def batch_s(self) -> float:
        """Return the seconds that the batch in the works has taken so far, 0 where none is."""
        since_s = self._batch_since_s
        return time.monotonic() - since_s if since_s else 0.0

    @property
    def usual_batch_s(self) -> float:
        """Return the seconds that a batch takes, by the newest ones; 0 before the first."""
        return median(tuple(self._batches_s) or (0.0,))

    def offer(self, source: S, item: T) -> None:
        """Make an item its source's newest; one that still waits is dropped."""
        with self._changed:
            replaced = source in self._newest
            self._newest[source] = item
            self._changed.notify_all()
        if replaced:
            self._on_drop(source)

    def submit(self, job: Callable[[], R]) -> Future[R]:
        """Run a job on the thread; its result or exception is in the future."""
        future: Future[R] = Future()

        def run() -> None:
            try:
                future.set_result(job())
            except BaseException as error:
                # it belongs to whoever asks the future
                future.set_exception(error)

        with self._changed:
            self._jobs.append(run)
            self._changed.notify_all()
        return future

    def clear(self, *, timeout_s: float) -> bool:
        """Forget the waiting items and wait for the running batch; False where it runs on."""
        with self._changed:
            for source in self._newest:
                self._on_drop(source)
            self._newest.clear()
            return self._changed.wait_for(lambda: not self._busy, timeout=timeout_s)

    def stop(self, *, timeout_s: float) -> bool:
        """End the thread after what it is doing; False where that takes longer."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(timeout=timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            work()
            with self._changed:
                if self._batch_since_s:
                    self._batches_s.append(self.batch_s)
                self._busy, self._batch_since_s = False, 0.0
                self._changed.notify_all()

    def _next(self) -> Callable[[], None] | None:
        """Wait for something to do; None when stopping."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._jobs or self._newest)
            if self._stopping:
                return None
            self._busy = True
            if self._jobs:
                return self._jobs.popleft()
            batch = tuple(self._newest.items())
            self._newest.clear()
            self._batch_since_s = time.monotonic()
        return lambda: self._process(batch)
