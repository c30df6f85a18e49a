# SPDX-License-Identifier: Apache-2.0
"""The node's health on /diagnostics: once a second whatever the ROS time does, worse at once."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from seg_ros.core.tracking import TrackCounts
from seg_ros.ros.codes import LEVEL_OF
from seg_ros.ros.statistics import Event, Snapshot

_TICK_S = 0.2  # how soon something worse is told
_TICKS = 5  # of one beat
_LEVELS = {'': DiagnosticStatus.OK, 'WARN': DiagnosticStatus.WARN,
           'ERROR': DiagnosticStatus.ERROR}


@dataclass(frozen=True)
class CameraHealth:
    """What one camera says of itself."""

    camera: str  # empty for the only one
    statistics: Snapshot
    tracks: TrackCounts
    input: str  # what is subscribed and who publishes
    depth: str  # the same of depth
    silence_s: float
    silence_limit_s: float

    @property
    def silent(self) -> bool:
        """Return whether the camera has been quiet for too long."""
        return self.silence_s > self.silence_limit_s


@dataclass(frozen=True)
class Health:
    """What diagnostics speak of: the node and each of its cameras."""

    state: str  # of the lifecycle
    loading_s: float  # since its models are being loaded, 0 where they are not
    device: str
    models: Mapping[str, str]  # spec -> sha256
    modes: Mapping[str, str]  # spec -> precision, compiler, agreement with fp32
    trouble: Event  # what is wrong with the whole node
    cameras: Sequence[CameraHealth]


@dataclass(frozen=True)
class _Told:
    """What an entry said last."""

    failures: int = 0
    warnings: int = 0
    level: bytes = DiagnosticStatus.OK


class Diagnostics:
    """Publishes the health at 1 Hz, one entry a camera, and at once where one is worse."""

    def __init__(self, node: Node, look: Callable[[], Health]) -> None:
        """Start the timer; look is called several times a second."""
        self._node = node
        self._look = look
        self._told: dict[str, _Told] = {}
        self._ticks = 0
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 1)
        # steady: with use_sim_time and no /clock, a ROS timer would never fire
        node.create_timer(_TICK_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def publish(self) -> None:
        """Publish what is true now, as before an end."""
        health = self._look()
        self._publish(health, self._verdicts(health))

    def _tick(self) -> None:
        health = self._look()
        verdicts = self._verdicts(health)
        self._ticks += 1
        if self._ticks % _TICKS == 0 or self._is_worse(health, verdicts):
            self._publish(health, verdicts)

    def _verdicts(self, health: Health) -> list[Event]:
        """Return the verdict on each camera."""
        return [_verdict(health, camera, self._told.get(camera.camera, _Told()))
                for camera in health.cameras]

    def _publish(self, health: Health, verdicts: Sequence[Event]) -> None:
        array = DiagnosticArray(status=[
            self._status(health, camera, verdict)
            for camera, verdict in zip(health.cameras, verdicts, strict=True)])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)

    def _is_worse(self, health: Health, verdicts: Sequence[Event]) -> bool:
        """Return whether an entry has a higher level than the last that was published."""
        return any(_level(verdict) > self._told.get(camera.camera, _Told()).level
                   for camera, verdict in zip(health.cameras, verdicts, strict=True))

    def _status(self, health: Health, camera: CameraHealth, verdict: Event) -> DiagnosticStatus:
        """Return one camera's entry, and remember what it told."""
        statistics, level = camera.statistics, _level(verdict)
        self._told[camera.camera] = _Told(
            failures=_failures(statistics), warnings=_warnings(statistics), level=level)
        name = f'{self._node.get_fully_qualified_name()}: segmentation {camera.camera}'
        return DiagnosticStatus(
            level=level, message=verdict.sentence, hardware_id=health.device, name=name.rstrip(),
            values=[KeyValue(key=key, value=value) for key, value in sorted(
                (_values(health, camera) | {'code': verdict.code}).items())])


def _values(health: Health, camera: CameraHealth) -> dict[str, str]:
    """Return every figure as text."""
    statistics = camera.statistics
    percentiles = statistics.percentiles
    return {
        'state': health.state,
        'device': health.device,
        **{f'model.{spec}.sha256': sha256 for spec, sha256 in health.models.items()},
        **{f'model.{spec}.mode': mode for spec, mode in health.modes.items()},
        **{f'tracks.{name}': str(count) for name, count in asdict(camera.tracks).items()},
        'input': camera.input,
        'depth': camera.depth,
        'seconds_without_image': f'{camera.silence_s:.1f}',
        **{key: str(count) for key, count in statistics.counts.items()},
        **{f'{key}.p50': f'{p50:.2f}' for key, (p50, _) in percentiles.items()},
        **{f'{key}.p99': f'{p99:.2f}' for key, (_, p99) in percentiles.items()},
        'last_error': statistics.last_error.sentence,
        'last_error_code': statistics.last_error.code,
        'last_warning': statistics.last_warning.sentence,
    }


def _verdict(health: Health, camera: CameraHealth, told: _Told) -> Event:
    """Return the worst that is true now, or since the last entry."""
    statistics = camera.statistics
    failures = _failures(statistics) - told.failures
    if health.trouble.code and LEVEL_OF[health.trouble.code] == 'ERROR':
        return health.trouble
    if failures:
        return Event(statistics.last_error.code,
                     f'{failures} bad frames: {statistics.last_error.sentence}')
    if health.state != 'active':
        loading = f', loading its models for {health.loading_s:.1f} s' if health.loading_s else ''
        return Event('node.inactive', f'the node is {health.state}{loading}')
    if camera.silent:
        return Event('camera.silent', f'no image for {camera.silence_s:.1f} s, {camera.input}')
    if health.trouble.code:
        return health.trouble
    if _warnings(statistics) > told.warnings:
        return statistics.last_warning
    return Event('', 'segmenting')


def _level(verdict: Event) -> bytes:
    level: bytes = _LEVELS[LEVEL_OF.get(verdict.code, '')]
    return level


def _failures(statistics: Snapshot) -> int:
    return statistics.total('rejected.', 'failed.')


def _warnings(statistics: Snapshot) -> int:
    return statistics.total('stamp.', 'depth.missing')
