# SPDX-License-Identifier: Apache-2.0
"""What the outputs in space cost the 2D ones: latency with depth, late, missing, and without."""
from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
import os
from pathlib import Path
import tempfile
import time
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, Image
from tqdm import tqdm

from benchmarks.node_cost import PROFILE
from faults.robot import key_of, Launcher, Robot
from seg_ros.ros.domain import lent_domain
from seg_ros.ros.images import image_message
from seg_ros.ros.street_camera_node import camera_info_of
from seg_ros.sim import DepthSensor, Street

SIZE = (640, 480)
PERIOD_S = 0.2  # street_tiny and a CPU can keep up with it
LABELS = 'semantic/image_raw'
SPACE = ('points', 'instances_3d', 'obstacles', 'drivable', 'drivable_grid')
PARAMETERS: Mapping[str, Any] = {
    'depth.input': 'image', 'ground.grid': True, 'obstacle_classes': ['*'],
    'drivable_classes': ['road']}
_ROUNDS = 6  # of all cases in turn: the machine's mood is the same for each
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Case:
    """Which node is asked, and how long after its image depth comes."""

    name: str
    namespace: str
    depth_after_s: float | None = None  # None: never


CASES = (
    Case('2D only', '/flat'),
    Case('with depth', '/space', 0.0),
    Case('depth 150 ms late', '/space', 0.15),
    Case('depth missing', '/space'),
)


class Sensor:
    """Images of a street, and depth as a stereo camera measures it, in a beat."""

    def __init__(self, robot: Robot) -> None:
        """Draw one frame and advertise to both nodes."""
        self._robot = robot
        street = Street(seed=10_011, width=SIZE[0], height=SIZE[1])
        frame = street.frame(60)
        depth = DepthSensor().measure(frame.depth, image=frame.image, camera=street.camera,
                                      seed=0)
        header = robot.header()
        self._image = image_message(frame.image, encoding='rgb8', header=header)
        self._depth = image_message(depth, encoding='32FC1', header=header)
        self._info = camera_info_of(street)
        self._images = {name: robot.publisher(Image, f'{name}/image')
                        for name in ('/flat', '/space')}
        self._depths = robot.publisher(Image, '/space/depth')
        self._infos = [robot.publisher(CameraInfo, f'/space/{name}')
                       for name in ('camera_info', 'depth/camera_info')]

    def wait(self) -> None:
        """Spin until both nodes hear everything."""
        heard = [*self._images.values(), self._depths, *self._infos]
        self._robot.spin_until(
            lambda: all(p.get_subscription_count() for p in heard)
            and all(map(self._robot.node.count_publishers, self._robot.outputs))
            and all(self._robot.node.count_subscribers(f'/space/{name}') for name in SPACE),
            timeout_s=_PATIENCE_S, what='the nodes are up')

    def latencies_ms(self, case: Case, *, frames: int) -> list[float]:
        """Publish images in a beat; return publication to label image of each."""
        return [self._latency_ms(case) for _ in range(frames)]

    def _latency_ms(self, case: Case) -> float:
        """Publish one image, its depth when it is due, and wait for labels and the next beat."""
        robot, header = self._robot, self._robot.header()
        self._image.header = self._depth.header = self._info.header = header
        for publisher in self._infos:  # with each image, as cameras do: one alone can be lost
            publisher.publish(self._info)
        sent_s = time.monotonic()
        self._images[case.namespace].publish(self._image)
        due = case.depth_after_s
        answer_s: float | None = None
        while answer_s is None or due is not None or time.monotonic() < sent_s + PERIOD_S:
            if due is not None and time.monotonic() >= sent_s + due:
                self._depths.publish(self._depth)
                due = None
            robot.spin_for(0.001)
            if answer_s is None and key_of(header) in robot.answers:
                answer_s = time.monotonic()
            if time.monotonic() > sent_s + _PATIENCE_S:
                raise TimeoutError(f'no labels within {_PATIENCE_S} s: {case.name}')
        robot.answers.clear()
        assert answer_s is not None
        return 1e3 * (answer_s - sent_s)


def measure(*, frames: int) -> dict[str, Any]:
    """Return the latency of label images in each case, taken in turn in one run.

    All outputs in space are heard, by a process of its own. The figures of a case are ms from the
    publication of an image to its labels; `times_flat` is the median of the rounds' ratios.
    """
    os.environ['FASTRTPS_DEFAULT_PROFILES_FILE'] = str(PROFILE)  # as the README advises
    with ExitStack() as stack:
        domain = stack.enter_context(lent_domain())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        launch = Launcher(domain, folder, quiet=True)
        stack.callback(launch.close)
        launch('segmentation_node', '-r', '__ns:=/flat')
        launch('segmentation_node', '-r', '__ns:=/space', parameters=dict(PARAMETERS))
        launch(f'python -m faults.reader {" ".join(SPACE)}', '-r', '__ns:=/space')
        robot = Robot(domain, outputs={f'{name}/{LABELS}': Image for name in ('/flat', '/space')})
        stack.callback(robot.close)
        sensor = Sensor(robot)
        sensor.wait()
        return _figures(robot, sensor, frames=max(frames // _ROUNDS, 2))


def _figures(robot: Robot, sensor: Sensor, *, frames: int) -> dict[str, Any]:
    """Measure in rounds."""
    for case in CASES:
        sensor.latencies_ms(case, frames=3)  # warms up
    rounds = [[sensor.latencies_ms(case, frames=frames) for case in CASES]
              for _ in tqdm(range(_ROUNDS), desc='2D beside 3D', unit='round')]
    times = np.array(rounds)  # round, case, frame
    medians = np.median(times, axis=2)
    figures: dict[str, Any] = {
        case.name: {'p50_ms': round(float(np.median(times[:, i])), 1),
                    'p99_ms': round(float(np.percentile(times[:, i], 99)), 1),
                    'times_flat': round(float(np.median(medians[:, i] / medians[:, 0])), 3)}
        for i, case in enumerate(CASES)}
    return figures | {'node': _node_figures(robot)}


def _node_figures(robot: Robot) -> dict[str, float]:
    """Return what the node with depth says of itself: frames joined, and what one took."""
    robot.diagnostics.clear()
    robot.wait_for_diagnostic('depth.joined', bool)  # the other node has no depth to count
    newest = robot.diagnostic_values()
    return {'joined': int(newest['depth.joined']), 'missing': int(newest['depth.missing']),
            'depth_ms_p50': float(newest['stage_ms.depth.p50'])}


def table(figures: dict[str, Any]) -> str:
    """Return the figures for people."""
    lines = [f'\n{"2D latency, 640x480":<22}{"p50 ms":>9}{"p99 ms":>9}{"x 2D only":>11}']
    lines += [f'{case.name:<22}{figures[case.name]["p50_ms"]:>9.1f}'
              f'{figures[case.name]["p99_ms"]:>9.1f}{figures[case.name]["times_flat"]:>11.3f}'
              for case in CASES]
    return '\n'.join([*lines, f'  the node with depth: {figures["node"]}'])
