# SPDX-License-Identifier: Apache-2.0
"""Plays CamVid val at 15 Hz through the node, against the library on the same frames."""
from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
import subprocess
import sys
import time
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from tqdm import tqdm

from seg_ros.core.config import config_from
from seg_ros.core.metrics import ConfusionMatrix
from seg_ros.models.pipeline import Pipeline
from seg_ros.ros.domain import lent_domain
from seg_ros.ros.images import image_message
from seg_ros.sim.recording import open_recording

ROOT = Path(__file__).resolve().parent.parent
RATE_HZ = 15.0
PRECISION = 'fp32'
"""Of both: `auto` measures, and may choose another one for the library than for the node."""

CAMVID = Path(os.environ.get('CAMVID_DIR', ROOT.parent / 'shared' / 'data' / 'camvid'))


def play(images: list[NDArray[np.uint8]], *, threads: int) -> dict[int, NDArray[np.uint8]]:
    """Return frame number -> class map of the frames that the node answered."""
    with lent_domain() as domain:
        return _play(images, threads=threads, domain=domain)


def _play(images: list[NDArray[np.uint8]], *, threads: int, domain: int
          ) -> dict[int, NDArray[np.uint8]]:
    environment = os.environ | {'ROS_DOMAIN_ID': str(domain),
                                'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    child = subprocess.Popen(
        [Path(sys.executable).parent / 'segmentation_node', '--ros-args',
         '-p', f'threads:={threads}', '-p', 'device:=cpu', '-p', f'model.precision:={PRECISION}'],
        env=environment)
    context = Context()
    rclpy.init(context=context, domain_id=domain)
    node = Node('camvid', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    answers: dict[int, NDArray[np.uint8]] = {}

    def keep(message: Image) -> None:
        answers[message.header.stamp.sec] = np.frombuffer(message.data, np.uint8).reshape(
            message.height, message.width)
    try:
        publisher = node.create_publisher(Image, 'image', QoSProfile(depth=5))
        node.create_subscription(Image, 'semantic/image_raw', keep, QoSProfile(depth=50))
        _spin(executor, 60.0, until=lambda: publisher.get_subscription_count()
              and node.count_publishers('semantic/image_raw'))
        start = time.monotonic()
        for number, image in enumerate(tqdm(images, desc='play', unit='frame')):
            header = Header(frame_id='camera')
            header.stamp.sec = number
            publisher.publish(image_message(image, encoding='rgb8', header=header))
            _spin(executor, start + (number + 1) / RATE_HZ - time.monotonic())
        _spin(executor, 10.0, until=lambda: len(images) - 1 in answers)
    finally:
        child.terminate()
        child.wait(timeout=10.0)
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()
    return answers


def _spin(executor: SingleThreadedExecutor, seconds: float, *, until: Any = lambda: False) -> None:
    deadline = time.monotonic() + seconds
    while not until() and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=max(0.0, min(0.02, deadline - time.monotonic())))


def main() -> None:
    """Play, compare, write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--json', type=Path, default=ROOT / 'reports' / 'camvid_stream.json')
    arguments = parser.parse_args()
    images = [frame.image for frame in open_recording(CAMVID / 'val' / 'images')]
    labels = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
              for path in sorted((CAMVID / 'val' / 'labels').iterdir())]
    pipeline = Pipeline(config_from({
        'device': 'cpu', 'threads': arguments.threads, 'model.precision': PRECISION}))
    expected = [pipeline.segment(image).class_map for image in tqdm(images, desc='library')]
    answers = play(images, threads=arguments.threads)
    confusion = ConfusionMatrix(pipeline.label_set)
    for number, class_map in answers.items():
        confusion.update(labels[number], class_map)
    report = {
        'rate_hz': RATE_HZ, 'frames': len(images), 'answered': len(answers),
        'equal_pixel_for_pixel': sum(
            np.array_equal(class_map, expected[number]) for number, class_map in answers.items()),
        'miou_of_answered': round(confusion.miou(), 5)}
    arguments.json.parent.mkdir(exist_ok=True)
    arguments.json.write_text(json.dumps(report, indent=2) + '\n')
    print(json.dumps(report))


if __name__ == '__main__':
    main()
