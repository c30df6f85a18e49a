# SPDX-License-Identifier: Apache-2.0
"""Every parameter's rule says itself in one sentence, and nothing else gets through."""
from __future__ import annotations

from dataclasses import fields, FrozenInstanceError
import math

import pytest

from seg_ros.core.config import (
    Config,
    config_from,
    nearest_name,
    parameter_table,
    PARAMETERS,
    parse_size,
    unknown_parameter,
    value_of,
)

NAMES = [p.name for p in PARAMETERS]
NUMBERS = [p for p in PARAMETERS if p.kind in ('int', 'float')]
WRONG_TYPES = {'bool': (1, 'true', None), 'int': (True, 1.0, '1', None),
               'float': (True, '0.5', None, [0.5]), 'string': (1, None, ['a']),
               'string[]': ('a', [1], 1, None, [['a']])}


def test_defaults_are_valid_and_every_parameter_has_a_meaning():
    config = config_from({})
    assert config == Config()
    for parameter in PARAMETERS:
        assert parameter.meaning
        assert parameter.check(parameter.default) == parameter.default
        assert value_of(config, parameter.name) == parameter.default


def test_every_field_is_a_parameter():
    flat = {field.name for field in fields(Config)} \
        - {'model', 'tracking', 'depth', 'ground'}
    assert flat == {p.name for p in PARAMETERS if '.' not in p.name}


@pytest.mark.parametrize('parameter', PARAMETERS, ids=lambda p: p.name)
def test_a_wrong_type_is_refused_by_name_with_the_right_type(parameter):
    for wrong in WRONG_TYPES[parameter.kind]:
        with pytest.raises(ValueError, match=f'^{parameter.name} is .*, expected a ') as refusal:
            config_from({parameter.name: wrong})
        assert str(refusal.value).endswith(f'expected a {parameter.kind}')


@pytest.mark.parametrize('parameter', NUMBERS, ids=lambda p: p.name)
def test_numbers_are_accepted_at_their_limits_and_refused_beyond(parameter):
    for limit, step in ((parameter.minimum, -1), (parameter.maximum, 1)):
        if not math.isfinite(limit):
            continue
        assert parameter.check(limit) == limit
        with pytest.raises(ValueError, match=f'^{parameter.name} is .*, expected ') as refusal:
            parameter.check(limit + step)
        assert str(limit) in str(refusal.value)


@pytest.mark.parametrize('parameter', [p for p in PARAMETERS if p.kind == 'float'],
                         ids=lambda p: p.name)
def test_what_is_not_a_number_is_refused(parameter):
    with pytest.raises(ValueError, match=f'^{parameter.name} is nan, expected '):
        config_from({parameter.name: math.nan})
    with pytest.raises(ValueError, match=f'^{parameter.name} is -inf, expected '):
        config_from({parameter.name: -math.inf})


def test_an_int_serves_as_float_and_a_list_as_strings():
    config = config_from({'score_threshold': 1, 'classes': ['road', 'car']})
    assert type(config.score_threshold) is float
    assert config.classes == ('road', 'car')
    assert config_from({'classes': []}).classes == ()


@pytest.mark.parametrize('parameter', [p for p in PARAMETERS if p.choices], ids=lambda p: p.name)
def test_a_choice_that_is_not_offered_is_refused_with_those_that_are(parameter):
    for choice in parameter.choices:
        assert value_of(config_from({parameter.name: choice}), parameter.name) == choice
    with pytest.raises(ValueError, match=f"^{parameter.name} is 'nothing', expected ") as refusal:
        config_from({parameter.name: 'nothing'})
    assert all(repr(choice) in str(refusal.value) for choice in parameter.choices)


@pytest.mark.parametrize(('values', 'message'), [
    ({'panoptic_model': 'a', 'semantic_model': 'b'}, "panoptic_model 'a' and 'b' are set, exp"),
    ({'panoptic_model': 'a', 'instance_model': 'c'}, "panoptic_model 'a' and 'c' are set, exp"),
    ({'semantic_weights': 'w'}, "semantic_weights is 'w' but semantic_model is empty"),
    ({'instance_weights': 'w'}, "instance_weights is 'w' but instance_model is empty"),
    ({'panoptic_weights': 'w', 'semantic_model': 'b'}, "panoptic_weights is 'w' but panoptic_mo"),
    ({'output_size': '640'}, "output_size is '640', expected WIDTHxHEIGHT such as 640x480"),
    ({'output_size': '0x480'}, "output_size is '0x480'"),
    ({'device': 'gpu'}, "device is 'gpu', expected auto, cpu or cuda:N"),
    ({'device': 'cuda:'}, "device is 'cuda:'"),
    ({'tracking.max_lost_s': -1.0}, r'tracking\.max_lost_s is -1\.0, expected 0\.0 to 60\.0'),
    ({'score_threshold': 1.5}, r'score_threshold is 1\.5, expected 0\.0 to 1\.0'),
    ({'min_area': -1}, 'min_area is -1, expected at least 0'),
    ({'queue_depth': 6}, 'queue_depth is 6, expected 1 to 5'),
    ({'image_transport': 'theora'}, "image_transport is 'theora', expected 'raw' or 'compressed'"),
    ({'panoptic_encoding': ''}, "is '', expected 'instance_high', 'class_high' or 'cityscapes'"),
])
def test_a_broken_rule_is_one_sentence(values, message):
    with pytest.raises(ValueError, match=message) as refusal:
        config_from(values)
    assert '\n' not in str(refusal.value)


@pytest.mark.parametrize('values', [
    {'semantic_model': 'a', 'instance_model': 'b', 'instance_weights': 'w'},
    {'panoptic_weights': 'w'},  # of the model that runs when none is named
    {'device': 'cuda'}, {'device': 'cuda:3'}, {'device': 'cpu'},
    {'output_size': '640x480'}, {'tracking.enabled': False},
])
def test_what_goes_together_is_accepted(values):
    config = config_from(values)
    assert {name: value_of(config, name) for name in values} == values


def test_an_output_is_no_larger_than_an_image_may_be():
    config_from({'output_size': '8192x8192'})
    with pytest.raises(ValueError, match='expected at most max_image_pixels = 67108864'):
        config_from({'output_size': '8192x8193'})


def test_rules_hold_however_a_config_is_made():
    with pytest.raises(ValueError, match='score_threshold is 2.0'):
        Config(score_threshold=2.0)
    with pytest.raises(FrozenInstanceError):
        Config().min_area = 3


@pytest.mark.parametrize(('name', 'near'), [
    ('score_treshold', 'score_threshold'),
    ('min_aera', 'min_area'),
    ('tracking.enable', 'tracking.enabled'),
    ('clases', 'classes'),
    ('use_sim_time', ''),
    ('frame_id', ''),
])
def test_a_near_miss_is_named(name, near):
    assert nearest_name(name, NAMES) == near
    sentence = f"unknown parameter '{name}', did you mean '{near}'?" if near else \
        f"unknown parameter '{name}', see the parameter table in the README"
    assert unknown_parameter(name, NAMES) == sentence
    with pytest.raises(ValueError, match=f"^unknown parameter '{name}'"):
        config_from({name: 1})


def test_sizes_are_width_then_height():
    assert parse_size('') is None
    assert parse_size('640x480') == (640, 480)


def test_the_table_has_one_row_for_each_parameter():
    rows = parameter_table().splitlines()[2:]
    assert len(rows) == len(PARAMETERS)
    for row, parameter in zip(rows, PARAMETERS, strict=True):
        cells = [cell.strip() for cell in row.strip('|').split('|')]
        assert len(cells) == 6
        assert cells[0] == f'`{parameter.name}`'
        assert cells[1] == parameter.kind
        assert cells[4] == ('' if parameter.fixed else 'yes')
        assert cells[5] == parameter.meaning


def test_a_pin_is_a_whole_sha256_and_belongs_to_a_model():
    assert config_from({'panoptic_sha256': 'a1' * 32}).panoptic_sha256 == 'a1' * 32
    for wrong in ('a1', 'A1' * 32, 'g1' * 32):
        with pytest.raises(ValueError, match=f"^panoptic_sha256 is '{wrong}', expected 64 hexa"):
            config_from({'panoptic_sha256': wrong})
    with pytest.raises(ValueError, match='^semantic_sha256 is .* but semantic_model is empty'):
        config_from({'semantic_sha256': 'a1' * 32})


@pytest.mark.parametrize(('values', 'words'), [
    ({'depth.min_m': 5.0, 'depth.max_m': 5.0}, 'expected the first to be less'),
    ({'ground.grid': True}, 'ground.grid is true but drivable_classes is empty'),
    ({'obstacle_classes': ['*']}, "obstacle_classes has '\\*' but drivable_classes is empty"),
    ({'obstacle_classes': ['a', 'b'], 'drivable_classes': ['b']}, r"classes \['b'\] are in"),
    ({'ground.resolution_m': 0.01, 'ground.length_m': 200.0, 'ground.width_m': 200.0},
     'would have 400000000 cells'),
    ({'depth.input': 'lidar'}, "depth.input is 'lidar'"),
])
def test_depth_and_ground_that_do_not_go_together_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        config_from(values)
