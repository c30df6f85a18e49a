# SPDX-License-Identifier: Apache-2.0
"""What the README shows is what the code and the reports say."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
import re

import pytest

from seg_ros.core.config import PARAMETERS
from seg_ros.models import available_models

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / 'README.md').read_text()


def test_parameter_table_and_figures_are_what_the_command_writes():
    spec = spec_from_file_location('readme', ROOT / 'tools' / 'readme.py')
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in module.PAGES:
        page = (ROOT / name).read_text()
        assert module.generated(page) == page, f'{name}: run `make readme`'
    assert all(f'| `{parameter.name}` |' in README for parameter in PARAMETERS)


def test_every_model_is_named():
    missing = [info.spec for info in available_models() if f'`{info.spec}`' not in README]
    assert not missing


@pytest.mark.parametrize('link', sorted(set(re.findall(r'\]\(([^)]+)\)', README))))
def test_every_link_leads_somewhere(link):
    assert (ROOT / link).exists()
