# SPDX-License-Identifier: Apache-2.0
"""Finds models: by family, a module here each, named before the slash; or by a file's path."""
from __future__ import annotations

from importlib import import_module
from pathlib import PurePath
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seg_ros.models.contract import Model, ModelInfo, ModelOptions

_HELPERS = frozenset({
    'acceleration', 'agreement', 'contract', 'exported', 'hub', 'own', 'pipeline', 'postprocess',
    'postprocess_labels', 'postprocess_queries', 'postprocess_windows', 'side_by_side', 'weights'})

FILE_SUFFIXES = ('.onnx', '.pt2', '.pt', '.ts', '.torchscript')
"""What a file that the user brings ends with."""

_PATH_STARTS = ('/', './', '../', '~')


def families() -> tuple[str, ...]:
    """Return the names of the families in this package."""
    return tuple(sorted(module.name for module in iter_modules(__path__)
                        if module.name not in _HELPERS))


def available_models() -> tuple[ModelInfo, ...]:
    """Return what can be run, family by family."""
    return tuple(info for family in families() for info in _family(family).MODELS)


def is_path(spec: str) -> bool:
    """Return whether a spec stands for a file of the user's; a family's name comes first."""
    if spec.partition('/')[0] in families():
        return False
    return spec.startswith(_PATH_STARTS) or _is_model_file(spec)


def _is_model_file(path: str) -> bool:
    return PurePath(path).suffix.lower() in FILE_SUFFIXES


def load_model(spec: str, options: ModelOptions) -> Model:
    """Load the model that `family`, `family/name` or the path of a file stands for.

    Raises ModelError with one sentence where there is no such thing or it does not load.
    """
    from seg_ros.models.contract import ModelError

    model = _load(spec, options)
    if options.sha256 and model.sha256 != options.sha256:
        raise ModelError(f'{spec} has the sha256 {model.sha256 or "of no file"}, '
                         f'expected {options.sha256}: pin what it has, or leave the pin empty')
    return model


def _load(spec: str, options: ModelOptions) -> Model:
    """Let the family or the reader of files load a spec."""
    from seg_ros.models.contract import ModelError

    family, _, name = spec.partition('/')
    if family in families():
        model: Model = _family(family).load(name, options)
        return model
    if is_path(spec) and _is_model_file(spec):
        from seg_ros.models import exported
        return exported.load(spec, options)
    raise ModelError(f'unknown model {spec!r}, expected one of '
                     f'{", ".join(info.spec for info in available_models())}, or a file that '
                     f'ends with {", ".join(FILE_SUFFIXES)}')


def _family(name: str) -> ModuleType:
    """Import a family only when it is asked for: torchvision and the like are slow to import."""
    return import_module(f'{__name__}.{name}')
