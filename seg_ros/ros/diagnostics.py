# SPDX-License-Identifier: Apache-2.0
"""The node's health on /diagnostics, once a second whatever the ROS time does."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from seg_ros.core.tracking import TrackCounts
from seg_ros.ros.statistics import Snapshot, Statistics


@dataclass(frozen=True)
class Health:
    """What diagnostics know beside the statistics."""

    state: str  # of the lifecycle
    device: str
    models: Mapping[str, str]  # spec -> sha256
    tracks: TrackCounts
    input: str  # what is subscribed and who publishes
    seconds_without_image: float
    camera_timeout_s: float

    @property
    def silent(self) -> bool:
        """Return whether the camera has been quiet for too long."""
        return self.seconds_without_image > self.camera_timeout_s


class Diagnostics:
    """Publishes the health at 1 Hz."""

    def __init__(self, node: Node, statistics: Statistics, look: Callable[[], Health]) -> None:
        """Start the timer; look is called each second."""
        self._node = node
        self._statistics = statistics
        self._look = look
        self._failures_told = 0
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 1)
        # steady: with use_sim_time and no /clock, a ROS timer would never fire
        node.create_timer(1.0, self._publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _publish(self) -> None:
        health, snapshot = self._look(), self._statistics.snapshot()
        failures = sum(count for name, count in snapshot.counts.items()
                       if name.startswith(('rejected.', 'failed.')))
        level, message = _verdict(health, snapshot, new_failures=failures - self._failures_told)
        self._failures_told = failures
        array = DiagnosticArray(status=[DiagnosticStatus(
            level=level, message=message, hardware_id=health.device,
            name=f'{self._node.get_fully_qualified_name()}: segmentation',
            values=[KeyValue(key=key, value=value)
                    for key, value in sorted(_values(health, snapshot).items())])])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)


def _values(health: Health, snapshot: Snapshot) -> dict[str, str]:
    """Return every figure as text."""
    return {
        'state': health.state,
        'device': health.device,
        **{f'model.{spec}.sha256': sha256 for spec, sha256 in health.models.items()},
        **{f'tracks.{name}': str(count) for name, count in asdict(health.tracks).items()},
        'input': health.input,
        'seconds_without_image': f'{health.seconds_without_image:.1f}',
        **{key: str(count) for key, count in snapshot.counts.items()},
        **{f'{key}.p50': f'{p50:.2f}' for key, (p50, _) in snapshot.percentiles.items()},
        **{f'{key}.p99': f'{p99:.2f}' for key, (_, p99) in snapshot.percentiles.items()},
        'last_error': snapshot.last_error,
    }


def _verdict(health: Health, snapshot: Snapshot, *, new_failures: int) -> tuple[bytes, str]:
    """Return level and sentence: ERROR while frames fail or none come, WARN while idle."""
    if new_failures:
        return DiagnosticStatus.ERROR, f'{new_failures} bad frames: {snapshot.last_error}'
    if health.state != 'active':
        return DiagnosticStatus.WARN, f'the node is {health.state}'
    if health.silent:
        return DiagnosticStatus.ERROR, \
            f'no image for {health.seconds_without_image:.1f} s, {health.input}'
    return DiagnosticStatus.OK, 'segmenting'
