# SPDX-License-Identifier: Apache-2.0
"""A benchmark of one section leaves the figures of the others as they were."""
from __future__ import annotations

import json
import sys

from benchmarks import bench


def test_sections_are_merged_into_one_report(monkeypatch, tmp_path):
    path = tmp_path / 'reports' / 'bench.json'
    for round_, sections in enumerate((['points'], ['street', 'points'])):
        monkeypatch.setattr(bench, 'SECTIONS', {
            name: lambda arguments, name=name, round_=round_: {name: round_}
            for name in sections})
        monkeypatch.setattr(sys, 'argv', ['bench', '--json', str(path), '--frames', '7'])
        bench.main()
    monkeypatch.setattr(bench, 'SECTIONS', {'street': lambda arguments: {'street': 2},
                                            'points': None})
    monkeypatch.setattr(sys, 'argv', ['bench', '--json', str(path), '--only', 'street'])
    bench.main()
    report = json.loads(path.read_text())
    assert (report['points'], report['street']) == (1, 2)
    assert report['runs']['points']['frames'] == 7
