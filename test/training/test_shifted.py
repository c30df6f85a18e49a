# SPDX-License-Identifier: Apache-2.0
"""Frames are changed as other cameras and other light would, and their labels with them."""
from __future__ import annotations

import json

import numpy as np
import pytest

from training import shifted
from training.data import Labelled, View
from training.evaluate import street_examples
from training.export import PACKAGE_WEIGHTS


@pytest.fixture(scope='module')
def view():
    example = next(street_examples(range(10_000, 10_001), frames=1))
    return View(image=example.image, classes=example.truth.class_map,
                instances=np.zeros(example.truth.size, np.uint8))


@pytest.mark.parametrize('name', shifted.WAYS)
def test_a_way_changes_what_it_says_and_is_the_same_every_time(name, view):
    way, before = shifted.WAYS[name], view.image.copy()
    seen = way(view)
    assert seen.image.dtype == np.uint8 and seen.image.shape == view.image.shape
    np.testing.assert_array_equal(seen.image, way(view).image)
    np.testing.assert_array_equal(view.image, before)
    assert np.array_equal(seen.image, view.image) == (name == 'as it is')
    assert np.array_equal(seen.classes, view.classes) == (name != 'enlarged')


def test_light_and_colour_go_the_way_that_the_names_say(view):
    def colour(name):
        return shifted.WAYS[name](view).image.mean(axis=(0, 1))
    plain = colour('as it is')
    assert (colour('darker') < plain).all() and (colour('brighter') > plain).all()
    assert colour('warmer')[0] > plain[0] and colour('warmer')[2] < plain[2]
    assert colour('cooler')[0] < plain[0] and colour('cooler')[2] > plain[2]
    assert np.ptp(shifted.WAYS['grey'](view).image, axis=-1).max() == 0
    assert shifted.WAYS['hazy'](view).image.std() < view.image.std()


def test_the_middle_stays_the_middle_when_enlarged(view):
    seen = shifted.enlarged(view, scale=2.0)
    height, width = view.classes.shape
    middle = view.classes[height // 4:-height // 4, width // 4:-width // 4]
    assert (seen.classes[::2, ::2] == middle).mean() > 0.97


def test_the_report_has_the_figures_of_every_way(tmp_path, monkeypatch, view):
    frames = Labelled(images=view.image[None], classes=view.classes[None],
                      instances=view.instances[None])
    monkeypatch.setattr(shifted, 'read_camvid', lambda split: {'val': frames}[split])
    shifted.main(['--weights', str(PACKAGE_WEIGHTS), '--output', str(tmp_path / 'report.json')])
    report = json.loads((tmp_path / 'report.json').read_text())
    assert list(report['ways']) == list(shifted.WAYS) and report['frames'] == 1
    assert all(0.2 < row['miou'] <= 1 for row in report['ways'].values())
