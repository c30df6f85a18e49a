# SPDX-License-Identifier: Apache-2.0
"""Reads a node's label images until it is ended, or stopped."""
from __future__ import annotations

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image


def main() -> None:
    """Subscribe and do nothing with what comes."""
    rclpy.init()
    node = rclpy.create_node('reader')
    node.create_subscription(Image, 'semantic/image_raw', lambda _: None, QoSProfile(depth=5))
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass


if __name__ == '__main__':
    main()
