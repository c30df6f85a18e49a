# SPDX-License-Identifier: Apache-2.0
"""What every family of models owes: found by itself, so a new file is under test at once."""
from __future__ import annotations

from functools import lru_cache
from importlib import import_module

import numpy as np
import pytest

from seg_ros.core.labels import LabelSet
from seg_ros.core.types import Segmentation, tight_boxes, VOID
from seg_ros.models import available_models, families, load_model
from seg_ros.models.contract import ModelError, ModelInfo, ModelOptions, Task

WITHOUT_DOWNLOAD = {'checkerboard', 'faulty', 'street_tiny'}
SIZES = [(24, 40), (33, 17), (1, 1)]
IMAGES = [np.random.default_rng(7).integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]


def family_module(family):
    return import_module(f'seg_ros.models.{family}')


@lru_cache(maxsize=1)
def loaded(spec):
    return load_model(spec, ModelOptions(confidence=True, score_threshold=0.0))


local_specs = [info.spec for info in available_models()
               if info.spec.partition('/')[0] in WITHOUT_DOWNLOAD]


@pytest.mark.parametrize('family', families())
def test_a_family_says_what_it_has_and_how_to_load_it(family):
    module = family_module(family)
    assert callable(module.load)
    assert module.MODELS
    for info in module.MODELS:
        assert isinstance(info, ModelInfo)
        assert info.spec.partition('/')[0] == family
        assert info.tasks
        assert info.tasks <= set(Task)
        assert info.parameters >= 0
        assert info.license
        assert info.summary
        assert '\n' not in info.summary


def test_specs_are_unique():
    specs = [info.spec for info in available_models()]
    assert len(set(specs)) == len(specs)


@pytest.mark.parametrize('family', families())
def test_a_name_that_a_family_does_not_have_is_one_sentence_that_names_it(family):
    with pytest.raises(ModelError, match=f'{family}/no_such_model') as refusal:
        load_model(f'{family}/no_such_model', ModelOptions())
    assert '\n' not in str(refusal.value)


@pytest.mark.parametrize('family', sorted(WITHOUT_DOWNLOAD.intersection(families())))
def test_a_weight_file_that_is_not_there_is_one_sentence_that_names_it(family, tmp_path):
    missing = str(tmp_path / 'missing.safetensors')
    with pytest.raises(ModelError, match=r'missing\.safetensors') as refusal:
        load_model(family, ModelOptions(weights=missing))
    assert '\n' not in str(refusal.value)


@pytest.mark.parametrize('family', sorted(set(families()) - WITHOUT_DOWNLOAD))
def test_weights_that_nobody_may_fetch_are_one_sentence_that_says_what_is_missing(
        family, tmp_path, monkeypatch):
    monkeypatch.setattr('torch.hub._hub_dir', str(tmp_path))
    for info in family_module(family).MODELS:
        with pytest.raises(ModelError, match='not on this machine.* allow_download') as refusal:
            load_model(info.spec, ModelOptions())
        assert info.spec in str(refusal.value)
        assert '\n' not in str(refusal.value)


@pytest.mark.parametrize('spec', ['', 'contract', 'pipeline', 'no_such_family/net', '../core'])
def test_what_is_no_family_is_refused_with_what_can_be_run(spec):
    with pytest.raises(ModelError, match='unknown model .*, expected one of .*checkerboard'):
        load_model(spec, ModelOptions())


@pytest.mark.parametrize('spec', local_specs)
def test_a_model_carries_its_contract(spec):
    info = next(info for info in available_models() if info.spec == spec)
    model = loaded(spec)
    assert isinstance(model.label_set, LabelSet)
    assert model.tasks == info.tasks
    assert model.options.confidence
    assert (len(model.sha256) == 64) == (info.parameters > 0)


@pytest.mark.parametrize('spec', local_specs)
def test_every_answer_obeys_the_contract(spec):
    model = loaded(spec)
    results = model.predict(IMAGES)
    assert [result.size for result in results] == SIZES
    for result in results:
        assert_obeys(result, model.label_set)
        if model.tasks == {Task.INSTANCE}:
            np.testing.assert_array_equal(result.class_map == VOID, result.instance_map == 0)
        if Task.INSTANCE not in model.tasks and Task.PANOPTIC not in model.tasks:
            assert len(result.instances) == 0


def assert_obeys(result: Segmentation, label_set: LabelSet):
    assert result.class_map.dtype == np.uint8
    assert result.instance_map.dtype == np.int32
    known = set(range(len(label_set))) | {VOID}
    assert set(np.unique(result.class_map).tolist()) <= known
    instances = result.instances
    values = set(np.unique(result.instance_map).tolist())
    assert values - {0} == set(range(1, len(instances) + 1))
    np.testing.assert_array_equal(instances.boxes,
                                  tight_boxes(result.instance_map, len(instances)))
    assert ((instances.scores >= 0) & (instances.scores <= 1)).all()
    assert set(instances.class_ids.tolist()) <= label_set.thing_ids
    owned = result.instance_map > 0
    np.testing.assert_array_equal(result.class_map[owned],
                                  instances.class_ids[result.instance_map[owned] - 1])
    assert not instances.track_ids.any()
    assert result.confidence is not None
    assert not result.confidence[result.class_map == VOID].any()


@pytest.mark.parametrize('spec', local_specs)
def test_an_answer_is_the_same_each_time_and_alone_or_in_a_batch(spec):
    model = loaded(spec)
    batch = model.predict(IMAGES[:2])
    for image, together in zip(IMAGES[:2], batch, strict=True):
        alone = model.predict([image])[0]
        np.testing.assert_array_equal(alone.class_map, together.class_map)
        np.testing.assert_array_equal(alone.instance_map, together.instance_map)
        np.testing.assert_array_equal(alone.instances.scores, together.instances.scores)


@pytest.mark.parametrize('spec', local_specs)
def test_images_are_read_as_they_come_strided_or_locked_and_left_alone(spec):
    model = loaded(spec)
    image = np.array(IMAGES[0])
    padded = np.zeros((24, 50, 3), np.uint8)
    padded[:, :40] = image
    padded.setflags(write=False)
    expected = model.predict([image])[0]
    strided = model.predict([padded[:, :40]])[0]
    np.testing.assert_array_equal(image, IMAGES[0])
    np.testing.assert_array_equal(strided.class_map, expected.class_map)
    np.testing.assert_array_equal(strided.instance_map, expected.instance_map)


@pytest.mark.parametrize('spec', local_specs)
def test_confidence_is_not_made_unless_it_is_asked_for(spec):
    model = load_model(spec, ModelOptions())
    assert model.predict([IMAGES[0]])[0].confidence is None
