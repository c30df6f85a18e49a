# SPDX-License-Identifier: Apache-2.0
"""Faults of processes and their lives: killed, signalled, started again, driven at random."""
from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import signal
import time

from lifecycle_msgs.msg import Transition
import numpy as np

from faults.line import answered, Bench, good, Line, noise, Result, Tally
from faults.robot import PATIENCE_S, Process, Robot
from seg_ros.models.faulty import mark

_SEED = 17
_CLEAN_S = 3.0
_TRANSITIONS = (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE,
                Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP)
_SEGMENTS_MB = 4  # what two processes' segments may still fill after the start
_SLOPE_NEEDS_S = 600  # of soak, before a slope says anything


def killed(bench: Bench, count: int) -> Result:
    """K1: kill -9 in an inference, and the supervisor starts it again."""
    tally, outages_s = Tally(), []
    rng = np.random.default_rng(_SEED)
    process, robot = bench.pair(panoptic_model='faulty')
    for number in bench.steps(count, 'K1'):
        robot.images.publish(robot.image(mark(noise(rng), 'slow')))
        robot.spin_for(0.1)  # half of the inference
        process.popen.kill()
        killed_s = time.monotonic()
        process.wait(timeout_s=5.0)
        process = bench.node(panoptic_model='faulty')
        tally.add(_returns(robot, rng, what=f'after kill {number}'))
        outages_s.append(time.monotonic() - killed_s)
    tally.figures = {'outage p50 s': round(float(np.median(outages_s)), 2),
                     'outage max s': round(max(outages_s), 2)}
    return tally.result()


def _returns(robot: Robot, rng: np.random.Generator, *, what: str) -> str:
    """Send frames until one is answered; return what is wrong with it."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        message = robot.image(noise(rng))
        robot.images.publish(message)
        robot.spin_for(0.1)
        if answered(robot, message):
            return good(robot, noise(rng), what=what)
    return f'{what}: no answer in {PATIENCE_S} s'


def signalled(bench: Bench, count: int) -> Result:
    """K2: SIGINT and SIGTERM at every moment of a life, once and twice."""
    tally, slowest_s = Tally(), 0.0
    moments: dict[str, Callable[[Bench], Process]] = {
        'starting': _starting, 'idle': _idle, 'in an inference': _in_inference,
        'in configure': _in_configure, 'in configure, twice': _in_configure}
    for step in bench.steps(count, 'K2'):
        moment, begin = list(moments.items())[step % len(moments)]
        number = (signal.SIGINT, signal.SIGTERM)[(step // len(moments) + step) % 2]
        process = begin(bench)
        started = time.monotonic()
        process.popen.send_signal(number)
        if 'twice' in moment:
            time.sleep(0.1)  # the second one comes while the first is being obeyed
        code = process.end(number)
        seconds = time.monotonic() - started
        slowest_s = max(slowest_s, seconds)
        clean = code == 0 and 'Traceback' not in process.output() and seconds < _CLEAN_S
        tally.add('' if clean else f'{signal.Signals(number).name} {moment}: code {code} after '
                  f'{seconds:.1f} s, {process.output()[-300:]!r}')
    tally.figures = {'slowest s': round(slowest_s, 2)}
    return tally.result()


def _starting(bench: Bench) -> Process:
    process = bench.node(panoptic_model='faulty')
    # its handlers are there as soon as Python runs: the start-up of Python itself is not ours
    deadline = time.monotonic() + PATIENCE_S
    while 'torch' not in _mapped(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    return process


def _mapped(process: Process) -> str:
    """Return the files that a process has mapped."""
    return Path(f'/proc/{process.popen.pid}/maps').read_text()


def _idle(bench: Bench) -> Process:
    process, robot = bench.pair(panoptic_model='faulty')
    robot.close()
    return process


def _in_inference(bench: Bench) -> Process:
    process, robot = bench.pair(panoptic_model='faulty/slow@1-=30')
    robot.images.publish(robot.image(np.zeros((4, 4, 3), np.uint8)))
    robot.wait_for_diagnostic('code', 'model.hangs'.__eq__)
    robot.close()
    return process


def _in_configure(bench: Bench) -> Process:
    robot = bench.robot()
    process = bench.node(panoptic_model='faulty/slow@0=30')
    robot.wait_for_diagnostic('state', 'unconfigured'.__eq__)
    robot.close()
    return process


def cycles(bench: Bench, count: int) -> Result:
    """K3: whole lifecycles in one process, and a start of a process for every twenty of them."""
    robot = bench.robot()
    process = bench.node(panoptic_model='street_tiny', autostart=False)
    rng, tally, memory_mb = np.random.default_rng(_SEED + 1), Tally(), []
    for number in bench.steps(count, 'K3'):
        wrong = [t for t in _TRANSITIONS[:2] if not robot.change_state(t)]
        robot.wait_for_node(timeout_s=PATIENCE_S)
        message = robot.image(noise(rng))
        robot.ask(message, timeout_s=PATIENCE_S)
        wrong += [t for t in _TRANSITIONS[2:] if not robot.change_state(t)]
        tally.add(f'cycle {number}: transitions {wrong} failed' if wrong else '')
        memory_mb.append(process.rss_mb())
        robot.label_infos.clear()
        robot.spin_until(lambda: not robot.node.count_publishers('semantic/image_raw'),
                         timeout_s=PATIENCE_S, what='topics are gone')
    tally.add('' if process.end() == 0 else 'the end is not clean')
    for number in range(max(count // 20, 1)):
        process, other = bench.pair(panoptic_model='street_tiny')
        other.close()
        code = process.end()
        clean = code == 0 and 'Traceback' not in process.output()
        tally.add('' if clean else f'start {number}: code {code}')
    half = memory_mb[len(memory_mb) // 2:]
    tally.figures = {'RSS growth in the second half, MB': round(half[-1] - half[0], 1)}
    return tally.result()


def walks(bench: Bench, count: int) -> Result:
    """LC1: random transitions, invalid ones too, of a node whose work raises at random."""
    robot = bench.robot()
    process = bench.launch('python -m faults.moody_node', parameters={
        'panoptic_model': 'checkerboard', 'autostart': False})
    rng, tally = np.random.default_rng(_SEED + 2), Tally()
    for number in bench.steps(count, 'LC1'):
        for _ in range(8):
            robot.change_state(int(rng.choice([*_TRANSITIONS, 99])))
        tally.add('' if process.popen.poll() is None else f'walk {number} ended the process')
        tally.add('' if _served_after(robot, rng) else f'after walk {number} it does not work')
    tally.add('' if 'Traceback' not in process.output() else 'a traceback')
    tally.figures = {'deaths': int(process.popen.poll() is not None)}
    return tally.result()


def _served_after(robot: Robot, rng: np.random.Generator) -> bool:
    """Return whether the node can be brought to work, however often that takes."""
    onwards = {'unconfigured': Transition.TRANSITION_CONFIGURE,
               'inactive': Transition.TRANSITION_ACTIVATE}
    for _ in range(50):
        state = robot.state()
        if state == 'active':
            robot.wait_for_node(timeout_s=PATIENCE_S)
            return not _returns(robot, rng, what='')
        if state not in onwards:
            return False
        robot.change_state(onwards[state])
    return False


def soak(bench: Bench, count: int) -> Result:
    """S1: count seconds at 30 Hz, every hundredth frame bad."""
    process, robot = bench.pair(panoptic_model='street_tiny')
    rng, tally = np.random.default_rng(_SEED + 3), Tally()
    picture = noise(rng, height=360, width=480)
    message = robot.image(picture)
    started = time.monotonic()
    times, memory_mb, files, threads = [], [], [], []
    shared = _shared_memory('self', process.popen.pid)
    for number in bench.steps(30 * count, 'S1'):
        message.header = robot.header()
        message.encoding = 'yuv9' if number % 100 == 99 else 'rgb8'
        robot.images.publish(message)
        robot.spin_for(max(started + number / 30 - time.monotonic(), 0.0))
        if number % 300 == 299:
            times.append(time.monotonic() - started)
            memory_mb.append(process.rss_mb())
            files.append(len(os.listdir(f'/proc/{process.popen.pid}/fd')))
            threads.append(len(os.listdir(f'/proc/{process.popen.pid}/task')))
            robot.answers.clear()
            del robot.order[:-10], robot.diagnostics[:-5]
        tally.add('' if process.popen.poll() is None else 'the process ended')
        if process.popen.poll() is not None:
            break
    if count >= _SLOPE_NEEDS_S:
        # what is loaded and grown at first is not a leak
        late = np.array(times) > times[-1] / 4
        slope = 3600 * np.polyfit(np.array(times)[late], np.array(memory_mb)[late], 1)[0]
        tally.add('' if slope < 10 else f'memory grows by {slope:.0f} MB an hour')
        tally.figures['RSS slope MB/h'] = round(float(slope), 1)
    robot.diagnostics.clear()
    robot.wait_for_diagnostic('processed', bool)
    values = robot.diagnostic_values()
    tally.add('' if max(files) - files[0] < 3 else f'files: {files[0]} to {max(files)}')
    tally.add('' if max(threads) == threads[0] else f'threads: {threads[0]} to {max(threads)}')
    growth_mb = _shared_memory('self', process.popen.pid) - shared
    tally.add('' if growth_mb < _SEGMENTS_MB else f'/dev/shm grows by {growth_mb:.1f} MB')
    tally.figures |= {'seconds': count, 'RSS MB': f'{memory_mb[0]:.0f} to {memory_mb[-1]:.0f}',
                      'files': files[-1], 'threads': threads[-1],
                      '/dev/shm growth MB': round(growth_mb, 1),
                      'processed': int(values['processed']),
                      'rejected': int(values.get('rejected.encoding', 0))}
    return tally.result()


def _shared_memory(*numbers: int | str) -> float:
    """Return the MB of /dev/shm that processes have mapped: nobody else's count."""
    paths = {line.split(maxsplit=5)[5].removesuffix(' (deleted)') for number in numbers
             for line in Path(f'/proc/{number}/maps').read_text().splitlines()
             if '/dev/shm/' in line}
    return sum(os.stat(path).st_blocks * 512 for path in paths if os.path.exists(path)) / 1e6


LINES = (
    Line('K1', 'kill -9 in an inference, with respawn', 2, 50, killed),
    Line('K2', 'SIGINT, SIGTERM: starting, idle, in an inference, in configure, twice', 5, 100,
         signalled),
    Line('K3', 'lifecycle cycles in one process, and process starts', 4, 1_000, cycles),
    Line('LC1', 'random walks over transitions with exceptions in each', 3, 100, walks),
    Line('S1', 'soak: 30 Hz, 1 % bad frames; tries are frames', 12, 3_600, soak),
)
