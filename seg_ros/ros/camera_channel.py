# SPDX-License-Identifier: Apache-2.0
"""Everything that belongs to one camera: its subscription, topics, tracker and counters."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
import time

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage

from seg_ros.core.config import Config
from seg_ros.core.labels import LabelSet
from seg_ros.core.tracking import make_tracker, MaskTracker, NoTracker, Tracker
from seg_ros.core.types import Frame, Segmentation
from seg_ros.models.contract import ModelError, Task
from seg_ros.ros.diagnostics import CameraHealth
from seg_ros.ros.encodings import BadImageError, check_image
from seg_ros.ros.image_input import AnyImage, ImageInput
from seg_ros.ros.managed_node import sentence_of
from seg_ros.ros.messages import check_compressed, decode
from seg_ros.ros.outputs import Outputs
from seg_ros.ros.statistics import Statistics

_QUIET_S = 1.0  # at most one line about bad frames in this time


@dataclass(frozen=True, eq=False)
class Job:
    """One frame on its way from its camera to its camera's topics."""

    channel: CameraChannel
    message: AnyImage
    frame: Frame
    begun_s: float = field(default_factory=time.perf_counter)


class CameraChannel:
    """One camera of the node.

    `subscribe` and `unsubscribe` bracket each activation, `advertise` and `close` each
    configuration; counters last as long as the node. `begin` and `finish` are called on the
    worker thread, between them stands the model, which all cameras share.
    """

    def __init__(self, node: Node, name: str, *, ids: Iterator[int]) -> None:
        """Take a name, empty for the only camera; ids yields numbers never used before."""
        self.name = name
        self.statistics = Statistics()
        self._node = node
        self._prefix = f'{name}/' if name else ''
        self._ids = ids
        self._label_set: LabelSet | None = None
        self._outputs: Outputs | None = None
        self._input: ImageInput | None = None
        self._tracker: Tracker = NoTracker()
        self._silence_told = False
        self._last_error_line_s = 0.0

    def advertise(self, config: Config, *, label_set: LabelSet, tasks: frozenset[Task]) -> None:
        """Make the topics; raises ValueError where a parameter does not fit the classes."""
        self._config = config
        self._label_set = label_set
        self._outputs = Outputs(self._node, config, label_set=label_set, tasks=tasks,
                                prefix=self._prefix)

    def subscribe(self, offer: Callable[[CameraChannel, AnyImage], None]) -> None:
        """Hear the camera, with a new tracker; offer gets each image that can be read."""
        self._offer = offer
        self._tracker = self._new_tracker()
        self._input = ImageInput(self._node, self._config, prefix=self._prefix,
                                 on_image=self._receive)

    def unsubscribe(self) -> None:
        """Hear the camera no more."""
        if self._input:
            self._input.close()
            self._input = None

    def close(self) -> None:
        """Take the topics down."""
        self.unsubscribe()
        if self._outputs:
            self._outputs.close()
            self._outputs = None

    def apply(self, config: Config) -> None:
        """Use a new configuration from the next frame on."""
        self._config = config
        if self._outputs:
            self._outputs.apply(config)
        self._tracker.apply(config.tracking)
        if self._input and config.tracking.enabled != isinstance(self._tracker, MaskTracker):
            self._tracker = self._new_tracker()

    def reset_tracking(self) -> None:
        """Forget every track."""
        self._tracker.reset()

    def begin(self, message: AnyImage) -> Job | None:
        """Decode an image; None where it cannot be, which is counted."""
        try:
            with self.statistics.stage('decode'):
                return Job(self, message, decode(message))
        except Exception as error:  # one bad frame must not end the stream
            self.fail(error)
            return None

    def finish(self, job: Job, segmentation: Segmentation) -> None:
        """Track, and publish everything that the frame shows."""
        outputs, source = self._outputs, self._input
        if outputs is None or source is None:
            self.statistics.count('dropped')  # deactivated meanwhile
            return
        stage = self.statistics.stage
        with stage('track'):
            tracked = self._tracker.update(segmentation, stamp=job.frame.stamp)
        with stage('messages'):
            messages = outputs.build(job.message.header, job.frame, tracked, source.camera_info)
        with stage('publish'):
            for publisher, output in messages:
                publisher.publish(output)
        self.statistics.sample('stage_ms.total', 1e3 * (time.perf_counter() - job.begun_s))
        self.statistics.count('processed')
        age_ns = self._node.get_clock().now().nanoseconds - job.frame.stamp
        self.statistics.sample('age_ms', 1e-6 * age_ns)

    def fail(self, error: Exception) -> None:
        """Count a frame that was lost to an error; the log hears of it at most once a second."""
        if isinstance(error, BadImageError):
            counter, sentence = f'rejected.{error.reason}', f'image refused: {error}'
        else:
            kind = 'model' if isinstance(error, ModelError) else type(error).__name__
            counter, sentence = f'failed.{kind}', sentence_of(error)
        self.statistics.fail(counter, sentence)
        now = time.monotonic()
        if now - self._last_error_line_s >= _QUIET_S:
            self._last_error_line_s = now
            self._node.get_logger().error(self._named(sentence))

    def look(self) -> CameraHealth:
        """Return the health, follow the camera's QoS, and warn once of each silence."""
        source = self._input
        if source:
            source.adapt()
        health = CameraHealth(
            camera=self.name, statistics=self.statistics.snapshot(),
            tracks=self._tracker.counts,
            input=source.describe() if source else 'not subscribed',
            seconds_without_image=source.silence_s if source else 0.0,
            camera_timeout_s=self._config.camera_timeout_s if source else 0.0)
        if health.silent and not self._silence_told:
            self._node.get_logger().warning(self._named(
                f'no image for {health.seconds_without_image:.1f} s: {health.input}'))
        self._silence_told = health.silent
        return health

    def _receive(self, message: AnyImage) -> None:
        """Check an image and offer it; no pixel is touched here."""
        self.statistics.count('received')
        check = check_compressed if isinstance(message, CompressedImage) else check_image
        try:
            check(message, max_pixels=self._config.max_image_pixels)
        except BadImageError as error:
            self.fail(error)
            return
        if self._config.always_run or (self._outputs and self._outputs.wanted):
            self._offer(self, message)
        else:
            self.statistics.count('unwanted')

    def _new_tracker(self) -> Tracker:
        """Return the tracker that the configuration asks for; none before the topics are made."""
        if self._label_set is None:
            return NoTracker()
        return make_tracker(self._config.tracking, self._label_set, ids=self._ids)

    def _named(self, sentence: str) -> str:
        """Return a sentence for the log that says which of several cameras it is about."""
        return f'{self.name}: {sentence}' if self.name else sentence
