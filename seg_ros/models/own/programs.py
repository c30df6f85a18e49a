# SPDX-License-Identifier: Apache-2.0
"""Loads networks from the three formats: .pt2 and TorchScript are programs, ONNX is data."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
import io
import logging
from pathlib import Path
from typing import Any, NoReturn, Protocol
import warnings
import zipfile

import numpy as np
import torch
from torch.export.passes import move_to_device_pass

from seg_ros.models.contract import ModelError, ModelOptions
from seg_ros.models.weights import (
    check_pin,
    check_zip,
    digest,
    ModelFile,
    read_file,
    read_inside,
    refuse,
)

MAX_GRAPH_BYTES = 2 << 30
"""Protocol buffers have no more; larger weights lie in files beside the graph."""

_CODE_BYTES = 64 << 20  # that compressed code may unpack to, beyond what the file has
_SHA256_DIGITS = 64
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a network put out, in its order."""

    tensors: tuple[torch.Tensor, ...]
    names: tuple[str, ...] = ()  # of each, where the format has names

    def take(self, which: str | int) -> torch.Tensor:
        """Return the output of a name or a place; raises ValueError that says what there is."""
        if isinstance(which, int) and which < len(self.tensors):
            return self.tensors[which]
        if isinstance(which, str) and which in self.names:
            return self.tensors[self.names.index(which)]
        have = ', '.join(self.names) if self.names else f'{len(self.tensors)} without names'
        raise ValueError(f'it has no output {which!r}, its outputs are {have}')


class Program(Protocol):
    """A network of a file, on its device."""

    sha256: str  # of the file; with files beside it, of the lines that `sha256sum FILES` prints

    def __call__(self, pixels: torch.Tensor) -> Outputs:
        """Run on a (1, 3, h, w) input."""
        ...


def load_program(path: Path, options: ModelOptions) -> Program:
    """Load a file by its suffix; raises ModelError."""
    program: Program = FORMATS[path.suffix.lower()](path, options)
    return program


def _read_trusted(path: Path, options: ModelOptions) -> ModelFile:
    """Return a file that is a program: only where the user allows it and pins its bytes."""
    if not options.allow_executable_models or len(options.sha256) != _SHA256_DIGITS:
        refuse(path, f'a {path.suffix} file is a program that runs with your rights',
               remedy='if you trust it, set allow_executable_models and pin what '
                      f'`sha256sum {path.name}` prints, or give an .onnx file')
    file = read_file(path, sha256=options.sha256)
    if not file.data.startswith(b'PK\x03\x04'):
        refuse(path, 'it is no archive as torch.export.save and torch.jit.save write them')
    check_zip(file, room=_CODE_BYTES)
    return file


def _entries(file: ModelFile) -> tuple[str, ...]:
    """Return the names in a zip archive, without the folder that all of them are in."""
    with zipfile.ZipFile(io.BytesIO(file.data)) as archive:
        return tuple(name.partition('/')[2] for name in archive.namelist())


class ExportedProgram:
    """A .pt2 of torch.export.save."""

    def __init__(self, path: Path, options: ModelOptions) -> None:
        """Load it onto the device; raises ModelError."""
        file = _read_trusted(path, options)
        if not any(name.endswith('.json') for name in _entries(file)):
            refuse(path, 'it is no exported program', remedy='save it with torch.export.save')
        try:
            program = torch.export.load(io.BytesIO(file.data))
            # constants stay where they were made otherwise
            program = move_to_device_pass(program, options.device)
            self._module = program.module()
        except Exception as error:  # a reader of programs may raise anything
            _refuse_error(path, error, 'torch.export.load')
        self.sha256 = file.sha256

    def __call__(self, pixels: torch.Tensor) -> Outputs:
        """Run on a (1, 3, h, w) input."""
        return _outputs_of(self._module(pixels))


class TorchScript:
    """A file of torch.jit.save."""

    def __init__(self, path: Path, options: ModelOptions) -> None:
        """Load it onto the device; raises ModelError."""
        file = _read_trusted(path, options)
        if not any(name.startswith('code/') for name in _entries(file)):
            refuse(path, 'it holds weights or another archive, no TorchScript',
                   remedy='save the network with torch.jit.save, or export it')
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # that it is deprecated, which the docs say
                self._module = torch.jit.load(
                    io.BytesIO(file.data), map_location=options.device).eval()
        except Exception as error:  # a reader of programs may raise anything
            _refuse_error(path, error, 'torch.jit.load')
        self.sha256 = file.sha256

    def __call__(self, pixels: torch.Tensor) -> Outputs:
        """Run on a (1, 3, h, w) input."""
        return _outputs_of(self._module(pixels))


def _refuse_error(path: Path, error: Exception, reader: str) -> NoReturn:
    cause = (str(error).strip().splitlines() or [''])[0]
    refuse(path, f'{reader} says {type(error).__name__}: {cause}')


def _outputs_of(answer: Any) -> Outputs:
    """Return a tensor, a list of them or a table of them as outputs; raises ValueError."""
    if isinstance(answer, torch.Tensor):
        return Outputs((answer,))
    if isinstance(answer, Mapping):
        names, tensors = tuple(map(str, answer)), tuple(answer.values())
    elif isinstance(answer, Sequence) and not isinstance(answer, str):
        names, tensors = tuple(getattr(answer, '_fields', ())), tuple(answer)
    else:
        raise ValueError(f'it puts out {type(answer).__name__}, expected tensors')
    if not tensors or not all(isinstance(tensor, torch.Tensor) for tensor in tensors):
        raise ValueError('its outputs are nested, expected tensors in one list or table')
    return Outputs(tensors, names)


class OnnxGraph:
    """An .onnx file in ONNX Runtime; weights beside it are read from its own folder only."""

    def __init__(self, path: Path, options: ModelOptions) -> None:
        """Load it; raises ModelError."""
        try:
            import onnx
            import onnxruntime
        except ImportError as error:
            raise ModelError(f'cannot load {path}: {error}; pip install onnx onnxruntime') \
                from None
        file = read_file(path, max_bytes=MAX_GRAPH_BYTES)
        try:
            graph = onnx.load_model_from_string(file.data)
        except Exception:  # the reader of protocol buffers has errors of its own kinds
            refuse(path, 'it is truncated, damaged or no ONNX file')
        if not graph.graph.node:
            refuse(path, 'it is no ONNX file, or its graph is empty')
        beside = _read_beside(path, graph)
        files = {path.name: file, **beside}
        self.sha256 = digest(files) if beside else file.sha256
        check_pin(path, self.sha256, wanted=options.sha256)
        self._device = options.device
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3  # errors, which are raised too
        settings.intra_op_num_threads = torch.get_num_threads()
        if beside:
            settings.add_external_initializers_from_files_in_memory(
                list(beside), [data.data for data in beside.values()],
                [len(data.data) for data in beside.values()])
        providers = providers_for(options.device, onnxruntime.get_available_providers(), path)
        try:
            self._session = onnxruntime.InferenceSession(
                file.data, sess_options=settings, providers=providers)
        except Exception as error:  # its errors have no common base
            _refuse_error(path, error, 'onnxruntime')
        self._input = _only_input(path, self._session.get_inputs())
        self._names = tuple(output.name for output in self._session.get_outputs())

    def __call__(self, pixels: torch.Tensor) -> Outputs:
        """Run on a (1, 3, h, w) input."""
        answers = self._session.run(None, {self._input: pixels.cpu().numpy()})
        if not all(isinstance(answer, np.ndarray) for answer in answers):
            raise ValueError('its outputs are sequences or maps, expected tensors')
        return Outputs(tuple(torch.from_numpy(answer).to(self._device) for answer in answers),
                       self._names)


def providers_for(device: torch.device, available: Sequence[str], name: str | Path) -> list[Any]:
    """Return ONNX Runtime's providers for a device; a GPU that it cannot use is one warning."""
    cpu = 'CPUExecutionProvider'
    if device.type != 'cuda':
        return [cpu]
    if 'CUDAExecutionProvider' not in available:
        _logger.warning(f'{name} runs on the CPU, not on {device}: this onnxruntime has no '
                        'CUDAExecutionProvider; pip install onnxruntime-gpu in its place')
        return [cpu]
    return [('CUDAExecutionProvider', {'device_id': device.index or 0}), cpu]


def _only_input(path: Path, inputs: Sequence[Any]) -> str:
    """Return the name of the input; raises ModelError where there is not exactly one."""
    if len(inputs) != 1:
        refuse(path, f'it has the inputs {", ".join(entry.name for entry in inputs)}, '
                     'expected one: the image', remedy='export it with constants for the others')
    return str(inputs[0].name)


def _read_beside(path: Path, graph: Any) -> dict[str, ModelFile]:
    """Return name -> file of the weights that an ONNX graph keeps outside of its file."""
    names = sorted({_location(path, tensor) for tensor in _tensors(graph)
                    if tensor.data_location == tensor.EXTERNAL})
    try:
        return {name: read_inside(path.parent, name) for name in names}
    except ModelError as error:
        raise ModelError(f'{path} keeps weights in another file: {error}') from None


def _location(path: Path, tensor: Any) -> str:
    """Return the file name that a tensor says it is in."""
    for entry in tensor.external_data:
        if entry.key == 'location':
            return str(entry.value)
    return refuse(path, f'the tensor {tensor.name!r} is in no file')


def _tensors(message: Any) -> Iterator[Any]:
    """Yield every tensor of an ONNX message, at any depth."""
    if message.DESCRIPTOR.name == 'TensorProto':
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if isinstance(value, Sequence) or hasattr(value, 'add') else [value]:
                yield from _tensors(part)


FORMATS: Mapping[str, Any] = {
    '.pt2': ExportedProgram, '.pt': TorchScript, '.ts': TorchScript,
    '.torchscript': TorchScript, '.onnx': OnnxGraph}
"""Suffix -> what loads it."""
