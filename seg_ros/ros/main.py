# SPDX-License-Identifier: Apache-2.0
"""The executables: signals are in hand before anything slow is imported."""
from __future__ import annotations

from collections.abc import MutableMapping
import os
from pathlib import Path
import signal
import sys
import threading
from types import FrameType

from seg_ros.core.memory import keep_freed_memory

GRACE_S = 2.5
"""A node that has not ended so long after the first signal is ended."""


class _Signals:
    """Turns SIGINT and SIGTERM into a flag, and bounds how long the end may take."""

    def __init__(self) -> None:
        """Take the signals over; until `running`, there is nothing to clean up."""
        self._stop = threading.Event()
        self.running = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def stop(self) -> bool:
        """Return whether the process has been asked to end."""
        return self._stop.is_set()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if not self.running:
            os._exit(0)
        if not self._stop.is_set():
            self._stop.set()
            watchdog = threading.Timer(GRACE_S, _end, args=(number,))
            watchdog.daemon = True
            watchdog.start()


def _end(number: int) -> None:
    """End the process whatever hangs in it."""
    name = signal.Signals(number).name
    os.write(2, f'not done {GRACE_S} s after {name}, ending the process\n'.encode())
    os._exit(0)


def repair_soon(environment: MutableMapping[str, str]) -> None:
    """Let Fast DDS repair lost fragments after 0.1 s, not 3 s, unless the user has a profile.

    An image and its depth published at once overflow the default transport's buffers: a third of
    such images arrived 3 s late.
    """
    from seg_ros.ros.shared_memory import PROFILES  # signals are in hand now
    if not any(name in environment for name in PROFILES):
        environment[PROFILES[0]] = str(Path(__file__).with_name('fastdds_heartbeat.xml'))


def _run(module: str) -> None:
    """Import a node's module, run it until a signal, and leave with its exit code."""
    signals = _Signals()
    keep_freed_memory()
    repair_soon(os.environ)
    # threads of torch that spin while they wait take the time of those they wait for: with
    # every core busy, the model was five times slower
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    from importlib import import_module
    run = import_module(module).run
    signals.running = True
    code = run(signals.stop)
    sys.stdout.flush()
    sys.stderr.flush()
    # a thread inside a model or the middleware must not outlive the node, nor crash its end
    os._exit(code)


def segmentation_node() -> None:
    """Run the segmentation node."""
    _run('seg_ros.ros.segmentation_node')


def street_camera_node() -> None:
    """Run the synthetic street as a camera."""
    _run('seg_ros.ros.street_camera_node')


def file_camera_node() -> None:
    """Run a video or a folder of images as a camera."""
    _run('seg_ros.ros.file_camera_node')
