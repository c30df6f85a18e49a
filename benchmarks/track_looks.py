# SPDX-License-Identifier: Apache-2.0
"""Measures how well looks tell objects of recorded frames apart: who is who is told by overlap."""
from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu
from tqdm import tqdm

from benchmarks.camvid_stream import CAMVID
from seg_ros.core.appearance import difference, looks_of
from seg_ros.core.config import config_from
from seg_ros.core.lattice import Lattice
from seg_ros.core.tracking_metrics import instance_iou
from seg_ros.core.types import Segmentation
from seg_ros.models.pipeline import Pipeline
from seg_ros.sim.recording import open_recording

LAGS_S = (0.07, 0.2, 0.5, 1.0)
LIGHT = 0.25  # standard deviation of the logarithm of the light that falls on a later frame
SAME_IOU = 0.6  # from frame to frame, of what is surely one object
LEAST_AREA = 100  # pixels

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Seen:
    """The instances of a frame that are large enough."""

    names: NDArray[np.int64]  # (N,) the same as long as it overlaps from frame to frame
    class_ids: NDArray[np.uint8]
    looks: Floats  # (N, CELLS)
    looks_relit: Floats  # in other light


def named(frames: Iterable[Segmentation]) -> list[NDArray[np.int64]]:
    """Return (N,) names of each frame's instances: of what overlaps, or new ones."""
    new, names, before = count(), [], None
    for frame in frames:
        mine = np.array([next(new) for _ in range(len(frame.instances))], np.int64)
        if before is not None:
            rows, columns = np.nonzero(instance_iou(before, frame) > SAME_IOU)
            alike = before.instances.class_ids[rows] == frame.instances.class_ids[columns]
            mine[columns[alike]] = names[-1][rows[alike]]
        names.append(mine)
        before = frame
    return names


def pairs(first: Seen, later: Seen, *, relit: bool) -> tuple[Floats, NDArray[np.bool_]]:
    """Return how pairs of instances of one class differ (P,), and whether they are one object.

    Two names are two objects where one frame has both.
    """
    same = first.names[:, None] == later.names
    both_there = np.isin(first.names, later.names)[:, None] | np.isin(later.names, first.names)
    known = (first.class_ids[:, None] == later.class_ids) & (same | both_there)
    return difference(first.looks, later.looks_relit if relit else later.looks)[known], same[known]


def told_apart(frames: Sequence[Seen], *, lag: int, relit: bool) -> tuple[float, int, int]:
    """Return how often one object differs less than two, and how many pairs of each there are.

    The area under the curve of Hanley and McNeil 1982: 0.5 by chance.
    """
    found = [pairs(first, later, relit=relit)
             for first, later in zip(frames, frames[lag:], strict=False)]
    differ, same = (np.concatenate(column) for column in zip(*found, strict=True))
    ones, others = int(same.sum()), int((~same).sum())
    if not ones or not others:
        return float('nan'), ones, others
    wins = mannwhitneyu(differ[~same], differ[same]).statistic
    return float(wins) / (ones * others), ones, others


def look(images: Sequence[NDArray[np.uint8]], *, model: str) -> list[Seen]:
    """Segment the images and return what is seen."""
    pipeline = Pipeline(config_from({'panoptic_model': model}))
    segmented = [pipeline.segment(image) for image in tqdm(images, unit='frame')]
    light = np.exp(np.random.default_rng(0).normal(0, LIGHT, len(images)))
    return [_seen(*frame)
            for frame in zip(images, segmented, named(segmented), light, strict=True)]


def _seen(image: NDArray[np.uint8], frame: Segmentation, names: NDArray[np.int64], light: float
          ) -> Seen:
    large = np.bincount(frame.instance_map.ravel(), minlength=len(names) + 1)[1:] >= LEAST_AREA
    lattice = Lattice.of(frame.instance_map, frame.instances.boxes)
    relit = np.clip(image * light, 0, 255).astype(np.uint8)
    return Seen(names[large], frame.instances.class_ids[large], looks_of(lattice, image)[large],
                looks_of(lattice, relit)[large])


def main(words: Sequence[str] | None = None) -> None:
    """Look, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--images', type=Path, default=CAMVID / 'val' / 'images',
                        help='a folder of frames in order, or a video; by default CamVid val')
    parser.add_argument('--rate-hz', type=float, default=15.0)
    parser.add_argument('--model', default='street_tiny')
    arguments = parser.parse_args(words)
    images = [picture.image for picture in open_recording(arguments.images)]
    if len(images) < 2:
        raise SystemExit(f'{arguments.images} has {len(images)} frames, expected at least 2')
    frames = look(images, model=arguments.model)
    lags = sorted({max(1, round(seconds * arguments.rate_hz)) for seconds in LAGS_S})
    print(f'{"later by, s":>12}{"of one":>8}{"of two":>8}{"told apart":>12}{"in other light":>16}')
    for lag in (lag for lag in lags if lag < len(frames)):
        share, ones, others = told_apart(frames, lag=lag, relit=False)
        relit, *_ = told_apart(frames, lag=lag, relit=True)
        print(f'{lag / arguments.rate_hz:>12.2f}{ones:>8}{others:>8}{share:>12.4f}{relit:>16.4f}')


if __name__ == '__main__':
    main()
