# SPDX-License-Identifier: Apache-2.0
"""The segmentation node: wires camera, pipeline, tracker and topics together."""
from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
import gc
from itertools import count
import time

from sensor_msgs.msg import CompressedImage
from std_srvs.srv import Empty
import torch

from seg_ros.core.config import Config
from seg_ros.core.tracking import make_tracker, MaskTracker, NoTracker, Tracker
from seg_ros.models.contract import ModelError
from seg_ros.models.pipeline import Pipeline
from seg_ros.ros.diagnostics import Diagnostics, Health
from seg_ros.ros.encodings import BadImageError, check_image
from seg_ros.ros.image_input import AnyImage, ImageInput
from seg_ros.ros.managed_node import ManagedNode, sentence_of
from seg_ros.ros.messages import check_compressed, decode
from seg_ros.ros.outputs import Outputs
from seg_ros.ros.parameters import NodeParameters
from seg_ros.ros.process import forward_logs, run_node
from seg_ros.ros.statistics import Statistics
from seg_ros.ros.worker import Worker

_QUIET_S = 1.0  # at most one line about bad frames in this time
_IDLE_S = 2.0  # how long a transition waits for the frame in the works
_END_S = 1.0  # how long the end waits for it


class SegmentationNode(ManagedNode[Pipeline]):
    """Segments the newest camera image, over and over."""

    def __init__(self) -> None:
        """Declare parameters; nothing is loaded before configure. Raises ValueError."""
        super().__init__('segmentation_node')
        forward_logs(self)
        self._pipeline: Pipeline | None = None
        self._outputs: Outputs | None = None
        self._camera: ImageInput | None = None
        self._silence_told = False
        self._settings = NodeParameters(
            self, is_fixed=lambda: self._pipeline is not None, on_change=self._reconfigure)
        self._tracker: Tracker = NoTracker()
        self._track_ids = count(1)  # over activations too: no id is used twice in a run
        self._statistics = Statistics()
        self._last_error_line_s = 0.0
        self._worker = Worker[AnyImage](
            self._process, on_drop=lambda: self._statistics.count('dropped'))
        self._diagnostics = Diagnostics(self, self._statistics, self._look)
        self.create_service(Empty, '~/reset_tracking', self._reset_tracking)
        if self._settings.config.autostart:
            self.start()

    def destroy_node(self) -> None:
        """End the worker, then the node."""
        self._worker.stop(timeout_s=_END_S)
        super().destroy_node()

    def prepare(self) -> Future[Pipeline]:
        """Load and warm up the models on the worker thread."""
        config = self._settings.config
        return self._worker.submit(lambda: _load(config))

    def configure(self, prepared: Pipeline) -> None:
        """Take over the pipeline and advertise its topics."""
        config = self._settings.config
        prepared.apply(config)
        self._outputs = Outputs(self, config, label_set=prepared.label_set, tasks=prepared.tasks)
        self._pipeline = prepared
        self.get_logger().info(
            f'{" + ".join(prepared.models)} on {prepared.device}: '
            f'{", ".join(sorted(prepared.tasks))}, {len(prepared.label_set)} classes')

    def activate(self) -> None:
        """Subscribe to the camera."""
        self._tracker = self._new_tracker(self._settings.config)
        self._camera = ImageInput(self, self._settings.config, on_image=self._receive)

    def deactivate(self) -> None:
        """Unsubscribe and finish what is in the works."""
        if self._camera:
            self._camera.close()
            self._camera = None
        if not self._worker.clear(timeout_s=_IDLE_S):
            self.get_logger().warning(f'the frame in the works takes longer than {_IDLE_S} s')

    def release(self) -> None:
        """Take the topics down and free the models."""
        self.deactivate()
        self._pipeline = None
        if self._outputs:
            self._outputs.close()
            self._outputs = None
        self._worker.submit(_free_memory)

    def report(self, sentence: str) -> None:
        """Log a failed transition and keep it for diagnostics."""
        self._statistics.fail('failed.transition', sentence)
        self.get_logger().error(sentence)

    def _receive(self, message: AnyImage) -> None:
        """Check an image and make it the newest; no pixel is touched here."""
        self._statistics.count('received')
        config = self._settings.config
        check = check_compressed if isinstance(message, CompressedImage) else check_image
        try:
            check(message, max_pixels=config.max_image_pixels)
        except BadImageError as error:
            self._reject(error)
            return
        if config.always_run or (self._outputs and self._outputs.wanted):
            self._worker.offer(message)
        else:
            self._statistics.count('unwanted')

    def _process(self, message: AnyImage) -> None:
        """Segment one image on the worker thread and publish what it shows."""
        try:
            self._segment(message)
        except BadImageError as error:
            self._reject(error)
        except Exception as error:  # one bad frame must not end the stream
            kind = 'model' if isinstance(error, ModelError) else type(error).__name__
            self._fail(f'failed.{kind}', sentence_of(error))

    def _segment(self, message: AnyImage) -> None:
        pipeline, outputs, camera = self._pipeline, self._outputs, self._camera
        if pipeline is None or outputs is None or camera is None:
            self._statistics.count('dropped')  # deactivated meanwhile
            return
        stage = self._statistics.stage
        with stage('total'):
            with stage('decode'):
                frame = decode(message)
            with stage('model'):
                answers = pipeline.infer([frame.image])[0]
            with stage('merge'):
                merged = pipeline.merge(answers)
            with stage('track'):
                tracked = self._tracker.update(merged, stamp=frame.stamp)
            with stage('messages'):
                messages = outputs.build(message.header, frame, tracked, camera.camera_info)
            with stage('publish'):
                for publisher, output in messages:
                    publisher.publish(output)
        self._statistics.count('processed')
        age_ns = self.get_clock().now().nanoseconds - frame.stamp
        self._statistics.sample('age_ms', 1e-6 * age_ns)

    def _reject(self, error: BadImageError) -> None:
        self._fail(f'rejected.{error.reason}', f'image refused: {error}')

    def _fail(self, counter: str, sentence: str) -> None:
        """Count a bad frame; the log hears of it at most once a second."""
        self._statistics.fail(counter, sentence)
        now = time.monotonic()
        if now - self._last_error_line_s >= _QUIET_S:
            self._last_error_line_s = now
            self.get_logger().error(sentence)

    def _reconfigure(self, config: Config) -> None:
        """Use a new configuration from the next frame on, whole."""
        pipeline, outputs = self._pipeline, self._outputs
        if pipeline is None or outputs is None:
            return

        def apply() -> None:
            pipeline.apply(config)
            outputs.apply(config)
            self._tracker.apply(config.tracking)
            if config.tracking.enabled != isinstance(self._tracker, MaskTracker):
                self._tracker = self._new_tracker(config)
        # on the worker thread: never in the middle of a frame
        self._worker.submit(apply)

    def _new_tracker(self, config: Config) -> Tracker:
        """Return the tracker that the configuration asks for; none before configure."""
        if self._pipeline is None:
            return NoTracker()
        return make_tracker(config.tracking, self._pipeline.label_set, ids=self._track_ids)

    def _reset_tracking(self, request: Empty.Request, response: Empty.Response
                        ) -> Empty.Response:
        """Forget every track, between two frames."""
        self._worker.submit(lambda: self._tracker.reset())
        return response

    def _look(self) -> Health:
        """Return the health, follow the camera's QoS, and warn once of each silence."""
        camera, pipeline = self._camera, self._pipeline
        if camera:
            camera.adapt()
        health = Health(
            state=self.state,
            device=str(pipeline.device) if pipeline else '',
            models=pipeline.models if pipeline else {},
            tracks=self._tracker.counts,
            input=camera.describe() if camera else 'not subscribed',
            seconds_without_image=camera.silence_s if camera else 0.0,
            camera_timeout_s=self._settings.config.camera_timeout_s)
        if health.silent and not self._silence_told:
            self.get_logger().warning(
                f'no image for {health.seconds_without_image:.1f} s: {health.input}')
        self._silence_told = health.silent
        return health


def _load(config: Config) -> Pipeline:
    """Load the models and run them once."""
    pipeline = Pipeline(config)
    pipeline.warm_up()
    return pipeline


def _free_memory() -> None:
    """Give the models' memory back."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def run(stop: Callable[[], bool]) -> int:
    """Run the node until stop() or until it gives up; return the exit code."""
    return run_node(SegmentationNode, name='segmentation_node', stop=stop)
