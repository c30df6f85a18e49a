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


@pytest.fixture(scope='module')
def command():
    """Return the module that writes what is generated."""
    spec = spec_from_file_location('readme', ROOT / 'tools' / 'readme.py')
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_parameter_table_and_figures_are_what_the_command_writes(command):
    for name in command.PAGES:
        page = (ROOT / name).read_text()
        assert command.generated(page) == page, f'{name}: run `make readme`'
    assert all(f'| `{parameter.name}` |' in README for parameter in PARAMETERS)


def test_a_row_of_training_shows_what_every_seed_gave(command):
    rows = {'as it is': {'1': {'val_miou': 0.7712, 'pq': 0.735},
                         '2': {'val_miou': 0.7694, 'pq': 0.7341}},
            'begun': {'1': {'val_miou': 0.5, 'pq': 0.25}}}
    assert command._trainings(rows) == [
        '| change | mIoU, CamVid val, seeds 1, 2 | PQ, streets |',
        '|---|---|---|',
        '| as it is | 0.771, 0.769 | 0.735, 0.734 |',
        '| begun | 0.500 | 0.250 |']
    assert 'seed 1 |' in command._trainings({'begun': rows['begun']})[0]


def test_every_model_is_named():
    missing = [info.spec for info in available_models() if f'`{info.spec}`' not in README]
    assert not missing


@pytest.mark.parametrize('link', sorted(set(re.findall(r'\]\(([^)]+)\)', README))))
def test_every_link_leads_somewhere(link):
    assert (ROOT / link).exists()
