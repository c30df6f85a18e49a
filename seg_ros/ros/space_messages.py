# SPDX-License-Identifier: Apache-2.0
"""Points, boxes and grids to the messages that navigation stacks read."""
from __future__ import annotations

from array import array
from collections.abc import Sequence
import math

from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from nav_msgs.msg import MapMetaData, OccupancyGrid
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import ColorRGBA, Header
from vision_msgs.msg import Detection3D, Detection3DArray, ObjectHypothesisWithPose
from visualization_msgs.msg import Marker, MarkerArray

from seg_ros.core.boxes3d import Boxes3D
from seg_ros.core.ground import CameraPose, GridShape
from seg_ros.core.points import pack_points, POINT, PointMap
from seg_ros.core.types import Segmentation
from seg_ros.ros.images import fill

_XYZ = [PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
        for i, name in enumerate('xyz')]
_LABELLED = [*_XYZ, PointField(name='rgb', offset=12, datatype=PointField.FLOAT32, count=1),
             PointField(name='label', offset=16, datatype=PointField.UINT32, count=1),
             PointField(name='instance', offset=20, datatype=PointField.UINT32, count=1)]
_UNKNOWN_ANGLE = math.pi ** 2 / 3  # the variance of an angle that may be any
_NAME_SIZE_M = 0.35
_MARKER_IDS = 1 << 30


def points_message(points: PointMap, segmentation: Segmentation, *, image: NDArray[np.uint8],
                   header: Header) -> PointCloud2:
    """Return the organised labelled cloud; image is (H, W, 3) RGB of the label image's size."""
    height, width = segmentation.size
    # packed where the message keeps it: the largest message is not copied
    data = array('B', bytes(height * width * POINT.itemsize))
    pack_points(points, image=image, class_map=segmentation.class_map,
                id_map=segmentation.id_map(),
                out=np.frombuffer(data, POINT).reshape(height, width))
    return PointCloud2(header=header, height=height, width=width, fields=_LABELLED,
                       is_bigendian=False, point_step=POINT.itemsize,
                       row_step=width * POINT.itemsize, data=data, is_dense=False)


def cloud_message(points: NDArray[np.float32], *, header: Header) -> PointCloud2:
    """Return points (N, 3) as a list of x y z."""
    message = PointCloud2(header=header, height=1, width=len(points), fields=_XYZ,
                          is_bigendian=False, point_step=12, row_step=12 * len(points),
                          is_dense=True)
    fill(message.data, points.astype('<f4', copy=False))
    return message


def detections3d_message(boxes: Boxes3D, segmentation: Segmentation, *,
                         class_texts: Sequence[str], header: Header) -> Detection3DArray:
    """Return one detection a box; class_texts are what class_id holds, by class id."""
    instances = segmentation.instances
    return Detection3DArray(header=header, detections=[
        _detection(centre=boxes.centres[i], size=boxes.sizes[i], spread=boxes.covariances[i],
                   class_text=class_texts[instances.class_ids[row]],
                   score=float(instances.scores[row]), id_=int(instances.ids[row]), header=header)
        for i, row in enumerate(boxes.rows.tolist())])


def _detection(*, centre: NDArray[np.float64], size: NDArray[np.float64],
               spread: NDArray[np.float64], class_text: str, score: float, id_: int,
               header: Header) -> Detection3D:
    """Return one box, its sides along the axes of the optical frame.

    The covariance of the position is that of the points. Which way the object faces is not known.
    """
    covariance = np.diag([0.0, 0, 0, *[_UNKNOWN_ANGLE] * 3])
    covariance[:3, :3] = spread
    result = ObjectHypothesisWithPose()
    result.hypothesis.class_id = class_text
    result.hypothesis.score = score
    result.pose.pose = _pose(centre)
    result.pose.covariance = covariance.ravel()
    detection = Detection3D(header=header, id=str(id_), results=[result])
    detection.bbox.center = _pose(centre)
    detection.bbox.size = _vector(size)
    return detection


def _pose(centre: NDArray[np.float64]) -> Pose:
    x, y, z = centre.tolist()
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(w=1.0))


def _vector(size: NDArray[np.float64]) -> Vector3:
    x, y, z = size.tolist()
    return Vector3(x=x, y=y, z=z)


def markers_message(boxes: Boxes3D, segmentation: Segmentation, *, names: Sequence[str],
                    colours: NDArray[np.uint8], header: Header) -> MarkerArray:
    """Return the boxes and their names for RViz, after an order to forget the last ones.

    colours is the (256, 3) table of the classes.
    """
    instances = segmentation.instances
    markers = [Marker(header=header, action=Marker.DELETEALL)]
    for i, row in enumerate(boxes.rows.tolist()):
        class_id, id_ = int(instances.class_ids[row]), int(instances.ids[row])
        red, green, blue = (colours[class_id] / 255).tolist()
        shared = {'header': header, 'id': id_ % _MARKER_IDS, 'action': Marker.ADD}
        markers.append(Marker(
            **shared, ns='boxes', type=Marker.CUBE, pose=_pose(boxes.centres[i]),
            # a flat cube is not drawn
            scale=_vector(np.maximum(boxes.sizes[i], 0.02)),
            color=ColorRGBA(r=red, g=green, b=blue, a=0.4)))
        above = boxes.centres[i] - (0, boxes.sizes[i, 1] / 2 + _NAME_SIZE_M, 0)
        markers.append(Marker(
            **shared, ns='names', type=Marker.TEXT_VIEW_FACING, pose=_pose(above),
            scale=Vector3(z=_NAME_SIZE_M), color=ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0),
            text=f'{names[class_id]} {id_}'))
    return MarkerArray(markers=markers)


def grid_message(cells: NDArray[np.int8], *, shape: GridShape, pose: CameraPose, frame_id: str,
                 header: Header) -> OccupancyGrid:
    """Return the ground ahead of a camera (rows along y, columns along x) in a level frame."""
    heading, half = pose.heading, cells.shape[0] * shape.resolution_m / 2
    x, y, _ = pose.position_m.tolist()
    # the first cell's outer corner, half the width to the right of the camera
    corner = Point(x=x + half * math.sin(heading), y=y - half * math.cos(heading))
    origin = Pose(position=corner, orientation=Quaternion(z=math.sin(heading / 2),
                                                          w=math.cos(heading / 2)))
    info = MapMetaData(map_load_time=header.stamp, resolution=shape.resolution_m,
                       width=cells.shape[1], height=cells.shape[0], origin=origin)
    message = OccupancyGrid(header=Header(stamp=header.stamp, frame_id=frame_id), info=info)
    message.data = array('b')
    message.data.frombytes(np.ascontiguousarray(cells).tobytes())
    return message
