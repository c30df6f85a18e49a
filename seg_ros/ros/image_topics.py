# SPDX-License-Identifier: Apache-2.0
"""What image topics there are, who publishes them how, and what of them arrives here."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
import time
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.topic_endpoint_info import TopicEndpointInfo
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import CompressedImage, Image

_KINDS: dict[str, Any] = {'sensor_msgs/msg/Image': Image,
                          'sensor_msgs/msg/CompressedImage': CompressedImage}
_DISCOVERY_S = 2.0
_LONGEST_DISCOVERY_S = 8.0  # on a busy machine nodes answer late; none may be there


@dataclass
class TopicReport:
    """One image topic, and what arrived of it in some seconds."""

    name: str
    kind: str
    publishers: list[str]  # node (reliability)
    reliabilities: set[str]
    seconds: float = 0.0
    received: int = 0
    lost: int = 0  # by the gaps in the one publisher's numbers
    image_bytes: int = 0  # of the newest one
    _numbers: list[int] = field(default_factory=list)

    @property
    def loss(self) -> float:
        """Return the share that was lost, 0 to 1."""
        return self.lost / max(self.received + self.lost, 1)

    def hear(self, message: Any, info: dict[str, Any]) -> None:
        """Count a message."""
        self.received += 1
        self.image_bytes = len(message.data)
        number = info['publication_sequence_number']
        if number is not None and self._numbers and len(self.publishers) == 1:
            self.lost += max(number - self._numbers[-1] - 1, 0)
        self._numbers = [number] if number is not None else []


def middleware() -> str:
    """Return the name of the middleware that nodes started here use."""
    name: str = get_rmw_implementation_identifier()
    return name


def listen(*, seconds: float) -> list[TopicReport]:
    """Hear every image topic of the domain for some seconds, with the QoS that it offers."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node('seg_ros_doctor', context=context, enable_rosout=False)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        reports = _discover(node, executor)
        for report in reports:
            every_one_reliable = report.reliabilities == {'reliable'}
            node.create_subscription(_KINDS[report.kind], report.name, report.hear, QoSProfile(
                depth=5, reliability=ReliabilityPolicy.RELIABLE if every_one_reliable
                else ReliabilityPolicy.BEST_EFFORT))
        _spin(executor, seconds)
        for report in reports:
            report.seconds = seconds
            # on a busy machine, the names of nodes are known later than their topics
            infos = node.get_publishers_info_by_topic(report.name)
            report.publishers = _publishers(infos) or report.publishers
        return reports
    finally:
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()


def _discover(node: Node, executor: SingleThreadedExecutor) -> list[TopicReport]:
    """Return the image topics after a while, or after a longer one where there seem to be none."""
    deadline = time.monotonic() + _LONGEST_DISCOVERY_S
    _spin(executor, _DISCOVERY_S)
    while not (reports := list(_topics(node))) and time.monotonic() < deadline:
        _spin(executor, 0.2)
    return reports


def _spin(executor: SingleThreadedExecutor, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        executor.spin_once(timeout_sec=left)


def _topics(node: Node) -> Iterable[TopicReport]:
    """Yield the image topics that somebody publishes."""
    for name, kinds in sorted(node.get_topic_names_and_types()):
        infos = node.get_publishers_info_by_topic(name)
        kind = next((kind for kind in kinds if kind in _KINDS), '')
        if kind and infos:
            yield TopicReport(
                name=name, kind=kind, publishers=_publishers(infos),
                reliabilities={_reliability(info) for info in infos})


def _publishers(infos: Iterable[TopicEndpointInfo]) -> list[str]:
    """Return who publishes: node (reliability)."""
    return [f'{info.node_name} ({_reliability(info)})' for info in infos]


def _reliability(info: TopicEndpointInfo) -> str:
    """Return what an endpoint offers, in lower case."""
    name: str = info.qos_profile.reliability.name
    return name.lower()
