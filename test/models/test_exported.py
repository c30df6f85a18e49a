# SPDX-License-Identifier: Apache-2.0
"""What the user brings: three formats and four contracts, each as the plain network answers."""
from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
import io
import os
import pickle
import re
import shutil
import subprocess
import zipfile

import numpy as np
import onnx
import pytest
import torch
from torch.nn import functional
import yaml

from benchmarks import own_networks
from benchmarks.own_networks import block, FORMATS, network_for, NETWORKS, pin, write_model
from seg_ros.core.types import segmentation_from_map, VOID
from seg_ros.models import FILE_SUFFIXES, is_path, load_model
from seg_ros.models.agreement import check_frames, equal_share
from seg_ros.models.contract import ALL_TASKS, ModelError, ModelOptions, NotFiniteError, Task
from seg_ros.models.own.answers import reader_of
from seg_ros.models.own.description import parse_description
from seg_ros.models.own.preparation import prepare
from seg_ros.models.own.programs import FORMATS as FORMAT_READERS
from seg_ros.models.own.programs import providers_for
from seg_ros.models.postprocess import paint_crops, settle_overlaps
from seg_ros.models.postprocess_labels import label_pixels
from seg_ros.models.postprocess_queries import Queries, QueryContract, segment_queries
from seg_ros.tools.models import config_of

IMAGE = check_frames('200x160')[0]
ALL = ModelOptions(score_threshold=0.3, query_threshold=0.3, query_kept_share=0.1,
                   confidence=True, overlap_threshold=0.9)


@pytest.fixture(scope='module')
def model_files(tmp_path_factory):
    """Return (contract, suffix) -> the file of a model, each written once."""
    found = {}

    def get(contract, suffix):
        if (contract, suffix) not in found:
            found[contract, suffix] = write_model(
                contract, suffix, tmp_path_factory.mktemp(contract))
        return found[contract, suffix]
    return get


def trusted(path, options=ALL):
    """Return options that pin a file and allow it to run."""
    return ModelOptions(**{**options.__dict__, 'sha256': pin(path),
                           'allow_executable_models': True})


def expected(contract):
    """Return the plain network's answer to IMAGE, prepared and read step by step."""
    network = network_for(contract)
    return {'semantic_logits': expect_semantic, 'query_masks': expect_queries,
            'boxes_masks': expect_boxes, 'center_offset': expect_centres}[contract](network)


def normalised(pixels):
    """Return (1, 3, h, w) bytes as ImageNet's networks want them."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (
        [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return (pixels * (1 / 255) - mean) / std


def resized(size):
    """Return IMAGE as (1, 3, h, w) at a size."""
    pixels = torch.from_numpy(np.array(IMAGE)).permute(2, 0, 1)[None].float()
    return functional.interpolate(pixels, size=size, mode='bilinear', align_corners=False,
                                  antialias=True)


def expect_semantic(network):
    logits = network(normalised(resized((160, 224))))['logits'][0]
    return label_pixels(logits, size=(160, 200), class_table=torch.arange(4).byte(), options=ALL)


def expect_queries(network):
    pixels = functional.pad(resized((256, 320)), (0, 0, 0, 64))
    found = network(normalised(pixels))
    label_set = parse_description(block('query_masks').encode()).classes.label_set
    # 256 of 320 rows show the image: 64 of 80 cells
    return segment_queries(
        Queries(found['class_logits'][0], found['mask_logits'][0, :, :64]), size=(160, 200),
        task=Task.PANOPTIC, contract=QueryContract(label_set), options=ALL)


def expect_boxes(network):
    mean = torch.tensor([103.53, 116.28, 123.675])[:, None, None]
    found = network(resized((256, 320)).flip(1) - mean)
    kept = found['labels'] > 0
    return paint_crops(
        crops=found['masks'][kept, 0], boxes=found['boxes'][kept] * 0.625,
        class_ids=(found['labels'][kept] - 1).byte(), scores=found['scores'][kept],
        size=(160, 200), options=ALL)


def expect_centres(network, *, shared=False):
    found = network(functional.pad(resized((160, 200)) / 255, (0, 8)))
    seen = label_pixels(found['semantic'][0][:, :, :50], size=(160, 200), options=ALL,
                        class_table=torch.arange(4).byte())
    return grouped_by_loops(seen, found['centres'][0].sigmoid().numpy(),
                            16 * found['offsets'][0].numpy(), shared=shared)


def grouped_by_loops(seen, scores, offsets, *, shared):
    """Give each thing pixel to the nearest centre that its cell may have, one by one."""
    centres = []
    for layer, row, column in np.ndindex(scores.shape):
        near = scores[layer, max(row - 2, 0):row + 3, max(column - 2, 0):column + 3]
        if scores[layer, row, column] == near.max() >= ALL.score_threshold:
            centres.append((scores[layer, row, column], layer, 4 * row + 1.5, 4 * column + 1.5))
    centres = sorted(centres, key=lambda centre: -centre[0])[:100]
    instance_map, places = np.zeros(seen.size, np.int32), np.array([c[2:] for c in centres])
    layers = np.array([centre[1] for centre in centres])
    for row, column in np.argwhere(seen.class_map >= 2):
        cell = row // 4, column // 4
        vote = np.array(cell) * 4 + 1.5 + offsets[:, cell[0], cell[1]]
        distances = np.hypot(*(places - vote).T)
        distances[(layers != seen.class_map[row, column] - 2) & (not shared)] = np.inf
        if distances.min(initial=np.inf) <= 48:
            instance_map[row, column] = 1 + distances.argmin()
    class_map, class_ids = seen.class_map.copy(), [2 + centre[1] for centre in centres]
    for value in np.unique(instance_map[instance_map > 0]) if shared else ():
        class_ids[value - 1] = np.bincount(class_map[instance_map == value]).argmax()
        class_map[instance_map == value] = class_ids[value - 1]
    return segmentation_from_map(
        class_map=class_map, instance_map=instance_map, class_ids=class_ids,
        scores=[centre[0] for centre in centres], confidence=seen.confidence)


@pytest.mark.parametrize('suffix', FORMATS)
@pytest.mark.parametrize('contract', NETWORKS)
def test_a_file_answers_as_its_network_does(model_files, contract, suffix):
    path = model_files(contract, suffix)
    model = load_model(str(path), trusted(path))
    answer, wanted = model.predict([IMAGE])[0], expected(contract)
    assert model.sha256 == pin(path)
    assert len(np.unique(wanted.class_map)) > 2
    assert (len(wanted.instances) > 2) == (contract != 'semantic_logits')
    # another runtime adds in another order, and a rounding may decide a tie
    assert equal_share(wanted, answer) >= 0.999
    assert len(answer.instances) == len(wanted.instances)
    np.testing.assert_allclose(answer.instances.scores, wanted.instances.scores, atol=1e-4)
    difference = answer.confidence.astype(int) - wanted.confidence
    assert np.mean(np.abs(difference) > 1) < 0.001


def test_a_map_of_centres_for_all_things_gives_each_instance_its_most_frequent_class(tmp_path):
    torch.manual_seed(1)
    network = own_networks.CentreNetwork(maps=1).eval().requires_grad_(False)
    (tmp_path / 'road.yaml').write_text(block('center_offset'))
    path = own_networks.export(network, '.ts', tmp_path, names=(), size=(96, 128), fixed=False)
    answer = load_model(str(path), trusted(path)).predict([IMAGE])[0]
    wanted = expect_centres(network, shared=True)
    assert len(wanted.instances) > 2
    assert equal_share(wanted, answer) == 1
    np.testing.assert_array_equal(answer.instances.class_ids, wanted.instances.class_ids)


@pytest.mark.parametrize(('contract', 'tasks'), [
    ('semantic_logits', {Task.SEMANTIC}), ('query_masks', ALL_TASKS),
    ('boxes_masks', {Task.INSTANCE}), ('center_offset', ALL_TASKS)])
def test_a_contract_serves_its_tasks(contract, tasks):
    assert parse_description(block(contract).encode()).tasks == tasks


def described(contract, **options):
    """Return the document's description of a contract with other options."""
    whole = parse_description(block(contract).encode())
    return replace(whole, contract=replace(whole.contract, **options))


def read(description, outputs):
    """Return what is read in outputs for IMAGE."""
    frame = prepare(IMAGE, description.input, torch.device('cpu'))
    return reader_of(description, torch.device('cpu'))(outputs, frame, ALL)


def boxes_of(network):
    """Return a box network's outputs in the order of the roles."""
    found = network(torch.zeros(1, 3, 256, 320))
    return [found[name] for name in ('boxes', 'labels', 'scores', 'masks')]


def assert_same(one, other, share=1.0):
    assert len(one.instances) == len(other.instances) > 2
    assert equal_share(one, other) >= share
    np.testing.assert_allclose(one.instances.scores, other.instances.scores, atol=1e-6)


@pytest.mark.parametrize(('options', 'change'), [
    ({'box_format': 'cxcywh'}, lambda b, n, s, m: (
        torch.cat(((b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2]), 1), n, s, m)),
    ({'box_unit': 'input'}, lambda b, n, s, m: (
        b / torch.tensor([320.0, 256, 320, 256]), n, s, m)),
    ({'mask_values': 'logits'}, lambda b, n, s, m: (b, n, s, m.logit())),
    ({}, lambda b, n, s, m: (b[None], n[None].float(), s[None], m[None, :, 0])),
], ids=['cxcywh', 'shares', 'logits', 'batch'])
def test_boxes_are_read_as_the_yaml_says(options, change):
    outputs = boxes_of(network_for('boxes_masks'))
    plain = read(described('boxes_masks'), outputs)
    # boxes in another unit round to another pixel at times
    assert_same(plain, read(described('boxes_masks', **options), change(*outputs)), share=0.98)


def test_masks_of_the_whole_input_are_settled_as_they_are():
    _, numbers, scores, _ = boxes_of(network_for('boxes_masks'))
    masks = torch.rand(8, 1, 8, 10, generator=torch.Generator().manual_seed(3))
    answer = read(described('boxes_masks', mask_frame='input'),
                  [torch.zeros(8, 4), numbers, scores, masks])
    kept = numbers > 0
    whole = functional.interpolate(masks, size=(160, 200), mode='bilinear')[kept, 0] > 0.5
    assert_same(answer, settle_overlaps(masks=whole, class_ids=(numbers[kept] - 1).byte(),
                                        scores=scores[kept], options=ALL))


@pytest.mark.parametrize(('role', 'value', 'said'), [
    (1, torch.full((8,), 0.5), 'class numbers are not whole'),
    (1, torch.full((8,), -1), 'its class numbers are -1 to -1, expected 0 to 2'),
    (1, torch.ones(7), 'its number of classes is 7, expected 8'),
    (2, torch.full((8,), 3.0), 'its scores are 3 to 3, expected probabilities'),
    (3, torch.zeros(8, 14, 15), 'its masks are 14x15, expected square crops'),
    (3, torch.full((8, 14, 14), -2.0), 'its masks are -2 to -2, expected probabilities'),
    (3, torch.zeros(8, 0, 0), r'its output for masks is empty: \(8, 0, 0\)'),
    (2, torch.zeros(8, dtype=torch.complex64), 'its output for scores has complex numbers'),
    (0, torch.zeros(8, 5), 'its number of values of a box is 5, expected 4')])
def test_boxes_that_cannot_be_meant_are_one_sentence_and_never_a_label(role, value, said):
    outputs = boxes_of(network_for('boxes_masks'))
    outputs[role] = value
    with pytest.raises(ValueError, match=said):
        read(described('boxes_masks'), outputs)


@pytest.mark.parametrize('role', [0, 2, 3])
def test_nan_in_any_output_of_boxes_is_an_error(role):
    outputs = boxes_of(network_for('boxes_masks'))
    outputs[role] = outputs[role] * torch.nan
    with pytest.raises(NotFiniteError):
        read(described('boxes_masks'), outputs)


def test_no_box_at_all_is_an_answer_without_instances():
    outputs = [output[:0] for output in boxes_of(network_for('boxes_masks'))]
    for options in ({}, {'mask_frame': 'input'}):
        answer = read(described('boxes_masks', **options), outputs)
        assert len(answer.instances) == 0 and (answer.class_map == VOID).all()


def test_offsets_may_be_in_another_order_and_unit_and_centres_probabilities():
    found = network_for('center_offset')(torch.rand(
        1, 3, 160, 208, generator=torch.Generator().manual_seed(1)))
    semantic, centres, offsets = found.values()
    plain = read(described('center_offset'), [semantic, centres, offsets])
    other = described('center_offset', offset_order='xy', offset_unit=8.0,
                      centre_values='probabilities')
    assert_same(plain, read(other, [semantic, centres.sigmoid(), 2 * offsets.flip(1)]))


def test_a_float16_network_gets_float16_and_may_answer_in_it():
    whole = described('semantic_logits')
    half = replace(whole, input=replace(whole.input, dtype='float16'))
    frame = prepare(IMAGE, half.input, torch.device('cpu'))
    assert frame.pixels.dtype == torch.float16
    logits = network_for('semantic_logits')(frame.pixels.float())['logits']
    answer = reader_of(half, torch.device('cpu'))([logits.half()], frame, ALL)
    assert equal_share(expected('semantic_logits'), answer) > 0.98


def test_the_command_line_asks_a_file_for_the_task_that_it_serves(tmp_path):
    for contract, task in (('semantic_logits', 'semantic'), ('boxes_masks', 'instance'),
                           ('query_masks', 'panoptic')):
        (tmp_path / 'road.yaml').write_text(block(contract))
        path = str(tmp_path / 'road.onnx')
        config = config_of(Namespace(model=path, device='cpu', weights='', parameters=[]))
        assert getattr(config, f'{task}_model') == path


YAML_ERRORS = [
    # what is changed, what is said
    ({'clases': ['a']}, "unknown key 'clases', did you mean 'classes'?"),
    ({'surprise': 1}, "unknown key 'surprise', expected contract, classes"),
    ({'stride': 4}, "unknown key 'stride', it is one of center_offset"),
    ({'contract': 'boxes'}, "contract is 'boxes', expected one of semantic_logits, query_masks"),
    ({'contract': None}, 'contract is None, expected one of'),
    ({'contract': ...}, 'contract is missing, expected one of'),
    ({'classes': ...}, 'classes is missing, expected a list of names'),
    ({'classes': 'road'}, "classes is 'road', expected a list of names"),
    ({'classes': []}, '0 classes do not fit'),
    ({'classes': ['road', False]}, r'classes\[1\] is False, expected a name \(in quotes'),
    ({'classes': ['road', 'road']}, 'occur more than once'),
    ({'classes': [f'c{i}' for i in range(256)]}, '256 classes do not fit a mono8 label image'),
    ({'things': 'road'}, "things is 'road', expected a list of names"),
    ({'things': ['raod']}, "things is 'raod', expected classes; did you mean 'road'?"),
    ({'things': ['elephant']}, "things is 'elephant', expected names that are in classes"),
    ({'input': ...}, 'input is missing, expected a table'),
    ({'input': 640}, 'input is 640, expected a table of keys'),
    ({'input.size': ...}, 'input.size is missing, expected any or WIDTHxHEIGHT'),
    ({'input.size': 640}, 'input.size is 640, expected any or WIDTHxHEIGHT'),
    ({'input.size': '99999x10'}, "input.size is '99999x10', expected any or"),
    ({'input.size': '64x32', 'input.multiple': 32}, 'input.multiple is given, but input.size is'),
    ({'input.multiple': 0}, 'input.multiple is 0, expected a whole number from 1'),
    ({'input.multiple': True}, 'input.multiple is True, expected a whole number'),
    ({'input.resize': 'crop'}, "input.resize is 'crop', expected one of stretch, pad"),
    ({'input.colors': 'bgr'}, "unknown key 'input.colors', did you mean 'colours'?"),
    ({'input.colours': 'gbr'}, 'expected one of rgb, bgr'),
    ({'input.scale': 0}, 'input.scale is 0, expected a positive number or a fraction'),
    ({'input.scale': '1/0'}, "input.scale is '1/0', expected a positive number"),
    ({'input.scale': float('nan')}, 'input.scale is nan, expected a positive number'),
    ({'input.mean': [0.5]}, r'input.mean is \[0.5\], expected three numbers'),
    ({'input.mean': [0.5, 0.5, 'x']}, 'expected three numbers, one a colour'),
    ({'input.std': [1, 1, 0]}, 'expected three positive numbers'),
    ({'input.dtype': 'int8'}, 'expected one of float32, float16'),
    ({'outputs': ['logits']}, r"outputs is \['logits'\], expected a table"),
    ({'outputs': {'logit': 0}}, "unknown key 'outputs.logit', did you mean 'logits'?"),
    ({'outputs': {'logits': -1}}, 'outputs.logits is -1, expected the name of an output'),
    ({'outputs': {}}, 'outputs.logits is missing, expected the name of an output'),
    ({'contract': 'center_offset', 'stride': 4, 'outputs': ...}, 'things is empty, but'),
    ({'contract': 'center_offset', 'things': ['road'], 'outputs': ...}, 'stride is missing'),
    ({'contract': 'center_offset', 'things': ['road'], 'stride': 4, 'window': 4,
      'outputs': ...}, 'window is 4, expected an odd number'),
    ({'contract': 'query_masks', 'null_class': 'yes', 'outputs': ...},
     "null_class is 'yes', expected true or false"),
    ({'contract': 'query_masks', 'outputs': {'classes': 0, 'masks': 0}},
     'outputs.classes is 0, expected an output of its own'),
    ({'contract': 'boxes_masks', 'things': ['road'], 'outputs': ...}, 'expected all classes, or'),
    ({'contract': 'boxes_masks', 'box_format': 'xywh', 'outputs': ...}, 'xyxy, cxcywh'),
]


def changed(changes):
    """Return the document's first YAML with changes; ... takes a key out."""
    content = yaml.safe_load(block('semantic_logits'))
    for key, value in changes.items():
        group, _, name = key.rpartition('.')
        table = content[group] if group else content
        table[name or key] = value
        if value is ...:
            del table[name or key]
    return yaml.safe_dump(content).encode()


@pytest.mark.parametrize(('changes', 'said'), YAML_ERRORS)
def test_a_yaml_that_is_wrong_is_one_sentence(changes, said):
    with pytest.raises(ValueError, match=said) as refusal:
        parse_description(changed(changes))
    assert '\n' not in str(refusal.value) and len(str(refusal.value)) < 400


@pytest.mark.parametrize(('data', 'said'), [
    (b'', 'it is None, expected a table'), (b'- a', 'expected a table of keys'),
    (b'a: [', 'it is no YAML .* in line'), (b'\xff\xfe\x00', 'it is no YAML'),
    (b'a: 2001-99-99', 'it is no YAML'), (b'[' * 60_000, 'nested more than 8 deep'),
    (b'a: !!python/object/apply:os.system [ls]', 'it is no YAML'),
    (b'a: &a [x]\nb: [*a, *a]', 'it has an alias')])
def test_what_is_no_table_of_keys_is_one_sentence(data, said):
    with pytest.raises(ValueError, match=said) as refusal:
        parse_description(data)
    assert '\n' not in str(refusal.value)


def test_a_channel_without_a_name_is_void_and_has_no_id():
    classes = parse_description(changed({'classes': ['road', None, 'sky']})).classes
    assert classes.label_set.names == ('road', 'sky')
    assert classes.table().tolist() == [0, VOID, 1]


def test_numbers_may_be_fractions_and_exponents():
    read = parse_description(changed({'input.scale': '1/128', 'input.mean': ['1e-3', 0, 1]}))
    assert read.input.scale == 1 / 128
    assert read.input.mean == (0.001, 0.0, 1.0)


def refused(path, options=ALL):
    """Return the one sentence about a file."""
    with pytest.raises(ModelError) as refusal:
        load_model(str(path), options)
    assert '\n' not in str(refusal.value) and len(str(refusal.value)) < 600
    assert str(path.parent) in str(refusal.value)
    return str(refusal.value)


def beside(path, folder, **changes):
    """Return a copy of a model file with a changed YAML; dots of keys are doubled underscores."""
    content = yaml.safe_load(path.with_suffix('.yaml').read_text())
    for key, value in changes.items():
        group, _, name = key.rpartition('__')
        (content[group] if group else content)[name or key] = value
    (folder / 'road.yaml').write_text(yaml.safe_dump(content))
    copy = folder / path.name
    copy.write_bytes(path.read_bytes())
    return copy


@pytest.mark.parametrize(('contract', 'changes', 'said'), [
    ('semantic_logits', {'classes': ['a', 'b']}, 'its number of class logits is 4, expected 2'),
    ('semantic_logits', {'outputs': {'logits': 'scores'}},
     "it has no output 'scores', its outputs are logits"),
    ('semantic_logits', {'outputs': {'logits': 1}}, 'it has no output 1, its outputs are logits'),
    ('semantic_logits', {'input__std': [1e-38] * 3}, 'computed values that are not finite'),
    ('query_masks', {'null_class': False}, 'its number of class logits is 5, expected 4'),
    ('query_masks', {'classes': ['car', 'person']},
     'its number of class logits with the null class is 5, expected 3'),
    ('query_masks', {'outputs': {'classes': 'mask_logits', 'masks': 'class_logits'}},
     r'its output for classes is \(1, 12, 80, 80\), expected \(1, queries, classes\)'),
    ('query_masks', {'input__size': '64x64'}, 'does not run on an image of 640x480'),
    ('query_masks', {'input__size': 'any'}, 'does not run on an image of 640x480'),
    ('boxes_masks', {'classes': [None, 'car']}, 'its class numbers are 0 to 2, expected 0 to 1'),
    ('boxes_masks', {'outputs': {'boxes': 'scores', 'classes': 'labels', 'scores': 'boxes',
                                 'masks': 'masks'}}, 'its output for boxes is'),
    ('center_offset', {'stride': 8}, 'its output for centres has 120x160 cells, expected 60x80'),
    ('center_offset', {'things': ['car', 'person', 'road']},
     'its number of maps of centres is 2, expected 1 for all things or 3'),
    ('center_offset', {'centre_values': 'probabilities'}, 'its centres are .* expected probab'),
])
def test_a_file_that_does_not_do_what_its_yaml_says_is_one_sentence(
        model_files, tmp_path, contract, changes, said):
    path = beside(model_files(contract, '.onnx'), tmp_path, **changes)
    with pytest.raises(ModelError, match=said):
        load_model(str(path), ALL)
    refused(path)


def test_a_missing_yaml_is_one_sentence_that_names_it(model_files, tmp_path):
    path = beside(model_files('semantic_logits', '.onnx'), tmp_path)
    path.with_suffix('.yaml').unlink()
    assert 'road.yaml: No such file' in refused(path)


def test_weights_beside_a_file_are_refused(model_files):
    with pytest.raises(ModelError, match='holds its weights'):
        load_model(str(model_files('semantic_logits', '.onnx')), ModelOptions(weights='x.pth'))


def test_values_that_are_not_finite_are_an_error_and_never_a_label(tmp_path):
    class Broken(torch.nn.Module):
        def forward(self, x):
            # finite on a lit frame, not on a black one
            return torch.cat((x.mean(1, keepdim=True), 1 / x.amax((1, 2, 3), keepdim=True)
                              + 0 * x[:, :1], x[:, :2]), dim=1)
    (tmp_path / 'road.yaml').write_bytes(changed({'input.mean': [0, 0, 0], 'input.std': [1] * 3,
                                                  'outputs': {'logits': 0}}))
    path = own_networks.export(Broken(), '.ts', tmp_path, names=(), size=(96, 128), fixed=False)
    model = load_model(str(path), trusted(path))
    with pytest.raises(NotFiniteError):
        model.predict([np.zeros((32, 32, 3), np.uint8)])
    model.predict([IMAGE])


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        """Remember the file."""
        self.path = path

    def __reduce__(self):
        """Run a command."""
        return os.system, (f'touch {self.path}',)


def with_yaml(folder, name, data):
    """Write a model file and the document's first YAML beside it."""
    (folder / 'road.yaml').write_text(block('semantic_logits'))
    (folder / name).write_bytes(data)
    return folder / name


def rewritten(path, change, method=zipfile.ZIP_STORED):
    """Return a zip archive with its entries changed: name, bytes -> bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(stream, 'w', method) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return stream.getvalue()


PROGRAMS = ('.pt2', '.pt', '.ts', '.torchscript')


@pytest.mark.parametrize('suffix', PROGRAMS)
@pytest.mark.parametrize('options', [
    {}, {'sha256': 'a' * 64}, {'allow_executable_models': True},
    {'allow_executable_models': True, 'sha256': 'a' * 63}])
def test_a_program_is_refused_unless_it_is_pinned_and_allowed(tmp_path, suffix, options):
    path = with_yaml(tmp_path, f'road{suffix}', b'never read')
    said = refused(path, ModelOptions(**options))
    assert 'a program that runs with your rights' in said
    assert 'set allow_executable_models and pin' in said and 'sha256sum road' in said


@pytest.mark.parametrize('suffix', PROGRAMS)
def test_another_program_than_the_pinned_one_is_refused(tmp_path, suffix):
    path = with_yaml(tmp_path, f'road{suffix}', b'PK\x03\x04 changed')
    said = refused(path, ModelOptions(allow_executable_models=True, sha256='a' * 64))
    assert 'its sha256 is' in said and 'give the file that was pinned' in said


@pytest.mark.parametrize('suffix', ['.pt2', '.ts'])
def test_a_pickle_in_a_program_is_not_run_without_a_pin(model_files, tmp_path, suffix):
    ran, pickled = tmp_path / 'ran', io.BytesIO()
    torch.save(Trap(ran), pickled)
    data = rewritten(model_files('semantic_logits', suffix), lambda name, data: (
        pickled.getvalue() if name.endswith('.pt') else
        pickle.dumps(Trap(ran)) if name.endswith('.pkl') else data))
    for options in (ALL, ModelOptions(allow_executable_models=True, sha256='b' * 64)):
        refused(with_yaml(tmp_path, f'road{suffix}', data), options)
    assert not ran.exists()


@pytest.mark.parametrize('suffix', PROGRAMS)
def test_what_is_no_program_is_one_sentence_even_if_it_is_pinned(model_files, tmp_path, suffix):
    whole = model_files('semantic_logits', '.pt2' if suffix == '.pt2' else '.ts').read_bytes()
    weights, ran = io.BytesIO(), tmp_path / 'ran'
    torch.save({'weight': torch.zeros(2)}, weights)
    for data, reason in (
            (b'', 'it is empty'), (b'<html>', 'it is a web page'), (bytes(100), 'no archive'),
            (pickle.dumps(Trap(ran)), 'no archive'),
            (whole[:-100], 'truncated or damaged|no exported program'),
            (weights.getvalue(), 'no TorchScript|no exported program')):
        path = with_yaml(tmp_path, f'road{suffix}', data)
        assert re.search(reason, refused(path, trusted(path)))
    assert not ran.exists()


@pytest.mark.parametrize('suffix', ['.pt2', '.ts'])
def test_a_zip_bomb_is_refused_before_it_unpacks(model_files, tmp_path, suffix):
    data = rewritten(model_files('semantic_logits', suffix), lambda name, data: (
        bytes(80_000_000) if name.endswith('version') else data), zipfile.ZIP_DEFLATED)
    assert len(data) < 1_000_000
    path = with_yaml(tmp_path, f'road{suffix}', data)
    assert 'it would unpack to' in refused(path, trusted(path))


@pytest.mark.parametrize('data', [bytes(100), b'PK\x03\x04', b'\x08\x07', b'x' * 1000])
def test_what_is_no_onnx_is_one_sentence(tmp_path, data):
    assert 'no ONNX file' in refused(with_yaml(tmp_path, 'road.onnx', data))


def test_a_truncated_onnx_is_one_sentence(model_files, tmp_path):
    whole = model_files('semantic_logits', '.onnx').read_bytes()
    for length in (10, len(whole) // 2, len(whole) - 1):
        refused(with_yaml(tmp_path, 'road.onnx', whole[:length]))


def external(path, folder, location):
    """Write an ONNX file whose weights are in a file of another name; return both."""
    graph = onnx.load(path)
    onnx.save_model(graph, folder / 'road.onnx', save_as_external_data=True, location='w.bin',
                    size_threshold=0)
    (folder / 'road.yaml').write_text(block('semantic_logits'))
    graph = onnx.load(folder / 'road.onnx', load_external_data=False)
    for tensor in graph.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == 'location':
                entry.value = location
    (folder / 'road.onnx').write_bytes(graph.SerializeToString())
    return folder / 'road.onnx'


def test_weights_beside_an_onnx_are_read_hashed_and_pinned(model_files, tmp_path, monkeypatch):
    whole = model_files('semantic_logits', '.onnx')
    path = external(whole, tmp_path, 'w.bin')
    monkeypatch.chdir('/')  # names are relative to the file, not to the process
    model = load_model(str(path), ALL)
    printed = subprocess.run('sha256sum road.onnx w.bin | sha256sum', shell=True, cwd=tmp_path,
                             capture_output=True, text=True, check=True).stdout.split()[0]
    assert model.sha256 == printed
    wanted = load_model(str(whole), ALL).predict([IMAGE])[0]
    assert equal_share(wanted, model.predict([IMAGE])[0]) == 1
    pinned = ModelOptions(**{**ALL.__dict__, 'sha256': printed})
    load_model(str(path), pinned)
    data = bytearray((tmp_path / 'w.bin').read_bytes())
    data[0] ^= 1
    (tmp_path / 'w.bin').write_bytes(data)
    assert 'its sha256 is' in refused(path, pinned)


@pytest.mark.parametrize('location', ['../w.bin', '/etc/passwd', 'link', 'sub/../../w.bin'])
def test_weights_out_of_the_folder_are_refused(model_files, tmp_path, location):
    folder = tmp_path / 'model'
    (folder / 'sub').mkdir(parents=True)
    path = external(model_files('semantic_logits', '.onnx'), folder, location)
    shutil.copy(folder / 'w.bin', tmp_path / 'w.bin')
    (folder / 'link').symlink_to(tmp_path / 'w.bin')
    assert 'it leads out of its folder' in refused(path)


@pytest.mark.parametrize(('spec', 'path'), [
    ('road.onnx', True), ('models/road.PT2', True), ('./road', True), ('../road', True),
    ('~/road.pt', True), ('/road', True), ('street_tiny', False), ('huggingface/a.pt', False),
    ('huggingface//tmp/a.onnx', False), ('road', False), ('', False)])
def test_a_path_is_told_from_a_family(spec, path):
    assert is_path(spec) == path


@pytest.mark.parametrize('spec', ['/road', './road.pth', '~/road.txt'])
def test_a_path_of_another_kind_is_refused_with_the_kinds_that_there_are(spec):
    with pytest.raises(ModelError, match=r'unknown model .* a file that ends with \.onnx, \.pt2'):
        load_model(spec, ModelOptions())


def test_onnx_says_when_it_cannot_use_the_gpu_that_was_asked_for(caplog):
    gpu, cpu = torch.device('cuda:1'), torch.device('cpu')
    both = ['CUDAExecutionProvider', 'CPUExecutionProvider']
    assert providers_for(cpu, both, 'road.onnx') == both[1:]
    assert providers_for(gpu, both, 'road.onnx')[0] == (both[0], {'device_id': 1})
    assert not caplog.records
    assert providers_for(gpu, both[1:], 'road.onnx') == both[1:]
    assert 'road.onnx runs on the CPU, not on cuda:1' in caplog.text
    assert 'pip install onnxruntime-gpu' in caplog.text


def test_every_format_has_a_reader():
    assert set(FORMAT_READERS) == set(FILE_SUFFIXES)
