# SPDX-License-Identifier: Apache-2.0
"""`make bench`: measures node and street against bare references, prints, writes a report."""
from __future__ import annotations

import argparse
from collections.abc import Mapping
import json
import os
from pathlib import Path
import platform
from typing import Any

from benchmarks import street_speed

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--frames', type=int, default=100, help='counted frames a size and case')
    parser.add_argument('--only', choices=('node', 'street'), help='leave the other out')
    parser.add_argument('--json', type=Path, help='reports/bench.json, or bench_<only>.json')
    arguments = parser.parse_args()
    name = f'bench_{arguments.only}.json' if arguments.only else 'bench.json'
    path = arguments.json or ROOT / 'reports' / name
    report: dict[str, Any] = {
        'machine': {'cores': os.cpu_count(), 'python': platform.python_version(),
                    'load_before': round(os.getloadavg()[0], 2)},
        'frames': arguments.frames}
    if arguments.only != 'street':
        from benchmarks import node_cost  # needs ROS, the street does not
        report['node_cost'] = node_cost.measure(frames=arguments.frames)
        for size, figures in report['node_cost'].items():
            print(_table(size, figures))
    if arguments.only != 'node':
        report['street'] = street_speed.measure(frames=arguments.frames)
        print(_street_table(report['street']))
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + '\n')
    print(f'written to {path}')


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


def _street_table(street: Mapping[str, Any]) -> str:
    """Return the street's figures for people."""
    lines = [f'\n{"street, one core":<20}{"mean ms":>9}{"p50 ms":>9}{"p99 ms":>9}{"frames/s":>9}'
             f'{"x warp":>9}']
    for size, row in street.items():
        cpu = row['cpu_ms']
        lines.append(f'{size:<20}{cpu["mean"]:>9.1f}{cpu["p50"]:>9.1f}{cpu["p99"]:>9.1f}'
                     f'{row["frames_per_second"]:>9.1f}{row["times_warp"]:>9.1f}')
    return '\n'.join(lines)


if __name__ == '__main__':
    main()
