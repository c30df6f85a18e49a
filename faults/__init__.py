# SPDX-License-Identifier: Apache-2.0
"""Faults through real topics: what must hold after each, tried few times in tests, often here."""
