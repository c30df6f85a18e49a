# SPDX-License-Identifier: Apache-2.0
"""Dependencies point one way: every import of the package is walked, lazy ones too."""
from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
import sys

import pytest

import seg_ros

PACKAGE = Path(seg_ros.__file__).parent
LAYERS = {
    'core': {'core'},
    'models': {'core', 'models'},
    'sim': {'core', 'sim'},
    'ros': {'core', 'models', 'sim', 'ros'},
    'tools': {'core', 'models', 'sim', 'tools'},
}
# packages from outside that a layer may import; a layer that is not here may import any but ROS's
OUTSIDE = {'core': {'numpy', 'scipy'}, 'sim': {'numpy', 'cv2'}}
EXTRA = {
    'core/metrics.py': {'pycocotools'},
    'sim/video.py': {'av'},  # recordings as a camera, and H.264 for the demo's film
}
ROS_PACKAGES = {
    'ament_index_python', 'bond', 'bondpy', 'builtin_interfaces', 'cv_bridge', 'diagnostic_msgs',
    'diagnostic_updater', 'geometry_msgs', 'launch', 'launch_ros', 'lifecycle_msgs',
    'message_filters', 'nav_msgs', 'rcl_interfaces', 'rclpy', 'rosbag2_py', 'rosgraph_msgs',
    'rosidl_runtime_py', 'sensor_msgs', 'sensor_msgs_py', 'std_msgs', 'std_srvs', 'tf2_ros',
    'unique_identifier_msgs', 'vision_msgs', 'visualization_msgs',
}


def imports(tree: ast.Module, *, package: str) -> Iterator[tuple[str, bool]]:
    """Yield (absolute module, lazy) of every import in a module of the dotted package."""
    at_top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        lazy = id(node) not in at_top
        if isinstance(node, ast.Import):
            yield from ((alias.name, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                parents = package.split('.')
                base = '.'.join([*parents[:len(parents) - node.level + 1], *filter(None, [base])])
            # `from seg_ros import ros` names a layer only with its alias
            yield from ((f'{base}.{alias.name}', lazy) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith('import_module') \
                and node.args and isinstance(node.args[0], ast.Constant):
            yield str(node.args[0].value), lazy


def wrong_arrows(root: Path) -> list[str]:
    """Return a sentence for each import below the package folder that points the wrong way."""
    found = []
    for path in sorted(root.rglob('*.py')):
        place = path.relative_to(root)
        if len(place.parts) == 1:
            layer, allowed = 'seg_ros', set()
        else:
            layer = place.parts[0]
            allowed = LAYERS.get(layer, set())
        package = '.'.join([root.name, *place.parts[:-1]])
        tree = ast.parse(path.read_text(encoding='utf-8'))
        for module, lazy in imports(tree, package=package):
            top, _, rest = module.partition('.')
            if top == root.name:
                # the package's own name and version belong to no layer
                fine = rest.partition('.')[0] in allowed | {'', '__version__'} or (
                    place.as_posix() == 'tools/doctor.py' and rest.startswith('ros.') and lazy)
            elif top in sys.stdlib_module_names:
                fine = True
            elif top in ROS_PACKAGES or top.endswith(('_msgs', '_srvs', '_interfaces')):
                fine = layer == 'ros'
            else:
                fine = top in OUTSIDE.get(layer, {top}) | EXTRA.get(place.as_posix(), set())
            if not fine:
                found.append(f'{place.as_posix()} imports {module}')
    return found


def test_every_import_points_the_way_of_the_layers():
    assert wrong_arrows(PACKAGE) == []


def test_every_folder_is_a_layer_that_this_test_knows():
    folders = {path.parent.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob('*.py')
               if path.parent != PACKAGE}
    assert folders <= set(LAYERS)


@pytest.mark.parametrize(('place', 'line'), [
    ('core/a.py', 'import torch'),
    ('core/a.py', 'import cv2'),
    ('core/a.py', 'import rclpy'),
    ('core/a.py', 'import pycocotools.mask'),
    ('core/a.py', 'import seg_ros.models.contract'),
    ('core/a.py', 'from seg_ros.models import contract'),
    ('core/a.py', 'from seg_ros import ros'),
    ('core/a.py', 'from ..models import contract'),
    ('core/a.py', 'from .. import models'),
    ('core/deep/a.py', 'from ...models import contract'),
    ('core/a.py', 'def f():\n    import torch'),
    ('core/a.py', 'def f():\n    from ..ros import messages'),
    ('core/a.py', 'try:\n    import torch\nexcept ImportError:\n    pass'),
    ('models/a.py', 'import rclpy'),
    ('models/a.py', 'from sensor_msgs.msg import Image'),
    ('models/a.py', 'from my_own_msgs.msg import Thing'),
    ('models/a.py', 'from seg_ros.sim.street import Street'),
    ('models/a.py', 'def f():\n    from seg_ros.ros import messages'),
    ('models/a.py', "import importlib\nimportlib.import_module('seg_ros.ros.messages')"),
    ('sim/a.py', 'import torch'),
    ('sim/a.py', 'import scipy'),
    ('sim/a.py', 'from seg_ros.models import load_model'),
    ('ros/a.py', 'from seg_ros.tools import main'),
    ('tools/a.py', 'import rclpy'),
    ('tools/a.py', 'def f():\n    from seg_ros.ros import messages'),
    ('tools/doctor.py', 'from seg_ros.ros import messages'),  # not lazy
    ('a.py', 'from seg_ros.core import types'),  # the package itself imports nothing
])
def test_an_arrow_that_points_the_wrong_way_is_found(tmp_path, place, line):
    assert len(wrong_arrows(made_up(tmp_path, place=place, line=line))) == 1


@pytest.mark.parametrize(('place', 'line'), [
    ('core/a.py', 'import numpy as np\nfrom scipy.ndimage import label\nimport json'),
    ('core/a.py', 'from .types import VOID\nfrom . import types'),
    ('core/metrics.py', 'def f():\n    import pycocotools.mask'),
    ('ros/a.py', 'import seg_ros\nfrom seg_ros import __version__'),
    ('models/a.py', 'import torch\nfrom seg_ros.core import types\nfrom ..core import types'),
    ('sim/a.py', 'import cv2\nimport numpy\nfrom seg_ros.core.types import Frame'),
    ('ros/a.py', 'from sensor_msgs.msg import Image\nfrom seg_ros.sim import street'),
    ('tools/a.py', 'from seg_ros.models import load_model\nfrom seg_ros.sim import street'),
    ('tools/doctor.py', 'def f():\n    from seg_ros.ros import messages'),
])
def test_an_arrow_that_points_the_right_way_is_left_alone(tmp_path, place, line):
    assert wrong_arrows(made_up(tmp_path, place=place, line=line)) == []


def made_up(folder: Path, *, place: str, line: str) -> Path:
    """Write one module into an otherwise empty seg_ros; return the package's folder."""
    path = folder / 'seg_ros' / place
    path.parent.mkdir(parents=True)
    path.write_text(line + '\n', encoding='utf-8')
    return folder / 'seg_ros'
