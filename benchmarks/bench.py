# SPDX-License-Identifier: Apache-2.0
"""`make bench`: measures each part against a reference in the same run, merges a report."""
from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
import json
import os
from pathlib import Path
import platform
from typing import Any

from seg_ros.core.memory import keep_freed_memory

ROOT = Path(__file__).resolve().parent.parent
PAIR_MODULES = ('benchmarks.postprocess', 'benchmarks.paste')
"""Each has `pairs()`: what is measured side by side with a library's own way."""


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--frames', type=int, default=100, help='counted frames a size and case')
    parser.add_argument('--rounds', type=int, default=15, help='counted rounds a pair')
    parser.add_argument('--only', choices=tuple(SECTIONS), help='leave the others as they were')
    parser.add_argument('--json', type=Path, default=ROOT / 'reports' / 'bench.json')
    arguments = parser.parse_args()
    # both as the node and the command line have it; the first is read when torch is imported
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    keep_freed_memory()
    for section in [arguments.only] if arguments.only else SECTIONS:
        run = {'frames': arguments.frames, 'rounds': arguments.rounds,
               'cores': os.cpu_count(), 'python': platform.python_version(),
               'load_before': round(os.getloadavg()[0], 2)}  # earlier sections count too
        figures = SECTIONS[section](arguments)
        _merge(arguments.json, section, run, figures)
    print(f'written to {arguments.json}')


def _merge(path: Path, section: str, run: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
    """Put a section into the report at once: a run may be ended before its last one."""
    report = json.loads(path.read_text()) if path.exists() else {'runs': {}}
    report['runs'][section] = run
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(report | figures, indent=2) + '\n')


def _node(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the node beside a bare relay; needs ROS, the others do not."""
    from benchmarks import node_cost
    cost = node_cost.measure(frames=arguments.frames)
    for size, figures in cost.items():
        print(_cost_table(size, figures))
    return {'node_cost': cost}


def _cameras(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one node with several cameras beside its model; needs ROS too."""
    from benchmarks import camera_throughput
    cameras = camera_throughput.measure(frames=arguments.frames)
    print(camera_throughput.table(cameras))
    return {'cameras': cameras}


def _gpu(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure large models through topics beside the models alone; needs ROS and a GPU."""
    from benchmarks import gpu_throughput
    figures = gpu_throughput.measure(frames=arguments.frames)
    print(gpu_throughput.table(figures))
    return {'gpu': figures}


def _street(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the synthetic street beside a warp."""
    from benchmarks import street_speed
    street = street_speed.measure(frames=arguments.frames)
    print(_street_table(street))
    return {'street': street}


def _postprocess(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the way from a network's outputs to a segmentation beside the libraries' own."""
    from benchmarks import paired
    pairs = [pair for name in PAIR_MODULES if find_spec(name)
             for pair in import_module(name).pairs()]
    figures = paired.measure_pairs(pairs, rounds=arguments.rounds)
    print(paired.pairs_table(figures))
    return {'postprocess': figures}


def _points(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure depth to a labelled cloud beside plain numpy."""
    from benchmarks import paired, points
    figures = paired.measure_pairs(points.pairs(), rounds=arguments.rounds)
    print(paired.pairs_table(figures, title='points'))
    return {'points': figures}


def _space(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the 2D outputs beside those in space; needs ROS."""
    from benchmarks import space_cost
    figures = space_cost.measure(frames=arguments.frames)
    print(space_cost.table(figures))
    return {'space_cost': figures}


def _tracking(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the tracker beside ByteTrack."""
    from benchmarks import track_speed
    figures = track_speed.measure(frames=3 * arguments.frames)
    print(track_speed.table(figures))
    return {'tracking': figures}


SECTIONS: Mapping[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    'node': _node, 'cameras': _cameras, 'street': _street, 'postprocess': _postprocess,
    'gpu': _gpu, 'points': _points, 'space': _space, 'tracking': _tracking}


def _cost_table(size: str, figures: Mapping[str, Any]) -> str:
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
