# SPDX-License-Identifier: Apache-2.0
"""What goes wrong where our tracker gives an object another name: who got which, and when."""
from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.track_odds import RATES, SEEDS
from benchmarks.track_scenes import LABEL_SET, street_runs
from benchmarks.tracking import Ours, Shown, SOURCES, view_of
from seg_ros.core.config import TrackingConfig

UNKNOWN, FREE, TAKEN = 'not known by a name', 'its own was free', 'its own was taken'
NEW, OLD = 'a new name', 'one that it had before'
IN_VIEW, OUT_OF_VIEW = 'that of one in view', 'that of one out of view'


@dataclass(frozen=True)
class WrongName:
    """An object that is not called as it was, or as somebody else was."""

    who: str  # UNKNOWN, FREE or TAKEN: what there was of a name of its own
    got: str  # NEW, OLD, IN_VIEW or OUT_OF_VIEW
    time_s: float
    identity: int
    name: int
    class_name: str
    counts: bool  # for the scores: it is large enough


class Names:
    """Knows who was called what in a run."""

    def __init__(self, *, max_lost_s: float) -> None:
        """Start without names; one that was not given for so long is forgotten."""
        self._max_lost_s = max_lost_s
        self._object_of: dict[int, int] = {}  # by name
        self._name_of: dict[int, int] = {}  # by object
        self._given_s: dict[int, float] = {}  # by name

    def wrong(self, frame: Shown, names: NDArray[np.int64]) -> list[WrongName]:
        """Return what is wrong in the (N,) names of a frame's instances, and learn them."""
        objects = frame.objects()
        known = objects > 0
        pairs = dict(zip(objects[known].tolist(), names[known].tolist(), strict=True))
        time_s = 1e-9 * frame.moment.stamp
        found = []
        for row in np.flatnonzero(known):
            identity, name = int(objects[row]), int(names[row])
            who, got = self._who(identity, pairs, time_s), self._got(name, identity, pairs)
            is_right = got == NEW if who == UNKNOWN else name == self._name_of[identity]
            if not is_right:
                class_id = frame.segmentation.instances.class_ids[row]
                found.append(WrongName(who, got, time_s, identity, name,
                                       LABEL_SET.names[class_id], bool(frame.counts[row])))
        self._object_of |= {name: identity for identity, name in pairs.items()}
        self._name_of |= pairs
        self._given_s |= dict.fromkeys(names.tolist(), time_s)
        return found

    def _who(self, identity: int, pairs: dict[int, int], time_s: float) -> str:
        own = self._name_of.get(identity)
        if own is None or self._object_of[own] != identity \
                or time_s - self._given_s[own] > self._max_lost_s:
            return UNKNOWN
        return TAKEN if own in pairs.values() else FREE

    def _got(self, name: int, identity: int, pairs: dict[int, int]) -> str:
        if name not in self._object_of:
            return NEW
        if self._object_of[name] == identity:
            return OLD
        return IN_VIEW if self._object_of[name] in pairs else OUT_OF_VIEW


def wrong_names(frames: Sequence[Shown], config: TrackingConfig) -> Iterator[WrongName]:
    """Yield what our tracker gets wrong in a run."""
    track, names = Ours(config), Names(max_lost_s=config.max_lost_s)
    for frame in frames:
        yield from names.wrong(*track(frame))


def main() -> None:
    """Track, count, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seeds', type=int, nargs='+', default=SEEDS, help='of streets')
    parser.add_argument('--source', choices=SOURCES, default=SOURCES[0])
    parser.add_argument('--list', action='store_true', help='print each, too')
    arguments = parser.parse_args()
    config = TrackingConfig(enabled=True)
    see = view_of(arguments.source)
    found: list[WrongName] = []
    for rate in tqdm(RATES, desc=arguments.source, unit='rate'):
        for run in street_runs(arguments.seeds, rate_hz=rate):
            of_run = list(wrong_names([Shown.of(moment, see(moment)) for moment in run], config))
            found += of_run
            if arguments.list:
                _list(of_run, title=f'street {run[0].key[0]}, {rate:g} Hz')
    _print(found)


def _list(found: Sequence[WrongName], *, title: str) -> None:
    for wrong in found:
        tqdm.write(f'{title}, {wrong.time_s:5.2f} s: {wrong.class_name} {wrong.identity}, '
                   f'{wrong.who}, got {wrong.got}, {wrong.name}'
                   + ('' if wrong.counts else ' (small)'))


def _print(found: Sequence[WrongName]) -> None:
    every, counted = (Counter((wrong.who, wrong.got) for wrong in some)
                      for some in (found, [wrong for wrong in found if wrong.counts]))
    print(f'{"object":<24}{"got":<28}{"times":>8}{"large":>8}')
    for (who, got), times in every.most_common():
        print(f'{who:<24}{got:<28}{times:>8}{counted[who, got]:>8}')


if __name__ == '__main__':
    main()
