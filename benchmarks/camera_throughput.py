# SPDX-License-Identifier: Apache-2.0
"""Frames a second of one node with 1, 2 and 4 cameras, beside its model called without ROS."""
from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
import tempfile
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from tqdm import tqdm

from faults.robot import key_of, Launcher, Robot
from seg_ros.core.config import Config
from seg_ros.models.pipeline import Pipeline
from seg_ros.ros.domain import lent_domain

CAMERAS = (1, 2, 4)
_HEIGHT, _WIDTH = 480, 640
_ROUNDS = 9  # of node and bare model in turn: the machine's mood is the same for both


def measure(*, frames: int) -> dict[str, dict[str, float]]:
    """Return frames a second of node and bare model for each number of cameras."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (_HEIGHT, _WIDTH, 3), dtype=np.uint8)
              for _ in range(max(CAMERAS))]
    pipeline = Pipeline(Config(threads=1))  # as many as the node has
    return {str(count): compare(pipeline, images[:count], frames=frames,
                                parameters={'threads': 1}, quiet=True)
            for count in tqdm(CAMERAS, desc='cameras', unit='case')}


def compare(pipeline: Pipeline, images: list[NDArray[np.uint8]], *, frames: int,
            parameters: Mapping[str, object], topic: str = 'semantic/image_raw',
            timeout_s: float = 60.0, quiet: bool = False) -> dict[str, float]:
    """Measure node and bare model in turn; the ratio is the median of the rounds'.

    The node has the parameters that the pipeline was made with, and a camera for each image.
    """
    names = [f'camera_{number}' for number in range(len(images))]
    with ExitStack() as stack:
        domain = stack.enter_context(lent_domain())
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        launch = Launcher(domain, Path(folder), quiet=quiet)
        stack.callback(launch.close)
        launch('segmentation_node', parameters={**parameters, 'cameras': names})
        robot = Robot(domain, outputs={f'{name}/{topic}': Image for name in names})
        stack.callback(robot.close)
        publishers = {name: robot.publisher(Image, f'{name}/image') for name in names}
        robot.spin_until(lambda: all(p.get_subscription_count() for p in publishers.values())
                         and all(map(robot.node.count_publishers, robot.outputs)),
                         timeout_s=timeout_s, what='the node is up')
        messages = {name: robot.image(image) for name, image in zip(names, images, strict=True)}
        per_round = max(frames // _ROUNDS // len(names), 2) * len(names)
        _node_rate(robot, publishers, messages, frames=2 * len(names))  # warms up
        pipeline.infer(images)
        rates = [(_node_rate(robot, publishers, messages, frames=per_round),
                  _bare_rate(pipeline, images, frames=per_round)) for _ in range(_ROUNDS)]
    node, bare = np.array(rates).T
    return {'node_hz': round(float(np.median(node)), 2),
            'bare_hz': round(float(np.median(bare)), 2),
            'node_to_bare': round(float(np.median(node / bare)), 2)}


def _node_rate(robot: Robot, publishers: dict[str, Any], messages: dict[str, Image], *,
               frames: int) -> float:
    """Return answers a second while each camera always has a frame that waits."""
    waiting: dict[Any, str] = {}

    def send(name: str) -> None:
        messages[name].header = robot.header(frame_id=name)
        waiting[key_of(messages[name].header)] = name
        publishers[name].publish(messages[name])

    robot.order.clear()
    started, answered = time.perf_counter(), 0
    for name in publishers:
        send(name)
        send(name)
    while answered < frames:
        robot.spin_until(lambda: robot.order, timeout_s=60.0, what='an answer')
        _, key = robot.order.pop(0)
        if key in waiting:  # others are late ones of the round before
            answered += 1
            send(waiting.pop(key))
    seconds = time.perf_counter() - started
    robot.answers.clear()
    return answered / seconds


def _bare_rate(pipeline: Pipeline, images: list[NDArray[np.uint8]], *, frames: int) -> float:
    """Return frames a second of the batched model and the merge, called in a loop."""
    started = time.perf_counter()
    for _ in range(frames // len(images)):
        for results in pipeline.infer(images):
            pipeline.merge(results)
    return frames / (time.perf_counter() - started)


def table(figures: dict[str, dict[str, float]]) -> str:
    """Return the figures for people."""
    lines = [f'\n{"cameras, 640x480":<20}{"node /s":>9}{"bare /s":>9}{"ratio":>9}']
    lines += [f'{count:<20}{row["node_hz"]:>9.1f}{row["bare_hz"]:>9.1f}'
              f'{row["node_to_bare"]:>9.2f}' for count, row in figures.items()]
    return '\n'.join(lines)
