# SPDX-License-Identifier: Apache-2.0
"""The nodes: the only place that knows of ROS."""
