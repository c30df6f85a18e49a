# SPDX-License-Identifier: Apache-2.0
"""torchvision's semantic and instance models, fused in the node, answer as the pipeline does."""
from __future__ import annotations

import numpy as np
from sensor_msgs.msg import Image
import torch

from benchmarks.tiny_torchvision import picture, save
from seg_ros.core.config import config_from
from seg_ros.core.panoptic import pack, PanopticEncoding
from seg_ros.models.pipeline import Pipeline
from seg_ros.models.torchvision import classes_of, published_weights

SEMANTIC, INSTANCE = 'lraspp_mobilenet_v3_large', 'maskrcnn_resnet50_fpn'
MAPS = ('semantic/image_raw', 'instance/image_raw', 'panoptic/image_raw')


def test_lraspp_and_mask_rcnn_fused_through_topics_are_the_pipeline_pixel_for_pixel(
        launch, make_robot, tmp_path):
    # wide, so that few of the rows that Mask R-CNN scales to 1333 pixels have to be computed
    image = picture(32, 192)
    parameters = {
        'device': 'cpu', 'threads': 1, 'score_threshold': 0.2,
        'model.frame_size': '192x32', 'model.precision': 'fp32',
        'semantic_model': f'torchvision/{SEMANTIC}', 'instance_model': f'torchvision/{INSTANCE}',
        'semantic_weights': str(save(SEMANTIC, tmp_path / 'semantic.pth')),
        'instance_weights': str(save(INSTANCE, tmp_path / 'instance.pth'))}
    robot = make_robot(dict.fromkeys(MAPS, Image))
    launch('segmentation_node', parameters=parameters)
    robot.wait_for_node(timeout_s=180.0)
    answer = robot.ask(robot.image(image), timeout_s=180.0)

    torch.set_num_threads(1)  # as in the node: sums in another order differ in their last bits
    pipeline = Pipeline(config_from(parameters))
    expected = pipeline.segment(image)
    names = set(pipeline.label_set.names)
    assert names == {name for model in (SEMANTIC, INSTANCE)
                     for name in classes_of(published_weights(model)).label_set.names}
    assert len(expected.instances) > 2
    assert len(np.unique(expected.class_map[expected.instance_map == 0])) > 2
    np.testing.assert_array_equal(answer.pixels(MAPS[0]), expected.class_map)
    np.testing.assert_array_equal(answer.pixels(MAPS[1]), expected.instance_map)
    np.testing.assert_array_equal(
        answer.pixels(MAPS[2]), pack(expected, PanopticEncoding.INSTANCE_HIGH))
