# SPDX-License-Identifier: Apache-2.0
"""The node through real topics: every output of a frame is there, exact, with its header."""
from __future__ import annotations

import cv2
from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from seg_ros.core.panoptic import PanopticEncoding, unpack
from seg_ros.models.checkerboard import class_of_colour, instance_of_colour, LABEL_SET

FRAMES = settings(max_examples=30, deadline=None,
                  suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def pictures(draw):
    """Return (H, W, 3) images in blocks of colour, so that instances have some size."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    block = draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    small = rng.integers(0, 256, (-(-height // block), -(-width // block), 3), dtype=np.uint8)
    return small.repeat(block, axis=0).repeat(block, axis=1)[:height, :width]


def noise(height=24, width=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@FRAMES
@given(picture=pictures())
def test_every_output_is_there_with_the_header_and_size_of_its_image(checkerboard_robot, picture):
    robot = checkerboard_robot
    message = robot.image(picture)
    answer = robot.ask(message)
    assert set(answer.messages) == set(robot.outputs)
    for topic, output in answer.messages.items():
        assert output.header == message.header, topic
        if isinstance(output, Image):
            assert (output.height, output.width) == picture.shape[:2], topic
            assert output.step * output.height == len(output.data), topic
            assert not output.is_bigendian, topic


@FRAMES
@given(picture=pictures())
def test_the_class_map_is_the_models_pixel_for_pixel(checkerboard_robot, picture):
    answer = checkerboard_robot.ask(checkerboard_robot.image(picture))
    classes = class_of_colour(picture)
    np.testing.assert_array_equal(answer.pixels('semantic/image_raw'), classes)
    np.testing.assert_array_equal(answer.pixels('semantic/confidence'),
                                  np.where(classes == 255, 0, picture[..., 2]))
    np.testing.assert_array_equal(answer.pixels('foreground/image_raw'),
                                  np.isin(classes, (2, 4)))


@FRAMES
@given(picture=pictures())
def test_ids_of_array_and_map_are_the_same_set_and_boxes_are_tight(checkerboard_robot, picture):
    answer = checkerboard_robot.ask(checkerboard_robot.image(picture))
    ids = answer.pixels('instance/image_raw')
    classes = answer.pixels('semantic/image_raw')
    detections = answer.messages['instances'].detections
    assert sorted(int(d.id) for d in detections) == sorted(set(ids[ids > 0].tolist()))
    for detection in detections:
        rows, columns = np.nonzero(ids == int(detection.id))
        box, center = detection.bbox, detection.bbox.center.position
        assert (box.size_x, box.size_y) == (np.ptp(columns) + 1, np.ptp(rows) + 1)
        assert (center.x, center.y) == (columns.min() + box.size_x / 2,
                                        rows.min() + box.size_y / 2)
        assert {LABEL_SET.names[c] for c in classes[rows, columns]} \
            == {detection.results[0].hypothesis.class_id}
        assert 0.0 <= detection.results[0].hypothesis.score <= 1.0
        assert detection.header == answer.messages['instances'].header


@FRAMES
@given(picture=pictures())
def test_instances_divide_the_image_as_the_model_does(checkerboard_robot, picture):
    answer = checkerboard_robot.ask(checkerboard_robot.image(picture))
    pairs = np.stack((answer.pixels('instance/image_raw'), instance_of_colour(picture)), axis=-1)
    published_and_named = np.unique(pairs.reshape(-1, 2), axis=0)
    assert len(published_and_named) == len(set(published_and_named[:, 0])) \
        == len(set(published_and_named[:, 1]))


@FRAMES
@given(picture=pictures())
def test_the_panoptic_image_holds_class_and_instance(checkerboard_robot, picture):
    answer = checkerboard_robot.ask(checkerboard_robot.image(picture))
    classes, instances = unpack(answer.pixels('panoptic/image_raw'),
                                PanopticEncoding.INSTANCE_HIGH)
    np.testing.assert_array_equal(classes, answer.pixels('semantic/image_raw'))
    np.testing.assert_array_equal(instances, answer.pixels('instance/image_raw'))


def test_an_image_without_things_gives_an_empty_array(checkerboard_robot):
    answer = checkerboard_robot.ask(checkerboard_robot.image(np.zeros((4, 6, 3), np.uint8)))
    assert answer.messages['instances'].detections == []
    assert not answer.pixels('instance/image_raw').any()


def test_the_names_are_latched_before_the_first_mask(checkerboard_robot):
    info = checkerboard_robot.label_infos[0]
    assert {c.class_id: c.class_name for c in info.class_map} \
        == dict(enumerate(LABEL_SET.names))
    assert info.threshold == pytest.approx(0.5)


@pytest.mark.parametrize('encoding, channels', [
    ('rgb8', (0, 1, 2)),
    ('bgr8', (2, 1, 0)),
    ('rgba8', (0, 1, 2, 0)),
    ('bgra8', (2, 1, 0, 0)),
    ('8UC3', (2, 1, 0)),
    ('8UC4', (2, 1, 0, 1)),
])
@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize('size', [(24, 32), (7, 5), (1, 1)])
def test_colour_encodings_with_any_step_give_the_same_labels(
        checkerboard_robot, encoding, channels, padding, size):
    picture = noise(*size)
    message = checkerboard_robot.image(np.ascontiguousarray(picture[..., channels]),
                                       encoding=encoding, padding=padding)
    answer = checkerboard_robot.ask(message)
    np.testing.assert_array_equal(answer.pixels('semantic/image_raw'), class_of_colour(picture))
    np.testing.assert_array_equal(answer.pixels('semantic/confidence') > 0,
                                  (class_of_colour(picture) < 255) & (picture[..., 2] > 0))


@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
@pytest.mark.parametrize('padding', [0, 3])
def test_grey_images_are_grey_in_all_three_colours(checkerboard_robot, encoding, padding):
    grey = noise()[..., 0].copy()
    answer = checkerboard_robot.ask(
        checkerboard_robot.image(grey, encoding=encoding, padding=padding))
    np.testing.assert_array_equal(answer.pixels('semantic/image_raw'),
                                  class_of_colour(np.stack([grey] * 3, axis=-1)))


@pytest.mark.parametrize('changes, words', [
    ({'encoding': 'yuv9'}, "unsupported encoding 'yuv9', expected one of rgb8"),
    ({'data': b'123'}, 'data has 3 bytes, expected step x height'),
    ({'width': 0}, 'image is 0x24 pixels, expected at least 1x1'),
    ({'height': 0}, 'image is 32x0 pixels, expected at least 1x1'),
    ({'step': 95}, 'step is 95 bytes, expected at least 96'),
    ({'width': 65536, 'height': 65536, 'step': 3 * 65536}, 'expected at most max_image_pixels'),
])
def test_a_bad_image_is_one_sentence_and_the_next_one_is_exact(
        checkerboard_robot, changes, words):
    robot = checkerboard_robot
    before = rejected(robot)
    bad = robot.image(noise(), **changes)
    robot.images.publish(bad)
    robot.wait_for_diagnostic('last_error', lambda sentence: words in sentence)
    assert rejected(robot) == before + 1
    picture = noise(seed=1)
    answer = robot.ask(robot.image(picture))
    np.testing.assert_array_equal(answer.pixels('semantic/image_raw'), class_of_colour(picture))
    key = (bad.header.stamp.sec, bad.header.stamp.nanosec, bad.header.frame_id)
    assert not robot.answers[key].messages


def rejected(robot):
    return sum(int(count) for name, count in robot.diagnostic_values().items()
               if name.startswith('rejected.'))


def test_a_subscriber_of_one_topic_gets_it_alone(launch, make_robot):
    robot = make_robot({'semantic/image_raw': Image})
    launch('segmentation_node', parameters={'panoptic_model': 'checkerboard'})
    robot.wait_for_node()
    picture = noise()
    answer = robot.ask(robot.image(picture))
    np.testing.assert_array_equal(answer.pixels('semantic/image_raw'), class_of_colour(picture))


@pytest.mark.parametrize('encoding', ['class_high', 'cityscapes'])
def test_each_panoptic_packing_can_be_unpacked(launch, robot, encoding):
    launch('segmentation_node', parameters={'panoptic_model': 'checkerboard',
                                            'panoptic_encoding': encoding})
    robot.wait_for_node()
    answer = robot.ask(robot.image(noise()))
    classes, instances = unpack(answer.pixels('panoptic/image_raw'), PanopticEncoding(encoding))
    np.testing.assert_array_equal(classes, answer.pixels('semantic/image_raw'))
    np.testing.assert_array_equal(instances, answer.pixels('instance/image_raw'))


def test_compressed_images_are_decoded_and_damaged_ones_refused(launch, robot):
    launch('segmentation_node', parameters={'panoptic_model': 'checkerboard',
                                            'image_transport': 'compressed'})
    images = robot.publisher(CompressedImage, 'image/compressed')
    robot.wait_for_node(image_publisher=images)
    picture = noise()
    png = cv2.imencode('.png', picture[..., ::-1])[1].tobytes()
    for count, data in enumerate((b'', b'nonsense', png[:60], png[:-40] + b'x' * 20), start=1):
        images.publish(CompressedImage(header=robot.header(), format='png', data=data))
        robot.wait_for_diagnostic('rejected.compressed', str(count).__eq__)
    answer = robot.ask(CompressedImage(header=robot.header(), format='png', data=png),
                       publisher=images)
    np.testing.assert_array_equal(answer.pixels('semantic/image_raw'), class_of_colour(picture))
    flat = np.full((24, 32, 3), 128, np.uint8)
    jpeg = cv2.imencode('.jpg', flat)[1].tobytes()
    answer = robot.ask(CompressedImage(header=robot.header(), format='jpeg', data=jpeg),
                       publisher=images)
    np.testing.assert_array_equal(answer.pixels('semantic/image_raw'), class_of_colour(flat))


def test_calibrations_carry_the_masks_header_and_scale_with_it(launch, make_robot):
    robot = make_robot({'semantic/image_raw': Image, 'semantic/camera_info': CameraInfo,
                        'instance/camera_info': CameraInfo, 'panoptic/camera_info': CameraInfo})
    infos = robot.publisher(CameraInfo, 'camera_info')
    launch('segmentation_node', parameters={'panoptic_model': 'checkerboard',
                                            'output_size': '16x12'})
    robot.wait_for_node()
    robot.spin_until(infos.get_subscription_count, what='camera_info is subscribed')
    robot.outputs = {'semantic/image_raw': Image}
    info = robot.camera_info(width=32, height=24)
    picture = noise()

    def answered_with_calibration():
        infos.publish(info)
        answers.append(robot.ask(robot.image(picture)))
        # it comes after the mask, so it may reach an answer that was looked at before
        return any('semantic/camera_info' in answer.messages for answer in answers)
    answers = []
    robot.spin_until(answered_with_calibration, what='a calibration')
    robot.outputs |= {f'{group}/camera_info': CameraInfo
                      for group in ('semantic', 'instance', 'panoptic')}
    answer = robot.ask(robot.image(picture))
    mask = answer.messages['semantic/image_raw']
    assert (mask.width, mask.height) == (16, 12)
    for group in ('semantic', 'instance', 'panoptic'):
        scaled = answer.messages[f'{group}/camera_info']
        assert scaled.header == mask.header
        assert (scaled.width, scaled.height) == (16, 12)
        # u' = (u + 0.5) / 2 - 0.5 for every point, so cx = 16 becomes 7.75
        assert scaled.k.tolist() == [150.0, 0.0, 7.75, 0.0, 155.0, 5.75, 0.0, 0.0, 1.0]
        assert scaled.p.tolist()[3] == -15.0


def test_two_models_are_fused_with_two_label_sets(launch, robot):
    launch('segmentation_node', parameters={'semantic_model': 'checkerboard',
                                            'instance_model': 'checkerboard/overlapping'})
    robot.wait_for_node()
    names = [c.class_name for c in robot.label_infos[-1].class_map]
    assert names == ['ground', 'wall', 'plant', 'box', 'ball', 'robot']
    picture = np.zeros((10, 10, 3), np.uint8)
    picture[..., 0] = 1  # wall
    picture[2:8, 2:8, 2] |= 1  # ball, score 0.95
    picture[0:4, 0:4, 2] |= 2  # robot, score 0.90: 4 of its 16 pixels are the ball's
    picture[4:8, 4:9, 2] |= 4  # ball, score 0.85: 16 of its 20 pixels are the first ball's
    answer = robot.ask(robot.image(picture))
    expected = np.full((10, 10), 1)
    expected[0:4, 0:4] = 5
    expected[2:8, 2:8] = 4
    np.testing.assert_array_equal(answer.pixels('semantic/image_raw'), expected)
    found = {d.results[0].hypothesis.class_id: int(d.id)
             for d in answer.messages['instances'].detections}
    assert sorted(found) == ['ball', 'robot'] and len(answer.messages['instances'].detections) == 2
    ids = answer.pixels('instance/image_raw')
    np.testing.assert_array_equal(ids == found['ball'], expected == 4)
    np.testing.assert_array_equal(ids == found['robot'], expected == 5)


def test_classes_are_published_in_the_users_terms(launch, robot):
    launch('segmentation_node', parameters={
        'panoptic_model': 'checkerboard', 'classes': ['wall,plant=obstacle', 'ball'],
        'detection_class_id': 'number'})
    robot.wait_for_node()
    assert [c.class_name for c in robot.label_infos[-1].class_map] == ['obstacle', 'ball']
    picture = noise()
    answer = robot.ask(robot.image(picture))
    table = np.full(256, 255)
    table[[1, 2, 4]] = 0, 0, 1
    np.testing.assert_array_equal(answer.pixels('semantic/image_raw'),
                                  table[class_of_colour(picture)])
    assert {d.results[0].hypothesis.class_id
            for d in answer.messages['instances'].detections} == {'1'}


@pytest.mark.parametrize('first', ['camera', 'node'])
@pytest.mark.parametrize('best_effort', [False, True])
def test_images_flow_whatever_reliability_the_camera_offers(launch, robot, first, best_effort):
    robot.node.destroy_publisher(robot.images)
    if first == 'camera':
        robot.images = robot.publisher(Image, 'image', best_effort=best_effort)
    launch('segmentation_node', parameters={'panoptic_model': 'checkerboard'})
    robot.spin_until(lambda: robot.label_infos, timeout_s=40, what='the node is up')
    if first == 'node':
        robot.images = robot.publisher(Image, 'image', best_effort=best_effort)
    robot.wait_for_node()
    picture = noise()

    def answered():
        # best effort may lose the first ones while the endpoints find each other
        message = robot.image(picture)
        robot.images.publish(message)
        key = (message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id)
        robot.spin_for(0.1)
        return 'semantic/image_raw' in robot.answers[key].messages
    robot.spin_until(answered, what='an answer')


def test_parameters_change_on_the_next_frame_or_not_at_all(launch, robot):
    launch('segmentation_node', parameters={'panoptic_model': 'checkerboard'})
    robot.wait_for_node()
    picture = noise()
    everything = robot.ask(robot.image(picture)).messages['instances'].detections
    refused = [
        ({'score_threshold': 1.5}, 'score_threshold'),
        ({'score_threshold': float('nan')}, 'score_threshold'),
        ({'panoptic_model': 'street_tiny'}, 'cannot change while the node is configured'),
        ({'allow_executable_models': True}, 'cannot change while the node runs: anybody on the '
         'network may set parameters'),
        ({'allow_download': True}, 'cannot change while the node runs'),
        ({'output_size': 'large'}, "output_size is 'large', expected WIDTHxHEIGHT"),
        ({'min_area': 5, 'score_threshold': -1.0}, 'score_threshold'),
    ]
    for values, words in refused:
        success, reason = robot.set_parameters(**values)
        assert not success and words in reason, (values, reason)
    same = robot.ask(robot.image(picture)).messages['instances'].detections
    assert len(same) == len(everything)
    assert robot.set_parameters(score_threshold=0.8) == (True, '')
    fewer = robot.ask(robot.image(picture)).messages['instances'].detections
    assert 0 < len(fewer) < len(everything)
    assert all(d.results[0].hypothesis.score >= 0.8 for d in fewer)


def test_classes_and_topics_change_on_the_next_frame_with_new_names_first(launch, make_robot):
    robot = make_robot({'semantic/image_raw': Image})
    launch('segmentation_node', parameters={'panoptic_model': 'checkerboard'})
    robot.wait_for_node()
    picture = noise()
    for classes, words in ((['graund'], "unknown class 'graund'"),
                           (['wall,ball=thing'], 'would join things and stuff')):
        success, reason = robot.set_parameters(classes=classes)
        assert not success and words in reason
    success, reason = robot.set_parameters(classes=['ball'], foreground_classes=['wall'])
    assert not success and "unknown class 'wall'" in reason
    answer = robot.ask(robot.image(picture))
    np.testing.assert_array_equal(answer.pixels('semantic/image_raw'), class_of_colour(picture))
    assert len(robot.label_infos) == 1

    assert robot.set_parameters(classes=['ball', 'wall,plant=obstacle'], confidence=True,
                                foreground_classes=['obstacle']) == (True, '')
    answer = robot.ask(robot.image(picture))
    table = np.full(256, 255)
    table[[1, 2, 4]] = 1, 1, 0
    np.testing.assert_array_equal(answer.pixels('semantic/image_raw'),
                                  table[class_of_colour(picture)])
    assert [c.class_name for c in robot.label_infos[-1].class_map] == ['ball', 'obstacle']
    assert robot.node.count_publishers('semantic/confidence') == 1
    assert robot.node.count_publishers('foreground/image_raw') == 1
    assert robot.set_parameters(classes=[], confidence=False, foreground_classes=[]) == (True, '')
    answer = robot.ask(robot.image(picture))
    np.testing.assert_array_equal(answer.pixels('semantic/image_raw'), class_of_colour(picture))
    robot.spin_until(lambda: not robot.node.count_publishers('foreground/image_raw'),
                     what='the topic is gone')


def test_what_the_ignore_mask_covers_is_void_and_boxes_end_there(launch, robot, tmp_path):
    hood = np.zeros((2, 4), np.uint8)
    hood[1] = 255  # the lower half, at any size
    cv2.imwrite(str(tmp_path / 'hood.png'), hood)
    launch('segmentation_node', parameters={'panoptic_model': 'checkerboard',
                                            'ignore_masks': [str(tmp_path / 'hood.png')]})
    robot.wait_for_node()
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[5:15, 3:9, 0] = 4  # a ball, half of it below the edge
    picture[12:16, 20:24, 0] = 3  # a box, all of it
    answer = robot.ask(robot.image(picture))
    expected = class_of_colour(picture)
    expected[10:] = 255
    np.testing.assert_array_equal(answer.pixels('semantic/image_raw'), expected)
    (ball,) = answer.messages['instances'].detections
    assert (ball.bbox.center.position.y, ball.bbox.size_y, ball.bbox.size_x) == (7.5, 5.0, 6.0)
    assert (answer.pixels('instance/image_raw') > 0).sum() == 5 * 6


@pytest.mark.parametrize('masks, words', [
    (['no/such.png'], "cannot read ignore mask 'no/such.png': there is no such file"),
    (['README.md'], "cannot read ignore mask 'README.md'"),
    (['a.png', 'b.png'], 'ignore_masks has 2 files, expected one for each of 1 cameras'),
])
def test_an_ignore_mask_that_cannot_be_read_ends_the_start(launch, masks, words):
    process = launch('segmentation_node', parameters={'panoptic_model': 'checkerboard',
                                                      'ignore_masks': masks})
    assert process.wait(timeout_s=60) == 1
    assert words in process.output()


def test_a_bounded_rate_skips_frames_and_counts_them(launch, make_robot):
    robot = make_robot({'semantic/image_raw': Image})
    launch('segmentation_node', parameters={'panoptic_model': 'checkerboard',
                                            'max_rate_hz': 0.01})
    robot.wait_for_node()
    picture = noise()
    robot.ask(robot.image(picture))
    skipped = [robot.image(picture) for _ in range(3)]
    for number, message in enumerate(skipped, start=1):
        robot.images.publish(message)
        robot.wait_for_diagnostic('limited', str(number).__eq__)
    assert robot.diagnostic_values()['processed'] == '1'
    assert robot.set_parameters(max_rate_hz=0.0) == (True, '')
    robot.ask(robot.image(picture))
    assert len(robot.order) == 2


def test_images_that_never_arrived_are_counted_by_their_publishers_numbers(launch, make_robot):
    robot = make_robot({'semantic/image_raw': Image})
    launch('segmentation_node', parameters={'panoptic_model': 'checkerboard'})
    robot.wait_for_node()
    robot.ask(robot.image(noise()))
    message = robot.image(noise(480, 640))
    for _ in range(50):  # its queue is one deep
        message.header = robot.header()
        robot.images.publish(message)
    robot.ask(robot.image(noise()))

    def all_accounted_for():
        values = robot.diagnostic_values()
        return int(values.get('received', 0)) + int(values.get('lost', 0)) == 52
    robot.spin_until(all_accounted_for, what='received and lost are all that were sent')
    assert int(robot.diagnostic_values()['lost']) > 0
