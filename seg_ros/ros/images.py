# SPDX-License-Identifier: Apache-2.0
"""Arrays to image messages; without torch, which a camera does not need."""
from __future__ import annotations

from array import array

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header


def fill(data: array[int], values: NDArray[np.generic]) -> None:
    """Append the bytes of an array to a message's data: one copy, where assigning takes two."""
    if values.size:  # nothing cannot be cast
        data.frombytes(np.ascontiguousarray(values).data.cast('B'))


def image_message(pixels: NDArray[np.generic], *, encoding: str, header: Header) -> Image:
    """Return an (H, W) or (H, W, C) array as an Image without padding, little endian."""
    height, width = pixels.shape[:2]
    message = Image(header=header, height=height, width=width, encoding=encoding, is_bigendian=0,
                    step=pixels.itemsize * pixels[0].size)
    fill(message.data, pixels)
    return message


def jpeg_message(image: NDArray[np.uint8], *, quality: int, header: Header) -> CompressedImage:
    """Return an (H, W, 3) RGB image as JPEG, in the words of compressed_image_transport."""
    done, data = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR),
                              (cv2.IMWRITE_JPEG_QUALITY, quality))
    if not done:
        raise ValueError(f'cannot encode an image of {image.shape} as JPEG')
    message = CompressedImage(header=header, format='rgb8; jpeg compressed bgr8')
    fill(message.data, data)
    return message
