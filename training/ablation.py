# SPDX-License-Identifier: Apache-2.0
"""Measures what single changes are worth: of how the network is run, and of how it is trained.

Rows of training cost a short training each for every seed, all of one budget and from the same
weights, and run only where `--steps` says so. What was measured on the same weights is kept.
"""
from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
import itertools
import json
import logging
from pathlib import Path
import tempfile
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
import onnxruntime
from onnxruntime import quantization
import torch
from tqdm import tqdm

from seg_ros.core.memory import keep_freed_memory
from seg_ros.core.metrics import ConfusionMatrix, PanopticQuality
from seg_ros.models.contract import Acceleration, ModelOptions
from seg_ros.models.postprocess import find_centres
from seg_ros.models.street_tiny import (
    Features,
    read_weights,
    StreetTiny,
    STRIDE,
    votes_of_offsets,
)
from training import train
from training.calibrate import class_shifts, labelled_cells
from training.evaluate import (
    camvid_examples,
    Example,
    MIN_AREA,
    street_examples,
    write_report,
)
from training.export import TRAIN_WEIGHTS
from training.plan import Plan
from training.synthetic import FIRST_UNSEEN_SEED

REPORT = Path('reports/street_tiny_ablation.json')
STREETS = range(FIRST_UNSEEN_SEED, FIRST_UNSEEN_SEED + 10)
CALIBRATION = range(FIRST_UNSEEN_SEED - 35, FIRST_UNSEEN_SEED - 25)
"""Streets that the ranges of int8 are found on."""

_logger = logging.getLogger(__name__)


def mirrored(model: StreetTiny) -> StreetTiny:
    """Let the network see each image and its mirror image, and take the mean."""
    network = model.network

    def both(x: torch.Tensor) -> Features:
        one, other = network(x), network(x.flip(3))
        sign = torch.tensor([1.0, -1.0]).view(1, 2, 1, 1)  # to the left becomes to the right
        return Features((one.semantic + other.semantic.flip(3)) / 2,
                        (one.centres + other.centres.flip(3)) / 2,
                        (one.offsets + sign * other.offsets.flip(3)) / 2)

    model.network = both  # type: ignore[assignment]
    return model


def quantised(model: StreetTiny) -> StreetTiny:
    """Run the network in ONNX Runtime with weights and activations of 8 bits."""
    class Frames(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._inputs = (model._prepare(example.image).numpy()
                            for example in street_examples(CALIBRATION))

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            image = next(self._inputs, None)
            return None if image is None else {'x': image}

    with tempfile.TemporaryDirectory() as folder:
        plain, small = Path(folder) / 'fp32.onnx', Path(folder) / 'int8.onnx'
        export_onnx(model, plain)
        # 7 bits of the weights: without VNNI, sums of 8-bit products overflow 16 bits
        quantization.quantize_static(plain, small, Frames(), per_channel=True, reduce_range=True)
        model.network = _in_onnx_runtime(small)  # type: ignore[assignment]
    return model


def with_votes_as_they_are(model: StreetTiny) -> StreetTiny:
    """Group pixels by their own offsets alone."""
    model._votes = lambda features: votes_of_offsets(  # type: ignore[method-assign]
        features.offsets[0].float())
    return model


def with_peaks_as_centres(model: StreetTiny) -> StreetTiny:
    """Tell centres from other peaks by a window alone, as Panoptic-DeepLab does."""
    model._centres = lambda features: find_centres(  # type: ignore[method-assign]
        model._scores(features), threshold=model.options.score_threshold, stride=STRIDE)
    return model


def without_large_regions(model: StreetTiny) -> StreetTiny:
    """Leave what no centre owns without an instance."""
    model._unowned_regions = lambda *_: iter(())  # type: ignore[method-assign]
    return model


def calibrated_on_val(model: StreetTiny) -> StreetTiny:
    """Shift the class logits to the best mIoU on val itself: a bound, which nobody may claim."""
    network = model.network
    shifts = class_shifts([labelled_cells(model, camvid_examples('val'))]).view(1, -1, 1, 1)

    def shifted(x: torch.Tensor) -> Features:
        features = network(x)
        return features._replace(semantic=features.semantic + shifts)

    model.network = shifted  # type: ignore[assignment]
    return model


def in_onnx_runtime(model: StreetTiny) -> StreetTiny:
    """Run the network in ONNX Runtime as it is."""
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(model, Path(folder) / 'fp32.onnx')
        model.network = _in_onnx_runtime(Path(folder) / 'fp32.onnx')  # type: ignore[assignment]
    return model


def export_onnx(model: StreetTiny, path: Path) -> None:
    """Write the network for images of the size that it was trained at."""
    width, height = model.contract.input_size
    torch.onnx.export(
        model.network.network, (torch.zeros(1, 3, height, width),), str(path), verbose=False,
        input_names=['x'], output_names=list(Features._fields))


def _in_onnx_runtime(path: Path) -> Callable[[torch.Tensor], Features]:
    """Return a file's network; one thread, as the others here."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(path), options, providers=['CPUExecutionProvider'])
    return lambda x: Features(*map(torch.from_numpy, session.run(None, {'x': x.numpy()})))


@dataclass(frozen=True)
class Way:
    """One way to run the network."""

    name: str
    options: ModelOptions = ModelOptions()
    change: Callable[[StreetTiny], StreetTiny] = lambda model: model


WAYS = (
    Way('as it is: fp32, resized to 720x544'),
    Way('ONNX Runtime, fp32', change=in_onnx_runtime),
    Way('ONNX Runtime, int8', change=quantised),
    Way('mean with the mirror image', change=mirrored),
    Way('resized to 480x360', options=ModelOptions(input_size=(480, 360))),
    Way('resized to 576x432', options=ModelOptions(input_size=(576, 432))),
    Way('resized to 864x648', options=ModelOptions(input_size=(864, 648))),
    Way('votes not led on', change=with_votes_as_they_are),
    Way('peaks told from centres by a window', change=with_peaks_as_centres),
    Way('no instances without a centre', change=without_large_regions),
    Way('compiled', options=ModelOptions(acceleration=Acceleration(compile='default'))),
    Way('bf16', options=ModelOptions(acceleration=Acceleration(precision='bf16'))),
    Way('a bound: classes calibrated on val itself', change=calibrated_on_val),
    Way('a bound: the same, with the mirror image, resized to 864x648',
        options=ModelOptions(input_size=(864, 648)),
        change=lambda model: calibrated_on_val(mirrored(model))),
)


RECIPE = ('--parts', '2', '--peak-rate', '1e-3', '--synthetic-turns', '2',
          '--teacher', str(TRAIN_WEIGHTS))
"""How TRAIN_WEIGHTS were made, besides the trainer's defaults; later words win."""

TRAININGS = {
    'the recipe as it is': (),
    'as much of the street as of CamVid': ('--synthetic-turns', '1'),
    'no teacher': ('--teacher',),
    'CamVid alone': ('--synthetic-frames', '0'),
    'no objects of other frames': ('--pasted', '0'),
    'half of the crops balanced': ('--balanced', '0.5'),
    'every sample recoloured, scales 0.55 to 2': ('--recoloured', '1', '--scales', '0.55', '2'),
}


def trained(changes: Sequence[str], *, steps: int, seed: int, run: str) -> Path:
    """Train a row from TRAIN_WEIGHTS; return its own."""
    output = train.RUNS / run / 'street_tiny.safetensors'
    train.main([*RECIPE, *changes, '--steps', str(steps), '--seed', str(seed), '--run', run,
                '--restart', '--no-evaluate', '--start-from', str(TRAIN_WEIGHTS),
                '--output', str(output)])
    return output


@dataclass(frozen=True, eq=False)
class Frames:
    """What every row is measured on."""

    val: Sequence[Example]
    streets: Sequence[Example]


def measure(model: StreetTiny, frames: Frames, *, title: str) -> dict[str, float]:
    """Return mIoU on CamVid val, PQ on streets, and the CPU time of a frame."""
    confusion = ConfusionMatrix(model.label_set)
    panoptic = PanopticQuality(model.label_set, min_area=MIN_AREA)
    model.predict([frames.val[0].image])  # compilers work at the first call
    times: list[float] = []
    for example in tqdm(frames.val, desc=title, unit='frame', mininterval=5):
        start = time.thread_time()
        prediction = model.predict([example.image])[0]
        times.append(time.thread_time() - start)
        confusion.update(example.truth.class_map, prediction.class_map)
    for example in frames.streets:
        panoptic.update(example.truth, model.predict([example.image])[0])
    return {'val_miou': round(confusion.miou(), 4), 'pq': round(panoptic.all().pq, 4),
            'cpu_ms': round(1e3 * float(np.median(times)), 1)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the rows that are missing, and write the report after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--steps', type=int, default=0, help='of each training; 0 for none')
    parser.add_argument('--seeds', type=int, nargs='+', default=[Plan.seed],
                        help='of the trainings; each row is trained once with each')
    parser.add_argument('--output', type=Path, default=REPORT)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    keep_freed_memory()
    torch.set_num_threads(1)  # the time of one core means the same on a machine that others use
    frames = Frames(val=list(camvid_examples('val')), streets=list(street_examples(STREETS)))
    report = _begin(options.output, frames)
    for way in WAYS:
        if way.name not in report['ways']:
            model = way.change(StreetTiny(replace(way.options, weights=str(TRAIN_WEIGHTS))))
            report['ways'][way.name] = measure(model, frames, title=way.name)
            write_report(options.output, report)
    if not options.steps:
        return
    if report['steps'] != options.steps:
        report |= {'steps': options.steps, 'trainings': {}}
    for seed, (number, name) in itertools.product(options.seeds, enumerate(TRAININGS)):
        rows = report['trainings'].setdefault(name, {})
        if str(seed) not in rows:
            _logger.info('training: %s, seed %d', name, seed)
            path = trained(TRAININGS[name], steps=options.steps, seed=seed,
                           run=f'ablation/{number}_{seed}')
            model = StreetTiny(ModelOptions(weights=str(path)))
            rows[str(seed)] = measure(model, frames, title=name)
            write_report(options.output, report)


def _begin(path: Path, frames: Frames) -> dict[str, Any]:
    """Return what was measured on the same weights before, or an empty report."""
    empty = {'weights_sha256': read_weights(str(TRAIN_WEIGHTS)).sha256,
             'val_frames': len(frames.val), 'street_frames': len(frames.streets),
             'ways': {}, 'steps': 0, 'trainings': {}}
    old: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    same = all(old.get(name) == empty[name]
               for name in ('weights_sha256', 'val_frames', 'street_frames'))
    return old if same else empty


if __name__ == '__main__':
    main()
