# SPDX-License-Identifier: Apache-2.0
"""Faults of parameters: at random while the node runs, misspelt, strangers."""
from __future__ import annotations

from typing import Any

import numpy as np
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from faults.line import Bench, Line, noise, Result, Tally
from faults.robot import PATIENCE_S, Robot
from seg_ros.core.config import Config, config_from, PARAMETERS, parse_size, value_of
from seg_ros.core.panoptic import resize
from seg_ros.models.pipeline import Pipeline

_SEED = 19
_FIXED = {parameter.name for parameter in PARAMETERS if parameter.fixed}
_VALUES: dict[str, list[Any]] = {
    'score_threshold': [0.0, 0.7, 0.9, 1.0, 1.5, -0.1, float('nan'), float('inf'), 'high'],
    'min_area': [0, 3, 20, -1, 2.5, True],
    'overlap_threshold': [0.0, 0.5, 2.0, float('nan')],
    'output_size': ['', '16x12', '7x5', 'large', '0x5', '99999x99999', 3],
    'classes': [['ball'], ['wall,plant=obstacle', 'box', 'ball'], ['graund'], ['box', 'box'],
                ['wall,ball=thing'], ['']],
    'confidence': [True, False, 'yes'],
    'foreground_classes': [['ball'], ['moon'], ['box', 'ball']],
    'panoptic_encoding': ['class_high', 'cityscapes', 'instance_high', 'zip'],
    'detection_class_id': ['name', 'number', 'text'],
    'overlay_jpeg_quality': [1, 100, 0, 101],
    'max_rate_hz': [0.0, -1.0, float('nan')],
    'tracking.max_lost_s': [0.0, 60.0, 61.0],
    'panoptic_model': ['street_tiny', 'checkerboard'],
    'device': ['cpu', 'auto', 'cuda:7'],
    'queue_depth': [5, 2, 9],
    'cameras': [['front']],
    'threads': [1, 0, 512],
    'image_transport': ['compressed', 'raw'],
}


def random_sets(bench: Bench, count: int) -> Result:
    """PA1: one to three parameters at a time, good and bad; the next frame shows which."""
    process, robot = bench.pair({'semantic/image_raw': Image, 'instances': Detection2DArray},
                                panoptic_model='checkerboard', device='cpu')
    rng, tally, accepted = np.random.default_rng(_SEED), Tally(), 0
    config = Config(panoptic_model='checkerboard', device='cpu')
    pipeline = Pipeline(config)
    for number in bench.steps(count, 'PA1'):
        names = rng.choice([*_VALUES], size=int(rng.integers(1, 4)), replace=False)
        values = {str(name): _VALUES[name][int(rng.integers(len(_VALUES[name])))]
                  for name in names}
        wanted = _after(config, values, pipeline)
        success, reason = robot.set_parameters(
            **{name.replace('.', '__'): value for name, value in values.items()})
        if success != (wanted is not None):
            tally.add(f'set {number} {values}: success {success}, {reason!r}')
        elif not success and not reason:
            tally.add(f'set {number} {values}: refused without a reason')
        else:
            tally.add()
        if success and wanted is not None:
            config, accepted = wanted, accepted + 1
            pipeline.apply(config)
        tally.add(_shown(robot, pipeline, config, noise(rng), what=f'after set {number}'))
    tally.add('' if process.popen.poll() is None else 'the process ended')
    tally.figures = {'accepted': accepted, 'refused': count - accepted,
                     'violations': tally.tried - tally.passed}
    return tally.result()


def _after(config: Config, values: dict[str, Any], pipeline: Pipeline) -> Config | None:
    """Return the configuration that a set must lead to, None where it must be refused."""
    known = {parameter.name: value_of(config, parameter.name) for parameter in PARAMETERS}
    if any(name in _FIXED and (value if not isinstance(value, list) else tuple(value))
           != known[name] for name, value in values.items()):
        return None
    try:
        wanted = config_from(known | values)
        pipeline.classes_of(wanted)
    except ValueError:
        return None
    return wanted


def _shown(robot: Robot, pipeline: Pipeline, config: Config, picture: np.ndarray[Any, Any], *,
           what: str) -> str:
    """Return how the next frame differs from what the configuration asks for."""
    expected = pipeline.segment(picture)
    if size := parse_size(config.output_size):
        expected = resize(expected, width=size[0], height=size[1])
    answer = robot.ask(robot.image(picture), timeout_s=PATIENCE_S)
    names = pipeline.label_set.names
    texts = [names[i] if config.detection_class_id == 'name' else str(i)
             for i in expected.instances.class_ids]
    found = [d.results[0].hypothesis.class_id for d in answer.messages['instances'].detections]
    if not np.array_equal(answer.pixels('semantic/image_raw'), expected.class_map):
        return f'{what}: classes are not those of {config}'
    return '' if found == texts else f'{what}: instances {found}, expected {texts}'


def misspelt(bench: Bench, count: int) -> Result:
    """PA2: a parameter with a letter less; a stranger from a file for all nodes."""
    rng, tally = np.random.default_rng(_SEED + 1), Tally()
    names = [parameter.name for parameter in PARAMETERS if len(parameter.name) > 5]
    started = []
    for _ in bench.steps(count, 'PA2'):
        name = str(rng.choice(names))
        place = int(rng.integers(1, len(name)))
        wrong = name[:place] + name[place + 1:]
        if wrong in names or wrong.startswith('.') or '..' in wrong or wrong.endswith('.'):
            wrong = name + 'x'
        process = bench.launch('segmentation_node', parameters={wrong: 1})
        code = process.wait(timeout_s=PATIENCE_S)
        told = f"unknown parameter '{wrong}', did you mean '" in process.output()
        started.append(wrong)
        tally.add('' if code == 1 and told and 'Traceback' not in process.output()
                  else f'{wrong}: code {code}, {process.output()[-200:]!r}')
    process, robot = bench.pair(panoptic_model='checkerboard', wheel_radius=0.2)
    stranger = "parameter 'wheel_radius' is not one of this node, ignored"
    tally.add('' if stranger in process.output() else 'a stranger is not told')
    robot.close()
    tally.figures = {'misspelt': len(started)}
    return tally.result()


LINES = (
    Line('PA1', 'random parameter sets while it runs', 60, 5_000, random_sets),
    Line('PA2', 'misspelt parameters; a stranger', 1, 40, misspelt),
)
