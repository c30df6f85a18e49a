# SPDX-License-Identifier: Apache-2.0
"""What tracking costs: 30 objects at 720p, ours by masks and colours, ByteTrack by boxes."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import cycle
import time
from typing import Any

import numpy as np
import supervision
from trackers import ByteTrackTracker

from benchmarks.paired import percentiles
from seg_ros.core.config import TrackingConfig
from seg_ros.core.labels import LabelSet
from seg_ros.core.tracking import MaskTracker
from seg_ros.core.types import Segmentation, segmentation_from_map

SIZE = (1280, 720)
OBJECTS = 30
FRAMES = 30
PERIOD_NS = 33_333_333
WARM_UP = 20


GOAL_MS = 3.0  # on one core


def measure(*, frames: int) -> dict[str, Any]:
    """Return the processor time of an update, ours and ByteTrack's in turn."""
    ours, theirs = _ours(), _theirs()
    times: dict[str, list[float]] = {'ours_cpu_ms': [], 'bytetrack_cpu_ms': []}
    for number in range(WARM_UP + frames):
        for kind, update in zip(times, (ours, theirs), strict=True):
            start = time.process_time()
            update()
            if number >= WARM_UP:
                times[kind].append(1e3 * (time.process_time() - start))
    return {kind: percentiles(values) for kind, values in times.items()} | {
        'size': f'{SIZE[0]}x{SIZE[1]}', 'objects': OBJECTS, 'goal_ms': GOAL_MS}


def table(figures: Mapping[str, Any]) -> str:
    """Return the figures for people."""
    ours, theirs = figures['ours_cpu_ms'], figures['bytetrack_cpu_ms']
    return (f'\ntracking, {figures["objects"]} objects, {figures["size"]}: {ours["p50"]:.2f} ms '
            f'(p99 {ours["p99"]:.2f}, goal {figures["goal_ms"]:.0f}), '
            f'ByteTrack on boxes {theirs["p50"]:.2f} ms')


def _ours() -> Callable[[], object]:
    tracker = MaskTracker(TrackingConfig(enabled=True), LabelSet(('car',), frozenset(('car',))))
    image = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
    frames = cycle(_there_and_back())
    stamps = iter(range(0, 1 << 62, PERIOD_NS))
    return lambda: tracker.update(next(frames), stamp=next(stamps), image=image)


def _theirs() -> Callable[[], object]:
    tracker = ByteTrackTracker(minimum_consecutive_frames=1, frame_rate=30.0)
    frames = cycle([supervision.Detections(
        xyxy=frame.instances.boxes, confidence=frame.instances.scores,
        class_id=frame.instances.class_ids.astype(int)) for frame in _there_and_back()])
    return lambda: tracker.update(next(frames))


def _there_and_back() -> list[Segmentation]:
    """Return a second of objects that drift, and back again, so that none ever jumps."""
    frames = [_frame(number) for number in range(FRAMES)]
    return [*frames, *reversed(frames)]


def _frame(number: int) -> Segmentation:
    """Return 6 x 5 blocks that have moved by 2 pixels a frame, each in a direction of its own."""
    instance_map = np.zeros((SIZE[1], SIZE[0]), np.int32)
    for index in range(OBJECTS):
        row, column = divmod(index, 6)
        y = 30 + 135 * row + (number if index % 2 else -number // 2)
        x = 40 + 205 * column + (2 * number if index % 3 else -number)
        instance_map[y:y + 90, x:x + 120] = index + 1
    return segmentation_from_map(
        class_map=np.where(instance_map > 0, np.uint8(0), np.uint8(255)),
        instance_map=instance_map, class_ids=[0] * OBJECTS, scores=[0.9] * OBJECTS)
