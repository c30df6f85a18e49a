# SPDX-License-Identifier: Apache-2.0
"""Talks to nodes as a robot does: processes of their own, real topics, a domain of its own."""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
import numpy as np
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import SetParametersAtomically
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from std_srvs.srv import Empty
from vision_msgs.msg import Detection2DArray, LabelInfo

BIN = Path(sys.executable).parent
PATIENCE_S = 120.0  # until an answer is called missing: the machine may be busy
OUTPUTS = {
    'semantic/image_raw': Image,
    'instances': Detection2DArray,
    'instance/image_raw': Image,
    'panoptic/image_raw': Image,
    'overlay/image_raw': Image,
    'overlay/image_raw/compressed': CompressedImage,
}
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@dataclass
class Process:
    """A node in a process of its own."""

    popen: subprocess.Popen[str]
    log: Path

    def output(self) -> str:
        """Return what it has printed so far."""
        return self.log.read_text()

    def rss_mb(self) -> float:
        """Return its resident memory."""
        pages = int(Path(f'/proc/{self.popen.pid}/statm').read_text().split()[1])
        return pages * os.sysconf('SC_PAGE_SIZE') / 1e6

    def end(self, number: int = signal.SIGINT, *, timeout_s: float = 10.0) -> int:
        """Send a signal and return the exit code."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        return self.wait(timeout_s=timeout_s)

    def wait(self, *, timeout_s: float) -> int:
        """Wait for its end and return the exit code."""
        return self.popen.wait(timeout=timeout_s)


class Launcher:
    """Starts executables in one domain and ends them all."""

    def __init__(self, domain: int, folder: Path, *, quiet: bool = False) -> None:
        """Keep where to start; quiet does not print the logs at the end."""
        self._quiet = quiet
        self._domain = domain
        self._folder = folder
        self._processes: list[Process] = []

    def __call__(self, executable: str, /, *arguments: str,
                 parameters: dict[str, Any] | None = None,
                 environment: dict[str, str] | None = None) -> Process:
        """Start an executable, or one with arguments of its own, with parameters."""
        first, *rest = executable.split()
        ros_arguments = list(arguments)
        for name, value in (parameters or {}).items():
            ros_arguments += ['-p', f'{name}:={_yaml(value)}']
        log = self._folder / f'{(rest or [first])[-1]}_{len(self._processes)}.log'
        with log.open('w') as stream:
            popen = subprocess.Popen(
                [BIN / first, *rest, '--ros-args', *ros_arguments], stdout=stream,
                stderr=subprocess.STDOUT, text=True, env=ros_environment(self._domain)
                | (environment or {}))
        self._processes.append(Process(popen=popen, log=log))
        return self._processes[-1]

    def close(self) -> None:
        """End what still runs."""
        for process in self._processes:
            if process.popen.poll() is None:
                process.popen.send_signal(signal.SIGINT)
        for process in self._processes:
            try:
                process.wait(timeout_s=5.0)
            except subprocess.TimeoutExpired:
                process.popen.kill()
                process.wait(timeout_s=5.0)
            if not self._quiet:  # pytest shows it where the test failed
                print(f'--- {process.log.name}: {process.output()[-3000:]}')


def ros_environment(domain: int) -> dict[str, str]:
    """Return this process's environment for a child in a domain."""
    return os.environ | {'ROS_DOMAIN_ID': str(domain), 'OMP_NUM_THREADS': '1',
                         'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST', 'PYTHONUNBUFFERED': '1'}


def _yaml(value: object) -> str:
    """Return a parameter value as the command line takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return '[' + ', '.join(map(repr, value)) + ']'
    return repr(value) if isinstance(value, str) else str(value)


@dataclass
class Answer:
    """What came back for one stamp: topic -> message."""

    messages: dict[str, Any] = field(default_factory=dict)

    def pixels(self, topic: str) -> np.ndarray[Any, Any]:
        """Return the array of an image topic."""
        return pixels_of(self.messages[topic])


def pixels_of(message: Image) -> np.ndarray[Any, Any]:
    """Return an output image as an array."""
    kinds = {'mono8': (np.uint8, 1), '32SC1': (np.int32, 1), 'rgb8': (np.uint8, 3),
             '32FC1': (np.float32, 1)}
    dtype, channels = kinds[message.encoding]
    array = np.frombuffer(message.data, dtype)
    shape = (message.height, message.width, channels)[:2 if channels == 1 else 3]
    return array.reshape(shape)


class Robot:
    """A camera and a consumer in one: publishes images, collects outputs by stamp."""

    def __init__(self, domain: int, *, outputs: dict[str, type] = OUTPUTS) -> None:
        """Join a domain; subscribe to outputs."""
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = Node('robot', context=self.context, enable_rosout=False,
                         start_parameter_services=False)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self.outputs = dict(outputs)
        self.patience_s = PATIENCE_S
        self.answers: defaultdict[tuple[int, int, str], Answer] = defaultdict(Answer)
        self.order: list[tuple[str, tuple[int, int, str]]] = []
        self.label_infos: list[LabelInfo] = []
        self.diagnostics: list[DiagnosticArray] = []
        qos = QoSProfile(depth=50)
        for topic, kind in self.outputs.items():
            self.node.create_subscription(kind, topic, self._collect(topic), qos)
        self.node.create_subscription(LabelInfo, 'semantic/label_info',
                                      self.label_infos.append, LATCHED)
        self.node.create_subscription(DiagnosticArray, '/diagnostics',
                                      self.diagnostics.append, qos)
        self.images = self.node.create_publisher(Image, 'image', qos)
        # made early: a server's first answers are lost until it has found the client
        self._is_found = False
        self._clients = {
            name: self.node.create_client(kind, f'segmentation_node/{name}')
            for name, kind in (('get_state', GetState), ('change_state', ChangeState),
                               ('set_parameters_atomically', SetParametersAtomically),
                               ('reset_tracking', Empty))}
        self._stamp = 0

    def close(self) -> None:
        """Leave the domain."""
        self._executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()

    def _collect(self, topic: str) -> Callable[[Any], None]:
        def keep(message: Any) -> None:
            key = key_of(message.header)
            self.answers[key].messages[topic] = message
            self.order.append((topic, key))
        return keep

    def spin_until(self, condition: Callable[[], Any], *, timeout_s: float = 60.0,
                   what: str = '') -> None:
        """Spin until a condition holds; raise TimeoutError at the deadline."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f'not within {timeout_s} s: {what or condition}')
            self._executor.spin_once(timeout_sec=0.02)

    def spin_for(self, seconds: float) -> None:
        """Spin for a time, to see that something does not happen."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=0.02)

    def wait_for_node(self, *, image_publisher: Any = None, timeout_s: float = 40.0) -> None:
        """Wait until the node listens and every output is connected."""
        publisher = image_publisher or self.images
        self.spin_until(lambda: publisher.get_subscription_count() and self.label_infos
                        and all(self.node.count_publishers(topic) for topic in self.outputs),
                        timeout_s=timeout_s, what='the node is up')

    def header(self, *, frame_id: str = 'camera') -> Header:
        """Return a header that no earlier frame had."""
        self._stamp += 1
        header = Header(frame_id=frame_id)
        header.stamp.sec, header.stamp.nanosec = 1_700_000_000 + self._stamp, 123_456_789
        return header

    def image(self, array: np.ndarray[Any, Any], *, encoding: str = 'rgb8', padding: int = 0,
              **changes: Any) -> Image:
        """Return an image message; padding is in bytes a row, changes are fields to break."""
        height, width = array.shape[:2]
        rows = array.reshape(height, -1).view(np.uint8)
        padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
        message = Image(header=self.header(), height=height, width=width, encoding=encoding,
                        step=padded.shape[1], data=padded.tobytes())
        for name, value in changes.items():
            setattr(message, name, value)
        return message

    def ask(self, message: Image | CompressedImage, *, publisher: Any = None,
            timeout_s: float = 60.0) -> Answer:
        """Publish an image and return all outputs with its header."""
        key = key_of(message.header)
        (publisher or self.images).publish(message)
        self.spin_until(lambda: self.outputs.keys() <= self.answers[key].messages.keys(),
                        timeout_s=timeout_s,
                        what=f'all of {sorted(self.outputs)} for {key}, '
                             f'have {sorted(self.answers[key].messages)}')
        return self.answers[key]

    def diagnostic_values(self) -> dict[str, str]:
        """Return the newest diagnostics of the segmentation node."""
        for message in reversed(self.diagnostics):
            for status in message.status:
                return {value.key: value.value for value in status.values} | {
                    'message': status.message, 'level': str(ord(status.level))}
        return {}

    def wait_for_diagnostic(self, key: str, accept: Callable[[str], bool]) -> str:
        """Spin until a new diagnostic value is accepted, and return it."""
        self.spin_until(lambda: accept(self.diagnostic_values().get(key, '')),
                        what=f'diagnostics with the awaited {key}')
        return self.diagnostic_values()[key]

    def call(self, name: str, request: Any, *, timeout_s: float = 40.0) -> Any:
        """Call a service of the segmentation node, once that has found the clients."""
        if not self._is_found:
            self._wait_until_found()
        return self._ask(name, request, timeout_s=timeout_s)

    def _wait_until_found(self, *, tries: int = 8, each_s: float = 5.0) -> None:
        """Ask for the state, which changes nothing, until an answer comes."""
        for remaining in reversed(range(tries)):
            try:
                self._ask('get_state', GetState.Request(), timeout_s=each_s)
                self._is_found = True
                return
            except TimeoutError:
                if not remaining:
                    raise

    def _ask(self, name: str, request: Any, *, timeout_s: float) -> Any:
        client = self._clients[name]
        self.spin_until(client.service_is_ready, timeout_s=timeout_s, what=f'service {name}')
        future = client.call_async(request)
        self.spin_until(future.done, timeout_s=timeout_s, what=f'answer of {name}')
        return future.result()

    def state(self) -> str:
        """Return the lifecycle state's name."""
        return self.call('get_state', GetState.Request()).current_state.label

    def change_state(self, transition: int) -> bool:
        """Ask for a transition and return whether it succeeded."""
        request = ChangeState.Request()
        request.transition.id = transition
        return self.call('change_state', request).success

    def set_parameters(self, **values: Any) -> tuple[bool, str]:
        """Set parameters, all or none; return (success, reason)."""
        messages: list[ParameterMessage] = [
            Parameter(name.replace('__', '.'), value=value).to_parameter_msg()
            for name, value in values.items()]
        request = SetParametersAtomically.Request(parameters=messages)
        result = self.call('set_parameters_atomically', request).result
        return result.successful, result.reason

    def publisher(self, kind: type, topic: str, *, best_effort: bool = False) -> Any:
        """Create another publisher."""
        reliability = ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE
        return self.node.create_publisher(kind, topic, QoSProfile(depth=10,
                                                                  reliability=reliability))

    def camera_info(self, *, width: int, height: int) -> CameraInfo:
        """Return a plausible calibration."""
        k = [300.0, 0.0, width / 2, 0.0, 310.0, height / 2, 0.0, 0.0, 1.0]
        p = [300.0, 0.0, width / 2, -30.0, 0.0, 310.0, height / 2, 0.0, 0.0, 0.0, 1.0, 0.0]
        return CameraInfo(header=self.header(), width=width, height=height,
                          distortion_model='plumb_bob', d=[0.0] * 5, k=k, p=p,
                          r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0])


def key_of(header: Header) -> tuple[int, int, str]:
    """Return what tells headers apart, bit for bit."""
    return header.stamp.sec, header.stamp.nanosec, header.frame_id
