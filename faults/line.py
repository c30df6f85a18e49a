# SPDX-License-Identifier: Apache-2.0
"""A line of the fault matrix, what it is tried on, and what comes out."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, ExitStack
from dataclasses import dataclass, field
import os
from pathlib import Path
import re
import tempfile
from typing import Any

import numpy as np
from sensor_msgs.msg import Image
from tqdm import tqdm

from faults.robot import key_of, Launcher, OUTPUTS, PATIENCE_S, Process, Robot
from seg_ros.models.checkerboard import class_of_colour
from seg_ros.ros.domain import lent_domain

SEMANTIC = {'semantic/image_raw': Image}
_IMPATIENT_S = 5.0  # where one is missing already: each more would cost as much again
_SHOWN_PROBLEMS = 5


@dataclass(frozen=True)
class Result:
    """What a line's tries came to."""

    tried: int
    passed: int
    figures: dict[str, float | str]
    problems: list[str]  # the first ones, a sentence each


@dataclass
class Tally:
    """Counts tries as they go."""

    tried: int = 0
    passed: int = 0
    figures: dict[str, float | str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, problem: str = '') -> None:
        """Count a try; it passed where there is no problem."""
        self.tried += 1
        self.passed += not problem
        if problem and len(self.problems) < _SHOWN_PROBLEMS:
            self.problems.append(problem)

    def result(self) -> Result:
        """Return what it came to."""
        return Result(self.tried, self.passed, self.figures, self.problems)


class Bench:
    """A domain, and what a line starts in it."""

    def __init__(self, domain: int, folder: Path, stack: ExitStack) -> None:
        """Begin empty; the stack closes what is started."""
        self.folder = folder
        self.launch = Launcher(domain, folder, quiet='PYTEST_CURRENT_TEST' not in os.environ)
        self._domain = domain
        self._stack = stack
        self._shared: tuple[Process, Robot] | None = None
        stack.callback(self.launch.close)

    def node(self, **parameters: Any) -> Process:
        """Start a segmentation node; dots of names are doubled underscores."""
        return self.launch('segmentation_node', parameters={
            name.replace('__', '.'): value for name, value in parameters.items()})

    def robot(self, outputs: dict[str, type] = SEMANTIC) -> Robot:
        """Join the domain."""
        robot = Robot(self._domain, outputs=outputs)
        self._stack.callback(robot.close)
        return robot

    def pair(self, outputs: dict[str, type] = SEMANTIC, **parameters: Any
             ) -> tuple[Process, Robot]:
        """Start a node and a robot, and wait until they are connected."""
        robot, process = self.robot(outputs), self.node(**parameters)
        robot.wait_for_node(timeout_s=PATIENCE_S)
        return process, robot

    def checkerboard(self) -> tuple[Process, Robot]:
        """Return one node with every output that the lines share."""
        if self._shared is None:
            self._shared = self.pair(OUTPUTS, panoptic_model='checkerboard')
        return self._shared

    def steps(self, count: int, name: str) -> Iterator[int]:
        """Yield 0..count - 1 with a progress bar."""
        yield from tqdm(range(count), desc=name, unit='try', leave=False, disable=None)


@contextmanager
def bench() -> Iterator[Bench]:
    """Lend a domain and a folder; end everything that was started there."""
    with ExitStack() as stack:
        domain = stack.enter_context(lent_domain())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        yield Bench(domain, folder, stack)


@dataclass(frozen=True)
class Line:
    """A line of the matrix."""

    id: str
    fault: str
    few: int  # tries in make test
    many: int  # tries in make fuzz
    run: Callable[[Bench, int], Result]


def noise(rng: np.random.Generator, *, height: int = 12, width: int = 16) -> np.ndarray[Any, Any]:
    """Return an (H, W, 3) picture of noise."""
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def good(robot: Robot, picture: np.ndarray[Any, Any], *, what: str = '') -> str:
    """Send a picture and return what is wrong with its labels, nothing where they are exact."""
    return judged(robot, robot.image(picture), picture, what=what)


def judged(robot: Robot, message: Image, picture: np.ndarray[Any, Any], *, what: str = '') -> str:
    """Send an image of a picture and return what is wrong with its labels."""
    try:
        answer = robot.ask(message, timeout_s=robot.patience_s)
    except TimeoutError as error:
        robot.patience_s = _IMPATIENT_S
        return f'{what}: {error}'
    labels = answer.pixels('semantic/image_raw')
    if not np.array_equal(labels, class_of_colour(picture)):
        return f'{what}: wrong labels'
    return ''


def answered(robot: Robot, message: Image) -> bool:
    """Return whether anything came back for an image."""
    return bool(robot.answers[key_of(message.header)].messages)


def chatter(process: Process, level: str = 'ERROR') -> int:
    """Return how many lines of a level came sooner than a second after the one before."""
    times = [float(stamp) for stamp in re.findall(
        rf'\[{level}\] \[(\d+\.\d+)\]', process.output())]
    return sum(later - earlier < 0.99 for earlier, later in zip(times, times[1:], strict=False))
