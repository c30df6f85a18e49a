# SPDX-License-Identifier: Apache-2.0
"""Who is who on recorded frames is told by overlap; looks are judged by that."""
from __future__ import annotations

import cv2
import numpy as np
import pytest

from benchmarks.track_looks import main, named, pairs, Seen, told_apart
from seg_ros.core.appearance import CELLS
from seg_ros.core.types import Instances, Segmentation, tight_boxes
from seg_ros.sim import Street

CAR, PERSON = 8, 9


def frame(*boxes):
    """Return a segmentation of boxes (x, y, width, height, class)."""
    instance_map = np.zeros((60, 80), np.int32)
    for value, (x, y, width, height, _) in enumerate(boxes, start=1):
        instance_map[y:y + height, x:x + width] = value
    class_ids = np.array([box[4] for box in boxes], np.uint8)
    return Segmentation(
        class_map=np.concatenate(([0], class_ids))[instance_map].astype(np.uint8),
        instance_map=instance_map,
        instances=Instances(class_ids=class_ids, scores=np.ones(len(boxes), np.float32),
                            track_ids=np.zeros(len(boxes), np.int64),
                            boxes=tight_boxes(instance_map, len(boxes))))


def test_what_overlaps_from_frame_to_frame_keeps_its_name_and_what_jumps_or_changes_has_another():
    first, second, third = named([
        frame((5, 5, 20, 20, CAR), (40, 5, 20, 20, CAR)),
        frame((41, 6, 20, 20, CAR), (7, 5, 20, 20, CAR)),
        frame((60, 30, 20, 20, CAR), (7, 5, 20, 20, PERSON))])
    assert second.tolist() == first[::-1].tolist()
    assert len({*first.tolist(), *third.tolist()}) == 4


def seen(names, colours, *, relit=None):
    """Return instances of one class, each of one colour cell."""
    looks = np.eye(CELLS)[colours]
    return Seen(np.array(names), np.full(len(names), CAR, np.uint8), looks,
                looks if relit is None else np.eye(CELLS)[relit])


def test_two_names_are_two_objects_only_where_a_frame_has_both():
    differ, same = pairs(seen([1, 2], [0, 1]), seen([2, 3], [1, 0]), relit=False)
    # 1 may be 3 under another name: it left before that came
    assert sorted(zip(differ.tolist(), same.tolist(), strict=True)) == [
        (0.0, True), (1.0, False), (1.0, False)]


@pytest.mark.parametrize(('colours', 'expected'), [
    ([0, 1], 1.0),  # as before
    ([1, 0], 0.0),  # of one another
    ([5, 5], 0.5)])  # of neither
def test_the_share_is_of_pairs_where_one_object_differs_less_than_two(colours, expected):
    frames = [seen([1, 2], [0, 1]), seen([1, 2], [3, 3], relit=colours)]
    assert told_apart(frames, lag=1, relit=True) == (expected, 2, 2)


def test_frames_without_a_pair_have_no_share():
    share, ones, others = told_apart([seen([1], [0]), seen([1], [0])], lag=1, relit=False)
    assert np.isnan(share) and (ones, others) == (1, 0)


def test_frames_of_a_folder_are_looked_at(tmp_path, capsys):
    street = Street(seed=10_003, rate_hz=15.0)
    for index in range(3):
        cv2.imwrite(str(tmp_path / f'{index:04d}.png'), street.frame(index).image[..., ::-1])
    main(['--images', str(tmp_path)])
    header, line, *_ = capsys.readouterr().out.splitlines()
    assert header.split()[-3:] == ['in', 'other', 'light']
    lag, ones, others, share, relit = map(float, line.split())
    assert (lag, ones > 0, others > 0) == (0.07, True, True)
    assert share > 0.9 and relit > 0.5


def test_one_frame_is_refused_with_the_rule(tmp_path):
    cv2.imwrite(str(tmp_path / '0.png'), np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(SystemExit, match='has 1 frames, expected at least 2'):
        main(['--images', str(tmp_path)])
