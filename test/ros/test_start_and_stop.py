# SPDX-License-Identifier: Apache-2.0
"""Starting and ending: bad settings are one sentence, signals end cleanly at any time."""
from __future__ import annotations

import signal
import time

from lifecycle_msgs.msg import Transition
import numpy as np
import pytest
from sensor_msgs.msg import Image

from seg_ros.models.checkerboard import class_of_colour


@pytest.mark.parametrize('parameters, words', [
    ({'panoptic_modle': 'street_tiny'},
     "unknown parameter 'panoptic_modle', did you mean 'panoptic_model'?"),
    ({'score_threshold': 2.0}, 'score_threshold is 2.0, expected 0.0 to 1.0'),
    ({'score_threshold': 'high'}, "score_threshold is 'high', expected a float"),
    ({'device': 'gpu'}, "device is 'gpu', expected auto, cpu or cuda:N"),
    ({'panoptic_model': 'street_tiny', 'semantic_model': 'checkerboard'},
     'expected either a panoptic model or semantic and instance models'),
    ({'panoptic_model': 'street_huge'}, "unknown model 'street_huge', expected one of"),
    ({'semantic_model': 'checkerboard/overlapping'}, 'serves instance segmentation only'),
    ({'panoptic_model': 'checkerboard', 'device': 'cuda:7'}, "device 'cuda:7' is not there"),
    ({'panoptic_model': 'checkerboard', 'classes': ['graund']}, "unknown class 'graund'"),
    ({'panoptic_model': 'checkerboard', 'foreground_classes': ['moon']}, "unknown class 'moon'"),
    ({'panoptic_model': 'street_tiny', 'panoptic_weights': 'no/such/file.safetensors'},
     'no/such/file.safetensors'),
])
def test_a_bad_setting_ends_the_start_with_one_sentence(launch, parameters, words):
    process = launch('segmentation_node', parameters=parameters)
    assert process.wait(timeout_s=40) == 1
    output = process.output()
    assert words in output
    assert 'Traceback' not in output
    assert sum(words in line for line in output.splitlines()) == 1


def test_damaged_weights_are_refused_and_a_mended_file_configures(launch, robot, tmp_path):
    weights = tmp_path / 'weights.safetensors'
    weights.write_bytes(b'<html>not found</html>')
    process = launch('segmentation_node', parameters={
        'panoptic_model': 'street_tiny', 'panoptic_weights': str(weights), 'autostart': False})
    assert robot.state() == 'unconfigured'
    assert not robot.change_state(Transition.TRANSITION_CONFIGURE)
    assert robot.state() == 'unconfigured'
    assert str(weights) in process.output()
    assert 'Traceback' not in process.output()
    assert robot.set_parameters(panoptic_weights='') == (True, '')
    assert robot.change_state(Transition.TRANSITION_CONFIGURE)
    assert robot.change_state(Transition.TRANSITION_ACTIVATE)
    assert robot.state() == 'active'


def test_a_stranger_among_the_parameters_is_a_warning(launch, robot):
    process = launch('segmentation_node', parameters={
        'panoptic_model': 'checkerboard', 'wheel_radius': 0.2, 'use_sim_time': False})
    robot.wait_for_node()
    assert "parameter 'wheel_radius' is not one of this node, ignored" in process.output()
    assert 'use_sim_time' not in process.output()


def test_a_lifecycle_manager_can_drive_the_node_and_mistakes_do_not_end_it(launch, robot):
    launch('segmentation_node', parameters={'panoptic_model': 'checkerboard',
                                            'autostart': False})
    assert robot.state() == 'unconfigured'
    assert not robot.change_state(Transition.TRANSITION_ACTIVATE)
    assert not robot.change_state(99)
    assert robot.change_state(Transition.TRANSITION_CONFIGURE)
    assert not robot.change_state(Transition.TRANSITION_CONFIGURE)
    for _ in range(2):
        assert robot.change_state(Transition.TRANSITION_ACTIVATE)
        robot.wait_for_node()
        picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        answer = robot.ask(robot.image(picture))
        np.testing.assert_array_equal(answer.pixels('semantic/image_raw'),
                                      class_of_colour(picture))
        assert robot.change_state(Transition.TRANSITION_DEACTIVATE)
        # in the loop: the next image must not be sent to the subscription that is gone
        robot.spin_until(lambda: not robot.images.get_subscription_count(),
                         what='an inactive node hears no camera')
    assert robot.change_state(Transition.TRANSITION_CLEANUP)
    robot.spin_until(lambda: not robot.node.count_publishers('semantic/image_raw'),
                     what='topics are gone')
    assert robot.change_state(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert robot.state() == 'finalized'


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('executable', ['segmentation_node', 'street_camera_node'])
def test_a_signal_ends_a_running_node_cleanly(launch, robot, number, executable):
    process = launch(executable)
    if executable == 'segmentation_node':
        robot.wait_for_node()
    else:
        robot.spin_until(lambda: robot.node.count_publishers('image') == 2, timeout_s=40,
                         what='the camera is up')
    _end_cleanly(process, number)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('delay_s', [0.3, 0.6, 1.0, 1.5, 2.0])
def test_a_signal_while_starting_ends_it_cleanly(launch, robot, number, delay_s):
    process = launch('segmentation_node')
    robot.spin_for(delay_s)
    _end_cleanly(process, number)


def test_a_signal_in_the_stream_ends_it_cleanly(launch, robot):
    process = launch('segmentation_node', parameters={'always_run': True})
    robot.wait_for_node()
    message = robot.image(np.zeros((720, 1280, 3), np.uint8))
    for _ in range(3):
        robot.images.publish(message)
    robot.spin_until(lambda: robot.order, what='the first answer')
    robot.images.publish(message)
    _end_cleanly(process, signal.SIGINT)


def _end_cleanly(process, number):
    start = time.monotonic()
    code = process.end(number)
    seconds = time.monotonic() - start
    output = process.output()
    assert code == 0, output
    assert seconds < 3.0
    assert 'Traceback' not in output
    assert 'Error' not in output


def test_only_the_newest_frame_waits_and_the_others_are_counted(launch, make_robot):
    robot = make_robot({'semantic/image_raw': Image})
    launch('segmentation_node')
    robot.wait_for_node()
    message = robot.image(np.zeros((720, 1280, 3), np.uint8))
    robot.ask(message, timeout_s=40)
    for _ in range(30):
        message.header = robot.header()
        robot.images.publish(message)
        robot.spin_for(0.005)
    last = (message.header.stamp.sec, message.header.stamp.nanosec, 'camera')
    robot.spin_until(lambda: robot.answers[last].messages, what='the newest frame is answered')
    answered = [key for _, key in robot.order]
    assert answered == sorted(answered)

    def accounted_for():
        counts = {name: int(robot.diagnostic_values().get(name, -1))
                  for name in ('received', 'processed', 'dropped')}
        # diagnostics come once a second: older ones know of fewer frames
        return counts['processed'] == len(answered) \
            and counts['processed'] + counts['dropped'] == counts['received']
    robot.spin_until(accounted_for, what='every frame is accounted for')


def test_diagnostics_say_that_models_are_being_loaded_and_services_answer(launch, robot):
    process = launch('segmentation_node', parameters={'panoptic_model': 'faulty/slow@0=30'})
    robot.wait_for_diagnostic('message', lambda text: 'loading its models for' in text)
    assert robot.state() == 'unconfigured'
    _end_cleanly(process, signal.SIGINT)


def test_cleanup_gives_the_models_memory_back(launch, robot):
    process = launch('segmentation_node', parameters={'panoptic_model': 'faulty/ballast@0',
                                                      'autostart': False})
    assert robot.state() == 'unconfigured'
    empty_mb = process.rss_mb()
    for _ in range(3):
        assert robot.change_state(Transition.TRANSITION_CONFIGURE)
        assert process.rss_mb() - empty_mb > 200
        assert robot.change_state(Transition.TRANSITION_CLEANUP)
        robot.spin_until(lambda: process.rss_mb() - empty_mb < 60, what='memory is given back')


def test_a_manager_gets_a_heartbeat_while_the_node_is_active(launch, robot, tmp_path):
    package = tmp_path / 'bondpy'
    package.mkdir()
    (package / '__init__.py').touch()
    (package / 'bondpy.py').write_text(BONDPY)
    told = tmp_path / 'told'
    launch('segmentation_node', parameters={'panoptic_model': 'checkerboard',
                                            'autostart': False},
           environment={'PYTHONPATH': str(tmp_path), 'TOLD': str(told)})
    assert robot.change_state(Transition.TRANSITION_CONFIGURE)
    assert not told.exists()
    assert robot.change_state(Transition.TRANSITION_ACTIVATE)
    assert robot.change_state(Transition.TRANSITION_DEACTIVATE)
    assert robot.change_state(Transition.TRANSITION_ACTIVATE)
    beat = 'bond segmentation_node|period 0.1|timeout 4.0|start'.split('|')
    assert told.read_text().splitlines() == [*beat, 'shutdown', *beat]


# what the package of ROS offers, which is not on PyPI; it writes down what it is asked for
BONDPY = """
import os

class Bond:
    def __init__(self, node, topic, id, on_broken=None, on_formed=None):
        self._tell(f'{topic} {id}')

    def set_heartbeat_period(self, seconds):
        self._tell(f'period {seconds}')

    def set_heartbeat_timeout(self, seconds):
        self._tell(f'timeout {seconds}')

    def start(self):
        self._tell('start')

    def shutdown(self):
        self._tell('shutdown')

    def _tell(self, text):
        with open(os.environ['TOLD'], 'a') as file:
            print(text, file=file)
"""
