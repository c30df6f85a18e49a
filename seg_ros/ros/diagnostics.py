# SPDX-License-Identifier: Apache-2.0
"""The node's health as a DiagnosticStatus."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from seg_ros.ros.statistics import Snapshot


@dataclass(frozen=True)
class Health:
    """What diagnostics know beside the statistics."""

    state: str  # of the lifecycle
    device: str
    models: Mapping[str, str]  # spec -> sha256
    input: str  # what is subscribed and who publishes
    seconds_without_image: float
    camera_timeout_s: float
    new_failures: int  # since the last status


def status(name: str, health: Health, snapshot: Snapshot) -> DiagnosticStatus:
    """Return one status: ERROR while frames fail, WARN while none come or the node is idle."""
    level, message = _verdict(health, snapshot)
    values = {
        'state': health.state,
        'device': health.device,
        **{f'model.{spec}.sha256': sha256 for spec, sha256 in health.models.items()},
        'input': health.input,
        'seconds_without_image': f'{health.seconds_without_image:.1f}',
        **{key: str(count) for key, count in snapshot.counts.items()},
        **{f'{key}.p50': f'{p50:.2f}' for key, (p50, _) in snapshot.percentiles.items()},
        **{f'{key}.p99': f'{p99:.2f}' for key, (_, p99) in snapshot.percentiles.items()},
        'last_error': snapshot.last_error,
    }
    return DiagnosticStatus(
        level=level, name=name, hardware_id=health.device, message=message,
        values=[KeyValue(key=key, value=value) for key, value in sorted(values.items())])


def _verdict(health: Health, snapshot: Snapshot) -> tuple[bytes, str]:
    """Return level and sentence."""
    if health.new_failures:
        return DiagnosticStatus.ERROR, f'{health.new_failures} bad frames: {snapshot.last_error}'
    if health.state != 'active':
        return DiagnosticStatus.WARN, f'the node is {health.state}'
    if health.seconds_without_image > health.camera_timeout_s:
        return DiagnosticStatus.ERROR, \
            f'no image for {health.seconds_without_image:.1f} s, {health.input}'
    return DiagnosticStatus.OK, 'segmenting'
