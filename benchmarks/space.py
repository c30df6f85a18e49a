# SPDX-License-Identifier: Apache-2.0
"""How far boxes in space and the ground grid are from the truth of the synthetic street."""
from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seg_ros.core.boxes3d import fit_boxes
from seg_ros.core.config import config_from
from seg_ros.core.ground import CameraPose, DRIVABLE, GridShape, GroundView, OBSTACLE
from seg_ros.core.points import back_project, metres_of, PointMap
from seg_ros.core.types import Segmentation, segmentation_from_ids
from seg_ros.models.pipeline import Pipeline
from seg_ros.sim import CLASS_NAMES, DepthSensor, Street, StreetFrame

ROOT = Path(__file__).resolve().parent.parent
SEEDS = (10_000, 10_003, 10_011, 10_020)  # in no training
STEP = 20  # frames between two that are measured: 2 s
MIN_AREA = 100  # pixels; smaller true instances are left out, as for PQ
MATCH_IOU = 0.5  # a predicted instance is the true one whose mask it overlaps so much
BINS_M = ((0, 10), (10, 20), (20, 40), (40, 100))
GROUND_BINS_M = ((0, 5), (5, 10), (10, 20), (20, 30))
DRIVABLE_NAMES = ('road', 'pavement')
OBSTACLE_NAMES = ('building', 'pole', 'tree', 'sign_symbol', 'fence', 'car', 'pedestrian',
                  'bicyclist')
SHAPE = GridShape(resolution_m=0.2, length_m=30.0, width_m=16.0)
OBSTACLE_DEPTH_M = 0.5
ROBOT_M = (0.1, 2.0)  # what stands between these heights is in a robot's way
BEARING = np.radians(1.0)
_GRID_FROM_LEVEL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


@dataclass(frozen=True, eq=False)
class Scene:
    """A frame as a robot has it, and as it is."""

    street: Street
    frame: StreetFrame
    truth: Segmentation
    labels: Segmentation  # what a model says
    first: StreetFrame  # of the same street: what the mounting is calibrated on
    seed: int

    def true_points(self) -> PointMap:
        """Return the true points."""
        return back_project(metres_of(self.frame.depth), self.street.camera)

    def measured_points(self) -> PointMap:
        """Return the points that the simulated sensor sees."""
        depth = DepthSensor().measure(self.frame.depth, image=self.frame.image,
                                      camera=self.street.camera, seed=self.seed)
        return back_project(metres_of(depth), self.street.camera)


def scenes(*, frames: int) -> Iterator[Scene]:
    """Yield the frames of all seeds with the labels of street_tiny."""
    pipeline = Pipeline(config_from({'panoptic_model': 'street_tiny', 'device': 'cpu'}))
    for seed in SEEDS:
        street = Street(seed=seed)
        first = street.frame(0)
        for index in tqdm(range(0, frames * STEP, STEP), desc=f'street {seed}'):
            frame = street.frame(index)
            labels = pipeline.merge(pipeline.infer([frame.image])[0])
            truth = segmentation_from_ids(frame.class_map, frame.instance_map)
            yield Scene(street=street, frame=frame, truth=truth, labels=labels, first=first,
                        seed=seed + index)


def measure(*, frames: int) -> dict[str, Any]:
    """Return the errors of boxes and grids for each condition, by distance."""
    boxes: dict[str, list[NDArray[np.float64]]] = {name: [] for name in BOX_CONDITIONS}
    grids: dict[str, list[Grid]] = {name: [] for name in GRID_CONDITIONS}
    for scene in scenes(frames=frames):
        for name, (points, labels) in BOX_CONDITIONS.items():
            boxes[name].append(box_errors(scene, points(scene), labels(scene)))
        for name, (pose, labels, clearance_m) in GRID_CONDITIONS.items():
            grids[name].append(grid_of(scene, pose(scene), labels(scene), clearance_m))
    return {'seeds': len(SEEDS), 'frames': frames * len(SEEDS), 'min_area': MIN_AREA,
            'boxes': {name: box_figures(np.concatenate(rows)) for name, rows in boxes.items()},
            'grid': {name: grid_figures(rows) for name, rows in grids.items()}}


BOX_CONDITIONS: Mapping[str, tuple[Callable[[Scene], PointMap], Callable[[Scene], Segmentation]]]
BOX_CONDITIONS = {
    'true depth, true labels': (Scene.true_points, lambda scene: scene.truth),
    'sensor, true labels': (Scene.measured_points, lambda scene: scene.truth),
    'sensor, street_tiny': (Scene.measured_points, lambda scene: scene.labels),
}


def box_errors(scene: Scene, points: PointMap, labels: Segmentation) -> NDArray[np.float64]:
    """Return a row an object (N, 5): distance, error of centre, size, near face, whole centre.

    All but the last are against the visible surface; NaN for an object without a box. The visible
    surface's box spans the true points of the object's true pixels.
    """
    boxes = fit_boxes(points, labels.instance_map, len(labels.instances))
    place_of_row = {int(row): place for place, row in enumerate(boxes.rows)}
    true_points, rows = scene.true_points(), []
    poses = {pose.instance_id: pose for pose in scene.frame.objects}
    for value in range(1, len(scene.truth.instances) + 1):
        mask = scene.truth.instance_map == value
        flat = np.flatnonzero(mask)
        if len(flat) < MIN_AREA:
            continue
        surface = true_points.take(flat).astype(np.float64)
        low, high = surface.min(axis=0), surface.max(axis=0)
        corners = poses[int(scene.frame.instance_map.ravel()[flat[0]])].corners_m
        errors = [np.nan] * 4
        place = place_of_row.get(_matching(labels, mask))
        if place is not None:
            centre, size = boxes.centres[place], boxes.sizes[place]
            whole = (corners.min(axis=0) + corners.max(axis=0)) / 2
            errors = [np.linalg.norm(centre - (low + high) / 2),
                      np.abs(size - (high - low)).mean(),
                      abs(centre[2] - size[2] / 2 - low[2]), np.linalg.norm(centre - whole)]
        rows.append([float(np.median(surface[:, 2])), *errors])
    return np.array(rows).reshape(-1, 5)


def _matching(labels: Segmentation, mask: NDArray[np.bool_]) -> int:
    """Return the row of the instance that overlaps a mask most, -1 where that is too little."""
    overlap = np.bincount(labels.instance_map[mask], minlength=len(labels.instances) + 1)
    areas = np.bincount(labels.instance_map.ravel(), minlength=len(labels.instances) + 1)
    iou = overlap[1:] / (areas[1:] + mask.sum() - overlap[1:])
    return int(np.argmax(iou)) if len(iou) and iou.max() >= MATCH_IOU else -1


def box_figures(rows: NDArray[np.float64]) -> dict[str, Any]:
    """Return the figures of each distance."""
    figures = {}
    for near, far in BINS_M:
        chosen = rows[(rows[:, 0] >= near) & (rows[:, 0] < far)]
        found = chosen[~np.isnan(chosen[:, 1])]
        row: dict[str, Any] = {'objects': len(chosen), 'with_box': len(found)}
        if len(found):
            names = ('centre_m', 'size_m', 'near_face_m', 'whole_centre_m')
            for name, column in zip(names, found[:, 1:].T, strict=True):
                p50, p90 = np.percentile(column, (50, 90))
                row[name] = {'p50': round(float(p50), 3), 'p90': round(float(p90), 3)}
        figures[f'{near} to {far} m'] = row
    return figures


def true_pose(scene: Scene) -> CameraPose:
    """Return where the camera is in this frame."""
    return _pose(scene.frame)


def mounting_pose(scene: Scene) -> CameraPose:
    """Return where the camera was when the drive began: as measured once, at its mounting."""
    return _pose(scene.first)


def _pose(frame: StreetFrame) -> CameraPose:
    return CameraPose(grid_from_optical=_GRID_FROM_LEVEL @ frame.optical_from_level.T,
                      position_m=np.array([0.0, 0.0, frame.camera_height_m]))


GRID_CONDITIONS: Mapping[str, tuple[Callable[[Scene], CameraPose],
                                    Callable[[Scene], Segmentation], float]]
GRID_CONDITIONS = {
    'true pose, true labels': (true_pose, lambda scene: scene.truth, 0.0),
    'true pose, true labels, 0.3 m clearance': (true_pose, lambda scene: scene.truth, 0.3),
    'pose as mounted, street_tiny': (mounting_pose, lambda scene: scene.labels, 0.0),
    'pose as mounted, street_tiny, 0.3 m clearance': (mounting_pose, lambda scene: scene.labels,
                                                      0.3),
}


@dataclass(frozen=True, eq=False)
class Grid:
    """A grid beside the truth."""

    cells: NDArray[np.int8]
    ground: NDArray[np.bool_]  # cells where drivable ground is seen
    blocked: NDArray[np.bool_]  # cells where something stands in a robot's way


def table_of(names: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return a (256,) table of the street's classes."""
    table = np.zeros(256, bool)
    table[[CLASS_NAMES.index(name) for name in names]] = True
    return table


def grid_of(scene: Scene, pose: CameraPose, labels: Segmentation, clearance_m: float) -> Grid:
    """Return the grid of a frame and the truth from its true depth and pose."""
    drivable, obstacle = table_of(DRIVABLE_NAMES), table_of(OBSTACLE_NAMES)
    view = GroundView(scene.street.camera, pose, SHAPE)
    cells = view.grid(labels.class_map, drivable=drivable, obstacle=obstacle,
                      obstacle_depth_m=OBSTACLE_DEPTH_M, clearance_m=clearance_m)
    flat = np.flatnonzero(np.isfinite(scene.frame.depth))
    truth = true_pose(scene)
    level = scene.true_points().take(flat) @ truth.level_from_optical().T
    up = level[:, 2] + truth.position_m[2]
    classes = scene.frame.class_map.ravel()[flat]
    standing = obstacle[classes] & (up > ROBOT_M[0]) & (up < ROBOT_M[1])
    return Grid(cells=cells, ground=_hit(level[drivable[classes]]), blocked=_hit(level[standing]))


def _hit(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return the cells that points (N, 3) of the level frame fall into."""
    rows, columns = SHAPE.cells
    column = np.floor(points[:, 0] / SHAPE.resolution_m).astype(int)
    row = np.floor(points[:, 1] / SHAPE.resolution_m + rows / 2).astype(int)
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    cells = np.zeros(SHAPE.cells, bool)
    cells[row[inside], column[inside]] = True
    return cells


def grid_figures(grids: list[Grid]) -> dict[str, Any]:
    """Return the figures of each distance from the camera."""
    rows, columns = SHAPE.cells
    x = (np.arange(columns) + 0.5) * SHAPE.resolution_m
    y = (np.arange(rows)[:, None] + 0.5 - rows / 2) * SHAPE.resolution_m
    distance = np.hypot(x, y)
    bearing = np.floor(np.arctan2(y, x) / BEARING).astype(int)
    offs = np.concatenate([_nearest_errors(grid, distance, bearing) for grid in grids])
    figures = {}
    for near, far in GROUND_BINS_M:
        ring = (distance >= near) & (distance < far)
        ground = sum(int((grid.ground & ~grid.blocked & ring).sum()) for grid in grids)
        kept = sum(int((grid.ground & ~grid.blocked & ring & (grid.cells == DRIVABLE)).sum())
                   for grid in grids)
        free = sum(int(((grid.cells == DRIVABLE) & ring).sum()) for grid in grids)
        wrong = sum(int(((grid.cells == DRIVABLE) & grid.blocked & ring).sum()) for grid in grids)
        rays = offs[(offs[:, 0] >= near) & (offs[:, 0] < far)]
        seen = rays[np.isfinite(rays[:, 1])]
        row: dict[str, Any] = {
            'drivable_cells': ground, 'drivable_found': round(kept / max(ground, 1), 4),
            'free_but_blocked': round(wrong / max(free, 1), 4),
            'bearings': len(rays),
            'bearings_with_obstacle': round(len(seen) / max(len(rays), 1), 4)}
        if len(seen):
            p50, p90 = np.percentile(np.abs(seen[:, 1]), (50, 90))
            row['nearest_obstacle_m'] = {'p50': round(float(p50), 3), 'p90': round(float(p90), 3)}
        figures[f'{near} to {far} m'] = row
    return figures


def _nearest_errors(grid: Grid, distance: NDArray[np.float64], bearing: NDArray[np.int_]
                    ) -> NDArray[np.float64]:
    """Return a row a bearing with an obstacle (N, 2): its distance, and how far off the grid is.

    inf where the grid has no obstacle at this bearing.
    """
    rows = []
    for number in np.unique(bearing[grid.blocked]):
        ray = bearing == number
        true = distance[ray & grid.blocked].min()
        found = distance[ray & (grid.cells == OBSTACLE)]
        rows.append([true, found.min() - true if len(found) else np.inf])
    return np.array(rows).reshape(-1, 2)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--frames', type=int, default=10, help='of each street')
    parser.add_argument('--json', type=Path, default=ROOT / 'reports' / 'space.json')
    arguments = parser.parse_args()
    report = measure(frames=arguments.frames)
    print(json.dumps(report, indent=1))
    arguments.json.write_text(json.dumps(report, indent=1) + '\n')


if __name__ == '__main__':
    main()
