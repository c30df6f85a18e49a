# SPDX-License-Identifier: Apache-2.0
"""Installs seg_ros as an ament_python package, and with pip."""

from glob import glob

from setuptools import find_packages, setup

package_name = 'seg_ros'

setup(
    name=package_name,
    version='0.1.0',
    packages=find_packages(include=[package_name, f'{package_name}.*']),
    package_data={package_name: ['py.typed'], f'{package_name}.ros': ['*.xml'],
                  f'{package_name}.models': ['weights/*', 'check_frames/*']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{package_name}']),
        (f'share/{package_name}', ['package.xml']),
        (f'share/{package_name}/launch', sorted(glob('launch/*.launch.py'))),
        (f'share/{package_name}/config', sorted(glob('config/*.*'))),
        (f'share/{package_name}/config/nav2', sorted(glob('config/nav2/*.*'))),
    ],
    install_requires=['setuptools'],
    zip_safe=False,
    maintainer='seg_ros developers',
    maintainer_email='seg-ros@example.org',
    description='Semantic, instance and panoptic segmentation of camera images for ROS 2.',
    license='Apache-2.0',
    python_requires='>=3.11',
    entry_points={
        'console_scripts': [
            'segmentation_node = seg_ros.ros.main:segmentation_node',
            'street_camera_node = seg_ros.ros.main:street_camera_node',
            'file_camera_node = seg_ros.ros.main:file_camera_node',
            'seg_ros = seg_ros.tools.cli:main',
        ],
    },
)
