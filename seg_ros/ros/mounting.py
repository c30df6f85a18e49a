# SPDX-License-Identifier: Apache-2.0
"""Where the camera is above the ground: from parameters, or from tf2 where it is installed."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from geometry_msgs.msg import Quaternion
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header

from seg_ros.core.config import GroundConfig
from seg_ros.core.ground import CameraPose, mounted


class UnknownPoseError(Exception):
    """Nobody says where the camera is, in one sentence."""


class Mounting(Protocol):
    """Knows where the camera of an image is in the grid's frame."""

    def pose(self, header: Header, config: GroundConfig) -> CameraPose:
        """Return the pose at the image's stamp; raises UnknownPoseError."""


class GivenMounting:
    """The pose that the parameters give."""

    def pose(self, header: Header, config: GroundConfig) -> CameraPose:
        """Return the same pose for every image."""
        return mounted(height_m=config.height_m, pitch=config.pitch)


class TransformMounting:
    """The pose that a tf2 buffer knows."""

    def __init__(self, lookup: Callable[[str, str, Time], Any]) -> None:
        """Take the buffer's lookup_transform(target, source, time)."""
        self._lookup = lookup

    def pose(self, header: Header, config: GroundConfig) -> CameraPose:
        """Return the transform at the image's stamp; it is not waited for."""
        try:
            found = self._lookup(config.frame, header.frame_id, Time.from_msg(header.stamp))
            moved, turned = found.transform.translation, found.transform.rotation
            return CameraPose(_rotation(turned), np.array([moved.x, moved.y, moved.z]))
        except Exception as error:  # tf2's exceptions have no base class that can be named here
            raise UnknownPoseError(f'no pose of {header.frame_id!r} in {config.frame!r}: '
                                   f'{error}') from error


def make_mounting(node: Node, config: GroundConfig) -> Mounting:
    """Return what ground.pose asks for; raises ValueError where tf2_ros is not installed."""
    if config.pose == 'parameters':
        return GivenMounting()
    try:
        import tf2_ros
    except ImportError as error:
        raise ValueError(f"ground.pose is 'tf' but tf2_ros cannot be imported ({error}), expected "
                         "an installed tf2_ros_py, or 'parameters'") from error
    buffer = tf2_ros.Buffer()
    # the buffer keeps its listener alive
    buffer.listener = tf2_ros.TransformListener(buffer, node)
    return TransformMounting(buffer.lookup_transform)


def _rotation(q: Quaternion) -> NDArray[np.float64]:
    """Return the matrix of a quaternion."""
    x, y, z, w = np.array([q.x, q.y, q.z, q.w]) / np.linalg.norm([q.x, q.y, q.z, q.w])
    return np.array([[1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                     [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                     [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]])
