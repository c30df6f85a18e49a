# SPDX-License-Identifier: Apache-2.0
"""`seg_ros street`: frames of the synthetic street with the truth about classes and identities."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import trange

from seg_ros.core.config import parse_size
from seg_ros.sim import Street, StreetFrame
from seg_ros.tools.truth_files import encode_grey16


class Numbers:
    """Counts the objects of each class from 1, in the order in which they appear."""

    def __init__(self) -> None:
        """Start without objects."""
        self._number_of: dict[int, int] = {}  # the street's id -> number
        self._counts: Counter[int] = Counter()

    def __len__(self) -> int:
        """Count the objects."""
        return len(self._number_of)

    def of(self, frame: StreetFrame) -> NDArray[np.int32]:
        """Return (H, W) the number of each pixel's object, 0 = none."""
        ids, first, rows = np.unique(
            frame.instance_map, return_index=True, return_inverse=True
        )
        classes = frame.class_map.ravel()[first]
        pairs = zip(ids.tolist(), classes.tolist(), strict=True)
        numbers = [self._number(i, class_id) if i else 0 for i, class_id in pairs]
        return np.array(numbers, np.int32)[rows].reshape(frame.instance_map.shape)

    def _number(self, street_id: int, class_id: int) -> int:
        if street_id not in self._number_of:
            self._counts[class_id] += 1
            self._number_of[street_id] = self._counts[class_id]
        return self._number_of[street_id]


def run(options: Namespace) -> int:
    """Write images/ and truth/ and say how to measure on them."""
    if options.frames < 1:
        raise ValueError(f'--frames is {options.frames}, expected at least 1')
    size = parse_size(options.size, name='--size')
    if size is None:
        raise ValueError("--size is '', expected WIDTHxHEIGHT")
    street = Street(seed=options.seed, width=size[0], height=size[1], rate_hz=options.rate_hz)
    images, truth = Path(options.out) / 'images', Path(options.out) / 'truth'
    for folder in (images, truth):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ValueError(f'{str(folder)!r} has files in it, expected a new or empty folder')
    numbers = Numbers()
    for index in trange(options.frames, unit='frame', desc='street'):
        frame = street.frame(index)
        name = f'{index:06d}.png'
        _write(images / name, cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
        _write(truth / name, encode_grey16(frame.class_map, numbers.of(frame)))
    print(
        f'{options.frames} frames, {len(numbers)} objects. To measure on them:\n'
        f'  seg_ros evaluate --video --images {images} --labels {truth} '
        f'--rate-hz {options.rate_hz:g}'
    )
    return 0


def _write(path: Path, pixels: NDArray[Any]) -> None:
    """Write a PNG."""
    path.write_bytes(cv2.imencode('.png', pixels)[1].tobytes())
