# SPDX-License-Identifier: Apache-2.0
"""Renders frames of the synthetic street once and keeps them on disk for the training."""
from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from tqdm import tqdm

from seg_ros.core.types import VOID
from seg_ros.sim import Street
from training.data import HEIGHT, Labelled, THING_IDS, UNCOUNTED, WIDTH

FRAMES_A_SEED = 8
FIRST_UNSEEN_SEED = 10_000
"""Seeds from here on are never trained on."""

RATE_HZ = 10.0
RUN_FRAMES = 600
"""A street is driven for a minute."""


def frame_numbers(seed: int, *, count: int = FRAMES_A_SEED) -> NDArray[np.int64]:
    """Return the frames of a seed that are looked at: one from each part of its run."""
    rng = np.random.default_rng(seed)
    part = RUN_FRAMES // count
    return np.arange(count) * part + rng.integers(0, part, count)


def read_synthetic(folder: Path, *, frames: int) -> Labelled:
    """Return the frames of seeds 0, 1, 2, ..., rendered where they are not there yet."""
    if frames > FIRST_UNSEEN_SEED * FRAMES_A_SEED:
        raise ValueError(f'{frames} frames would need unseen seeds, expected at most '
                         f'{FIRST_UNSEEN_SEED * FRAMES_A_SEED}')
    cache = folder / f'{_generator_version()}_{frames}'
    if not (cache / 'done').exists():
        _render(cache, frames=frames)
    return Labelled(*(np.load(cache / f'{name}.npy', mmap_mode='r')
                      for name in ('images', 'classes', 'instances')))


def _generator_version() -> str:
    """Return a short name for the generator's source: another generator, other frames."""
    sha = hashlib.sha256()
    for file in sorted(resources.files('seg_ros.sim').iterdir(), key=lambda file: file.name):
        if file.name.endswith('.py'):
            sha.update(file.read_bytes())
    return sha.hexdigest()[:12]


def _render(cache: Path, *, frames: int) -> None:
    """Draw the frames into arrays on disk."""
    cache.mkdir(parents=True, exist_ok=True)
    shape = (frames, HEIGHT, WIDTH)
    images = open_memmap(cache / 'images.npy', 'w+', np.uint8, (*shape, 3))
    classes = open_memmap(cache / 'classes.npy', 'w+', np.uint8, shape)
    instances = open_memmap(cache / 'instances.npy', 'w+', np.uint8, shape)
    for seed in tqdm(range(-(-frames // FRAMES_A_SEED)), desc='render', unit='street'):
        street = Street(seed=seed, width=WIDTH, height=HEIGHT, rate_hz=RATE_HZ)
        for place_in_run, number in enumerate(frame_numbers(seed)):
            place = seed * FRAMES_A_SEED + place_in_run
            if place < frames:
                frame = street.frame(int(number))
                images[place], classes[place] = frame.image, frame.class_map
                instances[place] = compact_ids(frame.class_map, frame.instance_map)
    (cache / 'done').touch()


def compact_ids(class_map: NDArray[np.uint8], instance_map: NDArray[np.int32]
                ) -> NDArray[np.uint8]:
    """Return the (H, W) ids as 1, 2, 3, ...; things without one are UNCOUNTED."""
    _, ids = np.unique(instance_map, return_inverse=True)
    ids = ids.reshape(instance_map.shape)
    if instance_map.min() > 0:
        ids += 1
    is_thing = np.isin(class_map, THING_IDS) | (class_map == VOID)
    return np.where(ids == 0, is_thing * UNCOUNTED, np.minimum(ids, UNCOUNTED)).astype(np.uint8)
