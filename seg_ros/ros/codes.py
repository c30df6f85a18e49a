# SPDX-License-Identifier: Apache-2.0
"""What can go wrong: a stable code each, which diagnostics carry and the docs list."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """A line of the table in docs/reliability.md; the code is also the name of its counter."""

    name: str
    level: str  # ERROR or WARN
    meaning: str
    remedy: str


CODES = (
    Code('rejected.encoding', 'ERROR', 'an image in an encoding that is not read',
         'choose one of the encodings in the README'),
    Code('rejected.size', 'ERROR', 'an image without pixels, with more than `max_image_pixels`, '
         'or of a size that its encoding cannot have', 'mend the driver, or raise the limit'),
    Code('rejected.step', 'ERROR', 'rows shorter than their pixels', 'mend the driver'),
    Code('rejected.length', 'ERROR', 'more or fewer bytes than step x height', 'mend the driver'),
    Code('rejected.compressed', 'ERROR', 'data that is no whole JPEG or PNG', 'mend the driver'),
    Code('rejected.camera_info', 'ERROR', 'no calibration, or one of another image: nothing can '
         'be placed in space', 'publish camera_info for the size of the rectified image'),
    Code('rejected.depth_encoding', 'ERROR', 'depth that is neither 16UC1 nor 32FC1',
         'convert it (depth_image_proc)'),
    Code('rejected.depth_size', 'ERROR', 'depth without pixels, with too many, in another shape '
         'than the image, or a cloud that is not organised', 'publish depth/camera_info'),
    Code('rejected.depth_step', 'ERROR', 'rows of depth shorter than their pixels',
         'mend the driver'),
    Code('rejected.depth_length', 'ERROR', 'more or fewer bytes of depth than step x height',
         'mend the driver'),
    Code('rejected.depth_fields', 'ERROR', 'a cloud without x, y and z as FLOAT32',
         'choose another cloud'),
    Code('rejected.depth_frame', 'ERROR', 'depth in another frame than the image',
         'register it to the image (depth_image_proc/register)'),
    Code('failed.pose', 'ERROR', 'tf does not know where the camera is above the ground',
         'publish the transform, or set `ground.pose` to parameters'),
    Code('depth.missing', 'WARN', 'a frame whose depth did not come within `depth.max_wait_s`; '
         'its 2D outputs are out', 'look at the stamps of both, and at `depth.tolerance_s`'),
    Code('failed.model', 'ERROR', 'the model raised an exception', 'see the sentence'),
    Code('failed.not_finite', 'ERROR', 'the model computed NaN or infinity',
         'check the weights and the device'),
    Code('failed.memory', 'ERROR', 'not enough memory for an image',
         'a smaller image or model, or fewer cameras'),
    Code('failed.device_lost', 'ERROR', 'the device no longer computes; the process ends with '
         'code 1', 'let a supervisor start the node again'),
    Code('failed.internal', 'ERROR', 'a fault of this package', 'report it with the log'),
    Code('failed.transition', 'ERROR', 'a lifecycle transition failed', 'see the sentence'),
    Code('model.hangs', 'ERROR', 'one inference takes far longer than usual; the process ends '
         'with code 1 after `inference_timeout_s`', 'let a supervisor start the node again'),
    Code('camera.silent', 'ERROR', 'no image for longer than 3 periods and `camera_timeout_s`, '
         'or 5 s after the start', 'the sentence names topic, type and QoS of both sides'),
    Code('node.inactive', 'WARN', 'the lifecycle state is not active', 'activate it'),
    Code('clock.missing', 'WARN', '`use_sim_time` is set and nobody publishes /clock',
         'start the simulation or the bag with its clock'),
    Code('stamp.zero', 'WARN', 'an image with stamp 0', 'mend the driver: outputs join by stamp'),
    Code('stamp.future', 'WARN', 'an image from more than 1 s in the future',
         'synchronise the clocks'),
    Code('stamp.backwards', 'WARN', 'an image older than the one before; tracks are forgotten',
         'none where a recording starts over'),
    Code('stamp.duplicate', 'WARN', 'two images with one stamp',
         'mend the driver: outputs join by stamp'),
)

LEVEL_OF = {code.name: code.level for code in CODES}


def codes_table() -> str:
    """Return the table of docs/reliability.md in Markdown."""
    lines = ['| code | level | means | remedy |', '|---|---|---|---|']
    lines += [f'| `{code.name}` | {code.level} | {code.meaning} | {code.remedy} |'
              for code in CODES]
    return '\n'.join(lines)
