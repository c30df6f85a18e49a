# SPDX-License-Identifier: Apache-2.0
"""The embedded network through the node says what it says through the library."""
from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from sensor_msgs.msg import Image

from seg_ros.core.config import config_from
from seg_ros.models.pipeline import Pipeline
from seg_ros.sim import Street
from seg_ros.sim.recording import open_recording

CAMVID = Path(os.environ.get(
    'CAMVID_DIR', Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'camvid'))
ONE_THREAD = {'device': 'cpu', 'threads': 1}


@pytest.fixture(scope='module')
def pipeline():
    return Pipeline(config_from(ONE_THREAD))


def camvid_val(count):
    if not (CAMVID / 'val' / 'images').is_dir():
        message = f'CamVid is not in {CAMVID}: set CAMVID_DIR'
        pytest.fail(message) if os.environ.get('CI') else pytest.skip(message)
    frames = iter(open_recording(CAMVID / 'val' / 'images'))
    return [next(frames).image for _ in range(count)]


def test_real_frames_at_15_hz_get_the_label_maps_of_the_library(launch, make_robot, pipeline):
    images = camvid_val(8)
    expected = [pipeline.segment(image).class_map for image in images]
    robot = make_robot({'semantic/image_raw': Image})
    launch('segmentation_node', parameters=ONE_THREAD)
    robot.wait_for_node()
    messages = [robot.image(image) for image in images]
    for message in messages:
        robot.images.publish(message)
        robot.spin_for(1 / 15)
    stamps = [(m.header.stamp.sec, m.header.stamp.nanosec, 'camera') for m in messages]
    robot.spin_until(lambda: robot.answers[stamps[-1]].messages, what='the last frame')
    answered = [number for number, stamp in enumerate(stamps) if robot.answers[stamp].messages]
    for number in answered:
        np.testing.assert_array_equal(
            robot.answers[stamps[number]].pixels('semantic/image_raw'), expected[number])


def test_one_model_in_two_roles_fuses_to_what_it_says_alone(launch, robot, pipeline):
    image = Street(seed=10_007, width=480, height=360).frame(60).image
    expected = pipeline.segment(image)
    launch('segmentation_node', parameters=ONE_THREAD | {
        'semantic_model': 'street_tiny', 'instance_model': 'street_tiny'})
    robot.wait_for_node()
    answer = robot.ask(robot.image(image))
    assert len(answer.messages['instances'].detections) == len(expected.instances) > 0
    np.testing.assert_array_equal(answer.pixels('semantic/image_raw'), expected.class_map)
    np.testing.assert_array_equal(answer.pixels('instance/image_raw'), expected.instance_map)


def test_the_shipped_parameter_file_is_read(launch, robot):
    path = Path(__file__).resolve().parents[2] / 'config' / 'segmentation.yaml'
    launch('segmentation_node', '--params-file', str(path))
    robot.wait_for_node()
    robot.spin_until(lambda: robot.node.count_publishers('foreground/image_raw')
                     and robot.node.count_publishers('semantic/confidence'),
                     what='the topics that the file asks for')
