# SPDX-License-Identifier: Apache-2.0
"""The size that networks see is the user's choice where their shapes allow it."""
from __future__ import annotations

from functools import lru_cache
import json

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
import torch

from benchmarks import tiny_hub, tiny_torchvision
from benchmarks.own_networks import write_model
from seg_ros.core.config import config_from
from seg_ros.models import load_model
from seg_ros.models.contract import fit, ModelError, ModelOptions
from seg_ros.models.pipeline import Pipeline
from seg_ros.tools.cli import main

WIDE, TALL = (90, 160), (160, 90)
INTO = (96, 54)  # width, height


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    """Return the folder of a kind of the hub, made once."""
    root = tmp_path_factory.mktemp('hub')
    return lru_cache(lambda kind: tiny_hub.save(kind, root / kind))


def picture(size):
    return tiny_torchvision.picture(*size)


def seen_by(model, size):
    """Return the (rows, columns) that a model's network gets of an image, and its answer."""
    shapes = []
    network = model.network.network
    hook = network.register_forward_pre_hook(
        lambda _, inputs, named: shapes.append([*inputs, *named.values()][0].shape[2:]),
        with_kwargs=True)
    answer, = model.predict([picture(size)])
    hook.remove()
    return tuple(shapes[0]), answer


@pytest.mark.parametrize(('size', 'into', 'expected'), [
    ((480, 640), (640, 360), (360, 480)), ((640, 480), (640, 360), (480, 360)),
    ((720, 1280), (640, 360), (360, 640)), ((720, 1280), (360, 640), (360, 640)),
    ((90, 160), (640, 360), (360, 640)), ((1, 1), (640, 360), (360, 360)),
    ((33, 4000), (640, 360), (5, 640)), ((1, 9000), (640, 360), (1, 640))])
def test_a_frame_keeps_its_proportions_and_turns_the_size(size, into, expected):
    assert fit(height=size[0], width=size[1], into=into) == expected


@given(height=st.integers(1, 5000), width=st.integers(1, 5000), into=st.tuples(
    st.integers(1, 2000), st.integers(1, 2000)))
def test_nothing_leads_out_of_the_size_and_one_side_fills_it(height, width, into):
    rows, columns = fit(height=height, width=width, into=into)
    assert 1 <= max(rows, columns) <= max(into) and 1 <= min(rows, columns) <= min(into)
    assert max(rows, columns) == max(into) or min(rows, columns) == min(into)


@pytest.mark.parametrize('kind', sorted(set(tiny_hub.KINDS) - {'rf_detr'}))
def test_a_model_of_the_hub_sees_the_size_and_answers_at_the_frames(kind, saved):
    model = load_model(f'huggingface/{saved(kind)}', ModelOptions(input_size=INTO))
    shown, seen = model.preparation.size_of(*WIDE), seen_by(model, WIDE)
    step = max(model.preparation.divisor, model.preparation.patch)
    assert seen[0] == tuple(-(-side // step) * step for side in (54, 96))
    assert seen[1].size == WIDE and shown <= seen[0]
    assert seen_by(model, TALL)[0] == seen[0][::-1]


@pytest.mark.parametrize('kind', ['mask2former', 'segformer'])
def test_the_pixels_are_those_of_the_librarys_processor_for_that_size(kind, saved):
    import transformers
    model = load_model(f'huggingface/{saved(kind)}', ModelOptions(input_size=INTO))
    image = picture(WIDE)
    ours = model.preparation.apply(image, torch.device('cpu')).pixels
    size = {'shortest_edge': 54, 'longest_edge': 96} if kind == 'mask2former' \
        else {'height': 54, 'width': 96}
    theirs = transformers.AutoImageProcessor.from_pretrained(saved(kind), size=size)(
        images=image, return_tensors='pt')['pixel_values']
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_a_model_of_squares_takes_squares_of_whole_windows_only(saved):
    spec = f'huggingface/{saved("rf_detr")}'
    model = load_model(spec, ModelOptions(input_size=(48, 48)))
    assert seen_by(model, WIDE)[0] == (48, 48)
    for wrong, near in (((96, 54), '48x48'), ((50, 50), '48x48'), ((2, 2), '16x16')):
        with pytest.raises(ModelError, match='sees squares: expected sides that are multiples of '
                                             f'16, such as {near}'):
            load_model(spec, ModelOptions(input_size=wrong))


def test_positions_of_windows_are_spread_over_a_frame_that_is_seen_whole(saved):
    folder = f'huggingface/{saved("eomt_windows")}'
    table = load_model(folder, ModelOptions()).network.network._positions((8, 8))
    whole = load_model(folder, ModelOptions(input_size=(64, 32))).network.network
    assert torch.equal(whole._positions((8, 8)), table)
    assert not torch.allclose(whole._positions((4, 8)), table[:, :32])
    padded = load_model(f'huggingface/{saved("eomt")}', ModelOptions(input_size=(64, 32)))
    assert torch.equal(padded.network.network._positions((4, 8)),
                       padded.network.network._positions((8, 8))[:, :32])


def test_an_image_that_its_folder_says_not_to_resize_is_not(saved, tmp_path):
    folder = tiny_hub.save('segformer', tmp_path / 'a')
    path = folder / 'preprocessor_config.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'do_resize': False}))
    assert seen_by(load_model(f'huggingface/{folder}', ModelOptions()), WIDE)[0] == WIDE
    model = load_model(f'huggingface/{folder}', ModelOptions(input_size=INTO))
    assert seen_by(model, WIDE)[0] == (54, 96)


@pytest.mark.parametrize('name', ['lraspp_mobilenet_v3_large', 'maskrcnn_resnet50_fpn'])
def test_torchvisions_models_see_the_size_and_answer_at_the_frames(name, tmp_path):
    weights = tiny_torchvision.save(name, tmp_path / 'weights.pth')
    model = load_model(f'torchvision/{name}', ModelOptions(
        weights=str(weights), input_size=INTO, score_threshold=0.9))
    seen, answer = seen_by(model, WIDE)
    assert answer.size == WIDE
    # Mask R-CNN's transform pads to multiples of 32
    assert seen == ((54, 96) if name.startswith('lraspp') else (64, 96))


def test_street_tiny_sees_the_size():
    model = load_model('street_tiny', ModelOptions(input_size=INTO))
    seen, answer = seen_by(model, WIDE)
    assert seen == (54, 96) and answer.size == WIDE


def test_a_file_for_any_size_sees_the_size_and_one_for_a_size_refuses_others(tmp_path):
    path = write_model('semantic_logits', '.onnx', tmp_path)
    description = (tmp_path / 'road.yaml').read_text()
    assert 'size: any\n  multiple: 32' in description
    model = load_model(str(path), ModelOptions(input_size=INTO))
    shapes, program = [], model._program
    model._program = lambda pixels: (shapes.append(pixels.shape[2:]), program(pixels))[1]
    answer, = model.predict([picture(WIDE)])
    assert answer.size == WIDE
    assert tuple(shapes[0]) == (64, 96)  # multiples of 32
    (tmp_path / 'road.yaml').write_text(
        description.replace('size: any\n  multiple: 32', 'size: 128x96'))
    assert load_model(str(path), ModelOptions(input_size=(128, 96))).predict([picture(WIDE)])
    with pytest.raises(ModelError, match='model.input_size is 96x54, but its YAML says that it '
                                         'was exported for 128x96; leave'):
        load_model(str(path), ModelOptions(input_size=INTO))


@pytest.mark.parametrize('spec', ['checkerboard', 'checkerboard/fixed', 'faulty'])
def test_a_model_without_a_network_refuses_an_input_size(spec):
    with pytest.raises(ModelError, match='has no input size, but .* is given'):
        load_model(spec, ModelOptions(input_size=INTO))


@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_a_network_that_cannot_see_so_little_is_one_sentence_at_configure(saved, precision):
    config = config_from({
        'device': 'cpu', 'semantic_model': f'huggingface/{saved("upernet")}',
        'model.input_size': '16x16', 'model.precision': precision})
    with pytest.raises(ModelError, match='model.input_size is 16x16, another one may do'):
        # what does not run in fp32 alone is compared with it first, and fails there
        Pipeline(config).warm_up()


@pytest.mark.parametrize(('value', 'said'), [
    ('640', "model.input_size is '640', expected WIDTHxHEIGHT"), ('0x0', 'expected WIDTHxHEIGHT'),
    ('99999x99999', "model.input_size is '99999x99999' = 9999800001 pixels, expected at most")])
def test_a_wrong_size_is_one_sentence(value, said):
    with pytest.raises(ValueError, match=said):
        config_from({'model.input_size': value})


def test_the_benchmark_takes_the_size_and_says_so(tmp_path, capsys):
    path = tmp_path / 'figures.json'
    assert main(['benchmark', '--size', '64x48', '--frames', '2', '--device', 'cpu', '--json',
                 str(path), '-p', 'model.input_size=32x24']) == 0
    assert json.loads(path.read_text())['input_size'] == '32x24'
    assert 'networks see frames resized to fit into 32x24' in capsys.readouterr().out


def test_a_smaller_input_gives_other_answers_at_the_frames_size():
    image = picture((96, 128))
    whole, = load_model('street_tiny', ModelOptions()).predict([image])
    small, = load_model('street_tiny', ModelOptions(input_size=(64, 48))).predict([image])
    assert whole.size == small.size and np.any(whole.class_map != small.class_map)
