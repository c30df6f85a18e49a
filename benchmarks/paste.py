# SPDX-License-Identifier: Apache-2.0
"""The pair for box and mask models: crops painted into a label map, or pasted one by one."""
from __future__ import annotations

import torch
import torchvision
from torchvision.models.detection.roi_heads import paste_masks_in_image

from benchmarks.paired import Pair
from seg_ros.models.contract import ModelOptions
from seg_ros.models.postprocess import paint_crops

SIZE = (720, 1280)
COUNT = 100


def pairs() -> tuple[Pair, ...]:
    """Return Mask R-CNN's hundred instances at 720p, sizes as COCO has them."""
    crops, boxes, class_ids, scores = detections()
    options = ModelOptions(score_threshold=0.0)
    return (Pair(
        name=f'Mask R-CNN, {SIZE[1]}x{SIZE[0]}, {COUNT} masks',
        ours=lambda: paint_crops(crops=crops, boxes=boxes, class_ids=class_ids, scores=scores,
                                 size=SIZE, options=options),
        theirs=lambda: paste_masks_in_image(crops[:, None], boxes, SIZE),
        rival=f'torchvision {torchvision.__version__.partition("+")[0]}, the paste alone',
        goal=20.0),)


def detections() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return random crops, boxes, class ids and scores.

    Sides are log-uniform: 41 % of the boxes of COCO are below 32 x 32 pixels and 24 % above
    96 x 96 (Lin et al. 2014) of a 640 x 480 image; here twice that size.
    """
    generator = torch.Generator().manual_seed(0)
    height, width = SIZE
    sides = 12 * 50 ** torch.rand((COUNT, 2), generator=generator)
    middles = torch.rand((COUNT, 2), generator=generator) * torch.tensor([width, height])
    limits = torch.tensor([width, height, width, height])
    boxes = torch.cat((middles - sides / 2, middles + sides / 2), dim=1)
    return (torch.rand((COUNT, 28, 28), generator=generator),
            torch.minimum(boxes.clamp(min=0), limits),
            torch.randint(0, 80, (COUNT,), generator=generator).to(torch.uint8),
            torch.rand(COUNT, generator=generator))
