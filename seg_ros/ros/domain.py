# SPDX-License-Identifier: Apache-2.0
"""Lends ROS domains, so that demos, tests and measurements run side by side on one machine."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import fcntl
from pathlib import Path
import tempfile


class NoDomainError(Exception):
    """Every domain is taken: one sentence."""


@contextmanager
def lent_domain() -> Iterator[int]:
    """Lend a domain id that nobody else who asks here has; raises NoDomainError."""
    # above 101, discovery's ports overlap those that the system hands out
    for number in range(1, 102):
        path = Path(tempfile.gettempdir()) / f'ros_domain_{number}.lock'
        with path.open('w') as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            yield number
            return
    raise NoDomainError('no ROS domain in 1 to 101 is free')
