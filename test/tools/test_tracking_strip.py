# SPDX-License-Identifier: Apache-2.0
"""The strip of a tracked sequence: a picture every n frames, colours that follow the id."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
WALL, BOX, BALL = 1, 3, 4
OBJECT = (4, 44)  # a pixel of the ball away from its number


@pytest.fixture(scope='module')
def strip():
    spec = spec_from_file_location('tracking_strip', ROOT / 'tools/tracking_strip.py')
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def images(tmp_path):
    """A box and a ball, then the ball alone: it is the second object, then the first."""
    folder = tmp_path / 'images'
    folder.mkdir()
    for index in range(5):
        rgb = np.zeros((48, 64, 3), np.uint8)
        rgb[..., 0] = WALL
        rgb[2:34, 40:60, 0] = BALL
        if index < 2:
            rgb[2:34, 4:24, 0] = BOX
        cv2.imwrite(str(folder / f'{index}.png'), rgb[..., ::-1])
    return folder


def draw(strip, images, *arguments):
    out = images.parent / 'strip.png'
    strip.main(['--images', str(images), '--model', 'checkerboard', '--width', '0',
                '--out', str(out), *arguments])
    return cv2.imread(str(out))


def test_a_picture_every_n_frames_in_rows(strip, images):
    picture = draw(strip, images, '--every', '2', '--pictures', '3', '--columns', '2')
    assert picture.shape == (2 * 48 + strip.GAP, 2 * 64 + strip.GAP, 3)
    assert (picture[48 + strip.GAP:, 64 + strip.GAP:] == strip.PAPER).all()


def test_pictures_of_recordings_go_where_git_ignores_them(strip, images, tmp_path, monkeypatch):
    monkeypatch.setattr(strip, 'ROOT', tmp_path)
    strip.main(['--images', str(images), '--model', 'checkerboard', '--pictures', '1'])
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob('*.jpg')] == [
        'output/tracking.jpg']
    assert 'output/' in (ROOT / '.gitignore').read_text().split()


def test_the_ball_keeps_its_colour_when_the_box_before_it_is_gone(strip, images):
    picture = draw(strip, images, '--every', '4', '--pictures', '2', '--columns', '2')
    first, later = picture[:, :64], picture[:, 64 + strip.GAP:]
    np.testing.assert_array_equal(first[OBJECT], later[OBJECT])
    assert (first[4, 8] != later[4, 8]).any()  # the box was there


def test_a_strip_after_the_end_says_so(strip, images):
    with pytest.raises(SystemExit, match='ends before frame 9'):
        draw(strip, images, '--first', '9')


def test_the_picture_in_the_docs_is_small():
    assert (ROOT / 'docs/tracking.jpg').stat().st_size < 300_000
