# SPDX-License-Identifier: Apache-2.0
"""Plays a video or a folder of images as a camera."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
import yaml

from seg_ros.core.config import Parameter
from seg_ros.ros.camera import CameraNode
from seg_ros.ros.images import image_message, jpeg_message
from seg_ros.ros.process import forward_logs, run_node
from seg_ros.sim.recording import open_recording

DEFAULT_RATE_HZ = 10.0
PARAMETERS = (
    Parameter('path', '', 'folder of images, played in the order of their names, or a video file'),
    Parameter(
        'rate_hz',
        0.0,
        f"frames a second; 0 means the video's own rate, {DEFAULT_RATE_HZ:g} for images",
        minimum=0.0,
        maximum=1000.0,
    ),
    Parameter('loop', True, 'begin again at the end'),
    Parameter(
        'transport',
        'raw',
        'publish `image`, `image/compressed` (JPEG) or both',
        choices=('raw', 'compressed', 'both'),
    ),
    Parameter('jpeg_quality', 95, 'quality of the JPEG images', minimum=1, maximum=100),
    Parameter(
        'calibration',
        '',
        'YAML file of the camera_calibration package, published as `camera_info`; '
        'empty means that there is none',
    ),
)


class FileCameraNode(CameraNode):
    """A camera whose pictures were taken before."""

    def __init__(self) -> None:
        """Open the recording and start; raise ValueError with one sentence where that fails."""
        super().__init__('file_camera_node', PARAMETERS)
        forward_logs(self)
        settings = self.settings
        if not settings['path']:
            raise ValueError('path is empty, expected a folder of images or a video file')
        self._recording = open_recording(Path(str(settings['path'])).expanduser())
        self._pictures = iter(self._recording)
        raw, compressed = settings['transport'] != 'compressed', settings['transport'] != 'raw'
        self._raw = self.advertise(Image, 'image') if raw else None
        self._jpeg = self.advertise(CompressedImage, 'image/compressed') if compressed else None
        self._camera_info: CameraInfo | None = None
        if settings['calibration']:
            self._camera_info = read_calibration(Path(str(settings['calibration'])))
            self._info = self.advertise(CameraInfo, 'camera_info')
        own_rate_hz = self._recording.rate_hz or DEFAULT_RATE_HZ
        self.start(rate_hz=float(settings['rate_hz']) or own_rate_hz)  # type: ignore[arg-type]
        self._check_calibration()

    def prepare(self) -> bool:
        """Decode the next picture; False where the recording ends and is not looped."""
        picture = next(self._pictures, None)
        if picture is None and self.settings['loop']:
            self._pictures = iter(self._recording)
            picture = next(self._pictures)
        if picture is not None:
            self._picture: NDArray[np.uint8] = picture.image
        return picture is not None

    def publish(self, header: Header) -> None:
        """Publish the picture, and the calibration if there is one."""
        if self._camera_info is not None:
            self._camera_info.header = header
            self._info.publish(self._camera_info)
        if self._raw is not None:
            self._raw.publish(image_message(self._picture, encoding='rgb8', header=header))
        if self._jpeg is not None:
            quality = int(self.settings['jpeg_quality'])  # type: ignore[arg-type]
            self._jpeg.publish(jpeg_message(self._picture, quality=quality, header=header))

    def image_subscribers(self) -> int:
        """Return how many subscribers the image has in all its forms."""
        return sum(p.get_subscription_count() for p in (self._raw, self._jpeg) if p is not None)

    def _check_calibration(self) -> None:
        """Raise ValueError where the calibration speaks of another camera."""
        info, (height, width) = self._camera_info, self._picture.shape[:2]
        if info is not None and (info.width, info.height) != (width, height):
            raise ValueError(
                f'calibration {self.settings["calibration"]!r} is for {info.width}x{info.height} '
                f'images, but the first one is {width}x{height}'
            )


def read_calibration(path: Path) -> CameraInfo:
    """Return the CameraInfo of a YAML file as the camera_calibration package writes it."""
    try:
        values = yaml.safe_load(path.read_text())
        return _camera_info(values)
    except OSError as error:
        raise ValueError(f'cannot read calibration {str(path)!r}: {error.strerror}') from error
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AssertionError) as error:
        # rclpy asserts the number of elements of k, r and p
        raise ValueError(
            f'calibration {str(path)!r} is not what camera_calibration writes: expected '
            'image_width, image_height, distortion_model, distortion_coefficients, '
            'camera_matrix, rectification_matrix and projection_matrix'
        ) from error


def _camera_info(values: dict[str, Any]) -> CameraInfo:
    """Return the message of a parsed calibration."""
    return CameraInfo(
        width=values['image_width'],
        height=values['image_height'],
        distortion_model=values['distortion_model'],
        d=_floats(values['distortion_coefficients']),
        k=_floats(values['camera_matrix']),
        r=_floats(values['rectification_matrix']),
        p=_floats(values['projection_matrix']),
    )


def _floats(matrix: dict[str, Any]) -> list[float]:
    """Return the elements of `{rows, cols, data}`; YAML reads 1 as an int and 1e-3 as text."""
    return [float(value) for value in matrix['data']]


def run(stop: Callable[[], bool]) -> int:
    """Run the camera until stop() or the recording's end; return the exit code."""
    return run_node(FileCameraNode, name='file_camera_node', stop=stop)
