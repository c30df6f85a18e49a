# SPDX-License-Identifier: Apache-2.0
"""Damaged weights are an error in every family, never a label: argmax would call NaN class 0."""
from __future__ import annotations

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from benchmarks import tiny_hub
from seg_ros.models import families, load_model
from seg_ros.models.contract import ModelOptions, NotFiniteError

IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
CHECKED_IN = {
    'huggingface': 'here', 'faulty': 'here',
    'torchvision': 'test_torchvision.py', 'street_tiny': 'test_street_tiny.py',
    'checkerboard': 'nowhere: it has no network and computes with whole numbers'}


@pytest.mark.parametrize('kind', tiny_hub.KINDS)
def test_a_damaged_model_of_the_hub_never_labels(kind, tmp_path):
    path = tiny_hub.save(kind, tmp_path) / 'model.safetensors'
    tensors = load_file(path)
    for tensor in tensors.values():
        if tensor.is_floating_point():
            tensor.view(-1)[0] = float('nan')
    save_file(tensors, path, metadata={'format': 'pt'})
    with pytest.raises(NotFiniteError, match='not finite'):
        load_model(f'huggingface/{tmp_path}', ModelOptions()).predict([IMAGE])


@pytest.mark.parametrize('fault', ['nan', 'inf'])
def test_a_model_that_computes_nonsense_never_labels(fault):
    with pytest.raises(NotFiniteError, match='not finite'):
        load_model(f'faulty/{fault}@0', ModelOptions()).predict([IMAGE])


def test_no_family_is_left_out():
    assert set(families()) == set(CHECKED_IN)
