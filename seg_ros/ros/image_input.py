# SPDX-License-Identifier: Apache-2.0
"""Subscribes to a camera and follows what its publishers offer."""
from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from seg_ros.core.config import Config
from seg_ros.ros.adaptive_subscription import AdaptiveSubscription

AnyImage = Image | CompressedImage


class ImageInput:
    """The image and camera_info subscriptions of one camera."""

    def __init__(self, node: Node, config: Config, *, prefix: str,
                 on_image: Callable[[AnyImage], None], on_loss: Callable[[int], None]) -> None:
        """Subscribe to the topics whose names begin with a prefix.

        on_loss hears how many images never arrived, as far as one publisher's numbers show it.
        """
        self._node = node
        self.camera_info: CameraInfo | None = None
        compressed = config.image_transport == 'compressed'
        self._image = AdaptiveSubscription(
            node, CompressedImage if compressed else Image,
            f'{prefix}image/compressed' if compressed else f'{prefix}image',
            reliability=config.image_reliability, depth=1, on_message=on_image, on_loss=on_loss)
        # camera drivers publish it with either reliability; best effort receives both
        self._info = node.create_subscription(
            CameraInfo, f'{prefix}camera_info', self._keep_camera_info,
            QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))

    @property
    def silence_s(self) -> float:
        """Return the seconds since the last image, or since the subscription."""
        return self._image.silence_s

    def silence_limit_s(self, least_s: float) -> float:
        """Return how long the camera may be silent: 3 of its periods, and at least least_s."""
        return self._image.silence_limit_s(least_s)

    def adapt(self) -> None:
        """Follow what the publishers offer now."""
        self._image.adapt()

    def describe(self) -> str:
        """Return what is wanted and what the graph shows, in one sentence."""
        return self._image.describe()

    def close(self) -> None:
        """Unsubscribe."""
        self._image.close()
        self._node.destroy_subscription(self._info)

    def _keep_camera_info(self, message: CameraInfo) -> None:
        self.camera_info = message
