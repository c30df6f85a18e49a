# SPDX-License-Identifier: Apache-2.0
"""A model file is read whole and never run; what is wrong with it is one sentence."""
from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
import pickle
import subprocess
import zipfile

import pytest
from safetensors.torch import save
import torch
from torch import nn

from seg_ros.models import load_model
from seg_ros.models.contract import ModelError, ModelOptions
from seg_ros.models.street_tiny import load
from seg_ros.models.weights import fill, parse_tensors, read_file, read_folder, read_inside

TENSORS = {'weight': torch.arange(6.0).reshape(2, 3), 'bias': torch.zeros(2)}
SAFE = save(TENSORS)


def pth(content: object, *, legacy: bool = False) -> bytes:
    """Return what torch.save writes."""
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w', method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return stream.getvalue()


class Trap:
    """Writes a file when it is unpickled: what a malicious weight file does."""

    def __init__(self, path: Path) -> None:
        """Remember the file."""
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Run a command."""
        return os.system, (f'touch {self.path}',)


def refused(path: Path, read=lambda path: parse_tensors(read_file(path))) -> str:
    """Return the one sentence about a file, which names it and says what helps."""
    with pytest.raises(ModelError) as caught:
        read(path)
    text = str(caught.value)
    assert text.startswith(f'cannot load {path}')
    assert '\n' not in text and len(text) < 600
    assert '; ' in text
    return text


def written(folder: Path, data: bytes, name: str = 'net.pth') -> Path:
    """Write a file, return its path."""
    (folder / name).write_bytes(data)
    return folder / name


@pytest.mark.parametrize('data', [
    SAFE, pth(TENSORS), pth(TENSORS, legacy=True), pth({'model': TENSORS, 'epoch': 3}),
    pth({'state_dict': TENSORS})], ids=['safetensors', 'pth', 'old pth', 'training', 'wrapped'])
def test_tensors_are_read_and_the_hash_is_of_their_file(tmp_path, data):
    file = read_file(written(tmp_path, data))
    assert file.sha256 == hashlib.sha256(data).hexdigest()
    tensors = parse_tensors(file)
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_a_link_that_the_user_names_is_followed(tmp_path):
    (tmp_path / 'link.pth').symlink_to(written(tmp_path, SAFE))
    assert read_file(tmp_path / 'link.pth').data == SAFE


def test_a_pinned_hash_admits_these_bytes_only(tmp_path):
    path = written(tmp_path, SAFE)
    right = hashlib.sha256(SAFE).hexdigest()
    assert read_file(path, sha256=right).sha256 == right
    flipped = written(tmp_path, SAFE[:-1] + bytes([SAFE[-1] ^ 1]))
    text = refused(flipped, lambda path: read_file(path, sha256=right))
    assert right in text and 'give the file that was pinned' in text


def test_a_pin_that_no_file_of_the_model_has_is_refused():
    with pytest.raises(ModelError, match='checkerboard has the sha256 of no file, expected aaaa'):
        load_model('checkerboard', ModelOptions(sha256='a' * 64))
    with pytest.raises(ModelError, match=r'street_tiny\.safetensors of the package: its sha256'):
        load('', ModelOptions(sha256='a' * 64))


@pytest.mark.parametrize(('data', 'reason'), [
    (b'', 'it is empty'),
    (SAFE[:-1], 'no safetensors file'),
    (SAFE[:4], 'no safetensors file'),
    (pth(TENSORS)[:-40], 'it is truncated or damaged'),
    (pth(TENSORS)[:100], 'it is truncated or damaged'),
    (pth(TENSORS, legacy=True)[:-10], 'it is damaged or no .pth of tensors'),
    (pth(TENSORS).replace(TENSORS['weight'].numpy().tobytes(), bytes(24)), 'another checksum'),
    (b'<!DOCTYPE html><html>404</html>', 'it is a web page, not a model'),
    (b'\n<html>', 'it is a web page, not a model'),
    (b'version https://git-lfs.github.com/spec/v1\noid sha256:ab', 'run `git lfs pull`'),
    (pth([1, 2]), 'it is no state_dict'),
    (pth({'a': 1}), 'it is no state_dict'),
    (pth({}), 'it is no state_dict'),
    (bytes(1000), 'no safetensors file'),
])
def test_a_broken_file_is_one_sentence(tmp_path, data, reason):
    assert reason in refused(written(tmp_path, data))


def test_what_is_no_file_is_one_sentence(tmp_path):
    assert 'No such file' in refused(tmp_path / 'missing')
    assert 'it is a folder' in refused(tmp_path)
    os.mkfifo(tmp_path / 'pipe')
    assert 'it is a device or a pipe' in refused(tmp_path / 'pipe')
    assert 'it is a device or a pipe' in refused(Path('/dev/zero'))


@pytest.mark.skipif(os.geteuid() == 0, reason='root reads everything')
def test_a_file_that_may_not_be_read_is_one_sentence(tmp_path):
    path = written(tmp_path, SAFE)
    path.chmod(0)
    assert 'Permission denied' in refused(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = written(tmp_path, SAFE)
    assert 'it has more than 10 bytes' in refused(path, lambda path: read_file(path, max_bytes=10))


def test_a_file_that_was_mended_is_read(tmp_path):
    path = written(tmp_path, b'')
    refused(path)
    written(tmp_path, SAFE)
    assert parse_tensors(read_file(path)).keys() == TENSORS.keys()


def test_tensors_of_another_network_are_one_sentence(tmp_path):
    with pytest.raises(ModelError, match=r'^cannot load net\.pth: it belongs to another network '
                                         r'\(size mismatch for weight.*; give another file$'):
        fill(nn.Linear(3, 4), TENSORS, name='net.pth')
    fill(nn.Linear(3, 2), TENSORS, name='net.pth')


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('wrap', [lambda trap: trap, lambda trap: {**TENSORS, 'x': trap}])
def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path, legacy, wrap):
    ran = tmp_path / 'ran'
    path = written(tmp_path, pth(wrap(Trap(ran)), legacy=legacy))
    text = refused(path)
    assert 'it holds more than tensors' in text and 'not run' in text
    assert 'weights_only' not in text  # no advice to switch the safety off
    assert not ran.exists()


def test_a_bare_pickle_is_refused_and_not_run(tmp_path):
    ran = tmp_path / 'ran'
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        refused(written(tmp_path, pickle.dumps(Trap(ran), protocol)))
    assert not ran.exists()


def test_a_zip_bomb_is_refused_before_it_unpacks(tmp_path):
    zeros = zipped({'archive/data.pkl': bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    assert len(zeros) < 100_000
    assert 'it would unpack to 50000000 bytes' in refused(written(tmp_path, zeros))


def test_tensors_that_claim_more_than_the_file_holds_are_refused(tmp_path):
    huge = json.dumps({'w': {'dtype': 'F32', 'shape': [1 << 20, 1 << 20],
                             'data_offsets': [0, 1 << 42]}}).encode()
    data = len(huge).to_bytes(8, 'little') + huge
    assert 'no safetensors file' in refused(written(tmp_path, data))


def folder_with(root: Path, files: dict[str, bytes]) -> Path:
    """Make a model folder."""
    root.mkdir(parents=True)
    for name, data in files.items():
        (root / name).write_bytes(data)
    return root


def shards() -> dict[str, bytes]:
    """Return the files of a model in two shards."""
    return {
        'config.json': b'{"num_labels": 2}',
        'model.safetensors.index.json': json.dumps({'weight_map': {
            'weight': 'model-1.safetensors', 'bias': 'model-2.safetensors'}}).encode(),
        'model-1.safetensors': save({'weight': TENSORS['weight']}),
        'model-2.safetensors': save({'bias': TENSORS['bias']})}


@pytest.mark.parametrize('files', [
    shards(), {'config.json': b'{"num_labels": 2}', 'model.safetensors': SAFE},
    {'config.json': b'{"num_labels": 2}', 'pytorch_model.bin': pth(TENSORS)}])
def test_a_folder_is_read_whole_and_its_hash_is_what_sha256sum_says(tmp_path, files):
    folder = folder_with(tmp_path / 'net', files)
    (folder / 'README.md').write_text('not read')
    read = read_folder(folder)
    assert read.settings['config.json'] == {'num_labels': 2}
    assert read.tensors.keys() == TENSORS.keys()
    command = f'LC_ALL=C sha256sum {" ".join(sorted(files))} | sha256sum'
    printed = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True,
                             check=True).stdout
    assert read.sha256 == printed.split()[0]
    assert read_folder(folder, sha256=read.sha256).sha256 == read.sha256
    (folder / 'config.json').write_text('{"num_labels": 3}')
    assert 'its sha256 is' in refused(
        folder, lambda path: read_folder(path, sha256=read.sha256))


@pytest.mark.parametrize(('change', 'reason'), [
    ({'config.json': b'{'}, 'it is no JSON'),
    ({'config.json': b'[' * 100_000}, 'it is no JSON'),
    ({'model-2.safetensors': b''}, 'it is empty'),
    ({'model.safetensors.index.json': b'{}'}, 'no weight_map'),
    ({'model.safetensors.index.json': b'{"weight_map": {"bias": 7}}'}, 'no weight_map'),
    ({'model.safetensors.index.json': b'{"weight_map": {"bias": "other.safetensors"}}'},
     'No such file'),
    ({'model.safetensors.index.json': b'{"weight_map": {"bias": "../outside.safetensors"}}'},
     'it leads out of its folder'),
    ({'model.safetensors.index.json': b'{"weight_map": {"bias": "/etc/passwd"}}'},
     'it leads out of its folder'),
])
def test_a_broken_folder_is_one_sentence(tmp_path, change, reason):
    (tmp_path / 'outside.safetensors').write_bytes(SAFE)
    folder = folder_with(tmp_path / 'net', shards() | change)
    with pytest.raises(ModelError, match=reason) as caught:
        read_folder(folder)
    assert str(folder) in str(caught.value) and '\n' not in str(caught.value)


def test_a_folder_without_weights_and_a_missing_one_are_one_sentence(tmp_path):
    assert 'No such file' in refused(tmp_path / 'none', read_folder)
    folder = folder_with(tmp_path / 'net', {'config.json': b'{}'})
    assert 'it has no model.safetensors' in refused(folder, read_folder)


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    outside = written(tmp_path, SAFE)
    folder = folder_with(tmp_path / 'net', {'config.json': b'{}'})
    (folder / 'model.safetensors').symlink_to(outside)
    assert 'it leads out of its folder' in refused(
        folder / 'model.safetensors', lambda path: read_folder(folder))


def test_a_snapshot_of_the_hubs_cache_may_link_to_its_blobs_which_must_be_whole(tmp_path):
    cache = tmp_path / 'models--me--net'
    blobs = folder_with(cache / 'blobs', {hashlib.sha256(SAFE).hexdigest(): SAFE, 'a1': b'{}'})
    snapshot = folder_with(cache / 'snapshots' / 'main', {})
    (snapshot / 'config.json').symlink_to('../../blobs/a1')
    blob = blobs / hashlib.sha256(SAFE).hexdigest()
    (snapshot / 'model.safetensors').symlink_to(f'../../blobs/{blob.name}')
    assert read_folder(snapshot).tensors.keys() == TENSORS.keys()
    blob.write_bytes(SAFE[:-1] + bytes([SAFE[-1] ^ 1]))
    assert f'expected {blob.name}' in refused(
        snapshot / 'model.safetensors', lambda path: read_inside(snapshot, path.name))
