# SPDX-License-Identifier: Apache-2.0
"""`make bench`: measures the node against a bare relay, prints tables, writes a report."""
from __future__ import annotations

import argparse
from collections.abc import Mapping
import json
import os
from pathlib import Path
import platform
from typing import Any

from benchmarks.node_cost import measure, ROOT


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--frames', type=int, default=100, help='counted frames a size and case')
    parser.add_argument('--json', type=Path, default=ROOT / 'reports' / 'bench.json')
    arguments = parser.parse_args()
    load_before = os.getloadavg()[0]
    node_cost = measure(frames=arguments.frames)
    report = {'machine': {'cores': os.cpu_count(), 'python': platform.python_version(),
                          'load_before': round(load_before, 2)},
              'frames': arguments.frames, 'node_cost': node_cost}
    for size, figures in node_cost.items():
        print(_table(size, figures))
    arguments.json.parent.mkdir(exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=2) + '\n')
    print(f'written to {arguments.json}')


def _table(size: str, figures: Mapping[str, Any]) -> str:
    """Return one size's figures for people."""
    lines = [f'\n{size:<20}{"p50 ms":>9}{"p99 ms":>9}{"x relay":>9}{"MB":>8}{"x relay":>9}']
    for name, row in figures.items():
        lines.append(f'{name:<20}{row["round_trip_ms"]["p50"]:>9.2f}'
                     f'{row["round_trip_ms"]["p99"]:>9.2f}{row["times_relay"]:>9.2f}'
                     f'{row["bytes"] / 1e6:>8.1f}{row["bytes_times_relay"]:>9.2f}')
    for name, row in figures.items():
        if 'stage_ms' in row:
            stages = ', '.join(f'{stage} {ms:.2f}' for stage, ms in row['stage_ms'].items())
            lines.append(f'  stages of {name}, ms: {stages}')
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
