# SPDX-License-Identifier: Apache-2.0
"""What is measured is a scene that both sides answer with the segments that are in it."""
from __future__ import annotations

import numpy as np
import pytest

from benchmarks.postprocess import KEPT, pairs
from seg_ros.core.types import VOID

PAIRS = pairs()


@pytest.mark.parametrize('pair', PAIRS[:2], ids=lambda pair: pair.name)
def test_every_kept_query_is_a_segment_on_our_side(pair):
    result = pair.ours()
    stuff = set(np.unique(result.class_map[result.instance_map == 0]).tolist()) - {VOID}
    assert len(result.instances) + len(stuff) == KEPT
    assert (result.class_map != VOID).mean() > 0.95


@pytest.mark.parametrize('pair', PAIRS[:3], ids=lambda pair: pair.name)
def test_the_library_finds_them_too(pair):
    assert len(pair.theirs()[0]['segments_info']) == KEPT


def test_class_maps_are_the_same():
    pair = PAIRS[3]
    ours, theirs = pair.ours().class_map, pair.theirs()[0].numpy()
    np.testing.assert_array_equal(ours, theirs)
    assert len(np.unique(ours)) == KEPT
