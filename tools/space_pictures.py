# SPDX-License-Identifier: Apache-2.0
"""Draws what the outputs in space look like on the synthetic street: docs/space_*.png."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_ros.core.boxes3d import Boxes3D, fit_boxes
from seg_ros.core.config import config_from
from seg_ros.core.ground import CameraPose, DRIVABLE, GridShape, GroundView, OBSTACLE, UNKNOWN
from seg_ros.core.labels import LabelSet
from seg_ros.core.overlay import draw_overlay
from seg_ros.core.pinhole import Pinhole
from seg_ros.core.points import back_project, metres_of, PointMap
from seg_ros.core.types import Segmentation
from seg_ros.models.pipeline import Pipeline
from seg_ros.sim import DepthSensor, Street, StreetFrame

ROOT = Path(__file__).resolve().parent.parent
DRIVABLE_NAMES = ('road', 'pavement')
OBSTACLE_NAMES = ('building', 'pole', 'tree', 'sign_symbol', 'fence', 'car', 'pedestrian',
                  'bicyclist')
EDGES = [(i, j) for i in range(8) for j in range(i) if bin(i ^ j).count('1') == 1]
PAPER, INK = (24, 24, 28), (235, 235, 235)
GROUND_COLOURS = {DRIVABLE: (70, 150, 80), OBSTACLE: (215, 60, 50), UNKNOWN: (62, 62, 68)}
SHAPE = GridShape(resolution_m=0.1, length_m=24.0, width_m=16.0)
_GRID_FROM_LEVEL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


def main() -> None:
    """Draw the three pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seed', type=int, default=10_011, help='which street')
    parser.add_argument('--frame', type=int, default=60, help='which frame')
    parser.add_argument('--out', type=Path, default=ROOT / 'docs')
    arguments = parser.parse_args()
    street = Street(seed=arguments.seed)
    frame = street.frame(arguments.frame)
    pipeline = Pipeline(config_from({'panoptic_model': 'street_tiny', 'device': 'cpu'}))
    labels = pipeline.merge(pipeline.infer([frame.image])[0])
    depth = DepthSensor().measure(frame.depth, image=frame.image, camera=street.camera, seed=0)
    points = back_project(metres_of(depth), street.camera)
    boxes = fit_boxes(points, labels.instance_map, len(labels.instances))
    names = pipeline.label_set
    pictures = {
        'boxes': draw_boxes(frame, labels, boxes, camera=street.camera, names=names),
        'cloud': draw_cloud(frame, labels, points, boxes, camera=street.camera, names=names),
        'grid': draw_ground(frame, labels, camera=street.camera, names=names)}
    arguments.out.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        path = arguments.out / f'space_{name}.png'
        cv2.imwrite(str(path), picture[..., ::-1], (cv2.IMWRITE_PNG_COMPRESSION, 9))
        print(f'written to {path}')


def corners_of(boxes: Boxes3D) -> NDArray[np.float64]:
    """Return the corners (B, 8, 3); corner i has the signs of the bits of i."""
    signs = np.array([[(i >> axis & 1) - 0.5 for axis in range(3)] for i in range(8)])
    return boxes.centres[:, None] + signs * boxes.sizes[:, None]


def draw_boxes(frame: StreetFrame, labels: Segmentation, boxes: Boxes3D, *, camera: Pinhole,
               names: LabelSet) -> NDArray[np.uint8]:
    """Draw the boxes over the image, with class and distance."""
    scale = 1.5
    picture = cv2.resize(draw_overlay(frame.image, labels, names), None, fx=scale, fy=scale,
                         interpolation=cv2.INTER_CUBIC)
    for place in np.argsort(-boxes.centres[:, 2]):
        corners = corners_of(boxes)[place]
        in_front = np.column_stack([corners[:, :2], np.maximum(corners[:, 2], 0.5)])
        pixels = camera.pixels_of(in_front)
        ends = np.rint(scale * pixels).astype(int)
        for i, j in EDGES:
            near = corners[[i, j], 2].mean() < boxes.centres[place, 2]
            cv2.line(picture, ends[i].tolist(), ends[j].tolist(), (255, 235, 90),
                     3 if near else 1, cv2.LINE_AA)
        name = names.names[labels.instances.class_ids[boxes.rows[place]]]
        near_m = boxes.centres[place, 2] - boxes.sizes[place, 2] / 2
        if near_m < 30:
            _write(picture, f'{name} {near_m:.1f} m',
                   (int(ends[:, 0].min()), max(int(ends[:, 1].min()) - 8, 16)))
    return picture


def draw_cloud(frame: StreetFrame, labels: Segmentation, points: PointMap, boxes: Boxes3D, *,
               camera: Pinhole, names: LabelSet) -> NDArray[np.uint8]:
    """Draw the labelled cloud from above and behind the camera, with the boxes."""
    view = Pinhole(width=1280, height=760, fx=1250, fy=1250, cx=639.5, cy=440.0)
    pitch, behind = math.radians(22), np.array([0.0, -6.0, -8.0])
    nod = np.array([[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)],
                    [0, math.sin(pitch), math.cos(pitch)]])
    flat = np.flatnonzero(points.measured & (points.z < 30))
    seen = (points.take(flat) - behind) @ nod.T
    shade = 0.35 + 0.65 * frame.image.reshape(-1, 3)[flat].mean(axis=1, keepdims=True) / 160
    colour = np.clip(names.colours()[labels.class_map.ravel()[flat]] * 0.8 + 45, 0, 255) \
        * np.minimum(shade, 1.15)
    picture = np.full((view.height, view.width, 3), PAPER, np.uint8)
    order = np.argsort(-seen[:, 2])
    pixels = np.rint(view.pixels_of(seen[order]))
    colour, size = np.minimum(colour[order], 255).astype(np.uint8), 3
    on = (pixels >= 0).all(axis=1) & (pixels < (view.width - size, view.height - size)).all(axis=1)
    u, v = pixels[on].astype(int).T
    for dy in range(size):
        for dx in range(size):
            picture[v + dy, u + dx] = colour[on]
    for corners, centre in zip(corners_of(boxes), boxes.centres, strict=True):
        if centre[2] < 30:
            ends = np.rint(view.pixels_of((corners - behind) @ nod.T)).astype(int)
            for i, j in EDGES:
                cv2.line(picture, ends[i].tolist(), ends[j].tolist(), (255, 235, 90), 2,
                         cv2.LINE_AA)
    place = 20
    for class_id in np.unique(labels.class_map[labels.class_map < len(names)]).tolist():
        red, green, blue = np.clip(names.colours()[class_id] * 0.8 + 45, 0, 255).astype(int)
        cv2.rectangle(picture, (place, 728), (place + 16, 744),
                      (int(red), int(green), int(blue)), -1)
        _write(picture, names.names[class_id], (place + 22, 742))
        place += 44 + 11 * len(names.names[class_id])
    return picture


def draw_ground(frame: StreetFrame, labels: Segmentation, *, camera: Pinhole, names: LabelSet
                ) -> NDArray[np.uint8]:
    """Draw the grid of the image alone beside what true depth shows from above."""
    pose = CameraPose(grid_from_optical=_GRID_FROM_LEVEL @ frame.optical_from_level.T,
                      position_m=np.array([0.0, 0.0, frame.camera_height_m]))
    drivable, obstacle = np.zeros((2, 256), bool)
    drivable[[names.id_of(name) for name in DRIVABLE_NAMES]] = True
    obstacle[[names.id_of(name) for name in OBSTACLE_NAMES]] = True
    cells = GroundView(camera, pose, SHAPE).grid(
        labels.class_map, drivable=drivable, obstacle=obstacle, obstacle_depth_m=0.5,
        clearance_m=0.3)
    truth = np.full(SHAPE.cells, UNKNOWN, np.int8)
    true_points = back_project(metres_of(frame.depth), camera)
    flat = np.flatnonzero(true_points.measured)
    level = true_points.take(flat) @ pose.level_from_optical().T
    up, classes = level[:, 2] + frame.camera_height_m, frame.class_map.ravel()[flat]
    for table, value in ((drivable, DRIVABLE), (obstacle, OBSTACLE)):
        chosen = level[table[classes] & (up < 2.0)]
        column = (chosen[:, 0] / SHAPE.resolution_m).astype(int)
        row = np.floor(chosen[:, 1] / SHAPE.resolution_m + SHAPE.cells[0] / 2).astype(int)
        inside = (column < SHAPE.cells[1]) & (row >= 0) & (row < SHAPE.cells[0])
        truth[row[inside], column[inside]] = value
    titles = ('drivable_grid: one image, no depth', 'what true depth shows')
    panels = [_plan(grid, title) for grid, title in zip((cells, truth), titles, strict=True)]
    gap = np.full((panels[0].shape[0], 24, 3), PAPER, np.uint8)
    return np.hstack([panels[0], gap, panels[1]])


def _plan(cells: NDArray[np.int8], title: str) -> NDArray[np.uint8]:
    """Draw a grid with forward up and left on the left."""
    scale = 4
    plan = np.empty((*cells.shape, 3), np.uint8)
    for value, colour in GROUND_COLOURS.items():
        plan[cells == value] = colour
    plan = np.ascontiguousarray(plan[::-1].transpose(1, 0, 2)[::-1])
    plan = cv2.resize(plan, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    foot = plan.shape[1] // 2, plan.shape[0] - 1
    for metres in (5, 10, 15, 20):
        radius = round(metres / SHAPE.resolution_m * scale)
        cv2.circle(plan, foot, radius, (150, 150, 155), 1, cv2.LINE_AA)
        _write(plan, f'{metres} m', (foot[0] + 4, foot[1] - radius - 4))
    head = np.full((40, plan.shape[1], 3), PAPER, np.uint8)
    _write(head, title, (8, 27))
    return np.vstack([head, plan])


def _write(picture: NDArray[np.uint8], text: str, place: tuple[int, int]) -> None:
    """Write light text with a dark rim."""
    for colour, thickness in ((PAPER, 4), (INK, 1)):
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.55, colour, thickness,
                    cv2.LINE_AA)


if __name__ == '__main__':
    main()
