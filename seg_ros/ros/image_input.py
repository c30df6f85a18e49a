# SPDX-License-Identifier: Apache-2.0
"""Subscribes to a camera and follows what its publishers offer."""
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from statistics import median
import time
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from seg_ros.core.config import Config

AnyImage = Image | CompressedImage

_FIRST_IMAGE_S = 5.0  # until then, cameras and discovery may still be starting
_PERIODS = 3  # without an image, of a camera that was there
_MEASURED = 9  # newest periods that the usual one is the median of


class ImageInput:
    """The image and camera_info subscriptions of one camera.

    With image_reliability auto it subscribes reliable where every publisher offers that, best
    effort where one does not (a best-effort publisher never reaches a reliable subscriber), and
    again when the publishers change. Reliable is the better start: best effort loses most large
    images on a default transport.
    """

    def __init__(self, node: Node, config: Config, *, prefix: str,
                 on_image: Callable[[AnyImage], None], on_loss: Callable[[int], None]) -> None:
        """Subscribe to the topics whose names begin with a prefix.

        on_loss hears how many images never arrived, as far as one publisher's numbers show it.
        """
        self._node = node
        self._on_image = on_image
        self._on_loss = on_loss
        self._periods_s: deque[float] = deque(maxlen=_MEASURED)
        self._heard = False
        self._last_number: int | None = None
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

    def silence_limit_s(self, least_s: float) -> float:
        """Return how long the camera may be silent: 3 of its periods, and at least least_s."""
        if not self._heard:
            return max(_FIRST_IMAGE_S, least_s)
        return max(_PERIODS * median(self._periods_s or [0.0]), least_s)

    def adapt(self) -> None:
        """Follow what the publishers offer now."""
        if not self._auto:
            return
        offered = self._offered()
        if offered is None or offered == self._reliability:
            return
        self._reliability = offered
        self._node.destroy_subscription(self._image)
        self._last_number = None
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

    def _receive(self, message: AnyImage, info: dict[str, Any]) -> None:
        now = time.monotonic()
        if self._heard:
            self._periods_s.append(now - self._last_image_s)
        self._last_image_s, self._heard = now, True
        self._count_losses(info['publication_sequence_number'])
        self._on_image(message)

    def _count_losses(self, number: int | None) -> None:
        """Compare a publisher's number of an image with the last one."""
        last, self._last_number = self._last_number, number
        if last is None or number is None:  # not every middleware counts
            return
        # several publishers count each for themselves, and one that restarts begins anew
        if number > last + 1 and self._node.count_publishers(self._topic) == 1:
            self._on_loss(number - last - 1)

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
