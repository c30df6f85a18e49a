# SPDX-License-Identifier: Apache-2.0
"""Two ways to the same answer, timed in turn: the ratio holds on a noisy machine too."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
import time
from typing import Any

import numpy as np
from tqdm import tqdm

WARM_UP = 2  # rounds that fill caches and allocators


@dataclass(frozen=True)
class Pair:
    """One job done by us and by the library that we are measured against."""

    name: str  # `EoMT panoptic, 1280x720, 200 queries, 30 kept`
    ours: Callable[[], object]
    theirs: Callable[[], object]
    rival: str  # whose code `theirs` is: `transformers 5.23`
    goal: float  # theirs / ours that we set out to reach


def measure_pairs(pairs: Iterable[Pair], *, rounds: int) -> dict[str, Any]:
    """Return the times of each pair and the median of the ratios of its rounds."""
    return {pair.name: measure_pair(pair, rounds=rounds) for pair in pairs}


def measure_pair(pair: Pair, *, rounds: int) -> dict[str, Any]:
    """Run both in turn, first one first and then the other; both see the same machine."""
    ours, theirs = [], []
    for number in tqdm(range(WARM_UP + rounds), desc=pair.name, unit='round'):
        sides = [(ours, pair.ours), (theirs, pair.theirs)]
        for times, work in sides if number % 2 else reversed(sides):
            spent_ms = milliseconds_of(work)
            if number >= WARM_UP:
                times.append(spent_ms)
    ratio = float(np.median(np.array(theirs) / np.array(ours)))
    return {'ours_ms': percentiles(ours), 'theirs_ms': percentiles(theirs), 'rival': pair.rival,
            'rounds': rounds, 'times_faster': round(ratio, 2), 'goal': pair.goal,
            'reached': ratio >= pair.goal}


def milliseconds_of(work: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - start)


def percentiles(times_ms: Iterable[float]) -> dict[str, float]:
    """Return median and 99th percentile."""
    p50, p99 = np.percentile(list(times_ms), (50, 99))
    return {'p50': round(float(p50), 2), 'p99': round(float(p99), 2)}


def pairs_table(figures: Mapping[str, Mapping[str, Any]], *, title: str = 'post-processing'
                ) -> str:
    """Return the figures for people."""
    width = max(map(len, figures), default=0) + 2
    lines = [f'\n{title:<{width}}{"ours ms":>9}{"theirs ms":>11}{"x faster":>10}'
             f'{"goal":>6}']
    for name, row in figures.items():
        missed = '' if row['reached'] else '  missed'
        lines.append(f'{name:<{width}}{row["ours_ms"]["p50"]:>9.1f}'
                     f'{row["theirs_ms"]["p50"]:>11.1f}{row["times_faster"]:>10.1f}'
                     f'{row["goal"]:>6g}{missed}')
    return '\n'.join(lines)
