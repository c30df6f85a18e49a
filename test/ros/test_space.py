# SPDX-License-Identifier: Apache-2.0
"""Outputs in space through real topics: joined by stamp, exact, and never in the way of 2D."""
from __future__ import annotations

import math

from lifecycle_msgs.msg import Transition
from nav_msgs.msg import OccupancyGrid
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField
from vision_msgs.msg import Detection2DArray, Detection3DArray
from visualization_msgs.msg import Marker, MarkerArray

from seg_ros.models.checkerboard import class_of_colour, LABEL_SET
from seg_ros.ros.outputs import class_table
from seg_ros.ros.space import obstacle_table

WIDTH, HEIGHT, FOCAL = 64, 48, 60.0
FLAT = {'semantic/image_raw': Image, 'instances': Detection2DArray, 'instance/image_raw': Image}
SPACE = {'points': PointCloud2, 'instances_3d': Detection3DArray, 'obstacles': PointCloud2,
         'drivable': PointCloud2}
GROUND, WALL, PLANT, BOX, BALL = range(5)
POINT = np.dtype([('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('rgb', '<u4'), ('label', '<u4'),
                  ('instance', '<u4')])
PARAMETERS = {'panoptic_model': 'checkerboard', 'depth.input': 'image', 'depth.voxel_m': 0.0,
              'depth.max_wait_s': 3.0, 'obstacle_classes': ['wall', 'box', 'ball'],
              'drivable_classes': ['ground'], 'ground.grid': True, 'ground.height_m': 1.5}


@pytest.fixture(scope='module')
def robot(make_module_robot, module_launch):
    """Share one node with depth among the tests of the module."""
    robot = make_module_robot(FLAT | SPACE)
    equip(robot)
    module_launch('segmentation_node', parameters=PARAMETERS)
    robot.wait_for_node()
    robot.spin_until(lambda: robot.depths.get_subscription_count() and robot.markers_known()
                     and robot.infos.get_subscription_count()
                     and robot.depth_infos.get_subscription_count(),
                     what='depth and camera_info are heard')
    robot.infos.publish(camera_info(robot))
    return robot


def equip(robot, prefix=''):
    """Give a robot depth and calibration to publish, and ears for what has no header of its own.

    The grid's frame is not that of the image, and an array of markers has no header.
    """
    robot.depths = robot.publisher(Image, f'{prefix}depth')
    robot.depth_infos = robot.publisher(CameraInfo, f'{prefix}depth/camera_info')
    robot.infos = robot.publisher(CameraInfo, f'{prefix}camera_info')
    robot.markers, robot.grids = [], []
    robot.node.create_subscription(MarkerArray, 'markers', robot.markers.append, 10)
    robot.node.create_subscription(OccupancyGrid, 'drivable_grid', robot.grids.append, 10)
    robot.markers_known = lambda: all(map(robot.node.count_publishers,
                                          ('markers', 'drivable_grid')))


def camera_info(robot, *, width=WIDTH, height=HEIGHT, focal=FOCAL, frame_id='camera'):
    """Return the calibration of a pinhole whose axis is in the middle."""
    info = robot.camera_info(width=width, height=height)
    cx, cy = (width - 1) / 2, (height - 1) / 2
    info.header.frame_id = frame_id
    info.k = [focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0]
    info.p = [focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


def picture():
    """Return a picture of a box and a ball on the ground before a wall."""
    classes = np.full((HEIGHT, WIDTH), WALL, np.uint8)
    classes[28:] = GROUND
    classes[14:34, 8:24], classes[20:36, 40:52] = BOX, BALL
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 0], image[..., 2] = classes, 200
    np.testing.assert_array_equal(class_of_colour(image), classes)
    return image, classes


def depth_picture():
    """Return the depth of the picture in metres, with a hole."""
    _, classes = picture()
    depth = np.select([classes == BOX, classes == BALL, classes == GROUND], [4.0, 3.0, 2.5], 8.0)
    depth[0:5, 0:5] = np.nan
    return depth.astype(np.float32)


def image_and_depth(robot, depth=None, *, encoding='32FC1', shift_ns=0, **changes):
    """Return an image and the depth that belongs to it."""
    image = robot.image(picture()[0])
    pixels = depth_picture() if depth is None else depth
    message = robot.image(pixels, encoding=encoding, **changes)
    message.header.stamp.sec = image.header.stamp.sec
    message.header.stamp.nanosec = image.header.stamp.nanosec + shift_ns
    return image, message


def key(message):
    """Return how a robot calls the answers to an image."""
    return message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id


def ask(robot, image, depth):
    """Publish depth, then its image, and return all outputs."""
    robot.depths.publish(depth)
    return robot.ask(image)


def points_of(message):
    """Return a labelled cloud as PCL reads it: fields by name, offset and datatype."""
    assert [(f.name, f.offset, f.datatype, f.count) for f in message.fields] == [
        ('x', 0, PointField.FLOAT32, 1), ('y', 4, PointField.FLOAT32, 1),
        ('z', 8, PointField.FLOAT32, 1), ('rgb', 12, PointField.FLOAT32, 1),
        ('label', 16, PointField.UINT32, 1), ('instance', 20, PointField.UINT32, 1)]
    assert not message.is_bigendian and not message.is_dense
    assert message.row_step == message.width * message.point_step == message.width * 24
    return np.frombuffer(message.data, POINT).reshape(message.height, message.width)


def test_every_pixel_has_its_labelled_point(robot):
    image, depth = image_and_depth(robot)
    answer = ask(robot, image, depth)
    points = points_of(answer.messages['points'])
    z = depth_picture()
    v, u = np.indices(z.shape)
    np.testing.assert_array_equal(points['z'], z)
    np.testing.assert_allclose(points['x'], (u - (WIDTH - 1) / 2) / FOCAL * z, rtol=1e-5)
    np.testing.assert_allclose(points['y'], (v - (HEIGHT - 1) / 2) / FOCAL * z, rtol=1e-5)
    np.testing.assert_array_equal(points['label'], answer.pixels('semantic/image_raw'))
    np.testing.assert_array_equal(points['instance'], answer.pixels('instance/image_raw'))
    red, green, blue = picture()[0].astype(np.uint32).transpose(2, 0, 1)
    np.testing.assert_array_equal(points['rgb'], red << 16 | green << 8 | blue)


def test_boxes_have_the_ids_of_the_instances_and_stand_where_the_depth_says(robot):
    image, depth = image_and_depth(robot)
    answer = ask(robot, image, depth)
    boxes = {d.id: d for d in answer.messages['instances_3d'].detections}
    flat = {d.id: d for d in answer.messages['instances'].detections}
    assert boxes.keys() == flat.keys() and len(boxes) == 2
    for id_, box in boxes.items():
        assert box.header == image.header
        hypothesis = box.results[0].hypothesis
        assert hypothesis == flat[id_].results[0].hypothesis
        depth_m = {'box': 4.0, 'ball': 3.0}[hypothesis.class_id]
        centre, size, flat_box = box.bbox.center.position, box.bbox.size, flat[id_].bbox
        assert centre.z == pytest.approx(depth_m) and size.z == pytest.approx(0, abs=1e-6)
        u = flat_box.center.position.x - 0.5
        assert centre.x == pytest.approx((u - (WIDTH - 1) / 2) / FOCAL * depth_m, abs=0.08)
        assert size.x == pytest.approx((flat_box.size_x - 1) / FOCAL * depth_m, abs=0.2)
        assert size.y == pytest.approx((flat_box.size_y - 1) / FOCAL * depth_m, abs=0.3)
        assert box.bbox.center == box.results[0].pose.pose
        covariance = np.reshape(box.results[0].pose.covariance, (6, 6))
        assert covariance[0, 0] == pytest.approx(size.x ** 2 / 12, rel=0.4)
        assert covariance[5, 5] == pytest.approx(math.pi ** 2 / 3)


def test_markers_replace_those_of_the_frame_before(robot):
    image, depth = image_and_depth(robot)
    answer = ask(robot, image, depth)

    def mine():
        return [array.markers for array in robot.markers
                if array.markers[0].header == image.header]
    robot.spin_until(mine, what='markers')
    first, *rest = mine()[0]
    assert first.action == Marker.DELETEALL
    ids = sorted(int(d.id) for d in answer.messages['instances_3d'].detections)
    assert sorted(m.id for m in rest if m.type == Marker.CUBE) == ids
    texts = [m.text for m in rest if m.type == Marker.TEXT_VIEW_FACING]
    assert {text.split()[0] for text in texts} == {'box', 'ball'}
    assert all(m.header == image.header and min(m.scale.x, m.scale.y, m.scale.z) > 0
               for m in rest if m.type == Marker.CUBE)


def test_obstacles_and_drivable_are_lists_of_the_chosen_classes_points(robot):
    image, depth = image_and_depth(robot)
    answer = ask(robot, image, depth)
    _, classes = picture()
    for topic, chosen in (('obstacles', (WALL, BOX, BALL)), ('drivable', (GROUND,))):
        message = answer.messages[topic]
        assert [(f.name, f.offset, f.datatype) for f in message.fields] == [
            (name, 4 * i, PointField.FLOAT32) for i, name in enumerate('xyz')]
        assert (message.height, message.point_step, message.is_dense) == (1, 12, True)
        assert message.header == image.header
        points = np.frombuffer(message.data, '<f4').reshape(-1, 3)
        wanted = np.isin(classes, chosen) & np.isfinite(depth_picture())
        np.testing.assert_array_equal(np.sort(points[:, 2]), np.sort(depth_picture()[wanted]))


def test_millimetres_big_endian_and_padded_rows_give_the_same_points(robot):
    millimetres = np.nan_to_num(depth_picture() * 1000).astype(np.uint16)
    plain = points_of(ask(robot, *image_and_depth(robot)).messages['points'])
    for kind in ('<u2', '>u2'):
        image, depth = image_and_depth(robot, millimetres.astype(kind), encoding='16UC1',
                                       padding=6, is_bigendian=int(kind == '>u2'))
        points = points_of(ask(robot, image, depth).messages['points'])
        np.testing.assert_allclose(points['z'], plain['z'], rtol=1e-6)


def test_depth_that_comes_late_joins_late_and_does_not_hold_up_the_labels(robot):
    image, depth = image_and_depth(robot)
    robot.images.publish(image)
    have = robot.answers[key(image)].messages
    robot.spin_until(lambda: FLAT.keys() <= have.keys(), what='the 2D outputs')
    assert not have.keys() & SPACE.keys()
    robot.depths.publish(depth)
    robot.spin_until(lambda: SPACE.keys() <= have.keys(), what='the outputs in space')


def test_depth_that_never_comes_is_counted_and_costs_no_label(robot):
    before = int(robot.wait_for_diagnostic('received', bool) and robot.diagnostic_values().get(
        'depth.missing', '0'))
    image, _ = image_and_depth(robot)
    robot.images.publish(image)
    have = robot.answers[key(image)].messages
    robot.spin_until(lambda: FLAT.keys() <= have.keys(), what='the 2D outputs')
    robot.wait_for_diagnostic('depth.missing', lambda text: int(text or 0) == before + 1)
    assert not have.keys() & SPACE.keys()
    served(robot)


def test_the_nearest_stamp_within_the_tolerance_is_joined_under_the_images_header(robot):
    image, early = image_and_depth(robot, np.full((HEIGHT, WIDTH), 5.0, np.float32),
                                   shift_ns=-15_000_000)
    late = robot.image(np.full((HEIGHT, WIDTH), 6.0, np.float32), encoding='32FC1')
    late.header.stamp.sec = image.header.stamp.sec
    late.header.stamp.nanosec = image.header.stamp.nanosec + 5_000_000
    robot.depths.publish(early)
    robot.images.publish(image)
    have = robot.answers[key(image)].messages
    robot.spin_until(lambda: FLAT.keys() <= have.keys(), what='the 2D outputs')
    robot.depths.publish(late)
    robot.spin_until(lambda: SPACE.keys() <= have.keys(), what='the outputs in space')
    assert (points_of(have['points'])['z'] == 6.0).all()
    assert have['points'].header == image.header


def test_depth_of_half_the_size_lies_where_its_camera_info_says(robot):
    info = camera_info(robot, width=WIDTH // 2, height=HEIGHT // 2, focal=FOCAL / 2)
    robot.depth_infos.publish(info)
    half = np.ascontiguousarray(depth_picture()[::2, ::2])
    try:
        robot.spin_until(lambda: _half_is_served(robot, half), what='half-size depth')
    finally:
        robot.depth_infos.publish(camera_info(robot))
        robot.spin_until(lambda: _full_is_served(robot), what='full-size depth again')


def _half_is_served(robot, half):
    """Ask with depth of half the size; False where the node has not yet heard its camera_info."""
    image, depth = image_and_depth(robot, half)
    robot.depths.publish(depth)
    robot.images.publish(image)
    have = robot.answers[key(image)].messages
    robot.spin_until(lambda: FLAT.keys() <= have.keys(), what='the 2D outputs')
    robot.spin_for(0.3)
    if 'points' not in have:
        return False
    np.testing.assert_array_equal(points_of(have['points'])['z'],
                                  np.repeat(np.repeat(half, 2, axis=0), 2, axis=1))
    return True


def _full_is_served(robot):
    """Return whether depth of full size is joined."""
    image, depth = image_and_depth(robot)
    robot.depths.publish(depth)
    robot.images.publish(image)
    robot.spin_for(0.5)
    return 'points' in robot.answers[key(image)].messages


@pytest.mark.parametrize(('changes', 'reason', 'words'), [
    ({'encoding': '8UC1'}, 'depth_encoding', "unsupported encoding '8UC1'"),
    ({'step': 3}, 'depth_step', 'step is 3 bytes, expected at least 256'),
    ({'height': HEIGHT + 1}, 'depth_length', 'expected step x height'),
    ({'width': 0}, 'depth_size', 'image is 0x48 pixels'),
])
def test_bad_depth_is_counted_with_a_reason_and_costs_no_label(robot, changes, reason, words):
    served(robot)
    before = int(robot.diagnostic_values().get(f'rejected.{reason}', 0))
    image, depth = image_and_depth(robot)
    for name, value in changes.items():
        setattr(depth, name, value)
    robot.depths.publish(depth)
    robot.images.publish(image)
    have = robot.answers[key(image)].messages
    robot.spin_until(lambda: FLAT.keys() <= have.keys(), what='the 2D outputs')
    robot.wait_for_diagnostic(f'rejected.{reason}', lambda text: int(text or 0) == before + 1)
    assert words in robot.diagnostic_values()['last_error']
    served(robot)


def test_depth_in_another_frame_is_refused(robot):
    image, depth = image_and_depth(robot)
    depth.header.frame_id = 'depth_camera'
    robot.depths.publish(depth)
    robot.images.publish(image)
    robot.wait_for_diagnostic('rejected.depth_frame', lambda text: int(text or 0) > 0)
    assert "it is in frame 'depth_camera' and the image in 'camera'" \
        in robot.diagnostic_values()['last_error']
    served(robot)


def test_calibration_of_another_image_places_nothing_and_costs_no_label(robot):
    robot.infos.publish(camera_info(robot, width=32, height=24))
    try:
        robot.spin_until(lambda: not _full_is_served(robot), what='the calibration is heard')
        robot.wait_for_diagnostic('rejected.camera_info', lambda text: int(text or 0) > 0)
        assert 'camera_info speaks of 32x24 pixels and the image has 64x48' \
            in robot.diagnostic_values()['last_error']
    finally:
        robot.infos.publish(camera_info(robot))
        robot.spin_until(lambda: _full_is_served(robot), what='the right one is heard')


def test_the_cloud_has_the_size_of_the_label_images(robot):
    assert robot.set_parameters(output_size='32x24')[0]
    try:
        answer = ask(robot, *image_and_depth(robot))
        labels, cloud = answer.pixels('semantic/image_raw'), points_of(answer.messages['points'])
        assert cloud.shape == labels.shape == (24, 32)
        np.testing.assert_array_equal(cloud['label'], labels)
        v, u = np.indices(cloud.shape)
        # pixel centres are at integers: the small image's (u + 0.5) is half the large one's
        x = ((u + 0.5) * 2 - 0.5 - (WIDTH - 1) / 2) / FOCAL * cloud['z']
        np.testing.assert_allclose(cloud['x'], x, rtol=1e-5, atol=1e-6)
    finally:
        assert robot.set_parameters(output_size='')[0]
        served(robot)


def test_topics_of_classes_come_and_go_with_their_parameter(robot):
    assert robot.set_parameters(drivable_classes=['plant'], obstacle_classes=['*'])[0]
    try:
        answer = ask(robot, *image_and_depth(robot))
        assert answer.messages['drivable'].width == 0
        assert answer.messages['obstacles'].width == np.isfinite(depth_picture()).sum()
    finally:
        assert robot.set_parameters(drivable_classes=['ground'],
                                    obstacle_classes=['wall', 'box', 'ball'])[0]
        served(robot)
    accepted, reason = robot.set_parameters(obstacle_classes=['lake'])
    assert not accepted and "unknown class 'lake'" in reason


def test_depth_is_joined_again_after_a_pause(robot):
    assert robot.change_state(Transition.TRANSITION_DEACTIVATE)
    assert robot.change_state(Transition.TRANSITION_ACTIVATE)
    robot.spin_until(lambda: robot.depths.get_subscription_count()
                     and robot.infos.get_subscription_count()
                     and robot.images.get_subscription_count(), what='the node listens again')
    robot.infos.publish(camera_info(robot))
    robot.spin_until(lambda: _full_is_served(robot), what='all outputs again')


def served(robot):
    """See that a good frame has all its outputs."""
    answer = ask(robot, *image_and_depth(robot))
    np.testing.assert_array_equal(answer.pixels('semantic/image_raw'), picture()[1])


def test_the_grid_needs_no_depth_and_has_ground_and_the_feet_of_obstacles(robot):
    image, _ = image_and_depth(robot)
    robot.images.publish(image)

    def mine():
        return [grid for grid in robot.grids if grid.header.stamp == image.header.stamp]
    robot.spin_until(mine, what='a grid')
    grid = mine()[0]
    assert grid.header.frame_id == 'base_footprint'
    assert (grid.info.width, grid.info.height) == (120, 120)
    assert grid.info.resolution == pytest.approx(0.1)
    assert (grid.info.origin.position.x, grid.info.origin.position.y) == pytest.approx((0, -6.0))
    cells = np.array(grid.data).reshape(120, 120)
    # the ball's foot is in row 35, columns 40 to 51: 1.5 m / tan gives where that is ahead
    ahead = 1.5 * FOCAL / (35.5 - (HEIGHT - 1) / 2)
    aside = -(45.5 - (WIDTH - 1) / 2) / FOCAL * ahead
    row, column = int((aside + 6) / 0.1), int(ahead / 0.1)
    assert cells[row, column:column + 3].max() == 100
    assert cells[row, column - 3] == 0
    assert cells[row, column + 10] == -1
    assert set(np.unique(cells)) == {-1, 0, 100}


def test_everything_but_the_drivable_can_be_an_obstacle_void_too():
    table = obstacle_table(LABEL_SET, ('*',), class_table(LABEL_SET, ('ground',)).astype(bool))
    assert [table[GROUND], table[WALL], table[BALL], table[255]] == [False, True, True, True]
    chosen = obstacle_table(LABEL_SET, ('box',), np.zeros(256, bool))
    assert np.flatnonzero(chosen).tolist() == [BOX]
