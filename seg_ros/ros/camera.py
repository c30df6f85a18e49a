# SPDX-License-Identifier: Apache-2.0
"""What the two cameras share: parameters, the beat, one stamp for all topics of a frame."""

from __future__ import annotations

from collections.abc import Mapping
import math

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header

from seg_ros.core.config import Parameter, ParameterValue
from seg_ros.ros.parameters import read_overrides

COMMON_PARAMETERS = (
    Parameter('frame_id', 'camera_optical_frame', 'tf frame of every message'),
    Parameter(
        'reliability',
        'reliable',
        'QoS of every topic',
        choices=('reliable', 'best_effort'),
    ),
    Parameter('max_frames', 0, 'end after so many frames; 0 means never', minimum=0),
    Parameter(
        'wait_for_subscribers',
        0,
        'publish nothing before the image has so many subscribers, so that they miss none',
        minimum=0,
    ),
)
_QUEUE_DEPTH = 10  # messages that a topic keeps for a slow subscriber
_SETTLE_S = 0.5  # topics of one subscriber are found one after the other
_LAST_WORDS_S = 2.0  # how long the end waits for subscribers to fetch the last frame


class CameraNode(Node):
    """Publishes a source's frames in a steady beat, each with one stamp on all its topics."""

    def __init__(self, name: str, parameters: tuple[Parameter, ...]) -> None:
        """Declare the parameters, which are read once; raise ValueError with one sentence."""
        super().__init__(name)
        self.settings = declare_settings(self, parameters + COMMON_PARAMETERS)
        self.exit_code: int | None = None  # None while it plays
        self._published = 0
        self._ready_since_s = math.inf

    def advertise(self, kind: type, topic: str) -> Publisher:
        """Return a publisher with the QoS that the parameters ask for."""
        reliability = ReliabilityPolicy[str(self.settings['reliability']).upper()]
        return self.create_publisher(
            kind, topic, QoSProfile(depth=_QUEUE_DEPTH, reliability=reliability)
        )

    def start(self, *, rate_hz: float) -> None:
        """Prepare the first frame and begin the beat; raise ValueError where there is none."""
        self.prepare()
        # a camera is no part of a simulation: its beat is real time whatever /clock says
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(1.0 / rate_hz, self._tick, clock=self._steady)

    def prepare(self) -> bool:
        """Make the next frame, so that the beat only has to publish it; False at the end."""
        raise NotImplementedError

    def publish(self, header: Header) -> None:
        """Publish the prepared frame."""
        raise NotImplementedError

    def image_subscribers(self) -> int:
        """Return how many subscribers the image has."""
        raise NotImplementedError

    def _tick(self) -> None:
        if not self._is_expected():
            return
        self.publish(
            Header(
                stamp=self.get_clock().now().to_msg(),
                frame_id=str(self.settings['frame_id']),
            )
        )
        self._published += 1
        if self._published == self.settings['max_frames']:
            self._finish(0)
            return
        try:
            more = self.prepare()
        except ValueError as error:
            self.get_logger().error(str(error))
            self._finish(1)
            return
        if not more:
            self._finish(0)

    def _is_expected(self) -> bool:
        """Return whether as many as wanted have subscribed, and for long enough."""
        wanted = int(self.settings['wait_for_subscribers'])  # type: ignore[arg-type]
        if self._published or not wanted:
            return True
        now_s = self._steady.now().nanoseconds * 1e-9
        if self.image_subscribers() < wanted:
            self._ready_since_s = math.inf
        else:
            self._ready_since_s = min(self._ready_since_s, now_s)
        return now_s - self._ready_since_s >= _SETTLE_S

    def _finish(self, exit_code: int) -> None:
        """End the beat once subscribers have fetched what was published."""
        self._timer.cancel()
        for publisher in self.publishers:
            if publisher.topic_name not in ('/rosout', '/parameter_events'):
                publisher.wait_for_all_acked(Duration(seconds=_LAST_WORDS_S))
        self.get_logger().info(f'published {self._published} frames')
        self.exit_code = exit_code


def declare_settings(
    node: Node, parameters: tuple[Parameter, ...]
) -> Mapping[str, ParameterValue]:
    """Declare parameters read-only and return their checked values by name.

    Raises ValueError with one sentence for a wrong value, or for a name that nobody declared
    and that looks like one of these; other strangers are one warning.
    """
    overrides = read_overrides(node, parameters)
    settings = {}
    for parameter in parameters:
        value = parameter.check(overrides.get(parameter.name, parameter.default))
        descriptor = ParameterDescriptor(
            description=parameter.meaning,
            additional_constraints=parameter.range_text,
            read_only=True,
        )
        node.declare_parameter(parameter.name, value, descriptor, ignore_override=True)
        settings[parameter.name] = value
    return settings
