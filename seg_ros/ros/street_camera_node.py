# SPDX-License-Identifier: Apache-2.0
"""Plays the synthetic street as a camera with depth, and with the truth beside it."""

from __future__ import annotations

from collections.abc import Callable

from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from seg_ros.core.config import Parameter
from seg_ros.ros.camera import CameraNode
from seg_ros.ros.images import image_message
from seg_ros.ros.process import run_node
from seg_ros.sim import DepthSensor, Street

PARAMETERS = (
    Parameter('width', 640, 'width of the images, pixels', minimum=64, maximum=4096),
    Parameter('height', 480, 'height of the images, pixels', minimum=64, maximum=4096),
    Parameter('rate_hz', 15.0, 'frames a second', minimum=0.1, maximum=1000.0),
    Parameter('seed', 0, 'which street; every seed is another one', minimum=0),
    Parameter(
        'depth_sensor',
        False,
        'let a simulated stereo camera measure depth, with noise, holes and fattened edges; '
        'false publishes true depth',
    ),
    Parameter('first_frame', 0, 'frame of the street to begin with', minimum=0),
)


class StreetCameraNode(CameraNode):
    """A camera in a car that drives along a street."""

    def __init__(self) -> None:
        """Build the street and start; raise ValueError with one sentence for a bad parameter."""
        super().__init__('street_camera_node', PARAMETERS)
        settings = self.settings
        rate_hz = float(settings['rate_hz'])  # type: ignore[arg-type]
        self._street = Street(
            seed=settings['seed'],
            width=settings['width'],
            height=settings['height'],
            rate_hz=rate_hz,
        )
        self._index = int(settings['first_frame'])  # type: ignore[arg-type]
        self._camera_info = camera_info_of(self._street)
        self._info = self.advertise(CameraInfo, 'camera_info')
        self._image = self.advertise(Image, 'image')
        self._depth = self.advertise(Image, 'depth')
        self._depth_info = self.advertise(CameraInfo, 'depth/camera_info')
        self._semantic = self.advertise(Image, 'truth/semantic')
        self._instance = self.advertise(Image, 'truth/instance')
        self.start(rate_hz=rate_hz)

    def prepare(self) -> bool:
        """Draw the next frame; a street has no end."""
        self._frame = frame = self._street.frame(self._index)
        self._measured = frame.depth
        if self.settings['depth_sensor']:
            self._measured = DepthSensor().measure(
                frame.depth, image=frame.image, camera=self._street.camera, seed=self._index
            )
        self._index += 1
        return True

    def publish(self, header: Header) -> None:
        """Publish image, calibration, depth and truth."""
        frame = self._frame
        self._camera_info.header = header
        self._info.publish(self._camera_info)
        self._depth_info.publish(self._camera_info)
        for publisher, pixels, encoding in (
            (self._image, frame.image, 'rgb8'),
            (self._depth, self._measured, '32FC1'),
            (self._semantic, frame.class_map, 'mono8'),
            (self._instance, frame.instance_map, '32SC1'),
        ):
            # a message that nobody hears still costs its copy
            if publisher.get_subscription_count():
                publisher.publish(image_message(pixels, encoding=encoding, header=header))

    def image_subscribers(self) -> int:
        """Return how many subscribers the image has."""
        return self._image.get_subscription_count()


def camera_info_of(street: Street) -> CameraInfo:
    """Return the calibration of the street's camera, which has no distortion."""
    camera = street.camera
    k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    return CameraInfo(
        width=camera.width,
        height=camera.height,
        distortion_model='plumb_bob',
        d=[0.0] * 5,
        k=k,
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0],
    )


def run(stop: Callable[[], bool]) -> int:
    """Run the camera until stop() or its last frame; return the exit code."""
    return run_node(StreetCameraNode, name='street_camera_node', stop=stop)
