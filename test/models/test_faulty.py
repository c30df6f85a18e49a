# SPDX-License-Identifier: Apache-2.0
"""What a model can do wrong has its own error, and NaN never becomes a label."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from seg_ros.core.config import Config
from seg_ros.models import load_model
from seg_ros.models.checkerboard import class_of_colour
from seg_ros.models.contract import (
    DeviceLostError,
    ModelError,
    ModelOptions,
    NotFiniteError,
    OutOfMemoryError,
)
from seg_ros.models.faulty import mark
from seg_ros.models.pipeline import Pipeline
from seg_ros.models.postprocess import (
    paint_crops,
    require_finite,
    settle_overlaps,
)
from seg_ros.models.postprocess_labels import label_pixels

PICTURE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


@pytest.fixture
def pipeline():
    return Pipeline(Config(panoptic_model='faulty', device='cpu'))


@pytest.mark.parametrize('fault, error, words', [
    ('raise', ModelError, 'the model failed: RuntimeError: faulty raises'),
    ('memory', OutOfMemoryError, 'expected a smaller image or model'),
    ('nan', NotFiniteError, 'values that are not finite'),
    ('inf', NotFiniteError, 'values that are not finite'),
])
def test_a_fault_of_one_image_is_one_error_and_the_next_image_is_exact(
        pipeline, fault, error, words):
    with pytest.raises(ModelError, match=words) as raised:
        pipeline.segment(mark(PICTURE, fault))
    assert type(raised.value) is error
    np.testing.assert_array_equal(pipeline.segment(PICTURE).class_map, class_of_colour(PICTURE))


def test_a_device_error_that_stays_is_a_lost_device(pipeline):
    with pytest.raises(DeviceLostError, match='device cpu is lost'):
        pipeline.segment(mark(PICTURE, 'lost'))
    with pytest.raises(DeviceLostError):
        pipeline.segment(PICTURE)


def test_a_device_error_that_passes_is_a_failure_of_its_image(pipeline, monkeypatch):
    predict = pipeline._predict

    def fail_once(images, moments=()):
        monkeypatch.setattr(pipeline, '_predict', predict)
        raise torch.AcceleratorError('CUDA error: invalid argument')
    monkeypatch.setattr(pipeline, '_predict', fail_once)
    with pytest.raises(ModelError, match='the model failed: AcceleratorError') as raised:
        pipeline.infer([PICTURE])
    assert type(raised.value) is ModelError


def test_a_script_says_on_which_frames():
    model = load_model('faulty/raise@1-2,memory@4', ModelOptions())
    outcomes = []
    for _ in range(6):
        try:
            model.predict([PICTURE])
            outcomes.append('')
        except RuntimeError as error:
            outcomes.append(type(error).__name__)
    assert outcomes == ['', 'RuntimeError', 'RuntimeError', '', 'OutOfMemoryError', '']


@pytest.mark.parametrize('name', ['explode@3', 'raise', 'raise@x', 'raise@1;nan@2'])
def test_a_script_that_cannot_be_read_is_one_sentence(name):
    with pytest.raises(ModelError, match='expected fault@frame with one of raise, memory'):
        load_model(f'faulty/{name}', ModelOptions())


@pytest.mark.parametrize('value', [float('nan'), float('inf'), float('-inf')])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_one_value_that_is_not_finite_is_an_error_in_every_helper(value, dtype):
    options = ModelOptions()
    logits = torch.zeros((3, 4, 5), dtype=dtype)
    table = torch.arange(3, dtype=torch.uint8)
    require_finite([logits], model='x')
    label_pixels(logits, size=(4, 5), class_table=table, options=options)
    logits[1, 2, 3] = value
    with pytest.raises(NotFiniteError):
        require_finite([torch.zeros(2), logits], model='x')
    with pytest.raises(NotFiniteError):
        label_pixels(logits, size=(4, 5), class_table=table, options=options)
    scores = torch.tensor([0.9, value], dtype=dtype)
    class_ids = torch.zeros(2, dtype=torch.uint8)
    with pytest.raises(NotFiniteError):
        settle_overlaps(masks=torch.ones((2, 4, 5), dtype=torch.bool), class_ids=class_ids,
                        scores=scores, options=options)
    with pytest.raises(NotFiniteError):
        paint_crops(crops=torch.ones((2, 3, 3)), boxes=torch.ones((2, 4)), class_ids=class_ids,
                    scores=scores, size=(4, 5), options=options)


def test_a_large_sum_of_finite_values_is_finite():
    require_finite([torch.full((1000, 1000), 60000.0, dtype=torch.float16)], model='x')
