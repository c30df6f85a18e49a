# SPDX-License-Identifier: Apache-2.0
"""torchvision's networks with random weights whose answers vary over an image."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn
from torchvision.models import get_model

SEMANTIC = ('lraspp_mobilenet_v3_large', 'deeplabv3_mobilenet_v3_large', 'deeplabv3_resnet50',
            'deeplabv3_resnet101', 'fcn_resnet50', 'fcn_resnet101')
INSTANCE = ('maskrcnn_resnet50_fpn', 'maskrcnn_resnet50_fpn_v2')


def picture(height: int, width: int) -> NDArray[np.uint8]:
    """Return (H, W, 3) RGB of blocks of 8 pixels in random colours."""
    cells = (-(-height // 8), -(-width // 8), 3)
    blocks = np.random.default_rng(5).integers(0, 256, cells, np.uint8)
    return blocks.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]


def random_network(name: str) -> nn.Module:
    """Return an untrained network that finds many classes and things in `picture`.

    An untrained one says the same everywhere: its normalisations get the statistics of what they
    see, and the last layers of Mask R-CNN, left thrifty, are centred and spread.
    """
    torch.manual_seed(0)
    aux = {'aux_loss': True} if name.startswith(('deeplabv3', 'fcn')) else {}
    network: Any = get_model(name, weights=None, weights_backbone=None, **aux)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the statistics of the one batch to come
    with torch.no_grad():
        if name in SEMANTIC:
            network.train()(torch.rand(2, 3, 64, 96) * 4 - 2)
        else:
            _spread_heads(network)
    return network.eval()


def save(name: str, path: Path) -> Path:
    """Write the weights of `random_network` as torchvision publishes them; return the path."""
    torch.save(random_network(name).state_dict(), path)
    return path


def _spread_heads(network: Any) -> None:
    """Let the last layers of Mask R-CNN disagree about different places."""
    pixels = torch.from_numpy(picture(256, 384)).permute(2, 0, 1) / 255
    network.backbone.train()((pixels[None] - 0.45) / 0.225)
    network.eval()
    heads = network.roi_heads
    thrifty(network.transform, network.rpn, heads, short_side=256)
    _spread(network, heads.box_predictor.cls_score, deviation=3.0, pixels=pixels)
    _spread(network, heads.box_predictor.bbox_pred, deviation=1.0, pixels=pixels)
    _spread(network, heads.mask_predictor.mask_fcn_logits, deviation=2.0, pixels=pixels)


def thrifty(transform: Any, rpn: Any, heads: Any, *, short_side: int) -> None:
    """Let the parts of Mask R-CNN look at few pixels and boxes: seconds become a tenth."""
    transform.min_size, transform.max_size = (short_side,), 2 * short_side
    rpn._post_nms_top_n['testing'] = 40
    heads.detections_per_img = 12


def _spread(network: Any, layer: Any, *, deviation: float, pixels: torch.Tensor) -> None:
    """Centre what a layer says of an image, channel by channel, and give it a deviation."""
    said: list[torch.Tensor] = []
    hook = layer.register_forward_hook(lambda layer, inputs, output: said.append(output))
    network([pixels])
    hook.remove()
    channels = said[0].movedim(1, -1).flatten(0, -2)
    gain = deviation / channels.std(dim=0).mean()
    layer.bias.copy_((layer.bias - channels.mean(dim=0)) * gain)
    layer.weight.mul_(gain)
