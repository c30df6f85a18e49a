# SPDX-License-Identifier: Apache-2.0
"""Starts the synthetic street as a camera, segmentation_node on it, and RViz where it is."""

import shutil

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    """Describe the three processes; the arguments of segmentation.launch.py work here too."""
    share = FindPackageShare('seg_ros')
    return LaunchDescription([
        DeclareLaunchArgument(
            'rviz',
            default_value='true' if shutil.which('rviz2') else 'false',
            description='show image and overlay in RViz (true where rviz2 is installed)',
        ),
        Node(package='seg_ros', executable='street_camera_node', output='screen'),
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(
                PathJoinSubstitution([share, 'launch', 'segmentation.launch.py'])),
            launch_arguments={'depth': 'depth'}.items(),
        ),
        Node(
            package='rviz2',
            executable='rviz2',
            arguments=['-d', PathJoinSubstitution([share, 'config', 'seg_ros.rviz'])],
            condition=IfCondition(LaunchConfiguration('rviz')),
            output='screen',
        ),
    ])
