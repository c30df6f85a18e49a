# SPDX-License-Identifier: Apache-2.0
"""What navigation stacks decode: byte by byte as their sources do, with the ready parameter files.

Written after kiwicampus/semantic_segmentation_layer (segmentation_buffer.cpp,
temporal_observation_queue.cpp), Hydra (input_conversion.cpp), isaac_ros_nvblox
(image_conversions.cpp), image_pipeline (point_cloud_xyzi.cpp) and navigation2's point clouds.
"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
import math
from pathlib import Path
import struct
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
import yaml

from seg_ros.models.checkerboard import class_of_colour
from seg_ros.sim import CLASS_NAMES

ROOT = Path(__file__).resolve().parents[2]
NAV2 = {path.stem: yaml.safe_load(path.read_text())
        for path in sorted((ROOT / 'config' / 'nav2').glob('*.yaml'))}
WIDTH, HEIGHT, FOCAL = 64, 48, 60.0
# the street's names, so that the ready parameter files speak of them; ids are 0 to 4
CLASSES = ['ground=road', 'wall=building', 'plant=pavement', 'box=car', 'ball=pedestrian']
ROAD, BUILDING, PAVEMENT, CAR, PEDESTRIAN, VOID = 0, 1, 2, 3, 4, 255
OUTPUTS = {'semantic/image_raw': Image, 'semantic/confidence': Image, 'instance/image_raw': Image,
           'panoptic/image_raw': Image, 'foreground/image_raw': Image,
           'semantic/camera_info': CameraInfo, 'overlay/image_raw': Image,
           'points': PointCloud2, 'obstacles': PointCloud2, 'drivable': PointCloud2}


@pytest.fixture(scope='module')
def robot(make_module_robot, module_launch):
    """Show one frame to the node and keep the answer."""
    robot = make_module_robot(OUTPUTS)
    depths, infos = robot.publisher(Image, 'depth'), robot.publisher(CameraInfo, 'camera_info')
    module_launch('segmentation_node', parameters={
        'panoptic_model': 'checkerboard', 'classes': CLASSES, 'confidence': True,
        'foreground_classes': ['car', 'pedestrian'], 'depth.input': 'image', 'depth.voxel_m': 0.0,
        'obstacle_classes': ['building', 'car', 'pedestrian'],
        'drivable_classes': ['road', 'pavement']})
    robot.wait_for_node()
    robot.spin_until(lambda: depths.get_subscription_count() and infos.get_subscription_count(),
                     what='depth is heard')
    image, depth = picture(), depth_picture()

    def answered() -> bool:
        robot.shown = robot.image(image)
        message = robot.image(depth, encoding='32FC1')
        message.header = robot.shown.header
        infos.publish(camera_info(robot))
        depths.publish(message)
        robot.images.publish(robot.shown)
        robot.spin_for(0.5)
        stamp = robot.shown.header.stamp
        robot.seen = robot.answers[stamp.sec, stamp.nanosec, 'camera'].messages
        return robot.outputs.keys() <= robot.seen.keys()
    robot.spin_until(answered, timeout_s=40.0, what='one whole answer')
    return robot


def camera_info(robot):
    """Return the calibration of a pinhole whose axis is in the middle."""
    info = robot.camera_info(width=WIDTH, height=HEIGHT)
    cx, cy = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
    info.k = [FOCAL, 0.0, cx, 0.0, FOCAL, cy, 0.0, 0.0, 1.0]
    info.p = [FOCAL, 0.0, cx, 0.0, 0.0, FOCAL, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


def classes() -> np.ndarray:
    """Return a street: road and pavement, a car and a person before a wall, and some void."""
    ids = np.full((HEIGHT, WIDTH), BUILDING, np.uint8)
    ids[26:, :40], ids[26:, 40:] = ROAD, PAVEMENT
    ids[16:36, 6:22], ids[18:40, 46:52] = CAR, PEDESTRIAN
    ids[:6] = VOID
    return ids


def picture() -> np.ndarray:
    """Return the picture that the test model reads as these classes."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 0] = np.where(classes() == VOID, 5, classes())
    image[..., 2] = 220
    np.testing.assert_array_equal(class_of_colour(image), classes())
    return image


def depth_picture() -> np.ndarray:
    """Return its depth, with a hole: flat ground 1.2 m below the camera."""
    row = np.arange(HEIGHT)[:, None] - (HEIGHT - 1) / 2
    ground = np.broadcast_to(1.2 * FOCAL / np.maximum(row, 1), (HEIGHT, WIDTH))
    depth = np.select([classes() == CAR, classes() == PEDESTRIAN, classes() == BUILDING],
                      [5.0, 4.0, 9.0], ground)
    depth[:6], depth[40:44, 10:14] = np.nan, np.nan
    return depth.astype(np.float32)


def floats(cloud: PointCloud2, name: str) -> Iterator[float]:
    """Yield one field point by point, as sensor_msgs' PointCloud2ConstIterator<float> does."""
    field = next(f for f in cloud.fields if f.name == name)
    assert field.datatype == PointField.FLOAT32 and not cloud.is_bigendian
    data = bytes(cloud.data)
    for start in range(field.offset, len(data), cloud.point_step):
        yield struct.unpack_from('<f', data, start)[0]


def layer_costs(robot, parameters: dict[str, Any], resolution_m: float = 0.2
                ) -> dict[tuple[int, int], int]:
    """Return the cost of each tile as semantic_segmentation_layer computes it for one frame."""
    mask, confidence, cloud = (robot.seen[topic] for topic in (
        'semantic/image_raw', 'semantic/confidence', 'points'))
    assert mask.header == confidence.header == cloud.header, 'an exact TimeSynchronizer joins them'
    assert mask.width * mask.height == cloud.width * cloud.height
    assert len(mask.data) >= mask.width * mask.height
    cost_of_name = {name: parameters[kind] for kind in parameters['class_types']
                    for name in parameters[kind]['classes']}
    info = robot.label_infos[-1]
    cost_of_id = {c.class_id: cost_of_name[c.class_name] for c in info.class_map}
    best: dict[tuple[int, int], int] = {}
    places = zip(floats(cloud, 'x'), floats(cloud, 'y'), floats(cloud, 'z'), strict=True)
    for pixel, (x, y, z) in enumerate(places):  # v * width + u: encoding and step are ignored
        far = x * x + y * y + z * z
        if not math.isfinite(z) or not parameters['min_obstacle_distance'] ** 2 < far \
                < parameters['max_obstacle_distance'] ** 2:
            continue
        tile = math.floor(z / resolution_m), math.floor(-x / resolution_m)  # the base's x and y
        cost = cost_of_id.get(mask.data[pixel], {'max_cost': 0})['max_cost']
        if tile not in best or cost > cost_of_id.get(
                mask.data[best[tile]], {'max_cost': 0})['max_cost']:
            best[tile] = pixel
    costs = {}
    for tile, pixel in best.items():
        if mask.data[pixel] in cost_of_id:
            kind = cost_of_id[mask.data[pixel]]
            enough = kind['samples_to_max_cost'] <= 1 \
                and confidence.data[pixel] > kind['mark_confidence']
            costs[tile] = kind['max_cost' if enough else 'base_cost']
    return costs


def layer_parameters() -> dict[str, Any]:
    """Return the source `camera` of the ready file."""
    costmap = NAV2['semantic_layer']['local_costmap']['local_costmap']['ros__parameters']
    return costmap['semantic_segmentation_layer']['camera']


def test_nav2s_semantic_layer_gets_the_right_costs(robot):
    costs = layer_costs(robot, layer_parameters())
    expected: dict[tuple[int, int], int] = defaultdict(int)
    cost_of_id = {ROAD: 0, PAVEMENT: 30, BUILDING: 254, CAR: 254, PEDESTRIAN: 254}
    depth, ids = depth_picture().astype(float), classes()
    for v, u in np.ndindex(depth.shape):
        z = depth[v, u]
        x, y = (u - (WIDTH - 1) / 2) / FOCAL * z, (v - (HEIGHT - 1) / 2) / FOCAL * z
        if 0.3 < math.sqrt(x * x + y * y + z * z) < 10.0 and ids[v, u] != VOID:
            tile = math.floor(np.float32(z) / 0.2), math.floor(-np.float32(x) / 0.2)
            expected[tile] = max(expected[tile], cost_of_id[ids[v, u]])
    shared = costs.keys() & expected.keys()
    assert len(shared) > 200
    # a point on the border of two tiles may round into the other
    assert len(costs.keys() ^ expected.keys()) <= 0.02 * len(expected)
    wrong = [tile for tile in shared if costs[tile] != expected[tile]]
    assert len(wrong) <= 0.02 * len(shared)
    assert {0, 30, 254} <= set(costs.values())


def test_the_confidence_is_zero_on_void_so_that_the_layer_never_prefers_it(robot):
    confidence = robot.seen['semantic/confidence']
    pixels = np.frombuffer(confidence.data, np.uint8).reshape(HEIGHT, WIDTH)
    assert (pixels[classes() == VOID] == 0).all() and (pixels[classes() != VOID] > 0).any()


def test_the_ready_layer_knows_every_class_of_street_tiny_and_no_other():
    parameters = layer_parameters()
    named = [name for kind in parameters['class_types'] for name in parameters[kind]['classes']]
    assert sorted(named) == sorted(CLASS_NAMES)
    for kind in parameters['class_types']:
        rules = parameters[kind]
        assert set(rules) == {'classes', 'base_cost', 'max_cost', 'mark_confidence',
                              'samples_to_max_cost', 'dominant_priority'}
        assert all(0 <= rules[name] <= 254 for name in ('base_cost', 'max_cost'))


def topics_in(values: Any) -> Iterator[tuple[str, str]]:
    """Yield (kind, topic) of everything that a parameter file subscribes to."""
    types = {'segmentation_topic': 'sensor_msgs/msg/Image', 'confidence_topic':
             'sensor_msgs/msg/Image', 'labels_topic': 'vision_msgs/msg/LabelInfo',
             'pointcloud_topic': 'sensor_msgs/msg/PointCloud2',
             'topic': 'sensor_msgs/msg/PointCloud2'}
    for key, value in values.items():
        if isinstance(value, dict):
            yield from topics_in(value)
        elif key in types:
            yield types[key], value


@pytest.mark.parametrize('name', sorted(NAV2))
def test_every_topic_of_a_ready_file_is_one_of_the_nodes_with_its_type(robot, name):
    wanted = set(topics_in(NAV2[name]))
    assert wanted
    known = {(kind, topic) for topic, kinds in robot.node.get_topic_names_and_types()
             for kind in kinds}
    assert wanted <= known


@pytest.mark.parametrize('topic', ['obstacles', 'drivable'])
def test_nav2s_obstacle_layers_and_collision_monitor_read_x_y_and_z(robot, topic):
    cloud = robot.seen[topic]
    assert cloud.header == robot.shown.header, 'the stamp decides how old a point is'
    points = np.array(list(zip(*(floats(cloud, name) for name in 'xyz'), strict=True)))
    chosen = {'obstacles': (BUILDING, CAR, PEDESTRIAN), 'drivable': (ROAD, PAVEMENT)}[topic]
    wanted = np.isin(classes(), chosen) & np.isfinite(depth_picture())
    assert len(points) == wanted.sum() == cloud.width * cloud.height
    np.testing.assert_allclose(np.sort(points[:, 2]), np.sort(depth_picture()[wanted]))
    assert np.isfinite(points).all() and cloud.is_dense


def test_hydra_reads_classes_of_a_label_image_as_large_as_the_depth(robot):
    message = robot.seen['semantic/image_raw']
    assert (message.encoding, message.step) == ('mono8', WIDTH)
    assert (message.width, message.height) == (WIDTH, HEIGHT)
    labels = np.frombuffer(message.data, np.uint8).reshape(HEIGHT, WIDTH).astype(np.int32)
    np.testing.assert_array_equal(labels, classes())


def test_hydra_unpacks_class_and_instance_and_khronos_reads_the_instance(robot):
    packed, instance = robot.seen['panoptic/image_raw'], robot.seen['instance/image_raw']
    for message in (packed, instance):
        assert (message.encoding, message.step, message.is_bigendian) == ('32SC1', 4 * WIDTH, 0)
    values = np.frombuffer(packed.data, '<i4').reshape(HEIGHT, WIDTH)
    ids = np.frombuffer(instance.data, '<i4').reshape(HEIGHT, WIDTH)
    np.testing.assert_array_equal(values & 0xffff, classes())
    np.testing.assert_array_equal(values >> 16, ids)
    assert 0 <= ids.min() and ids.max() < 32768
    np.testing.assert_array_equal(ids > 0, np.isin(classes(), (CAR, PEDESTRIAN)))


def test_nvblox_joins_mask_and_camera_info_by_equal_headers(robot):
    mask, info = robot.seen['foreground/image_raw'], robot.seen['semantic/camera_info']
    assert mask.header == info.header == robot.shown.header
    assert mask.encoding == 'mono8' and len(mask.data) == WIDTH * HEIGHT
    pixels = np.frombuffer(mask.data, np.uint8).reshape(HEIGHT, WIDTH)
    np.testing.assert_array_equal(pixels > 0, np.isin(classes(), (CAR, PEDESTRIAN)))
    # cameraFromMessage takes these and no others
    assert (info.k[0], info.k[4], info.k[2], info.k[5]) == (
        FOCAL, FOCAL, (WIDTH - 1) / 2, (HEIGHT - 1) / 2)
    assert (info.width, info.height) == (mask.width, mask.height)


def test_depth_image_proc_makes_the_same_points_of_depth_and_label_image(robot):
    intensity, info = robot.seen['semantic/image_raw'], robot.seen['semantic/camera_info']
    assert intensity.header.frame_id == robot.shown.header.frame_id
    fx, fy, cx, cy = info.p[0], info.p[5], info.p[2], info.p[6]
    cloud = robot.seen['points']
    ours = np.array(list(zip(*(floats(cloud, name) for name in 'xyz'), strict=True)))
    depth = depth_picture().astype(float)
    v, u = np.indices(depth.shape)
    theirs = np.stack([(u - cx) * depth / fx, (v - cy) * depth / fy, depth], axis=-1)
    np.testing.assert_allclose(ours, theirs.reshape(-1, 3), rtol=1e-5, atol=1e-6)
    labels = np.frombuffer(cloud.data, '<u4').reshape(-1, 6)[:, 4]
    np.testing.assert_array_equal(labels, np.frombuffer(intensity.data, np.uint8))


def test_depth_image_proc_takes_the_overlay_as_colour(robot):
    overlay = robot.seen['overlay/image_raw']
    assert overlay.header == robot.shown.header
    assert (overlay.encoding, overlay.step) == ('rgb8', 3 * WIDTH)
    assert (overlay.width, overlay.height) == (WIDTH, HEIGHT)
