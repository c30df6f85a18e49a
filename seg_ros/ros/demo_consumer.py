# SPDX-License-Identifier: Apache-2.0
"""The demo's consumer: subscribes to every output as any node would, and joins them by stamp."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, LabelInfo

OUTPUTS: dict[str, type] = {
    'semantic/image_raw': Image,
    'instances': Detection2DArray,
    'instance/image_raw': Image,
    'panoptic/image_raw': Image,
    'overlay/image_raw': Image,
    'overlay/image_raw/compressed': CompressedImage,
}
CAMERA_INFOS: dict[str, type] = {
    'semantic/camera_info': CameraInfo,
    'instance/camera_info': CameraInfo,
    'panoptic/camera_info': CameraInfo,
}
TRUTH: dict[str, type] = {'truth/semantic': Image, 'truth/instance': Image}
_NOT_KEPT = frozenset({*CAMERA_INFOS, 'overlay/image_raw/compressed'})  # only counted
_QUEUE_DEPTH = 100
_PIXELS = {
    'rgb8': (np.uint8, 3),
    'mono8': (np.uint8, 1),
    '32SC1': (np.int32, 1),
}


@dataclass
class JoinedFrame:
    """Everything that arrived with one stamp."""

    stamp_ns: int
    messages: dict[str, Any] = field(default_factory=dict)  # those worth keeping, by topic
    missing_outputs: set[str] = field(default_factory=set)
    missing_inputs: set[str] = field(default_factory=set)
    latency_ms: float = 0.0  # from the camera's publish to the last output, once it is there

    @property
    def is_processed(self) -> bool:
        """Return whether every output is there."""
        return not self.missing_outputs

    def pixels(self, topic: str) -> NDArray[Any]:
        """Return the array of an image topic."""
        return pixels_of(self.messages[topic])


def pixels_of(message: Image) -> NDArray[Any]:
    """Return an unpadded image as (H, W) or (H, W, 3); it is a view that must not be drawn on."""
    dtype, channels = _PIXELS[message.encoding]
    array = np.frombuffer(message.data, dtype).reshape(message.height, message.width, channels)
    return array[..., 0] if channels == 1 else array


@dataclass
class TopicCount:
    """What came on one topic."""

    type: str
    encoding: str | None = None
    count: int = 0


class Consumer:
    """Joins the messages of each frame and hands complete ones on."""

    def __init__(self, node: Node, *, with_truth: bool) -> None:
        """Subscribe: to outputs and inputs, reliable, deep enough to miss nothing."""
        self._node = node
        self.outputs = OUTPUTS | (CAMERA_INFOS if with_truth else {})
        self.inputs: dict[str, type] = {'image': Image} | (TRUTH if with_truth else {})
        self.topics: dict[str, TopicCount] = {}
        self.frames: dict[int, JoinedFrame] = {}  # by stamp, in order of arrival
        self.complete: deque[JoinedFrame] = deque()  # to be taken by whoever looks at them
        self.label_names: tuple[str, ...] = ()
        self.last_news_s = time.monotonic()
        self.latencies_ms: list[float] = []
        self.newest: JoinedFrame | None = None  # the newest processed one
        self.model_ms: float | None = None
        for topic, kind in {**self.outputs, **self.inputs}.items():
            self._subscribe(kind, topic, self._joiner(topic))
        self._subscribe(DiagnosticArray, '/diagnostics', self._read_diagnostics)
        self._subscribe(
            LabelInfo,
            'semantic/label_info',
            self._read_labels,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )

    def _subscribe(
        self,
        kind: type,
        topic: str,
        receive: Callable[[Any], None],
        durability: DurabilityPolicy = DurabilityPolicy.VOLATILE,
    ) -> None:
        count = TopicCount(type='{}/msg/{}'.format(kind.__module__.split('.')[0], kind.__name__))
        self.topics[topic] = count

        def counted(message: Any) -> None:
            count.count += 1
            count.encoding = getattr(message, 'encoding', getattr(message, 'format', None))
            receive(message)

        qos = QoSProfile(depth=_QUEUE_DEPTH, durability=durability)
        self._node.create_subscription(kind, topic, counted, qos)

    def is_connected(self) -> bool:
        """Return whether the segmentation node has said its classes and advertised its outputs."""
        return bool(self.label_names) and all(map(self._node.count_publishers, self.outputs))

    def _joiner(self, topic: str) -> Callable[[Any], None]:
        def join(message: Any) -> None:
            now_ns = time.time_ns()
            self.last_news_s = time.monotonic()
            frame = self._frame_of(message.header)
            if topic not in _NOT_KEPT:
                frame.messages[topic] = message
            if topic in frame.missing_outputs:
                frame.missing_outputs.remove(topic)
                if frame.is_processed:
                    self._note_processed(frame, now_ns)
            frame.missing_inputs.discard(topic)
            if frame.is_processed and not frame.missing_inputs:
                self.complete.append(frame)

        return join

    def _frame_of(self, header: Header) -> JoinedFrame:
        stamp_ns = header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
        if stamp_ns not in self.frames:
            self.frames[stamp_ns] = JoinedFrame(
                stamp_ns,
                missing_outputs=set(self.outputs),
                missing_inputs=set(self.inputs),
            )
        return self.frames[stamp_ns]

    def _note_processed(self, frame: JoinedFrame, now_ns: int) -> None:
        frame.latency_ms = (now_ns - frame.stamp_ns) / 1e6
        self.latencies_ms.append(frame.latency_ms)
        self.newest = frame

    @property
    def published(self) -> int:
        """Return how many frames the camera has published."""
        return len(self.frames)

    @property
    def processed(self) -> int:
        """Return how many frames came back with all outputs."""
        return len(self.latencies_ms)

    def forget_dropped(self) -> int:
        """Free the images of frames that will get no answer any more; return how many they are.

        The node answers in order, so these are the ones before the newest answer.
        """
        newest_ns = self.newest.stamp_ns if self.newest else 0
        dropped = [
            frame
            for frame in self.frames.values()
            if frame.stamp_ns < newest_ns and not frame.is_processed
        ]
        for frame in dropped:
            frame.messages.clear()
        return len(dropped)

    def _read_labels(self, message: LabelInfo) -> None:
        names = {item.class_id: item.class_name for item in message.class_map}
        self.label_names = tuple(names[class_id] for class_id in sorted(names))

    def _read_diagnostics(self, message: DiagnosticArray) -> None:
        values = {item.key: item.value for status in message.status for item in status.values}
        if 'stage_ms.model.p50' in values:
            self.model_ms = float(values['stage_ms.model.p50'])
