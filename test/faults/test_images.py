# SPDX-License-Identifier: Apache-2.0
"""The fault matrix' lines about images, each a few times, against one node."""
from __future__ import annotations

import pytest

from faults.images import LINES
from faults.line import bench


@pytest.fixture(scope='module')
def shared_bench():
    """Lend one domain and its node to all lines."""
    with bench() as lent:
        yield lent


@pytest.mark.parametrize('line', LINES, ids=lambda line: line.id)
def test_a_fault_of_an_image_passes_by(shared_bench, line):
    result = line.run(shared_bench, line.few)
    assert not result.problems
    assert result.passed == result.tried >= line.few
