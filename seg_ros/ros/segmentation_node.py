# SPDX-License-Identifier: Apache-2.0
"""The segmentation node: wires camera, pipeline, tracker and topics into a lifecycle."""
from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Future
import gc
import logging
import sys
import time

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage
import torch

from seg_ros.core.config import Config
from seg_ros.core.tracking import NoTracker, Tracker
from seg_ros.models.contract import ModelError
from seg_ros.models.pipeline import Pipeline
from seg_ros.ros.diagnostics import Health, status
from seg_ros.ros.image_input import AnyImage, ImageInput
from seg_ros.ros.messages import BadImage, check_compressed, check_image, decode
from seg_ros.ros.outputs import Outputs
from seg_ros.ros.parameters import foreign, NodeParameters
from seg_ros.ros.statistics import Statistics
from seg_ros.ros.worker import Worker

_QUIET_S = 1.0  # at most one line about bad frames in this time
_IDLE_S = 2.0  # how long a transition waits for the frame in the works


class StartError(Exception):
    """The node cannot start: one sentence."""


class SegmentationNode(LifecycleNode):
    """Segments the newest camera image, over and over."""

    def __init__(self, **node_options: object) -> None:
        """Declare parameters; nothing is loaded before configure. Raises StartError."""
        super().__init__('segmentation_node', **node_options)
        _forward_logs(self)
        try:
            self._settings = NodeParameters(
                self, is_fixed=lambda: self._pipeline is not None, on_change=self._reconfigure)
        except ValueError as error:
            raise StartError(str(error)) from error
        for name in foreign(self._settings.strangers):
            self.get_logger().warning(f'parameter {name!r} is not one of this node, ignored')
        self._statistics = Statistics()
        self._failures_told = 0
        self._last_error_line_s = 0.0
        self._pipeline: Pipeline | None = None
        self._loaded: Future[Pipeline] | None = None
        self._outputs: Outputs | None = None
        self._input: ImageInput | None = None
        self._tracker: Tracker = NoTracker()
        self._worker = Worker[AnyImage](
            self._process, on_drop=lambda: self._statistics.count('dropped'))
        self.exit_code: int | None = None  # set when the node wants its process to end
        # steady: with use_sim_time and no /clock, diagnostics must go on
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 1)
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)
        self._loading_done = self.create_guard_condition(self._on_loading_done)
        # rclpy's own handler ends the process on an invalid transition, and blocks while loading
        self._service_change_state.callback = self._change_state

    def start(self) -> None:
        """Configure and activate, unless the parameter autostart leaves that to a manager."""
        if self._settings.config.autostart:
            self._load()

    def close(self, *, timeout_s: float) -> None:
        """End the worker and destroy the node."""
        self._worker.stop(timeout_s=timeout_s)
        self.destroy_node()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Take over the pipeline that the worker loaded and advertise the topics."""
        return self._attempt('configure', self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the camera."""
        return self._attempt('activate', self._activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and finish what is in the works."""
        return self._attempt('deactivate', self._deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model and take the topics down."""
        return self._attempt('cleanup', self._release)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, whatever the state."""
        return self._attempt('shutdown', self._release)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to unconfigured with everything freed."""
        return self._attempt('error handling', self._release)

    def _attempt(self, name: str, action: Callable[[], None]) -> TransitionCallbackReturn:
        """Run a transition's work; a failure is one sentence, never a silent one."""
        try:
            action()
        except Exception as error:  # rclpy swallows what a transition raises
            self._tell(f'{name} failed: {_sentence(error)}')
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def _load(self) -> None:
        """Load and warm up the model on the worker thread; services answer meanwhile."""
        config = self._settings.config
        self._loaded = self._worker.submit(lambda: _load_pipeline(config))
        self._loaded.add_done_callback(lambda _: self._loading_done.trigger())

    def _on_loading_done(self) -> None:
        """Go on with the automatic start."""
        unconfigured = self._state_machine.current_state[0] == State.PRIMARY_STATE_UNCONFIGURED
        if not (self._settings.config.autostart and unconfigured and self.exit_code is None):
            return
        started = self.trigger_configure() == TransitionCallbackReturn.SUCCESS \
            and self.trigger_activate() == TransitionCallbackReturn.SUCCESS
        if not started:
            self.exit_code = 1

    def _configure(self) -> None:
        loaded, self._loaded = self._loaded, None
        pipeline = loaded.result() if loaded else _load_pipeline(self._settings.config)
        self._outputs = Outputs(self, self._settings.config, label_set=pipeline.label_set,
                                tasks=pipeline.tasks)
        pipeline.apply(self._settings.config)
        self._pipeline = pipeline
        tasks = ', '.join(sorted(pipeline.tasks))
        self.get_logger().info(f'{" + ".join(pipeline.models)} on {pipeline.device}: {tasks}, '
                               f'{len(pipeline.label_set)} classes')

    def _activate(self) -> None:
        self._tracker = NoTracker()
        self._input = ImageInput(self, self._settings.config, on_image=self._receive)

    def _deactivate(self) -> None:
        if self._input:
            self._input.close()
            self._input = None
        if not self._worker.clear(timeout_s=_IDLE_S):
            self.get_logger().warning(f'the frame in the works takes longer than {_IDLE_S} s')

    def _release(self) -> None:
        self._deactivate()
        self._pipeline = None
        if self._outputs:
            self._outputs.close()
            self._outputs = None
        self._worker.submit(_free_memory)

    async def _change_state(self, request: ChangeState.Request,
                            response: ChangeState.Response) -> ChangeState.Response:
        """Answer a lifecycle manager; loading does not keep other services waiting."""
        transition = request.transition.id
        if request.transition.label:
            transition = self._transition_by_label(request.transition.label)
        response.success = False
        if transition not in self._possible_transitions():
            state = self._state_machine.current_state[1]
            self.get_logger().warning(
                f'transition {request.transition.label or request.transition.id!r} refused: '
                f'not possible in state {state!r}')
            return response
        if transition == Transition.TRANSITION_CONFIGURE:
            self._load()
            while self._loaded is not None and not self._loaded.done():
                await _NextTurn()
        trigger = self._triggers()[transition]
        if transition in self._possible_transitions():
            response.success = trigger() == TransitionCallbackReturn.SUCCESS
        return response

    def _triggers(self) -> dict[int, Callable[[], TransitionCallbackReturn]]:
        return {
            Transition.TRANSITION_CONFIGURE: self.trigger_configure,
            Transition.TRANSITION_CLEANUP: self.trigger_cleanup,
            Transition.TRANSITION_ACTIVATE: self.trigger_activate,
            Transition.TRANSITION_DEACTIVATE: self.trigger_deactivate,
            Transition.TRANSITION_UNCONFIGURED_SHUTDOWN: self.trigger_shutdown,
            Transition.TRANSITION_INACTIVE_SHUTDOWN: self.trigger_shutdown,
            Transition.TRANSITION_ACTIVE_SHUTDOWN: self.trigger_shutdown,
        }

    def _possible_transitions(self) -> set[int]:
        """Return the ids that a user may ask for in the present state."""
        offered = {transition[0] for transition in self._state_machine.available_transitions}
        return offered.intersection(self._triggers())

    def _transition_by_label(self, label: str) -> int:
        """Return the id of a possible transition with this label, -1 where there is none."""
        named = {transition[1]: transition[0]
                 for transition in self._state_machine.available_transitions}
        return named.get(label, -1)

    def _receive(self, message: AnyImage) -> None:
        """Check an image and make it the newest; no pixel is touched here."""
        self._statistics.count('received')
        config = self._settings.config
        try:
            if isinstance(message, CompressedImage):
                check_compressed(message, max_pixels=config.max_image_pixels)
            else:
                check_image(message, max_pixels=config.max_image_pixels)
        except BadImage as error:
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
        except BadImage as error:
            self._reject(error)
        except Exception as error:  # one bad frame must not end the stream
            kind = 'model' if isinstance(error, ModelError) else type(error).__name__
            self._fail(f'failed.{kind}', _sentence(error))

    def _segment(self, message: AnyImage) -> None:
        pipeline, outputs, camera = self._pipeline, self._outputs, self._input
        if pipeline is None or outputs is None or camera is None:
            return  # deactivated meanwhile
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
        now = self.get_clock().now().nanoseconds
        self._statistics.sample('age_ms', 1e-6 * (now - frame.stamp))

    def _reject(self, error: BadImage) -> None:
        self._fail(f'rejected.{error.reason}', f'image refused: {error}')

    def _fail(self, counter: str, sentence: str) -> None:
        """Count a bad frame; the log hears of it at most once a second."""
        self._statistics.fail(counter, sentence)
        now = time.monotonic()
        if now - self._last_error_line_s >= _QUIET_S:
            self._last_error_line_s = now
            self.get_logger().error(sentence)

    def _tell(self, sentence: str) -> None:
        self._statistics.fail('failed.transition', sentence)
        self.get_logger().error(sentence)

    def _reconfigure(self, config: Config) -> None:
        """Use a new configuration from the next frame on, whole."""
        if self._pipeline is None or self._outputs is None:
            return
        pipeline, outputs = self._pipeline, self._outputs

        def apply() -> None:
            pipeline.apply(config)
            outputs.apply(config)
        # on the worker thread: never in the middle of a frame
        self._worker.submit(apply)

    def _publish_diagnostics(self) -> None:
        """Say once a second how it goes, and follow the camera's QoS."""
        config, camera, pipeline = self._settings.config, self._input, self._pipeline
        if camera:
            camera.adapt()
        snapshot = self._statistics.snapshot()
        failures = sum(count for name, count in snapshot.counts.items()
                       if name.startswith(('rejected.', 'failed.')))
        health = Health(
            state=self._state_machine.current_state[1],
            device=str(pipeline.device) if pipeline else '',
            models=pipeline.models if pipeline else {},
            input=camera.describe() if camera else 'not subscribed',
            seconds_without_image=time.monotonic() - camera.last_image_s if camera else 0.0,
            camera_timeout_s=config.camera_timeout_s,
            new_failures=failures - self._failures_told)
        self._failures_told = failures
        message = DiagnosticArray(
            status=[status(f'{self.get_fully_qualified_name()}: segmentation', health, snapshot)])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)
        if camera:
            self._warn_of_silence(camera, health)

    def _warn_of_silence(self, camera: ImageInput, health: Health) -> None:
        """Warn once for each silence of the camera."""
        silent = health.seconds_without_image > health.camera_timeout_s
        if silent and not camera.silence_told:
            self.get_logger().warning(
                f'no image for {health.seconds_without_image:.1f} s: {health.input}')
        camera.silence_told = silent


class _NextTurn:
    """Awaited, lets the executor do other work first."""

    def __await__(self) -> Generator[None, None, None]:
        """Yield once."""
        yield


class _RosLog(logging.Handler):
    """Hands Python's log lines to the node's logger, and so to /rosout."""

    def __init__(self, node: LifecycleNode) -> None:
        """Forward to a node."""
        super().__init__()
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        """Forward one line."""
        if record.levelno >= logging.ERROR:
            self._logger.error(record.getMessage())
        elif record.levelno >= logging.WARNING:
            self._logger.warning(record.getMessage())
        else:
            self._logger.info(record.getMessage())


def _forward_logs(node: LifecycleNode) -> None:
    """Send what core and models log to this node's logger."""
    logger = logging.getLogger('seg_ros')
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers[:] = [_RosLog(node)]


def _load_pipeline(config: Config) -> Pipeline:
    """Load the models and run them once."""
    pipeline = Pipeline(config)
    pipeline.warm_up()
    return pipeline


def _free_memory() -> None:
    """Give the GPU's memory back."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _sentence(error: BaseException) -> str:
    """Return an error's first line, with its type where the text alone says little."""
    text = str(error).splitlines()[0] if str(error) else ''
    known = isinstance(error, (ModelError, ValueError))
    return text if known and text else f'{type(error).__name__}: {text}'


def run(stop: Callable[[], bool]) -> int:
    """Run the node until stop() or until it gives up; return the exit code."""
    rclpy.init(args=sys.argv, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = SegmentationNode()
    except StartError as error:
        print(f'segmentation_node: {error}', file=sys.stderr)
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    node.start()
    try:
        while not stop() and node.exit_code is None:
            executor.spin_once(timeout_sec=0.1)
    except ExternalShutdownException:
        pass
    executor.remove_node(node)
    node.close(timeout_s=1.0)
    rclpy.try_shutdown()
    return node.exit_code or 0
