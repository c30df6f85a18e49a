# SPDX-License-Identifier: Apache-2.0
"""What the node costs a frame beside its model: round trips in lock step, against a bare relay."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, ExitStack
from dataclasses import dataclass
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from tqdm import tqdm
from vision_msgs.msg import Detection2DArray

from seg_ros.ros.domain import lent_domain
from seg_ros.ros.images import image_message

ROOT = Path(__file__).resolve().parent.parent
PROFILE = ROOT / 'config' / 'fastdds_shared_memory.xml'
SIZES = ((640, 480), (1920, 1080))
LABELS: Mapping[str, type] = {
    'semantic/image_raw': Image, 'instances': Detection2DArray, 'instance/image_raw': Image,
    'panoptic/image_raw': Image}
OVERLAY: Mapping[str, type] = {'overlay/image_raw': Image}


@dataclass(frozen=True)
class Case:
    """A process that answers an image on some topics."""

    name: str
    namespace: str
    outputs: Mapping[str, type]


CASES = (
    Case('relay', '/relay', {'relayed': Image}),
    Case('node', '/labels', LABELS),
    Case('node with overlay', '/overlay', {**LABELS, **OVERLAY}),
)


class Driver:
    """Sends one image at a time to one case and waits for all of its outputs."""

    def __init__(self, domain: int) -> None:
        """Join a domain."""
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = Node('driver', context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._arrived: set[str] = set()
        self._bytes = 0
        self._stamp = 0
        self.stages: dict[str, dict[str, float]] = {}
        qos = QoSProfile(depth=5)
        self._images: dict[str, Publisher] = {}
        for case in CASES:
            self._images[case.name] = self._node.create_publisher(
                Image, f'{case.namespace}/image', qos)
            for topic, kind in case.outputs.items():
                self._node.create_subscription(
                    kind, f'{case.namespace}/{topic}', self._collect(topic), qos)
        self._node.create_subscription(DiagnosticArray, '/diagnostics', self._keep_stages, qos)

    def close(self) -> None:
        """Leave the domain."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def _collect(self, topic: str) -> Callable[[Any], None]:
        def keep(message: Any) -> None:
            if message.header.stamp.sec == self._stamp:
                self._arrived.add(topic)
                self._bytes += len(message.data) if isinstance(message, Image) else 0
        return keep

    def _keep_stages(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.stages[status.name.rsplit('/', 1)[0]] = {
                value.key.split('.')[1]: float(value.value) for value in status.values
                if value.key.startswith('stage_ms.') and value.key.endswith('.p50')}

    def wait_for(self, case: Case) -> None:
        """Spin until the case is connected both ways."""
        def connected() -> bool:
            return bool(self._images[case.name].get_subscription_count()) and all(
                self._node.count_publishers(f'{case.namespace}/{topic}')
                for topic in case.outputs)
        self._spin_until(connected, timeout_s=60.0, what=f'{case.name} to start')

    def wait_for_stages(self, case: Case) -> dict[str, float]:
        """Return the stage times of the node's next diagnostics, ms."""
        self.stages.pop(case.namespace, None)
        self._spin_until(lambda: self.stages.get(case.namespace), timeout_s=10.0,
                         what=f'diagnostics of {case.name}')
        return self.stages[case.namespace]

    def round_trip(self, case: Case, image: Image) -> tuple[float, int]:
        """Return the milliseconds until all outputs were here, and their bytes."""
        self._stamp += 1
        self._arrived, self._bytes = set(), 0
        image.header.stamp.sec = self._stamp
        start = time.perf_counter()
        self._images[case.name].publish(image)
        self._spin_until(lambda: self._arrived == set(case.outputs), timeout_s=10.0,
                         what=f'an answer of {case.name}')
        return 1e3 * (time.perf_counter() - start), self._bytes

    def _spin_until(self, condition: Callable[[], Any], *, timeout_s: float, what: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f'waited {timeout_s} s for {what}')
            self._executor.spin_once(timeout_sec=0.1)


@contextmanager
def _process(*command: object, environment: Mapping[str, str]) -> Iterator[None]:
    """Run a process for as long as the block."""
    child = subprocess.Popen(list(map(str, command)), env=dict(environment))
    try:
        yield
    finally:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def measure(*, frames: int) -> dict[str, Any]:
    """Return round-trip times of relay and node for each size, taken in turn in one run."""
    os.environ.update(FASTRTPS_DEFAULT_PROFILES_FILE=str(PROFILE),
                      ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST')
    node = Path(sys.executable).parent / 'segmentation_node'
    with ExitStack() as stack:
        domain = stack.enter_context(lent_domain())
        environment = os.environ | {'ROS_DOMAIN_ID': str(domain)}
        stack.enter_context(_process(
            sys.executable, ROOT / 'benchmarks' / 'relay.py', '--ros-args', '-r',
            f'__ns:={CASES[0].namespace}', environment=environment))
        for case in CASES[1:]:
            stack.enter_context(_process(
                node, '--ros-args', '-r', f'__ns:={case.namespace}', '-p', 'device:=cpu',
                '-p', 'panoptic_model:=checkerboard/fixed', environment=environment))
        driver = Driver(domain)
        stack.callback(driver.close)
        for case in CASES:
            driver.wait_for(case)
        return {f'{width}x{height}': _measure_size(driver, width, height, frames=frames)
                for width, height in SIZES}


def _measure_size(driver: Driver, width: int, height: int, *, frames: int) -> dict[str, Any]:
    """Return the figures of one image size."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = image_message(pixels, encoding='rgb8', header=Header(frame_id='camera'))
    times: dict[str, list[float]] = {case.name: [] for case in CASES}
    moved: dict[str, int] = {}
    for number in tqdm(range(frames + 10), desc=f'{width}x{height}', unit='frame'):
        for case in CASES:
            milliseconds, answer_bytes = driver.round_trip(case, image)
            moved[case.name] = pixels.nbytes + answer_bytes
            if number >= 10:  # the first ones warm up
                times[case.name].append(milliseconds)
    relay = np.array(times['relay'])
    figures: dict[str, Any] = {}
    for case in CASES:
        own = np.array(times[case.name])
        figures[case.name] = {
            'round_trip_ms': {'p50': round(float(np.median(own)), 2),
                              'p99': round(float(np.percentile(own, 99)), 2)},
            'times_relay': round(float(np.median(own / relay)), 2),
            'bytes': moved[case.name],
            'bytes_times_relay': round(moved[case.name] / moved['relay'], 2)}
        if case.name != 'relay':
            figures[case.name]['stage_ms'] = driver.wait_for_stages(case)
    return figures
