# SPDX-License-Identifier: Apache-2.0
"""A track id is one object's name for as long as it is seen."""
from __future__ import annotations

from dataclasses import replace
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from seg_ros.core.config import TrackingConfig
from seg_ros.core.labels import LabelSet
from seg_ros.core.sighting import Sighting
from seg_ros.core.tracking import (
    _mask_overlap,
    _predicted,
    make_tracker,
    MaskTracker,
    NoTracker,
    TrackCounts,
)
from seg_ros.core.types import segmentation_from_map, tight_boxes

NAMES = LabelSet(('road', 'car', 'truck', 'person'), frozenset(('car', 'truck', 'person')))
ROAD, CAR, TRUCK, PERSON = range(4)
SIZE = (60, 80)
MS = 1_000_000


def scene(*objects, size=SIZE):
    """Return a frame of (x, y, width, height, class, score) rectangles, later ones in front."""
    class_map = np.full(size, ROAD, np.uint8)
    instance_map = np.zeros(size, np.int32)
    for value, (x, y, width, height, class_id, *_) in enumerate(objects, start=1):
        at = np.s_[max(y, 0):max(y + height, 0), max(x, 0):max(x + width, 0)]
        class_map[at], instance_map[at] = class_id, value
    return segmentation_from_map(
        class_map=class_map, instance_map=instance_map, class_ids=[o[4] for o in objects],
        scores=[o[5] if len(o) > 5 else 0.9 for o in objects])


def tracker(**config):
    return MaskTracker(TrackingConfig(**config), NAMES)


def ids(segmentation):
    return segmentation.instances.track_ids.tolist()


def follow(tracked, frames, *, period_ms=100, start_ms=1000):
    """Return the ids of each frame."""
    return [ids(tracked.update(frame, stamp=(start_ms + i * period_ms) * MS))
            for i, frame in enumerate(frames)]


def test_without_tracking_a_segmentation_passes_unchanged():
    segmentation = scene((1, 1, 3, 3, CAR))
    null = make_tracker(TrackingConfig(enabled=False), NAMES, ids=count(1))
    assert isinstance(null, NoTracker)
    assert null.update(segmentation, stamp=7) is segmentation
    assert null.counts == TrackCounts()


def test_the_first_frame_of_an_object_already_has_its_id():
    assert follow(tracker(), [scene((5, 5, 9, 9, CAR)), scene((6, 5, 9, 9, CAR))]) == [[1], [1]]


def test_ids_follow_objects_whatever_their_order_in_the_array():
    left, right = (5, 5, 9, 9, CAR), (40, 5, 9, 9, CAR)
    assert follow(tracker(), [scene(left, right), scene(right, left)]) == [[1, 2], [2, 1]]


def test_the_input_is_not_touched():
    segmentation = scene((5, 5, 9, 9, CAR))
    followed = tracker()
    followed.update(scene((5, 5, 9, 9, TRUCK)), stamp=0)
    before = segmentation.class_map.copy()
    followed.update(segmentation, stamp=MS)
    np.testing.assert_array_equal(segmentation.class_map, before)
    assert ids(segmentation) == [0]


def test_two_people_who_cross_keep_their_ids():
    frames = [scene((4 + 4 * i, 10, 8, 30, PERSON), (64 - 4 * i, 14, 8, 30, PERSON))
              for i in range(15)]
    named = {tuple(frame) for frame in follow(tracker(), frames)}
    assert named == {(1, 2)}


def test_an_object_behind_a_pole_comes_back_under_its_id():
    def frame(i):
        shown = scene((2 + 4 * i, 20, 6, 6, CAR))
        free = np.ones(SIZE, bool)
        free[:, 30:38] = False  # a pole wider than the car
        return segmentation_from_map(
            class_map=np.where(free, shown.class_map, np.uint8(ROAD)),
            instance_map=np.where(free, shown.instance_map, np.int32(0)),
            class_ids=[CAR], scores=[0.9])
    followed = follow(tracker(), [frame(i) for i in range(18)])
    assert [] in followed, 'the car is hidden for a while'
    assert {i for frame in followed for i in frame} == {1}


STREET = (60, 240)


def walker(x):
    """Return a person 16 wide, left side at x, and a wall at 100 to 130 that is no object."""
    return behind([(100, 130)], (x, 15, 16, 40, PERSON), size=STREET)


@pytest.mark.parametrize('steps', [range(1, 200, 5), range(214, 20, -5)])
def test_who_walks_behind_a_wall_comes_out_under_their_id_from_the_first_strip_on(steps):
    followed = follow(tracker(), [walker(x) for x in steps])
    assert followed.count([]) == 3
    assert {i for frame in followed for i in frame} == {1}


def test_a_strip_at_another_height_is_somebody_else():
    hiding = [walker(x) for x in range(1, 117, 5)]
    strip, higher = (scene((130, y, 2, 40, PERSON), size=STREET) for y in (15, 1))
    for last, expected in ((strip, [1]), (higher, [2])):
        assert follow(tracker(), [*hiding, last])[-1] == expected


def hidden_then(last, *, size=SIZE):
    """Return the ids of a car that leaves its place, and of what is seen 0.3 s later."""
    away = [scene((x, 20, 24, 12, CAR), size=size) for x in range(30, 78, 6)]
    return follow(tracker(), [*away, *[scene(size=size)] * 2, last])[-1]


def test_what_left_the_image_does_not_come_back_in_its_middle():
    # the first to peep out from behind a person is another car
    assert hidden_then(scene((20, 20, 3, 12, CAR), (23, 18, 8, 30, PERSON))) == [2, 3]


def test_a_lost_object_is_not_larger_than_what_could_hide_it():
    car, gone = (10, 20, 40, 14, CAR), scene()
    narrow, broad = ((13, 18, 6, 30, PERSON), (13, 18, 40, 30, PERSON))
    for person, known in ((narrow, False), (broad, True)):
        found = follow(tracker(), [*[scene(car)] * 5, gone, scene((10, 20, 3, 14, CAR), person)])
        assert (found[-1][0] == 1) is known


@pytest.mark.parametrize('people', [
    ((10, 8, 28, 44, PERSON), (42, 8, 28, 44, PERSON)),  # it shows between them
    ((10, 8, 28, 44, PERSON), (36, 8, 20, 44, PERSON)),  # beyond them, who stand side by side
])
def test_a_car_of_which_people_leave_a_strip_keeps_its_name(people):
    car = (20, 20, 40, 14, CAR)
    named = follow(tracker(), [scene(car)] * 4 + [scene(*people), scene(car, *people)])
    assert named[-1] == [1, 2, 3]


def test_time_counts_not_frames():
    car, nothing = scene((5, 5, 9, 9, CAR)), scene()
    quick = [car, *[nothing] * 9, car]
    assert follow(tracker(max_lost_s=1.0), quick, period_ms=90)[-1] == [1]
    assert follow(tracker(max_lost_s=1.0), quick, period_ms=110)[-1] == [2]


@pytest.mark.parametrize('second_stamp_ms, second_size', [
    (999, SIZE),  # a bag that starts again
    (2001, SIZE),  # more than max_lost_s later
    (1100, (61, 80)),  # another camera mode
])
def test_a_break_forgets_every_track_and_never_uses_its_id_again(second_stamp_ms, second_size):
    followed = tracker(max_lost_s=1.0)
    car = (5, 5, 9, 9, CAR)
    assert ids(followed.update(scene(car), stamp=1000 * MS)) == [1]
    again = scene(car, size=second_size)
    assert ids(followed.update(again, stamp=second_stamp_ms * MS)) == [2]
    assert ids(followed.update(again, stamp=(second_stamp_ms + 1) * MS)) == [2]


def test_a_stamp_that_comes_twice_changes_nothing():
    followed = tracker()
    frame = scene((5, 5, 9, 9, CAR))
    assert ids(followed.update(frame, stamp=5)) == ids(followed.update(frame, stamp=5)) == [1]


def test_reset_forgets_and_never_uses_an_id_again():
    followed = tracker()
    frame = scene((5, 5, 9, 9, CAR))
    followed.update(frame, stamp=0)
    followed.reset()
    assert followed.counts == TrackCounts(active=0, lost=0, born=1, ended=1)
    assert ids(followed.update(frame, stamp=1)) == [2]


def test_two_trackers_may_share_a_source_of_ids():
    source = count(1)
    frame = scene((5, 5, 9, 9, CAR))
    first, second = (MaskTracker(TrackingConfig(), NAMES, ids=source) for _ in range(2))
    assert [ids(t.update(frame, stamp=0)) for t in (first, second)] == [[1], [2]]


def test_counts_say_what_is_seen_lost_born_and_ended():
    followed = tracker(max_lost_s=0.2)
    follow(followed, [scene((5, 5, 9, 9, CAR), (50, 5, 9, 9, CAR)), scene((5, 5, 9, 9, CAR))])
    assert followed.counts == TrackCounts(active=1, lost=1, born=2, ended=0)
    follow(followed, [scene((5, 5, 9, 9, CAR))] * 3, start_ms=1200)
    assert followed.counts == TrackCounts(active=1, lost=0, born=2, ended=1)


def test_one_frame_as_a_truck_leaves_a_car_a_car_in_array_and_map():
    followed = tracker()
    follow(followed, [scene((5, 5, 9, 9, CAR))] * 5)
    result = followed.update(scene((5, 5, 9, 9, TRUCK)), stamp=1500 * MS)
    assert result.instances.class_ids.tolist() == [CAR]
    assert set(result.class_map[result.instance_map == 1].tolist()) == {CAR}
    assert set(result.class_map[result.instance_map == 0].tolist()) == {ROAD}


def test_an_object_that_stays_a_truck_becomes_one():
    followed = tracker()
    follow(followed, [scene((5, 5, 9, 9, CAR))] * 3)
    follow(followed, [scene((5, 5, 9, 9, TRUCK))] * 20, start_ms=1300)
    result = followed.update(scene((5, 5, 9, 9, TRUCK)), stamp=3300 * MS)
    assert result.instances.class_ids.tolist() == [TRUCK]
    assert ids(result) == [1]


def test_a_car_is_rather_taken_for_a_truck_than_for_a_person():
    followed = tracker()
    follow(followed, [scene((30, 20, 10, 10, CAR))])
    # both as far away, on either side
    result = followed.update(scene((26, 20, 10, 10, PERSON), (34, 20, 10, 10, TRUCK)),
                             stamp=1100 * MS)
    assert ids(result) == [2, 1]


def test_what_is_hidden_behind_a_large_object_does_not_inherit_its_name():
    near, small = (20, 4, 40, 50, CAR), (38, 26, 4, 4, CAR)
    assert follow(tracker(), [scene(near)] * 4 + [scene(small)])[-1] == [2]


def behind(stripes, *objects, size=SIZE):
    """Return a frame in which columns (from, to) before the objects hide them."""
    shown = scene(*objects, size=size)
    free = np.ones(size, bool)
    for left, right in stripes:
        free[:, left:right] = False
    return segmentation_from_map(
        class_map=np.where(free, shown.class_map, np.uint8(ROAD)),
        instance_map=np.where(free, shown.instance_map, np.int32(0)),
        class_ids=[o[4] for o in objects], scores=[0.9 for _ in objects])


def test_the_same_pixels_are_the_same_object_though_its_box_shrinks_at_once():
    # a strip on either side of what hides the car, then one of the two
    car = (10, 20, 60, 12, CAR)
    both, one = behind([(20, 69)], car), behind([(20, 80)], car)
    assert follow(tracker(), [both] * 4 + [one]) == [[1]] * 5


def test_an_object_at_the_border_keeps_its_name_however_long_it_stays_cut():
    # it came in growing; its hidden width must not be believed to grow for ever
    coming = [scene((0, 20, 4 + 3 * i, 10 + 2 * i, CAR)) for i in range(6)]
    staying = [scene((0, 20, 19, 20, CAR))] * 60
    leaving = [scene((0, 20, 19 - 3 * i, 20, CAR)) for i in range(6)]
    followed = tracker()
    named = follow(followed, coming + staying + leaving)
    assert {i for frame in named for i in frame} == {1}
    assert followed._tracks.motion.position[0, 2] < 2 * 19


def test_the_last_that_the_border_leaves_of_a_car_keeps_its_name():
    # it slows down: all of it was expected to be gone
    leaving = [scene((x, 8, 24, 40, CAR)) for x in range(10, 76, 12)]
    bumper, elsewhere = scene((77, 18, 3, 13, CAR)), scene((77, 44, 3, 13, CAR))
    for last, expected in ((bumper, [1]), (elsewhere, [2])):
        assert follow(tracker(), [*leaving, last])[-1] == expected


def test_a_car_that_must_be_gone_does_not_take_the_name_of_what_it_hid_at_the_border():
    far = (75, 20, 5, 10, CAR)
    near = ((10, 22, 16, 20), (18, 19, 22, 28), (34, 16, 28, 36), (58, 10, 40, 46))
    passing = [scene(far, (*box, CAR)) for box in near]
    assert follow(tracker(), [*passing, scene(far)], period_ms=200)[-1] == [1]


def test_a_lost_car_comes_back_if_the_part_that_is_seen_has_colours_of_the_car():
    # red above, blue below; it comes back above who stands before it, or one that is green above
    image = np.full((*SIZE, 3), 30, np.uint8)
    image[18:24, :, 0], image[27:, :, 2] = 200, 200
    car, before, over = (30, 18, 12, 15, CAR), (26, 14, 20, 32, PERSON), (26, 27, 20, 19, PERSON)
    for picture, expected in ((image, 1), (image[..., (1, 0, 2)], 3)):
        followed = tracker()
        frames = [(scene(car), image)] * 4 + [(scene(before), image), (scene(car, over), picture)]
        shown = [ids(followed.update(frame, stamp=i * 100 * MS, image=colours))
                 for i, (frame, colours) in enumerate(frames)]
        assert shown[-1][0] == expected


def test_a_lost_car_does_not_come_back_in_another_colour():
    car, nothing = (30, 20, 12, 10, CAR), scene()
    red, blue = (np.full((*SIZE, 3), rgb, np.uint8) for rgb in ((200, 30, 30), (30, 30, 200)))
    for colour, expected in ((red, [1]), (blue, [2])):
        followed = tracker()
        frames = [(scene(car), red)] * 4 + [(nothing, red)] * 2 + [(scene(car), colour)]
        named = [ids(followed.update(frame, stamp=i * 100 * MS, image=image))
                 for i, (frame, image) in enumerate(frames)]
        assert named[-1] == expected


RED = (200, 30, 30)
RED_CAR = (20, 20, 24, 12, CAR)
TIP = (32, 26, 3, 4, CAR)  # one 24th of the car that was there


def coloured(rgb):
    return None if rgb is None else np.full((*SIZE, 3), rgb, np.uint8)


def after_a_car(image, **parameters):
    """Return a tracker that has seen the car for four frames, the next one is that of 400 ms."""
    followed = tracker(**parameters)
    for i in range(4):
        followed.update(scene(RED_CAR), stamp=i * 100 * MS, image=image)
    return followed


@pytest.mark.parametrize(('tip', 'expected'), [
    ((200, 30, 30), [1]),
    ((30, 30, 200), [2]),
    (None, [2])])  # nothing speaks for it
def test_a_part_too_small_to_be_a_car_is_that_car_where_it_is_missed_and_has_its_colours(
        tip, expected):
    followed = after_a_car(coloured(tip and RED))
    assert ids(followed.update(scene(TIP), stamp=400 * MS, image=coloured(tip))) == expected


@pytest.mark.parametrize(('score', 'least', 'expected'), [
    (0.7, {'score_threshold': 0.6}, [1]), (0.5, {'score_threshold': 0.6}, [2]),
    (0.7, {'min_area': 12}, [1]), (0.7, {'min_area': 13}, [2])])
def test_a_part_that_does_not_fit_is_the_missed_car_only_if_it_is_sure_and_large_enough(
        score, least, expected):
    followed = after_a_car(coloured(RED), **least)
    found = followed.update(scene((*TIP, score)), stamp=400 * MS, image=coloured(RED))
    assert ids(found) == expected


def test_who_is_matched_by_likelihood_does_not_lose_the_name_to_a_part():
    followed = after_a_car(coloured(RED))
    both = scene((45, 26, 3, 4, CAR), RED_CAR)
    assert ids(followed.update(both, stamp=400 * MS, image=coloured(RED))) == [2, 1]


@pytest.mark.parametrize(('slots', 'expected'), [([7, 9], [2, 1]), ([9, 7], [1, 2])])
def test_a_query_slot_decides_between_objects_that_both_fit(slots, expected):
    followed = tracker()
    follow(followed, [with_slots(scene((30, 20, 10, 10, CAR), (38, 20, 10, 10, CAR)), [9, 7])] * 3)
    between = with_slots(scene((32, 20, 8, 10, CAR), (40, 20, 8, 10, CAR)), slots)
    assert ids(followed.update(between, stamp=1300 * MS)) == expected


@pytest.mark.parametrize(('slot', 'expected'), [(9, [1]), (7, [2])])
def test_what_a_query_slot_decided_is_not_decided_again_by_what_is_free(slot, expected):
    followed = tracker()
    follow(followed, [with_slots(scene((30, 20, 10, 10, CAR), (38, 20, 10, 10, CAR)), [9, 7])] * 3)
    alone = with_slots(scene((34, 20, 10, 10, CAR)), [slot])
    assert ids(followed.update(alone, stamp=1300 * MS)) == expected


def test_a_query_slot_without_a_mask_to_confirm_it_is_not_believed():
    followed = tracker()
    follow(followed, [with_slots(scene((2, 2, 8, 8, CAR)), [7])] * 3)
    far = with_slots(scene((60, 40, 8, 8, CAR)), [7])
    assert ids(followed.update(far, stamp=1300 * MS)) == [2]


def with_slots(segmentation, slots):
    return replace(segmentation, instances=replace(
        segmentation.instances, slots=np.array(slots, np.int64)))


@pytest.mark.parametrize('scores', [(0.3, 0.9), (0.9, 0.3), (0.61, 0.59)])
def test_the_instance_that_fits_best_has_the_track_whatever_the_scores(scores):
    followed = tracker(max_split_s=0)
    follow(followed, [scene((30, 20, 10, 10, CAR))])
    better, worse = (30, 20, 10, 10, CAR, scores[0]), (41, 20, 6, 10, CAR, scores[1])
    assert ids(followed.update(scene(better, worse), stamp=1100 * MS)) == [1, 2]
    assert ids(followed.update(scene(worse, better), stamp=1200 * MS)) == [2, 1]


def test_new_thresholds_count_from_the_next_frame_on():
    followed = tracker()
    follow(followed, [scene((5, 5, 9, 9, CAR))])
    followed.apply(TrackingConfig(max_lost_s=0.05))
    assert follow(followed, [scene((5, 5, 9, 9, CAR))], start_ms=1100) == [[2]]


@st.composite
def recordings(draw):
    """Return frames of rectangles that come, go and cover each other, with stamps in ms."""
    rectangle = st.tuples(st.integers(-5, 75), st.integers(-5, 55), st.integers(1, 30),
                          st.integers(1, 30), st.sampled_from((CAR, TRUCK, PERSON)),
                          st.floats(0, 1, width=32))
    frames = draw(st.lists(st.lists(rectangle, max_size=6), min_size=1, max_size=12))
    steps = draw(st.lists(st.integers(-200, 1500), min_size=len(frames), max_size=len(frames)))
    return [scene(*frame) for frame in frames], np.cumsum(steps).tolist()


@settings(max_examples=150, deadline=None)
@given(recording=recordings(), max_split_s=st.sampled_from((0.0, 0.5, 60.0)))
def test_whatever_comes_the_contracts_hold(recording, max_split_s):
    followed, given_up, before = tracker(max_split_s=max_split_s), set(), set()
    for frame, stamp_ms in zip(*recording, strict=True):
        # with a picture or without one
        picture = np.full((*frame.size, 3), stamp_ms % 256, np.uint8) if stamp_ms % 3 else None
        result = followed.update(frame, stamp=stamp_ms * MS, image=picture)
        now, instances = set(ids(result)), result.instances
        # every instance has an id of its own; ids only ever end, they are never used again
        assert len(now) == len(instances) and all(i > 0 for i in now)
        known = {int(i) for i in followed._tracks.ids}
        assert now <= known and not known & given_up
        given_up |= before - known
        before = known
        # maps and array agree as before; what was one instance is not divided
        np.testing.assert_array_equal(result.instance_map > 0, frame.instance_map > 0)
        pairs = np.unique([frame.instance_map.ravel(), result.instance_map.ravel()], axis=1)
        assert len(pairs[0]) == len(np.unique(frame.instance_map))
        assert max_split_s or len(instances) == len(frame.instances)
        np.testing.assert_array_equal(tight_boxes(result.instance_map, len(instances)),
                                      instances.boxes)
        classes = np.concatenate(([ROAD], instances.class_ids))
        np.testing.assert_array_equal(result.class_map, classes[result.instance_map])
        assert set(np.unique(result.id_map())) - {0} == now
        counts = followed.counts
        assert counts.active == len(now)
        assert counts.born == counts.active + counts.lost + counts.ended


@settings(max_examples=50, deadline=None)
@given(starts=st.lists(st.integers(0, 3), min_size=1, max_size=4), seed=st.integers(0, 999),
       period_ms=st.sampled_from((33, 66, 100, 200)))
def test_objects_in_lanes_of_their_own_keep_the_ids_that_an_oracle_gives(starts, seed, period_ms):
    # each object keeps to its lane: whoever is in lane k in frame after frame is one object
    rng = np.random.default_rng(seed)
    speeds = rng.uniform(-20, 20, len(starts))  # pixels a second
    frames = [scene(*[(round(30 + x + v * i * period_ms / 1000), 14 * lane, 8, 8, CAR)
                      for lane, (x, v) in enumerate(zip(starts, speeds, strict=True))])
              for i in range(8)]
    expected = list(range(1, len(starts) + 1))
    assert follow(tracker(), frames, period_ms=period_ms) == [expected] * 8


def test_tracks_that_ended_leave_nothing_behind():
    followed = tracker(max_lost_s=0.2)
    rng = np.random.default_rng(0)
    for i in range(300):
        x, y = rng.integers(0, 60), rng.integers(0, 40)
        followed.update(scene((int(x), int(y), 6, 6, CAR)), stamp=i * 150 * MS)
    assert followed.counts.born > 100
    assert len(followed._tracks) <= 3
    assert len(followed._tracks.samples.owner) <= 3 * 36


def test_overlap_of_masks_is_what_the_definition_says_pixel_by_pixel():
    # two frames of one camera: nothing is predicted between them, each pixel stays where it was
    rng = np.random.default_rng(1)
    frames = [scene(*[(*rng.integers(0, 50, 2).tolist(), 16, 12, CAR) for _ in range(6)])
              for _ in range(2)]
    followed = tracker()
    followed.update(frames[0], stamp=0)
    tracks, sighting = followed._tracks, Sighting.of(frames[1], None)
    found, samples = _mask_overlap(tracks, sighting)
    before, now = (frame.instance_map for frame in frames)
    for row, column in np.ndindex(found.shape):
        one, other = before == row + 1, now == column + 1
        shared, union = (one & other).sum(), (one | other).sum()
        smaller = min(one.sum(), other.sum())
        assert found[row, column] == pytest.approx((shared / union + shared / smaller) / 2)
    np.testing.assert_array_equal(samples, np.bincount(before.ravel())[1:])


def test_a_mask_that_shrinks_overlaps_no_more_than_all_of_it():
    followed = tracker()
    for i, length in enumerate((24, 20, 16, 12)):
        followed.update(scene((40, 20, length, length, CAR)), stamp=i * 100 * MS)
    moved = _predicted(followed._tracks, seconds=0.2, last_stamp=300 * MS)
    found, _ = _mask_overlap(moved, Sighting.of(scene((40, 20, 6, 6, CAR)), None))
    assert 0.5 < found[0, 0] <= 1


def test_ids_larger_than_the_packing_stay_whole():
    followed = MaskTracker(TrackingConfig(), NAMES, ids=count(1 << 20))
    assert ids(followed.update(scene((5, 5, 9, 9, CAR)), stamp=0)) == [1 << 20]
    assert replace(followed.counts, born=0) == TrackCounts(active=1)
