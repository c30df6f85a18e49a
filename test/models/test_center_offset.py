# SPDX-License-Identifier: Apache-2.0
"""Centres and offsets become instances as the plain loops of Panoptic-DeepLab say."""
from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import torch

from seg_ros.models.postprocess import Centres, find_centres, group_pixels, pixel_of_cell


def centres_of(rows: list[tuple[float, float, int]]) -> Centres:
    """Return centres of (row, column, thing) with falling scores."""
    return Centres(
        positions=torch.tensor([(r, c) for r, c, _ in rows]).reshape(-1, 2).float(),
        things=torch.tensor([t for *_, t in rows], dtype=torch.int64),
        scores=torch.linspace(0.9, 0.5, len(rows)))


def grouped_by_loops(votes: np.ndarray, centres: Centres, *, things: int, reach: float
                     ) -> np.ndarray:
    """Give each cell to the nearest centre of each class, one cell after the other."""
    owners = np.zeros((things, *votes.shape[1:]), np.int64)
    for thing, row, column in np.ndindex(owners.shape):
        best = reach ** 2
        for number, (position, of) in enumerate(zip(
                centres.positions.numpy(), centres.things.tolist(), strict=True), start=1):
            distance = ((votes[:, row, column] - position) ** 2).sum()
            is_nearer = distance < best or (distance == best and not owners[thing, row, column])
            if of == thing and is_nearer:
                best, owners[thing, row, column] = distance, number
    return owners


# whole numbers: distances are exact, and ties are frequent
cells = st.integers(0, 12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(cells, cells, st.integers(0, 2)), max_size=6),
       st.integers(0, 2 ** 32 - 1), st.integers(0, 12))
def test_group_pixels_equals_the_plain_loop(rows, seed, reach):
    votes = np.random.default_rng(seed).integers(-2, 15, (2, 4, 5)).astype(np.float32)
    centres = centres_of(rows)
    owners = group_pixels(torch.from_numpy(votes), centres, things=3, reach=reach)
    expected = grouped_by_loops(votes, centres, things=3, reach=reach)
    np.testing.assert_array_equal(owners.numpy(), expected)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(cells, cells, st.integers(0, 2)), max_size=6),
       st.integers(0, 2 ** 32 - 1))
def test_cells_that_nobody_asks_for_are_left_out_and_change_no_other(rows, seed):
    rng = np.random.default_rng(seed)
    votes = torch.from_numpy(rng.integers(-2, 15, (2, 4, 5)).astype(np.float32))
    asked = torch.from_numpy(rng.random((3, 4, 5)) < 0.5)
    everywhere = group_pixels(votes, centres_of(rows), things=3, reach=8)
    owners = group_pixels(votes, centres_of(rows), things=3, reach=8, asked=asked)
    np.testing.assert_array_equal(owners, everywhere * asked)


def test_without_centres_no_cell_has_an_owner():
    owners = group_pixels(torch.zeros(2, 3, 3), centres_of([]), things=2, reach=9)
    assert owners.shape == (2, 3, 3) and not owners.any()


def test_a_cell_belongs_to_a_centre_of_its_own_class_even_if_another_is_nearer():
    owners = group_pixels(torch.zeros(2, 1, 1), centres_of([(0, 1, 0), (0, 3, 1)]), things=2,
                          reach=9)
    assert owners.flatten().tolist() == [1, 2]


def test_a_vote_out_of_reach_belongs_to_none():
    owners = group_pixels(torch.zeros(2, 1, 1), centres_of([(0, 5, 0)]), things=1, reach=4.9)
    assert owners.item() == 0


def test_centres_are_the_maxima_of_their_own_class_map_best_first():
    scores = torch.zeros(2, 9, 12)
    scores[0, 2, 3], scores[0, 2, 4], scores[1, 2, 4], scores[0, 7, 10] = 0.8, 0.7, 0.6, 0.9
    centres = find_centres(scores, threshold=0.5, stride=4)
    assert centres.things.tolist() == [0, 0, 1]
    assert torch.allclose(centres.scores, torch.tensor([0.9, 0.8, 0.6]))
    assert centres.positions.tolist() == [[29.5, 41.5], [9.5, 13.5], [9.5, 17.5]]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2 ** 32 - 1), st.sampled_from([0.0, 0.3, 0.8]))
def test_a_centre_is_nowhere_smaller_than_its_window(seed, threshold):
    # few different values: plateaus are frequent
    scores = np.random.default_rng(seed).integers(0, 6, (2, 7, 9)).astype(np.float32) / 5
    found = find_centres(torch.from_numpy(scores), threshold=threshold, stride=1, window=3)
    expected = set()
    for thing, row, column in np.ndindex(scores.shape):
        near = scores[thing, max(row - 1, 0):row + 2, max(column - 1, 0):column + 2]
        if scores[thing, row, column] == near.max() >= threshold:
            expected.add((thing, row, column))
    places = {(thing, *map(int, position)) for thing, position in zip(
        found.things.tolist(), found.positions.tolist(), strict=True)}
    assert places <= expected
    # what is missing is part of a plateau whose first maximum is there or is missing likewise
    for thing, row, column in expected - places:
        assert any(thing == other[0] and other[1:] < (row, column)
                   and max(abs(other[1] - row), abs(other[2] - column)) <= 1
                   for other in expected)


def test_a_maximum_below_the_threshold_is_no_centre():
    scores = torch.zeros(1, 5, 5)
    scores[0, 2, 2] = 0.49
    assert len(find_centres(scores, threshold=0.5, stride=4).scores) == 0


def test_a_plateau_is_one_centre():
    scores = torch.zeros(1, 9, 9)
    scores[0, 4, 3:6] = 0.75
    assert find_centres(scores, threshold=0.5, stride=1).positions.tolist() == [[4, 3]]


def test_no_more_centres_than_the_limit():
    scores = torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(1))
    assert len(find_centres(scores, threshold=0, stride=4, limit=7).scores) <= 7


def test_the_middle_of_a_cell_is_the_mean_of_its_pixels():
    assert pixel_of_cell(torch.tensor([0, 1]), stride=4).tolist() == [1.5, 5.5]
