# SPDX-License-Identifier: Apache-2.0
"""What a person sees of a demo: the frames of the video and the contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from seg_ros.core.labels import LabelSet
from seg_ros.core.overlay import colour_map
from seg_ros.core.types import Segmentation

Pixels = NDArray[np.uint8]  # (H, W, 3) RGB
_INK, _FAINT, _PAPER = (235, 238, 242), (150, 158, 168), (22, 25, 30)
_COLUMNS = ('image', 'semantic', 'instance', 'panoptic', 'overlay')
_VIVID = 24  # colours of instances
_SMALLEST_NAMED = 26  # pixels on the picture; smaller objects get no name


@dataclass(frozen=True, eq=False)
class Detected:
    """One instance as the array says it."""

    instance_id: int
    name: str
    score: float
    box: tuple[float, float, float, float]  # x_min y_min x_max y_max, pixels


@dataclass(frozen=True, eq=False)
class Moment:
    """One frame with its answers."""

    time_s: float
    image: Pixels
    overlay: Pixels
    semantic: NDArray[np.uint8]  # (H, W) class ids
    instance_map: NDArray[np.int32]  # (H, W) ids
    panoptic: Segmentation
    detected: tuple[Detected, ...]
    latency_ms: float  # from the camera's publish to the last output


def video_frame(moment: Moment, label_set: LabelSet) -> Pixels:
    """Return camera image and overlay side by side, instances named, legend and time below."""
    height, width = moment.image.shape[:2]
    tile = (640, round(640 * height / width))
    scale = tile[0] / width
    canvas = Image.new('RGB', (2 * tile[0] + 6, tile[1] + 44), _PAPER)
    canvas.paste(_tile(moment.image, tile), (0, 0))
    canvas.paste(_tile(moment.overlay, tile), (tile[0] + 6, 0))
    draw = ImageDraw.Draw(canvas)
    _name_instances(draw, moment, origin=(tile[0] + 6, 0), scale=scale, size=tile)
    found, latency = f'{len(moment.detected)} instances', f'{moment.latency_ms:.0f} ms'
    right = f'{found}     {latency}     {moment.time_s:.1f} s'
    draw.text((canvas.width - 12, tile[1] + 22), right, _INK, _font(15), anchor='rm')
    _legend(draw, label_set, at=(12, tile[1] + 22), width=canvas.width - 270)
    return np.asarray(canvas)


def contact_sheet(
    moments: Sequence[Moment], label_set: LabelSet, *, title: str, subtitle: str
) -> Pixels:
    """Return a page: a row for each moment, a column for each answer, legend below."""
    height, width = moments[0].image.shape[:2]
    tile = (400, round(400 * height / width))
    gap, left, top, bottom = 8, 84, 128, 76
    canvas = Image.new(
        'RGB',
        (
            left + len(_COLUMNS) * (tile[0] + gap) + 24,
            top + len(moments) * (tile[1] + gap) + bottom,
        ),
        _PAPER,
    )
    draw = ImageDraw.Draw(canvas)
    draw.text((left, 34), title, _INK, _font(30), anchor='lm')
    draw.text((left, 70), subtitle, _FAINT, _font(17), anchor='lm')
    for column, heading in enumerate(_COLUMNS):
        x = left + column * (tile[0] + gap)
        draw.text((x, top - 18), heading, _INK, _font(19), anchor='lm')
    for row, moment in enumerate(moments):
        y = top + row * (tile[1] + gap)
        draw.text((left - 14, y + tile[1] // 2), f'{moment.time_s:.1f} s', _FAINT, _font(17), 'rm')
        for column, pixels in enumerate(_columns(moment, label_set)):
            canvas.paste(_tile(pixels, tile), (left + column * (tile[0] + gap), y))
        x = left + _COLUMNS.index('instance') * (tile[0] + gap)
        _name_instances(draw, moment, origin=(x, y), scale=tile[0] / width, size=tile)
    legend_y = canvas.height - bottom // 2
    _legend(draw, label_set, at=(left, legend_y), width=canvas.width - left)
    return np.asarray(canvas)


def _columns(moment: Moment, label_set: LabelSet) -> tuple[Pixels, ...]:
    """Return the pictures of a row."""
    return (
        moment.image,
        label_set.colours()[moment.semantic],
        _instances_on_grey(moment),
        colour_map(moment.panoptic, label_set),
        moment.overlay,
    )


def _instances_on_grey(moment: Moment) -> Pixels:
    """Return each instance in a colour of its own on a dim picture of the scene."""
    grey = cv2.cvtColor(moment.image, cv2.COLOR_RGB2GRAY)
    dim = np.repeat((grey // 3 + 12)[..., None], 3, axis=2).astype(np.uint8)
    ids = moment.instance_map
    coloured = _vivid_colours()[ids % _VIVID]
    shaded = (coloured * (0.55 + 0.45 * grey[..., None] / 255.0)).astype(np.uint8)
    return np.where(ids[..., None] > 0, shaded, dim)


def _vivid_colours() -> NDArray[np.uint8]:
    """Return (24, 3) RGB colours, neighbours far apart on the wheel."""
    hues = (np.arange(_VIVID) * 7 % _VIVID * (180 // _VIVID)).astype(np.uint8)
    hsv = np.stack([hues, np.full_like(hues, 190), np.full_like(hues, 255)], axis=1)
    return cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0]


def _tile(pixels: Pixels, size: tuple[int, int]) -> Image.Image:
    """Return the picture at a (width, height)."""
    shrinks = size[0] < pixels.shape[1]
    # Pillow does it as well, but takes most of a frame's time
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return Image.fromarray(cv2.resize(pixels, size, interpolation=method))


def _name_instances(
    draw: ImageDraw.ImageDraw,
    moment: Moment,
    *,
    origin: tuple[int, int],
    scale: float,
    size: tuple[int, int],
) -> None:
    """Write name and score above instances, large ones first, where they hide no other name."""
    font = _font(11)
    taken: list[tuple[float, float, float, float]] = []
    for found in sorted(moment.detected, key=_area, reverse=True):
        x_min, y_min, x_max, y_max = (scale * side for side in found.box)
        if min(x_max - x_min, y_max - y_min) < _SMALLEST_NAMED:
            continue
        text = f'{found.name} {found.score:.2f}'
        width = draw.textlength(text, font) + 5
        x = origin[0] + max(0.0, min(x_min, size[0] - width - 1))
        y = origin[1] + max(0.0, y_min - 13)
        chip = (x, y, x + width, y + 13)
        if not any(_overlap(chip, other) for other in taken):
            taken.append(chip)
            draw.rectangle(chip, fill=(0, 0, 0))
            draw.text((x + 3, y + 7), text, _INK, font, anchor='lm')


def _area(found: Detected) -> float:
    """Return the area of an instance's box."""
    x_min, y_min, x_max, y_max = found.box
    return (x_max - x_min) * (y_max - y_min)


def _overlap(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> bool:
    """Return whether two boxes share a pixel."""
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def _legend(
    draw: ImageDraw.ImageDraw, label_set: LabelSet, *, at: tuple[int, int], width: int
) -> None:
    """Write the classes beside their colours in one line, as many as fit."""
    x, y = at
    font = _font(15)
    for name, colour in zip(label_set.names, label_set.colours().tolist(), strict=False):
        length = draw.textlength(name, font)
        if x + length + 24 > width:
            draw.text((x, y), '…', _FAINT, font, anchor='lm')
            return
        box = (x, y - 8, x + 15, y + 7)
        draw.rounded_rectangle(box, 3, fill=tuple(colour), outline=_FAINT)
        draw.text((x + 21, y), name, _INK, font, anchor='lm')
        x += round(length) + 36


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Return Pillow's own font."""
    return ImageFont.load_default(size)


def write_png(path: Path, pixels: Pixels) -> None:
    """Write a picture."""
    Image.fromarray(pixels).save(path)
