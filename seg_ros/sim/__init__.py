# SPDX-License-Identifier: Apache-2.0
"""A synthetic street: camera frames with exact depth, classes and instances."""
from __future__ import annotations

from seg_ros.sim.camera import CameraModel
from seg_ros.sim.classes import CLASS_NAMES, THINGS
from seg_ros.sim.depth_sensor import DepthSensor
from seg_ros.sim.street import ObjectPose, Street, StreetFrame

__all__ = ['CLASS_NAMES', 'THINGS', 'CameraModel', 'DepthSensor', 'ObjectPose', 'Street',
           'StreetFrame']
