# SPDX-License-Identifier: Apache-2.0
"""The demo: a camera and the segmentation node as two processes, and what a consumer gets."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import json
import math
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from tqdm import tqdm

import seg_ros
from seg_ros.core.labels import LabelSet
from seg_ros.core.metrics import ConfusionMatrix, PanopticQuality
from seg_ros.core.panoptic import PanopticEncoding, unpack
from seg_ros.core.types import segmentation_from_ids
from seg_ros.ros.demo_consumer import Consumer, JoinedFrame
from seg_ros.ros.demo_pictures import contact_sheet, Detected, Moment, video_frame, write_png
from seg_ros.ros.domain import lent_domain, NoDomainError
from seg_ros.sim import CLASS_NAMES, THINGS
from seg_ros.sim.recording import open_recording
from seg_ros.sim.video import VideoWriter

INTERRUPTED = 130
PROFILE = 'config/fastdds_shared_memory.xml'
_SEED = 20014  # a crowded street that no training has seen
_MIN_AREA = 100  # pixels; smaller instances of the truth are not asked for
_LONGEST_S, _FASTEST_HZ = 3600.0, 1000.0
_START_TIMEOUT_S = 120.0
_IDLE_S = 1.5  # nothing more comes after so long a silence
_END_TIMEOUT_S = 5.0
_KEPT_BYTES = 800_000_000  # frames that wait for the run's end; beyond, they are looked at early


class DemoError(Exception):
    """Something broke: one sentence."""


class Child:
    """A node in a process of its own, its words in a file."""

    def __init__(self, executable: str, parameters: Mapping[str, object], log: Path) -> None:
        """Start it."""
        self.name = executable
        self._log = log
        code = f'from seg_ros.ros.main import {executable}; {executable}()'
        arguments = [f'{name}:={json.dumps(value)}' for name, value in parameters.items()]
        options = [part for argument in arguments for part in ('-p', argument)]
        with log.open('w') as stream:
            self._process = subprocess.Popen(
                [sys.executable, '-c', code, '--ros-args', *options],
                stdout=stream,
                stderr=subprocess.STDOUT,
            )

    def has_ended(self) -> bool:
        """Return whether it has ended as it should; raise DemoError where it broke."""
        code = self._process.poll()
        if code:
            raise DemoError(f'{self.name} ended with code {code}: {self._last_words()}')
        return code is not None

    def check(self) -> None:
        """Raise DemoError where it does not run any more."""
        if self.has_ended():
            raise DemoError(f'{self.name} ended too early: {self._last_words()}')

    def end(self) -> None:
        """Ask it to end, and end it where it does not."""
        if self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _last_words(self) -> str:
        """Return the last lines that it printed."""
        lines = self._log.read_text(errors='replace').splitlines()
        return ' / '.join(lines[-3:]) or 'it said nothing'


@dataclass(frozen=True)
class Input:
    """What the camera plays."""

    executable: str
    parameters: Mapping[str, object]
    rate_hz: float
    has_truth: bool
    title: str


def choose_input(options: Namespace) -> Input:
    """Return the camera for the options; raises ValueError for a recording that cannot be."""
    if not (0.0 < options.seconds <= _LONGEST_S and 0.0 <= options.rate <= _FASTEST_HZ):
        raise ValueError(
            f'{options.seconds:g} s at {options.rate:g} Hz cannot be, expected '
            f'above 0 to {_LONGEST_S:g} s and 0 (as the source has it) to {_FASTEST_HZ:g} Hz'
        )
    common = {'wait_for_subscribers': 2}  # the node and the consumer
    source = options.video or options.images
    if not source:
        rate_hz = options.rate or 10.0
        street = {'width': 480, 'height': 360, 'seed': options.seed, 'rate_hz': rate_hz}
        frames = max(1, round(options.seconds * rate_hz))
        return Input(
            executable='street_camera_node',
            parameters=common | street | {'max_frames': frames},
            rate_hz=rate_hz,
            has_truth=True,
            title=f'synthetic street, seed {options.seed}',
        )
    recording = open_recording(source)
    next(iter(recording))
    rate_hz = options.rate or recording.rate_hz or 10.0
    frames = max(1, round(options.seconds * rate_hz))
    file = {'path': str(Path(source).resolve()), 'rate_hz': rate_hz, 'loop': True}
    return Input(
        executable='file_camera_node',
        parameters=common | file | {'max_frames': frames},
        rate_hz=rate_hz,
        has_truth=False,
        title=Path(source).name,
    )


class Findings:
    """Scores frames against the truth, writes the video, and picks rows for the sheet."""

    def __init__(
        self, out: Path, *, source: Input, label_set: LabelSet, seconds: float, rows: int
    ) -> None:
        """Open the video."""
        self._label_set = label_set
        self._confusion = ConfusionMatrix(label_set)
        self._quality = PanopticQuality(label_set, min_area=_MIN_AREA)
        self._scored = source.has_truth and label_set.names == CLASS_NAMES
        self._video = VideoWriter(out / 'overlay.mp4', rate_hz=source.rate_hz, quality=24)
        # the first frames are the street's start and say least
        self._rows_at_s = [seconds * (row + 0.5) / rows for row in range(rows)]
        self._first_ns = 0
        self.moments: list[Moment] = []

    def add(self, frame: JoinedFrame) -> None:
        """Look at one frame, and free its messages."""
        moment = self._moment(frame)
        self._video.write(video_frame(moment, self._label_set), time_s=moment.time_s)
        if self._rows_at_s and moment.time_s >= self._rows_at_s[0]:
            self._rows_at_s.pop(0)
            self.moments.append(moment)
        if self._scored:
            classes = frame.pixels('truth/semantic')
            self._confusion.update(classes, moment.semantic)
            truth = segmentation_from_ids(classes, frame.pixels('truth/instance'))
            self._quality.update(truth, moment.panoptic)
        self._last = moment
        frame.messages = {}

    def _moment(self, frame: JoinedFrame) -> Moment:
        self._first_ns = self._first_ns or frame.stamp_ns
        packed = frame.pixels('panoptic/image_raw')
        return Moment(
            time_s=(frame.stamp_ns - self._first_ns) / 1e9,
            image=frame.pixels('image'),
            overlay=frame.pixels('overlay/image_raw'),
            semantic=frame.pixels('semantic/image_raw'),
            instance_map=frame.pixels('instance/image_raw'),
            panoptic=segmentation_from_ids(*unpack(packed, PanopticEncoding.INSTANCE_HIGH)),
            detected=tuple(map(_detected, frame.messages['instances'].detections)),
            latency_ms=frame.latency_ms,
        )

    def scores(self) -> tuple[float | None, float | None]:
        """Return (mIoU, PQ), None where there is no truth."""
        if not self._scored:
            return None, None
        return self._confusion.miou(), self._quality.all().pq

    def close(self) -> None:
        """Finish the video."""
        self._video.close()

    def sheet(self, *, title: str, subtitle: str) -> NDArray[np.uint8]:
        """Return the contact sheet."""
        moments = self.moments or [self._last]
        return contact_sheet(moments, self._label_set, title=title, subtitle=subtitle)


def _detected(detection: Any) -> Detected:
    """Return what one Detection2D says."""
    centre, box = detection.bbox.center.position, detection.bbox
    best = detection.results[0].hypothesis
    return Detected(
        instance_id=int(detection.id),
        name=best.class_id,
        score=best.score,
        box=(
            centre.x - box.size_x / 2,
            centre.y - box.size_y / 2,
            centre.x + box.size_x / 2,
            centre.y + box.size_y / 2,
        ),
    )


class Demo:
    """One run."""

    def __init__(self, options: Namespace) -> None:
        """Keep what is asked for; raise ValueError for an input that cannot be."""
        self._options = options
        self._source = choose_input(options)
        self._out = Path(options.out)
        self._out.mkdir(parents=True, exist_ok=True)
        self._children: list[Child] = []

    def run(self) -> None:
        """Run it and write what came out; raise DemoError where something breaks."""
        node = Node('demo_consumer', enable_rosout=False, start_parameter_services=False)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        try:
            self._consumer = Consumer(node, with_truth=self._source.has_truth)
            segmentation = self._start('segmentation_node', self._node_parameters())
            self._wait_for(segmentation)
            findings = self._findings()
            camera = self._start(self._source.executable, self._source.parameters)
            self._watch(segmentation, camera, findings)
            segmentation.end()
            self._look_at_the_rest(findings)
        finally:
            for child in self._children:
                child.end()
        self._conclude(findings)

    def _node_parameters(self) -> dict[str, object]:
        model = {'panoptic_model': self._options.model} if self._options.model else {}
        return model | {'device': self._options.device}

    def _start(self, executable: str, parameters: Mapping[str, object]) -> Child:
        self._children.append(Child(executable, parameters, self._out / f'{executable}.log'))
        return self._children[-1]

    def _wait_for(self, segmentation: Child) -> None:
        """Spin until the node has its model; its start is not part of the measurement."""
        start = time.monotonic()
        print('starting segmentation_node ...', end='', flush=True)
        while not self._consumer.is_connected():
            segmentation.check()
            if time.monotonic() - start > _START_TIMEOUT_S:
                raise DemoError(f'no outputs of segmentation_node after {_START_TIMEOUT_S:g} s')
            self._executor.spin_once(timeout_sec=0.05)
        print(f' ready after {time.monotonic() - start:.1f} s')

    def _findings(self) -> Findings:
        names = self._consumer.label_names
        things = THINGS if set(THINGS) <= set(names) else frozenset()
        return Findings(
            self._out,
            source=self._source,
            label_set=LabelSet(names, frozenset(things)),
            seconds=self._options.seconds,
            rows=self._options.rows,
        )

    def _watch(self, segmentation: Child, camera: Child, findings: Findings) -> None:
        """Spin until the camera has ended and nothing more comes, a line of progress a second."""
        print(f'{self._source.executable}: {self._source.title}, {self._source.rate_hz:g} Hz\n')
        print('  time  published  processed  dropped  latency p50  instances')
        start, told = 0.0, 0
        deadline = time.monotonic() + _START_TIMEOUT_S + 3.0 * self._options.seconds
        while not (camera.has_ended() and self._is_done()):
            segmentation.check()
            self._executor.spin_once(timeout_sec=0.05)
            now = time.monotonic()
            if not start and self._consumer.published:
                start = now
            if start and now - start >= told + 1:
                told = int(now - start)
                self._print_progress(told)
            if now > deadline:
                raise DemoError(f'{camera.name} did not come to its end')
            self._look_early(findings)

    def _is_done(self) -> bool:
        """Return whether everything is answered, or nothing has come for a while."""
        consumer = self._consumer
        everything = (
            consumer.published == self._source.parameters['max_frames'] == consumer.processed
        )
        answered = everything and consumer.model_ms is not None
        return answered or time.monotonic() - consumer.last_news_s > _IDLE_S

    def _print_progress(self, time_s: int) -> None:
        consumer = self._consumer
        newest = consumer.newest
        found = len(newest.messages['instances'].detections) if newest and newest.messages else 0
        recent = consumer.latencies_ms[-20:]
        latency = f'{np.median(recent):8.0f} ms' if recent else '          -'
        print(
            f'{time_s:4d} s  {consumer.published:9d}  {consumer.processed:9d}  '
            f'{consumer.forget_dropped():7d}  {latency}  {found:9d}',
            flush=True,
        )

    def _look_early(self, findings: Findings) -> None:
        """Look at frames while the run goes on only where memory asks for it.

        Until its end the processor belongs to the nodes.
        """
        waiting = self._consumer.complete
        if waiting and len(waiting) * _bytes_of(waiting[0]) > _KEPT_BYTES:
            findings.add(waiting.popleft())

    def _look_at_the_rest(self, findings: Findings) -> None:
        """Score and paint what has been collected."""
        waiting = self._consumer.complete
        print()
        if not waiting and not self._consumer.processed:
            findings.close()
            raise DemoError(
                f'none of {self._consumer.published} frames came back with all outputs, '
                f'see {self._out}/segmentation_node.log'
            )
        with tqdm(total=len(waiting), desc='scoring and painting', unit='frame') as progress:
            while waiting:
                findings.add(waiting.popleft())
                progress.update()
        findings.close()

    def _conclude(self, findings: Findings) -> None:
        """Write the summary and the sheet, and say what they hold."""
        summary = self._summary(findings)
        (self._out / 'summary.json').write_text(json.dumps(summary, indent=2) + '\n')
        sheet = findings.sheet(
            title=f'seg_ros: {self._source.title}',
            subtitle=_sentence(summary, model=self._options.model or 'street_tiny'),
        )
        write_png(self._out / 'contact_sheet.png', sheet)
        print(_table(summary))
        for name in ('overlay.mp4', 'contact_sheet.png', 'summary.json'):
            print(f'  {self._out / name}')
        share = summary['frames_processed'] / summary['frames_published']
        if share < 0.9:
            print(
                f'warning: {share:.0%} of the frames were processed, expected 90 %: the model is '
                'slower than the camera on this machine, or something else needs the processor',
                file=sys.stderr,
            )

    def _summary(self, findings: Findings) -> dict[str, Any]:
        consumer = self._consumer
        miou, pq = findings.scores()
        p50, p99 = np.percentile(consumer.latencies_ms, (50, 99))
        return {
            'frames_published': consumer.published,
            'frames_processed': consumer.processed,
            'frames_dropped': consumer.published - consumer.processed,
            'latency_ms': {'p50': round(float(p50), 2), 'p99': round(float(p99), 2)},
            'model_ms': {'p50': consumer.model_ms},
            'miou': _rounded(miou),
            'pq': _rounded(pq),
            'topics': {
                name: {'type': topic.type, 'encoding': topic.encoding, 'count': topic.count}
                for name, topic in consumer.topics.items()
            },
        }


def _bytes_of(frame: JoinedFrame) -> int:
    """Return the memory of a frame's images."""
    return sum(len(getattr(message, 'data', b'')) for message in frame.messages.values())


def _rounded(value: float | None) -> float | None:
    """Return a score with four digits; None where it is not defined."""
    return None if value is None or math.isnan(value) else round(value, 4)


def _sentence(summary: Mapping[str, Any], *, model: str) -> str:
    """Return the summary in a line."""
    parts = [
        model,
        f'{summary["frames_processed"]} of {summary["frames_published"]} frames',
        f'latency {summary["latency_ms"]["p50"]:.0f} ms',
    ]
    if summary['miou'] is not None:
        parts += [f'mIoU {summary["miou"]:.3f}', f'PQ {summary["pq"] or 0.0:.3f}']
    return '   ·   '.join(parts)


def _table(summary: Mapping[str, Any]) -> str:
    """Return the summary for people."""
    latency, model_ms = summary['latency_ms'], summary['model_ms']['p50']
    published = summary['frames_published']
    lines = [
        '',
        f'  frames published  {published:8d}',
        f'  frames processed  {summary["frames_processed"]:8d}'
        f'   {summary["frames_processed"] / published:.1%}',
        f'  frames dropped    {summary["frames_dropped"]:8d}',
        f'  latency           {latency["p50"]:8.1f} ms median, {latency["p99"]:.1f} ms p99, '
        'camera to last output',
    ]
    if model_ms is not None:
        lines.append(f'  model             {model_ms:8.1f} ms median')
    if summary['miou'] is not None:
        lines.append(f'  mIoU              {summary["miou"]:8.3f}')
    if summary['pq'] is not None:
        lines.append(f'  PQ                {summary["pq"]:8.3f}')
    lines += ['', f'  {"topic":30}{"type":34}{"encoding":12}count']
    for name, topic in summary['topics'].items():
        encoding = (topic['encoding'] or '').split(';')[0]
        lines.append(f'  {name:30}{topic["type"]:34}{encoding:12}{topic["count"]:5d}')
    return '\n'.join([*lines, ''])


def _set_environment(domain: int) -> None:
    """Keep the demo's topics on this machine and in a domain of their own, for children too."""
    os.environ['ROS_DOMAIN_ID'] = str(domain)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    os.environ['PYTHONUNBUFFERED'] = '1'
    profile = _profile()
    if profile:
        os.environ.setdefault('FASTRTPS_DEFAULT_PROFILES_FILE', str(profile))


def _profile() -> Path | None:
    """Return the shipped shared-memory profile, from the source tree or the share folder."""
    package = Path(seg_ros.__file__).parent
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    places = [package.parent, *(Path(prefix) / 'share/seg_ros' for prefix in prefixes if prefix)]
    return next((place / PROFILE for place in places if (place / PROFILE).is_file()), None)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog='demo', description=__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument('--video', metavar='FILE', help='play this instead of the street')
    source.add_argument('--images', metavar='DIR', help='play this instead of the street')
    parser.add_argument('--seconds', type=float, default=20.0, help='default: %(default)g')
    parser.add_argument('--rows', type=int, default=5, help='moments on the contact sheet')
    parser.add_argument('--rate', type=float, default=0.0, metavar='HZ', help="the camera's rate")
    parser.add_argument('--seed', type=int, default=_SEED, help='which street')
    parser.add_argument('--model', default='', help='see `seg_ros models`')
    parser.add_argument('--device', default='auto', help='auto, cpu or cuda:N')
    parser.add_argument('--out', default='demo_output', metavar='DIR')
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit code; errors are one sentence on stderr."""
    options = _parser().parse_args(arguments)
    interrupts: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        interrupts.append(number)
        raise KeyboardInterrupt
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        with lent_domain() as domain:
            _set_environment(domain)
            rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
            Demo(options).run()
    except (KeyboardInterrupt, Exception) as error:
        # a terminal interrupts the children too, and their end may be seen first; what was
        # interrupted in a library may raise an error of its own
        if interrupts:
            return INTERRUPTED
        if not isinstance(error, DemoError | NoDomainError | ValueError | OSError):
            raise
        print(f'demo: {error}', file=sys.stderr)
        return 1
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
