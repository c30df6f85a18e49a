# SPDX-License-Identifier: Apache-2.0
"""The fault matrix' lines of parameters, each a few times, in a domain of its own."""
from __future__ import annotations

import pytest

from faults.line import bench
from faults.parameters import LINES


@pytest.mark.parametrize('line', LINES, ids=lambda line: line.id)
def test_a_fault_is_survived(line):
    with bench() as lent:
        result = line.run(lent, line.few)
    assert not result.problems
    assert result.passed == result.tried >= line.few
