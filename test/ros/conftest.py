# SPDX-License-Identifier: Apache-2.0
"""Lends each test a ROS domain, nodes in it, and a robot that talks to them."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sensor_msgs.msg import Image

from faults.robot import Launcher, OUTPUTS, Robot
from seg_ros.ros.domain import lent_domain


@pytest.fixture
def domain() -> Iterator[int]:
    """Lend a ROS domain that no other test on this machine has."""
    with lent_domain() as number:
        yield number


@pytest.fixture(scope='module')
def module_domain() -> Iterator[int]:
    """Lend a ROS domain for the tests of a module that share a node."""
    with lent_domain() as number:
        yield number


@pytest.fixture
def launch(domain: int, tmp_path: Path) -> Iterator[Launcher]:
    """Start executables in the test's domain."""
    launcher = Launcher(domain, tmp_path)
    yield launcher
    launcher.close()


@pytest.fixture(scope='module')
def module_launch(module_domain: int, tmp_path_factory: pytest.TempPathFactory
                  ) -> Iterator[Launcher]:
    """Start executables that the tests of a module share."""
    launcher = Launcher(module_domain, tmp_path_factory.mktemp('nodes'))
    yield launcher
    launcher.close()


@pytest.fixture
def robot(domain: int) -> Iterator[Robot]:
    """Join the test's domain as camera and consumer of the usual outputs."""
    robot = Robot(domain)
    yield robot
    robot.close()


@pytest.fixture(scope='module')
def checkerboard_robot(module_domain: int, module_launch: Launcher) -> Iterator[Robot]:
    """Share one node with the checkerboard model among the tests of a module."""
    robot = Robot(module_domain, outputs=OUTPUTS | {'semantic/confidence': Image,
                                                   'foreground/image_raw': Image})
    module_launch('segmentation_node', parameters={
        'panoptic_model': 'checkerboard', 'confidence': True,
        'foreground_classes': ['ball', 'plant']})
    robot.wait_for_node()
    yield robot
    robot.close()


@pytest.fixture
def make_robot(domain: int) -> Iterator[Callable[..., Robot]]:
    """Join the test's domain with other outputs than usual."""
    yield from robots_in(domain)


@pytest.fixture(scope='module')
def make_module_robot(module_domain: int) -> Iterator[Callable[..., Robot]]:
    """Join the module's domain with other outputs than usual."""
    yield from robots_in(module_domain)


def robots_in(domain: int) -> Iterator[Callable[..., Robot]]:
    """Yield what makes robots, and close them."""
    robots: list[Robot] = []

    def make(outputs: dict[str, type]) -> Robot:
        robots.append(Robot(domain, outputs=outputs))
        return robots[-1]
    yield make
    for robot in robots:
        robot.close()
