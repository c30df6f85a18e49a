# SPDX-License-Identifier: Apache-2.0
"""A subscription whose reliability follows what the publishers offer."""
from __future__ import annotations

from collections import deque
from collections.abc import Callable
from statistics import median
import time
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

_FIRST_MESSAGE_S = 5.0  # until then, publishers and discovery may still be starting
_PERIODS = 3  # without a message, of a publisher that was there
_MEASURED = 9  # newest periods that the usual one is the median of


class AdaptiveSubscription:
    """Subscribes reliable where every publisher offers that, best effort where one does not.

    A best-effort publisher never reaches a reliable subscriber, so it subscribes again when the
    publishers change. Reliable is the better start: best effort loses most large messages on a
    default transport.
    """

    def __init__(self, node: Node, kind: type, topic: str, *, reliability: str, depth: int,
                 on_message: Callable[[Any], None], on_loss: Callable[[int], None]) -> None:
        """Subscribe; reliability is auto, or reliable or best_effort to follow nobody.

        on_loss hears how many messages never arrived, as far as one publisher's numbers show it.
        """
        self._node = node
        self._kind = kind
        self._topic = node.resolve_topic_name(topic)
        self._depth = depth
        self._on_message = on_message
        self._on_loss = on_loss
        self._periods_s: deque[float] = deque(maxlen=_MEASURED)
        self._heard = False
        self._last_number: int | None = None
        self._auto = reliability == 'auto'
        self._last_message_s = time.monotonic()
        self._reliability = ReliabilityPolicy.BEST_EFFORT \
            if reliability == 'best_effort' else ReliabilityPolicy.RELIABLE
        if self._auto:
            self._reliability = self._offered() or ReliabilityPolicy.RELIABLE
        self._subscription = self._subscribe()

    @property
    def silence_s(self) -> float:
        """Return the seconds since the last message, or since the subscription."""
        return time.monotonic() - self._last_message_s

    def silence_limit_s(self, least_s: float) -> float:
        """Return how long it may be silent: 3 of its periods, and at least least_s."""
        if not self._heard:
            return max(_FIRST_MESSAGE_S, least_s)
        return max(_PERIODS * median(self._periods_s or [0.0]), least_s)

    def adapt(self) -> None:
        """Follow what the publishers offer now."""
        if not self._auto:
            return
        offered = self._offered()
        if offered is None or offered == self._reliability:
            return
        self._reliability = offered
        self._node.destroy_subscription(self._subscription)
        self._last_number = None
        self._subscription = self._subscribe()
        self._node.get_logger().info(
            f'{self._topic}: subscribed {offered.name.lower()}, as its publishers offer')

    def describe(self) -> str:
        """Return what is wanted and what the graph shows, in one sentence."""
        wanted = f'{self._topic} ({self._kind.__name__}, {self._reliability.name.lower()})'
        publishers = [f'{info.node_name} ({info.topic_type}, '
                      f'{info.qos_profile.reliability.name.lower()})'
                      for info in self._node.get_publishers_info_by_topic(self._topic)]
        return f'subscribed to {wanted}, publishers: {", ".join(publishers) or "none"}'

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def _subscribe(self) -> Subscription:
        # a publisher came that the subscription cannot hear: look at once
        events = SubscriptionEventCallbacks(incompatible_qos=lambda _: self.adapt()) \
            if self._auto else None
        return self._node.create_subscription(
            self._kind, self._topic, self._receive,
            QoSProfile(depth=self._depth, reliability=self._reliability), event_callbacks=events)

    def _receive(self, message: Any, info: dict[str, Any]) -> None:
        now = time.monotonic()
        if self._heard:
            self._periods_s.append(now - self._last_message_s)
        self._last_message_s, self._heard = now, True
        self._count_losses(info['publication_sequence_number'])
        self._on_message(message)

    def _count_losses(self, number: int | None) -> None:
        """Compare a publisher's number of a message with the last one."""
        last, self._last_number = self._last_number, number
        if last is None or number is None:  # not every middleware counts
            return
        # several publishers count each for themselves, and one that restarts begins anew
        if number > last + 1 and self._node.count_publishers(self._topic) == 1:
            self._on_loss(number - last - 1)

    def _offered(self) -> ReliabilityPolicy | None:
        """Return what every publisher of the topic can serve, None where there is none."""
        offers = {info.qos_profile.reliability
                  for info in self._node.get_publishers_info_by_topic(self._topic)}
        if not offers:
            return None
        every_one = offers == {ReliabilityPolicy.RELIABLE}
        return ReliabilityPolicy.RELIABLE if every_one else ReliabilityPolicy.BEST_EFFORT
