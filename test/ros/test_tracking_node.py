# SPDX-License-Identifier: Apache-2.0
"""Through real topics: an id is an object's name for as long as it is seen."""
from __future__ import annotations

import numpy as np
from std_srvs.srv import Empty


def scene(left, *, right=True):
    """Return a wall with a ball `left` pixels from the left, and a box on the right."""
    picture = np.zeros((60, 120, 3), np.uint8)
    picture[..., 0] = 1
    picture[20:40, left:left + 20, 0] = 4
    if right:
        picture[20:40, 90:110, 0] = 3
    return picture


def at(robot, picture):
    """Return class name -> id of the newest image, sent 0.1 s after the one before."""
    message = robot.image(picture)
    robot.sent += 1
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(
        1_700_000_000 * 10**9 + robot.sent * 10**8, 10**9)
    answer = robot.ask(message)
    ids = answer.pixels('instance/image_raw')
    found = {d.results[0].hypothesis.class_id: int(d.id)
             for d in answer.messages['instances'].detections}
    assert set(found.values()) == set(ids[ids > 0].tolist())
    return found


def test_ids_last_are_never_used_again_and_can_be_forgotten(launch, robot):
    robot.sent = 0
    launch('segmentation_node', parameters={'panoptic_model': 'checkerboard',
                                            'tracking.enabled': True})
    robot.wait_for_node()
    first = at(robot, scene(0))
    assert sorted(first) == ['ball', 'box']
    for left in (4, 8, 12):
        assert at(robot, scene(left)) == first
    assert at(robot, scene(16, right=False)) == {'ball': first['ball']}
    assert at(robot, scene(20)) == first
    robot.wait_for_diagnostic('tracks.born', '2'.__eq__)
    robot.call('reset_tracking', Empty.Request())
    second = at(robot, scene(24))
    assert not set(second.values()) & set(first.values())
    assert robot.set_parameters(tracking__enabled=False) == (True, '')
    assert sorted(at(robot, scene(28)).values()) == [1, 2]
    assert robot.set_parameters(tracking__enabled=True) == (True, '')
    third = at(robot, scene(32))
    assert not set(third.values()) & (set(first.values()) | set(second.values()))
