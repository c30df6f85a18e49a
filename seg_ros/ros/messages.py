# SPDX-License-Identifier: Apache-2.0
"""Messages to core types and back: every byte that crosses the border is checked here."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest
from std_msgs.msg import Header
import torch
from torchvision.io import decode_image, ImageReadMode
from vision_msgs.msg import (
    Detection2D,
    Detection2DArray,
    LabelInfo,
    ObjectHypothesisWithPose,
    VisionClass,
)

from seg_ros.core.labels import LabelSet
from seg_ros.core.types import Frame, Segmentation
from seg_ros.ros.encodings import BadImageError, check_size, rgb_of, SHOWN_CHARACTERS

_COMPRESSED_FORMATS = ('JPEG', 'PNG')


def check_compressed(message: CompressedImage, *, max_pixels: int) -> None:
    """Raise BadImageError unless the data starts as a JPEG or PNG of an allowed size."""
    try:
        # Pillow reads the header only; the size is known before anything is decoded
        with PillowImage.open(io.BytesIO(message.data), formats=_COMPRESSED_FORMATS) as header:
            width, height = header.size
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError,
            PillowImage.DecompressionBombError):
        raise BadImageError('compressed', f'cannot read {len(message.data)} bytes with format '
                       f'{_shown_format(message)}, expected a JPEG or PNG image') from None
    check_size(width, height, max_pixels=max_pixels)


def decode(message: Image | CompressedImage) -> Frame:
    """Return the frame of a checked message; raises BadImageError for damaged JPEG or PNG data."""
    stamp = message.header.stamp
    image = _decode_compressed(message) if isinstance(message, CompressedImage) \
        else rgb_of(message)
    return Frame(image=image, stamp=stamp.sec * 1_000_000_000 + stamp.nanosec,
                 frame_id=message.header.frame_id)


def _decode_compressed(message: CompressedImage) -> NDArray[np.uint8]:
    """Return (H, W, 3) RGB of JPEG or PNG data, 16-bit PNG scaled to 8."""
    data = torch.frombuffer(message.data, dtype=torch.uint8)
    try:
        planes = decode_image(data, mode=ImageReadMode.RGB)
    except RuntimeError as error:
        cause = str(error).splitlines()[0]
        raise BadImageError('compressed', f'cannot decode {len(message.data)} bytes with format '
                       f'{_shown_format(message)}: {cause}') from error
    if planes.dtype == torch.uint16:
        planes = (planes.to(torch.int32) >> 8).to(torch.uint8)
    return planes.permute(1, 2, 0).contiguous().numpy()


def _shown_format(message: CompressedImage) -> str:
    """Return the start of the format for a sentence."""
    return repr(message.format[:SHOWN_CHARACTERS])


def label_info_message(label_set: LabelSet, *, threshold: float, header: Header) -> LabelInfo:
    """Return the names of the class ids; void is not listed."""
    return LabelInfo(
        header=header, threshold=threshold,
        class_map=[VisionClass(class_id=i, class_name=name)
                   for i, name in enumerate(label_set.names)])


def detections_message(segmentation: Segmentation, *, class_texts: Sequence[str],
                       header: Header) -> Detection2DArray:
    """Return one detection an instance; class_texts are what class_id holds, by class id."""
    instances = segmentation.instances
    rows: Iterable[tuple[list[float], int, float, int]] = zip(
        instances.boxes.tolist(), instances.class_ids.tolist(), instances.scores.tolist(),
        instances.ids.tolist(), strict=True)
    return Detection2DArray(header=header, detections=[
        _detection(box=box, class_text=class_texts[class_id], score=score, id_=id_, header=header)
        for box, class_id, score, id_ in rows])


def _detection(*, box: list[float], class_text: str, score: float, id_: int, header: Header
               ) -> Detection2D:
    """Return one instance; box is x_min y_min x_max y_max in pixels, half-open."""
    x_min, y_min, x_max, y_max = box
    detection = Detection2D(header=header, id=str(id_))
    result = ObjectHypothesisWithPose()
    result.hypothesis.class_id = class_text
    result.hypothesis.score = score
    detection.results.append(result)
    detection.bbox.center.position.x = (x_min + x_max) / 2
    detection.bbox.center.position.y = (y_min + y_max) / 2
    detection.bbox.size_x = x_max - x_min
    detection.bbox.size_y = y_max - y_min
    return detection


def camera_info_for(info: CameraInfo, *, width: int, height: int, header: Header) -> CameraInfo:
    """Return the camera's calibration for a label image of another size, with its header.

    Pixel centres are at integers, as in image_geometry: a factor s sends u to s (u + 0.5) - 0.5.
    """
    scaled = CameraInfo(
        header=header, width=width, height=height, distortion_model=info.distortion_model,
        d=info.d, k=info.k, r=info.r, p=info.p, binning_x=info.binning_x,
        binning_y=info.binning_y, roi=info.roi)
    if (width, height) == (info.width, info.height) or not info.width or not info.height:
        return scaled
    x, y = width / info.width, height / info.height
    scale = np.array([[x, 0.0, 0.5 * x - 0.5], [0.0, y, 0.5 * y - 0.5], [0.0, 0.0, 1.0]])
    scaled.k = (scale @ np.reshape(info.k, (3, 3))).ravel()
    scaled.p = (scale @ np.reshape(info.p, (3, 4))).ravel()
    # binning and region of interest are counted in full-resolution pixels of another raster
    scaled.binning_x, scaled.binning_y, scaled.roi = 0, 0, RegionOfInterest()
    return scaled
