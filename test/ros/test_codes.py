# SPDX-License-Identifier: Apache-2.0
"""Each code of the docs is provoked, and diagnostics carry it with its level and a counter."""
from __future__ import annotations

from lifecycle_msgs.msg import Transition
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage

from faults.robot import Robot
from seg_ros.models.faulty import mark
from seg_ros.ros.codes import CODES, LEVEL_OF

PICTURE = np.zeros((8, 8, 3), np.uint8)
LEVELS = {'WARN': '1', 'ERROR': '2'}
OF_AN_IMAGE = {  # code -> the fault of a marked image, or the field to break
    'rejected.encoding': {'encoding': 'yuv9'},
    'rejected.size': {'width': 0},
    'rejected.step': {'step': 3},
    'rejected.length': {'data': b'123'},
    'failed.model': 'raise',
    'failed.not_finite': 'nan',
    'failed.memory': 'memory',
}
OF_A_STAMP = ('stamp.zero', 'stamp.future', 'stamp.backwards', 'stamp.duplicate')
ELSEWHERE = ('rejected.compressed', 'failed.device_lost', 'failed.internal', 'failed.transition',
             'model.hangs', 'camera.silent', 'node.inactive', 'clock.missing')
# provoked in test_space.py, test_cloud_input.py and test_mounting.py
IN_SPACE = ('rejected.camera_info', 'rejected.depth_encoding', 'rejected.depth_size',
            'rejected.depth_step', 'rejected.depth_length', 'rejected.depth_fields',
            'rejected.depth_frame', 'failed.pose', 'depth.missing')


def test_no_code_is_left_out():
    assert sorted((*OF_AN_IMAGE, *OF_A_STAMP, *ELSEWHERE, *IN_SPACE)) == sorted(LEVEL_OF) \
        == sorted(code.name for code in CODES)


def told(robot, code):
    """Wait until an entry has this code; check its level and sentence."""
    robot.spin_until(lambda: any(values(entry).get('code') == code for entry in entries(robot)),
                     timeout_s=60.0, what=f'an entry with {code}')
    entry = next(e for e in reversed(entries(robot)) if values(e)['code'] == code)
    assert str(ord(entry.level)) == LEVELS[LEVEL_OF[code]]
    assert entry.message
    return values(entry)


def entries(robot):
    return [status for array in robot.diagnostics for status in array.status]


def values(entry):
    return {value.key: value.value for value in entry.values}


@pytest.fixture(scope='module')
def faulty(module_launch, make_one_robot):
    """Share one node whose model fails on demand."""
    robot = make_one_robot()
    # the tests' own pauses are no silence
    module_launch('segmentation_node', parameters={'panoptic_model': 'faulty',
                                                   'camera_timeout_s': 60.0})
    robot.wait_for_node(timeout_s=60.0)
    return robot


@pytest.fixture(scope='module')
def make_one_robot(module_domain):
    """Join the module's domain with every output."""
    robots = []
    yield lambda: robots.append(Robot(module_domain)) or robots[-1]
    for robot in robots:
        robot.close()


@pytest.mark.parametrize('code', OF_AN_IMAGE)
def test_a_bad_image_has_its_code(faulty, code):
    faulty.ask(faulty.image(PICTURE))
    faulty.diagnostics.clear()
    fault = OF_AN_IMAGE[code]
    message = faulty.image(PICTURE, **fault) if isinstance(fault, dict) \
        else faulty.image(mark(PICTURE, fault))
    faulty.images.publish(message)
    entry = told(faulty, code)
    assert entry[code] == '1' and entry['last_error_code'] == code and entry['last_error']


@pytest.mark.parametrize('code, sec', [
    ('stamp.zero', 0), ('stamp.future', 2_100_000_000), ('stamp.backwards', 1_500_000_000),
    ('stamp.duplicate', 1_500_000_000)])
def test_an_odd_stamp_has_its_code_and_is_answered(faulty, code, sec):
    message = faulty.image(PICTURE)
    message.header.stamp.sec, message.header.stamp.nanosec = sec, 0
    message.header.frame_id = code
    faulty.diagnostics.clear()
    faulty.ask(message)
    assert told(faulty, code)['last_warning']


def test_an_image_that_no_jpeg_can_hold_is_an_internal_failure_and_the_next_is_answered(faulty):
    faulty.diagnostics.clear()
    faulty.images.publish(faulty.image(np.zeros((1, 66_000, 3), np.uint8)))
    told(faulty, 'failed.internal')
    faulty.ask(faulty.image(PICTURE))


def test_transitions_silence_and_hangs_have_their_codes(faulty):
    assert faulty.change_state(Transition.TRANSITION_DEACTIVATE)
    faulty.diagnostics.clear()
    told(faulty, 'node.inactive')
    assert faulty.change_state(Transition.TRANSITION_CLEANUP)
    assert faulty.set_parameters(panoptic_model='faulty/raise@0') == (True, '')
    assert not faulty.change_state(Transition.TRANSITION_CONFIGURE)
    told(faulty, 'failed.transition')
    assert faulty.set_parameters(panoptic_model='faulty') == (True, '')
    assert faulty.change_state(Transition.TRANSITION_CONFIGURE)
    assert faulty.change_state(Transition.TRANSITION_ACTIVATE)
    faulty.wait_for_node()
    faulty.ask(faulty.image(PICTURE))
    assert faulty.set_parameters(camera_timeout_s=1.0) == (True, '')
    faulty.diagnostics.clear()
    told(faulty, 'camera.silent')
    faulty.images.publish(faulty.image(mark(PICTURE, 'hang')))
    told(faulty, 'model.hangs')


def test_a_damaged_jpeg_has_its_code(launch, robot):
    launch('segmentation_node', parameters={'panoptic_model': 'checkerboard',
                                            'image_transport': 'compressed'})
    images = robot.publisher(CompressedImage, 'image/compressed')
    robot.wait_for_node(image_publisher=images, timeout_s=60.0)
    images.publish(CompressedImage(header=robot.header(), format='jpeg', data=b'nonsense'))
    told(robot, 'rejected.compressed')


def test_a_clock_that_is_missing_has_its_code(launch, robot):
    launch('segmentation_node', parameters={'panoptic_model': 'checkerboard',
                                            'use_sim_time': True})
    robot.wait_for_node(timeout_s=60.0)
    told(robot, 'clock.missing')


def test_a_lost_device_has_its_code_in_the_last_entry(launch, robot):
    process = launch('segmentation_node', parameters={'panoptic_model': 'faulty'})
    robot.wait_for_node(timeout_s=60.0)
    robot.spin_until(lambda: robot.diagnostics, timeout_s=60.0, what='diagnostics are heard')
    robot.images.publish(robot.image(mark(PICTURE, 'lost')))
    told(robot, 'failed.device_lost')
    assert process.wait(timeout_s=60.0) == 1
