# SPDX-License-Identifier: Apache-2.0
"""How well ids hold with true instance maps of the synthetic street: the tracker alone."""
from __future__ import annotations

import argparse
from dataclasses import asdict, replace
import json
from pathlib import Path
import time
from typing import Any

import numpy as np
from tqdm import tqdm

from seg_ros.core.config import TrackingConfig
from seg_ros.core.labels import LabelSet
from seg_ros.core.tracking import MaskTracker
from seg_ros.core.tracking_metrics import IdentityMetrics
from seg_ros.core.types import Segmentation, segmentation_from_map
from seg_ros.sim import CLASS_NAMES, Street, StreetFrame, THINGS

ROOT = Path(__file__).resolve().parent.parent
LABEL_SET = LabelSet(tuple(CLASS_NAMES), frozenset(THINGS))
SEEDS = (10_000, 10_003, 10_011, 10_020)
RATES_HZ = (30.0, 15.0, 10.0, 5.0)
MIN_AREA = 100  # pixels; smaller true instances are left out, as for PQ


class Identities:
    """Names true objects; one that was out of view for too long comes back as another."""

    def __init__(self, *, max_lost_s: float) -> None:
        """Start without objects."""
        self._max_lost_s = max_lost_s
        self._seen: dict[int, tuple[int, float]] = {}  # street's id -> (identity, seconds)
        self._count = 0

    def name(self, frame: StreetFrame) -> Segmentation:
        """Return a frame's truth with identities as track ids."""
        ids, areas = np.unique(frame.instance_map, return_counts=True)
        ids = ids[(ids > 0) & (areas >= MIN_AREA)]
        value = np.searchsorted(ids, frame.instance_map)
        known = np.isin(frame.instance_map, ids)
        instance_map = np.where(known, value + 1, 0).astype(np.int32)
        class_ids = [int(frame.class_map[frame.instance_map == i][0]) for i in ids]
        truth = segmentation_from_map(class_map=frame.class_map, instance_map=instance_map,
                                      class_ids=class_ids, scores=np.ones(len(ids)))
        names = np.array([self._identity(int(i), frame.time_s) for i in ids], np.int64)
        return replace(truth, instances=replace(truth.instances, track_ids=names))

    def _identity(self, street_id: int, time_s: float) -> int:
        identity, seen_s = self._seen.get(street_id, (0, -np.inf))
        if time_s - seen_s > self._max_lost_s:
            self._count += 1
            identity = self._count
        self._seen[street_id] = identity, time_s
        return identity


def measure(*, seconds: float) -> dict[str, Any]:
    """Return the scores for each rate, over all seeds."""
    config = TrackingConfig(enabled=True)
    results: dict[str, Any] = {}
    for rate_hz in RATES_HZ:
        metrics, times = IdentityMetrics(), []
        for run, seed in enumerate(SEEDS):
            street = Street(seed=seed, width=320, height=240, rate_hz=rate_hz)
            tracker = MaskTracker(config, LABEL_SET)
            identities = Identities(max_lost_s=config.max_lost_s)
            for index in tqdm(range(round(seconds * rate_hz)), desc=f'{rate_hz:g} Hz, {seed}'):
                truth = identities.name(street.frame(index))
                start = time.perf_counter()
                tracked = tracker.update(_untracked(truth), stamp=round(1e9 * index / rate_hz))
                times.append(1e3 * (time.perf_counter() - start))
                metrics.update(_apart(truth, run), _apart(tracked, run))
        scores = metrics.scores()
        results[f'{rate_hz:g} Hz'] = asdict(scores) | {
            'switches_per_1000': scores.switches_per_1000,
            'update_ms_p50': float(np.median(times))}
    return results


def _untracked(truth: Segmentation) -> Segmentation:
    """Return the truth as a model would give it."""
    return replace(truth, instances=replace(
        truth.instances, track_ids=np.zeros(len(truth.instances), np.int64)))


def _apart(segmentation: Segmentation, run: int) -> Segmentation:
    """Return the segmentation with ids that no other run has."""
    instances = segmentation.instances
    return replace(segmentation, instances=replace(
        instances, track_ids=instances.track_ids + run * 1_000_000))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, default=10.0, help='of each street')
    parser.add_argument('--json', type=Path, default=ROOT / 'reports' / 'tracking.json')
    arguments = parser.parse_args()
    results = measure(seconds=arguments.seconds)
    for rate, row in results.items():
        print(f'{rate:>6}: IDF1 {row["idf1"]:.3f}, HOTA {row["hota"]:.3f}, '
              f'{row["id_switches"]} switches in {row["object_frames"]} object-frames '
              f'({row["switches_per_1000"]:.1f} in 1,000), {row["update_ms_p50"]:.2f} ms')
    arguments.json.write_text(json.dumps(results, indent=1) + '\n')


if __name__ == '__main__':
    main()
