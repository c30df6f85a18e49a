# SPDX-License-Identifier: Apache-2.0
"""Subscribes to a camera and follows what its publishers offer."""
from __future__ import annotations

from collections.abc import Callable
import time

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from seg_ros.core.config import Config

AnyImage = Image | CompressedImage


class ImageInput:
    """The image and camera_info subscriptions of one camera.

    With image_reliability auto it subscribes reliable where every publisher offers that, best
    effort where one does not (a best-effort publisher never reaches a reliable subscriber), and
    again when the publishers change. Reliable is the better start: best effort loses most large
    images on a default transport.
    """

    def __init__(self, node: Node, config: Config, *, prefix: str,
                 on_image: Callable[[AnyImage], None]) -> None:
        """Subscribe to the topics whose names begin with a prefix."""
        self._node = node
        self._on_image = on_image
        self._auto = config.image_reliability == 'auto'
        self._type: type[AnyImage] = Image
        topic = 'image'
        if config.image_transport == 'compressed':
            self._type, topic = CompressedImage, 'image/compressed'
        self._topic = node.resolve_topic_name(prefix + topic)
        self.camera_info: CameraInfo | None = None
        self._last_image_s = time.monotonic()
        self._reliability = ReliabilityPolicy.BEST_EFFORT \
            if config.image_reliability == 'best_effort' else ReliabilityPolicy.RELIABLE
        if self._auto:
            self._reliability = self._offered() or ReliabilityPolicy.RELIABLE
        self._image = self._subscribe()
        # camera drivers publish it with either reliability; best effort receives both
        self._info = node.create_subscription(
            CameraInfo, f'{prefix}camera_info', self._keep_camera_info,
            QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))

    @property
    def silence_s(self) -> float:
        """Return the seconds since the last image, or since the subscription."""
        return time.monotonic() - self._last_image_s

    def adapt(self) -> None:
        """Follow what the publishers offer now."""
        if not self._auto:
            return
        offered = self._offered()
        if offered is None or offered == self._reliability:
            return
        self._reliability = offered
        self._node.destroy_subscription(self._image)
        self._image = self._subscribe()
        self._node.get_logger().info(
            f'{self._topic}: subscribed {offered.name.lower()}, as its publishers offer')

    def describe(self) -> str:
        """Return what is wanted and what the graph shows, in one sentence."""
        wanted = f'{self._topic} ({self._type.__name__}, {self._reliability.name.lower()})'
        publishers = [f'{info.node_name} ({info.topic_type}, '
                      f'{info.qos_profile.reliability.name.lower()})'
                      for info in self._node.get_publishers_info_by_topic(self._topic)]
        return f'subscribed to {wanted}, publishers: {", ".join(publishers) or "none"}'

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._image)
        self._node.destroy_subscription(self._info)

    def _subscribe(self) -> Subscription:
        # a publisher came that the subscription cannot hear: look at once
        events = SubscriptionEventCallbacks(incompatible_qos=lambda _: self.adapt()) \
            if self._auto else None
        return self._node.create_subscription(
            self._type, self._topic, self._receive,
            QoSProfile(depth=1, reliability=self._reliability), event_callbacks=events)

    def _receive(self, message: AnyImage) -> None:
        self._last_image_s = time.monotonic()
        self._on_image(message)

    def _keep_camera_info(self, message: CameraInfo) -> None:
        self.camera_info = message

    def _offered(self) -> ReliabilityPolicy | None:
        """Return what every publisher of the topic can serve, None where there is none."""
        offers = {info.qos_profile.reliability
                  for info in self._node.get_publishers_info_by_topic(self._topic)}
        if not offers:
            return None
        every_one = offers == {ReliabilityPolicy.RELIABLE}
        return ReliabilityPolicy.RELIABLE if every_one else ReliabilityPolicy.BEST_EFFORT
