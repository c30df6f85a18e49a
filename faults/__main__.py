# SPDX-License-Identifier: Apache-2.0
"""`make fuzz` and `make soak`: the matrix with full counts, line by line, into one report."""
from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
import fcntl
import json
import os
from pathlib import Path
import time
from typing import Any

from faults import images, models, parameters, processes, streams
from faults.line import bench, Line, Result

ROOT = Path(__file__).resolve().parent.parent
REPORT = ROOT / 'reports' / 'faults.json'
LINES = {line.id: line for module in (images, models, streams, processes, parameters)
         for line in module.LINES}
_ALONE = 'S1'  # an hour, with the machine to itself


def main() -> int:
    """Run what is not in the report yet; return 1 where a line failed."""
    options = _parser().parse_args()
    wanted = options.lines or [name for name in LINES if name != _ALONE]
    for name in wanted:
        count = options.count or LINES[name].many
        entry = _read().get(name)
        if _is_done(entry, count) and not options.again:
            print(f'{name}: done before, {entry["passed"]} of {entry["tried"]}')
            continue
        entry = _run(LINES[name], count)
        _merge(name, entry)
        print(f'{name}: {entry["passed"]} of {entry["tried"]} passed in {entry["seconds"]} s, '
              f'{entry["figures"]}', flush=True)
        for problem in entry['problems']:
            print(f'  {problem}')
    report = _read()
    return int(any(report[name]['passed'] < report[name]['tried'] for name in wanted))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('lines', nargs='*', metavar='ID', help=f'of {", ".join(LINES)}; all '
                        f'but {_ALONE} if none is named')
    parser.add_argument('--count', type=int, help='tries, instead of the full count')
    parser.add_argument('--again', action='store_true', help='run what is in the report too')
    return parser


def _is_done(entry: Mapping[str, Any] | None, count: int) -> bool:
    """Return whether a line has passed with as many tries as are asked for."""
    return entry is not None and entry['count'] >= count and entry['passed'] == entry['tried']


def _run(line: Line, count: int) -> dict[str, Any]:
    """Run a line and return its entry; what ends it is a failure like any other."""
    started = time.monotonic()
    load = os.getloadavg()[0]
    try:
        with bench() as lent:
            result = line.run(lent, count)
    except TimeoutError as error:
        result = Result(tried=1, passed=0, figures={}, problems=[str(error)])
    return {'fault': line.fault, 'count': count, 'full_count': line.many, **asdict(result),
            'seconds': round(time.monotonic() - started, 1), 'load_before': round(load, 1)}


def _read() -> dict[str, Any]:
    return json.loads(REPORT.read_text()) if REPORT.exists() else {}


def _merge(name: str, entry: Mapping[str, Any]) -> None:
    """Put a line's entry into the report, in the order of the matrix; others may do so too."""
    with REPORT.with_suffix('.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        report = _read() | {name: entry}
        ordered = {line: report[line] for line in LINES if line in report}
        temporary = REPORT.with_suffix('.tmp')
        temporary.write_text(json.dumps(ordered, indent=2) + '\n')
        temporary.replace(REPORT)


if __name__ == '__main__':
    raise SystemExit(main())
