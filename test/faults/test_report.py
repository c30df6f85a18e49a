# SPDX-License-Identifier: Apache-2.0
"""The report is what was run, goes on where it stopped and leaves out no line."""
from __future__ import annotations

import json

import numpy as np
import pytest

from faults import __main__ as command
from faults.line import good, Line, Result

MATRIX = ('V1 V2 V4 V5 P1 P2 H1 H2 H3 H4 M1 M2 T1 T2 Q1 L1 L2 C1 C2 K1 K2 K3 LC1 PA1 PA2 '
          'S1').split()


@pytest.fixture
def lines(monkeypatch, tmp_path):
    """Replace the matrix by two lines that only count how often they are run."""
    calls = []

    def line(name, *, passed):
        def run(_, count):
            calls.append((name, count))
            return Result(tried=count, passed=passed(count), figures={'x': 1}, problems=[])
        return Line(name, 'a fault', 2, 10, run)
    monkeypatch.setattr(command, 'LINES', {
        'A': line('A', passed=lambda count: count), 'B': line('B', passed=lambda count: 0)})
    monkeypatch.setattr(command, 'REPORT', tmp_path / 'faults.json')
    return calls


def run(monkeypatch, *arguments):
    monkeypatch.setattr('sys.argv', ['faults', *arguments])
    return command.main()


def test_a_line_that_has_passed_is_not_run_again_and_a_failed_one_is(monkeypatch, lines):
    assert run(monkeypatch) == 1
    assert run(monkeypatch) == 1
    assert lines == [('A', 10), ('B', 10), ('B', 10)]
    assert run(monkeypatch, 'A') == 0
    report = json.loads(command.REPORT.read_text())
    assert list(report) == ['A', 'B']
    assert report['A']['passed'] == 10 and report['B']['passed'] == 0


def test_a_line_that_ran_with_fewer_tries_is_run_with_more(monkeypatch, lines):
    assert run(monkeypatch, 'A', '--count', '3') == 0
    assert run(monkeypatch, 'A') == 0
    assert run(monkeypatch, 'A', '--again') == 0
    assert lines == [('A', 3), ('A', 10), ('A', 10)]


def test_every_line_of_the_matrix_is_there():
    assert sorted(command.LINES) == sorted(MATRIX)


def test_after_one_answer_is_missing_the_others_are_not_waited_for_as_long():
    class Deaf:
        patience_s, waited_s = 120.0, []

        def image(self, picture):
            return picture

        def ask(self, message, *, timeout_s):
            self.waited_s.append(timeout_s)
            raise TimeoutError(f'not within {timeout_s} s')

    robot = Deaf()
    problems = [good(robot, np.zeros((2, 2, 3), np.uint8), what=f'frame {i}') for i in range(3)]
    assert robot.waited_s == [120.0, 5.0, 5.0]
    assert problems[1:] == ['frame 1: not within 5.0 s', 'frame 2: not within 5.0 s']
