# SPDX-License-Identifier: Apache-2.0
"""The doctor finds what is wrong with shared memory and kernel, and says what helps."""
from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from seg_ros.ros.shared_memory import PROFILES
from seg_ros.tools import doctor

PROFILE = Path(__file__).parents[2] / 'config' / 'fastdds_shared_memory.xml'


@pytest.mark.parametrize('profile, words', [
    ('', 'is not set'),
    ('/no/such.xml', 'which is no file'),
])
def test_a_profile_that_is_not_in_use_is_to_be_mended(tmp_path, profile, words):
    first, *_ = doctor.shared_memory(tmp_path, {'FASTRTPS_DEFAULT_PROFILES_FILE': profile})
    assert words in first.text and 'config/fastdds_shared_memory.xml' in first.remedy


@pytest.mark.parametrize('variable', PROFILES)
def test_a_profile_in_use_is_well(tmp_path, variable):
    first, *_ = doctor.shared_memory(tmp_path, {variable: str(PROFILE)})
    assert first.remedy == '' and '64 MB' in first.text


def test_segments_whose_owner_has_ended_are_orphans_and_others_are_not(tmp_path):
    for name in ('fastrtps_1', 'fastrtps_2', 'other'):
        (tmp_path / name).write_bytes(b'x' * 5000)
    for name in ('fastrtps_1_el', 'fastrtps_2_el', 'fastrtps_3_el'):
        (tmp_path / name).touch()
    with (tmp_path / 'fastrtps_2_el').open() as owned:
        fcntl.flock(owned, fcntl.LOCK_EX)
        assert doctor.orphans_in(tmp_path) == [tmp_path / 'fastrtps_1']
        *_, last = doctor.shared_memory(tmp_path, {})
    assert last.text.startswith('1 segments') and 'fastdds shm clean' in last.remedy
    assert (tmp_path / 'fastrtps_1').exists()  # it looks, and takes nothing away


def test_small_buffers_are_to_be_mended_by_a_command_and_large_ones_are_well(tmp_path):
    for name, value in (('core/rmem_max', 212992), ('ipv4/ipfrag_high_thresh', 1 << 27)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(f'{value}\n')
    small, large = doctor.kernel(tmp_path)
    assert small.remedy == 'sudo sysctl -w net.core.rmem_max=8388608'
    assert large.remedy == ''


def test_what_cannot_be_read_is_no_fault(tmp_path):
    assert [finding.remedy for finding in doctor.kernel(tmp_path)] == ['', '']
