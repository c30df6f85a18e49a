# SPDX-License-Identifier: Apache-2.0
"""The demo, short, with its real processes: what it writes and what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import av
import cv2
import numpy as np
import pytest

from seg_ros.core.types import segmentation_from_ids, segmentation_from_map

OUTPUTS = (
    'semantic/image_raw',
    'instances',
    'instance/image_raw',
    'panoptic/image_raw',
    'overlay/image_raw',
    'overlay/image_raw/compressed',
    'semantic/camera_info',
    'instance/camera_info',
    'panoptic/camera_info',
)


def start_demo(out, *arguments):
    # one thread: the tests share the machine
    environment = os.environ | {'OMP_NUM_THREADS': '1'}
    return subprocess.Popen(
        [
            sys.executable,
            '-m',
            'seg_ros.ros.demo',
            '--out',
            str(out),
            '--device',
            'cpu',
            *map(str, arguments),
        ],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.fixture(scope='module')
def street(tmp_path_factory):
    """Run the demo once: three seconds of the synthetic street."""
    out = tmp_path_factory.mktemp('street')
    process = start_demo(out, '--seconds', 3)
    printed, error = process.communicate(timeout=120)
    assert process.returncode == 0, printed + error
    return out, json.loads((out / 'summary.json').read_text()), printed


def test_the_video_is_h264_that_browsers_play(street):
    out, summary, _ = street
    with av.open(str(out / 'overlay.mp4')) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == 'h264'
        assert stream.codec_context.pix_fmt == 'yuv420p'
        assert len(list(container.decode(video=0))) == summary['frames_processed']


def test_every_published_frame_is_processed_or_dropped(street):
    _, summary, _ = street
    assert summary['frames_published'] == 30
    assert summary['frames_processed'] > 0
    assert summary['frames_dropped'] == summary['frames_published'] - summary['frames_processed']


def test_the_summary_has_its_keys_and_plausible_figures(street):
    _, summary, _ = street
    assert list(summary) == [
        'frames_published',
        'frames_processed',
        'frames_dropped',
        'latency_ms',
        'model_ms',
        'miou',
        'pq',
        'topics',
    ]
    assert 0.0 < summary['latency_ms']['p50'] <= summary['latency_ms']['p99']
    assert 0.0 < summary['model_ms']['p50'] < summary['latency_ms']['p99']
    assert 0.0 <= summary['miou'] <= 1.0
    assert 0.0 <= summary['pq'] <= 1.0


def test_all_outputs_of_a_processed_frame_are_counted(street):
    _, summary, _ = street
    topics = summary['topics']
    for topic in OUTPUTS:
        assert topics[topic]['count'] >= summary['frames_processed'], topic
    assert topics['semantic/image_raw']['type'] == 'sensor_msgs/msg/Image'
    assert topics['semantic/image_raw']['encoding'] == 'mono8'
    assert topics['panoptic/image_raw']['encoding'] == '32SC1'
    assert topics['instances'] == {
        'type': 'vision_msgs/msg/Detection2DArray',
        'encoding': None,
        'count': topics['instances']['count'],
    }
    assert topics['semantic/label_info']['count'] == 1


def test_the_contact_sheet_is_a_picture_of_several_moments(street):
    out, _, _ = street
    height, width = cv2.imread(str(out / 'contact_sheet.png')).shape[:2]
    assert width > 5 * 300
    assert height > 3 * 300


def test_progress_and_result_are_printed(street):
    out, _, printed = street
    assert 'published  processed  dropped' in printed
    assert '   1 s  ' in printed
    assert str(out / 'overlay.mp4') in printed


def test_own_images_are_played_without_truth(tmp_path):
    images = tmp_path / 'images'
    images.mkdir()
    for index in range(3):
        image = np.full((60, 80, 3), 40 * index, np.uint8)
        cv2.imwrite(str(images / f'{index}.png'), image)
    out = tmp_path / 'out'
    process = start_demo(out, '--images', images, '--seconds', 1, '--model', 'checkerboard')
    printed, error = process.communicate(timeout=120)
    assert process.returncode == 0, printed + error
    summary = json.loads((out / 'summary.json').read_text())
    assert summary['frames_published'] == 10
    assert (summary['miou'], summary['pq']) == (None, None)
    assert (out / 'overlay.mp4').stat().st_size > 0


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--video', '/nowhere.mp4'], "'/nowhere.mp4' does not exist"),
        (['--model', 'nonsense'], "unknown model 'nonsense'"),
    ],
)
def test_what_breaks_is_one_sentence_and_code_1(tmp_path, arguments, words):
    process = start_demo(tmp_path / 'out', *arguments)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert words in error.splitlines()[-1]
    assert 'Traceback' not in error


def test_an_interrupt_ends_demo_and_children(tmp_path):
    out = tmp_path / 'out'
    process = start_demo(out, '--seconds', 60, '--model', 'checkerboard')
    for line in process.stdout:
        if line.split()[:2] == ['1', 's']:  # of the run, not 'ready after 2.1 s'
            break
    children = subprocess.run(
        ['ps', '--ppid', str(process.pid), '-o', 'pid='],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert len(children) == 2
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=15)
    assert process.returncode == 130, error
    assert 'Traceback' not in error
    assert not any(os.path.exists(f'/proc/{child}') for child in children)


def test_a_truth_with_any_ids_becomes_a_segmentation():
    classes = np.array([[8, 8, 3], [9, 3, 3]], np.uint8)
    ids = np.array([[70000, 70000, 0], [5, 0, 0]], np.int32)
    found = segmentation_from_ids(classes, ids)
    expected = segmentation_from_map(
        class_map=classes,
        instance_map=np.array([[2, 2, 0], [1, 0, 0]], np.int32),
        class_ids=[9, 8],
        scores=[1.0, 1.0],
    )
    np.testing.assert_array_equal(found.instance_map, expected.instance_map)
    np.testing.assert_array_equal(found.instances.class_ids, expected.instances.class_ids)
