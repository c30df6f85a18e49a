# SPDX-License-Identifier: Apache-2.0
"""Settings of all tests."""
from __future__ import annotations

from hypothesis import settings

# a busy machine is slow, not wrong: tests that wait have deadlines of their own
settings.register_profile('seg_ros', deadline=None)
settings.load_profile('seg_ros')
