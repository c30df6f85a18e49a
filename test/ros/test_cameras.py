# SPDX-License-Identifier: Apache-2.0
"""The cameras through real topics: one stamp a frame, exact pixels, a steady beat, clear words."""

from __future__ import annotations

import signal

import cv2
import numpy as np
import pytest
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
import yaml

from seg_ros.sim import DepthSensor, Street
from seg_ros.sim.video import VideoWriter

STREET = {
    'image': Image,
    'camera_info': CameraInfo,
    'depth': Image,
    'depth/camera_info': CameraInfo,
    'truth/semantic': Image,
    'truth/instance': Image,
}


def stamp_s(message):
    return message.header.stamp.sec + message.header.stamp.nanosec * 1e-9


def pixels_of(message):
    kinds = {
        'mono8': (np.uint8, 1),
        '32SC1': (np.int32, 1),
        'rgb8': (np.uint8, 3),
        '32FC1': (np.float32, 1),
    }
    dtype, channels = kinds[message.encoding]
    shape = (message.height, message.width, channels)[: 2 if channels == 1 else 3]
    return np.frombuffer(message.data, dtype).reshape(shape)


@pytest.fixture
def listen(make_robot):
    """Subscribe to topics of a camera and collect their messages."""

    def listen(topics):
        robot = make_robot({})
        robot.heard = {topic: [] for topic in topics}
        for topic, kind in topics.items():
            robot.node.create_subscription(
                kind, topic, robot.heard[topic].append, QoSProfile(depth=50)
            )
        return robot

    return listen


def hear_all(robot, process, *, frames):
    """Spin until the camera has ended and everything has been heard; return topic -> messages."""
    robot.spin_until(
        lambda: (
            process.popen.poll() is not None
            and all(len(heard) >= frames for heard in robot.heard.values())
        ),
        timeout_s=40.0,
        what=f'{frames} frames, have {[len(h) for h in robot.heard.values()]}',
    )
    assert process.popen.returncode == 0
    assert {topic: len(heard) for topic, heard in robot.heard.items()} == dict.fromkeys(
        robot.heard, frames
    )
    return robot.heard


def test_the_street_publishes_every_topic_of_a_frame_with_one_header(launch, listen):
    robot = listen(STREET)
    camera = launch(
        'street_camera_node',
        parameters={
            'width': 160,
            'height': 120,
            'rate_hz': 10.0,
            'seed': 3,
            'max_frames': 5,
            'frame_id': 'front',
            'wait_for_subscribers': 1,
        },
    )
    heard = hear_all(robot, camera, frames=5)
    headers = {
        topic: [message.header for message in messages] for topic, messages in heard.items()
    }
    assert all(found == headers['image'] for found in headers.values())
    assert headers['image'][0].frame_id == 'front'
    assert len({stamp_s(message) for message in heard['image']}) == 5


def test_the_street_on_topics_is_the_street_of_the_library(launch, listen):
    robot = listen(STREET)
    camera = launch(
        'street_camera_node',
        parameters={
            'width': 160,
            'height': 120,
            'rate_hz': 10.0,
            'seed': 3,
            'max_frames': 3,
            'first_frame': 7,
            'wait_for_subscribers': 1,
        },
    )
    heard = hear_all(robot, camera, frames=3)
    street = Street(seed=3, width=160, height=120, rate_hz=10.0)
    for index in range(3):
        frame = street.frame(7 + index)
        for topic, expected in (
            ('image', frame.image),
            ('depth', frame.depth),
            ('truth/semantic', frame.class_map),
            ('truth/instance', frame.instance_map),
        ):
            np.testing.assert_array_equal(pixels_of(heard[topic][index]), expected, topic)
    info = heard['camera_info'][0]
    assert (info.width, info.height) == (160, 120)
    assert info.k[0] == street.camera.fx
    assert info.k[2] == street.camera.cx


def test_depth_is_in_metres_and_infinite_in_the_sky(launch, listen):
    robot = listen(STREET)
    camera = launch(
        'street_camera_node',
        parameters={
            'width': 160,
            'height': 120,
            'seed': 3,
            'max_frames': 1,
            'wait_for_subscribers': 1,
        },
    )
    heard = hear_all(robot, camera, frames=1)
    depth, classes = pixels_of(heard['depth'][0]), pixels_of(heard['truth/semantic'][0])
    assert np.isinf(depth[classes == 0]).all()
    nearest = depth[np.isfinite(depth)].min()
    assert 0.5 < nearest < 30.0


def test_the_simulated_sensor_measures_depth_as_the_library_does(launch, listen):
    robot = listen(STREET)
    camera = launch(
        'street_camera_node',
        parameters={
            'width': 160,
            'height': 120,
            'seed': 3,
            'max_frames': 1,
            'depth_sensor': True,
            'wait_for_subscribers': 1,
        },
    )
    heard = hear_all(robot, camera, frames=1)
    street = Street(seed=3, width=160, height=120, rate_hz=15.0)
    frame = street.frame(0)
    measured = DepthSensor().measure(
        frame.depth, image=frame.image, camera=street.camera, seed=0
    )
    np.testing.assert_array_equal(pixels_of(heard['depth'][0]), measured)
    assert heard['depth/camera_info'][0] == heard['camera_info'][0]


@pytest.fixture
def folder(tmp_path):
    """Return a folder of four images, each of one colour, and that is no image's."""
    for index in range(4):
        image = np.full((20, 30, 3), (10 * index, 20, 30), np.uint8)
        cv2.imwrite(str(tmp_path / f'{index}.png'), image[..., ::-1])
    return tmp_path


def played(launch, listen, path, *, frames, **parameters):
    """Play a folder or video; return the camera and the images that were heard of it."""
    robot = listen({'image': Image})
    camera = launch('file_camera_node', parameters={
        'path': str(path), 'wait_for_subscribers': 1, **parameters})
    return camera, hear_all(robot, camera, frames=frames)['image']


def reds(images):
    """Return the red of the first pixel of each image."""
    return [int(pixels_of(message)[0, 0, 0]) for message in images]


def test_a_folder_is_played_by_name_once(launch, listen, folder):
    _, images = played(launch, listen, folder, frames=4, rate_hz=50.0, loop=False)
    assert reds(images) == [0, 10, 20, 30]


def test_a_looped_folder_begins_again(launch, listen, folder):
    _, images = played(launch, listen, folder, frames=6, rate_hz=50.0, max_frames=6)
    assert reds(images) == [0, 10, 20, 30, 0, 10]


def test_a_damaged_image_is_skipped_with_a_warning(launch, listen, folder):
    (folder / '2.png').write_bytes(b'no image')
    camera, images = played(launch, listen, folder, frames=3, rate_hz=50.0, loop=False)
    assert reds(images) == [0, 10, 30]
    assert '2.png' in camera.output()


def test_both_transports_show_one_picture_with_one_header(launch, listen, folder):
    robot = listen({'image': Image, 'image/compressed': CompressedImage})
    camera = launch(
        'file_camera_node',
        parameters={
            'path': str(folder),
            'rate_hz': 20.0,
            'loop': False,
            'transport': 'both',
            'wait_for_subscribers': 2,
        },
    )
    heard = hear_all(robot, camera, frames=4)
    for raw, compressed in zip(heard['image'], heard['image/compressed'], strict=True):
        assert raw.header == compressed.header
        decoded = cv2.imdecode(np.frombuffer(compressed.data, np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_allclose(decoded[..., ::-1], pixels_of(raw), atol=4)


def test_a_video_is_played_at_its_own_rate(launch, listen, tmp_path):
    with VideoWriter(tmp_path / 'v.mp4', rate_hz=25.0) as writer:
        for grey in range(0, 200, 4):
            writer.write(np.full((32, 48, 3), grey, np.uint8))
    _, heard = played(launch, listen, tmp_path / 'v.mp4', frames=50, loop=False)
    greys = [int(pixels_of(message).mean()) for message in heard]
    assert greys == pytest.approx(list(range(0, 200, 4)), abs=4)
    assert stamp_s(heard[-1]) - stamp_s(heard[0]) == pytest.approx(49 / 25.0, abs=0.15)


def calibration(width, height):
    """Return what camera_calibration writes."""

    def matrix(rows, columns, data):
        return {'rows': rows, 'cols': columns, 'data': data}

    k = [300, 0, width / 2, 0, 310, height / 2, 0, 0, 1]
    return {
        'image_width': width,
        'image_height': height,
        'camera_name': 'front',
        'camera_matrix': matrix(3, 3, k),
        'distortion_model': 'plumb_bob',
        'distortion_coefficients': matrix(1, 5, [0.1, -0.2, 0, 0, 0]),
        'rectification_matrix': matrix(3, 3, [1, 0, 0, 0, 1, 0, 0, 0, 1]),
        'projection_matrix': matrix(3, 4, [300, 0, 15, 0, 0, 310, 10, 0, 0, 0, 1, 0]),
    }


def test_a_calibration_is_published_with_the_images_header(launch, listen, folder, tmp_path):
    (tmp_path / 'front.yaml').write_text(yaml.safe_dump(calibration(30, 20)))
    robot = listen({'image': Image, 'camera_info': CameraInfo})
    camera = launch(
        'file_camera_node',
        parameters={
            'path': str(folder),
            'rate_hz': 20.0,
            'loop': False,
            'wait_for_subscribers': 1,
            'calibration': str(tmp_path / 'front.yaml'),
        },
    )
    heard = hear_all(robot, camera, frames=4)
    assert [m.header for m in heard['camera_info']] == [m.header for m in heard['image']]
    assert heard['camera_info'][0].d.tolist() == [0.1, -0.2, 0.0, 0.0, 0.0]
    assert heard['camera_info'][0].k[4] == 310.0


def test_bad_starts_are_one_sentence_and_code_1(launch, folder, tmp_path):
    (tmp_path / 'big.yaml').write_text(yaml.safe_dump(calibration(640, 480)))
    (tmp_path / 'odd.yaml').write_text('image_width: 3')
    empty = tmp_path / 'empty'
    empty.mkdir()
    path = str(folder)
    cases = [
        ('street_camera_node', {'widht': 640}, "did you mean 'width'?"),
        ('street_camera_node', {'width': 'wide'}, "width is 'wide'"),
        ('street_camera_node', {'rate_hz': 0.0}, 'rate_hz is 0.0'),
        ('street_camera_node', {'reliability': 'perfect'}, "'reliable' or 'best_effort'"),
        ('file_camera_node', {}, 'path is empty'),
        ('file_camera_node', {'path': '/nowhere'}, "'/nowhere' does not exist"),
        ('file_camera_node', {'path': str(empty)}, 'no images in folder'),
        ('file_camera_node', {'path': path, 'calibration': '/nowhere.yaml'}, '/nowhere.yaml'),
        (
            'file_camera_node',
            {'path': path, 'calibration': str(tmp_path / 'odd.yaml')},
            'is not what camera_calibration writes',
        ),
        (
            'file_camera_node',
            {'path': path, 'calibration': str(tmp_path / 'big.yaml')},
            'is for 640x480 images, but the first one is 30x20',
        ),
    ]
    started = [(launch(node, parameters=parameters), words) for node, parameters, words in cases]
    for process, words in started:
        assert process.wait(timeout_s=60.0) == 1
        lines = process.output().splitlines()
        assert len(lines) == 1, lines
        assert words in lines[0]


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_camera_with_code_0_and_no_traceback(launch, listen, number):
    robot = listen({'image': Image})
    camera = launch('street_camera_node', parameters={'width': 64, 'height': 64})
    robot.spin_until(lambda: robot.heard['image'], what='an image')
    assert camera.end(number, timeout_s=3.0) == 0
    assert 'Traceback' not in camera.output()
