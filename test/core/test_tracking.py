# SPDX-License-Identifier: Apache-2.0
"""The null tracker leaves everything as it is."""
from __future__ import annotations

import numpy as np

from seg_ros.core.tracking import NoTracker
from seg_ros.core.types import segmentation_from_map


def test_without_tracking_a_segmentation_passes_unchanged():
    segmentation = segmentation_from_map(
        class_map=np.zeros((1, 2), np.uint8), instance_map=np.array([[0, 1]], np.int32),
        class_ids=[0], scores=[1.0])
    assert NoTracker().update(segmentation, stamp=7) is segmentation
