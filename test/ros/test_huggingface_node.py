# SPDX-License-Identifier: Apache-2.0
"""A model of the hub through the node says what it says through its own library."""
from __future__ import annotations

import numpy as np
from sensor_msgs.msg import Image
import torch
import transformers

from benchmarks import tiny_hub
from seg_ros.core.types import VOID
from seg_ros.sim import Street

# auto chooses by speed, which a busy machine measures now so, now so
IN_FP32 = {'device': 'cpu', 'threads': 1, 'model.precision': 'fp32'}


def segments_of_the_library(folder, image):
    """Return the (H, W) classes and things of transformers' own path; square, so it is right."""
    processor = transformers.EomtImageProcessor.from_pretrained(folder)
    network = transformers.EomtForUniversalSegmentation.from_pretrained(folder).eval()
    inputs = processor(images=image, return_tensors='pt')
    with torch.inference_mode():
        outputs = network(pixel_values=inputs['pixel_values'])
    found = processor.post_process_panoptic_segmentation(
        outputs, target_sizes=[image.shape[:2]], threshold=0.5, overlap_mask_area_threshold=0.05,
        stuff_classes=[0, 1, 2])[0]
    segmentation = found['segmentation'].numpy().astype(int)
    classes = np.full(segmentation.shape, VOID)
    things = np.zeros(segmentation.shape, int)
    for entry in found['segments_info']:
        classes[segmentation == entry['id']] = entry['label_id']
        if tiny_hub.NAMES[entry['label_id']] in tiny_hub.THINGS:
            things[segmentation == entry['id']] = things.max() + 1
    return classes, things


def test_eomt_through_topics_is_eomt_through_its_library(launch, robot, tmp_path):
    folder = tiny_hub.save('eomt', tmp_path / 'eomt')
    image = Street(seed=10_007, width=tiny_hub.SIZE, height=tiny_hub.SIZE).frame(60).image
    classes, things = segments_of_the_library(folder, image)
    assert len(np.unique(classes)) > 2
    assert things.any()
    launch('segmentation_node', parameters=IN_FP32 | {
        'panoptic_model': f'huggingface/{folder}', 'query_threshold': 0.5,
        'query_kept_share': 0.05, 'score_threshold': 0.0})
    robot.wait_for_node()
    answer = robot.ask(robot.image(image))
    np.testing.assert_array_equal(answer.pixels('semantic/image_raw'), classes)
    np.testing.assert_array_equal(answer.pixels('instance/image_raw'), things)
    names = {detection.results[0].hypothesis.class_id
             for detection in answer.messages['instances'].detections}
    assert names <= set(tiny_hub.THINGS)
    assert names


def test_a_smaller_input_through_topics_is_the_librarys_of_that_size(launch, make_robot, tmp_path):
    robot = make_robot({'semantic/image_raw': Image})
    folder = tiny_hub.save('segformer', tmp_path / 'segformer')
    image = Street(seed=10_007, width=160, height=90).frame(60).image
    processor = transformers.SegformerImageProcessor.from_pretrained(
        folder, size={'height': 54, 'width': 96})
    network = transformers.SegformerForSemanticSegmentation.from_pretrained(folder).eval()
    with torch.inference_mode():
        outputs = network(**processor(images=image, return_tensors='pt'))
    expected = processor.post_process_semantic_segmentation(
        outputs, target_sizes=[image.shape[:2]])[0].numpy()
    assert len(np.unique(expected)) > 2
    launch('segmentation_node', parameters=IN_FP32 | {
        'semantic_model': f'huggingface/{folder}', 'model.input_size': '96x54'})
    robot.wait_for_node()
    answer = robot.ask(robot.image(image))
    np.testing.assert_array_equal(answer.pixels('semantic/image_raw'), expected)
