# SPDX-License-Identifier: Apache-2.0
"""Settings of all tests."""
from __future__ import annotations

from hypothesis import settings

# a busy machine is slow, not wrong: tests that wait have deadlines of their own
settings.register_profile('seg_ros', deadline=None)
settings.load_profile('seg_ros')


def pytest_terminal_summary(terminalreporter):
    """Show why a test was run again: what passes the second time had a reason to fail."""
    for report in terminalreporter.stats.get('rerun', ()):
        terminalreporter.section(f'first failure of {report.nodeid}')
        terminalreporter.write_line(report.longreprtext)
