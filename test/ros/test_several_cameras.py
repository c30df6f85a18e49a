# SPDX-License-Identifier: Apache-2.0
"""Several cameras, one model: each is served, named and counted as if it were alone."""
from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray, LabelInfo

from seg_ros.models.checkerboard import class_of_colour, LABEL_SET
from seg_ros.models.faulty import mark

CAMERAS = {'front': (48, 64), 'left': (30, 20)}  # name -> height, width
PARAMETERS = {'panoptic_model': 'checkerboard', 'cameras': list(CAMERAS), 'always_run': True}


@pytest.fixture
def robot(make_robot):
    """Hear two outputs of each of two cameras."""
    robot = make_robot({f'{name}/{topic}': kind for name in CAMERAS for topic, kind in (
        ('semantic/image_raw', Image), ('instances', Detection2DArray))})
    robot.publishers = {name: robot.publisher(Image, f'{name}/image') for name in CAMERAS}
    return robot


def wait(robot):
    """Wait until both cameras are heard and every output is there."""
    robot.spin_until(lambda: all(p.get_subscription_count() for p in robot.publishers.values())
                     and all(map(robot.node.count_publishers, robot.outputs)),
                     timeout_s=60.0, what='the node is up')


def send(robot, camera, *, seed=0, **changes):
    """Publish a picture of noise; return message, picture."""
    picture = np.random.default_rng(seed).integers(0, 256, (*CAMERAS[camera], 3), dtype=np.uint8)
    message = robot.image(picture, **changes)
    message.header.frame_id = camera
    robot.publishers[camera].publish(message)
    return message, picture


def answer(robot, camera, message):
    """Return what comes back on a camera's topics."""
    key = message.header.stamp.sec, message.header.stamp.nanosec, camera
    wanted = {topic for topic in robot.outputs if topic.startswith(f'{camera}/')}
    robot.spin_until(lambda: wanted <= robot.answers[key].messages.keys(),
                     what=f'an answer of {camera}')
    assert robot.answers[key].messages.keys() == wanted
    return robot.answers[key]


def served(robot, camera, *, seed):
    """Send a frame and see that it is labelled exactly."""
    message, picture = send(robot, camera, seed=seed)
    labels = answer(robot, camera, message).pixels(f'{camera}/semantic/image_raw')
    np.testing.assert_array_equal(labels, class_of_colour(picture))


def diagnostics(robot, camera):
    """Return the newest entry of a camera."""
    for message in reversed(robot.diagnostics):
        for status in message.status:
            if status.name.endswith(f': segmentation {camera}'):
                return {value.key: value.value for value in status.values} | {
                    'message': status.message, 'level': ord(status.level)}
    return {}


def counts(robot, camera):
    """Return how many frames a camera's entry calls processed and dropped."""
    return tuple(int(diagnostics(robot, camera)[name]) for name in ('processed', 'dropped'))


def test_each_camera_gets_its_own_frames_back_whatever_size_and_rate(launch, robot):
    launch('segmentation_node', parameters=PARAMETERS)
    wait(robot)
    infos = []
    for name in CAMERAS:
        robot.node.create_subscription(LabelInfo, f'{name}/semantic/label_info', infos.append, 1)
    assert robot.node.count_publishers('semantic/image_raw') == 0
    sent = defaultdict(list)
    for number in range(30):
        sent['front'].append(send(robot, 'front', seed=number))
        if number % 10 == 9:
            sent['left'].append(send(robot, 'left', seed=number))
            # the rare frame is not starved by the many
            answer(robot, 'left', sent['left'][-1][0])
            answer(robot, 'front', sent['front'][-1][0])
    for camera, pairs in sent.items():
        for message, picture in pairs:
            key = message.header.stamp.sec, message.header.stamp.nanosec, camera
            if robot.answers[key].messages:
                labels = robot.answers[key].pixels(f'{camera}/semantic/image_raw')
                np.testing.assert_array_equal(labels, class_of_colour(picture))
    front, left = (
        [key for topic, key in robot.order if topic == f'{name}/instances'] for name in CAMERAS)
    assert front == sorted(front) and left == sorted(left) and len(left) == 3

    def all_counted():
        # a burst may overrun the middleware's queue of one, before the node has received it
        return all(counts(robot, name) == (len(answered), int(diagnostics(robot, name)['received'])
                   - len(answered)) for name, answered in (('front', front), ('left', left)))
    robot.spin_until(lambda: diagnostics(robot, 'left') and all_counted(), what='own counters')
    assert counts(robot, 'left') == (3, 0)


def test_garbage_of_one_camera_changes_nothing_for_the_other(launch, robot):
    launch('segmentation_node', parameters=PARAMETERS)
    wait(robot)
    for number in range(10):
        bad, _ = send(robot, 'left', encoding='yuv9')
        served(robot, 'front', seed=number)
        key = bad.header.stamp.sec, bad.header.stamp.nanosec, 'left'
        assert not robot.answers[key].messages
    served(robot, 'left', seed=1)

    def all_accounted_for():  # a queue of one may lose a frame before the node can judge it
        values = diagnostics(robot, 'left')
        return sum(int(values.get(key, 0)) for key in ('rejected.encoding', 'lost')) == 10
    robot.spin_until(all_accounted_for, what='every bad frame is counted')
    assert not [key for key in diagnostics(robot, 'front') if key.startswith('rejected')]
    assert "'yuv9'" in diagnostics(robot, 'left')['last_error']
    assert diagnostics(robot, 'front')['last_error'] == ''


def test_a_frame_that_breaks_the_model_does_not_take_the_other_cameras_along(launch, robot):
    # slow frames, so that both cameras wait and make a batch
    launch('segmentation_node', parameters=PARAMETERS | {'panoptic_model': 'faulty'})
    wait(robot)
    for number in range(5):
        slow = robot.image(mark(np.zeros((4, 4, 3), np.uint8), 'slow'))
        slow.header.frame_id = 'front'
        robot.publishers['front'].publish(slow)
        robot.spin_for(0.05)
        bad = robot.image(mark(np.zeros((4, 4, 3), np.uint8), 'raise'))
        bad.header.frame_id = 'left'
        robot.publishers['left'].publish(bad)
        served(robot, 'front', seed=number)
        assert not robot.answers[bad.header.stamp.sec, bad.header.stamp.nanosec, 'left'].messages
    robot.spin_until(lambda: diagnostics(robot, 'left').get('failed.model') == '5',
                     what='every failure is counted')
    assert diagnostics(robot, 'front')['last_error'] == ''
    served(robot, 'left', seed=1)


def test_a_camera_that_dies_is_named_and_the_other_goes_on(launch, robot):
    launch('segmentation_node', parameters=PARAMETERS | {'camera_timeout_s': 1.0})
    wait(robot)
    served(robot, 'left', seed=0)
    robot.node.destroy_publisher(robot.publishers['left'])
    numbers = iter(range(1, 1000))

    def told():
        served(robot, 'front', seed=next(numbers))
        return diagnostics(robot, 'left').get('level') == 2
    robot.spin_until(told, timeout_s=60.0, what='an error of the silent camera')
    assert 'no image for' in diagnostics(robot, 'left')['message']
    assert 'publishers: none' in diagnostics(robot, 'left')['message']
    # the entry of the same message: the other one is well
    assert diagnostics(robot, 'front')['level'] == 0


def test_ids_of_two_cameras_are_never_the_same(launch, robot):
    launch('segmentation_node', parameters=PARAMETERS | {'tracking.enabled': True})
    wait(robot)
    seen = {}
    for name in CAMERAS:
        picture = np.zeros((*CAMERAS[name], 3), np.uint8)
        picture[5:15, 5:15, 0] = LABEL_SET.id_of('ball')
        for _ in range(2):
            message = robot.image(picture)
            message.header.frame_id = name
            robot.publishers[name].publish(message)
            found = answer(robot, name, message).messages[f'{name}/instances'].detections
            seen.setdefault(name, []).append([int(d.id) for d in found])
    # one second apart: the same track, and each camera's own
    assert seen['front'][0] == seen['front'][1] and seen['left'][0] == seen['left'][1]
    assert seen['front'][0] != seen['left'][0]


@pytest.mark.parametrize('cameras, words', [
    (['front', 'front'], "cameras has 'front' more than once, expected different names"),
    (['front/left'], "cameras has 'front/left', expected a letter and then letters, digits"),
])
def test_a_name_that_no_topic_can_have_ends_the_start(launch, cameras, words):
    process = launch('segmentation_node', parameters={'cameras': cameras})
    assert process.wait(timeout_s=60) == 1
    assert words in process.output()
