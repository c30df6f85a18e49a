# SPDX-License-Identifier: Apache-2.0
"""How the weights of street_tiny were made: data, losses, the training itself and its check."""
