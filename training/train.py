# SPDX-License-Identifier: Apache-2.0
"""Trains street_tiny on CamVid and the synthetic street, or goes on where it was stopped."""
from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
import copy
import itertools
import logging
import os
from pathlib import Path
from pickle import UnpicklingError
import time
from typing import Any

import cv2
import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from seg_ros.core.memory import keep_freed_memory
from seg_ros.models.acceleration import preferred_precision
from seg_ros.models.contract import ModelError
from seg_ros.models.street_tiny import CHANNELS, read_weights, StreetNetwork
from training import evaluate
from training.calibrate import calibrate
from training.data import Augmentation, Batch, Labelled, read_camvid, Samples, SPLITS
from training.export import (
    network_of,
    new_network,
    PACKAGE_WEIGHTS,
    STREET,
    Tensors,
    write_weights,
)
from training.losses import Losses, losses
from training.plan import Clock, Machine, Plan
from training.synthetic import read_synthetic
from training.teacher import Teacher
from training.widen import widened

RUNS = Path('training/runs')
SYNTHETIC_FRAMES = 2400
_logger = logging.getLogger(__name__)


class Trainer:
    """A network in training: its weights, their running average, the optimiser, the step.

    A batch is cut into parts that threads work off as they get free, each part on a replica of
    the network: on a CPU that others use too, threads inside of each layer would wait for the
    slowest at every layer. Gradients and batch statistics are averaged in the order of the
    parts, so the result does not depend on who was faster.
    """

    def __init__(self, plan: Plan, device: torch.device, *, threads: int = 2,
                 teacher: Teacher | None = None) -> None:
        """Start from fresh weights; a teacher is imitated where a source has few frames."""
        torch.manual_seed(plan.seed)
        self.plan = plan
        self.device = device
        self.step = 0
        self.clock = Clock()
        channels = CHANNELS.times(plan.width)
        self.network = new_network(channels).train().to(device).to(
            memory_format=torch.channels_last)
        self.average = new_network(channels).to(device).requires_grad_(False)
        self.average.load_state_dict(self.network.state_dict())
        self.optimiser = torch.optim.AdamW(_groups(self.network, plan.weight_decay))
        self._teacher = teacher
        self._replicas = [_replica(self.network) for _ in range(plan.parts)]
        self._threads = ThreadPoolExecutor(
            threads, initializer=torch.set_num_threads, initargs=(1,))
        # fp16 would need its gradients scaled: what has no bf16 trains in fp32
        self._is_bf16 = preferred_precision(device) == 'bf16'

    def train_step(self, batch: Batch) -> Losses:
        """Learn from one batch."""
        for group in self.optimiser.param_groups:
            group['lr'] = self.plan.rate(self.step, self.share())
        self._share_buffers()
        parts = self._threads.map(self._learn_part, self._replicas, batch.split(self.plan.parts))
        result = list(parts)[0]
        self._gather()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.step += 1
        self._update_average()
        return result

    def share(self, step: int | None = None) -> float:
        """Return how much of the plan is done now, or at a step."""
        return self.plan.share(self.step if step is None else step, self.clock.elapsed_s)

    def _learn_part(self, replica: StreetNetwork, batch: Batch) -> Losses:
        """Compute the gradients of a part of a batch."""
        batch = batch.to(self.device)
        images = batch.normalised_images()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._is_bf16):
            features = replica(images)
            taught = self._ask_teacher(images[batch.is_scarce])
        result = losses(features, batch, overlap=self.plan.overlap, taught=taught)
        replica.zero_grad()
        result.total.backward()
        return result.detached()

    def _ask_teacher(self, images: torch.Tensor) -> torch.Tensor | None:
        """Return what there is to imitate."""
        return self._teacher(images) if self._teacher and len(images) else None

    @torch.no_grad()
    def _share_buffers(self) -> None:
        """Give the running statistics to the replicas; parameters are shared already."""
        for replica in self._replicas:
            for own, shared in zip(replica.buffers(), self.network.buffers(), strict=True):
                own.copy_(shared)

    @torch.no_grad()
    def _gather(self) -> None:
        """Take the mean of the replicas' gradients and running statistics."""
        columns = zip(*(replica.parameters() for replica in self._replicas), strict=True)
        for parameter, own in zip(self.network.parameters(), columns, strict=True):
            parameter.grad = torch.stack([p.grad for p in own]).mean(dim=0)
        columns = zip(*(replica.buffers() for replica in self._replicas), strict=True)
        for buffer, own in zip(self.network.buffers(), columns, strict=True):
            if buffer.is_floating_point():
                buffer.copy_(torch.stack(own).mean(dim=0))
            else:
                buffer.copy_(own[0])

    @torch.no_grad()
    def _update_average(self) -> None:
        """Move the average a little towards the weights; faster at the start."""
        keep = min(self.plan.average, (1 + self.step) / (10 + self.step))
        new = self.network.state_dict()
        for name, old in self.average.state_dict().items():
            if old.is_floating_point():
                old.lerp_(new[name], 1 - keep)
            else:
                old.copy_(new[name])

    def state(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        return {'step': self.step, 'elapsed_s': self.clock.elapsed_s,
                'network': self.network.state_dict(),
                'average': self.average.state_dict(), 'optimiser': self.optimiser.state_dict(),
                'random': torch.get_rng_state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.step = state['step']
        self.clock = Clock(state['elapsed_s'])
        self.network.load_state_dict(state['network'])
        self.average.load_state_dict(state['average'])
        self.optimiser.load_state_dict(state['optimiser'])
        torch.set_rng_state(state['random'])

    def start_from(self, weights: Tensors) -> None:
        """Take over weights as a beginning, at step 0, those of a narrower network too."""
        wide = widened(weights, self.network.state_dict())
        self.network.load_state_dict(wide)
        self.average.load_state_dict(wide)


def _replica(network: StreetNetwork) -> StreetNetwork:
    """Return a copy with the same parameters in memory, but gradients and buffers of its own."""
    replica = copy.deepcopy(network)
    for own, shared in zip(replica.parameters(), network.parameters(), strict=True):
        own.data = shared.data
    return replica


def _groups(network: StreetNetwork, weight_decay: float) -> list[dict[str, Any]]:
    """Return parameter groups: only matrices and kernels decay."""
    parameters = list(network.parameters())
    return [{'params': [p for p in parameters if p.ndim > 1], 'weight_decay': weight_decay},
            {'params': [p for p in parameters if p.ndim == 1], 'weight_decay': 0.0}]


def save_checkpoint(path: Path, trainer: Trainer) -> None:
    """Write the state; the file appears whole or not at all."""
    part = path.with_suffix('.part')
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(trainer.state(), part)
    os.replace(part, path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a state; raises OSError where there is no file, ValueError where it is no state."""
    try:
        state: dict[str, Any] = torch.load(path, map_location='cpu', weights_only=True)
    except (EOFError, RuntimeError, UnpicklingError):
        state = {}
    if 'average' not in state:
        raise ValueError(f'{path} is no checkpoint of a training, or a damaged one')
    return state


def batches(sources: Sequence[Labelled], trainer: Trainer, *, workers: int) -> Iterator[Batch]:
    """Return the batches from the trainer's step to the plan's end."""
    plan = trainer.plan
    samples = Samples(sources, batch_size=plan.batch_size, seed=plan.seed,
                      size_at=lambda step: plan.size_at(trainer.share(step)),
                      augmentation=plan.augmentation)
    numbers = itertools.count(trainer.step) if plan.minutes else range(trainer.step, plan.steps)
    loader = DataLoader(
        samples, batch_size=None, sampler=numbers, num_workers=workers,
        prefetch_factor=4 if workers else None, pin_memory=trainer.device.type == 'cuda')
    return iter(loader)


def fit(trainer: Trainer, sources: Sequence[Labelled], *, checkpoint: Path,
        every_s: float = 120.0, workers: int = 1) -> None:
    """Train to the end of the plan, with a checkpoint every so often and at the end."""
    plan = trainer.plan
    saved = time.monotonic()
    bar = tqdm(batches(sources, trainer, workers=workers), desc='train', unit='step',
               initial=trainer.step, total=None if plan.minutes else plan.steps, mininterval=10)
    for batch in bar:
        result = trainer.train_step(batch)
        if trainer.step % 50 == 0:
            bar.set_postfix_str(
                f'{100 * trainer.share():.0f} % of the plan, classes {result.semantic:.3f} '
                f'centres {result.centres:.3f} offsets {result.offsets:.3f}', refresh=False)
        if time.monotonic() - saved > every_s:
            save_checkpoint(checkpoint, trainer)
            saved = time.monotonic()
        if trainer.share() >= 1:
            break
    save_checkpoint(checkpoint, trainer)


def first_weights(path: Path) -> Tensors:
    """Return the averaged weights of a checkpoint, or those of a weights file."""
    if path.suffix == '.safetensors':
        return read_weights(str(path)).tensors
    average: dict[str, torch.Tensor] = load_checkpoint(path)['average']
    return average


def read_teacher(path: Path, device: torch.device) -> Teacher:
    """Return the network of a checkpoint or a weights file, of whatever width, as a teacher."""
    return Teacher(network_of(first_weights(path)), device)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, write the weights, and measure them."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    device = torch.device(options.device or ('cuda' if torch.cuda.is_available() else 'cpu'))
    machine = Machine.with_device(device)
    keep_freed_memory()
    torch.set_num_threads(1)  # the trainer has threads of its own
    cv2.setNumThreads(1)  # OpenCV's threads do not survive the fork of the loading processes
    torch.backends.cudnn.benchmark = True  # the sizes are two
    run = RUNS / options.run
    try:
        trainer = _trainer(options, device, run / 'checkpoint.pt', parts=machine.parts)
        sources = _sources(options)
    except (ModelError, OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    fit(trainer, sources, checkpoint=run / 'checkpoint.pt',
        workers=machine.workers if options.workers is None else options.workers)
    # a wide network is a teacher: it does not belong into the package
    output = options.output or (PACKAGE_WEIGHTS if options.width == 1
                                else run / 'street_tiny.safetensors')
    write_weights(output, trainer.average.state_dict(), STREET)
    calibrate(output, splits=options.splits)
    _logger.info('wrote %s', output)
    if options.evaluate and options.splits:
        evaluate.main(['--weights', str(output), '--output', str(run / 'report.json')])


def _plan(options: argparse.Namespace, *, parts: int) -> Plan:
    """Return the plan that the command line asks for."""
    return Plan(
        steps=options.steps, minutes=options.minutes, batch_size=options.batch_size, parts=parts,
        whole_from=options.whole_from, peak_rate=options.peak_rate, warm_up=options.warm_up,
        overlap=options.overlap, seed=options.seed, width=options.width,
        augmentation=Augmentation(scales=tuple(options.scales), recoloured=options.recoloured,
                                  balanced=options.balanced, pasted=options.pasted))


def _sources(options: argparse.Namespace) -> list[Labelled]:
    """Return what is learnt from, in turn."""
    sources = [read_camvid(*options.splits)] if options.splits else []
    if options.synthetic_frames:
        street = read_synthetic(RUNS / 'synthetic', frames=options.synthetic_frames)
        sources += options.synthetic_turns * [street]
    return sources


def _trainer(options: argparse.Namespace, device: torch.device, checkpoint: Path, *, parts: int
             ) -> Trainer:
    """Go on from the run's checkpoint where there is one, or start, maybe from other weights."""
    trainer = Trainer(
        _plan(options, parts=options.parts or parts), device, threads=options.threads,
        teacher=read_teacher(options.teacher, device) if options.teacher else None)
    if checkpoint.exists() and not options.restart:
        trainer.restore(load_checkpoint(checkpoint))
        _logger.info('resumed %s at step %d, %.0f %% of the plan', checkpoint, trainer.step,
                     100 * trainer.share())
    elif options.start_from:
        trainer.start_from(first_weights(options.start_from))
    return trainer


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--run', default='street_tiny', help='name of the folder under runs')
    parser.add_argument('--restart', action='store_true', help='forget the checkpoint of the run')
    parser.add_argument('--start-from', type=Path,
                        help='checkpoint or weights file to take first weights from, those of a '
                        'narrower network too')
    parser.add_argument('--steps', type=int, default=Plan.steps)
    parser.add_argument('--minutes', type=float, default=Plan.minutes,
                        help='end by the clock, whatever the number of steps')
    parser.add_argument('--batch-size', type=int, default=Plan.batch_size)
    parser.add_argument('--parts', type=int, default=0,
                        help='of a batch, each normalised by itself; by default 2 on a CPU, '
                        'where threads share them, and 1 on a GPU')
    parser.add_argument('--whole-from', type=float, default=Plan.whole_from,
                        help='share of the steps after which crops are as large as frames')
    parser.add_argument('--peak-rate', type=float, default=Plan.peak_rate)
    parser.add_argument('--warm-up', type=int, default=Plan.warm_up, help='steps')
    parser.add_argument('--overlap', type=float, default=Plan.overlap,
                        help='weight of the overlap loss beside the cross-entropy')
    parser.add_argument('--scales', type=float, nargs=2, default=Augmentation.scales,
                        metavar=('LOW', 'HIGH'))
    parser.add_argument('--recoloured', type=float, default=Augmentation.recoloured,
                        help='share of the samples whose colours are changed')
    parser.add_argument('--balanced', type=float, default=Augmentation.balanced,
                        help='share of the samples around a class drawn as often as any other')
    parser.add_argument('--pasted', type=float, default=Augmentation.pasted,
                        help="share of CamVid's samples with rare objects of another frame")
    parser.add_argument('--seed', type=int, default=Plan.seed)
    parser.add_argument('--splits', nargs='*', choices=SPLITS, default=['train'],
                        help='of CamVid, to learn from (val measures nothing then); none for the '
                        'synthetic street alone, and nothing is measured at the end')
    parser.add_argument('--synthetic-frames', type=int, default=SYNTHETIC_FRAMES,
                        help='rendered once and kept under runs; 0 for CamVid alone')
    parser.add_argument('--synthetic-turns', type=int, default=1,
                        help='how many samples of the synthetic street follow one of CamVid')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--workers', type=int,
                        help='processes that make batches; by default 1, with a GPU all cores')
    parser.add_argument('--width', type=int, choices=range(1, 5), default=Plan.width,
                        help='channels, as a multiple; a wide network is trained to be a teacher')
    parser.add_argument('--teacher', type=Path, nargs='?',
                        help='checkpoint or weights file of a network that is imitated on '
                        "CamVid's frames (the street has exact labels without end); none "
                        'without a file')
    parser.add_argument('--evaluate', action=argparse.BooleanOptionalAction, default=True,
                        help="measure the weights at the end, into the run's report.json")
    parser.add_argument('--device', default='', help='cuda or cpu; by default the best there is')
    parser.add_argument('--output', type=Path, help='by default the package, for a width of 1')
    return parser.parse_args(arguments)


if __name__ == '__main__':
    main()
