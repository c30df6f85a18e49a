# SPDX-License-Identifier: Apache-2.0
"""Judges the stamps of a camera's images: they are processed all the same, but told."""
from __future__ import annotations

_FUTURE_NS = 1_000_000_000


class StampWatch:
    """Compares each stamp with the one before and with the clock."""

    def __init__(self) -> None:
        """Begin without a past."""
        self._last: int | None = None

    def judge(self, stamp: int, *, now: int) -> str:
        """Return the code of what is odd about a stamp, or nothing; both in ns, now 0 unknown."""
        last, self._last = self._last, stamp
        if stamp == 0:
            return 'stamp.zero'
        if now and stamp > now + _FUTURE_NS:
            return 'stamp.future'
        if last is not None and stamp < last:
            return 'stamp.backwards'
        return 'stamp.duplicate' if stamp == last else ''
