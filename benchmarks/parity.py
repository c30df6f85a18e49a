# SPDX-License-Identifier: Apache-2.0
"""Compares every family with its own library, from the same weights: into reports/parity.json.

Run as `.venv/bin/python -m benchmarks.parity`; `make readme` writes the table into docs/models.md.
"""
from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PARITY_MODULES = ('benchmarks.parity_hub', 'benchmarks.parity_torchvision')
"""Each has `rows()`: what is compared."""

REPORT = Path(__file__).resolve().parent.parent / 'reports' / 'parity.json'


@dataclass(frozen=True)
class Row:
    """One comparison."""

    family: str
    task: str
    frame: str  # WIDTHxHEIGHT
    reference: str  # whose answer ours is compared with
    equal_classes: float  # share of pixels with the same class
    equal_instances: float  # share of pixels of the same instance
    segments: int  # of the reference


def compare(*, family: str, task: str, reference: str, ours: tuple[NDArray[np.uint8],
            NDArray[np.int32]], theirs: tuple[NDArray[np.uint8], NDArray[np.int32]]) -> Row:
    """Return how many pixels of two (class map, instance map) agree."""
    height, width = theirs[0].shape
    segments = len({*zip(theirs[0].ravel().tolist(), theirs[1].ravel().tolist(), strict=True)})
    return Row(family=family, task=task, frame=f'{width}x{height}', reference=reference,
               equal_classes=float((ours[0] == theirs[0]).mean()),
               equal_instances=float((ours[1] == theirs[1]).mean()), segments=segments)


def main() -> None:
    """Compare, print, write."""
    rows = [asdict(row) for name in PARITY_MODULES if find_spec(name)
            for row in import_module(name).rows()]
    for row in rows:
        print(*row.values(), sep=', ')
    REPORT.write_text(json.dumps(rows, indent=2) + '\n')
    print(f'written to {REPORT}')


if __name__ == '__main__':
    main()
