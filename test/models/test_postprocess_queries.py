# SPDX-License-Identifier: Apache-2.0
"""Query masks become segmentations as the plain loops of the papers say, pixel for pixel."""
from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmarks import paper_loops
from seg_ros.core.labels import LabelSet
from seg_ros.core.types import tight_boxes, VOID
from seg_ros.models import postprocess_queries
from seg_ros.models.contract import ModelOptions, NotFiniteError, Task
from seg_ros.models.postprocess_queries import (
    find_owners,
    make_axis,
    Queries,
    QueryContract,
    segment_queries,
    strips,
)

LABEL_SET = LabelSet(('sky', 'road', 'car', 'person'), frozenset({'car', 'person'}))
SKY, ROAD, CAR, PERSON = range(4)
NULL = 4
CPU = torch.device('cpu')


@dataclass(frozen=True)
class Scene:
    """Random logits, and the size that is asked for."""

    class_logits: torch.Tensor
    mask_logits: torch.Tensor
    size: tuple[int, int]
    extent: tuple[float, float] | None
    contract: QueryContract

    @property
    def queries(self) -> Queries:
        return Queries(self.class_logits, self.mask_logits, self.extent)


def sure_of(class_ids, classes=5, logit=6.0):
    """Return (Q, classes) logits of queries that are sure of their class."""
    return logit * functional.one_hot(torch.tensor(class_ids, dtype=torch.int64), classes).float()


@st.composite
def scenes(draw):
    """Draw queries of any number, masks of any size, from noise to blobs, null or not."""
    rng = np.random.default_rng(draw(st.integers(0, 2 ** 32 - 1)))
    count = draw(st.integers(1, 12))
    cells = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    size = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    null_class = draw(st.booleans())
    rows, columns = np.mgrid[:cells[0], :cells[1]]
    centres = rng.random((count, 2)) * cells
    radii = rng.random(count) * max(cells)
    distance = np.hypot(rows - centres[:, 0, None, None], columns - centres[:, 1, None, None])
    sharpness = draw(st.sampled_from([0.1, 1.0, 30.0]))
    noise = draw(st.sampled_from([0.1, 3.0]))
    masks = sharpness * (radii[:, None, None] - distance) + noise * rng.normal(size=distance.shape)
    repeated = draw(st.booleans())
    if repeated:  # equal masks with equal scores: the first must win
        masks[-1] = masks[0]
    classes = draw(st.sampled_from([1.0, 4.0])) * rng.normal(size=(count, 4 + null_class))
    classes[np.arange(count), rng.integers(0, 4 + null_class, count)] += 8
    if repeated:
        classes[-1] = classes[0]
    padded = draw(st.booleans())
    extent = tuple(float(rng.integers(1, side + 1)) for side in cells) if padded else None
    return Scene(
        class_logits=torch.from_numpy(classes).float(),
        mask_logits=torch.from_numpy(masks).float(), size=size, extent=extent,
        contract=QueryContract(LABEL_SET, null_class=null_class,
                               score_by_mask=draw(st.booleans())))


def cropped_and_resized(scene):
    """Return the (Q, H, W) logits, all of them: what the fast path must never hold."""
    return scene.queries.grid(scene.size).resize(scene.mask_logits)


def assert_is(result, told):
    np.testing.assert_array_equal(result.class_map, told.class_map)
    np.testing.assert_array_equal(result.instance_map, told.instance_map)
    assert result.instances.class_ids.tolist() == [class_id for class_id, _ in told.found]
    np.testing.assert_allclose(result.instances.scores, [score for _, score in told.found],
                               rtol=1e-5)
    np.testing.assert_array_equal(result.instances.boxes,
                                  tight_boxes(told.instance_map, len(told.found)))


def answered(scene, task, **options):
    return segment_queries(scene.queries, size=scene.size, task=task, contract=scene.contract,
                           options=ModelOptions(**options))


@settings(max_examples=100, deadline=None)
@given(scenes())
def test_panoptic_is_the_papers_loop_pixel_for_pixel(scene):
    assert_is(answered(scene, Task.PANOPTIC), paper_loops.panoptic(
        scene.class_logits, cropped_and_resized(scene), thing_ids=LABEL_SET.thing_ids,
        null_class=scene.contract.null_class))


@settings(max_examples=100, deadline=None)
@given(scenes(), st.sampled_from([0.05, 0.5, 0.8]), st.sampled_from([0.0, 0.5, 0.9]))
def test_instances_are_the_papers_loop_pixel_for_pixel(scene, score, overlap):
    assert_is(answered(scene, Task.INSTANCE, score_threshold=score, overlap_threshold=overlap),
              paper_loops.instances(
                  scene.class_logits, cropped_and_resized(scene), thing_ids=LABEL_SET.thing_ids,
                  score_threshold=score, overlap_threshold=overlap,
                  null_class=scene.contract.null_class,
                  score_by_mask=scene.contract.score_by_mask))


@settings(max_examples=100, deadline=None)
@given(scenes())
def test_classes_are_the_papers_sums(scene):
    result = answered(scene, Task.SEMANTIC)
    sums = paper_loops.class_sums(scene.class_logits, cropped_and_resized(scene),
                                  null_class=scene.contract.null_class)
    best, class_map = sums.amax(dim=0), torch.from_numpy(result.class_map).long()
    is_void = class_map == VOID
    chosen = sums.gather(0, class_map.masked_fill(is_void, 0)[None])[0]
    # a matrix product adds in another order, so equal sums may differ by their rounding
    assert (chosen >= best * (1 - 1e-5))[~is_void].all()
    assert (best[is_void] < 1.01e-30).all() and (best[~is_void] > 0.99e-30).all()
    assert len(result.instances) == 0


@settings(max_examples=40, deadline=None)
@given(scenes())
def test_an_accelerator_finds_the_same_owners_at_once(scene):
    grid = scene.queries.grid(scene.size)
    scores = torch.linspace(0.5, 1.0, len(scene.mask_logits))
    ours = find_owners(scene.mask_logits, scores, grid)
    at_once = postprocess_queries._find_at_once(scene.mask_logits, scores, grid)
    assert torch.equal(ours.owner, at_once.owner)
    assert torch.allclose(ours.best, at_once.best)
    assert torch.equal(ours.areas, at_once.areas)


@pytest.mark.parametrize('size', [(24, 40), (33, 17), (5, 3), (90, 160), (1, 1)])
def test_pixels_are_interpolated_as_torch_does_it(size):
    masks = torch.randn((3, 12, 20), generator=torch.Generator().manual_seed(1))
    queries = Queries(torch.zeros(3, 5), masks, extent=(9.0, 20.0))
    expected = functional.interpolate(masks[None, :, :9], size=size, mode='bilinear')[0]
    torch.testing.assert_close(queries.grid(size).resize(masks), expected,
                               rtol=1e-5, atol=1e-5)


def test_a_cell_that_the_image_covers_in_part_counts():
    axis = make_axis(2.5, 5, CPU)
    assert axis.low.tolist() == [0, 0, 0, 1, 1]
    assert axis.high.tolist() == [1, 1, 1, 2, 2]
    assert axis.weight.tolist() == [0, 0.25, 0.75, 0.25, 0.75]


def test_strips_cover_the_image_once(monkeypatch):
    monkeypatch.setattr(postprocess_queries, '_STRIP', 50)
    masks = torch.randn((2, 7, 6), generator=torch.Generator().manual_seed(2))
    grid = Queries(torch.zeros(2, 5), masks).grid((13, 9))
    parts = [strip.resize(masks) for strip in strips(grid, 2)]
    assert len(parts) == 7
    torch.testing.assert_close(torch.cat(parts, dim=1), grid.resize(masks))


def masks_of(rows, *, logit=8.0):
    """Return (Q, h, w) logits of masks drawn as text, a query a row."""
    drawn = [[[logit if cell == '#' else -logit for cell in line] for line in row.split('/')]
             for row in rows]
    return torch.tensor(drawn)


def scene_of(class_ids, rows, **contract):
    masks = masks_of(rows)
    return Scene(class_logits=sure_of(class_ids), mask_logits=masks, size=tuple(masks.shape[1:]),
                 extent=None, contract=QueryContract(LABEL_SET, **contract))


def test_ids_stay_apart_after_a_class_that_is_fused():
    # transformers#23461: the id of the thing after a second stuff segment is the stuff's
    scene = scene_of([SKY, CAR, SKY, CAR], ['##....', '..#...', '...##.', '.....#'])
    result = answered(scene, Task.PANOPTIC)
    assert result.class_map.tolist() == [[SKY, SKY, CAR, SKY, SKY, CAR]]
    assert result.instance_map.tolist() == [[0, 0, 1, 0, 0, 2]]


def test_what_no_mask_holds_is_void_even_if_a_query_wins_it():
    # Mask2Former's in transformers gives every pixel to somebody
    scene = scene_of([ROAD, CAR], ['##...', '....#'])
    assert answered(scene, Task.PANOPTIC).class_map.tolist() == [[ROAD, ROAD, VOID, VOID, CAR]]


def test_a_thin_mask_survives_because_nothing_is_resized_twice():
    # through 384 x 384, as Mask2Former's in transformers, one row of 800 is lost or doubled
    masks = torch.full((2, 800, 4), 8.0)
    masks[0, 401], masks[1] = -8.0, -masks[0]
    masks[1, 401] = 8.0
    scene = Scene(class_logits=sure_of([ROAD, CAR]), mask_logits=masks, size=(800, 4),
                  extent=None, contract=QueryContract(LABEL_SET))
    assert np.unique(np.nonzero(answered(scene, Task.PANOPTIC).instance_map)[0]).tolist() == [401]


@pytest.mark.parametrize('task', list(Task))
@pytest.mark.parametrize('carried', [False, True])
def test_no_query_is_an_empty_answer(task, carried):
    scene = Scene(class_logits=torch.zeros(0, 5), mask_logits=torch.zeros(0, 2, 3), size=(4, 6),
                  extent=None, contract=QueryContract(LABEL_SET, carried=carried))
    result = answered(scene, task, confidence=True)
    assert (result.size, len(result.instances)) == ((4, 6), 0)


def test_all_null_is_all_void():
    result = answered(scene_of([NULL, NULL], ['##', '##']), Task.PANOPTIC, confidence=True)
    assert result.class_map.tolist() == [[VOID, VOID]]
    assert result.confidence.tolist() == [[0, 0]]


def test_one_query_owns_its_mask_and_nothing_else():
    result = answered(scene_of([PERSON], ['.##.']), Task.PANOPTIC, confidence=True)
    assert result.class_map.tolist() == [[VOID, PERSON, PERSON, VOID]]
    assert (result.confidence > 0).tolist() == [[False, True, True, False]]


def test_a_segment_that_wins_too_little_of_its_mask_is_void():
    scene = Scene(class_logits=torch.cat((sure_of([ROAD]), sure_of([CAR], logit=5.0))),
                  mask_logits=masks_of(['####..', '..####']), size=(1, 6), extent=None,
                  contract=QueryContract(LABEL_SET))
    assert answered(scene, Task.PANOPTIC).class_map.tolist() == [[ROAD] * 4 + [VOID] * 2]


def test_a_query_may_be_two_classes_and_the_better_one_is_seen():
    logits = torch.tensor([[-9.0, -9.0, 2.0, 3.0], [-9.0, -9.0, 2.5, -9.0]])
    scene = Scene(class_logits=logits, mask_logits=masks_of(['##..', '...#']), size=(1, 4),
                  extent=None, contract=QueryContract(LABEL_SET, null_class=False, carried=True))
    result = answered(scene, Task.INSTANCE)
    assert result.class_map.tolist() == [[PERSON, PERSON, VOID, CAR]]
    assert result.instances.slots.tolist() == [0, 1]


def test_a_carried_query_is_its_instances_slot():
    scene = scene_of([NULL, CAR, ROAD, PERSON], ['....', '#...', '.##.', '...#'], carried=True)
    assert answered(scene, Task.PANOPTIC).instances.slots.tolist() == [1, 3]
    assert answered(scene, Task.INSTANCE).instances.slots.tolist() == [1, 3]


def test_classes_that_the_label_set_lacks_are_not_seen():
    names = LabelSet(('car', 'sky'), frozenset({'car'}))
    scene = scene_of([2, 1, 0], ['#..', '.#.', '..#'], used=(2, 0))
    few = Scene(class_logits=scene.class_logits, mask_logits=scene.mask_logits, size=scene.size,
                extent=None, contract=QueryContract(names, used=(2, 0)))
    assert answered(few, Task.PANOPTIC).class_map.tolist() == [[0, VOID, 1]]
    assert answered(few, Task.INSTANCE).class_map.tolist() == [[0, VOID, VOID]]


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
@pytest.mark.parametrize('part', ['class_logits', 'mask_logits'])
def test_logits_that_are_not_finite_are_no_label(value, part):
    scene = scene_of([CAR], ['#.'])
    getattr(scene, part).view(-1)[0] = value
    with pytest.raises(NotFiniteError, match='not finite'):
        answered(scene, Task.PANOPTIC)


def test_half_precision_is_read():
    scene = scene_of([CAR], ['#.'])
    halves = Queries(scene.class_logits.bfloat16(), scene.mask_logits.bfloat16())
    result = segment_queries(halves, size=(1, 2), task=Task.PANOPTIC, contract=scene.contract,
                             options=ModelOptions())
    assert result.class_map.tolist() == [[CAR, VOID]]


@pytest.mark.parametrize('count', [0, 2])
def test_a_pixel_that_no_mask_is_near_is_void_and_not_the_first_class(count):
    masks = torch.full((count, 2, 4), -200.0)  # whose sigmoid is zero
    masks[1:, :, :2] = 5.0
    queries = Queries(sure_of([ROAD] * count), masks)
    answer = segment_queries(queries, size=(2, 4), task=Task.SEMANTIC,
                             contract=QueryContract(LABEL_SET),
                             options=ModelOptions(confidence=True))
    expected = [ROAD, ROAD, VOID, VOID] if count else [VOID] * 4
    np.testing.assert_array_equal(answer.class_map, [expected] * 2)
    assert (answer.confidence[answer.class_map == VOID] == 0).all()
