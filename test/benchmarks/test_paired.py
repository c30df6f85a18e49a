# SPDX-License-Identifier: Apache-2.0
"""Pairs are timed in turn, and a goal that is missed is said to be missed."""
from __future__ import annotations

from itertools import cycle

import pytest

from benchmarks import paired
from benchmarks.paired import measure_pair, Pair, pairs_table


def pair_of(calls: list[str], *, goal: float) -> Pair:
    return Pair(name='a job', ours=lambda: calls.append('ours'),
                theirs=lambda: calls.append('theirs'), rival='library 1.0', goal=goal)


@pytest.fixture
def steps(monkeypatch):
    """Let ours take 2 ms and theirs 10 ms on a clock of its own."""
    times = {'ours': 2.0, 'theirs': 10.0}

    def spent(work):
        calls = work.__closure__[0].cell_contents
        work()
        return times[calls[-1]]
    monkeypatch.setattr(paired, 'milliseconds_of', spent)


def test_both_sides_take_turns_at_going_first(steps):
    calls: list[str] = []
    measure_pair(pair_of(calls, goal=1.0), rounds=2)
    expected = cycle((['theirs', 'ours'], ['ours', 'theirs']))
    assert [calls[i:i + 2] for i in range(0, len(calls), 2)] == [
        next(expected) for _ in range(paired.WARM_UP + 2)]


@pytest.mark.parametrize(('goal', 'reached'), [(5.0, True), (5.1, False)])
def test_the_ratio_is_that_of_the_times_and_is_held_against_the_goal(steps, goal, reached):
    figures = measure_pair(pair_of([], goal=goal), rounds=3)
    assert figures['ours_ms'] == {'p50': 2.0, 'p99': 2.0}
    assert figures['theirs_ms'] == {'p50': 10.0, 'p99': 10.0}
    assert figures['times_faster'] == 5.0
    assert figures['reached'] is reached
    assert ('missed' in pairs_table({'a job': figures})) is not reached
