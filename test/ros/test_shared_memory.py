# SPDX-License-Identifier: Apache-2.0
"""Too little shared memory for the profile in use is one warning with what helps."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seg_ros.ros.main import repair_soon
from seg_ros.ros.shared_memory import segment_size, SHARED_MEMORY, shortage

PROFILE = Path(__file__).parents[2] / 'config' / 'fastdds_shared_memory.xml'


def test_the_segment_size_is_that_of_the_profile():
    assert segment_size(str(PROFILE)) == 64 << 20
    assert segment_size('') == segment_size('/no/such.xml') == 512 << 10


def test_a_folder_that_is_not_there_is_a_shortage(tmp_path):
    assert shortage(tmp_path / 'shm', {}) == f'{tmp_path}/shm is not there'


def test_a_segment_that_does_not_fit_is_one_warning_and_images_flow(launch, robot, tmp_path):
    # a transport that nobody uses: the middleware must not really ask for so much
    text = PROFILE.read_text().replace(
        '<transport_descriptor>', '<transport_descriptor><transport_id>unused</transport_id>'
        f'<type>SHM</type><segment_size>{1 << 62}</segment_size></transport_descriptor>'
        '<transport_descriptor>', 1)
    profile = tmp_path / 'profile.xml'
    profile.write_text(text)
    environment = {'FASTRTPS_DEFAULT_PROFILES_FILE': str(profile)}
    assert 'MB free, expected 3 segments' in shortage(SHARED_MEMORY, environment)
    process = launch('segmentation_node', parameters={'panoptic_model': 'checkerboard'},
                     environment=environment)
    robot.wait_for_node(timeout_s=60.0)
    robot.ask(robot.image(np.zeros((8, 8, 3), np.uint8)))
    assert process.output().count('large images may not flow') == 1


def test_a_profile_of_the_user_is_kept():
    for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
        environment = {name: 'mine.xml'}
        repair_soon(environment)
        assert environment == {name: 'mine.xml'}


@pytest.mark.parametrize('profile', [None, PROFILE], ids=['none chosen', 'shared memory'])
def test_the_middleware_understands_the_profiles(launch, robot, profile):
    environment = {} if profile is None else {'FASTRTPS_DEFAULT_PROFILES_FILE': str(profile)}
    process = launch('segmentation_node', parameters={'panoptic_model': 'checkerboard'},
                     environment=environment)
    robot.wait_for_node(timeout_s=60.0)
    robot.ask(robot.image(np.zeros((8, 8, 3), np.uint8)))
    assert 'XMLPARSER' not in process.output()
