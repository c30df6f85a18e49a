# SPDX-License-Identifier: Apache-2.0
"""What a frame of the synthetic street costs on one core, beside a warp of the same size."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import time
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from seg_ros.sim import Street

SIZES = ((640, 480), (480, 360))
SEEDS = (10_000, 10_003, 10_011, 10_020)  # crowded, in no training
WARM_UP = 5  # frames that fill the memos of a street
REPEATS = 10  # of the reference after each frame: one alone is too short to time


def measure(*, frames: int) -> dict[str, Any]:
    """Return CPU time a frame for each size, over `frames` frames of every seed in order."""
    with _one_thread():
        return {f'{width}x{height}': _measure_size(width, height, frames=frames)
                for width, height in SIZES}


def _measure_size(width: int, height: int, *, frames: int) -> dict[str, Any]:
    """Return the figures of one size; frame and reference take turns, so both see one machine."""
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    street_ms, reference_ms = [], []
    for seed in SEEDS:
        street = Street(seed=seed, width=width, height=height)
        for index in tqdm(range(WARM_UP + frames), desc=f'street {width}x{height}, seed {seed}'):
            spent_ms = _cpu_ms(lambda s=street, i=index: s.frame(i))
            if index >= WARM_UP:
                street_ms.append(spent_ms)
                reference_ms.append(_cpu_ms(lambda: _reference(picture)) / REPEATS)
    mean_ms = float(np.mean(street_ms))
    return {'seeds': len(SEEDS), 'frames': len(street_ms), 'cpu_ms': {
        'mean': mean_ms, 'p50': float(np.median(street_ms)),
        'p99': float(np.percentile(street_ms, 99))},
        'frames_per_second': 1000 / mean_ms, 'warp_ms': float(np.mean(reference_ms)),
        'times_warp': float(np.median(np.array(street_ms) / np.array(reference_ms)))}


def _reference(picture: np.ndarray) -> None:
    """Turn a colour picture by one homography."""
    turn = np.array([[0.98, 0.05, 4.0], [-0.05, 0.98, 6.0], [1e-5, 2e-5, 1.0]])
    for _ in range(REPEATS):
        cv2.warpPerspective(picture, turn, picture.shape[1::-1])


def _cpu_ms(work: Callable[[], object]) -> float:
    """Return the CPU milliseconds that all threads of the process spend on some work."""
    start = time.process_time()
    work()
    return 1e3 * (time.process_time() - start)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
