# SPDX-License-Identifier: Apache-2.0
"""Faults over time: cameras that stop, loads that are too high, readers that do not read."""
from __future__ import annotations

from itertools import product
import os
import signal
import time

import numpy as np
from sensor_msgs.msg import Image

from faults.line import Bench, good, Line, noise, Result, Tally
from faults.robot import key_of, PATIENCE_S, Robot
from seg_ros.models.checkerboard import class_of_colour

_SEED = 13
_INFERENCE_S = 0.3  # long beside what a busy machine adds
_SLOPE_NEEDS = 50  # answers, before a slope says anything


def camera_stops(bench: Bench, count: int) -> Result:
    """C1: silence, then the camera is back, with another size and encoding too."""
    _, robot = bench.pair(panoptic_model='checkerboard')
    rng, tally, told_ms, well_ms = np.random.default_rng(_SEED), Tally(), [], []
    for number in bench.steps(count, 'C1'):
        for _ in range(10):
            tally.add(good(robot, noise(rng), what='a frame of the stream'))
            robot.spin_for(0.03)
        started = time.monotonic()
        robot.diagnostics.clear()
        robot.wait_for_diagnostic('code', 'camera.silent'.__eq__)
        told_ms.append(1e3 * (time.monotonic() - started))
        tally.add('' if robot.diagnostic_values()['level'] == '2' else 'no ERROR')
        robot.spin_for(max(0.0, 2.0 - (time.monotonic() - started)))
        picture = noise(rng, height=20 + number % 5, width=30)
        grey = np.ascontiguousarray(picture[..., 0])
        message = robot.image(grey, encoding='mono8') if number % 2 else robot.image(picture)
        expected = np.stack([grey] * 3, axis=-1) if number % 2 else picture
        started = time.monotonic()
        labels = robot.ask(message, timeout_s=PATIENCE_S).pixels('semantic/image_raw')
        tally.add('' if np.array_equal(labels, class_of_colour(expected))
                  else 'the first frame is wrong')
        robot.diagnostics.clear()
        tally.add('' if _well_again(robot, rng) else 'no OK while the camera is back')
        well_ms.append(1e3 * (time.monotonic() - started))
    tally.figures = {'ERROR after, max ms': round(max(told_ms)),
                     'OK after, max ms': round(max(well_ms))}
    return tally.result()


def _well_again(robot: Robot, rng: np.random.Generator) -> bool:
    """Stream on until diagnostics say OK; False where they do not."""
    deadline = time.monotonic() + PATIENCE_S
    while robot.diagnostic_values().get('level') != '0' and time.monotonic() < deadline:
        robot.images.publish(robot.image(noise(rng)))
        robot.spin_for(0.03)
    return robot.diagnostic_values().get('level') == '0'


def no_clock(bench: Bench, count: int) -> Result:
    """T2: use_sim_time without /clock."""
    robot = bench.robot()
    bench.node(panoptic_model='checkerboard', use_sim_time=True)
    robot.wait_for_node(timeout_s=PATIENCE_S)
    rng, tally = np.random.default_rng(_SEED + 1), Tally()
    for _ in bench.steps(count, 'T2'):
        tally.add(good(robot, noise(rng), what='a frame without a clock'))
    robot.wait_for_diagnostic('code', 'clock.missing'.__eq__)
    tally.add('' if robot.diagnostic_values()['level'] == '1' else 'no WARN')
    robot.diagnostics.clear()
    robot.spin_until(lambda: robot.diagnostics, what='diagnostics')
    started = time.monotonic()
    robot.spin_until(lambda: len(robot.diagnostics) >= 5, what='more diagnostics')
    rate_hz = (len(robot.diagnostics) - 1) / (time.monotonic() - started)
    tally.add('' if rate_hz > 0.5 else f'diagnostics at {rate_hz:.2f} Hz')
    tally.figures = {'diagnostics Hz': round(rate_hz, 2)}
    return tally.result()


def reliabilities(bench: Bench, count: int) -> Result:
    """Q1: reliable or best effort x who is first x the camera restarts with the other one."""
    tally = Tally()
    pairs = list(product((False, True), ('camera', 'node')))
    for number in bench.steps(count, 'Q1'):
        best_effort, first = pairs[number % len(pairs)]
        name = f'{"best effort" if best_effort else "reliable"}, {first} first'
        robot = bench.robot()
        robot.node.destroy_publisher(robot.images)
        if first == 'camera':
            robot.images = robot.publisher(Image, 'image', best_effort=best_effort)
        process = bench.node(panoptic_model='checkerboard')
        robot.spin_until(lambda robot=robot: robot.label_infos, timeout_s=PATIENCE_S)
        if first == 'node':
            robot.images = robot.publisher(Image, 'image', best_effort=best_effort)
        tally.add('' if _flows(robot) else f'{name}: no data')
        robot.node.destroy_publisher(robot.images)
        robot.images = robot.publisher(Image, 'image', best_effort=not best_effort)
        tally.add('' if _flows(robot) else f'{name}, then the other: no data')
        process.end()
        robot.close()
    return tally.result()


def _flows(robot: Robot) -> bool:
    """Return whether images are answered exactly, once the endpoints have found each other."""
    picture = noise(np.random.default_rng(0))
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        message = robot.image(picture)
        robot.images.publish(message)
        robot.spin_for(0.1)
        answer = robot.answers[key_of(message.header)]
        if answer.messages:
            return np.array_equal(answer.pixels('semantic/image_raw'), class_of_colour(picture))
    return False


def overload(bench: Bench, count: int) -> Result:
    """L1: images come 2 and 5 times as fast as the model is; count is frames of each."""
    _, robot = bench.pair(panoptic_model=f'faulty/slow@0-={_INFERENCE_S}')
    tally = Tally()
    for factor in (2, 5):
        latencies = _latencies_s(robot, count=count, period_s=_INFERENCE_S / factor)
        order = [key for _, key in robot.order]
        for earlier, later in zip(order[-len(latencies):], order[1 - len(latencies):],
                                  strict=False):
            tally.add('' if earlier < later else f'{later} came after {earlier}')
        inferences = np.array(latencies) / _INFERENCE_S
        p50, p99 = np.percentile(inferences, (50, 99))
        slope = np.polyfit(np.arange(len(inferences)), inferences, 1)[0] \
            if len(inferences) >= _SLOPE_NEEDS else 0.0
        # one inference and one wait; more than that is a queue, which grows
        tally.add('' if p50 <= 2 else f'{factor}x: median of {p50:.1f} inferences')
        tally.add('' if len(latencies) * slope < 1 else f'{factor}x: latency grows')
        tally.figures |= {f'{factor}x p50, inferences': round(float(p50), 2),
                          f'{factor}x p99, inferences': round(float(p99), 2),
                          f'{factor}x slope, inferences a frame': round(float(slope), 4)}
    robot.diagnostics.clear()
    values = {}

    def accounted_for() -> bool:
        values.update(robot.diagnostic_values())
        return bool(values) and int(values['processed']) + int(values['dropped']) \
            == int(values['received'])
    robot.spin_until(accounted_for, what='every frame is accounted for')
    for _ in range(int(values['dropped'])):
        tally.add()  # replaced by a newer one, as it must be
    return tally.result()


def _latencies_s(robot: Robot, *, count: int, period_s: float) -> list[float]:
    """Publish count images in a beat; return publication to answer of those that were taken."""
    sent: dict[tuple[int, int, str], float] = {}
    latencies: dict[tuple[int, int, str], float] = {}
    message = robot.image(np.zeros((48, 64, 3), np.uint8))
    next_s, seen = time.monotonic(), len(robot.order)
    while len(sent) < count or time.monotonic() < next_s + 3 * _INFERENCE_S:
        if len(sent) < count and time.monotonic() >= next_s:
            message.header = robot.header()
            robot.images.publish(message)
            sent[key_of(message.header)] = time.monotonic()
            next_s += period_s
        robot.spin_for(0.002)
        for _, key in robot.order[seen:]:
            latencies[key] = time.monotonic() - sent[key]
        seen = len(robot.order)
    return list(latencies.values())


def stopped_reader(bench: Bench, count: int) -> Result:
    """L2: a subscriber of an output is stopped, as by a debugger."""
    _, robot = bench.pair(panoptic_model='checkerboard')
    rng, tally = np.random.default_rng(_SEED + 2), Tally()
    # another node's robot: it reads every output, until it is stopped
    reader = bench.launch('python -m faults.reader')
    robot.spin_until(lambda: robot.node.count_subscribers('semantic/image_raw') == 2,
                     timeout_s=PATIENCE_S, what='the reader is there')
    picture = noise(rng, height=480, width=640)
    tally.add(good(robot, picture, what='before'))
    os.kill(reader.popen.pid, signal.SIGSTOP)
    try:
        for number in bench.steps(count, 'L2'):
            tally.add(good(robot, picture, what=f'frame {number} beside a stopped reader'))
    finally:
        os.kill(reader.popen.pid, signal.SIGCONT)
    robot.diagnostics.clear()
    slowest_ms = float(robot.wait_for_diagnostic('stage_ms.publish.p99', bool))
    tally.figures = {'publish p99 ms': slowest_ms}
    return tally.result()


LINES = (
    Line('C1', 'the camera stops and returns', 2, 20, camera_stops),
    Line('T2', 'use_sim_time without /clock', 3, 100, no_clock),
    Line('Q1', 'reliability x who is first x restart with the other', 4, 16, reliabilities),
    Line('L1', '2x and 5x overload', 40, 1_000, overload),
    Line('L2', 'a stopped reader of an output', 20, 1_000, stopped_reader),
)
