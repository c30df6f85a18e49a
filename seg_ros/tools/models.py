# SPDX-License-Identifier: Apache-2.0
"""`seg_ros models`: what can be run; and the pipeline that a command's options ask for."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Sequence

import yaml

from seg_ros.core.config import Config, config_from
from seg_ros.models import available_models, exported, is_path
from seg_ros.models.contract import ALL_TASKS, ModelInfo, Task
from seg_ros.models.pipeline import Pipeline


def run(options: Namespace) -> int:
    """Print one line a model."""
    print(models_table(available_models()))
    return 0


def models_table(models: Sequence[ModelInfo]) -> str:
    """Return a table for people."""
    rows = [('model', 'tasks', 'parameters', 'licence', '')]
    for info in models:
        tasks = 'all three' if info.tasks == ALL_TASKS else ', '.join(sorted(info.tasks))
        rows.append((info.spec, tasks, size_text(info.parameters), info.license, info.summary))
    return '\n'.join(_aligned(rows))


def size_text(parameters: int) -> str:
    """Return a count of parameters for people: `0.94 M`."""
    return f'{parameters / 1e6:.2f} M' if parameters else 'none'


def _aligned(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Pad each column to its widest text."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield '  '.join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip()


def pipeline_from(options: Namespace) -> Pipeline:
    """Load what `--model`, `--weights`, `--device` and `-p` ask for; raise ModelError."""
    return Pipeline(config_of(options))


def config_of(options: Namespace) -> Config:
    """Return the node's configuration for a command's options."""
    task = _task_of(options.model)
    return config_from(
        {
            'device': options.device,
            f'{task}_model': options.model,
            f'{task}_weights': options.weights,
            **assignments(options.parameters),
        }
    )


def _task_of(spec: str) -> Task:
    """Return the widest task that a model serves; a model that nobody lists is panoptic."""
    listed = (info.tasks for info in available_models() if info.spec == spec)
    tasks = exported.tasks_of(spec) if is_path(spec) else next(listed, ALL_TASKS)
    return next(task for task in (Task.PANOPTIC, Task.SEMANTIC, Task.INSTANCE) if task in tasks)


def assignments(texts: Iterable[str]) -> dict[str, object]:
    """Return the parameters of `NAME=VALUE` texts, the last of a name; raises ValueError."""
    return dict(_assignment(text) for text in texts)


def _assignment(text: str) -> tuple[str, object]:
    """Split `name=value`; the value is YAML, as in `ros2 run ... -p name:=value`."""
    name, equals, value = text.partition('=')
    if not equals:
        raise ValueError(f'cannot read parameter {text!r}, expected NAME=VALUE')
    try:
        return name.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ValueError(f'cannot read parameter {text!r}, expected a YAML value') from error
