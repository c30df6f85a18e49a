# SPDX-License-Identifier: Apache-2.0
"""Starts segmentation_node beside a camera, with any model."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.parameter_descriptions import ParameterValue

# parameters of the node that are arguments too; an empty argument leaves the node's default
# or the value of params_file
NODE_PARAMETERS = {
    'panoptic_model': (str, 'model that answers all three tasks, such as street_tiny'),
    'semantic_model': (str, 'model for classes'),
    'instance_model': (str, 'model for instances'),
    'device': (str, 'auto, cpu or cuda:N'),
    'image_transport': (str, 'raw or compressed'),
    'autostart': (bool, 'whether the node configures and activates itself'),
}
ARGUMENTS = {
    'cameras': ('', 'names of several cameras, such as front,left; topics are below them'),
    'image': ('image', "topic of the camera image, without /compressed; below each camera's name"),
    'camera_info': ('camera_info', "topic of its CameraInfo; below each camera's name"),
    'depth': ('', 'topic of the depth image registered to it, for the 3D outputs; empty = none'),
    'depth_camera_info': ('', 'topic of its CameraInfo; empty = camera_info beside it'),
    'cloud': ('', 'topic of a cloud organised as the image, instead of depth; empty = none'),
    'namespace': ('', "namespace of the node and its outputs, best the camera's"),
    'name': ('segmentation_node', 'name of the node'),
    'params_file': ('', 'YAML file with parameters of the node'),
    'log_level': ('info', 'debug, info, warn or error'),
}

# topics of the node -> the arguments that say what they are called here
TOPICS = {'image': 'image', 'camera_info': 'camera_info', 'depth': 'depth',
          'depth/camera_info': 'depth_camera_info', 'cloud': 'cloud'}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments; the node is made when their values are known."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=meaning)
        for name, (default, meaning) in ARGUMENTS.items()
    ]
    declared += [
        DeclareLaunchArgument(name, default_value='', description=meaning)
        for name, (_, meaning) in NODE_PARAMETERS.items()
    ]
    return LaunchDescription(declared + [OpaqueFunction(function=make_node)])


def make_node(context: LaunchContext) -> list[LifecycleNode]:
    """Make the node with the parameters that were given, and no others."""
    value = {name: LaunchConfiguration(name).perform(context)
             for name in (*ARGUMENTS, *NODE_PARAMETERS)}
    given = {name: ParameterValue(LaunchConfiguration(name), value_type=kind)
             for name, (kind, _) in NODE_PARAMETERS.items() if value[name]}
    cameras = [name.strip() for name in value['cameras'].split(',') if name.strip()]
    if cameras:
        given['cameras'] = cameras
    topics = {topic: value[argument] for topic, argument in TOPICS.items() if value[argument]}
    if value['depth']:
        sibling = '/'.join([*value['depth'].split('/')[:-1], 'camera_info'])
        topics.setdefault('depth/camera_info', sibling)
    if value['depth'] or value['cloud']:
        given['depth.input'] = 'image' if value['depth'] else 'cloud'
    node = LifecycleNode(
        package='seg_ros',
        executable='segmentation_node',
        name=value['name'],
        namespace=value['namespace'],
        parameters=[source for source in (value['params_file'], given) if source],
        remappings=[
            pair for name in cameras or ['']
            for pair in remaps(f'{name}/' if name else '', topics)],
        ros_arguments=['--log-level', value['log_level']],
        output='screen',
    )
    return [node]


def remaps(prefix: str, topics: dict[str, str]) -> list[tuple[str, str]]:
    """Return what leads one camera's topics, all below a prefix, to the node's."""
    image = topics['image']
    return [(f'{prefix}{topic}', f'{prefix}{source}') for topic, source in (
        topics | {'image/compressed': f'{image}/compressed'}).items()]
