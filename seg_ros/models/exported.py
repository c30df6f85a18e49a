# SPDX-License-Identifier: Apache-2.0
"""What the user brings: a .pt2, TorchScript or ONNX file with a YAML beside it."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch

from seg_ros.core.types import Segmentation
from seg_ros.models.agreement import check_frames
from seg_ros.models.contract import Model, ModelError, ModelOptions, Task
from seg_ros.models.own.answers import reader_of
from seg_ros.models.own.description import Description, MAX_BYTES, parse_description
from seg_ros.models.own.preparation import prepare
from seg_ros.models.own.programs import load_program, Program
from seg_ros.models.weights import read_file, refuse

_YAML_REMEDY = 'docs/your_model.md has an example for each contract'
_TRIAL_SIZES = ('640x480', '320x240')  # an input of any size must take both


def load(path: str, options: ModelOptions) -> Model:
    """Load a file, and try it: raises ModelError where it does not do what its YAML says."""
    if options.weights:
        raise ModelError(f'{path} holds its weights, but {options.weights!r} is given: '
                         'leave the parameter empty')
    description = read_description(path)
    _check_input_size(path, description.input.size, options.input_size)
    model = ExportedModel(path, description, load_program(Path(path).expanduser(), options),
                          options)
    model.try_out()
    return model


def _check_input_size(path: str, exported: tuple[int, int] | None, wanted: tuple[int, int] | None
                      ) -> None:
    """Raise ModelError where a (width, height) is wanted of a file for one (height, width)."""
    if exported and wanted and wanted != exported[::-1]:
        refuse(path, f'model.input_size is {wanted[0]}x{wanted[1]}, but its YAML says that it was '
                     f'exported for {exported[1]}x{exported[0]}',
               remedy='leave the parameter empty, or export it for that size or for `size: any`')


def tasks_of(path: str) -> frozenset[Task]:
    """Return what the model of a path serves, by its YAML; raises ModelError."""
    return read_description(path).tasks


def read_description(path: str) -> Description:
    """Return what the YAML beside a model file says; raises ModelError."""
    beside = Path(path).expanduser().with_suffix('.yaml')
    file = read_file(beside, remedy=_YAML_REMEDY, max_bytes=MAX_BYTES)
    try:
        return parse_description(file.data)
    except ValueError as error:
        refuse(beside, str(error), remedy=_YAML_REMEDY)


class ExportedModel:
    """A network of the user's; one image at a time: one image must have one answer."""

    def __init__(self, path: str, description: Description, program: Program,
                 options: ModelOptions) -> None:
        """Take over the parts."""
        self.path = path
        self.description = description
        self.options = options
        self.label_set = description.classes.label_set
        self.tasks = description.tasks
        self.sha256 = program.sha256
        self._program = program
        self._read = reader_of(description, options.device)

    def predict(self, images: Sequence[NDArray[np.uint8]]) -> list[Segmentation]:
        """Segment (H, W, 3) uint8 RGB images, each at its own size; raises ModelError."""
        try:
            return [self._segment(image) for image in images]
        except ValueError as error:
            raise ModelError(f'{self.path} does not do what its YAML says: {error}') from None

    @torch.inference_mode()
    def _segment(self, image: NDArray[np.uint8]) -> Segmentation:
        if not image.size:
            raise ModelError(f'{self.path} got an image of {image.shape[1]}x{image.shape[0]}, '
                             'expected pixels')
        frame = prepare(image, self.description.input, self.options.device,
                        self.options.input_size)
        outputs = self._program(frame.pixels)
        return self._read([outputs.take(which) for which in self.description.outputs],
                          frame, self.options)

    def try_out(self) -> None:
        """Run on a rendered street frame, on two sizes where any is allowed; raises ModelError."""
        for size in _TRIAL_SIZES[:1] if self.description.input.size else _TRIAL_SIZES:
            try:
                self._segment(check_frames(size)[0])
            except (ModelError, ValueError) as error:
                refuse(self.path, str(error), remedy=_YAML_REMEDY)
            except Exception as error:  # whatever a network raises
                cause = (str(error).strip().splitlines() or [''])[-1]
                refuse(self.path, f'it does not run on an image of {size} as its YAML says '
                                  f'({type(error).__name__}: {cause})', remedy=_YAML_REMEDY)
