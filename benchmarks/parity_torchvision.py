# SPDX-License-Identifier: Apache-2.0
"""torchvision's networks with random weights beside torchvision's own way from image to masks."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
import torchvision
from torchvision.models import get_model
from tqdm import tqdm

from benchmarks.parity import compare, Row
from benchmarks.tiny_torchvision import INSTANCE, picture, save, SEMANTIC
from seg_ros.models import load_model
from seg_ros.models.contract import ModelOptions
from seg_ros.models.torchvision import cached_file, classes_of, published_weights

SIZE = (520, 780)
"""Height and width that the presets of the semantic models leave as they are.

Elsewhere torchvision answers at the size of its input, and this project at that of the frame.
"""

OPTIONS = ModelOptions(score_threshold=0.1)
Maps = tuple[NDArray[np.uint8], NDArray[np.int32]]
_LIBRARY = f'torchvision {torchvision.__version__.partition("+")[0]}'


def rows() -> Iterator[Row]:
    """Compare every network, with torchvision's presets as they are."""
    image = picture(*SIZE)
    for name in tqdm((*SEMANTIC, *INSTANCE), desc='torchvision'):
        ours, theirs = load_both(name, OPTIONS)
        answer = ours.predict([image])[0]
        yield compare(
            family=name, task='semantic' if name in SEMANTIC else 'instance',
            reference=_LIBRARY if name in SEMANTIC else f"{_LIBRARY}, the paper's loop",
            ours=(answer.class_map, answer.instance_map),
            theirs=library_maps(name, theirs, image, OPTIONS))


def load_both(name: str, options: ModelOptions) -> tuple[Any, Any]:
    """Return our model from a file and torchvision's from its cache, with the same weights."""
    published = published_weights(name)
    before = torch.hub.get_dir()
    with TemporaryDirectory() as folder:
        torch.hub.set_dir(folder)
        try:
            cached = cached_file(published)
            cached.parent.mkdir()
            file = save(name, Path(folder) / 'random.pth')
            ours = load_model(f'torchvision/{name}', replace(options, weights=str(file)))
            file.rename(cached)
            theirs = get_model(name, weights=published, progress=False).eval()
        finally:
            torch.hub.set_dir(before)
    # as ours: sums in another order differ in their last bits
    return ours, theirs.to(memory_format=torch.channels_last)


@torch.inference_mode()
def library_maps(name: str, network: Any, image: NDArray[np.uint8], options: ModelOptions, *,
                 short_side: int = 520) -> Maps:
    """Return the maps of torchvision's preset and forward, in our class ids."""
    published = published_weights(name)
    table = classes_of(published).table
    preset: Any = published.transforms()
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    if name in SEMANTIC:
        preset.resize_size = [short_side]
        channels = network(preset(pixels)[None])['out'][0].argmax(dim=0)
        return table[channels].numpy(), np.zeros(image.shape[:2], np.int32)
    found = network([preset(pixels)])[0]
    return _settled(class_ids=table[found['labels']].numpy(), scores=found['scores'].numpy(),
                    masks=(found['masks'][:, 0] > 0.5).numpy(), options=options)


def _settled(*, class_ids: NDArray[np.uint8], scores: NDArray[np.float32],
             masks: NDArray[np.bool_], options: ModelOptions) -> Maps:
    """Give each pixel one owner: the plain loop of Kirillov et al. 2019, section 7."""
    class_map = np.full(masks.shape[1:], 255, np.uint8)
    instance_map = np.zeros(masks.shape[1:], np.int32)
    for row in np.argsort(-scores, kind='stable'):
        free = masks[row] & (instance_map == 0)
        covered = masks[row].sum() - free.sum()
        if (class_ids[row] == 255 or scores[row] < options.score_threshold or not free.any()
                or covered > options.overlap_threshold * masks[row].sum()):
            continue
        class_map[free] = class_ids[row]
        instance_map[free] = instance_map.max() + 1
    return class_map, instance_map
