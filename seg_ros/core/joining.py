# SPDX-License-Identifier: Apache-2.0
"""StampJoiner: finds the depth of a frame by its stamp, without making the frame wait."""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

F = TypeVar('F')
D = TypeVar('D')
_NEWEST_KEPT = 6  # depth that came before its image was received
_FRAMES_WAITING = 4


@dataclass(frozen=True)
class Joined(Generic[F, D]):
    """What one step brought."""

    pairs: tuple[tuple[F, D], ...] = ()
    missing: int = 0  # frames whose depth did not come


@dataclass(frozen=True)
class _Waiting(Generic[F]):
    frame: F
    until_ns: int


class StampJoiner(Generic[F, D]):
    """Joins segmented frames and depth of stamps that are equal, or at most a tolerance apart.

    A frame is announced when its image is received and again when the model takes it, so that its
    depth is kept however long the model takes. It is given when it is segmented. Then it takes
    depth of its own stamp at once, the nearest as soon as depth of a later stamp has come (no
    nearer one will), or the nearest there is after `wait_ns`. Stamps are of the images, `now_ns`
    is of a steady clock. Not safe to use from several threads.
    """

    def __init__(self, *, tolerance_ns: int, wait_ns: int) -> None:
        """Start empty; tolerance 0 joins equal stamps only."""
        self._tolerance_ns = tolerance_ns
        self._wait_ns = wait_ns
        self._received_ns: int | None = None
        self._begun_ns: int | None = None
        self._depths: OrderedDict[int, D] = OrderedDict()  # in the order that they came
        self._frames: OrderedDict[int, _Waiting[F]] = OrderedDict()

    def expect(self, stamp_ns: int) -> None:
        """Hear of a received image; it replaces one that the model has not taken."""
        self._received_ns = stamp_ns

    def begin(self, stamp_ns: int) -> None:
        """Hear that the model has taken an image."""
        self._begun_ns = stamp_ns

    def add_frame(self, stamp_ns: int, frame: F, *, now_ns: int) -> Joined[F, D]:
        """Take a segmented frame and return what can be joined now."""
        self._frames[stamp_ns] = _Waiting(frame, now_ns + self._wait_ns)
        crowded = [next(iter(self._frames))] if len(self._frames) > _FRAMES_WAITING else []
        return self._join(now_ns, give_up=crowded)

    def add_depth(self, stamp_ns: int, depth: D, *, now_ns: int) -> Joined[F, D]:
        """Take a depth image and return what can be joined now."""
        self._depths[stamp_ns] = depth
        self._depths.move_to_end(stamp_ns)
        joined = self._join(now_ns)
        self._forget()
        return joined

    def expire(self, *, now_ns: int) -> Joined[F, D]:
        """Return what can be joined, or has to be given up, because time has passed."""
        return self._join(now_ns)

    def _join(self, now_ns: int, give_up: Iterable[int] = ()) -> Joined[F, D]:
        """Match the waiting frames; those that have waited long enough take what there is."""
        latest = max(self._depths, default=None)
        pairs, missing = [], 0
        for stamp, waiting in list(self._frames.items()):
            ended = now_ns >= waiting.until_ns or stamp in give_up
            decided = stamp in self._depths or (latest is not None and latest > stamp)
            nearest = self._nearest(stamp)
            if nearest is not None and (decided or ended):
                pairs.append((waiting.frame, self._depths[nearest]))
            elif ended:
                missing += 1
            else:
                continue
            del self._frames[stamp]
        return Joined(tuple(pairs), missing)

    def _nearest(self, stamp_ns: int) -> int | None:
        """Return the stamp of the nearest depth within the tolerance, None where there is none."""
        nearest = min(self._depths, key=lambda depth_ns: abs(depth_ns - stamp_ns), default=None)
        near = nearest is not None and abs(nearest - stamp_ns) <= self._tolerance_ns
        return nearest if near else None

    def _forget(self) -> None:
        """Keep the newest depth, and what is near to a frame under way."""
        wanted = [stamp for stamp in (self._received_ns, self._begun_ns, *self._frames)
                  if stamp is not None]
        for depth_ns in list(self._depths)[:-_NEWEST_KEPT]:
            if all(abs(depth_ns - stamp) > self._tolerance_ns for stamp in wanted):
                del self._depths[depth_ns]
