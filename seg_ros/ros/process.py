# SPDX-License-Identifier: Apache-2.0
"""Runs a node as a process: a bad start is one sentence, its log goes to /rosout."""
from __future__ import annotations

from collections.abc import Callable
import ctypes
import logging
import sys
from typing import Protocol

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions


class Runnable(Protocol):
    """What run_node asks of a node beside being one."""

    exit_code: int | None  # set when the node wants its process to end

    def destroy_node(self) -> None:
        """End what the node has begun."""
        ...


def run_node(make: Callable[[], Runnable], *, name: str, stop: Callable[[], bool]) -> int:
    """Run a node until stop() or until it gives up; return the exit code.

    A ValueError of its construction is printed as one sentence, the code is 1 then.
    """
    try:
        rclpy.init(args=sys.argv, signal_handler_options=SignalHandlerOptions.NO)
        node = make()
    except (ValueError, RuntimeError) as error:  # RuntimeError: arguments that rcl cannot read
        print(f'{name}: {error}', file=sys.stderr)
        rclpy.try_shutdown()
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not stop() and node.exit_code is None:
            executor.spin_once(timeout_sec=0.1)
    except ExternalShutdownException:
        pass
    executor.remove_node(node)
    node.destroy_node()
    rclpy.try_shutdown()
    return node.exit_code or 0


def release_freed_memory() -> None:
    """Hand what glibc keeps for the next image (see main.py) back to the system."""
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim is not None:
        trim(0)


def forward_logs(node: Node) -> None:
    """Send what core, models and sim log to a node's logger."""
    logger = logging.getLogger('seg_ros')
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers[:] = [_RosLog(node)]


class _RosLog(logging.Handler):
    """Hands Python's log lines to a node's logger, and so to /rosout."""

    def __init__(self, node: Node) -> None:
        """Forward to a node."""
        super().__init__()
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        """Forward one line."""
        if record.levelno >= logging.ERROR:
            self._logger.error(record.getMessage())
        elif record.levelno >= logging.WARNING:
            self._logger.warning(record.getMessage())
        else:
            self._logger.info(record.getMessage())
