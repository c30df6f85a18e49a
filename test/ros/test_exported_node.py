# SPDX-License-Identifier: Apache-2.0
"""A file of the user's through the node says what it says alone; one that is not is a sentence."""
from __future__ import annotations

import numpy as np

from benchmarks import own_networks
from seg_ros.models import load_model
from seg_ros.models.agreement import check_frames
from seg_ros.models.contract import ModelOptions

ON_CPU = {'device': 'cpu', 'threads': 1}


def test_an_onnx_file_through_topics_is_the_file_alone(launch, robot, tmp_path):
    path = own_networks.write_model('query_masks', '.onnx', tmp_path)
    image = check_frames('200x160')[0]
    thresholds = {'score_threshold': 0.3, 'query_threshold': 0.3, 'query_kept_share': 0.1}
    wanted = load_model(str(path), ModelOptions(**thresholds)).predict([image])[0]
    assert len(wanted.instances) > 2
    launch('segmentation_node', parameters=ON_CPU | thresholds | {
        'panoptic_model': str(path), 'panoptic_sha256': own_networks.pin(path)})
    robot.wait_for_node(timeout_s=60)
    answer = robot.ask(robot.image(image), timeout_s=60)
    np.testing.assert_array_equal(answer.pixels('semantic/image_raw'), wanted.class_map)
    np.testing.assert_array_equal(answer.pixels('instance/image_raw'), wanted.instance_map)
    names = {detection.results[0].hypothesis.class_id
             for detection in answer.messages['instances'].detections}
    assert names and names <= {'car', 'person'}


def test_a_program_that_is_not_pinned_ends_the_node_with_one_sentence(launch, tmp_path):
    path = tmp_path / 'road.pt2'
    path.write_bytes(b'PK\x03\x04')
    (tmp_path / 'road.yaml').write_text(own_networks.block('semantic_logits'))
    process = launch('segmentation_node', parameters=ON_CPU | {
        'semantic_model': str(path), 'allow_executable_models': True})
    assert process.wait(timeout_s=90) == 1
    assert f'cannot load {path}: a .pt2 file is a program' in process.output()
    assert 'Traceback' not in process.output()
