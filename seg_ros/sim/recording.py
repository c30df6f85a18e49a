# SPDX-License-Identifier: Apache-2.0
"""Frames of a folder of images or of a video file, the same for every reader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
import logging
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

IMAGE_SUFFIXES = frozenset(
    {'.bmp', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp'}
)
_MAX_RATE_HZ = 1000.0  # containers without a rate report nonsense above it
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Picture:
    """One frame of a recording."""

    name: str  # the file's stem, or the frame's number in a video
    image: NDArray[np.uint8]  # (H, W, 3) RGB


class Recording(Protocol):
    """Something that can be played from its beginning, any number of times."""

    path: Path
    rate_hz: float  # 0 where the recording does not say
    skipped: int  # frames that could not be decoded, over all plays

    def __len__(self) -> int:
        """Return how many frames to expect; 0 where the recording does not say."""
        ...

    def __iter__(self) -> Iterator[Picture]:
        """Play from the beginning; raise ValueError where no frame can be decoded."""
        ...


def open_recording(path: str | Path) -> Recording:
    """Return the recording at a path: a folder of images, one image, or a video file.

    Raises ValueError with one sentence for what is not there, empty or no recording.
    """
    path = Path(path)
    if path.is_dir():
        return ImageFolder(path, image_files(path))
    if not path.exists():
        raise ValueError(f'{str(path)!r} does not exist, expected a folder of images or a video')
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageFolder(path, (path,))
    return VideoFile(path)


def image_files(folder: Path) -> tuple[Path, ...]:
    """Return the images of a folder, sorted by name; raise ValueError where there are none."""
    if not folder.is_dir():
        raise ValueError(f'{str(folder)!r} is no folder, expected a folder of images')
    files = sorted(
        (path for path in folder.iterdir() if _is_image(path)), key=lambda path: path.name
    )
    if not files:
        raise ValueError(
            f'no images in folder {str(folder)!r}, expected files that end in '
            f'{", ".join(sorted(IMAGE_SUFFIXES))}'
        )
    return tuple(files)


def _is_image(path: Path) -> bool:
    """Tell images from other files, and from the hidden ones that some systems leave behind."""
    return (
        path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith('.') and path.is_file()
    )


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return the (H, W, 3) RGB pixels of an image file, or raise ValueError."""
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise ValueError(f'cannot read image {str(path)!r}: {error.strerror}') from error
    try:
        # imdecode, because imread prints its own complaints about a file that is not there
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except cv2.error:  # more pixels than OpenCV's limit
        image = None
    if image is None:
        raise ValueError(f'cannot decode image {str(path)!r}: it is damaged or no image')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


@dataclass
class ImageFolder:
    """Image files in the order given."""

    path: Path
    files: tuple[Path, ...]
    rate_hz: float = 0.0
    skipped: int = 0

    def __len__(self) -> int:
        """Count the files."""
        return len(self.files)

    def __iter__(self) -> Iterator[Picture]:
        """Play the images; one that cannot be decoded is skipped with a warning."""
        played = False
        for path in self.files:
            try:
                image = read_image(path)
            except ValueError as error:
                self.skipped += 1
                _logger.warning('skipped: %s', error)
                continue
            played = True
            yield Picture(path.stem, image)
        if not played:
            raise ValueError(
                f'none of the {len(self)} images of {str(self.path)!r} can be decoded'
            )


@dataclass
class VideoFile:
    """A video that OpenCV can decode."""

    path: Path
    rate_hz: float = field(init=False)
    skipped: int = 0

    def __post_init__(self) -> None:
        """Look at the header; raise ValueError where there is none."""
        video = self._open()
        rate_hz = video.get(cv2.CAP_PROP_FPS)
        self.rate_hz = rate_hz if 0.0 < rate_hz <= _MAX_RATE_HZ else 0.0
        self._count = max(0, int(video.get(cv2.CAP_PROP_FRAME_COUNT)))
        video.release()

    def __len__(self) -> int:
        """Return the frame count of the header."""
        return self._count

    def __iter__(self) -> Iterator[Picture]:
        """Play the video to its end, or to where it is damaged."""
        video = self._open()
        try:
            number = 0
            while True:
                decoded, image = video.read()
                if not decoded:
                    break
                yield Picture(f'{number:06d}', cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
                number += 1
        finally:
            video.release()
        if number == 0:
            raise ValueError(f'no frame of video {str(self.path)!r} can be decoded')

    def _open(self) -> cv2.VideoCapture:
        """Return the opened video, or raise ValueError."""
        log_level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(
            cv2.utils.logging.LOG_LEVEL_SILENT
        )  # the sentence below says it
        try:
            # named, because otherwise OpenCV may take `a_1.avi` for the pattern of a sequence
            video = cv2.VideoCapture(str(self.path), cv2.CAP_FFMPEG)
        finally:
            cv2.utils.logging.setLogLevel(log_level)
        if not video.isOpened():
            raise ValueError(
                f'cannot open {str(self.path)!r} as a video, expected a video file or '
                'a folder of images'
            )
        return video
