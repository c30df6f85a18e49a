# SPDX-License-Identifier: Apache-2.0
"""Shared memory as Fast DDS uses it: how large its segments are, and whether they have room."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import re
import shutil

SHARED_MEMORY = Path('/dev/shm')
PROFILES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
"""Variables that name a profile file: Fast DDS 2 reads the first, 3 the second."""

REMEDY = ('make it larger (docker run --shm-size=1g) or segment_size in the profile smaller')
_DEFAULT_SEGMENT = 1 << 19  # bytes
_PROCESSES = 3  # a camera, the node, a consumer


def chosen_profile(environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the variable that names the user's profile, and the profile; '' without one."""
    return next(((name, environment[name]) for name in PROFILES if environment.get(name)),
                (PROFILES[0], ''))


def segment_size(profile: str) -> int:
    """Return the bytes of the largest segment that a profile file asks for."""
    path = Path(profile)
    text = path.read_text(errors='replace') if profile and path.is_file() else ''
    found = re.findall(r'<segment_size>\s*(\d+)\s*</segment_size>', text)
    return max(map(int, found), default=_DEFAULT_SEGMENT)


def shortage(folder: Path, environment: Mapping[str, str]) -> str:
    """Return what is missing for the segments of camera, node and consumer, or nothing."""
    segment = segment_size(chosen_profile(environment)[1])
    if not folder.is_dir():
        return f'{folder} is not there'
    free = shutil.disk_usage(folder).free
    if free >= _PROCESSES * segment:
        return ''
    return (f'{folder} has {free >> 20} MB free, expected {_PROCESSES} segments of '
            f'{segment >> 20} MB')
