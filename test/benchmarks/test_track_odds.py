# SPDX-License-Identifier: Apache-2.0
"""The tracker's weights are fitted to what instances turned out to be."""
from __future__ import annotations

from dataclasses import astuple
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import check_grad

from benchmarks.track_odds import Choices, fitted, fitted_looks, NAMES, Pairs, Taught
from benchmarks.track_scenes import scripted_scenes
from benchmarks.tracking import Shown, true_map
from seg_ros.core.appearance import USUAL, WEIGHT
from seg_ros.core.sighting import Sighting
from seg_ros.core.tracking import Odds

PRIOR = NAMES.index('prior')


def choices(*made):
    """Return choices of (evidence by pair, which is right); only the prior and masks speak."""
    columns = [PRIOR, NAMES.index('masks')]
    joined = []
    for rows, right in made:
        evidence = np.zeros((len(rows), len(NAMES)))
        evidence[:, columns] = rows
        joined.append((evidence, np.array(right)))
    return Choices.of(joined)


def weights(**values):
    return np.array([values.get(name, 0.0) for name in NAMES])


def test_the_loss_is_that_of_a_choice_among_tracks_and_none_of_them():
    two = choices(([[1, 0.5], [1, 0.0]], [True, False]), ([[1, 0.2]], [False]))
    loss, _ = two.loss(weights(prior=1.0, masks=2.0))
    first = np.exp(2.0) / (np.exp(2.0) + np.exp(1.0) + 1)
    second = 1 / (np.exp(1.4) + 1)
    assert loss == pytest.approx(-(np.log(first) + np.log(second)) / 2)


def test_its_gradient_is_its_slope():
    some = choices(([[1, 0.5], [1, 0.1]], [False, True]), ([[1, 0.9]], [True]))
    assert check_grad(lambda w: some.loss(w)[0], lambda w: some.loss(w)[1],
                      weights(prior=0.3, masks=-0.7)) < 1e-6


def test_wrong_is_where_another_answer_is_likelier_than_the_right_one():
    some = choices(([[1, 0.5], [1, 0.1]], [False, True]), ([[1, 0.9]], [True]),
                   ([[1, 0.9]], [False]))
    assert some.wrong(weights(masks=1.0)) == 2
    assert some.wrong(weights(prior=0.5, masks=-1.0)) == 1


def test_a_fit_finds_the_weights_that_drew_the_answers():
    generator = np.random.default_rng(3)
    made = []
    for overlap in generator.uniform(size=(4000, 2)):
        likely = np.exp([0, *(-1.0 + 3.0 * overlap)])
        answer = generator.choice(3, p=likely / likely.sum())
        made.append(([[1, o] for o in overlap], [answer == 1, answer == 2]))
    found = fitted(choices(*made))
    assert found[[PRIOR, NAMES.index('masks')]] == pytest.approx([-1.0, 3.0], abs=0.25)


def test_a_fit_of_looks_finds_the_weight_that_drew_who_is_who():
    generator = np.random.default_rng(5)
    difference = generator.uniform(size=20_000)
    odds = 6.0 - 20.0 * difference
    pairs = Pairs(difference, generator.random(len(odds)) < 1 / (1 + np.exp(-odds)))
    found = fitted_looks(pairs)
    assert found[0] == pytest.approx(20.0, rel=0.1)
    assert all(pairs.loss(found) < pairs.loss(found * factors)
               for factors in ((1.2, 1), (0.8, 1), (1, 1.2), (1, 0.8)))


@pytest.fixture(scope='module')
def crossing():
    """Return a tracker that was taught an encounter, and the frames."""
    run = scripted_scenes()['crossing pedestrians']()[0]
    tracker, frames = Taught(), [Shown.of(moment, true_map(moment)) for moment in run]
    for frame in frames:
        tracker.learn(frame)
    return tracker, frames


def test_evidence_times_weights_are_the_odds_of_the_tracker(crossing):
    tracker, frames = crossing
    used = np.array(astuple(Odds()))
    now = tracker._tracks, Sighting.of(frames[-1].segmentation, frames[-1].moment.image)
    np.testing.assert_allclose(tracker._evidence(*now) @ used, tracker._similarity(*now),
                               atol=1e-6)
    odds = [evidence @ used for evidence, right in tracker.choices if right.any()]
    assert min(row.max() for row in odds) > 0  # the right one was possible, and likely


def test_everybody_who_was_there_before_is_a_choice_with_one_right_answer(crossing):
    tracker, frames = crossing
    again = sum(len(np.intersect1d(before.truth_ids, after.truth_ids))
                for before, after in pairwise(frames))
    right = sum(int(right.sum()) for _, right in tracker.choices)
    assert again <= right <= sum(len(frame.truth_ids) for frame in frames)
    assert tracker.impossible == 0


def test_people_look_like_themselves_and_not_like_those_they_meet(crossing):
    tracker, _ = crossing
    pairs = Pairs.of(tracker.looks)
    unlike = WEIGHT * pairs.difference - USUAL
    assert unlike[pairs.same].max() < 0 and unlike[~pairs.same].min() > 3
