# SPDX-License-Identifier: Apache-2.0
"""Fits the weights by which the tracker knows objects again, on streets with exact identities."""
from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_expit
from tqdm import tqdm

from benchmarks.track_scenes import LABEL_SET, street_runs
from benchmarks.tracking import Shown, SOURCES, view_of
from seg_ros.core.appearance import difference, WEIGHT
from seg_ros.core.config import TrackingConfig
from seg_ros.core.sighting import Sighting
from seg_ros.core.tracking import MaskTracker, Odds

SEEDS = (10003, 30000, 30001, 30002, 41004, 42001, 42005)  # the tracker was tuned on them
RATES = (30.0, 15.0, 10.0, 5.0)
USED = Odds()
NAMES = tuple(field.name for field in fields(USED))

Floats = NDArray[np.float64]

_STEP = 1e-3  # odds are linear in each weight between kinks: differences are exact
_RIDGE = 1e-5  # keeps weights finite that nothing speaks against


@dataclass(frozen=True, eq=False)
class Choices:
    """What instances could have been: the tracks that were possible, or none of them."""

    evidence: Floats  # (P, K) of the pairs, by which their weights count; K as NAMES
    first: NDArray[np.intp]  # (C,) of the pairs of each choice
    right: NDArray[np.bool_]  # (P,) at most one a choice: none where the object is new

    @staticmethod
    def of(made: Sequence[tuple[Floats, NDArray[np.bool_]]]) -> Choices:
        """Join choices, each with at least one pair."""
        counts = [len(right) for _, right in made]
        return Choices(evidence=np.concatenate([evidence for evidence, _ in made]),
                       first=np.cumsum([0, *counts[:-1]]),
                       right=np.concatenate([right for _, right in made]))

    def loss(self, weights: Floats) -> tuple[float, Floats]:
        """Return the mean negative log-likelihood and its gradient (K,).

        The conditional logit of McFadden (1974), in which "none of them" has the odds 1.
        """
        odds = self.evidence @ weights
        largest = np.maximum(np.maximum.reduceat(odds, self.first), 0)
        counts = np.diff(np.append(self.first, len(odds)))
        power = np.exp(odds - np.repeat(largest, counts))
        total = np.add.reduceat(power, self.first) + np.exp(-largest)
        likely = power / np.repeat(total, counts)
        loss = (largest + np.log(total)).sum() - odds[self.right].sum()
        return loss / len(self.first), (likely - self.right) @ self.evidence / len(self.first)

    def wrong(self, weights: Floats) -> int:
        """Return how many choices have a likelier answer than the right one."""
        odds = self.evidence @ weights
        best = np.maximum(np.maximum.reduceat(odds, self.first), 0)
        of_right = np.add.reduceat(np.where(self.right, odds, 0), self.first)
        return int((of_right < best).sum())


def fitted(choices: Choices) -> Floats:
    """Return the (K,) weights under which the right answers are likeliest."""
    def loss(weights: Floats) -> tuple[float, Floats]:
        value, gradient = choices.loss(weights)
        return value + _RIDGE * weights @ weights, gradient + 2 * _RIDGE * weights
    return np.asarray(minimize(loss, np.zeros(len(NAMES)), jac=True, method='L-BFGS-B').x)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Looks of tracks and instances of one class that may be one object, and whether they are."""

    difference: Floats  # (P,) as `difference` gives it
    same: NDArray[np.bool_]  # (P,)

    @staticmethod
    def of(seen: Sequence[Pairs]) -> Pairs:
        """Join pairs."""
        return Pairs(np.concatenate([pairs.difference for pairs in seen]),
                     np.concatenate([pairs.same for pairs in seen]))

    def loss(self, weights: Floats) -> float:
        """Return the mean negative log-likelihood, of both kinds alike, under bias - w d.

        The weights are (2,), w and the bias.
        """
        weight, bias = weights
        odds = bias - weight * self.difference
        of_same, of_others = log_expit(odds[self.same]), log_expit(-odds[~self.same])
        return -float(of_same.mean() + of_others.mean()) / 2


def fitted_looks(pairs: Pairs) -> Floats:
    """Return the (2,) weight of what differs, and the bias, by logistic regression."""
    scale = np.array((pairs.difference.std(), 1.0))
    found = minimize(lambda scaled: pairs.loss(scaled / scale), np.zeros(len(scale)))
    return np.asarray(found.x) / scale


class Taught(MaskTracker):
    """Is told which instance is which object, and notes what it could have chosen."""

    def __init__(self) -> None:
        """Start without tracks."""
        # whoever is told what every piece is needs nothing put together
        super().__init__(TrackingConfig(enabled=True, max_split_s=0.0), LABEL_SET)
        self.choices: list[tuple[Floats, NDArray[np.bool_]]] = []
        self.impossible = 0  # right answers that were not among the possible ones
        self.looks: list[Pairs] = []
        self._objects = np.zeros(0, np.int64)
        self._counts_now = np.zeros(0, bool)
        self._id_of: dict[int, int] = {}

    def learn(self, frame: Shown) -> None:
        """Look at a frame whose truth is known."""
        self._objects, self._counts_now = frame.objects(), frame.counts
        segmentation = self.update(frame.segmentation, stamp=frame.moment.stamp,
                                   image=frame.moment.image)
        known = self._objects > 0
        self._id_of |= dict(zip(self._objects[known].tolist(),
                                segmentation.instances.track_ids[known].tolist(), strict=True))

    def _match(self, tracks: Any, sighting: Sighting) -> NDArray[np.intp]:
        track_of = super()._match(tracks, sighting)
        row_of = {int(track_id): row for row, track_id in enumerate(tracks.ids)}
        right = np.array([row_of.get(self._id_of.get(i, -1), -1)
                          for i in self._objects.tolist()], int)
        if len(tracks):
            evidence = self._evidence(tracks, sighting)
            possible = evidence[..., NAMES.index('prior')] > 0.5  # any such pair has it whole
            self._note(evidence, possible, right)
            self._note_looks(tracks, sighting, possible, right)
        track_of[np.isin(track_of, right[right >= 0])] = -1
        return np.where(self._objects > 0, right, track_of)

    def _evidence(self, tracks: Any, sighting: Sighting) -> Floats:
        """Return (T, N, K) by how much each weight counts, 0 where a pair is impossible."""
        now = self._similarity(tracks, sighting, weights=USED)
        changed = (replace(USED, **{name: getattr(USED, name) + _STEP}) for name in NAMES)
        return np.stack([(self._similarity(tracks, sighting, weights=weights) - now) / _STEP
                         for weights in changed], axis=-1)

    def _note_looks(self, tracks: Any, sighting: Sighting, possible: NDArray[np.bool_],
                    right: NDArray[np.int64]) -> None:
        alike = tracks.class_ids[:, None] == sighting.instances.class_ids
        rows, columns = np.nonzero(
            possible & alike & (self._objects > 0) & self._counts_now)
        differ = difference(tracks.looks, sighting.looks)[rows, columns]
        self.looks.append(Pairs(differ, right[columns] == rows))

    def _note(self, evidence: Floats, possible: NDArray[np.bool_], right: NDArray[np.int64]
              ) -> None:
        for column in np.flatnonzero((self._objects > 0) & self._counts_now):
            rows = np.flatnonzero(possible[:, column])
            self.impossible += right[column] >= 0 and right[column] not in rows
            if len(rows) and (right[column] < 0 or right[column] in rows):
                self.choices.append((evidence[rows, column], rows == right[column]))


def taught(runs: Iterable[Sequence[Shown]]) -> tuple[Choices, Pairs, int]:
    """Return the choices and looks of all runs, and how many right answers were impossible."""
    trackers = []
    for run in runs:
        trackers.append(Taught())
        for frame in run:
            trackers[-1].learn(frame)
    return (Choices.of(list(chain.from_iterable(tracker.choices for tracker in trackers))),
            Pairs.of(list(chain.from_iterable(tracker.looks for tracker in trackers))),
            sum(tracker.impossible for tracker in trackers))


def main() -> None:
    """Gather, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seeds', type=int, nargs='+', default=SEEDS, help='of streets')
    arguments = parser.parse_args()
    used = np.array(astuple(USED))
    columns, looks_weigh = {'used': used}, {'used': WEIGHT}
    for title in SOURCES:
        see = view_of(title)
        runs = ([Shown.of(moment, see(moment)) for moment in run]
                for rate in tqdm(RATES, desc=title, unit='rate')
                for run in street_runs(arguments.seeds, rate_hz=rate))
        choices, looks, impossible = taught(runs)
        columns[title], looks_weigh[title] = fitted(choices), fitted_looks(looks)[0]
        print(f'{title}: {len(choices.first)} choices; a wrong answer is likelier in '
              f'{choices.wrong(used)} with the weights used, {choices.wrong(columns[title])} with '
              f'those fitted; impossible {impossible}; {len(looks.same)} pairs of looks, '
              f'{int(looks.same.sum())} of one object')
    print(f'{"":<12}' + ''.join(f'{title:>14}' for title in columns))
    for row, name in enumerate(NAMES):
        print(f'{name:<12}' + ''.join(f'{values[row]:>14.2f}' for values in columns.values()))
    print(f'{"looks":<12}' + ''.join(f'{weight:>14.1f}' for weight in looks_weigh.values()))


if __name__ == '__main__':
    main()
