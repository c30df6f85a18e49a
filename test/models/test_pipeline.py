# SPDX-License-Identifier: Apache-2.0
"""The pipeline runs what the configuration names, and merges it into one answer."""
from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from seg_ros.core.config import config_from
from seg_ros.core.labels import fused_label_set
from seg_ros.core.panoptic import fuse, instance_part, semantic_part
from seg_ros.core.types import segmentation_from_map, VOID
from seg_ros.models import load_model, pipeline
from seg_ros.models.checkerboard import LABEL_SET, OVERLAPPING_LABEL_SET
from seg_ros.models.contract import ModelError, ModelOptions, Task
from seg_ros.models.pipeline import choose_device, Pipeline

IMAGE = np.random.default_rng(3).integers(0, 256, (12, 16, 3), dtype=np.uint8)
BOX, BALL = 3, 4


def made(**values):
    return Pipeline(config_from({'device': 'cpu', **values}))


def answer(spec, **options):
    return load_model(spec, ModelOptions(**options)).predict([IMAGE])[0]


def assert_same(left, right):
    np.testing.assert_array_equal(left.class_map, right.class_map)
    np.testing.assert_array_equal(left.instance_map, right.instance_map)
    np.testing.assert_array_equal(left.confidence, right.confidence)
    np.testing.assert_array_equal(left.instances.boxes, right.instances.boxes)
    np.testing.assert_array_equal(left.instances.class_ids, right.instances.class_ids)
    np.testing.assert_array_equal(left.instances.scores, right.instances.scores)


def test_a_panoptic_model_alone_serves_all_three_tasks():
    whole = made(panoptic_model='checkerboard')
    assert whole.tasks == set(Task)
    assert whole.label_set == LABEL_SET
    assert whole.models == {'checkerboard': ''}
    assert_same(whole.segment(IMAGE), answer('checkerboard'))


def test_a_semantic_model_alone_serves_classes_only():
    whole = made(semantic_model='checkerboard')
    assert whole.tasks == {Task.SEMANTIC}
    assert_same(whole.segment(IMAGE), semantic_part(answer('checkerboard')))


def test_an_instance_model_alone_serves_instances_only():
    whole = made(instance_model='checkerboard')
    assert whole.tasks == {Task.INSTANCE}
    assert_same(whole.segment(IMAGE), instance_part(answer('checkerboard')))


def test_a_model_as_both_halves_gives_what_it_gives_whole():
    halves = made(semantic_model='checkerboard', instance_model='checkerboard')
    assert halves.tasks == set(Task)
    assert_same(halves.segment(IMAGE), answer('checkerboard'))


def test_two_label_sets_are_fused_by_name():
    whole = made(semantic_model='checkerboard', instance_model='checkerboard/overlapping')
    assert whole.label_set.names == (*LABEL_SET.names, 'robot')
    assert whole.label_set.things == {'box', 'ball', 'robot'}
    result = whole.segment(IMAGE)
    assert_same(result, fuse(
        semantic=semantic_part(answer('checkerboard')),
        instance=answer('checkerboard/overlapping'),
        fused=fused_label_set(LABEL_SET, OVERLAPPING_LABEL_SET)))
    assert set(result.instances.class_ids.tolist()) == {BALL, 5}
    # a box that the semantic model sees and nobody counts is still a box
    assert ((result.class_map == BOX) & (result.instance_map == 0)).any()


def test_classes_are_the_users_after_the_merge():
    whole = made(panoptic_model='checkerboard', classes=['ball,box=obstacle', 'ground'])
    assert whole.label_set.names == ('obstacle', 'ground')
    result, plain = whole.segment(IMAGE), answer('checkerboard')
    table = np.full(256, VOID, np.uint8)
    table[[0, BOX, BALL]] = 1, 0, 0
    np.testing.assert_array_equal(result.class_map, table[plain.class_map])
    np.testing.assert_array_equal(result.instance_map, plain.instance_map)


def test_each_image_of_a_batch_has_its_own_size_and_answer():
    whole = made(panoptic_model='checkerboard')
    images = [IMAGE, IMAGE[:5, :7]]
    for image, results in zip(images, whole.infer(images), strict=True):
        assert_same(whole.merge(results), whole.segment(image))
        assert whole.merge(results).size == image.shape[:2]


def test_a_model_that_does_not_serve_the_task_is_refused():
    with pytest.raises(ModelError, match="^semantic_model is 'checkerboard/overlapping', which "
                                         'serves instance segmentation only$'):
        made(semantic_model='checkerboard/overlapping')
    with pytest.raises(ModelError, match="^panoptic_model is 'checkerboard/overlapping', which"):
        made(panoptic_model='checkerboard/overlapping')


def test_an_unknown_model_is_refused_with_those_that_are_known():
    with pytest.raises(ModelError, match="unknown model 'chess', expected one of .*checkerboard"):
        made(panoptic_model='chess')


def test_a_panoptic_model_beside_another_is_refused():
    with pytest.raises(ValueError, match="panoptic_model 'checkerboard' and 'checkerboard' are"):
        made(panoptic_model='checkerboard', semantic_model='checkerboard')


def test_an_unknown_class_is_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match="unknown class 'car', expected one of ground, wall"):
        made(panoptic_model='checkerboard', classes=['car'])


def test_an_encoding_that_cannot_carry_the_classes_is_refused():
    values = {'panoptic_encoding': 'cityscapes', 'classes': ['box', 'ground']}
    with pytest.raises(ValueError, match="cannot tell instances of class 0 \\('box'\\)"):
        made(panoptic_model='checkerboard', **values)
    # nothing is packed where no panoptic answer is
    made(semantic_model='checkerboard', **values)


def test_without_a_model_street_tiny_is_what_runs(monkeypatch):
    wanted = []

    def load(spec, options):
        wanted.append((spec, options.weights))
        return load_model('checkerboard', ModelOptions())

    monkeypatch.setattr(pipeline, 'load_model', load)
    made(panoptic_weights='mine.safetensors')
    assert wanted == [('street_tiny', 'mine.safetensors')]


def test_thresholds_take_effect_from_the_next_image_on():
    whole = made(panoptic_model='checkerboard')
    before = whole.segment(IMAGE)
    assert before.instances.scores.min() < 0.8
    whole.apply(config_from({'panoptic_model': 'checkerboard', 'score_threshold': 0.8}))
    after = whole.segment(IMAGE)
    assert after.instances.scores.min() >= 0.8
    assert len(after.instances) == (before.instances.scores >= 0.8).sum()
    # the pixels of what is not reported keep their class
    np.testing.assert_array_equal(after.class_map, before.class_map)


def test_instances_that_are_too_small_are_not_reported():
    areas = np.bincount(answer('checkerboard').instance_map.ravel())[1:]
    least = int(np.median(areas)) + 1
    whole = made(panoptic_model='checkerboard', min_area=least)
    result = whole.segment(IMAGE)
    kept = np.bincount(result.instance_map.ravel())[1:]
    assert kept.tolist() == areas[areas >= least].tolist()
    assert 0 < len(kept) < len(areas)


def test_the_overlap_rule_reaches_the_model_while_it_runs():
    values = {'instance_model': 'checkerboard/overlapping', 'score_threshold': 0.0}
    whole = made(**values, overlap_threshold=1.0)
    many = len(whole.segment(IMAGE).instances)
    whole.apply(config_from({**values, 'overlap_threshold': 0.25}))
    assert len(whole.segment(IMAGE).instances) < many


@pytest.mark.parametrize('asked', [False, True])
@pytest.mark.parametrize('spec', ['checkerboard', 'checkerboard/fixed'])
def test_confidence_is_there_when_asked_for(spec, asked):
    whole = made(semantic_model=spec, instance_model='checkerboard/overlapping', confidence=asked)
    assert (whole.segment(IMAGE).confidence is not None) == asked


def test_a_model_that_answers_in_another_size_is_named(monkeypatch):
    class Cropping:
        label_set, tasks, sha256, options = LABEL_SET, frozenset(Task), '', ModelOptions()

        def predict(self, images):
            return [segmentation_from_map(
                class_map=np.zeros((2, 2), np.uint8), instance_map=np.zeros((2, 2), np.int32),
                class_ids=(), scores=()) for _ in images]

    monkeypatch.setattr(pipeline, 'load_model', lambda spec, options: Cropping())
    with pytest.raises(ModelError, match=r"'net' answered a \(12, 16\) image with \(2, 2\)"):
        made(panoptic_model='net').segment(IMAGE)


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ModelError, match="^device 'cuda:99' is not there .* expected auto, cpu"):
        choose_device('cuda:99')


def test_auto_falls_back_to_the_cpu_with_one_warning(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with caplog.at_level(logging.WARNING):
        assert choose_device('auto') == torch.device('cpu')
    assert [record.message for record in caplog.records] == ['no GPU found, running on the CPU']
    assert choose_device('cpu') == torch.device('cpu')


def test_warming_up_needs_no_image():
    made(panoptic_model='checkerboard').warm_up()
