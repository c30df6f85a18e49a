# SPDX-License-Identifier: Apache-2.0
"""Everything that belongs to one camera: its subscription, topics, tracker and counters."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
import threading
import time

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage

from seg_ros.core.config import Config
from seg_ros.core.labels import LabelSet
from seg_ros.core.tracking import make_tracker, MaskTracker, NoTracker, Tracker
from seg_ros.core.types import Frame, Segmentation
from seg_ros.models.contract import (
    DeviceLostError,
    ModelError,
    NotFiniteError,
    OutOfMemoryError,
    Task,
)
from seg_ros.ros.diagnostics import CameraHealth
from seg_ros.ros.encodings import BadImageError, check_image
from seg_ros.ros.ignore_mask import IgnoreMask
from seg_ros.ros.image_input import AnyImage, ImageInput
from seg_ros.ros.managed_node import sentence_of
from seg_ros.ros.messages import check_compressed, decode
from seg_ros.ros.mounting import UnknownPoseError
from seg_ros.ros.outputs import Outputs
from seg_ros.ros.space import make_space, NoSpace, Segmented, Space
from seg_ros.ros.stamps import StampWatch
from seg_ros.ros.statistics import Event, Statistics

_QUIET_S = 1.0  # at most one line about errors, and one about warnings, in this time
_CODES = {DeviceLostError: 'failed.device_lost', NotFiniteError: 'failed.not_finite',
          OutOfMemoryError: 'failed.memory', ModelError: 'failed.model',
          UnknownPoseError: 'failed.pose'}


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
        self._space: Space = NoSpace()
        self._input: ImageInput | None = None
        self._tracker: Tracker = NoTracker()
        self._stamps = StampWatch()
        self._due_s = 0.0  # of the next frame, where max_rate_hz bounds them
        self._silence_told = False
        self._quiet_until_s: dict[str, float] = {}
        self._telling = threading.Lock()

    def advertise(self, config: Config, *, label_set: LabelSet, tasks: frozenset[Task],
                  ignore_mask: IgnoreMask) -> None:
        """Make the topics; raises ValueError where a parameter does not fit the classes."""
        self._config = config
        self._ignore_mask = ignore_mask
        self._label_set = label_set
        self._outputs = Outputs(self._node, config, label_set=label_set, tasks=tasks,
                                prefix=self._prefix)
        self._space = make_space(self._node, config, label_set=label_set, tasks=tasks,
                                 prefix=self._prefix, statistics=self.statistics, fail=self.fail,
                                 warn=self.warn)

    def subscribe(self, offer: Callable[[CameraChannel, AnyImage], None]) -> None:
        """Hear the camera, with a new tracker; offer gets each image that can be read."""
        self._offer = offer
        self._tracker = self._new_tracker()
        self._stamps = StampWatch()
        self._input = ImageInput(
            self._node, self._config, prefix=self._prefix, on_image=self._receive,
            on_loss=lambda number: self.statistics.count('lost', number))
        self._space.subscribe()

    def unsubscribe(self) -> None:
        """Hear the camera no more."""
        if self._input:
            self._input.close()
            self._input = None
        self._space.unsubscribe()

    def close(self) -> None:
        """Take the topics down."""
        self.unsubscribe()
        if self._outputs:
            self._outputs.close()
            self._outputs = None
        self._space.close()
        self._space = NoSpace()

    def admit(self, config: Config) -> None:
        """Choose images by a new configuration, from the next one that is received on."""
        self._config = config

    def apply(self, config: Config, *, label_set: LabelSet) -> None:
        """Process by a new configuration and its classes, from the next frame on."""
        if self._outputs:
            self._outputs.apply(config, label_set=label_set)
        self._space.apply(config, label_set=label_set)
        self._tracker.apply(config.tracking)
        old_classes, self._label_set = self._label_set, label_set
        # tracks vote for class ids, which mean something else in another set
        other = config.tracking.enabled != isinstance(self._tracker, MaskTracker) \
            or label_set != old_classes
        if self._input and other:
            self._tracker = self._new_tracker()

    def reset_tracking(self) -> None:
        """Forget every track."""
        self._tracker.reset()

    def begin(self, message: AnyImage) -> Job | None:
        """Decode an image; None where it cannot be, which is counted."""
        try:
            with self.statistics.stage('decode'):
                job = Job(self, message, decode(message))
            self._space.begin(job.frame)
            return job
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
        self._judge(job.frame.stamp)
        with stage('track'):
            tracked = self._tracker.update(
                self._ignore_mask.apply(segmentation), stamp=job.frame.stamp,
                image=job.frame.image)
        with stage('messages'):
            messages = outputs.build(job.message.header, job.frame, tracked, source.camera_info)
        with stage('publish'):
            for publisher, output in messages:
                publisher.publish(output)
        self._space.publish(Segmented(header=job.message.header, frame=job.frame,
                                      segmentation=tracked, camera_info=source.camera_info))
        self.statistics.sample('stage_ms.total', 1e3 * (time.perf_counter() - job.begun_s))
        self.statistics.count('processed')
        now = self._node.get_clock().now().nanoseconds
        if now and job.frame.stamp:  # without a clock, nothing has an age
            self.statistics.sample('age_ms', 1e-6 * (now - job.frame.stamp))

    def fail(self, error: Exception) -> None:
        """Count a frame that was lost to an error; the log hears of it at most once a second."""
        if isinstance(error, BadImageError):
            event = Event(f'rejected.{error.reason}', f'image refused: {error}')
        else:
            event = Event(_CODES.get(type(error), 'failed.internal'), sentence_of(error))
        self.statistics.fail(event)
        with self._turn('error') as mine:
            if mine:
                self._node.get_logger().error(self._named(event.sentence))

    def warn(self, event: Event) -> None:
        """Count something odd about a frame; the log hears of it at most once a second."""
        self.statistics.warn(event)
        with self._turn('warning') as mine:
            if mine:
                self._node.get_logger().warning(self._named(event.sentence))

    def look(self) -> CameraHealth:
        """Return the health, follow the camera's QoS, and warn once of each silence."""
        source = self._input
        if source:
            source.adapt()
        health = CameraHealth(
            camera=self.name, statistics=self.statistics.snapshot(),
            tracks=self._tracker.counts,
            input=source.describe() if source else 'not subscribed',
            depth=self._space.look(),
            silence_s=source.silence_s if source else 0.0,
            silence_limit_s=source.silence_limit_s(self._config.camera_timeout_s)
            if source else 0.0)
        if health.silent and not self._silence_told:
            self._node.get_logger().warning(self._named(
                f'no image for {health.silence_s:.1f} s: {health.input}'))
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
        wanted = (self._outputs and self._outputs.wanted) or self._space.wanted
        if not (self._config.always_run or wanted):
            self.statistics.count('unwanted')
        elif not self._is_due():
            self.statistics.count('limited')
        else:
            self._space.expect(message.header)
            self._offer(self, message)

    def _is_due(self) -> bool:
        """Return whether max_rate_hz lets a frame through now; on average exactly that many."""
        if not self._config.max_rate_hz:
            return True
        now, period_s = time.monotonic(), 1.0 / self._config.max_rate_hz
        if now < self._due_s:
            return False
        # a frame that came a little late does not delay the next; a pause saves up nothing
        begun_s = self._due_s if now - self._due_s < period_s else now
        self._due_s = begun_s + period_s
        return True

    def _judge(self, stamp: int) -> None:
        """Tell of an odd stamp; the frame is processed like any other."""
        code = self._stamps.judge(stamp, now=self._node.get_clock().now().nanoseconds)
        if code:
            seconds, nanoseconds = divmod(stamp, 10**9)
            self.warn(Event(code, f'an image with a {code.partition(".")[2]} stamp: '
                            f'{seconds}.{nanoseconds:09d} s'))

    @contextmanager
    def _turn(self, kind: str) -> Iterator[bool]:
        """Yield whether a line of this kind may go to the log now: a second after the last one."""
        with self._telling:
            mine = time.monotonic() >= self._quiet_until_s.get(kind, 0.0)
            yield mine
            if mine:  # counted from when it is written, which a busy machine may hold up
                self._quiet_until_s[kind] = time.monotonic() + _QUIET_S

    def _new_tracker(self) -> Tracker:
        """Return the tracker that the configuration asks for; none before the topics are made."""
        if self._label_set is None:
            return NoTracker()
        return make_tracker(self._config.tracking, self._label_set, ids=self._ids)

    def _named(self, sentence: str) -> str:
        """Return a sentence for the log that says which of several cameras it is about."""
        return f'{self.name}: {sentence}' if self.name else sentence
