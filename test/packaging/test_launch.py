# SPDX-License-Identifier: Apache-2.0
"""Compares what launch files name with what there is; runs them where launch is installed."""

import ast
import importlib.util
from pathlib import Path
import re

import pytest
import yaml

from seg_ros.core.config import PARAMETERS

ROOT = Path(__file__).resolve().parents[2]
LAUNCH_FILES = sorted((ROOT / 'launch').glob('*.launch.py'))
SETUP = (ROOT / 'setup.py').read_text()


def keyword_values(file: Path, name: str) -> list[str]:
    """Give the literal text of every keyword argument of this name."""
    return [
        node.value.value for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.keyword) and node.arg == name
        and isinstance(node.value, ast.Constant)
    ]


def literal(file: Path, name: str) -> ast.expr:
    """Give the expression that a name of the module is bound to."""
    return next(
        node.value for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.Assign) and node.targets[0].id == name
    )


def node_parameters() -> dict[str, str]:
    """Give the node parameters of segmentation.launch.py with the names of their types."""
    table = literal(ROOT / 'launch' / 'segmentation.launch.py', 'NODE_PARAMETERS')
    return {k.value: v.elts[0].id for k, v in zip(table.keys, table.values, strict=True)}


@pytest.mark.parametrize('file', LAUNCH_FILES, ids=lambda file: file.name)
def test_every_executable_is_one_of_ours_or_of_rviz(file: Path) -> None:
    executables = set(keyword_values(file, 'executable'))
    assert executables
    assert executables <= {*re.findall(r"'(\w+) = ", SETUP), 'rviz2'}


@pytest.mark.parametrize('file', LAUNCH_FILES, ids=lambda file: file.name)
def test_every_file_that_is_named_exists(file: Path) -> None:
    paths = re.findall(r"\[share, '(\w+)', '([\w.]+)'\]", file.read_text())
    assert [p for p in paths if not ROOT.joinpath(*p).is_file()] == []


def test_every_parameter_is_one_of_the_node_and_of_its_type() -> None:
    known = {parameter.name: type(parameter.default).__name__ for parameter in PARAMETERS}
    wanted = node_parameters()
    assert {name: known.get(name) for name in wanted} == wanted


@pytest.mark.parametrize('file', sorted((ROOT / 'config').glob('*.yaml')), ids=lambda f: f.name)
def test_every_parameter_of_a_config_file_is_known(file: Path) -> None:
    known = {parameter.name for parameter in PARAMETERS}
    for node, content in yaml.safe_load(file.read_text()).items():
        if 'camera_node' not in node:
            assert set(flat(content['ros__parameters'])) <= known


def flat(values: dict, prefix: str = '') -> list[str]:
    """Join nested names with dots."""
    names: list[str] = []
    for name, value in values.items():
        path = prefix + name
        names += flat(value, f'{path}.') if isinstance(value, dict) else [path]
    return names


def test_the_rviz_layout_shows_image_and_overlay() -> None:
    layout = yaml.safe_load((ROOT / 'config' / 'seg_ros.rviz').read_text())
    displays = layout['Visualization Manager']['Displays']
    assert {'/image', '/overlay/image_raw'} <= {d['Topic']['Value'] for d in displays}


@pytest.mark.parametrize('file', LAUNCH_FILES, ids=lambda file: file.name)
def test_the_launch_file_describes_its_nodes(file: Path) -> None:
    for module in ('launch.actions', 'launch_ros.actions'):
        pytest.importorskip(module, reason='launch and launch_ros are not on PyPI')
    assert load(file).generate_launch_description().entities


def test_only_the_arguments_that_were_given_become_parameters() -> None:
    launch = pytest.importorskip('launch', reason='launch is not on PyPI')
    for module in ('launch.actions', 'launch_ros.actions'):
        pytest.importorskip(module, reason='launch and launch_ros are not on PyPI')
    from launch_ros.utilities import evaluate_parameters

    segmentation = load(ROOT / 'launch' / 'segmentation.launch.py')
    context = launch.LaunchContext()
    for name, (default, _) in segmentation.ARGUMENTS.items():
        context.launch_configurations[name] = default
    for name in segmentation.NODE_PARAMETERS:
        context.launch_configurations[name] = ''
    context.launch_configurations.update(panoptic_model='street_tiny', autostart='false')
    (node,) = segmentation.make_node(context)
    parameters = evaluate_parameters(context, node._Node__parameters)
    assert parameters == ({'panoptic_model': 'street_tiny', 'autostart': False},)


def load(file: Path):
    """Import a launch file, whose name no import statement can say."""
    spec = importlib.util.spec_from_file_location(file.stem.replace('.', '_'), file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
