# SPDX-License-Identifier: Apache-2.0
"""What the user brings: the YAML beside a model file, the three formats, the four contracts."""
