# SPDX-License-Identifier: Apache-2.0
"""`seg_ros benchmark` times every stage and says where and on what."""
from __future__ import annotations

import json

import pytest

from seg_ros.core.config import config_from
from seg_ros.models.pipeline import Pipeline
from seg_ros.tools.benchmark import Machine, measure, report, STAGES
from seg_ros.tools.cli import main


def test_street_tiny_has_every_stage_and_they_add_up(tmp_path, capsys):
    path = tmp_path / 'figures.json'
    assert main(['benchmark', '--size', '64x48', '--frames', '5', '--device', 'cpu',
                 '--json', str(path), '-p', 'model.precision=fp32']) == 0
    figures = json.loads(path.read_text())
    assert list(figures['stage_ms']) == [*STAGES, 'total']
    assert all(0 < row['p50'] <= row['p99'] for row in figures['stage_ms'].values())
    parts = sum(row['p50'] for stage, row in figures['stage_ms'].items()
                if stage not in ('decode', 'total'))
    assert parts == pytest.approx(figures['stage_ms']['total']['p50'], rel=0.5)
    assert figures['frames'] == 5 and figures['size'] == '64x48'
    assert figures['modes'] == {'street_tiny': 'fp32'}
    assert figures['host_peak_mb'] > 100 and figures['device_peak_mb'] is None
    text = capsys.readouterr().out
    assert 'frames a second at 64x48' in text and 'load average' in text


def test_a_model_whose_network_is_not_ours_is_timed_as_one_stage():
    pipeline = Pipeline(config_from({'device': 'cpu', 'panoptic_model': 'checkerboard'}))
    result = measure(pipeline, size='64x48', frames=3, load_before=0.0)
    assert list(result.stage_ms) == ['decode', 'model', 'merge', 'total']


def test_two_models_share_the_stages():
    pipeline = Pipeline(config_from({
        'device': 'cpu', 'semantic_model': 'street_tiny', 'instance_model': 'checkerboard'}))
    result = measure(pipeline, size='64x48', frames=3, load_before=0.0)
    assert list(result.stage_ms) == [*STAGES, 'total']
    assert list(result.modes) == ['street_tiny', 'checkerboard']


@pytest.mark.parametrize(('load', 'busy'), [(0.9, False), (1.1, True)])
def test_a_busy_machine_is_said_to_be_busy(load, busy):
    machine = Machine(device='a CPU', cores=2, threads=2, spins='', load_before=load, torch='',
                      python='')
    assert machine.busy is busy


@pytest.mark.parametrize(('option', 'value', 'named'), [
    ('--size', 'large', 'model.frame_size'), ('--frames', '0', '--frames is 0')])
def test_a_wrong_option_is_one_sentence(capsys, option, value, named):
    assert main(['benchmark', option, value]) == 2
    assert named in capsys.readouterr().err


def test_the_report_names_the_mode_of_each_model():
    pipeline = Pipeline(config_from({'device': 'cpu', 'panoptic_model': 'checkerboard'}))
    text = report(measure(pipeline, size='64x48', frames=1, load_before=9.0))
    assert 'checkerboard in fp32' in text
    assert 'other work was running' in text
