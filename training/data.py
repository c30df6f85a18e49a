# SPDX-License-Identifier: Apache-2.0
"""Frames with their labels, and how they become training samples: warped, recoloured, encoded."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
import torch
from torch.utils.data import Dataset

from seg_ros.core.types import VOID
from seg_ros.models.street_tiny import OFFSET_UNIT, STRIDE
from training.export import STREET

WIDTH, HEIGHT = 480, 360
"""Of every frame, in pixels."""

ENLARGED = STREET.input_size[0] / WIDTH
"""How much larger than in its pixels the network sees a frame."""

UNCOUNTED = 255
"""Instance of a thing pixel of which nobody knows the object: not trained on."""

DRIVES = ('0001TP', '0006R0', '0016E5')
"""CamVid's `train` is of these; `train/0001TP` is what the first of them gave."""

SPLITS = ('train', 'val', *(f'train/{drive}' for drive in DRIVES))
"""Of CamVid; `val` is all of 0016E5. Nothing here reads its test part."""

THING_IDS = tuple(STREET.class_names.index(name) for name in STREET.things)
MIN_AREA = 24  # pixels; what shows less of itself has no centre to learn

PASTED_IDS = tuple(STREET.class_names.index(name)
                   for name in ('pole', 'sign_symbol', 'pedestrian', 'bicyclist'))
"""Classes of few pixels, which stand before whatever there is."""


@dataclass(frozen=True)
class Labelled:
    """Frames of one origin, WIDTH x HEIGHT pixels."""

    images: NDArray[np.uint8]  # (N, H, W, 3) RGB
    classes: NDArray[np.uint8]  # (N, H, W) 255 = void
    instances: NDArray[np.uint8]  # (N, H, W) 0 = stuff, 1..254 = objects, 255 = uncounted
    is_scarce: bool = False  # so few frames that what one shows is pasted into others, too

    def __len__(self) -> int:
        """Count the frames."""
        return len(self.images)

    @cached_property
    def index(self) -> ClassIndex:
        """Return which frames show which class; made once, because it reads all pixels."""
        return ClassIndex(self)

    def view(self, place: int) -> View:
        """Return a frame."""
        return View(image=self.images[place], classes=self.classes[place],
                    instances=self.instances[place])


def camvid_root() -> Path:
    """Return the folder of the data set: CAMVID_DIR, or beside the repository."""
    return Path(os.environ.get('CAMVID_DIR', '../shared/data/camvid'))


def read_camvid(*splits: str) -> Labelled:
    """Read some of SPLITS whole, 1 MB a frame."""
    paths = [path for split in splits for path in _camvid_images(split)]
    images = [_read(path, cv2.IMREAD_COLOR)[..., ::-1] for path in paths]
    labels = [_read(path.parents[1] / 'labels' / f'{path.stem}.png', cv2.IMREAD_UNCHANGED)
              for path in paths]
    classes = [np.where(label < len(STREET.class_names), label, VOID).astype(np.uint8)
               for label in labels]
    return Labelled(images=np.stack(images), classes=np.stack(classes),
                    instances=np.stack([stand_in_instances(c) for c in classes]),
                    is_scarce=True)


def _camvid_images(split: str) -> list[Path]:
    """Return the image files of a split; raises FileNotFoundError where there are none."""
    part, _, drive = split.partition('/')
    folder = camvid_root() / part
    paths = sorted((folder / 'images').glob(f'{drive}*.jpg'))
    if not paths:
        raise FileNotFoundError(f'no CamVid frames of {split} in {folder}: set CAMVID_DIR')
    return paths


def _read(path: Path, flags: int) -> NDArray[np.uint8]:
    """Read an image file as OpenCV sees it; raises ValueError for a damaged one."""
    image = cv2.imread(str(path), flags)
    if image is None:
        raise ValueError(f'{path} is no image that OpenCV can read')
    return np.asarray(image, np.uint8)


def stand_in_instances(class_map: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return connected components for the instances that (H, W) classes do not have.

    Only components shaped like one object count: touching objects make one component, whose
    middle would be a wrong thing to learn. The others are UNCOUNTED.
    """
    instances = np.zeros(class_map.shape, np.uint8)
    count = 0
    for class_id in THING_IDS:
        mask = (class_map == class_id).astype(np.uint8)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        values = np.full(len(stats), UNCOUNTED, np.uint8)
        values[0] = 0
        for component, (_, _, width, height, area) in enumerate(stats[1:], start=1):
            if _is_one_object(class_id, width, height, area) and count < UNCOUNTED - 1:
                count += 1
                values[component] = count
        instances = np.maximum(instances, values[labels])
    return instances


def _is_one_object(class_id: int, width: int, height: int, area: int) -> bool:
    """Tell whether a component of a thing class has the shape of one car, person, bicyclist."""
    low, high = {'car': (0.6, 2.6), 'pedestrian': (0.2, 0.65), 'bicyclist': (0.3, 1.6)}[
        STREET.class_names[class_id]]
    return area >= MIN_AREA and area > 0.5 * width * height and low < width / height < high


@dataclass(frozen=True)
class View:
    """One augmented frame."""

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    classes: NDArray[np.uint8]  # (H, W)
    instances: NDArray[np.uint8]  # (H, W)


def paste(view: View, donor: View, *, class_ids: Sequence[int], shift: int) -> View:
    """Return the view with the donor's pixels of some classes before it, moved by columns.

    Both are of one size. Objects of the donor get ids that are free in the view, or none. After
    Ghiasi et al. 2021, "Simple copy-paste is a strong data augmentation method".
    """
    width = view.classes.shape[1]
    to = slice(max(shift, 0), width + min(shift, 0))
    come_from = slice(max(-shift, 0), width - max(shift, 0))
    where = np.zeros(view.classes.shape, np.bool_)
    where[:, to] = np.isin(donor.classes[:, come_from], class_ids)
    source = where[:, to]
    last = int(view.instances.max(where=view.instances < UNCOUNTED, initial=0))
    ids = donor.instances[:, come_from][source].astype(np.intp)
    ids[ids > 0] += last
    image, classes, instances = (a.copy() for a in (view.image, view.classes, view.instances))
    image[where] = donor.image[:, come_from][source]
    classes[where] = donor.classes[:, come_from][source]
    instances[where] = np.minimum(ids, UNCOUNTED)
    return View(image=image, classes=classes, instances=instances)


def warp(view: View, rng: np.random.Generator, *, size: tuple[int, int],
         scales: tuple[float, float], focus: tuple[int, int] | None = None) -> View:
    """Return a random crop of (width, height) at a random scale, mirrored half of the time.

    The (row, column) of the view that `focus` names is in the crop.
    """
    width, height = size
    source_height, source_width = view.classes.shape
    scale = np.exp(rng.uniform(*np.log(scales)))
    # a little out of proportion; a smaller crop sees a part of the frame at the same scale
    scale_x, scale_y = scale * np.exp(rng.uniform(-0.1, 0.1, 2))
    # where the crop starts in the scaled frame; negative where the frame is smaller
    row, column = focus or (None, None)
    left = _crop_start(rng, frame=source_width, scale=scale_x, crop=width, focus=column)
    top = _crop_start(rng, frame=source_height, scale=scale_y, crop=height, focus=row)
    matrix = np.array([[scale_x, 0, -left], [0, scale_y, -top]])
    if rng.random() < 0.5:
        matrix[0] = -matrix[0]
        matrix[0, 2] += width - 1
    # without the blur, shrinking by sampling makes patterns that no camera makes
    image = cv2.GaussianBlur(view.image, (3, 3), 0.35 / scale) if scale < 0.8 else view.image
    return warped(replace(view, image=np.asarray(image, np.uint8)), matrix, size=size)


def warped(view: View, matrix: NDArray[np.float64], *, size: tuple[int, int]) -> View:
    """Return what (2, 3) affine `matrix` makes of a view, (width, height); void beyond it."""
    labels = np.dstack((view.classes, view.instances))
    labels = _transformed(labels, matrix, size, flags=cv2.INTER_NEAREST, border=(VOID, UNCOUNTED))
    return View(
        image=_transformed(view.image, matrix, size, flags=cv2.INTER_LINEAR, border=STREET.mean),
        classes=labels[..., 0], instances=labels[..., 1])


def _crop_start(rng: np.random.Generator, *, frame: int, scale: float, crop: int,
                focus: int | None) -> float:
    """Return where a crop starts along one axis of the scaled frame."""
    low, high = sorted((0.0, frame * scale - crop))
    if focus is not None:
        low, high = max(low, focus * scale - crop), min(high, focus * scale)
    return rng.uniform(low, high)


def _transformed(image: NDArray[Any], matrix: NDArray[np.float64], size: tuple[int, int], *,
                 flags: int, border: Sequence[float]) -> NDArray[np.uint8]:
    """Return what (2, 3) affine `matrix` makes of an (H, W, C) image."""
    return np.asarray(cv2.warpAffine(image, matrix, size, flags=flags, borderValue=border),
                      np.uint8)


def recolour(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the (H, W, 3) image as another camera on another day would have seen it."""
    out: NDArray[Any] = cv2.LUT(image, _colour_curve(rng))
    if rng.random() < 0.5:
        grey = cv2.cvtColor(cv2.cvtColor(out, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        saturation = rng.uniform(0.2, 1.5)
        out = cv2.addWeighted(out, saturation, grey, 1 - saturation, 0)
    if rng.random() < 0.2:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.4, 1.5))
    if rng.random() < 0.25:
        noise = rng.integers(-16, 17, out.shape, np.int16) * rng.uniform(0.2, 1.0)
        out = np.clip(out + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 90))]
        jpeg = cv2.imencode('.jpg', out, quality)[1]
        out = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR))
    return out.astype(np.uint8, copy=False)


def _colour_curve(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a random tone curve."""
    gain = rng.uniform(0.7, 1.35) * rng.uniform(0.9, 1.1, 3)
    return tone_curve(gamma=np.exp(rng.normal(0, 0.2)), gain=gain, offset=rng.uniform(-0.1, 0.1))


def tone_curve(*, gamma: float, gain: ArrayLike, offset: float) -> NDArray[np.uint8]:
    """Return the (256, 1, 3) table of level ** gamma * gain + offset, by colour, in [0, 1]."""
    levels = np.linspace(0, 1, 256)[:, None]
    curve = levels ** gamma * np.asarray(gain) + offset
    return (255 * np.clip(curve, 0, 1)).astype(np.uint8)[:, None, :]


@dataclass(frozen=True)
class Targets:
    """What the heads should say, on the network's output grid of h x w cells."""

    centres: NDArray[np.float32]  # (things, h, w) 1 at a centre, falling off around it
    is_counted: NDArray[np.bool_]  # (h, w) centres are known here
    offsets: NDArray[np.float32]  # (2, h, w) rows, columns to the centre, OFFSET_UNIT pixels
    weights: NDArray[np.float32]  # (h, w) of the offsets; 0 where there is no object


def make_targets(view: View) -> Targets:
    """Encode the objects of a view; a centre is the mean of an object's visible pixels."""
    cells = view.instances[STRIDE // 2::STRIDE, STRIDE // 2::STRIDE]
    rows, columns = np.nonzero((view.instances > 0) & (view.instances < UNCOUNTED))
    values = view.instances[rows, columns]
    areas = np.bincount(values, minlength=256)
    divisor = np.maximum(areas, 1)
    centre_rows = np.bincount(values, rows, 256) / divisor
    centre_columns = np.bincount(values, columns, 256) / divisor
    classes = np.full(256, VOID, np.uint8)
    classes[values] = view.classes[rows, columns]
    is_object = areas >= MIN_AREA
    known = is_object[cells]
    offsets = np.stack((
        centre_rows[cells] - _pixels(cells.shape[0])[:, None],
        centre_columns[cells] - _pixels(cells.shape[1])[None, :])) / OFFSET_UNIT
    # an object counts with the root of its area: a far one is no less an object
    weights = np.where(known, 8 / np.sqrt(divisor)[cells], 0)
    numbers = np.flatnonzero(is_object)
    return Targets(
        centres=_heat(cells.shape, centre_rows[numbers], centre_columns[numbers],
                      np.sqrt(areas[numbers]), classes[numbers]),
        is_counted=known | (cells == 0),
        offsets=(offsets * known).astype(np.float32), weights=weights.astype(np.float32))


def _pixels(cells: int) -> NDArray[np.float64]:
    """Return where the cells of an axis lie, in pixels."""
    return (np.arange(cells, dtype=np.float64) + 0.5) * STRIDE - 0.5


def _heat(shape: tuple[int, ...], rows: NDArray[np.float64], columns: NDArray[np.float64],
          sizes: NDArray[np.float64], classes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the (things, h, w) peaks: Gaussians, wider for larger objects, the highest wins."""
    heat = np.zeros((len(THING_IDS), *shape), np.float32)
    sigma = np.clip(0.12 * sizes, 0.6 * STRIDE, 2.5 * STRIDE)[:, None]
    # distances from the middle of the centre's cell: each object has one cell with exactly 1
    down = _pixels(shape[0])[None] - (rows // STRIDE * STRIDE + 1.5)[:, None]
    right = _pixels(shape[1])[None] - (columns // STRIDE * STRIDE + 1.5)[:, None]
    peaks = (np.exp(-(down / sigma) ** 2 / 2).astype(np.float32)[:, :, None]
             * np.exp(-(right / sigma) ** 2 / 2).astype(np.float32)[:, None, :])
    for thing, class_id in enumerate(THING_IDS):
        heat[thing] = peaks[classes == class_id].max(axis=0, initial=0)
    return heat


@cache
def _statistics(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean and the standard deviation of the colours, for (N, 3, H, W) images."""
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1)
                 for values in (STREET.mean, STREET.std))
    return mean, std


@dataclass(frozen=True)
class Batch:
    """Samples side by side; grids as in Targets, with a leading axis."""

    images: torch.Tensor  # (N, 3, H, W) uint8 RGB
    classes: torch.Tensor  # (N, H / 2, W / 2) int64
    centres: torch.Tensor
    is_counted: torch.Tensor
    offsets: torch.Tensor
    weights: torch.Tensor
    is_scarce: torch.Tensor  # (N,) bool: of a source with few frames

    def normalised_images(self) -> torch.Tensor:
        """Return the images as the network takes them."""
        mean, std = _statistics(self.images.device)
        return ((self.images.float() - mean) / std).contiguous(memory_format=torch.channels_last)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return Batch(**{name: value.to(device, non_blocking=True)
                        for name, value in vars(self).items()})

    def pin_memory(self) -> Batch:
        """Return the batch in memory that a GPU reads by itself; the DataLoader calls this."""
        return Batch(**{name: value.pin_memory() for name, value in vars(self).items()})

    def split(self, parts: int) -> list[Batch]:
        """Return the batch in equal parts."""
        columns = [value.chunk(parts) for value in vars(self).values()]
        return [Batch(*part) for part in zip(*columns, strict=True)]


@dataclass(frozen=True)
class Augmentation:
    """How samples are drawn from the frames."""

    scales: tuple[float, float] = (0.75, 1.45)  # 1 is as the deployed network sees a frame
    recoloured: float = 0.5  # share of the samples
    balanced: float = 0.0  # share of the samples that show a class drawn as often as any other
    pasted: float = 0.5  # share of the samples of scarce frames that show another's rare objects


class ClassIndex:
    """Knows which frames show a class, so that a rare one can be drawn as often as a common one.

    After Hoyer et al. 2022, "DAFormer": a class first, then a frame with it.
    """

    def __init__(self, source: Labelled) -> None:
        """Count the pixels of every class in every frame."""
        counts = np.stack([np.bincount(classes.ravel(), minlength=256)
                           for classes in source.classes])
        counts[:, VOID] = 0
        self._source = source
        self._classes = np.flatnonzero(counts.sum(axis=0))
        # the root: a frame that one large object fills is not worth a hundred others
        weights = np.sqrt(counts[:, self._classes])
        self._chances = weights / weights.sum(axis=0)

    def draw(self, rng: np.random.Generator, *, among: Sequence[int] = range(256)
             ) -> tuple[int, tuple[int, int]]:
        """Return a frame's place, and the (row, column) of a pixel of the class drawn.

        `among` are the class ids to draw from; raises ValueError where no frame shows one.
        """
        column = int(rng.choice(np.flatnonzero(np.isin(self._classes, among))))
        place = int(rng.choice(len(self._source), p=self._chances[:, column]))
        classes = self._source.classes[place]
        pixel = int(rng.choice(np.flatnonzero(classes == self._classes[column])))
        return place, divmod(pixel, classes.shape[1])


class Samples(Dataset[Batch]):
    """Item i is batch i: what it holds depends on the seed and i alone, so a run can resume."""

    def __init__(self, sources: Sequence[Labelled], *, batch_size: int, seed: int,
                 size_at: Callable[[int], tuple[int, int]],
                 augmentation: Augmentation = Augmentation()) -> None:
        """Take turns among the sources, sample by sample; batch i has crops of size_at(i)."""
        self._sources = [source for source in sources if len(source)]
        self._indices = [source.index for source in self._sources]
        self._batch_size = batch_size
        self._seed = seed
        self._size_at = size_at
        self._augmentation = augmentation
        self._scales = ENLARGED * augmentation.scales[0], ENLARGED * augmentation.scales[1]

    def __getitem__(self, index: int) -> Batch:
        """Make a batch."""
        rng = np.random.default_rng((self._seed, index))
        size = self._size_at(index)
        numbers = [place % len(self._sources) for place in range(self._batch_size)]
        views = [self._view(rng, number, size) for number in numbers]
        targets = [make_targets(view) for view in views]
        # half of the resolution costs a quarter; which of the 2 x 2 pixels changes by batch
        row, column = rng.integers(0, 2, 2)
        return Batch(
            images=torch.from_numpy(np.stack([v.image for v in views])).permute(0, 3, 1, 2),
            classes=torch.from_numpy(np.stack(
                [v.classes[row::2, column::2] for v in views])).long(),
            centres=torch.from_numpy(np.stack([t.centres for t in targets])),
            is_counted=torch.from_numpy(np.stack([t.is_counted for t in targets])),
            offsets=torch.from_numpy(np.stack([t.offsets for t in targets])),
            weights=torch.from_numpy(np.stack([t.weights for t in targets])),
            is_scarce=torch.tensor([self._sources[number].is_scarce for number in numbers]))

    def _view(self, rng: np.random.Generator, number: int, size: tuple[int, int]) -> View:
        """Return an augmented frame of a source."""
        how, source = self._augmentation, self._sources[number]
        place, focus = int(rng.integers(len(source))), None
        if rng.random() < how.balanced:
            place, focus = self._indices[number].draw(rng)
        view = source.view(place)
        if source.is_scarce and rng.random() < how.pasted:
            view = self._with_objects_of_another(view, rng, number)
        view = warp(view, rng, size=size, scales=self._scales, focus=focus)
        if rng.random() >= how.recoloured:
            return view
        return View(image=recolour(view.image, rng), classes=view.classes,
                    instances=view.instances)

    def _with_objects_of_another(self, view: View, rng: np.random.Generator, number: int) -> View:
        """Return a view of a source with the rare objects of another frame, half of the classes.

        A frame with one of them is drawn as balanced samples are.
        """
        place, (row, column) = self._indices[number].draw(rng, among=PASTED_IDS)
        donor = self._sources[number].view(place)
        drawn = int(donor.classes[row, column])
        class_ids = [i for i in PASTED_IDS if i == drawn or rng.random() < 0.5]
        width = view.classes.shape[1]
        return paste(view, donor, class_ids=class_ids,
                     shift=int(rng.integers(-width // 4, width // 4 + 1)))
