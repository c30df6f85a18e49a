# SPDX-License-Identifier: Apache-2.0
"""A faster mode runs as asked, is held against fp32, and never takes the model down."""
from __future__ import annotations

from dataclasses import replace
import logging

import numpy as np
import pytest
import torch
from torch import nn

from seg_ros.core.config import Config, config_from, ModelConfig
from seg_ros.core.types import segmentation_from_map
from seg_ros.models import agreement, load_model
from seg_ros.models.acceleration import accelerate, AcceleratedNetwork
from seg_ros.models.agreement import check_frames, choose, equal_share
from seg_ros.models.checkerboard import LABEL_SET
from seg_ros.models.contract import Acceleration, ALL_TASKS, ModelError, ModelOptions
from seg_ros.models.pipeline import Pipeline

CPU = torch.device('cpu')


class Small(nn.Module):
    """A convolution that remembers what it computed in."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.GroupNorm(2, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[2] < 2:
            raise ValueError('too small a picture')
        return self.norm(self.conv(x))


@pytest.fixture
def picture() -> torch.Tensor:
    return torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def network_in(mode: Acceleration) -> AcceleratedNetwork:
    torch.manual_seed(0)
    return accelerate(Small(), ModelOptions(acceleration=mode))


@pytest.mark.parametrize(('precision', 'dtype'), [
    ('fp32', torch.float32), ('bf16', torch.bfloat16), ('fp16', torch.float16)])
def test_layers_with_most_of_the_work_hold_their_weights_in_the_precision(precision, dtype):
    network = network_in(Acceleration(precision=precision)).network
    assert network.conv.weight.dtype == dtype
    assert network.norm.weight.dtype == torch.float32  # autocast computes norms in fp32


def test_bf16_answers_nearly_what_fp32_answers(picture):
    with torch.inference_mode():
        exact = network_in(Acceleration())(picture)
        rounded = network_in(Acceleration(precision='bf16'))(picture)
    assert 0 < (rounded.float() - exact).abs().max() < 0.05


def test_compiled_code_answers_as_eager_and_lies_in_the_users_cache(
        picture, tmp_path, monkeypatch):
    monkeypatch.delenv('TORCHINDUCTOR_CACHE_DIR', raising=False)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    compiled = network_in(Acceleration(compile='default'))
    with torch.inference_mode():
        torch.testing.assert_close(compiled(picture), network_in(Acceleration())(picture))
    assert compiled.acceleration.compile == 'default'
    assert any((tmp_path / 'seg_ros' / 'torch').rglob('*'))


def test_a_compiler_that_fails_is_one_warning_and_the_answer_of_eager(
        picture, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError('no compiler\nand a long story')
    monkeypatch.setattr(torch, 'compile', lambda *_, **__: fail)
    network = network_in(Acceleration(compile='max'))
    with torch.inference_mode(), caplog.at_level(logging.WARNING):
        answers = [network(picture) for _ in range(3)]
        expected = network_in(Acceleration())(picture)
    assert all(torch.equal(answer, expected) for answer in answers)
    assert [record.message for record in caplog.records] == [
        'torch.compile failed, running without it: RuntimeError: no compiler']
    assert network.acceleration == Acceleration()


def test_an_error_of_the_network_itself_is_raised_and_leaves_the_compiler(
        picture, monkeypatch, caplog):
    monkeypatch.setattr(torch, 'compile', lambda network, **_: network)
    network = network_in(Acceleration(compile='default'))
    with pytest.raises(ValueError, match='too small a picture'):
        network(picture[:, :, :1])
    assert network.acceleration.compile == 'default'
    assert not caplog.records


def segmentation_of(class_map, instance_map, class_ids=(), scores=()):
    return segmentation_from_map(
        class_map=np.array(class_map, np.uint8), instance_map=np.array(instance_map, np.int32),
        class_ids=class_ids, scores=scores)


def test_numbers_of_instances_may_swap_but_pixels_may_not():
    classes = [[3, 3, 3, 0]]
    left = segmentation_of(classes, [[1, 1, 2, 0]], (3, 3), (0.9, 0.8))
    assert equal_share(left, left) == 1.0
    assert equal_share(left, segmentation_of(classes, [[2, 2, 1, 0]], (3, 3), (0.9, 0.8))) == 1.0
    assert equal_share(left, segmentation_of(classes, [[1, 2, 2, 0]], (3, 3), (0.9, 0.8))) == 0.75
    assert equal_share(left, segmentation_of(classes, [[0, 0, 1, 0]], (3,), (0.9,))) == 0.5
    # a number more than once, and an object where there is none
    assert equal_share(left, segmentation_of(classes, [[1, 2, 3, 0]], (3,) * 3, (1,) * 3)) == 0.75
    assert equal_share(left, segmentation_of(classes, [[1, 1, 2, 3]], (3,) * 3, (1,) * 3)) == 0.75
    assert equal_share(left, segmentation_of([[3, 3, 3, 1]], [[1, 1, 2, 0]], (3, 3), (1, 1))) \
        == 0.75


def test_the_check_frames_are_four_pictures_of_the_asked_size():
    frames = check_frames('64x48')
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 4
    assert all(frame.std() > 20 for frame in frames)


class Rounding:
    """A model that answers some pixels otherwise in any mode but fp32 without a compiler."""

    label_set, tasks, sha256 = LABEL_SET, ALL_TASKS, ''

    def __init__(self, options: ModelOptions, *, wrong_rows: int) -> None:
        self.options = options
        self.network = accelerate(Small(), options)
        self.wrong_rows = 0 if options.acceleration == Acceleration() else wrong_rows

    def predict(self, images):
        class_map = np.zeros(images[0].shape[:2], np.uint8)
        class_map[:self.wrong_rows] = 1
        return [segmentation_of(class_map, np.zeros_like(class_map, np.int32))]


def chosen(*, wrong_rows: int, **config: object):
    def load(mode: Acceleration) -> Rounding:
        return Rounding(ModelOptions(acceleration=mode), wrong_rows=wrong_rows)
    return choose('net', load, device=CPU,
                  config=replace(ModelConfig(frame_size='50x100'), **config))


def test_a_precision_that_agrees_is_taken_and_its_share_told(caplog):
    with caplog.at_level(logging.INFO):
        model, found = chosen(wrong_rows=1, precision='bf16')
    assert model.network.acceleration == found.acceleration == Acceleration(precision='bf16')
    assert found.share == 0.99
    assert 'bf16: 99.00% of the pixels as in fp32' in caplog.text


def test_a_precision_that_was_asked_for_and_disagrees_is_refused():
    with pytest.raises(ModelError, match=r'^net in bf16 answers 97\.00% of the pixels as in fp32, '
                                         r'expected at least model\.min_agreement = 98\.00%$'):
        chosen(wrong_rows=3, precision='bf16')
    assert chosen(wrong_rows=3, precision='bf16', min_agreement=0.9)[1].share == 0.97


def test_auto_falls_back_to_fp32_with_one_warning(monkeypatch, caplog):
    monkeypatch.setattr(agreement, 'preferred_precision', lambda device: 'bf16')
    with caplog.at_level(logging.WARNING):
        model, found = chosen(wrong_rows=3)
    assert model.network.acceleration == found.acceleration == Acceleration()
    assert [record.message for record in caplog.records] == [
        'net in bf16 answers 97.00% of the pixels as in fp32, expected at least '
        'model.min_agreement = 98.00%; falling back to fp32']


def test_a_mode_that_cannot_run_is_one_sentence(monkeypatch):
    monkeypatch.setattr(Rounding, 'predict', lambda self, images: self.network(
        torch.zeros(1, 3, 1, 1)) if self.wrong_rows else [
            segmentation_of([[0]], [[0]])] * len(images))
    monkeypatch.setattr(Small, 'forward', lambda self, x: torch.linalg.inv(x.half()))
    with pytest.raises(ModelError, match='^net cannot run in fp16: .*; set model.precision'):
        chosen(wrong_rows=1, precision='fp16')


@pytest.mark.parametrize('mode', ['bf16', 'fp32'])
def test_no_memory_at_configure_is_one_sentence(monkeypatch, mode):
    def load(wanted: Acceleration) -> Rounding:
        model = Rounding(ModelOptions(acceleration=wanted), wrong_rows=0)
        if wanted.precision == mode == 'bf16':
            raise torch.OutOfMemoryError('no memory\nand a long story')
        return model
    if mode == 'fp32':
        monkeypatch.setattr(Rounding, 'predict', lambda self, images: torch.linalg.inv(
            torch.zeros(2, 3)))
    with pytest.raises(ModelError, match='^net cannot run [io]n .*') as told:
        choose('net', load, device=CPU, config=replace(
            ModelConfig(frame_size='50x100'), precision='bf16'))
    assert '\n' not in str(told.value)


def test_a_model_without_an_accelerated_network_runs_as_it_is_and_says_so(caplog):
    with caplog.at_level(logging.WARNING):
        pipeline = Pipeline(config_from({
            'device': 'cpu', 'panoptic_model': 'checkerboard', 'model.precision': 'bf16'}))
    assert pipeline.modes == {'checkerboard': 'fp32'}
    assert [record.message for record in caplog.records] == [
        'checkerboard has no precision or compiler to choose, it runs as it is']


def test_street_tiny_in_bf16_agrees_on_nearly_every_pixel():
    def load(mode: Acceleration):
        return load_model('street_tiny', ModelOptions(acceleration=mode))
    config = replace(Config().model, precision='bf16', frame_size='160x120')
    found = choose('street_tiny', load, device=CPU, config=config)[1]
    assert 0.98 <= found.share < 1.0
