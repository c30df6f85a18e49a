# SPDX-License-Identifier: Apache-2.0
"""Frames a second of large models through topics on a GPU, beside the models without ROS.

The weights are random: what is computed is the same, whatever comes out.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
import json
from pathlib import Path
import tempfile
from typing import Any

import numpy as np
import torch
from torchvision.models import get_model
from tqdm import tqdm
import transformers

from benchmarks.camera_throughput import compare
from seg_ros.core.config import config_from
from seg_ros.models.acceleration import network_of
from seg_ros.models.agreement import check_frames
from seg_ros.models.pipeline import Pipeline

GOAL = 0.95  # of the model's own rate
SIZE = '1280x720'
_CLASSES, _THINGS = 133, 80  # of COCO panoptic
_NETWORK_RUNS = 20
_START_S = 600.0  # until a large model is loaded, checked and warmed up


@dataclass(frozen=True)
class Case:
    """A model that is saved with random weights and then named in parameters."""

    name: str
    save: Callable[[Path], Mapping[str, object]]  # write into a folder, return the parameters
    topic: str


def save_eomt(config: transformers.EomtConfig, folder: Path) -> dict[str, object]:
    """Save an EoMT as the hub has it, with the things of COCO."""
    torch.manual_seed(0)
    model = transformers.EomtForUniversalSegmentation(config)
    model.attn_mask_probs.zero_()  # as at the end of training
    side = config.image_size
    model.save_pretrained(folder)
    transformers.EomtImageProcessor(
        size={'shortest_edge': side, 'longest_edge': side}, do_pad=True).save_pretrained(folder)
    names = [config.id2label[i] for i in range(len(config.id2label))]
    path = folder / 'config.json'
    things = names[:max(len(names) * _THINGS // _CLASSES, 1)]
    path.write_text(json.dumps({**json.loads(path.read_text()), 'things': things}))
    return {'panoptic_model': f'huggingface/{folder}'}


def save_mask_rcnn(folder: Path) -> dict[str, object]:
    """Save torchvision's Mask R-CNN v2."""
    torch.manual_seed(0)
    network = get_model('maskrcnn_resnet50_fpn_v2', weights=None, weights_backbone=None)
    torch.save(network.state_dict(), folder / 'weights.pth')
    return {'instance_model': 'torchvision/maskrcnn_resnet50_fpn_v2',
            'instance_weights': str(folder / 'weights.pth')}


def _labels() -> dict[str, Any]:
    names = [f'class {i}' for i in range(_CLASSES)]
    return {'id2label': dict(enumerate(names)), 'label2id': {n: i for i, n in enumerate(names)}}


def _eomt(*, width: int, layers: int, heads: int, blocks: int) -> transformers.EomtConfig:
    return transformers.EomtConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, image_size=640,
        patch_size=16, num_queries=200, num_blocks=blocks, **_labels())


def large_cases() -> tuple[Case, ...]:
    """Return what the goal is about, in the sizes of the published checkpoints."""
    base, large = (_eomt(width=768, layers=12, heads=12, blocks=3),
                   _eomt(width=1024, layers=24, heads=16, blocks=4))
    return (
        Case('EoMT-B 640', lambda folder: save_eomt(base, folder), 'panoptic/image_raw'),
        Case('EoMT-L 640', lambda folder: save_eomt(large, folder), 'panoptic/image_raw'),
        Case('Mask R-CNN v2', save_mask_rcnn, 'instance/image_raw'))


def measure(*, frames: int) -> dict[str, Any]:
    """Return the figures of each case, or that there is no GPU to measure them on."""
    if not torch.cuda.is_available():
        return {'device': 'not measured: no GPU', 'cases': {}}
    return measure_cases(large_cases(), device='cuda:0', size=SIZE, frames=frames)


def measure_cases(cases: Iterable[Case], *, device: str, size: str, frames: int
                  ) -> dict[str, Any]:
    """Return frames a second of node, pipeline and network alone for each case."""
    on_gpu = device.startswith('cuda')
    return {'device': torch.cuda.get_device_name(device) if on_gpu else device, 'size': size,
            'cases': {case.name: _measure(case, device=device, size=size, frames=frames)
                      for case in tqdm(cases, desc='models', unit='model')}}


def _measure(case: Case, *, device: str, size: str, frames: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        # random weights agree with themselves on little: the speed is asked for here
        parameters = {**case.save(Path(folder)), 'device': device, 'model.frame_size': size,
                      'model.min_agreement': 0.0}
        pipeline = Pipeline(config_from(parameters))
        pipeline.warm_up()
        image = check_frames(size)[0]
        precision = ' + '.join(str(network.acceleration) for model in pipeline.loaded
                               if (network := network_of(model)))
        figures = compare(pipeline, [image], frames=frames, parameters=parameters,
                          topic=case.topic, timeout_s=_START_S, quiet=True)
        return {'precision': precision, **figures, 'network_hz': _network_rate(pipeline, image),
                'goal': GOAL, 'reached': figures['node_to_bare'] >= GOAL}


def _network_rate(pipeline: Pipeline, image: np.ndarray) -> float:
    """Return runs a second of the first model's network alone; 0 where it is not ours."""
    network = network_of(pipeline.loaded[0])
    if network is None:
        return 0.0
    spent_s: list[float] = []
    network.observer = lambda begun_s, ended_s: spent_s.append(ended_s - begun_s)
    for _ in range(_NETWORK_RUNS):
        pipeline.infer([image])
    network.observer = None
    return round(1 / float(np.median(spent_s)), 2)


def table(figures: Mapping[str, Any]) -> str:
    """Return the figures for people."""
    lines = [f'\nthrough topics, {figures["device"]}']
    if figures['cases']:
        lines.append(f'{"model":<16}{"precision":>22}{"node /s":>9}{"model /s":>10}'
                     f'{"network /s":>12}{"ratio":>7}{"goal":>6}')
    for name, row in figures['cases'].items():
        missed = '' if row['reached'] else '  missed'
        lines.append(f'{name:<16}{row["precision"]:>22}{row["node_hz"]:>9.1f}'
                     f'{row["bare_hz"]:>10.1f}{row["network_hz"]:>12.1f}'
                     f'{row["node_to_bare"]:>7.2f}{row["goal"]:>6.2f}{missed}')
    return '\n'.join(lines)
