# SPDX-License-Identifier: Apache-2.0
"""The segmentation node, but every fourth piece of a transition's work raises, before or after."""
from __future__ import annotations

from collections.abc import Callable
import random
import sys

from seg_ros.models.pipeline import Pipeline
from seg_ros.ros.process import run_node
from seg_ros.ros.segmentation_node import SegmentationNode

_MOODS = random.Random(1)


def _moody(work: Callable[[], None]) -> None:
    """Do some work, or raise before or after it."""
    mood = _MOODS.random()
    if mood < 0.125:
        raise RuntimeError('no mood to begin')
    work()
    if mood > 0.875:
        raise RuntimeError('no mood to end')


class MoodyNode(SegmentationNode):
    """Fails in each of its transitions at times."""

    def configure(self, prepared: Pipeline) -> None:
        """Configure, or raise."""
        _moody(lambda: super(MoodyNode, self).configure(prepared))

    def activate(self) -> None:
        """Activate, or raise."""
        _moody(super().activate)

    def deactivate(self) -> None:
        """Deactivate, or raise."""
        _moody(super().deactivate)

    def release(self) -> None:
        """Release, or raise."""
        _moody(super().release)


if __name__ == '__main__':
    sys.exit(run_node(MoodyNode, name='segmentation_node', stop=lambda: False))
