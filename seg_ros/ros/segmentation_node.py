# SPDX-License-Identifier: Apache-2.0
"""The segmentation node: wires its cameras to one pipeline on one worker thread."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
import gc
from itertools import count
import os
import time

from std_srvs.srv import Empty
import torch

from seg_ros.core.config import Config
from seg_ros.core.types import Segmentation
from seg_ros.models.contract import DeviceLostError, Moment
from seg_ros.models.pipeline import Pipeline
from seg_ros.ros.bond import Heartbeat
from seg_ros.ros.camera_channel import CameraChannel, Job
from seg_ros.ros.diagnostics import Diagnostics, Health
from seg_ros.ros.ignore_mask import IgnoreMask
from seg_ros.ros.image_input import AnyImage
from seg_ros.ros.managed_node import ManagedNode
from seg_ros.ros.parameters import NodeParameters
from seg_ros.ros.process import forward_logs, release_freed_memory, run_node
from seg_ros.ros.shared_memory import REMEDY, SHARED_MEMORY, shortage
from seg_ros.ros.statistics import Event
from seg_ros.ros.worker import Worker

_IDLE_S = 2.0  # how long a transition waits for the frames in the works
_END_S = 1.0  # how long the end waits for them
_HANG_S = 1.0  # no shorter inference is said to hang,
_USUAL = 3  # nor one that takes not so many times as long as usual


class SegmentationNode(ManagedNode[Pipeline]):
    """Segments the newest image of each camera, over and over."""

    def __init__(self) -> None:
        """Declare parameters; nothing is loaded before configure. Raises ValueError."""
        super().__init__('segmentation_node')
        forward_logs(self)
        if missing := shortage(SHARED_MEMORY, os.environ):
            self.get_logger().warning(f'large images may not flow: {missing}; {REMEDY}')
        self._pipeline: Pipeline | None = None
        self._settings = NodeParameters(
            self, is_fixed=lambda: self._pipeline is not None, check=self._check,
            on_change=self._reconfigure)
        self._ids = count(1)  # over cameras and activations: no id is used twice in a run
        self._channels = self._new_channels()
        self._worker = Worker[CameraChannel, AnyImage](
            self._process, on_drop=lambda channel: channel.statistics.count('dropped'))
        self._diagnostics = Diagnostics(self, self._look)
        self._heartbeat = Heartbeat(self)
        self.create_service(Empty, '~/reset_tracking', self._reset_tracking)
        if self._settings.config.autostart:
            self.start()

    def destroy_node(self) -> None:
        """End the worker, then the node; where it gave up, diagnostics say why."""
        if self.exit_code:
            self._diagnostics.publish()
        self._worker.stop(timeout_s=_END_S)
        super().destroy_node()

    def prepare(self) -> Future[Pipeline]:
        """Load and warm up the models on the worker thread."""
        config = self._settings.config
        return self._worker.submit(lambda: _load(config))

    def configure(self, prepared: Pipeline) -> None:
        """Take over the pipeline and advertise its topics."""
        config = self._settings.config
        if config.cameras != tuple(filter(None, (channel.name for channel in self._channels))):
            self._channels = self._new_channels()
        prepared.apply(config)
        masks = [IgnoreMask(path) for path in config.ignore_masks or [''] * len(self._channels)]
        for channel, mask in zip(self._channels, masks, strict=True):
            channel.advertise(config, label_set=prepared.label_set, tasks=prepared.tasks,
                              ignore_mask=mask)
        self._pipeline = prepared
        self.get_logger().info(
            f'{" + ".join(prepared.models)} on {prepared.device}: '
            f'{", ".join(sorted(prepared.tasks))}, {len(prepared.label_set)} classes')

    def activate(self) -> None:
        """Subscribe to the cameras."""
        for channel in self._channels:
            channel.subscribe(self._worker.offer)
        self._heartbeat.start()

    def deactivate(self) -> None:
        """Unsubscribe and finish what is in the works."""
        self._heartbeat.stop()
        for channel in self._channels:
            channel.unsubscribe()
        if not self._worker.clear(timeout_s=_IDLE_S):
            self.get_logger().warning(f'the frame in the works takes longer than {_IDLE_S} s')

    def release(self) -> None:
        """Take the topics down and free the models."""
        self.deactivate()
        self._pipeline = None
        for channel in self._channels:
            channel.close()
        self._worker.submit(_free_memory)

    def report(self, sentence: str) -> None:
        """Log a failed transition and keep it for diagnostics."""
        for channel in self._channels:
            channel.statistics.fail(Event('failed.transition', sentence))
        self.get_logger().error(sentence)

    def _new_channels(self) -> tuple[CameraChannel, ...]:
        """Return a channel for each camera, without a name for the only one."""
        return tuple(CameraChannel(self, name, ids=self._ids)
                     for name in self._settings.config.cameras or ('',))

    def _process(self, batch: Sequence[tuple[CameraChannel, AnyImage]]) -> None:
        """Segment one image of each camera on the worker thread and publish what they show."""
        pipeline = self._pipeline
        if pipeline is None:  # deactivated meanwhile
            for channel, _ in batch:
                channel.statistics.count('dropped')
            return
        jobs = [job for channel, message in batch if (job := channel.begin(message))]
        try:
            answers = _infer(pipeline, jobs)
        except DeviceLostError as error:
            self._give_up(Event('failed.device_lost', str(error)))
            return
        for job, results in answers:
            try:
                with job.channel.statistics.stage('merge'):
                    merged = pipeline.merge(results)
                job.channel.finish(job, merged)
            except Exception as error:  # one bad frame must not end the stream
                job.channel.fail(error)

    def _give_up(self, event: Event) -> None:
        """Publish nothing any more and end the process: only a new one can help."""
        self._pipeline = None
        for channel in self._channels:
            channel.statistics.fail(event)
        self.get_logger().fatal(event.sentence)
        self.exit_code = 1

    def _check(self, config: Config) -> None:
        """Raise ValueError where a new configuration does not fit the loaded models."""
        if self._pipeline is not None:
            self._pipeline.classes_of(config)

    def _reconfigure(self, config: Config) -> None:
        """Use a new configuration from the next frame on, whole."""
        pipeline = self._pipeline
        if pipeline is None:
            return

        for channel in self._channels:
            channel.admit(config)

        def apply() -> None:
            pipeline.apply(config)
            for channel in self._channels:
                channel.apply(config, label_set=pipeline.label_set)
        # on the worker thread: never in the middle of a frame
        self._worker.submit(apply)

    def _reset_tracking(self, request: Empty.Request, response: Empty.Response
                        ) -> Empty.Response:
        """Forget every track, between two frames."""
        for channel in self._channels:
            self._worker.submit(channel.reset_tracking)
        if self._pipeline is not None:
            self._worker.submit(self._pipeline.forget)
        return response

    def _look(self) -> Health:
        """Return the health of the node and its cameras."""
        pipeline = self._pipeline
        return Health(
            state=self.state, loading_s=self.preparing_s,
            device=str(pipeline.device) if pipeline else '',
            models=pipeline.models if pipeline else {},
            modes=pipeline.modes if pipeline else {}, trouble=self._trouble(),
            cameras=[channel.look() for channel in self._channels])

    def _trouble(self) -> Event:
        """Return what is wrong with the whole node; end it where an inference hangs for good."""
        taken_s, limit_s = self._worker.batch_s, self._settings.config.inference_timeout_s
        usual_s = self._worker.usual_batch_s
        sentence = f'an inference takes {taken_s:.1f} s so far, usually {usual_s:.2f} s'
        if limit_s and taken_s > limit_s and self.exit_code is None:
            self._give_up(Event(
                'model.hangs', f'{sentence}: inference_timeout_s = {limit_s} s is over'))
        if taken_s > max(_HANG_S, _USUAL * usual_s):
            return Event('model.hangs', sentence)
        clock = self.get_clock()
        if clock.ros_time_is_active and not clock.now().nanoseconds:
            return Event('clock.missing', 'use_sim_time is set, but /clock has told no time yet')
        return Event()


def _infer(pipeline: Pipeline, jobs: Sequence[Job]
           ) -> list[tuple[Job, tuple[Segmentation, ...]]]:
    """Ask the models about all frames at once; where that fails, about each alone."""
    if not jobs:
        return []
    begun_s = time.perf_counter()
    try:
        results = pipeline.infer(
            [job.frame.image for job in jobs],
            [Moment(stream=job.channel.name, stamp=job.frame.stamp) for job in jobs])
    except DeviceLostError:
        raise
    except Exception as error:  # the frame that broke the batch must not take the others along
        if len(jobs) > 1:
            return [answer for job in jobs for answer in _infer(pipeline, [job])]
        jobs[0].channel.fail(error)
        return []
    for job in jobs:
        job.channel.statistics.sample('stage_ms.model', 1e3 * (time.perf_counter() - begun_s))
    return list(zip(jobs, results, strict=True))


def _load(config: Config) -> Pipeline:
    """Load the models and run them once."""
    pipeline = Pipeline(config)
    pipeline.warm_up()
    return pipeline


def _free_memory() -> None:
    """Give the models' memory back to device and system."""
    gc.collect()
    release_freed_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def run(stop: Callable[[], bool]) -> int:
    """Run the node until stop() or until it gives up; return the exit code."""
    return run_node(SegmentationNode, name='segmentation_node', stop=stop)
