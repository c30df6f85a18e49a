# SPDX-License-Identifier: Apache-2.0
"""Depth images and organised clouds to points: every byte that crosses the border is checked."""
from __future__ import annotations

from collections.abc import Callable
import sys

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

from seg_ros.core.config import Config, DepthConfig
from seg_ros.core.panoptic import nearest_indices
from seg_ros.core.pinhole import Pinhole
from seg_ros.core.points import back_project, metres_of, on_raster, PointMap
from seg_ros.ros.adaptive_subscription import AdaptiveSubscription
from seg_ros.ros.encodings import BadImageError, check_size, SHOWN_CHARACTERS

AnyDepth = Image | PointCloud2
# mono16 is what some drivers call millimetres
_DEPTHS = {'16UC1': np.dtype(np.uint16), 'mono16': np.dtype(np.uint16),
           '32FC1': np.dtype(np.float32)}
_QUEUE = 5  # depth that comes in a burst while the executor is busy
_ASPECT_SLACK = 0.02  # of width / height, for sizes that were rounded


class DepthInput:
    """The subscriptions of one camera's depth: image and camera_info, or an organised cloud."""

    def __init__(self, node: Node, config: Config, *, prefix: str,
                 on_depth: Callable[[AnyDepth], None], on_loss: Callable[[int], None]) -> None:
        """Subscribe to the topics whose names begin with a prefix."""
        self._node = node
        self.camera_info: CameraInfo | None = None
        cloud = config.depth.input == 'cloud'
        self._depth = AdaptiveSubscription(
            node, PointCloud2 if cloud else Image, f'{prefix}cloud' if cloud else f'{prefix}depth',
            reliability=config.image_reliability, depth=_QUEUE, on_message=on_depth,
            on_loss=on_loss)
        self._info = node.create_subscription(
            CameraInfo, f'{prefix}depth/camera_info', self._keep_camera_info,
            QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))

    def adapt(self) -> None:
        """Follow what the publishers offer now."""
        self._depth.adapt()

    def describe(self) -> str:
        """Return what is wanted and what the graph shows, in one sentence."""
        return self._depth.describe()

    def close(self) -> None:
        """Unsubscribe."""
        self._depth.close()
        self._node.destroy_subscription(self._info)

    def _keep_camera_info(self, message: CameraInfo) -> None:
        self.camera_info = message


def pinhole_of(info: CameraInfo) -> Pinhole:
    """Return the camera of a rectified image; raises BadImageError for one without calibration.

    The projection matrix is what holds for rectified images; drivers that leave it empty fill k.
    """
    fx, fy, cx, cy = (info.p[0], info.p[5], info.p[2], info.p[6]) if info.p[0] > 0 \
        else (info.k[0], info.k[4], info.k[2], info.k[5])
    try:
        return Pinhole(width=info.width, height=info.height, fx=float(fx), fy=float(fy),
                       cx=float(cx), cy=float(cy))
    except ValueError as error:
        raise BadImageError('camera_info', f'camera_info cannot be used: {error}') from error


def check_depth(message: AnyDepth, *, max_pixels: int) -> None:
    """Raise BadImageError unless a message holds what it says; touches no pixel."""
    try:
        check_size(message.width, message.height, max_pixels=max_pixels)
    except BadImageError as error:
        raise _refused('size', str(error)) from error
    if isinstance(message, PointCloud2):
        _check_cloud(message)
    else:
        _check_image(message)


def _refused(reason: str, sentence: str) -> BadImageError:
    """Return the error of a depth message."""
    return BadImageError(f'depth_{reason}', f'depth: {sentence}')


def _check_image(message: Image) -> None:
    """Raise BadImageError unless encoding, step and length agree."""
    if message.encoding not in _DEPTHS:
        raise _refused('encoding', f'unsupported encoding {message.encoding[:SHOWN_CHARACTERS]!r},'
                       f' expected one of {", ".join(_DEPTHS)}')
    row = message.width * _DEPTHS[message.encoding].itemsize
    if message.step < row:
        raise _refused('step', f'step is {message.step} bytes, expected at least {row} for '
                       f'{message.width} pixels of {message.encoding}')
    if len(message.data) != message.step * message.height:
        raise _refused('length', f'data has {len(message.data)} bytes, expected step x height = '
                       f'{message.step * message.height}')


def _check_cloud(message: PointCloud2) -> None:
    """Raise BadImageError unless the cloud is organised and has x, y and z."""
    if message.height == 1:
        raise _refused('size', f'the cloud is a list of {message.width} points, expected an '
                       'organised one with a point a pixel')
    for name, offset in _offsets(message).items():
        if offset + 4 > message.point_step:
            raise _refused('fields', f'{name} ends at byte {offset + 4} of a point, expected at '
                           f'most point_step = {message.point_step}')
    if message.row_step < message.width * message.point_step:
        raise _refused('step', f'row_step is {message.row_step} bytes, expected at least '
                       f'width x point_step = {message.width * message.point_step}')
    if len(message.data) != message.row_step * message.height:
        raise _refused('length', f'data has {len(message.data)} bytes, expected row_step x height '
                       f'= {message.row_step * message.height}')


def _offsets(message: PointCloud2) -> dict[str, int]:
    """Return where x, y and z are in a point, bytes."""
    offsets = {field.name: field.offset for field in message.fields
               if field.name in ('x', 'y', 'z') and field.datatype == PointField.FLOAT32}
    if len(offsets) < 3:
        shown = [field.name[:SHOWN_CHARACTERS] for field in message.fields][:8]
        raise _refused('fields', f'the cloud has the fields {shown}, expected x, y and z as '
                       'FLOAT32 among them')
    return offsets


def check_frame(message: AnyDepth, frame_id: str) -> None:
    """Raise BadImageError unless depth is in the frame of its image: registered to it."""
    if message.header.frame_id != frame_id:
        shown = message.header.frame_id[:SHOWN_CHARACTERS]
        raise _refused('frame', f'it is in frame {shown!r} and the image in {frame_id!r}, '
                       'expected depth that is registered to the image')


def image_points(message: Image, *, raster: Pinhole, depth_info: CameraInfo | None,
                 config: DepthConfig) -> PointMap:
    """Return the points of a checked depth image on the raster of a label image.

    raster is the camera of the label image. Depth may have another size: its own camera_info
    says where its pixels are, without one it shows what the image shows. Raises BadImageError.
    """
    depth = metres_of(_depth_pixels(message), min_m=config.min_m, max_m=config.max_m)
    camera = _camera_of_same_view(message, raster) if depth_info is None \
        else pinhole_of(depth_info)
    try:
        return back_project(on_raster(depth, camera=camera, raster=raster), raster)
    except ValueError as error:
        raise BadImageError('camera_info', str(error)) from error


def _camera_of_same_view(message: Image, raster: Pinhole) -> Pinhole:
    """Return the camera of depth that came without camera_info: the label image's own view."""
    if (message.width, message.height) == (raster.width, raster.height):
        return raster
    _check_aspect(message, (raster.height, raster.width), remedy='publish depth/camera_info')
    return raster.resized(width=message.width, height=message.height)


def _check_aspect(message: AnyDepth, size: tuple[int, int], *, remedy: str) -> None:
    """Raise BadImageError unless width / height are those of the label image (height, width)."""
    height, width = size
    if abs(message.width * height / (message.height * width) - 1) > _ASPECT_SLACK:
        raise _refused('size', f'it has {message.width}x{message.height} pixels and the label '
                       f'image {width}x{height}, expected the same shape: {remedy}')


def _depth_pixels(message: Image) -> NDArray[np.uint16] | NDArray[np.float32]:
    """Return the pixels (H, W) of a checked message, native byte order."""
    kind = _DEPTHS[message.encoding]
    pixels = np.ndarray((message.height, message.width), kind, buffer=message.data,
                        strides=(message.step, kind.itemsize))
    if bool(message.is_bigendian) != (sys.byteorder == 'big'):
        pixels = pixels.byteswap()
    return pixels


def cloud_points(message: PointCloud2, *, size: tuple[int, int], config: DepthConfig) -> PointMap:
    """Return the points of a checked cloud for a label image of (height, width).

    Of a cloud of another size, the nearest ones. Raises BadImageError.
    """
    kind = np.dtype('>f4' if message.is_bigendian else '<f4')
    planes = {name: np.ndarray((message.height, message.width), kind, buffer=message.data,
                               offset=offset, strides=(message.row_step, message.point_step))
              for name, offset in _offsets(message).items()}
    if (message.height, message.width) != size:
        _check_aspect(message, size, remedy='publish a cloud with a point for each pixel')
        rows, columns = map(nearest_indices, (message.height, message.width), size)
        planes = {name: plane[rows][:, columns] for name, plane in planes.items()}
    z = metres_of(planes['z'].astype(np.float32), min_m=config.min_m, max_m=config.max_m)
    x, y = planes['x'].astype(np.float32), planes['y'].astype(np.float32)
    z[~(np.isfinite(x) & np.isfinite(y))] = np.nan
    nowhere = np.isnan(z)
    x[nowhere] = y[nowhere] = np.nan
    return PointMap(x=x, y=y, z=z)
