# SPDX-License-Identifier: Apache-2.0
"""`seg_ros benchmark`: how long each stage of a frame's way takes, and what it needs."""

from __future__ import annotations

from argparse import Namespace
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
import json
import os
from pathlib import Path
import platform
import resource
import time

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from tqdm import tqdm

from seg_ros.core.types import Segmentation
from seg_ros.models.acceleration import network_of
from seg_ros.models.agreement import check_frames
from seg_ros.models.contract import Model
from seg_ros.models.pipeline import Pipeline
from seg_ros.tools.models import config_of

STAGES = ('decode', 'preprocess', 'model', 'postprocess', 'merge')
"""In a frame's order; a model whose network is not ours has `model` for all that it does."""
_BUSY = 0.5  # processes that run or wait for a core, for each core


@dataclass(frozen=True)
class Machine:
    """Where it was measured, and how busy that was with other work."""

    device: str
    cores: int
    threads: int
    spins: str  # turns that a thread of OpenMP spins before it sleeps; empty = by OpenMP's rule
    load_before: float  # processes that ran or waited, mean of the minute before
    torch: str
    python: str

    @property
    def busy(self) -> bool:
        """Return whether other work was in the way."""
        return self.load_before > _BUSY * self.cores


@dataclass(frozen=True)
class Benchmark:
    """What came out."""

    size: str
    input_size: str  # that frames are resized to fit into; empty = the model's own choice
    frames: int
    modes: Mapping[str, str]  # spec -> precision, compiler, agreement with fp32
    stage_ms: Mapping[str, Mapping[str, float]]  # stage -> p50, p99
    frames_per_second: float  # without decode
    host_peak_mb: float  # of the process, torch and all
    device_peak_mb: float | None  # of the tensors on a GPU
    machine: Machine


class StageClock:
    """Collects the milliseconds of each stage, a sample a frame."""

    def __init__(self) -> None:
        """Start without samples."""
        self.samples_ms: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, spent_s: Mapping[str, float]) -> None:
        """Keep one frame's seconds by stage."""
        for stage, seconds in spent_s.items():
            self.samples_ms[stage].append(1e3 * seconds)

    def percentiles(self) -> dict[str, dict[str, float]]:
        """Return median and 99th percentile of each stage that occurred, in order."""
        return {stage: {'p50': float(np.percentile(self.samples_ms[stage], 50)),
                        'p99': float(np.percentile(self.samples_ms[stage], 99))}
                for stage in (*STAGES, 'total') if stage in self.samples_ms}


def run(options: Namespace) -> int:
    """Measure as the options say, print a table, and write the JSON file if one is named."""
    if options.frames < 1:
        raise ValueError(f'--frames is {options.frames}, expected at least 1')
    options.parameters = [*options.parameters, f'model.frame_size={options.size}']
    load_before = os.getloadavg()[0]  # before the models load it
    pipeline = Pipeline(config_of(options))
    result = measure(pipeline, size=options.size, frames=options.frames, load_before=load_before)
    print(report(result))
    if options.json:
        Path(options.json).write_text(json.dumps(asdict(result), indent=2) + '\n')
    return 0


def measure(pipeline: Pipeline, *, size: str, frames: int, load_before: float) -> Benchmark:
    """Run the pipeline on rendered street frames of a size; the first runs are not counted."""
    files = [_jpeg(image) for image in check_frames(size)]
    pipeline.warm_up()
    clock = StageClock()
    for number in tqdm(range(frames), unit='frame', desc=' + '.join(pipeline.models)):
        clock.add(_frame(pipeline, files[number % len(files)]))
    on_gpu = pipeline.device.type == 'cuda'
    return Benchmark(
        size=size, input_size=pipeline.input_size, frames=frames, modes=pipeline.modes,
        stage_ms=clock.percentiles(),
        frames_per_second=1e3 / float(np.mean(clock.samples_ms['total'])),
        # Linux counts in KiB
        host_peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        device_peak_mb=torch.cuda.max_memory_allocated(pipeline.device) / 1e6 if on_gpu else None,
        machine=Machine(
            device=device_name(pipeline.device), cores=os.cpu_count() or 1,
            threads=torch.get_num_threads(), spins=_spins(), load_before=round(load_before, 2),
            torch=torch.__version__, python=platform.python_version()))


def _jpeg(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (H, W, 3) RGB as the bytes of a JPEG file."""
    encoded: NDArray[np.uint8] = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    return encoded


def _frame(pipeline: Pipeline, file: NDArray[np.uint8]) -> dict[str, float]:
    """Take one frame through all stages; return the seconds of each, and their sum as total."""
    begun_s = time.perf_counter()
    pixels = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR))
    image = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
    spent_s: defaultdict[str, float] = defaultdict(float, decode=time.perf_counter() - begun_s)
    results: list[Segmentation] = []
    for model in pipeline.loaded:
        results += _predict(model, image, spent_s)
    begun_s = time.perf_counter()
    pipeline.merge(tuple(results))
    spent_s['merge'] = time.perf_counter() - begun_s
    return {**spent_s, 'total': sum(spent_s.values()) - spent_s['decode']}


def _predict(model: Model, image: NDArray[np.uint8], spent_s: defaultdict[str, float]
             ) -> Sequence[Segmentation]:
    """Run a model and share its time out to before, in and after its network."""
    network, runs = network_of(model), list[tuple[float, float]]()
    if network:
        network.observer = lambda first_s, last_s: runs.append((first_s, last_s))
    begun_s = time.perf_counter()
    results = model.predict([image])
    ended_s = time.perf_counter()
    if network:
        network.observer = None
    if runs:
        spent_s['preprocess'] += runs[0][0] - begun_s
        spent_s['postprocess'] += ended_s - runs[-1][1]
        begun_s, ended_s = runs[0][0], runs[-1][1]
    spent_s['model'] += ended_s - begun_s
    return results


def _spins() -> str:
    """Return how long waiting threads spin, as the environment says."""
    passive = os.environ.get('OMP_WAIT_POLICY', '').upper() == 'PASSIVE'
    return os.environ.get('GOMP_SPINCOUNT', '0' if passive else '')


def device_name(device: torch.device) -> str:
    """Return the product's name."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.machine()


def report(result: Benchmark) -> str:
    """Return the table for people."""
    machine = result.machine
    lines = ['', f'{"stage":12}{"p50 ms":>9}{"p99 ms":>9}']
    lines += [f'{stage:12}{row["p50"]:>9.2f}{row["p99"]:>9.2f}'
              for stage, row in result.stage_ms.items()]
    memory = f'{result.host_peak_mb:.0f} MB of the process at most'
    if result.device_peak_mb is not None:
        memory += f', {result.device_peak_mb:.0f} MB of tensors on the GPU'
    lines += ['', f'{result.frames_per_second:.1f} frames a second at {result.size}, without '
              f'decode and messages ({result.frames} frames)', memory]
    if result.input_size:
        lines.append(f'networks see frames resized to fit into {result.input_size}')
    lines += [f'{spec} in {mode}' for spec, mode in result.modes.items()]
    spin = f' that spin {machine.spins} turns' if machine.spins else ''
    lines.append(f'{machine.device}, {machine.cores} cores, {machine.threads} threads{spin}, '
                 f'load average {machine.load_before} before, torch {machine.torch}')
    if machine.busy:
        lines.append('other work was running: an idle machine is faster')
    return '\n'.join(lines)
