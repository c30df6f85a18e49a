# SPDX-License-Identifier: Apache-2.0
"""The command line `seg_ros`: the same pipeline as the node's, without ROS."""
