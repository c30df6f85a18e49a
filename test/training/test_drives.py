# SPDX-License-Identifier: Apache-2.0
"""A network is looked at on the drive that it was trained without, and is trained once."""
from __future__ import annotations

import json
from pathlib import Path
import shutil

import pytest

from training import drives
from training.evaluate import street_examples
from training.export import PACKAGE_WEIGHTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def trainings(tmp_path, monkeypatch) -> list[list[str]]:
    """Let a training copy the packaged weights; return the words of those that were called."""
    called = []

    def copy(words):
        output = Path(drives.train._parse(words).output)
        output.parent.mkdir(parents=True)
        shutil.copy(ROOT / PACKAGE_WEIGHTS, output)
        called.append(words)

    monkeypatch.setattr('training.train.RUNS', tmp_path)
    monkeypatch.setattr('training.train.main', copy)
    return called


@pytest.fixture
def looks(monkeypatch) -> list[str]:
    """Show a synthetic street for every split; return the splits that were looked at."""
    looked, examples = [], list(street_examples(range(10_000, 10_001), frames=1))
    monkeypatch.setattr(drives, 'camvid_examples', lambda split: looked.append(split) or examples)
    return looked


def test_each_drive_is_looked_at_by_a_network_of_the_others(tmp_path, trainings, looks):
    drives.main(['--output', str(tmp_path / 'report.json')])
    splits = [drives.train._parse(words).splits for words in trainings]
    assert splits == [[], ['train/0006R0', 'train/0016E5'], ['train/0001TP', 'train/0016E5'],
                      ['train/0001TP', 'train/0006R0']]
    assert looks == ['train/0001TP', 'val', 'train/0006R0', 'val', 'train/0016E5']
    report = json.loads((tmp_path / 'report.json').read_text())
    assert list(report) == ['0001TP', '0006R0', '0016E5']
    assert all(row['frames'] == 1 and 0.3 < row['miou'] <= 1 for row in report.values())
    assert ['val_miou' in row for row in report.values()] == [True, True, False]


def test_what_was_trained_before_is_not_trained_again(tmp_path, trainings, looks):
    drives.main(['--output', str(tmp_path / 'report.json')])
    drives.main(['--output', str(tmp_path / 'report.json')])
    assert len(trainings) == 4
