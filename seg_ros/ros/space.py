# SPDX-License-Identifier: Apache-2.0
"""What one camera shows in space: topics that follow the 2D ones and never hold them up."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
import threading
import time
from typing import Any, Protocol

from nav_msgs.msg import OccupancyGrid
import numpy as np
from numpy.typing import NDArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, PointCloud2
from std_msgs.msg import Header
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from seg_ros.core.boxes3d import Boxes3D, fit_boxes
from seg_ros.core.config import Config, parse_size
from seg_ros.core.ground import CameraPose, GridShape, GroundView
from seg_ros.core.joining import Joined, StampJoiner
from seg_ros.core.labels import LabelSet
from seg_ros.core.panoptic import resize
from seg_ros.core.pinhole import Pinhole
from seg_ros.core.points import chosen_points, PointMap, thin_out
from seg_ros.core.types import Frame, Segmentation
from seg_ros.models.contract import Task
from seg_ros.ros.depth_input import (
    AnyDepth,
    check_depth,
    check_frame,
    cloud_points,
    DepthInput,
    image_points,
    pinhole_of,
)
from seg_ros.ros.encodings import BadImageError
from seg_ros.ros.mounting import make_mounting
from seg_ros.ros.outputs import class_table, fit_image
from seg_ros.ros.space_messages import (
    cloud_message,
    detections3d_message,
    grid_message,
    markers_message,
    points_message,
)
from seg_ros.ros.statistics import Event, Statistics
from seg_ros.ros.worker import Worker

_LOOK_S = 0.05  # how often frames are looked at that wait for their depth
_END_S = 1.0  # how long the end waits for the frame in the works


@dataclass(frozen=True, eq=False)
class Segmented:
    """One frame as the 2D outputs know it."""

    header: Header
    frame: Frame
    segmentation: Segmentation
    camera_info: CameraInfo | None


class Space(Protocol):
    """The 3D side of one camera."""

    @property
    def wanted(self) -> bool:
        """Return whether anybody subscribes to an output that a frame makes."""

    def subscribe(self) -> None:
        """Hear depth."""

    def unsubscribe(self) -> None:
        """Hear depth no more and forget what waits for it."""

    def expect(self, header: Header) -> None:
        """Hear of an image that is offered to the model."""

    def begin(self, frame: Frame) -> None:
        """Hear that the model has taken an image."""

    def publish(self, segmented: Segmented) -> None:
        """Take a frame whose 2D outputs are out."""

    def apply(self, config: Config, *, label_set: LabelSet) -> None:
        """Use a new configuration from the next frame on."""

    def look(self) -> str:
        """Follow the QoS of depth; return what is wanted and who publishes."""

    def close(self) -> None:
        """Take the topics down."""


class NoSpace:
    """A camera with 2D outputs only."""

    wanted = False

    def subscribe(self) -> None:
        """Do nothing."""

    def unsubscribe(self) -> None:
        """Do nothing."""

    def expect(self, header: Header) -> None:
        """Do nothing."""

    def begin(self, frame: Frame) -> None:
        """Do nothing."""

    def publish(self, segmented: Segmented) -> None:
        """Do nothing."""

    def apply(self, config: Config, *, label_set: LabelSet) -> None:
        """Do nothing."""

    def look(self) -> str:
        """Return that nothing is wanted."""
        return 'not subscribed'

    def close(self) -> None:
        """Do nothing."""


def make_space(node: Node, config: Config, *, label_set: LabelSet, tasks: frozenset[Task],
               prefix: str, statistics: Statistics, fail: Callable[[Exception], None],
               warn: Callable[[Event], None]) -> Space:
    """Return the 3D side that the parameters ask for; raises ValueError where they cannot be."""
    if config.depth.input == 'none' and not config.ground.grid:
        return NoSpace()
    return CameraSpace(node, config, label_set=label_set, tasks=tasks, prefix=prefix,
                       statistics=statistics, fail=fail, warn=warn)


@dataclass(frozen=True, eq=False)
class _Scene:
    """A frame with its points: what the messages are made of."""

    segmented: Segmented
    points: PointMap
    config: Config

    @cached_property
    def boxes(self) -> Boxes3D:
        """Return the boxes, which two topics share and others do without."""
        segmentation = self.segmented.segmentation
        return fit_boxes(self.points, segmentation.instance_map, len(segmentation.instances))


@dataclass(frozen=True)
class _Topic:
    publisher: Publisher
    build: Callable[[_Scene], Any]

    @property
    def wanted(self) -> bool:
        return bool(self.publisher.get_subscription_count())


class CameraSpace:
    """Joins frames with depth by stamp and publishes points, boxes, obstacles and ground.

    Works on a thread of its own: the model's thread hands a frame over and goes on. Of frames
    that wait for this thread only the newest is kept, as everywhere.
    """

    def __init__(self, node: Node, config: Config, *, label_set: LabelSet,
                 tasks: frozenset[Task], prefix: str, statistics: Statistics,
                 fail: Callable[[Exception], None], warn: Callable[[Event], None]) -> None:
        """Advertise; raises ValueError for classes or a pose that cannot be had."""
        self._node, self._prefix, self._tasks = node, prefix, tasks
        self._statistics, self._fail, self._warn = statistics, fail, warn
        self._topics: dict[str, _Topic] = {}
        self._mounting = make_mounting(node, config.ground)
        self._use(config, label_set)
        self._grid = self._publisher(OccupancyGrid, 'drivable_grid') if config.ground.grid \
            else None
        self._view: GroundView | None = None
        self._input: DepthInput | None = None
        self._lock = threading.Lock()
        self._joiner = self._new_joiner()
        self._worker = Worker[str, Callable[[], None]](
            self._process, on_drop=lambda kind: statistics.count(f'{kind}.dropped'))
        self._timer = node.create_timer(_LOOK_S, self._expire,
                                        clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def wanted(self) -> bool:
        """Return whether anybody subscribes to an output that a frame makes."""
        return self._grid_wanted or self._depth_wanted

    @property
    def _depth_wanted(self) -> bool:
        return any(topic.wanted for topic in self._topics.values())

    @property
    def _grid_wanted(self) -> bool:
        return self._grid is not None and bool(self._grid.get_subscription_count())

    def subscribe(self) -> None:
        """Hear depth."""
        if self._topics:
            self._input = DepthInput(
                self._node, self._config, prefix=self._prefix, on_depth=self._receive,
                on_loss=lambda number: self._statistics.count('depth.lost', number))

    def unsubscribe(self) -> None:
        """Hear depth no more and forget what waits for it."""
        if self._input:
            self._input.close()
            self._input = None
        with self._lock:
            self._joiner = self._new_joiner()

    def close(self) -> None:
        """Take the topics down."""
        self.unsubscribe()
        self._worker.stop(timeout_s=_END_S)
        self._node.destroy_timer(self._timer)
        for publisher in [topic.publisher for topic in self._topics.values()] + [self._grid]:
            if publisher is not None:
                self._node.destroy_publisher(publisher)

    def apply(self, config: Config, *, label_set: LabelSet) -> None:
        """Use a new configuration and its classes from the next frame on."""
        def use() -> None:
            depth_changed = config.depth != self._config.depth
            self._use(config, label_set)
            if depth_changed:
                with self._lock:
                    self._joiner = self._new_joiner()
        # on this side's thread: never in the middle of a frame
        self._worker.submit(use)

    def expect(self, header: Header) -> None:
        """Hear of an image that is offered to the model."""
        with self._lock:
            self._joiner.expect(_stamp_ns(header))

    def begin(self, frame: Frame) -> None:
        """Hear that the model has taken an image."""
        with self._lock:
            self._joiner.begin(frame.stamp)

    def publish(self, segmented: Segmented) -> None:
        """Take a frame whose 2D outputs are out."""
        if self._grid_wanted:
            self._worker.offer('ground', lambda: self._publish_grid(segmented))
        if self._depth_wanted:
            with self._lock:
                joined = self._joiner.add_frame(segmented.frame.stamp, segmented,
                                                now_ns=time.monotonic_ns())
            self._offer(joined)

    def look(self) -> str:
        """Follow the QoS of depth; return what is wanted and who publishes."""
        if self._input:
            self._input.adapt()
        return self._describe()

    def _describe(self) -> str:
        source = self._input  # another thread may unsubscribe
        return source.describe() if source else 'not subscribed'

    def _receive(self, message: AnyDepth) -> None:
        """Check depth and join it; no pixel is touched here."""
        self._statistics.count('depth.received')
        if not self._depth_wanted:
            return
        try:
            check_depth(message, max_pixels=self._config.max_image_pixels)
        except BadImageError as error:
            self._fail(error)
            return
        with self._lock:
            joined = self._joiner.add_depth(_stamp_ns(message.header), message,
                                            now_ns=time.monotonic_ns())
        self._offer(joined)

    def _expire(self) -> None:
        with self._lock:
            joined = self._joiner.expire(now_ns=time.monotonic_ns())
        self._offer(joined)

    def _offer(self, joined: Joined[Segmented, AnyDepth]) -> None:
        """Hand pairs to this side's thread and count frames whose depth did not come."""
        for _ in range(joined.missing):
            self._warn(Event('depth.missing', 'no depth for an image within '
                             f'{self._config.depth.max_wait_s} s: {self._describe()}'))
        for segmented, depth in joined.pairs:
            self._worker.offer('depth', lambda s=segmented, d=depth: self._publish_scene(s, d))

    def _process(self, batch: Sequence[tuple[str, Callable[[], None]]]) -> None:
        for kind, work in batch:
            try:
                with self._statistics.stage(kind):
                    work()
            except Exception as error:  # one bad frame must not end the stream
                self._fail(error)

    def _publish_scene(self, segmented: Segmented, depth: AnyDepth) -> None:
        """Publish what a frame shows in space, for the topics that somebody hears."""
        # somebody may subscribe between two questions: ask once
        wanted = [topic for topic in self._topics.values() if topic.wanted]
        points = self._points(segmented, depth)
        fitted = replace(segmented, segmentation=self._fitted(segmented.segmentation))
        scene = _Scene(segmented=fitted, points=points, config=self._config)
        for topic in wanted:
            topic.publisher.publish(topic.build(scene))
        self._statistics.count('depth.joined')

    def _points(self, segmented: Segmented, depth: AnyDepth) -> PointMap:
        """Return the points of depth on the raster of the label image."""
        check_frame(depth, segmented.header.frame_id)
        config = self._config
        if isinstance(depth, PointCloud2):
            size = self._label_size(segmented.segmentation)
            return cloud_points(depth, size=size, config=config.depth)
        source = self._input
        return image_points(depth, raster=self._raster(segmented), config=config.depth,
                            depth_info=source.camera_info if source else None)

    def _label_size(self, segmentation: Segmentation) -> tuple[int, int]:
        """Return (height, width) of the label images."""
        size = parse_size(self._config.output_size)
        return (size[1], size[0]) if size else segmentation.size

    def _fitted(self, segmentation: Segmentation) -> Segmentation:
        """Return the segmentation at the size of the label images."""
        height, width = self._label_size(segmentation)
        if segmentation.size == (height, width):
            return segmentation
        return resize(segmentation, width=width, height=height)

    def _raster(self, segmented: Segmented) -> Pinhole:
        """Return the camera of the label image; raises BadImageError where nobody says it."""
        info, (height, width) = segmented.camera_info, segmented.frame.image.shape[:2]
        if info is None:
            raise BadImageError('camera_info', 'no camera_info has come, expected one beside the '
                                'image for the outputs in space')
        if (info.width, info.height) != (width, height):
            raise BadImageError('camera_info', f'camera_info speaks of {info.width}x{info.height} '
                                f'pixels and the image has {width}x{height}, expected the same')
        height, width = self._label_size(segmented.segmentation)
        return pinhole_of(info).resized(width=width, height=height)

    def _publish_grid(self, segmented: Segmented) -> None:
        """Publish the ground ahead."""
        ground = self._config.ground
        pose = self._mounting.pose(segmented.header, ground)
        shape = GridShape(resolution_m=ground.resolution_m, length_m=ground.length_m,
                          width_m=ground.width_m)
        view = self._ground_view(self._raster(segmented), pose, shape)
        cells = view.grid(self._fitted(segmented.segmentation).class_map,
                          drivable=self._drivable, obstacle=self._obstacle,
                          obstacle_depth_m=ground.obstacle_depth_m,
                          clearance_m=ground.clearance_m)
        self._grid.publish(grid_message(cells, shape=shape, pose=pose, frame_id=ground.frame,
                                        header=segmented.header))

    def _ground_view(self, camera: Pinhole, pose: CameraPose, shape: GridShape) -> GroundView:
        """Return the view, the last one where nothing has moved: to make one takes long."""
        last = self._view
        if last is None or (last.camera, last.shape) != (camera, shape) \
                or not np.array_equal(last.pose.position_m, pose.position_m) \
                or not np.array_equal(last.pose.grid_from_optical, pose.grid_from_optical):
            self._view = last = GroundView(camera, pose, shape)
        return last

    def _new_joiner(self) -> StampJoiner[Segmented, AnyDepth]:
        depth = self._config.depth
        return StampJoiner(tolerance_ns=round(1e9 * depth.tolerance_s),
                           wait_ns=round(1e9 * depth.max_wait_s))

    def _publisher(self, kind: type, name: str) -> Publisher:
        return self._node.create_publisher(kind, self._prefix + name,
                                           QoSProfile(depth=self._config.queue_depth))

    def _use(self, config: Config, label_set: LabelSet) -> None:
        """Take over configuration and classes; advertise what is new, take down what is not."""
        self._config, self._label_set = config, label_set
        self._drivable = class_table(label_set, config.drivable_classes).astype(bool)
        self._obstacle = obstacle_table(label_set, config.obstacle_classes, self._drivable)
        old, self._topics = self._topics, {}
        for name, kind, build in self._offered():
            self._topics[name] = old.pop(name, None) or _Topic(self._publisher(kind, name), build)
        for topic in old.values():
            self._node.destroy_publisher(topic.publisher)

    def _offered(self) -> Iterator[tuple[str, type, Callable[[_Scene], Any]]]:
        """Yield name, type and making of each topic that depth makes possible."""
        config = self._config
        if config.depth.input == 'none':
            return
        yield 'points', PointCloud2, _points
        if Task.INSTANCE in self._tasks:
            yield 'instances_3d', Detection3DArray, self._detections
            yield 'markers', MarkerArray, self._markers
        if config.obstacle_classes:
            yield 'obstacles', PointCloud2, lambda scene: _chosen(scene, self._obstacle)
        if config.drivable_classes:
            yield 'drivable', PointCloud2, lambda scene: _chosen(scene, self._drivable)

    def _detections(self, scene: _Scene) -> Detection3DArray:
        return detections3d_message(
            scene.boxes, scene.segmented.segmentation, header=scene.segmented.header,
            class_texts=self._label_set.texts(scene.config.detection_class_id))

    def _markers(self, scene: _Scene) -> MarkerArray:
        return markers_message(scene.boxes, scene.segmented.segmentation,
                               names=self._label_set.names, colours=self._label_set.colours(),
                               header=scene.segmented.header)


def obstacle_table(label_set: LabelSet, names: tuple[str, ...], drivable: NDArray[np.bool_]
                   ) -> NDArray[np.bool_]:
    """Return a (256,) table of the obstacle classes; `*` is all that is not drivable, void too."""
    if '*' in names:
        return ~drivable
    return class_table(label_set, names).astype(bool)


def _points(scene: _Scene) -> PointCloud2:
    segmented = scene.segmented
    return points_message(scene.points, segmented.segmentation, header=segmented.header,
                          image=fit_image(segmented.frame.image, segmented.segmentation.size))


def _chosen(scene: _Scene, table: NDArray[np.bool_]) -> PointCloud2:
    """Return the points of the classes in a table, downsampled."""
    points = chosen_points(scene.points, scene.segmented.segmentation.class_map, table)
    return cloud_message(thin_out(points, voxel_m=scene.config.depth.voxel_m),
                         header=scene.segmented.header)


def _stamp_ns(header: Header) -> int:
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
