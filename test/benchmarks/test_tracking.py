# SPDX-License-Identifier: Apache-2.0
"""The tables of identities are written by a measurement that was made as they say."""
from __future__ import annotations

import json

import pytest

from benchmarks import tracking
from benchmarks.track_scenes import STREETS


@pytest.fixture
def report(tmp_path, monkeypatch):
    """Return where the tables come from, with one row of each source, and nothing to measure."""
    path = tmp_path / 'tracking.json'
    path.write_text(json.dumps({'streets': STREETS, 'true maps': 'old', 'street_tiny': 'old'}))
    monkeypatch.setattr(tracking, 'REPORT', path)
    monkeypatch.setattr(tracking, 'compare', lambda *_, config, title: {
        'measured': config.max_split_s})
    monkeypatch.setattr(tracking, '_print', lambda report: None)
    return path


def test_what_is_measured_as_the_tables_are_is_written_beside_the_rest(report):
    tracking.main(['--only', 'true maps'])
    assert json.loads(report.read_text()) == {
        'streets': STREETS, 'true maps': {'measured': 0.5}, 'street_tiny': 'old'}


@pytest.mark.parametrize('other', [('--streets', '2'), ('-p', 'tracking.max_split_s=0')])
def test_what_is_measured_otherwise_leaves_the_tables_and_has_a_file_of_its_own(
        report, tmp_path, other):
    before, own = report.read_text(), tmp_path / 'own.json'
    tracking.main(['--only', 'true maps', *other])
    tracking.main(['--only', 'true maps', *other, '--json', str(own)])
    assert report.read_text() == before
    measured = json.loads(own.read_text())
    assert measured['true maps'] == {'measured': 0.0 if other[0] == '-p' else 0.5}
    assert measured['streets'] == (STREETS if other[0] == '-p' else 2)


@pytest.mark.parametrize(('wrong', 'words'), [
    ('tracking.max_split_s=-1', 'tracking.max_split_s'), ('tracking.speed=1', 'tracking.speed')])
def test_a_wrong_parameter_is_one_sentence(report, capsys, wrong, words):
    with pytest.raises(SystemExit):
        tracking.main(['-p', wrong])
    said = capsys.readouterr().err
    assert words in said and 'Traceback' not in said
