# SPDX-License-Identifier: Apache-2.0
"""street_tiny loads only whole weights, and answers every image at its own size."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import hashlib
from importlib import resources
import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from safetensors.torch import load as parse
from safetensors.torch import save
import torch
from torch.nn import functional

from seg_ros.core.types import Segmentation, segmentation_from_map
from seg_ros.models.agreement import check_frames, equal_share
from seg_ros.models.contract import ModelError, ModelOptions
from seg_ros.models.postprocess import Centres, find_centres, group_pixels
from seg_ros.models.street_tiny import (
    CHANNELS,
    Channels,
    channels_of,
    Contract,
    Features,
    load,
    MODELS,
    OFFSET_UNIT,
    REACH,
    refined_offsets,
    StreetNetwork,
    StreetTiny,
    STRIDE,
    votes_of_offsets,
    without_echoes,
    working_size,
)
from training.export import STREET, write_weights

ROAD, CAR = 3, 8
LARGE = slice(90, 126), slice(0, 50)
"""Rows and columns of cells at 1/2: 72 x 100 pixels."""

PACKAGED = (resources.files('seg_ros.models') / 'weights' / 'street_tiny.safetensors').read_bytes()


def header_of(data: bytes) -> dict:
    """Return the JSON header of a safetensors file."""
    return json.loads(data[8:8 + int.from_bytes(data[:8], 'little')])


METADATA = header_of(PACKAGED)['__metadata__']
TENSORS = parse(PACKAGED)


def image_of(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return a smooth random (height, width, 3) image: blobs of colour."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 40 + 2, width // 40 + 2, 3), np.uint8)
    return np.ascontiguousarray(coarse.repeat(40, 0).repeat(40, 1)[:height, :width])


@pytest.fixture(scope='module')
def model() -> StreetTiny:
    """Return the packaged model, with a threshold that lets some instances through."""
    torch.set_num_threads(2)
    return load('', ModelOptions(score_threshold=0.02, confidence=True))


def sentence_for(tmp_path: Path, data: bytes) -> str:
    """Return what the loader says of a file with these bytes."""
    path = tmp_path / 'weights.safetensors'
    path.write_bytes(data)
    with pytest.raises(ModelError) as caught:
        load('', ModelOptions(weights=str(path)))
    assert str(path) in str(caught.value)
    return one_sentence(caught)


def one_sentence(caught: pytest.ExceptionInfo[ModelError]) -> str:
    """Check that a message is one line with a remedy."""
    text = str(caught.value)
    assert '\n' not in text and len(text) < 500
    assert text.endswith('reinstall the package or give another file')
    return text


def test_the_packaged_weights_are_small_and_say_what_they_are(model):
    assert len(PACKAGED) <= 5_000_000
    assert model.sha256 == hashlib.sha256(PACKAGED).hexdigest()
    assert model.label_set.names == (
        'sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign_symbol', 'fence', 'car',
        'pedestrian', 'bicyclist')
    assert model.label_set.things == {'car', 'pedestrian', 'bicyclist'}
    assert model.contract.input_size == (720, 544)


def test_the_listed_size_is_the_real_one_and_below_a_million():
    network = StreetNetwork(classes=11, things=3)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert [info.parameters for info in MODELS] == [count]
    assert count <= 1_000_000


def test_a_name_behind_the_family_is_refused():
    with pytest.raises(ModelError, match='unknown model street_tiny/large, expected street_tiny'):
        load('large', ModelOptions())


@pytest.mark.parametrize(('data', 'reason'), [
    (b'', 'it is empty'),
    (PACKAGED[:5], 'no safetensors file'),
    (PACKAGED[:1000], 'no safetensors file'),
    (PACKAGED[:-1], 'no safetensors file'),
    (b'<!DOCTYPE html><html><body>404</body></html>', 'it is a web page'),
    (bytes(1000), 'no safetensors file'),
    (PACKAGED[:-5000] + bytes([PACKAGED[-5000] ^ 1]) + PACKAGED[-4999:], 'checksum'),
    (PACKAGED.replace(b'pedestrian', b'pedestrien'), 'checksum'),
    (save(TENSORS), "metadata lacks 'format'"),
    (save(TENSORS, {**METADATA, 'format': '7'}), 'its format is 7, expected 4'),
    (save(TENSORS, {**METADATA, 'class_names': '["car", "car"]'}), 'more than once'),
    (save(TENSORS, {**METADATA, 'class_names': '3'}), 'has no len'),
    (save(TENSORS, {**METADATA, 'things': '["boat"]'}), 'not among the class names'),
    (save(TENSORS, {**METADATA, 'mean': '[1, 2]'}), 'no list of numbers'),
    (save(TENSORS, {**METADATA, 'std': '[1, 0, 1]'}), 'not positive'),
    (save(TENSORS, {**METADATA, 'std': '[1, NaN, 1]'}), 'no list of numbers'),
    (save(TENSORS, {**METADATA, 'std': '{'}), 'cannot load '),
    (save(TENSORS, {n: v for n, v in METADATA.items() if n != 'mean'}), "lacks 'mean'"),
    (save(TENSORS, {n: v for n, v in METADATA.items() if n != 'content_sha256'}),
     "lacks 'content_sha256'"),
])
def test_damaged_weights_are_one_sentence(tmp_path, data, reason):
    assert reason in sentence_for(tmp_path, data)


def test_weights_of_another_network_are_one_sentence(tmp_path):
    contract = Contract.from_metadata(METADATA)
    other = {**TENSORS, 'skip_8.conv.weight': torch.zeros(3)}
    assert 'skip_8.conv.weight' in sentence_for(tmp_path, save(other, contract.metadata(other)))
    lacking = {name: t for name, t in TENSORS.items() if name != 'skip_8.conv.weight'}
    assert 'skip_8.conv.weight' in sentence_for(
        tmp_path, save(lacking, contract.metadata(lacking)))


@pytest.mark.parametrize('channels', [CHANNELS, CHANNELS.times(4), Channels(16, 32, 48, 80, 32)])
def test_a_file_says_how_wide_its_network_is(channels):
    with torch.device('meta'):
        network = StreetNetwork(classes=11, things=3, channels=channels)
    assert channels_of(network.state_dict()) == channels


@pytest.mark.parametrize('kernel', [(3_200_000, 3, 3, 3), (0, 3, 3, 3), ()])
def test_a_damaged_file_does_not_decide_how_wide_a_network_is(kernel):
    with torch.device('meta'):
        damaged = {**TENSORS, 'to_2.conv.weight': torch.empty(kernel)}
    assert channels_of(damaged) == channels_of({}) == CHANNELS


def test_a_wide_network_is_loaded_as_such(tmp_path):
    wide = StreetNetwork(classes=11, things=3, channels=Channels().times(2))
    write_weights(tmp_path / 'wide.safetensors', wide.state_dict(), STREET)
    model = load('', ModelOptions(weights=str(tmp_path / 'wide.safetensors')))
    assert model.network.network.to_2.conv.out_channels == 32
    assert model.predict([image_of(64, 80)])[0].class_map.shape == (64, 80)


def test_missing_weights_and_a_folder_are_one_sentence(tmp_path):
    for path, reason in ((tmp_path / 'none', 'No such file'), (tmp_path, 'it is a folder')):
        with pytest.raises(ModelError) as caught:
            load('', ModelOptions(weights=str(path)))
        assert reason in one_sentence(caught)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, len(PACKAGED) - 1), st.integers(0, 7))
def test_no_flipped_bit_goes_unnoticed(tmp_path_factory, place, bit):
    data = bytearray(PACKAGED)
    data[place] ^= 1 << bit
    sentence_for(tmp_path_factory.mktemp('flipped'), bytes(data))


def test_a_copy_of_the_weights_is_the_same_model(tmp_path, model):
    path = tmp_path / 'copy.safetensors'
    path.write_bytes(PACKAGED)
    copy = load('', ModelOptions(weights=str(path)))
    assert copy.sha256 == model.sha256


def plainly_refined(offsets: torch.Tensor) -> torch.Tensor:
    """Return offsets led on half of the way by the cell that each points at, cell by cell."""
    before = offsets.numpy()
    refined = before.copy()
    _, height, width = before.shape
    for row, column in np.ndindex(height, width):
        down, right = before[:, row, column] * (OFFSET_UNIT / STRIDE)
        target = (min(max(round(row + down), 0), height - 1),
                  min(max(round(column + right), 0), width - 1))
        refined[:, row, column] += 0.5 * before[:, *target]
    return torch.from_numpy(refined)


def plainly_without_echoes(centres: Centres, offsets: torch.Tensor) -> Centres:
    """Return the centres that do not point at a better one of their class, one by one."""
    kept = []
    for own in range(len(centres.scores)):
        row, column = centres.positions[own]
        vote = centres.positions[own] + OFFSET_UNIT * offsets[:, int(row // STRIDE),
                                                              int(column // STRIDE)]
        near = torch.linalg.norm(vote - centres.positions[own])
        if all(torch.linalg.norm(vote - centres.positions[other]) >= 2 * near
               for other in range(own) if centres.things[other] == centres.things[own]):
            kept.append(own)
    return Centres(*(values[kept] for values in vars(centres).values()))


def plain_answer(image: np.ndarray, model: StreetTiny) -> tuple[np.ndarray, np.ndarray]:
    """Return class map and instance map by the network as trained, whole maps and no shortcut."""
    network = StreetNetwork(classes=11, things=3).eval()
    network.load_state_dict(TENSORS)
    height, width = image.shape[:2]
    with torch.inference_mode():
        features = network(model._prepare(image).contiguous())
        logits = functional.interpolate(features.semantic, size=(height, width), mode='bilinear')
        scores = torch.sigmoid(features.centres[0] * model.contract.score_scale
                               + model.contract.score_bias)
        centres = plainly_without_echoes(find_centres(
            scores, threshold=model.options.score_threshold, stride=STRIDE, window=3),
            features.offsets[0])
        owners = group_pixels(votes_of_offsets(plainly_refined(features.offsets[0])), centres,
                              things=3, reach=REACH).numpy()
    class_map = logits[0].argmax(dim=0).numpy()
    rows = np.arange(height) * owners.shape[1] // height
    columns = np.arange(width) * owners.shape[2] // width
    instance_map = np.zeros((height, width), np.int32)
    for thing, name in enumerate(model.contract.things):
        own = owners[thing][np.ix_(rows, columns)]
        instance_map = np.where(class_map == model.label_set.id_of(name), own, instance_map)
    return class_map, instance_map


@pytest.mark.parametrize('number', range(4))
def test_the_fast_path_answers_as_the_plain_fp32_path(model, number):
    image = check_frames('480x360')[number]
    result = model.predict([image])[0]
    class_map, instance_map = plain_answer(image, model)
    # folding the normalisation in rounds otherwise: a pixel between two classes may tip over
    assert (result.class_map == class_map).mean() > 0.9999
    plain = segmentation_from_map(
        class_map=class_map.astype(np.uint8), instance_map=instance_map,
        class_ids=np.zeros(instance_map.max(), np.uint8), scores=np.zeros(instance_map.max()))
    assert len(plain.instances) > 5
    assert equal_share(plain, result) > 0.999


@pytest.mark.parametrize('size', [(360, 480), (1, 1), (1, 90), (37, 53), (361, 479), (720, 540)])
def test_every_size_is_answered_at_its_own_size(model, size):
    result = model.predict([image_of(*size)])[0]
    assert result.size == size
    assert result.class_map.max() < len(model.label_set)
    assert result.confidence.min() > 0


def test_the_trained_size_is_not_resized_and_others_keep_their_pixel_count():
    trained = (480, 360)
    assert working_size(height=360, width=480, trained=trained) == (360, 480)
    assert working_size(height=480, width=640, trained=trained) == (360, 480)
    assert working_size(height=720, width=1280, trained=trained) == (312, 552)
    for height, width in ((1, 1), (1, 9000), (9000, 1), (1081, 1921)):
        rows, columns = working_size(height=height, width=width, trained=trained)
        assert rows % 8 == columns % 8 == 0 and 0.9 < rows * columns / 172_800 < 1.1


def test_maps_and_rows_agree(model):
    for seed in range(3):
        result = model.predict([image_of(360, 480, seed)])[0]
        values = np.unique(result.instance_map)
        assert set(values) - {0} == set(range(1, len(result.instances) + 1))
        for value, class_id in enumerate(result.instances.class_ids, start=1):
            assert (result.class_map[result.instance_map == value] == class_id).all()


def test_a_batch_of_different_sizes_gives_the_same_as_one_by_one(model):
    images = [image_of(360, 480, 1), image_of(50, 70, 2), image_of(360, 480, 3)]
    together = model.predict(images)
    for image, result in zip(images[::-1], together[::-1], strict=True):
        alone = model.predict([image])[0]
        for name in ('class_map', 'instance_map', 'confidence'):
            np.testing.assert_array_equal(getattr(alone, name), getattr(result, name))
        np.testing.assert_array_equal(alone.instances.scores, result.instances.scores)


def with_threads(count: int, call: Callable[[], Any]) -> Any:
    """Return what a call returns where torch has so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        return call()
    finally:
        torch.set_num_threads(before)


def test_an_answer_does_not_depend_on_the_number_of_threads(model):
    image = check_frames('480x360')[2]
    alone, shared = (with_threads(count, lambda: model.predict([image])[0]) for count in (1, 2))
    np.testing.assert_array_equal(alone.instance_map, shared.instance_map)
    np.testing.assert_array_equal(alone.confidence, shared.confidence)
    np.testing.assert_array_equal(alone.instances.scores, shared.instances.scores)


@pytest.mark.parametrize('rows', [2, 240, 544])
def test_the_score_of_a_region_does_not_depend_on_the_number_of_threads(model, rows):
    logits = torch.randn((1, 11, 272, 360), generator=torch.Generator().manual_seed(rows))
    features = Features(logits, torch.empty(0), torch.empty(0))
    region = np.zeros((544, 719), bool)
    region[:rows, 1:] = True
    scores = [with_threads(count, lambda: model._share_of_class(features, CAR, region))
              for count in (1, 2, 3)]
    inside = logits.softmax(dim=1)[0, CAR, :rows // 2, 1:].double()
    assert scores == [pytest.approx(float(inside.mean()), abs=1e-5)] * 3
    assert len(set(scores)) == 1


def test_read_only_and_strided_images_are_read_as_they_look(model):
    image = image_of(64, 96, 4)
    expected = model.predict([image])[0].class_map
    image.setflags(write=False)
    np.testing.assert_array_equal(model.predict([image])[0].class_map, expected)
    backwards = np.ascontiguousarray(image[::-1])[::-1]
    np.testing.assert_array_equal(model.predict([backwards])[0].class_map, expected)


def test_an_image_without_pixels_is_refused(model):
    with pytest.raises(ModelError, match='480x0'):
        model.predict([np.zeros((0, 480, 3), np.uint8)])


def test_no_image_is_no_result(model):
    assert model.predict([]) == []


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_values_that_are_not_finite_are_an_error_and_never_a_label(tmp_path, value):
    broken = {**TENSORS, 'semantic.1.bias': torch.full_like(TENSORS['semantic.1.bias'], value)}
    path = tmp_path / 'broken.safetensors'
    path.write_bytes(save(broken, Contract.from_metadata(METADATA).metadata(broken)))
    with pytest.raises(ModelError, match='not finite'):
        load('', ModelOptions(weights=str(path))).predict([image_of(32, 32)])


def test_options_thin_out_the_instances_and_keep_the_classes(model):
    image = image_of(360, 480, 1)
    everything = model.predict([image])[0]
    assert everything.confidence is not None
    low = model.options
    try:
        model.options = replace(low, min_area=400, confidence=False)
        large = model.predict([image])[0]
        model.options = replace(low, score_threshold=1.0)
        nothing = model.predict([image])[0]
    finally:
        model.options = low
    assert large.confidence is None
    areas = np.bincount(large.instance_map.ravel())[1:]
    assert (areas >= 400).all()
    assert len(nothing.instances) == 0
    np.testing.assert_array_equal(large.class_map, everything.class_map)
    np.testing.assert_array_equal(nothing.class_map, everything.class_map)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 9))
def test_offsets_are_led_on_by_the_cell_that_they_point_at(height, width, seed):
    offsets = torch.from_numpy(np.random.default_rng(seed).normal(
        0, 0.6, (2, height, width)).astype(np.float32))
    torch.testing.assert_close(refined_offsets(offsets), plainly_refined(offsets))


def test_exact_offsets_stay_as_they_are():
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing='ij')
    offsets = torch.stack((3 - rows, 5 - columns)) * (STRIDE / OFFSET_UNIT)
    torch.testing.assert_close(refined_offsets(offsets), offsets)


def test_of_two_close_peaks_the_one_that_points_at_the_other_is_no_centre():
    centres = Centres(positions=torch.tensor([[21.5, 21.5], [21.5, 33.5], [21.5, 33.5]]),
                      things=torch.tensor([0, 0, 1]), scores=torch.tensor([0.9, 0.8, 0.7]))
    two_objects = torch.zeros(2, 10, 10)
    assert without_echoes(centres, two_objects).scores.tolist() == centres.scores.tolist()
    one_object = two_objects.clone()
    one_object[1, 5, 8] = -9 / OFFSET_UNIT  # the second's cell says: 9 of 12 pixels to the left
    assert without_echoes(centres, one_object).scores.tolist() == pytest.approx([0.9, 0.7])
    nobody = Centres(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    assert len(without_echoes(nobody, one_object).scores) == 0


def seen(rows: slice, columns: slice, *, centre_logit: float, **options: float) -> Segmentation:
    """Return what the model makes of a car on cells at 1/2, all of which vote for its corner."""
    model = load('', ModelOptions(**options))
    model.contract = replace(model.contract, score_scale=1.0, score_bias=0.0)
    semantic, centres = torch.zeros(1, 11, 216, 288), torch.full((1, 3, 108, 144), -20.0)
    semantic[:, ROAD], semantic[:, CAR, rows, columns] = 5.0, 8.0
    row, column = rows.start // 2, columns.start // 2
    centres[0, 0, row, column] = centre_logit
    offsets = torch.stack(torch.meshgrid(
        row - torch.arange(108), column - torch.arange(144), indexing='ij'))
    model.network = lambda _: Features(
        semantic, centres, offsets[None] * (STRIDE / OFFSET_UNIT))
    return model.predict([image_of(432, 576)])[0]


def test_a_large_object_without_a_centre_is_still_an_object():
    result = seen(*LARGE, centre_logit=-20.0)
    np.testing.assert_array_equal(result.instance_map, result.class_map == CAR)
    assert result.instance_map.sum() == pytest.approx(72 * 100, rel=0.02)
    # e^8 / (e^8 + e^5 + 9)
    assert result.instances.scores == pytest.approx([0.9498], abs=1e-4)


def test_what_has_neither_centre_nor_size_is_no_instance():
    result = seen(slice(90, 100), slice(0, 40), centre_logit=-20.0)
    assert (result.class_map == CAR).sum() > 1000
    assert len(result.instances) == 0 and not result.instance_map.any()


def test_objects_without_a_centre_obey_score_and_area():
    assert len(seen(*LARGE, centre_logit=-20.0, score_threshold=0.96).instances) == 0
    assert len(seen(*LARGE, centre_logit=-20.0, min_area=7500).instances) == 0


def test_what_an_unsure_centre_owns_is_not_given_back_as_a_sure_object():
    found = seen(*LARGE, centre_logit=1.0)
    assert found.instances.scores == pytest.approx([0.7311], abs=1e-4)
    assert len(seen(*LARGE, centre_logit=1.0, score_threshold=0.8).instances) == 0


def test_fused_and_unfused_networks_agree():
    torch.manual_seed(0)
    network = StreetNetwork(classes=4, things=2).eval()
    x = torch.randn(1, 3, 40, 72)
    with torch.inference_mode():
        before = network(x)
        network.fuse()
        after = network(x)
    for old, new in zip(before, after, strict=True):
        assert torch.allclose(old, new, atol=1e-4)


def test_the_digest_covers_names_values_and_metadata():
    contract = Contract.from_metadata(METADATA)
    digest = contract.metadata({'a': torch.zeros(2)})['content_sha256']
    assert contract.metadata({'b': torch.zeros(2)})['content_sha256'] != digest
    assert contract.metadata({'a': torch.ones(2)})['content_sha256'] != digest
    other = replace(contract, score_bias=contract.score_bias + 1)
    assert other.metadata({'a': torch.zeros(2)})['content_sha256'] != digest
