# SPDX-License-Identifier: Apache-2.0
"""Reads a node's outputs, those whose names it is given, until it is ended or stopped."""
from __future__ import annotations

import sys

from nav_msgs.msg import OccupancyGrid
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.qos import QoSProfile
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import Image, PointCloud2
from vision_msgs.msg import Detection3DArray

TYPES = {'semantic/image_raw': Image, 'points': PointCloud2, 'obstacles': PointCloud2,
         'drivable': PointCloud2, 'instances_3d': Detection3DArray,
         'drivable_grid': OccupancyGrid}


def main() -> None:
    """Subscribe and do nothing with what comes."""
    names = remove_ros_args(sys.argv)[1:] or ['semantic/image_raw']
    rclpy.init(args=sys.argv)
    node = rclpy.create_node('reader')
    for name in names:
        node.create_subscription(TYPES[name], name, lambda _: None, QoSProfile(depth=5))
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass


if __name__ == '__main__':
    main()
