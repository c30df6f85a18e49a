# SPDX-License-Identifier: Apache-2.0
"""The node's health on /diagnostics, once a second whatever the ROS time does."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from seg_ros.core.tracking import TrackCounts
from seg_ros.ros.statistics import Snapshot


@dataclass(frozen=True)
class CameraHealth:
    """What one camera says of itself."""

    camera: str  # empty for the only one
    statistics: Snapshot
    tracks: TrackCounts
    input: str  # what is subscribed and who publishes
    seconds_without_image: float
    camera_timeout_s: float

    @property
    def silent(self) -> bool:
        """Return whether the camera has been quiet for too long."""
        return self.seconds_without_image > self.camera_timeout_s


@dataclass(frozen=True)
class Health:
    """What diagnostics speak of: the node and each of its cameras."""

    state: str  # of the lifecycle
    device: str
    models: Mapping[str, str]  # spec -> sha256
    cameras: Sequence[CameraHealth]


class Diagnostics:
    """Publishes the health at 1 Hz, one entry a camera."""

    def __init__(self, node: Node, look: Callable[[], Health]) -> None:
        """Start the timer; look is called each second."""
        self._node = node
        self._look = look
        self._failures_told: dict[str, int] = {}
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 1)
        # steady: with use_sim_time and no /clock, a ROS timer would never fire
        node.create_timer(1.0, self._publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _publish(self) -> None:
        health = self._look()
        array = DiagnosticArray(status=[self._status(health, camera) for camera in health.cameras])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)

    def _status(self, health: Health, camera: CameraHealth) -> DiagnosticStatus:
        """Return one camera's entry."""
        failures = sum(count for name, count in camera.statistics.counts.items()
                       if name.startswith(('rejected.', 'failed.')))
        level, message = _verdict(health, camera, new_failures=failures
                                  - self._failures_told.get(camera.camera, 0))
        self._failures_told[camera.camera] = failures
        name = f'{self._node.get_fully_qualified_name()}: segmentation {camera.camera}'
        return DiagnosticStatus(
            level=level, message=message, hardware_id=health.device, name=name.rstrip(),
            values=[KeyValue(key=key, value=value)
                    for key, value in sorted(_values(health, camera).items())])


def _values(health: Health, camera: CameraHealth) -> dict[str, str]:
    """Return every figure as text."""
    statistics = camera.statistics
    return {
        'state': health.state,
        'device': health.device,
        **{f'model.{spec}.sha256': sha256 for spec, sha256 in health.models.items()},
        **{f'tracks.{name}': str(count) for name, count in asdict(camera.tracks).items()},
        'input': camera.input,
        'seconds_without_image': f'{camera.seconds_without_image:.1f}',
        **{key: str(count) for key, count in statistics.counts.items()},
        **{f'{key}.p50': f'{p50:.2f}' for key, (p50, _) in statistics.percentiles.items()},
        **{f'{key}.p99': f'{p99:.2f}' for key, (_, p99) in statistics.percentiles.items()},
        'last_error': statistics.last_error,
    }


def _verdict(health: Health, camera: CameraHealth, *, new_failures: int) -> tuple[bytes, str]:
    """Return level and sentence: ERROR while frames fail or none come, WARN while idle."""
    if new_failures:
        return DiagnosticStatus.ERROR, f'{new_failures} bad frames: {camera.statistics.last_error}'
    if health.state != 'active':
        return DiagnosticStatus.WARN, f'the node is {health.state}'
    if camera.silent:
        return DiagnosticStatus.ERROR, \
            f'no image for {camera.seconds_without_image:.1f} s, {camera.input}'
    return DiagnosticStatus.OK, 'segmenting'
