# SPDX-License-Identifier: Apache-2.0
"""The embedded network through the node says what it says through the library."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seg_ros.core.config import config_from
from seg_ros.models.pipeline import Pipeline
from seg_ros.sim import Street

# auto chooses by speed, which a busy machine measures now so, now so
IN_FP32 = {'device': 'cpu', 'threads': 1, 'model.precision': 'fp32'}


@pytest.fixture(scope='module')
def pipeline():
    return Pipeline(config_from(IN_FP32))


def test_one_model_in_two_roles_fuses_to_what_it_says_alone(launch, robot, pipeline):
    image = Street(seed=10_007, width=480, height=360).frame(60).image
    expected = pipeline.segment(image)
    launch('segmentation_node', parameters=IN_FP32 | {
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
