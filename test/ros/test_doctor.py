# SPDX-License-Identifier: Apache-2.0
"""The doctor on a real graph: image topics with their publishers, and what arrives of them."""
from __future__ import annotations

import re
import subprocess

import pytest

from faults.robot import BIN, ros_environment


@pytest.mark.parametrize('reliability', ['reliable', 'best_effort'])
def test_image_topics_are_named_with_publisher_reliability_and_loss(launch, domain, robot,
                                                                   reliability):
    launch('street_camera_node', parameters={'width': 320, 'height': 240, 'rate_hz': 20.0,
                                             'reliability': reliability})
    robot.node.destroy_publisher(robot.images)
    robot.spin_until(lambda: robot.node.count_publishers('image'), timeout_s=60.0,
                     what='the camera is up')
    done = subprocess.run([BIN / 'seg_ros', 'doctor', '--seconds', '5'], text=True,
                          capture_output=True, env=ros_environment(domain), timeout=120)
    assert done.returncode in (0, 1), done.stderr
    assert 'rmw_fastrtps_cpp' in done.stdout and f'domain {domain}' in done.stdout
    (line,) = re.findall(r'.*/image: sensor_msgs/msg/Image of .*', done.stdout)
    assert f'street_camera_node ({reliability})' in line
    received = int(re.search(r'(\d+) in 5 s', line)[1])
    assert received > 0
    for subject in ('/dev/shm', 'libraries', 'orphans', 'net.core.rmem_max', 'GPU'):
        assert f' {subject}: ' in done.stdout


def test_a_domain_without_images_is_to_be_mended(domain):
    done = subprocess.run([BIN / 'seg_ros', 'doctor', '--seconds', '0.1'], text=True,
                          capture_output=True, env=ros_environment(domain), timeout=120)
    assert done.returncode == 1
    assert 'mend  image topics: nobody publishes one in this domain' in done.stdout
