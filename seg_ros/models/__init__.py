# SPDX-License-Identifier: Apache-2.0
"""Finds model families: one module here is one family, named by what stands before the slash."""
from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seg_ros.models.contract import Model, ModelInfo, ModelOptions

_HELPERS = frozenset({
    'acceleration', 'agreement', 'contract', 'hub', 'pipeline', 'postprocess',
    'postprocess_queries', 'weights'})


def families() -> tuple[str, ...]:
    """Return the names of the families in this package."""
    return tuple(sorted(module.name for module in iter_modules(__path__)
                        if module.name not in _HELPERS))


def available_models() -> tuple[ModelInfo, ...]:
    """Return what can be run, family by family."""
    return tuple(info for family in families() for info in _family(family).MODELS)


def load_model(spec: str, options: ModelOptions) -> Model:
    """Load the model that `family` or `family/name` stands for.

    Raises ModelError with one sentence where the family is unknown or the model does not load.
    """
    from seg_ros.models.contract import ModelError

    family, _, name = spec.partition('/')
    if family not in families():
        raise ModelError(f'unknown model {spec!r}, expected one of '
                         f'{", ".join(info.spec for info in available_models())}')
    model: Model = _family(family).load(name, options)
    if options.sha256 and model.sha256 != options.sha256:
        raise ModelError(f'{spec} has the sha256 {model.sha256 or "of no file"}, '
                         f'expected {options.sha256}: pin what it has, or leave the pin empty')
    return model


def _family(name: str) -> ModuleType:
    """Import a family only when it is asked for: torchvision and the like are slow to import."""
    return import_module(f'{__name__}.{name}')
