# SPDX-License-Identifier: Apache-2.0
"""The heartbeat that lets a Nav2 lifecycle manager see a node die, where bondpy is installed."""
from __future__ import annotations

from typing import Any

from rclpy.node import Node

# as nav2_util's nodes, which the manager expects
_TOPIC = 'bond'
_PERIOD_S = 0.1
_TIMEOUT_S = 4.0


class Heartbeat:
    """A bond with whoever manages the node while it is active; nothing without bondpy."""

    def __init__(self, node: Node) -> None:
        """Keep the node; nothing is sent yet."""
        self._node = node
        self._bond: Any = None

    def start(self) -> None:
        """Begin to beat."""
        try:
            from bondpy.bondpy import Bond
        except ImportError:
            return
        self._bond = Bond(self._node, _TOPIC, self._node.get_name())
        self._bond.set_heartbeat_period(_PERIOD_S)
        self._bond.set_heartbeat_timeout(_TIMEOUT_S)
        self._bond.start()

    def stop(self) -> None:
        """Say that the bond ends, so that nobody takes it for a death."""
        bond, self._bond = self._bond, None
        if bond is not None:
            bond.shutdown()
