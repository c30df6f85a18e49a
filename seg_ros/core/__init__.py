# SPDX-License-Identifier: Apache-2.0
"""The pure library: values, labels, fusion, metrics and colours, on numpy and scipy alone."""
