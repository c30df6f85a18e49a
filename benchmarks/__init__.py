# SPDX-License-Identifier: Apache-2.0
"""Measurements, as ratios of things that ran side by side."""
