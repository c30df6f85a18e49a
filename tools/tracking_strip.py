# SPDX-License-Identifier: Apache-2.0
"""Draws a strip of a sequence, each object in its id's colour with the id on it.

Without images, of the synthetic street: docs/tracking.jpg. What others recorded goes into output/,
which git ignores.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seg_ros.core.config import config_from
from seg_ros.core.overlay import draw_overlay
from seg_ros.core.tracking import make_tracker
from seg_ros.core.types import Segmentation
from seg_ros.models.contract import Moment
from seg_ros.models.pipeline import Pipeline
from seg_ros.sim import Street
from seg_ros.sim.recording import open_recording

ROOT = Path(__file__).resolve().parent.parent
LEAST_AREA = 60  # pixels; a smaller object has no room for its id
GAP, PAPER = 6, 255


def main(words: Sequence[str] | None = None) -> None:
    """Draw the strip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--images', type=Path, help='folder of images in order, or a video')
    parser.add_argument('--seed', type=int, default=10_003, help='which street, without --images')
    parser.add_argument('--rate-hz', type=float, default=15.0)
    parser.add_argument('--first', type=int, default=0, help='frame that the strip begins with')
    parser.add_argument('--every', type=int, default=6, help='frames from picture to picture')
    parser.add_argument('--pictures', type=int, default=6)
    parser.add_argument('--columns', type=int, default=3)
    parser.add_argument('--width', type=int, default=480, help='of a picture; 0 as it is')
    parser.add_argument('--model', default='street_tiny')
    parser.add_argument('--out', type=Path, help='by default docs/tracking.jpg, with --images '
                        'output/tracking.jpg')
    arguments = parser.parse_args(words)
    out = arguments.out or ROOT / ('output' if arguments.images else 'docs') / 'tracking.jpg'
    stop = arguments.first + arguments.every * (arguments.pictures - 1) + 1
    images = recorded(arguments.images) if arguments.images else street(
        arguments.seed, rate_hz=arguments.rate_hz)
    frames = tqdm(zip(range(stop), images, strict=False), total=stop, unit='frame')
    overlays = tracked(frames, model=arguments.model, rate_hz=arguments.rate_hz)
    chosen = [scaled(picture, arguments.width) for index, picture in enumerate(overlays)
              if index >= arguments.first and (index - arguments.first) % arguments.every == 0]
    if not chosen:
        raise SystemExit(f'the recording ends before frame {arguments.first}')
    out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(out), sheet(chosen, columns=arguments.columns)[..., ::-1],
                (cv2.IMWRITE_JPEG_QUALITY, 82))
    print(f'written to {out}')


def recorded(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield the images of a folder or a video."""
    return (picture.image for picture in open_recording(path))


def street(seed: int, *, rate_hz: float) -> Iterator[NDArray[np.uint8]]:
    """Yield the images of a street, without end."""
    scene = Street(seed=seed, rate_hz=rate_hz)
    return (scene.frame(index).image for index in count())


def tracked(frames: Iterable[tuple[int, NDArray[np.uint8]]], *, model: str, rate_hz: float
            ) -> Iterator[NDArray[np.uint8]]:
    """Yield each numbered (H, W, 3) RGB frame with the ids that the tracker gives."""
    config = config_from({'panoptic_model': model, 'tracking.enabled': True})
    pipeline = Pipeline(config)
    tracker = make_tracker(config.tracking, pipeline.label_set, ids=count(1))
    for index, image in frames:
        moment = Moment(stream='', stamp=round(1e9 * index / rate_hz))
        found = pipeline.merge(pipeline.infer([image], [moment])[0])
        named = tracker.update(found, stamp=moment.stamp, image=image)
        picture = draw_overlay(image, named, pipeline.label_set)
        write_ids(picture, named)
        write(picture, f'{index / rate_hz:.2f} s', (8, picture.shape[0] - 10))
        yield picture


def write_ids(picture: NDArray[np.uint8], segmentation: Segmentation) -> None:
    """Write each object's id where the object is thickest."""
    for row, instance_id in enumerate(segmentation.instances.ids.tolist()):
        mask = segmentation.instance_map == row + 1
        if mask.sum() >= LEAST_AREA:
            depth = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)
            y, x = np.unravel_index(depth.argmax(), depth.shape)
            text = str(instance_id)
            write(picture, text, (int(x) - 5 * len(text), int(y) + 4))


def write(picture: NDArray[np.uint8], text: str, place: tuple[int, int]) -> None:
    """Write white on a dark rim, so that it can be read on anything."""
    for colour, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, thickness,
                    cv2.LINE_AA)


def scaled(picture: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Return the picture with a width; 0 leaves it."""
    if not width:
        return picture
    height = round(width * picture.shape[0] / picture.shape[1])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def sheet(pictures: list[NDArray[np.uint8]], *, columns: int) -> NDArray[np.uint8]:
    """Return the pictures side by side, row by row."""
    height, width, _ = pictures[0].shape
    rows = -(-len(pictures) // columns)
    paper = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), PAPER,
                    np.uint8)
    for index, picture in enumerate(pictures):
        y, x = (height + GAP) * (index // columns), (width + GAP) * (index % columns)
        paper[y:y + height, x:x + width] = picture
    return paper


if __name__ == '__main__':
    main()
