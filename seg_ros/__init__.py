# SPDX-License-Identifier: Apache-2.0
"""Semantic, instance and panoptic segmentation of camera topics for ROS 2."""
