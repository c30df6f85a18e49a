# SPDX-License-Identifier: Apache-2.0
"""Checks the set-up's decisions: what the machine lacks, what is redone, what is mended."""

import importlib.util
from pathlib import Path
import sys

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Load the set-up script and let it work in an empty folder."""
    path = ROOT / 'tools' / 'ros_from_pip' / 'setup.py'
    spec = importlib.util.spec_from_file_location('set_up_under_test', path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, 'VENV', tmp_path / '.venv')
    monkeypatch.setattr(module, 'STAMPS', tmp_path / '.venv' / '.setup')
    (tmp_path / '.venv').mkdir()
    return module


def a_step(setup, ran: list[str], name: str, inputs: bytes = b'', done: bool = True):
    """Make a step that only notes that it ran."""
    return setup.Step(name, name, lambda: inputs, lambda: ran.append(name), lambda: done)


def test_this_machine_lacks_nothing(setup) -> None:
    setup.require_machine()


def test_one_sentence_names_everything_that_is_missing(setup, monkeypatch) -> None:
    monkeypatch.setattr(setup.platform, 'machine', lambda: 'aarch64')
    monkeypatch.setattr(setup.shutil, 'which', lambda tool: None if tool == 'g++' else tool)
    monkeypatch.setattr(setup.sysconfig, 'get_path', lambda *_: '/nowhere')
    with pytest.raises(setup.SetupError) as caught:
        setup.require_machine()
    sentence = str(caught.value)
    for part in ('x86-64 Linux (it is aarch64 Linux)', 'g++', "Python's headers"):
        assert part in sentence
    assert '\n' not in sentence


@pytest.mark.parametrize('version', [(3, 10, 9), (3, 15, 0)])
def test_an_unsupported_python_is_refused(setup, monkeypatch, version) -> None:
    monkeypatch.setattr(setup.sys, 'version_info', version)
    with pytest.raises(setup.SetupError, match=r'Python 3\.11 to 3\.14'):
        setup.require_machine()


def test_a_second_run_does_nothing(setup, monkeypatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(setup, 'all_steps', lambda: [a_step(setup, ran, 'a')])
    setup.set_up()
    setup.set_up()
    assert ran == ['a']


def test_only_the_step_whose_input_changed_is_redone(setup, monkeypatch) -> None:
    ran: list[str] = []
    for text in (b'old', b'new'):
        steps = [a_step(setup, ran, 'a'), a_step(setup, ran, 'b', inputs=text)]
        monkeypatch.setattr(setup, 'all_steps', lambda steps=steps: steps)
        setup.set_up()
    assert ran == ['a', 'b', 'b']


def test_a_step_that_failed_is_run_again(setup, monkeypatch) -> None:
    ran: list[str] = []

    def fail() -> None:
        raise setup.SetupError('torn')

    failing = setup.Step('a', 'a', lambda: b'', fail, lambda: True)
    monkeypatch.setattr(setup, 'all_steps', lambda: [failing])
    with pytest.raises(setup.SetupError):
        setup.set_up()
    monkeypatch.setattr(setup, 'all_steps', lambda: [a_step(setup, ran, 'a')])
    setup.set_up()
    assert ran == ['a']


def test_a_step_whose_result_was_removed_is_run_again(setup, monkeypatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(setup, 'all_steps', lambda: [a_step(setup, ran, 'a', done=False)])
    setup.set_up()
    setup.set_up()
    assert ran == ['a', 'a']


def test_a_package_that_pip_left_half_written_is_forgotten(setup) -> None:
    packages = setup.site_packages()
    for name in ('whole-1.0.dist-info', 'torn-1.0.dist-info', '~eftover'):
        (packages / name).mkdir(parents=True)
    (packages / 'whole-1.0.dist-info' / 'RECORD').touch()
    setup.remove_torn_packages()
    assert [file.name for file in packages.iterdir()] == ['whole-1.0.dist-info']


def test_cmake_files_of_the_wheels_are_pointed_at_this_machine(setup) -> None:
    file = setup.VENV / 'share' / 'a' / 'a.cmake'
    file.parent.mkdir(parents=True)
    built_at = '/builder/python/cp311-cp311'
    file.write_text(f'{built_at}/include/python3.11;{built_at}/lib/python3.11/site-packages/numpy')
    setup.point_cmake_files_here()
    include = setup.sysconfig.get_path('include')
    assert file.read_text() == f'{include};{setup.site_packages()}/numpy'


def test_every_pin_agrees_with_the_constraints() -> None:
    folder = ROOT / 'requirements'
    pins = {
        line.split('#')[0].strip().split('[')[0].lower().replace('_', '-').split('==')[0]:
        line.split('#')[0].strip().split('==')[1]
        for name in ('run', 'dev', 'ros')
        for line in (folder / f'{name}.txt').read_text().splitlines() if '==' in line
    }
    lines = (folder / 'constraints.txt').read_text().splitlines()
    constraints = dict(line.split('==') for line in lines if '==' in line)
    assert {name: constraints[name] for name in pins} == pins
