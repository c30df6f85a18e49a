# SPDX-License-Identifier: Apache-2.0
"""Several images at once on a CPU, each on threads of its own."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar('T')
R = TypeVar('R')


def side_by_side(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Return the function's results in the order of the items; raises the first error.

    The items share torch's threads: those that work on one image together wait for the slowest
    of them at every layer, those that work on an image each do not.
    """
    threads = torch.get_num_threads()
    width = min(len(items), threads)
    if width < 2:
        return [function(item) for item in items]
    try:
        with ThreadPoolExecutor(width, initializer=torch.set_num_threads,
                                initargs=(threads // width,)) as pool:
            return list(pool.map(function, items))
    finally:
        torch.set_num_threads(threads)  # a new thread begins with the number that was set last
