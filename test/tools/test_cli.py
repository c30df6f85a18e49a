# SPDX-License-Identifier: Apache-2.0
"""The command line: help at once, one sentence for an error, quiet when interrupted."""

from contextlib import suppress
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from seg_ros.core.config import parameter_table
from seg_ros.models import available_models
from seg_ros.models.checkerboard import class_of_colour, instance_of_colour, LABEL_SET
from seg_ros.sim.recording import open_recording
from seg_ros.sim.video import VideoWriter
from seg_ros.tools import cli
from seg_ros.tools.cli import main

ROOT = Path(__file__).parents[2]


def noise(seed, size=(24, 32)):
    """Return an image in blocks of eight pixels."""
    small = np.random.default_rng(seed).integers(
        0, 256, (size[0] // 8, size[1] // 8, 3), dtype=np.uint8
    )
    return small.repeat(8, axis=0).repeat(8, axis=1)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    for seed in range(3):
        cv2.imwrite(str(folder / f'{seed}.png'), noise(seed)[..., ::-1])
    return folder


def segment(*arguments):
    return main(['segment', *map(str, arguments), '--model', 'checkerboard', '--device', 'cpu'])


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_every_model_is_listed_with_licence_and_size(capsys):
    assert main(['models']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ['model', 'tasks', 'parameters', 'licence']
    for info in available_models():
        (line,) = (line for line in lines if line.split()[0] == info.spec)
        assert info.license in line


def test_the_parameters_are_the_readmes_table(capsys):
    assert main(['parameters']) == 0
    assert capsys.readouterr().out.strip() == parameter_table()


def test_segment_writes_the_models_maps_exactly(images, tmp_path):
    out = tmp_path / 'out'
    assert segment('--images', images, '--out', out) == 0
    for seed in range(3):
        expected = instance_of_colour(noise(seed)) > 0
        np.testing.assert_array_equal(
            read(out / f'semantic/{seed}.png'), class_of_colour(noise(seed))
        )
        np.testing.assert_array_equal(read(out / f'instance/{seed}.png') > 0, expected)
        assert read(out / f'overlay/{seed}.png').shape == (24, 32, 3)


def test_the_list_and_the_instance_maps_have_the_same_ids(images, tmp_path):
    out = tmp_path / 'out'
    segment('--images', images, '--out', out)
    lines = [json.loads(line) for line in (out / 'instances.jsonl').read_text().splitlines()]
    assert [line['frame'] for line in lines] == ['0', '1', '2']
    for line in lines:
        ids = np.unique(read(out / f'instance/{line["frame"]}.png'))
        assert [found['id'] for found in line['instances']] == ids[ids > 0].tolist()


def test_segment_says_what_the_ids_mean(images, tmp_path):
    segment('--images', images, '--out', tmp_path / 'out')
    labels = json.loads((tmp_path / 'out/labels.json').read_text())
    assert list(labels['classes'].values()) == list(LABEL_SET.names)
    assert labels['things'] == ['box', 'ball']


def test_a_video_becomes_a_video(tmp_path):
    with VideoWriter(tmp_path / 'in.mp4', rate_hz=12.5) as writer:
        for seed in range(4):
            writer.write(noise(seed))
    assert segment('--video', tmp_path / 'in.mp4', '--out', tmp_path / 'out') == 0
    overlay = open_recording(tmp_path / 'out/overlay.mp4')
    assert len(list(overlay)) == 4
    assert overlay.rate_hz == pytest.approx(12.5)
    assert len(list((tmp_path / 'out/semantic').iterdir())) == 4


def test_images_of_one_name_are_refused(images, tmp_path, capsys):
    cv2.imwrite(str(images / '0.jpg'), noise(0))
    assert segment('--images', images, '--out', tmp_path / 'out') == 2
    assert "are called '0'" in capsys.readouterr().err


def test_an_unknown_command_is_refused():
    with pytest.raises(SystemExit) as caught:
        main(['sgement'])
    assert caught.value.code == 2


def python(*arguments, **options):
    environment = os.environ | {'PYTHONPATH': str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def test_help_needs_neither_torch_nor_ros():
    code = (
        'import sys; import seg_ros.tools.cli as cli\n'
        'cli._parser().format_help()\n'
        "print(sorted({'torch', 'rclpy', 'cv2'} & set(sys.modules)))"
    )
    out, err = python('-c', code).communicate(timeout=60)
    assert out.strip() == '[]', err


def test_an_interrupt_ends_it_quietly_with_code_130(tmp_path):
    folder = tmp_path / 'many'
    folder.mkdir()
    for seed in range(400):
        cv2.imwrite(str(folder / f'{seed:03d}.png'), noise(seed % 5, size=(480, 640)))
    process = python(
        '-m',
        'seg_ros.tools.cli',
        'segment',
        '--images',
        str(folder),
        '--out',
        str(tmp_path / 'out'),
        '--model',
        'checkerboard',
        '--device',
        'cpu',
        # what is started in the background ignores interrupts, and so would what it starts
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    done = tmp_path / 'out/semantic/001.png'
    deadline = time.monotonic() + 60
    while process.poll() is None and not done.exists() and time.monotonic() < deadline:
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert 'Traceback' not in err


@pytest.mark.parametrize(('load', 'expected'), [
    ('0.00 0.01 0.00 1/80 11206', {'OMP_WAIT_POLICY': 'PASSIVE', 'GOMP_SPINCOUNT': '10000'}),
    ('0.00 0.01 0.00 2/80 11206', {'OMP_WAIT_POLICY': 'PASSIVE'}),
    ('', {'OMP_WAIT_POLICY': 'PASSIVE'}),
])
def test_threads_spin_only_where_nothing_else_runs(tmp_path, monkeypatch, load, expected):
    path = tmp_path / 'loadavg'
    path.write_text(load)
    monkeypatch.setattr(cli, '_LOAD', path)
    monkeypatch.setattr('os.environ', {})
    cli._choose_how_threads_wait()
    assert os.environ == expected


def test_how_threads_wait_is_the_users_choice_where_there_is_one(monkeypatch):
    monkeypatch.setattr('os.environ', {'OMP_WAIT_POLICY': 'ACTIVE'})
    cli._choose_how_threads_wait()
    assert os.environ == {'OMP_WAIT_POLICY': 'ACTIVE'}
