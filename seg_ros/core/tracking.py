# SPDX-License-Identifier: Apache-2.0
"""Trackers give instances ids that last; for now only the one that does not track."""
from __future__ import annotations

from typing import Protocol

from seg_ros.core.types import Segmentation


class Tracker(Protocol):
    """Names each object for as long as it is seen. One tracker a camera, called every frame."""

    def update(self, segmentation: Segmentation, *, stamp: int) -> Segmentation:
        """Return the segmentation with track ids; stamp in ns."""
        ...


class NoTracker:
    """Leaves every instance without a track: ids count from 1 in each frame."""

    def update(self, segmentation: Segmentation, *, stamp: int) -> Segmentation:
        """Return the segmentation as it is."""
        return segmentation
