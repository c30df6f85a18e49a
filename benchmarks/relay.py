# SPDX-License-Identifier: Apache-2.0
"""The least that a node in Python can do with an image: publish it again."""
from __future__ import annotations

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image


def main() -> None:
    """Relay `image` to `relayed` until the process is ended."""
    rclpy.init()
    node = rclpy.create_node('relay')
    publisher = node.create_publisher(Image, 'relayed', QoSProfile(depth=2))
    node.create_subscription(Image, 'image', publisher.publish, QoSProfile(depth=1))
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass


if __name__ == '__main__':
    main()
