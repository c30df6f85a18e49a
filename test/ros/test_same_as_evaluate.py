# SPDX-License-Identifier: Apache-2.0
"""Real frames played as a camera come back as `seg_ros evaluate` segments them."""

from __future__ import annotations

import os
from pathlib import Path
import shutil

import numpy as np
import pytest
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
import torch

from seg_ros.core.config import config_from
from seg_ros.models.pipeline import Pipeline
from seg_ros.sim.recording import image_files, read_image

COUNT = 5
RATE_HZ = 15.0
IN_FP32 = {'device': 'cpu', 'model.precision': 'fp32'}  # auto chooses by speed


@pytest.fixture
def frames(tmp_path):
    """Return a folder with the first frames of CamVid's val sequence."""
    root = Path(os.environ.get('CAMVID_DIR', '../shared/data/camvid'))
    if not root.is_dir():
        reason = f'no CamVid in {root} (CAMVID_DIR)'
        pytest.fail(reason) if os.environ.get('CI') else pytest.skip(reason)
    for path in image_files(root / 'val/images')[:COUNT]:
        shutil.copy(path, tmp_path)
    return tmp_path


def play_once(folder, launch, robot):
    """Play the folder through the node; return frame number -> class map of those answered."""
    robot.inputs.clear()
    camera = launch(
        'file_camera_node',
        parameters={
            'path': str(folder),
            'rate_hz': RATE_HZ,
            'loop': False,
            'wait_for_subscribers': 2,
        },
    )
    robot.spin_until(
        lambda: camera.popen.poll() is not None and len(robot.inputs) == COUNT, what='the frames'
    )
    robot.spin_for(0.5)  # for the last answers
    answers = [robot.answers[key_of(image.header)] for image in robot.inputs]
    return {
        index: answer.pixels('semantic/image_raw')
        for index, answer in enumerate(answers)
        if answer.messages
    }


def key_of(header):
    return header.stamp.sec, header.stamp.nanosec, header.frame_id


def test_played_frames_get_the_label_maps_of_evaluate_pixel_for_pixel(frames, launch, make_robot):
    robot = make_robot({'semantic/image_raw': Image})
    robot.inputs = []
    robot.node.create_subscription(Image, 'image', robot.inputs.append, QoSProfile(depth=50))
    launch('segmentation_node', parameters=IN_FP32)
    robot.wait_for_node()
    answered = {}
    # newest frame wins: on a busy machine one round may not get an answer for every frame
    for _ in range(10):
        answered |= play_once(frames, launch, robot)
        if len(answered) == COUNT:
            break
    torch.set_num_threads(1)  # as in the node: sums in another order differ in their last bits
    pipeline = Pipeline(config_from(IN_FP32))
    for index, path in enumerate(image_files(frames)):
        expected = pipeline.segment(read_image(path)).class_map
        np.testing.assert_array_equal(answered[index], expected)
