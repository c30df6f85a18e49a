# SPDX-License-Identifier: Apache-2.0
"""An organised cloud instead of a depth image, beside one of several cameras."""
from __future__ import annotations

import numpy as np
import pytest
from sensor_msgs.msg import Image, PointCloud2, PointField

WIDTH, HEIGHT = 24, 16
POINT = np.dtype([('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('rgb', '<u4'), ('label', '<u4'),
                  ('instance', '<u4')])


@pytest.fixture
def robot(make_robot, launch):
    """Hear points of the front camera."""
    robot = make_robot({'front/semantic/image_raw': Image, 'front/points': PointCloud2})
    robot.images = robot.publisher(Image, 'front/image')
    robot.clouds = robot.publisher(PointCloud2, 'front/cloud')
    launch('segmentation_node', parameters={
        'panoptic_model': 'checkerboard', 'cameras': ['front', 'rear'], 'depth.input': 'cloud'})
    robot.spin_until(lambda: robot.images.get_subscription_count()
                     and robot.clouds.get_subscription_count()
                     and all(map(robot.node.count_publishers, robot.outputs)),
                     timeout_s=60.0, what='the node is up')
    robot.spin_until(lambda: answered(robot), what='every output reaches the robot')
    return robot


def answered(robot):
    """Send an image with its cloud and return whether both outputs come."""
    image = robot.image(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    robot.clouds.publish(cloud(image)[0])
    robot.images.publish(image)
    robot.spin_for(0.3)
    key = image.header.stamp.sec, image.header.stamp.nanosec, image.header.frame_id
    return robot.outputs.keys() <= robot.answers[key].messages.keys()


def cloud(image, *, width=WIDTH, height=HEIGHT, big_endian=False):
    """Return an organised cloud with odd offsets, padded rows and a hole, and its x, y, z."""
    kind = '>f4' if big_endian else '<f4'
    planes = np.random.default_rng(0).uniform(1, 9, (3, height, width)).astype(np.float32)
    planes[2, 3, 4] = np.nan
    planes[0, 5, 6] = np.inf
    rows = np.zeros((height, width * 20 + 12), np.uint8)
    for i, offset in enumerate((8, 4, 16)):
        view = np.ndarray((height, width), kind, rows, offset, (rows.shape[1], 20))
        view[...] = planes[i]
    fields = [PointField(name=name, offset=offset, datatype=PointField.FLOAT32, count=1)
              for name, offset in zip('xyz', (8, 4, 16), strict=True)]
    return PointCloud2(header=image.header, height=height, width=width, fields=fields,
                       is_bigendian=big_endian, point_step=20, row_step=rows.shape[1],
                       data=rows.tobytes(), is_dense=False), planes


def points(robot, image, message):
    """Publish a cloud and its image; return the labelled points."""
    robot.clouds.publish(message)
    answer = robot.ask(image)
    reply = answer.messages['front/points']
    return np.frombuffer(reply.data, POINT).reshape(reply.height, reply.width), answer


def test_an_organised_cloud_is_labelled_as_it_is(robot):
    for big_endian in (False, True):
        image = robot.image(np.random.default_rng(1).integers(
            0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
        message, planes = cloud(image, big_endian=big_endian)
        labelled, answer = points(robot, image, message)
        hole = ~np.isfinite(planes).all(axis=0)
        assert hole.sum() == 2
        for name, plane in zip('xyz', planes, strict=True):
            np.testing.assert_array_equal(labelled[name], np.where(hole, np.nan, plane))
        np.testing.assert_array_equal(labelled['label'],
                                      answer.pixels('front/semantic/image_raw'))

    half, planes = cloud(image, width=WIDTH // 2, height=HEIGHT // 2)
    image = robot.image(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    half.header = image.header
    labelled, _ = points(robot, image, half)
    assert labelled['y'][0].tolist() == np.repeat(planes[1, 0], 2).tolist()

    unorganised, _ = cloud(image, width=8, height=8)
    unorganised.width, unorganised.height = 64, 1
    unorganised.row_step *= 8
    flat, _ = cloud(image)
    flat.fields = flat.fields[:2]
    for message, words in ((unorganised, 'expected an organised one'),
                           (flat, "the cloud has the fields ['x', 'y'], expected x, y and z")):
        robot.clouds.publish(message)
        robot.spin_until(lambda words=words: any(
            words in value.value for array in robot.diagnostics for status in array.status
            for value in status.values), what=f'the refusal: {words}')
