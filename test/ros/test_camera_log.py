# SPDX-License-Identifier: Apache-2.0
"""A camera's errors are a line a second in the log, by the time that each line is written."""
from __future__ import annotations

from itertools import count
from types import SimpleNamespace

import pytest

from seg_ros.ros import camera_channel
from seg_ros.ros.camera_channel import CameraChannel
from seg_ros.ros.statistics import Event


@pytest.mark.parametrize('kind', ['error', 'warning'])
def test_a_line_that_was_held_up_is_not_followed_too_soon(monkeypatch, kind):
    now, written = [100.0], []

    def write(_):
        now[0] += 0.5  # another process has the core
        written.append(now[0])
    monkeypatch.setattr(camera_channel.time, 'monotonic', lambda: now[0])
    logger = SimpleNamespace(error=write, warning=write)
    channel = CameraChannel(SimpleNamespace(get_logger=lambda: logger), 'front', ids=count(1))
    for moment in (100.0, 101.2, 101.4, 101.6, 103.0, 103.2):
        now[0] = max(now[0], moment)
        if kind == 'error':
            channel.fail(ValueError('bad'))
        else:
            channel.warn(Event('stamp.zero', 'odd'))
    assert written == pytest.approx([100.5, 102.1, 103.7])
