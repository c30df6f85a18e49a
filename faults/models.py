# SPDX-License-Identifier: Apache-2.0
"""Faults of models and their files."""
from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
import io
import json
import os
from pathlib import Path
import pickle
import time
import zipfile

from lifecycle_msgs.msg import Transition
import numpy as np
import onnx
import torch

from faults.line import answered, Bench, chatter, good, Line, noise, Result, Tally
from faults.robot import PATIENCE_S
from seg_ros.models.faulty import mark

_SEED = 11


def not_finite(bench: Bench, count: int) -> Result:
    """H1: NaN or infinity in the logits."""
    process, robot = bench.pair(panoptic_model='faulty')
    rng, tally, labelled = np.random.default_rng(_SEED), Tally(), 0
    for number in bench.steps(count, 'H1'):
        bad = robot.image(mark(noise(rng), ('nan', 'inf')[number % 2]))
        robot.images.publish(bad)
        robot.spin_for(0.003)
        tally.add(good(robot, noise(rng), what=f'the frame after {number}'))
        labelled += answered(robot, bad)
    tally.add(f'{labelled} frames were labelled' if labelled else '')
    # a queue of one: on a busy machine the next frame replaces some before the node sees them
    robot.wait_for_diagnostic('failed.not_finite', lambda text: int(text or 0) >= count // 2)
    tally.add('' if robot.diagnostic_values()['last_error_code'] == 'failed.not_finite'
              else 'diagnostics do not name it')
    tally.add(f'{chatter(process)} error lines came within a second' if chatter(process) else '')
    tally.figures = {'wrong labels': labelled,
                     'seen by the node': int(robot.diagnostic_values()['failed.not_finite'])}
    return tally.result()


def raises(bench: Bench, count: int) -> Result:
    """H2: the model raises, or runs out of memory, three times in a row."""
    # without the patience, a camera that is done publishing would be the next ERROR
    process, robot = bench.pair(panoptic_model='faulty', camera_timeout_s=PATIENCE_S)
    rng, tally, recoveries_ms = np.random.default_rng(_SEED + 1), Tally(), []
    for number in bench.steps(count, 'H2'):
        fault, code = (('raise', 'failed.model'), ('memory', 'failed.memory'))[number % 2]
        before = int(robot.diagnostic_values().get(code, 0))
        bad = [robot.image(mark(noise(rng), fault)) for _ in range(3)]
        for message in bad:
            robot.images.publish(message)
            robot.spin_for(0.01)
        robot.wait_for_diagnostic(code, lambda text, least=before: int(text or 0) > least)
        tally.add('' if robot.diagnostic_values()['level'] == '2' else 'no ERROR')
        started = time.monotonic()
        tally.add(good(robot, noise(rng), what='the next frame'))
        recoveries_ms.append(1e3 * (time.monotonic() - started))
        tally.add('a failed frame was answered' if any(answered(robot, m) for m in bad) else '')
        robot.wait_for_diagnostic('level', '0'.__eq__)
    tally.add(f'{chatter(process)} error lines came within a second' if chatter(process) else '')
    tally.figures = {'recovery p50 ms': round(float(np.median(recoveries_ms)), 1)}
    return tally.result()


def hangs(bench: Bench, count: int) -> Result:
    """H3: the model does not come back."""
    tally, detected_ms = Tally(), []
    for number in bench.steps(count, 'H3'):
        process, robot = bench.pair(panoptic_model='faulty', inference_timeout_s=4.0)
        rng = np.random.default_rng(_SEED + 2 + number)
        tally.add(good(robot, noise(rng), what='the frame before'))
        started = time.monotonic()
        robot.images.publish(robot.image(mark(noise(rng), 'hang')))
        robot.wait_for_diagnostic('code', 'model.hangs'.__eq__)
        detected_ms.append(1e3 * (time.monotonic() - started))
        tally.add('' if robot.diagnostic_values()['level'] == '2' else 'no ERROR')
        tally.add('' if robot.state() == 'active' else 'services do not answer')
        code = process.wait(timeout_s=PATIENCE_S)
        tally.add('' if code == 1 else f'exit code {code}')
        tally.add('' if 'inference_timeout_s = 4.0 s is over' in process.output()
                  else 'the log does not say why')
        robot.close()
    tally.figures = {'detected max ms': round(max(detected_ms))}
    return tally.result()


def device_lost(bench: Bench, count: int) -> Result:
    """H4: a device error that stays."""
    tally, after = Tally(), 0
    for number in bench.steps(count, 'H4'):
        process, robot = bench.pair(panoptic_model='faulty')
        rng = np.random.default_rng(_SEED + 3 + number)
        tally.add(good(robot, noise(rng), what='the frame before'))
        later = [robot.image(mark(noise(rng), 'lost'))] + [
            robot.image(noise(rng)) for _ in range(5)]
        for message in later:
            robot.images.publish(message)
            robot.spin_for(0.01)
        code = process.wait(timeout_s=PATIENCE_S)
        robot.spin_for(0.2)
        after += sum(answered(robot, message) for message in later)
        tally.add('' if code not in (0, None) and code > 0 else f'exit code {code}')
        tally.add('' if 'device cpu is lost' in process.output() else 'the log does not say why')
        robot.close()
    tally.add(f'{after} frames were published after it' if after else '')
    tally.figures = {'frames after the error': after}
    return tally.result()


def model_files(bench: Bench, count: int) -> Result:
    """M1: what can be wrong with a file; a mended one configures. Count: rounds over all."""
    path = bench.folder / 'weights.safetensors'
    robot = bench.robot()
    process = bench.node(panoptic_model='street_tiny', panoptic_weights=str(path),
                         autostart=False)
    tally = Tally()
    whole = files('seg_ros.models').joinpath('weights', 'street_tiny.safetensors').read_bytes()
    for _ in bench.steps(count, 'M1'):
        for name, spoil in _SPOILED.items():
            _remove(path)
            spoil(path, whole)
            said = len(process.output())
            refused = not robot.change_state(Transition.TRANSITION_CONFIGURE)
            sentences = [line for line in process.output()[said:].splitlines()
                         if 'configure failed' in line]
            named = len(sentences) == 1 and str(path) in sentences[0]
            tally.add('' if refused and named and 'Traceback' not in process.output()
                      else f'{name}: refused {refused}, {sentences}')
            _remove(path)
        path.write_bytes(whole)
        mended = robot.change_state(Transition.TRANSITION_CONFIGURE)
        tally.add('' if mended else 'the mended file does not configure')
        robot.change_state(Transition.TRANSITION_CLEANUP)
    tally.figures = {'kinds refused': f'{len(_SPOILED)} kinds'}
    return tally.result()


class _Trap:
    """Writes a file when it is unpickled: what a malicious model does."""

    def __init__(self, path: Path) -> None:
        """Remember the file."""
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Run a command."""
        return os.system, (f'touch {self.path}',)


def hostile_files(bench: Bench, count: int) -> Result:
    """M2: files that would run code, grow without end or read others. Count: rounds over all."""
    robot, tally, executed = bench.robot(), Tally(), 0
    ran = bench.folder / 'ran'
    # programs are allowed here: what keeps these out is that nobody has pinned them
    process = bench.node(autostart=False, allow_executable_models=True)
    hostile = _hostile(bench.folder, _Trap(ran))
    for _ in bench.steps(count, 'M2'):
        for name, (path, parameters) in hostile.items():
            said = len(process.output())
            robot.set_parameters(**{'panoptic_model': '', 'panoptic_weights': '', **parameters})
            refused = not robot.change_state(Transition.TRANSITION_CONFIGURE)
            sentences = [line for line in process.output()[said:].splitlines()
                         if 'configure failed' in line]
            named = len(sentences) == 1 and str(path) in sentences[0]
            tally.add('' if refused and named and not ran.exists()
                      and 'Traceback' not in process.output()
                      else f'{name}: refused {refused}, ran {ran.exists()}, {sentences}')
            executed += ran.exists()
            ran.unlink(missing_ok=True)
    tally.figures = {'files that ran': executed, 'kinds refused': f'{len(hostile)} kinds'}
    return tally.result()


def _hostile(folder: Path, trap: _Trap) -> dict[str, tuple[Path, dict[str, str]]]:
    """Write hostile files; return kind -> the one that is named, the parameters that name it."""
    pickled, bomb = pickle.dumps(trap), io.BytesIO()
    saved = io.BytesIO()
    torch.save({'weight': trap}, saved)
    with zipfile.ZipFile(bomb, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('archive/data.pkl', bytes(200_000_000))
    for name, data in (('bare.pth', pickled), ('saved.pth', saved.getvalue()),
                       ('bomb.pth', bomb.getvalue()), ('pickle.pt2', pickled),
                       ('saved.pt2', saved.getvalue()), ('script.ts', saved.getvalue()),
                       ('out.onnx', _onnx_that_leads_out())):
        (folder / name).write_bytes(data)
    found: dict[str, tuple[Path, dict[str, str]]] = {
        name: (folder / name, {'panoptic_model': 'street_tiny',
                               'panoptic_weights': str(folder / name)})
        for name in ('bare.pth', 'saved.pth', 'bomb.pth')}
    for name in ('pickle.pt2', 'saved.pt2', 'script.ts', 'out.onnx'):
        path = folder / name
        path.with_suffix('.yaml').write_text(
            'classes: [road, car]\ninput: {size: any}\ncontract: semantic_logits\n')
        found[name] = path, {'panoptic_model': str(path)}
    linked = folder / 'linked'
    linked.mkdir()
    (linked / 'config.json').symlink_to('/etc/hostname')
    found['a link out of the folder'] = linked, {'panoptic_model': f'huggingface/{linked}'}
    return found


def _onnx_that_leads_out() -> bytes:
    """Return an ONNX file that says that its weights are in /etc/hostname."""
    weight = onnx.TensorProto(name='w', dims=[1], data_type=onnx.TensorProto.FLOAT,
                              data_location=onnx.TensorProto.EXTERNAL)
    weight.external_data.add(key='location', value='../../etc/hostname')
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node('Add', ['x', 'w'], ['y'])], 'hostile',
        [onnx.helper.make_tensor_value_info('x', onnx.TensorProto.FLOAT, [1, 3, 'h', 'w'])],
        [onnx.helper.make_tensor_value_info('y', onnx.TensorProto.FLOAT, [1, 3, 'h', 'w'])],
        initializer=[weight])
    return onnx.helper.make_model(graph).SerializeToString()


def _remove(path: Path) -> None:
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _other_classes(path: Path, whole: bytes) -> None:
    """Write the file with a class less in its metadata than its tensors have."""
    length = int.from_bytes(whole[:8], 'little')
    header = json.loads(whole[8:8 + length])
    for key, text in header['__metadata__'].items():
        value = json.loads(text) if text[:1] in '[{' else None
        names = value.get('class_names') if isinstance(value, dict) else \
            value if key == 'class_names' else None
        if names:
            del names[0]
            header['__metadata__'][key] = json.dumps(value)
    changed = json.dumps(header).encode()
    path.write_bytes(len(changed).to_bytes(8, 'little') + changed + whole[8 + length:])


def _flipped(path: Path, whole: bytes) -> None:
    """Write the file with one bit of its header flipped: a name or a shape is another."""
    changed = bytearray(whole)
    changed[20] ^= 1
    path.write_bytes(changed)


_SPOILED: dict[str, Callable[[Path, bytes], object]] = {
    'missing': lambda path, whole: None,
    'empty': lambda path, whole: path.write_bytes(b''),
    'truncated': lambda path, whole: path.write_bytes(whole[:len(whole) // 2]),
    'one byte short': lambda path, whole: path.write_bytes(whole[:-1]),
    'bit-flipped header': _flipped,
    'HTML': lambda path, whole: path.write_bytes(b'<!DOCTYPE html><title>404</title>'),
    'pickle': lambda path, whole: path.write_bytes(b'\x80\x04cos\nsystem\n.'),
    'wrong class count': _other_classes,
    'a directory': lambda path, whole: path.mkdir(),
    'a link to nowhere': lambda path, whole: os.symlink('/nowhere', path),
}

LINES = (
    Line('H1', 'NaN or infinity in the logits', 6, 1_000, not_finite),
    Line('H2', 'the model raises or runs out of memory 3 times', 2, 200, raises),
    Line('H3', 'the model hangs', 1, 20, hangs),
    Line('H4', 'the device is lost', 1, 20, device_lost),
    Line('M1', 'ten kinds of bad model file', 1, 10, model_files),
    Line('M2', 'files that would run code, unpack without end or read others', 1, 10,
         hostile_files),
)
