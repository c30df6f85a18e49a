# SPDX-License-Identifier: Apache-2.0
"""One thread that runs the model: jobs in order, and of the frames only the newest."""
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
import threading
from typing import Generic, TypeVar

T = TypeVar('T')
R = TypeVar('R')


class Worker(Generic[T]):
    """Runs submitted jobs first, then `process` on the newest offered item.

    All inference happens on this one thread: CUDA graphs and compiled models demand it.
    """

    def __init__(self, process: Callable[[T], None], *, on_drop: Callable[[], None]) -> None:
        """Start the thread; on_drop hears of each item that a newer one replaced."""
        self._process = process
        self._on_drop = on_drop
        self._jobs: deque[Callable[[], None]] = deque()
        self._newest: T | None = None
        self._busy = False
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name='worker', daemon=True)
        self._thread.start()

    def offer(self, item: T) -> None:
        """Make an item the newest; one that still waits is dropped."""
        with self._changed:
            replaced = self._newest is not None
            self._newest = item
            self._changed.notify_all()
        if replaced:
            self._on_drop()

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
        """Forget the waiting item and wait for the running one; False where it runs on."""
        with self._changed:
            if self._newest is not None:
                self._newest = None
                self._on_drop()
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
                self._busy = False
                self._changed.notify_all()

    def _next(self) -> Callable[[], None] | None:
        """Wait for something to do; None when stopping."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopping or self._jobs or self._newest is not None)
            if self._stopping:
                return None
            self._busy = True
            if self._jobs:
                return self._jobs.popleft()
            item, self._newest = self._newest, None
        return lambda: self._process(item)  # type: ignore[arg-type]
