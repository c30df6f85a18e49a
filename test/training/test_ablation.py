# SPDX-License-Identifier: Apache-2.0
"""The table of changes measures what it says, and keeps what it has measured."""
from __future__ import annotations

import json

import pytest
import torch

from seg_ros.models.contract import ModelOptions
from seg_ros.models.street_tiny import StreetTiny
from training import ablation
from training.calibrate import labelled_cells, mean_iou
from training.evaluate import street_examples


@pytest.fixture
def model() -> StreetTiny:
    """Return the packaged model."""
    return StreetTiny(ModelOptions())


def test_the_mean_with_the_mirror_image_knows_no_left_and_right(model):
    x = torch.rand(1, 3, 48, 64)
    network = ablation.mirrored(model).network
    one, other = network(x), network(x.flip(3))
    torch.testing.assert_close(one.semantic, other.semantic.flip(3))
    torch.testing.assert_close(one.centres, other.centres.flip(3))
    down, right = one.offsets.split(1, dim=1)
    torch.testing.assert_close(down, other.offsets[:, :1].flip(3))
    torch.testing.assert_close(right, -other.offsets[:, 1:].flip(3))


def test_classes_calibrated_on_frames_fit_these_better(model, monkeypatch):
    examples = list(street_examples(range(9_970, 9_972)))
    monkeypatch.setattr(ablation, 'camvid_examples', lambda split: examples)
    none = torch.zeros(len(model.label_set))
    before = mean_iou(labelled_cells(model, examples), none)
    changed = ablation.calibrated_on_val(model)
    assert mean_iou(labelled_cells(changed, examples), none) > before


def test_eight_bits_in_onnx_runtime_say_nearly_what_torch_says(model, monkeypatch):
    monkeypatch.setattr(ablation, 'CALIBRATION', range(9_970, 9_971))
    x = model._prepare(next(street_examples(ablation.CALIBRATION)).image)
    expected = model.network(x)
    small = ablation.quantised(model).network(x)
    equal = small.semantic.argmax(dim=1) == expected.semantic.argmax(dim=1)
    assert 0.9 < equal.float().mean() < 1


@pytest.mark.parametrize('change', [
    ablation.with_votes_as_they_are, ablation.with_peaks_as_centres,
    ablation.without_large_regions])
def test_without_a_step_of_the_grouping_instances_differ_and_classes_do_not(change):
    images = [example.image for example in street_examples(range(9_970, 9_973))]
    before = StreetTiny(ModelOptions()).predict(images)
    after = change(StreetTiny(ModelOptions())).predict(images)
    assert all((one.class_map == other.class_map).all()
               for one, other in zip(before, after, strict=True))
    assert any((one.instance_map != other.instance_map).any()
               for one, other in zip(before, after, strict=True))


@pytest.fixture
def _few_frames(monkeypatch):
    """Measure one way, on a frame of val that is none, and on one street."""
    examples = list(street_examples(range(10_000, 10_001), frames=1))
    monkeypatch.setattr(ablation, 'camvid_examples', lambda split: examples)
    monkeypatch.setattr(ablation, 'STREETS', range(10_000, 10_001))
    monkeypatch.setattr(ablation, 'WAYS', ablation.WAYS[:1])


@pytest.mark.usefixtures('_few_frames')
def test_only_missing_rows_are_measured_and_other_weights_start_anew(tmp_path):
    path, name = tmp_path / 'report.json', ablation.WAYS[0].name
    ablation.main(['--output', str(path)])
    report = json.loads(path.read_text())
    assert 0.3 < report['ways'][name]['val_miou'] <= 1 and report['ways'][name]['cpu_ms'] > 0
    report['ways'][name]['pq'] = -1
    path.write_text(json.dumps(report))
    ablation.main(['--output', str(path)])
    assert json.loads(path.read_text())['ways'][name]['pq'] == -1
    path.write_text(json.dumps({**report, 'weights_sha256': 'of others'}))
    ablation.main(['--output', str(path)])
    assert json.loads(path.read_text())['ways'][name]['pq'] >= 0


@pytest.mark.usefixtures('_few_frames')
def test_every_row_is_trained_once_with_each_seed(tmp_path, monkeypatch):
    done = []

    def trained(changes, *, steps, seed, run):
        done.append((changes, steps, seed))
        return ablation.TRAIN_WEIGHTS

    monkeypatch.setattr(ablation, 'trained', trained)
    monkeypatch.setattr(ablation, 'TRAININGS', {'as it is': (), 'hot': ('--peak-rate', '1')})
    path = tmp_path / 'report.json'
    ablation.main(['--steps', '3', '--output', str(path)])
    assert done == [((), 3, 1), (('--peak-rate', '1'), 3, 1)]
    ablation.main(['--steps', '3', '--seeds', '1', '2', '--output', str(path)])
    assert done[2:] == [((), 3, 2), (('--peak-rate', '1'), 3, 2)]
    rows = json.loads(path.read_text())['trainings']
    assert list(rows) == ['as it is', 'hot']
    assert all(list(row) == ['1', '2'] for row in rows.values())
    assert rows['hot']['2']['val_miou'] > 0.3


def test_every_training_row_is_a_command_that_the_trainer_takes():
    for changes in ablation.TRAININGS.values():
        options = ablation.train._parse([*ablation.RECIPE, *changes, '--steps', '3'])
        plan = ablation.train._plan(options, parts=options.parts)
        assert (plan.steps, plan.parts, plan.peak_rate) == (3, 2, 1e-3)


def test_the_rows_are_of_what_the_recipe_has():
    def options(name):
        return ablation.train._parse([*ablation.RECIPE, *ablation.TRAININGS[name]])
    recipe = options('the recipe as it is')
    assert (recipe.synthetic_turns, recipe.teacher) == (2, ablation.TRAIN_WEIGHTS)
    assert options('as much of the street as of CamVid').synthetic_turns == 1
    assert options('no teacher').teacher is None
