# SPDX-License-Identifier: Apache-2.0
"""Writes requirements/constraints.txt: one version for every package that set-up would install."""

import json
from pathlib import Path
import subprocess
import sys
import tempfile

from setup import REQUIREMENTS


def resolve(files: list[Path]) -> list[str]:
    """Ask pip what it would install from nothing, as lines `name==version`."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / 'report.json'
        subprocess.run(
            [sys.executable, '-m', 'pip', 'install', '--quiet', '--dry-run', '--ignore-installed']
            + ['--report', str(report)]
            + [word for file in files for word in ('-r', str(file))],
            check=True,
        )
        found = [item['metadata'] for item in json.loads(report.read_text())['install']]
    return sorted(f'{d["name"].lower().replace("_", "-")}=={d["version"]}' for d in found)


def main() -> None:
    """Resolve the three lists of requirements and write the constraints beside them."""
    lines = resolve([REQUIREMENTS / f'{name}.txt' for name in ('run', 'dev', 'ros')])
    header = '# Every package that set-up installs, written by tools/ros_from_pip/lock.py.'
    (REQUIREMENTS / 'constraints.txt').write_text('\n'.join([header, *lines]) + '\n')
    print(f'{len(lines)} packages pinned in requirements/constraints.txt')


if __name__ == '__main__':
    main()
