# SPDX-License-Identifier: Apache-2.0
"""Reads model files: hashed as they are parsed, never run, and refused with one sentence."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import hashlib
import io
import json
from pathlib import Path
import re
import stat
from typing import Any, NoReturn
import zipfile

from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
import torch
from torch import nn

from seg_ros.models.contract import ModelError

MAX_BYTES = 16 << 30
"""A larger file is refused before it is read."""

REMEDY = 'give another file'

_ZIP = b'PK\x03\x04'
_HUB_SNAPSHOT = 'snapshots'


@dataclass(frozen=True, eq=False)
class ModelFile:
    """The bytes of a file, read once: what was hashed is what is parsed."""

    name: str  # as the user gave it, for sentences
    data: bytes
    sha256: str  # of data


@dataclass(frozen=True, eq=False)
class ModelFolder:
    """A folder of settings and weights, as transformers saves it."""

    settings: Mapping[str, Any]  # file name -> parsed JSON, such as config.json
    tensors: Mapping[str, torch.Tensor]
    sha256: str  # of the lines that `sha256sum FILES` prints, files sorted by name


def refuse(name: str | Path, reason: str, *, remedy: str = REMEDY) -> NoReturn:
    """Raise the ModelError about a file: its name, the reason on one line, what helps."""
    one_line = ' '.join(reason.split())[:300]
    raise ModelError(f'cannot load {name}: {one_line}; {remedy}')


def read_file(path: str | Path, *, sha256: str = '', remedy: str = REMEDY,
              max_bytes: int = MAX_BYTES) -> ModelFile:
    """Read a whole file; raises ModelError where it cannot be a model.

    That is: missing, a folder or a device, unreadable, empty, too large, a web page, the stand-in
    of Git LFS, or not the bytes that `sha256` (64 hexadecimal digits, empty = any) pins.
    """
    try:
        data = _read_regular(Path(path), max_bytes)
    except (OSError, ValueError) as error:
        refuse(path, getattr(error, 'strerror', None) or str(error), remedy=remedy)
    return file_of(data, name=str(path), sha256=sha256, remedy=remedy)


def file_of(data: bytes, *, name: str, sha256: str = '', remedy: str = REMEDY) -> ModelFile:
    """Wrap bytes that were read already; raises ModelError as `read_file` does."""
    if stranger := _stranger(data):
        refuse(name, stranger, remedy=remedy)
    file = ModelFile(name=name, data=data, sha256=hashlib.sha256(data).hexdigest())
    check_pin(name, file.sha256, wanted=sha256)
    return file


def check_pin(name: str | Path, sha256: str, *, wanted: str) -> None:
    """Raise ModelError unless the sha256 begins with what is wanted; empty wants nothing."""
    if not sha256.startswith(wanted.lower()):
        refuse(name, f'its sha256 is {sha256}, expected {wanted.lower()}',
               remedy='give the file that was pinned, or pin this one if you trust it')


def _read_regular(path: Path, max_bytes: int) -> bytes:
    """Return the bytes of a regular file; raises OSError or ValueError."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise ValueError('it is a folder, expected a file')
    # reading a pipe would wait for a writer for ever
    if not stat.S_ISREG(mode):
        raise ValueError('it is a device or a pipe, expected a file')
    with path.open('rb') as stream:
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f'it has more than {max_bytes} bytes')
    return data


def _stranger(data: bytes) -> str:
    """Return why bytes are certainly no model, empty where they may be one."""
    head = data[:200].lstrip().lower()
    if not data:
        return 'it is empty'
    if head.startswith((b'<!doctype', b'<html', b'<?xml')):
        return 'it is a web page, not a model: the download went wrong'
    if head.startswith(b'version https://git-lfs'):
        return 'it is the stand-in of Git LFS, not the model: run `git lfs pull`'
    return ''


def parse_tensors(file: ModelFile, *, remedy: str = REMEDY) -> dict[str, torch.Tensor]:
    """Return name -> tensor of a safetensors file or of a .pth that holds nothing else.

    A .pth is a pickle: it is read by torch's `weights_only` reader, which makes tensors and
    refuses everything that would run. Raises ModelError.
    """
    if file.data.startswith(_ZIP) or file.data.startswith(b'\x80'):
        return _parse_pickled(file, remedy=remedy)
    try:
        return parse_safetensors(file.data)
    except SafetensorError as error:
        refuse(file.name, f'it is no safetensors file and no .pth ({error})', remedy=remedy)


def _parse_pickled(file: ModelFile, *, remedy: str) -> dict[str, torch.Tensor]:
    if file.data.startswith(_ZIP):
        check_zip(file, remedy=remedy)
    try:
        content = torch.load(io.BytesIO(file.data), map_location='cpu', weights_only=True)
    except Exception as error:  # a broken pickle may raise anything
        # torch's own text advises to switch the safety off
        unsafe = re.search(r'(?:GLOBAL|Unsupported \w+) [\w.]+', str(error))
        refuse(file.name, f'it holds more than tensors ({unsafe[0]}), and is not run' if unsafe
               else f'it is damaged or no .pth of tensors ({type(error).__name__})',
               remedy='save only the state_dict, best as safetensors')
    for wrapper in ('state_dict', 'model'):  # as training scripts save it
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content or not all(
            isinstance(name, str) and isinstance(value, torch.Tensor)
            for name, value in content.items()):
        refuse(file.name, 'it is no state_dict (names with tensors)', remedy=remedy)
    return dict(content)


def check_zip(file: ModelFile, *, remedy: str = REMEDY, room: int = 0) -> None:
    """Raise ModelError where an archive is damaged or would unpack to more than it holds.

    `room` is how many bytes more may come out of it, where parts of it are compressed.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(file.data)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
            # torch never compresses weights: a sum beyond the file is a bomb
            if unpacked > len(file.data) + room:
                refuse(file.name, f'it would unpack to {unpacked} bytes from {len(file.data)}',
                       remedy=remedy)
            broken = archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError,
            ValueError, OSError) as error:
        refuse(file.name, f'it is truncated or damaged ({error})', remedy=remedy)
    if broken:
        refuse(file.name, f'it is damaged: {broken} has another checksum', remedy=remedy)


def fill(network: nn.Module, tensors: Mapping[str, torch.Tensor], *, name: str | Path,
         remedy: str = REMEDY) -> None:
    """Copy tensors into a network; raises ModelError where names or shapes do not fit."""
    try:
        network.load_state_dict(dict(tensors))
    except RuntimeError as error:
        # the second line is the first tensor that does not fit
        first = (str(error).splitlines()[1:] or [str(error)])[0].strip()
        refuse(name, f'it belongs to another network ({first})', remedy=remedy)


def read_folder(folder: str | Path, *, sha256: str = '') -> ModelFolder:
    """Read a model folder: every *.json, and the weights in one file or in shards.

    Weights are model.safetensors, the shards that model.safetensors.index.json names, or
    pytorch_model.bin, in this order. No file may lie outside of the folder (a snapshot of the
    hub's cache may link to the blobs beside it). Raises ModelError.
    """
    folder = Path(folder)
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        refuse(folder, error.strerror or str(error))
    texts = {name: read_inside(folder, name) for name in names if name.endswith('.json')}
    settings = {name: _parse_json(file) for name, file in texts.items()}
    weights = {name: read_inside(folder, name)
               for name in _weight_files(folder, names, settings)}
    found = digest({**texts, **weights})
    check_pin(folder, found, wanted=sha256)
    tensors: dict[str, torch.Tensor] = {}
    for file in weights.values():
        tensors.update(parse_tensors(file))
    return ModelFolder(settings=settings, tensors=tensors, sha256=found)


def read_inside(folder: Path, name: str, *, max_bytes: int = MAX_BYTES) -> ModelFile:
    """Read a file of a folder that must not lead out of it, by its name or by a link."""
    path = folder / name
    # the hub's cache: NAME/snapshots/REVISION/file -> NAME/blobs/hash
    root = folder.resolve()
    if root.parent.name == _HUB_SNAPSHOT:
        root = root.parent.parent
    target = path.resolve()
    if not target.is_relative_to(root):
        refuse(f'{folder}/{name}', f'it leads out of its folder, to {target}',
               remedy='put the file itself into the folder')
    # the hub names large blobs by their sha256
    blob = target.name if re.fullmatch('[0-9a-f]{64}', target.name) else ''
    return read_file(path, sha256=blob, max_bytes=max_bytes)


def _parse_json(file: ModelFile) -> Any:
    try:
        return json.loads(file.data)
    except (ValueError, RecursionError) as error:
        refuse(file.name, f'it is no JSON ({error})')


def _weight_files(folder: Path, names: list[str], settings: Mapping[str, Any]) -> list[str]:
    """Return the names of a folder's weight files, sorted."""
    index = 'model.safetensors.index.json'
    if 'model.safetensors' in names:
        return ['model.safetensors']
    if index in settings:
        shards = settings[index].get('weight_map') if isinstance(settings[index], dict) else None
        if not isinstance(shards, dict) or not all(
                isinstance(shard, str) for shard in shards.values()):
            refuse(folder / index, 'it has no weight_map of tensor -> file')
        return sorted(set(shards.values()))
    if 'pytorch_model.bin' in names:
        return ['pytorch_model.bin']
    refuse(folder, f'it has no model.safetensors, {index} or pytorch_model.bin')


def digest(files: Mapping[str, ModelFile]) -> str:
    """Return the sha256 of what `sha256sum FILES` prints, sorted by name."""
    lines = ''.join(f'{files[name].sha256}  {name}\n' for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()
