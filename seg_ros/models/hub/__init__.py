# SPDX-License-Identifier: Apache-2.0
"""What the family `huggingface` is made of."""
