# SPDX-License-Identifier: Apache-2.0
"""The node's topics: all advertised at once, messages built for those that somebody hears."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, LabelInfo

from seg_ros.core.config import Config, parse_size
from seg_ros.core.labels import LabelSet
from seg_ros.core.overlay import draw_overlay
from seg_ros.core.panoptic import nearest_indices, pack, PanopticEncoding, resize
from seg_ros.core.types import Frame, Segmentation
from seg_ros.models.contract import Task
from seg_ros.ros.images import image_message, jpeg_message
from seg_ros.ros.messages import (
    camera_info_for,
    detections_message,
    label_info_message,
)

Build = Callable[['_Answer'], Any]


@dataclass(frozen=True)
class _Answer:
    """Everything that the messages of one frame are made of."""

    header: Header
    frame: Frame
    segmentation: Segmentation
    config: Config
    camera_info: CameraInfo | None
    overlay: NDArray[np.uint8] | None  # (h, w, 3) RGB, where somebody wants it

    def image(self, pixels: NDArray[np.generic], encoding: str) -> Image:
        """Return pixels as a message with the frame's header."""
        return image_message(pixels, encoding=encoding, header=self.header)


@dataclass(frozen=True)
class _Topic:
    """A publisher and how its message is made."""

    publisher: Publisher
    build: Build

    @property
    def wanted(self) -> bool:
        """Return whether somebody subscribes."""
        return bool(self.publisher.get_subscription_count())


class Outputs:
    """Publishes every answer to one frame in one go, in a fixed order."""

    def __init__(self, node: Node, config: Config, *, label_set: LabelSet,
                 tasks: frozenset[Task], prefix: str) -> None:
        """Advertise the topics of the tasks below a prefix and latch the label info."""
        self._node = node
        self._prefix = prefix
        self._tasks = tasks
        self._qos = QoSProfile(depth=config.queue_depth)
        self._label_info = node.create_publisher(
            LabelInfo, f'{prefix}semantic/label_info',
            QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
        self._topics: dict[str, _Topic] = {}
        self._use(config, label_set)
        self._latch()

    @property
    def wanted(self) -> bool:
        """Return whether anybody subscribes to an output that a frame makes."""
        return any(topic.wanted for topic in self._topics.values())

    def apply(self, config: Config, *, label_set: LabelSet) -> None:
        """Use a new configuration and its classes from the next frame on."""
        told = (self._config.score_threshold, self._label_set)
        self._use(config, label_set)
        if told != (config.score_threshold, label_set):
            self._latch()

    def build(self, header: Header, frame: Frame, segmentation: Segmentation,
              camera_info: CameraInfo | None) -> list[tuple[Publisher, Any]]:
        """Return the messages of one frame for the topics that somebody hears."""
        config = self._config
        size = parse_size(config.output_size)
        if size:
            segmentation = resize(segmentation, width=size[0], height=size[1])
        # somebody may subscribe between two questions: ask once
        wanted = [topic for topic in self._topics.values() if topic.wanted]
        overlay = None
        if any(topic.build in (_overlay, _jpeg) for topic in wanted):
            overlay = draw_overlay(fit_image(frame.image, segmentation.size), segmentation,
                                   self._label_set)
        answer = _Answer(header=header, frame=frame, segmentation=segmentation, config=config,
                         camera_info=camera_info, overlay=overlay)
        messages = [(topic.publisher, topic.build(answer)) for topic in wanted]
        return [(publisher, message) for publisher, message in messages if message is not None]

    def close(self) -> None:
        """Take the topics from the graph."""
        self._node.destroy_publisher(self._label_info)
        for topic in self._topics.values():
            self._node.destroy_publisher(topic.publisher)

    def _use(self, config: Config, label_set: LabelSet) -> None:
        """Take over configuration and classes; advertise what is new, take down what is not."""
        self._config = config
        self._label_set = label_set
        self._foreground = class_table(label_set, config.foreground_classes)
        old, self._topics = self._topics, {}
        for name, kind, build in self._offered():
            self._topics[name] = old.pop(name, None) or _Topic(
                self._node.create_publisher(kind, self._prefix + name, self._qos), build)
        for topic in old.values():
            self._node.destroy_publisher(topic.publisher)

    def _offered(self) -> Iterator[tuple[str, type, Build]]:
        """Yield name, type and making of each topic, in the order of publication."""
        tasks, config = self._tasks, self._config
        yield 'semantic/image_raw', Image, _semantic
        if config.confidence and Task.SEMANTIC in tasks:
            yield 'semantic/confidence', Image, _confidence
        if Task.INSTANCE in tasks:
            yield 'instances', Detection2DArray, self._detections
            yield 'instance/image_raw', Image, _instance
        if Task.PANOPTIC in tasks:
            yield 'panoptic/image_raw', Image, _panoptic
        yield 'overlay/image_raw', Image, _overlay
        yield 'overlay/image_raw/compressed', CompressedImage, _jpeg
        if config.foreground_classes:
            yield 'foreground/image_raw', Image, self._foreground_image
        groups = {'semantic': True, 'instance': Task.INSTANCE in tasks,
                  'panoptic': Task.PANOPTIC in tasks}
        for group in (name for name, served in groups.items() if served):
            yield f'{group}/camera_info', CameraInfo, _camera_info

    def _latch(self) -> None:
        """Publish the names before the first mask, which some consumers cannot do without."""
        self._label_info.publish(label_info_message(
            self._label_set, threshold=self._config.score_threshold, header=Header()))

    def _detections(self, answer: _Answer) -> Detection2DArray:
        return detections_message(
            answer.segmentation, header=answer.header,
            class_texts=self._label_set.texts(answer.config.detection_class_id))

    def _foreground_image(self, answer: _Answer) -> Image:
        return answer.image(self._foreground[answer.segmentation.class_map], 'mono8')


def _semantic(answer: _Answer) -> Image:
    return answer.image(answer.segmentation.class_map, 'mono8')


def _confidence(answer: _Answer) -> Image | None:
    confidence = answer.segmentation.confidence
    return None if confidence is None else answer.image(confidence, 'mono8')


def _instance(answer: _Answer) -> Image:
    return answer.image(answer.segmentation.id_map(), '32SC1')


def _panoptic(answer: _Answer) -> Image:
    encoding = PanopticEncoding(answer.config.panoptic_encoding)
    return answer.image(pack(answer.segmentation, encoding), '32SC1')


def _overlay(answer: _Answer) -> Image | None:
    return None if answer.overlay is None else answer.image(answer.overlay, 'rgb8')


def _jpeg(answer: _Answer) -> CompressedImage | None:
    if answer.overlay is None:
        return None
    return jpeg_message(answer.overlay, quality=answer.config.overlay_jpeg_quality,
                        header=answer.header)


def _camera_info(answer: _Answer) -> CameraInfo | None:
    """Return the calibration of the mask; none where it speaks of another image size."""
    info = answer.camera_info
    image_height, image_width = answer.frame.image.shape[:2]
    if info is None or (info.width, info.height) != (image_width, image_height):
        return None
    height, width = answer.segmentation.size
    return camera_info_for(info, width=width, height=height, header=answer.header)


def fit_image(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the image at the label image's (height, width), by nearest neighbour."""
    if image.shape[:2] == size:
        return image
    rows, columns = map(nearest_indices, image.shape[:2], size)
    return image[rows][:, columns]


def class_table(label_set: LabelSet, names: tuple[str, ...]) -> NDArray[np.uint8]:
    """Return a (256,) table: 1 for the named classes; raises ValueError for an unknown one."""
    table = np.zeros(256, np.uint8)
    table[[label_set.id_of(name) for name in names]] = 1
    return table
