# SPDX-License-Identifier: Apache-2.0
"""Checks what is installed, by pip and by colcon, and what the package says it needs."""

import ast
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ElementTree.parse(ROOT / 'package.xml').getroot()
SOURCES = sorted(
    ROOT / name
    for name in subprocess.run(
        ['git', 'ls-files', '--cached', '--others', '--exclude-standard'],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.splitlines()
    if (ROOT / name).is_file()
)
EXECUTABLES = {'segmentation_node', 'street_camera_node', 'file_camera_node', 'seg_ros'}
ROS_DEPENDENCIES = {d.text for d in MANIFEST.iter('exec_depend')}


def setup_keyword(name: str) -> object:
    """Read a literal argument of setup() without running setup.py."""
    call = next(
        node for node in ast.walk(ast.parse((ROOT / 'setup.py').read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'setup'
    )
    return ast.literal_eval(next(k.value for k in call.keywords if k.arg == name))


def entry_points() -> dict[str, str]:
    """Give the executables of setup.py and where they start."""
    scripts = setup_keyword('entry_points')['console_scripts']
    return dict(re.split(r'\s*=\s*', script) for script in scripts)


def test_setup_and_manifest_have_one_version() -> None:
    assert setup_keyword('version') == MANIFEST.findtext('version')


def test_manifest_has_a_valid_address() -> None:
    # with an invalid one colcon builds the package as plain Python, without a word
    assert re.fullmatch(r'[\w.+-]+@[\w-]+(\.[\w-]+)+', MANIFEST.find('maintainer').get('email'))
    assert setup_keyword('maintainer_email') == MANIFEST.find('maintainer').get('email')


def test_every_executable_is_installed() -> None:
    assert set(entry_points()) == EXECUTABLES
    assert {name for name in EXECUTABLES if (Path(sys.executable).parent / name).is_file()} == (
        EXECUTABLES)


@pytest.mark.parametrize('name', sorted(EXECUTABLES))
def test_every_executable_starts_at_a_function_that_exists(name: str) -> None:
    module, function = entry_points()[name].split(':')
    tree = ast.parse((ROOT / (module.replace('.', '/') + '.py')).read_text())
    assert function in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}


def test_every_ros_package_that_is_imported_is_a_dependency() -> None:
    imported = {
        name.split('.')[0]
        for file in (ROOT / 'seg_ros').rglob('*.py')
        for node in ast.walk(ast.parse(file.read_text()))
        for name in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import)
            else [node.module] if isinstance(node, ast.ImportFrom) else [])
    }
    ros = {n for n in imported if re.fullmatch(r'rclpy|cv_bridge|\w+_(msgs|srvs|interfaces)', n)}
    assert ros <= ROS_DEPENDENCIES


def test_every_python_file_says_its_licence_first() -> None:
    silent = [
        str(file.relative_to(ROOT)) for file in SOURCES
        if file.suffix == '.py' and file.read_text().strip()
        and 'SPDX-License-Identifier: Apache-2.0' not in file.read_text()[:200]
    ]
    assert silent == []


def test_pinned_torch_and_torchvision_are_the_installed_ones() -> None:
    from importlib.metadata import version

    pins = dict(
        line.split('#')[0].strip().split('==')
        for line in (ROOT / 'requirements' / 'run.txt').read_text().splitlines()
        if '==' in line
    )
    assert {name: version(name) for name in pins} == pins


@pytest.fixture(scope='module')
def colcon_prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the package as a user of ROS does, from a copy, and give where it is installed."""
    colcon = Path(sys.executable).parent / 'colcon'
    assert colcon.is_file()
    work = tmp_path_factory.mktemp('colcon')
    for file in SOURCES:
        copy = work / 'src' / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)
    subprocess.run(
        [colcon, '--log-base', work / 'log', 'build', '--packages-select', 'seg_ros']
        + ['--base-paths', work / 'src', '--build-base', work / 'build']
        + ['--install-base', work / 'install'],
        cwd=work, check=True, capture_output=True,
    )
    return work / 'install' / 'seg_ros'


def test_colcon_installs_the_executables_where_ros2_run_looks(colcon_prefix: Path) -> None:
    folder = colcon_prefix / 'lib' / 'seg_ros'
    assert {file.name for file in folder.iterdir()} == EXECUTABLES
    for file in folder.iterdir():
        # colcon's own interpreter would not see torch in the user's environment
        assert file.read_text().startswith('#!/usr/bin/env python3\n')
        assert os.access(file, os.X_OK)


@pytest.mark.parametrize('folder', ['launch', 'config', 'config/nav2'])
def test_colcon_installs_every_launch_and_config_file(colcon_prefix: Path, folder: str) -> None:
    there = (colcon_prefix / 'share' / 'seg_ros' / folder).iterdir()
    installed = {file.name for file in there if file.is_file()}
    assert installed == {f.name for f in SOURCES if f.parent == ROOT / folder}
    assert installed


def test_colcon_installs_every_module_and_all_weights(colcon_prefix: Path) -> None:
    package = next(colcon_prefix.glob('lib/python3*/site-packages/seg_ros'))
    installed = {str(f.relative_to(package)) for f in package.rglob('*') if f.is_file()}
    ours = ROOT / 'seg_ros'
    wanted = {str(f.relative_to(ours)) for f in SOURCES if ours in f.parents}
    assert wanted <= installed


def test_colcon_registers_the_package(colcon_prefix: Path) -> None:
    marker = 'share/ament_index/resource_index/packages/seg_ros'
    assert (colcon_prefix / marker).is_file()
    assert (colcon_prefix / 'share/seg_ros/package.xml').is_file()
