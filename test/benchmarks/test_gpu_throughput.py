# SPDX-License-Identifier: Apache-2.0
"""What a machine with a GPU measures runs here on the CPU, with a small model of the same kind."""
from __future__ import annotations

import torch
import transformers

from benchmarks.gpu_throughput import Case, large_cases, measure, measure_cases, save_eomt, table
from seg_ros.models.acceleration import preferred_precision

SMALL = transformers.EomtConfig(
    hidden_size=32, num_hidden_layers=4, num_attention_heads=4, image_size=64, patch_size=8,
    num_queries=12, num_blocks=2, num_upscale_blocks=1,
    id2label={0: 'car', 1: 'road', 2: 'sky'}, label2id={'car': 0, 'road': 1, 'sky': 2})


def test_a_small_model_is_measured_through_topics_and_alone():
    case = Case('small', lambda folder: save_eomt(SMALL, folder), 'panoptic/image_raw')
    figures = measure_cases([case], device='cpu', size='96x64', frames=20)
    row = figures['cases']['small']
    # auto: what is faster of fp32 and of what the hardware has
    assert row['precision'] in ('fp32', preferred_precision(torch.device('cpu')))
    assert all(row[name] > 0 for name in ('node_hz', 'bare_hz', 'network_hz'))
    assert row['reached'] == (row['node_to_bare'] >= 0.95)
    assert 'small' in table(figures)


def test_the_large_cases_are_the_published_sizes():
    assert [case.name for case in large_cases()] == ['EoMT-B 640', 'EoMT-L 640', 'Mask R-CNN v2']


def test_without_a_gpu_it_says_that_nothing_was_measured(monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    figures = measure(frames=1)
    assert not figures['cases']
    assert 'not measured: no GPU' in table(figures)
