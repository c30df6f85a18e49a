# SPDX-License-Identifier: Apache-2.0
"""Checks that the generated vision_msgs is the one that robots have."""

import ctypes

import pytest

# of the apt packages of vision_msgs 4.1.1; ROS 2 connects only equal hashes
OFFICIAL_HASHES = {
    'LabelInfo': '3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783',
    'Detection2DArray': '214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968',
}


class TypeHash(ctypes.Structure):
    """rosidl_type_hash_t of rosidl_runtime_c."""

    _fields_ = [('version', ctypes.c_uint8), ('value', ctypes.c_uint8 * 32)]


@pytest.mark.parametrize('name', OFFICIAL_HASHES)
def test_type_hash_is_the_official_one(name: str) -> None:
    library = ctypes.CDLL('libvision_msgs__rosidl_generator_c.so')
    get_type_hash = getattr(library, f'vision_msgs__msg__{name}__get_type_hash')
    get_type_hash.restype = ctypes.POINTER(TypeHash)
    found = get_type_hash(None).contents
    assert (found.version, bytes(found.value).hex()) == (1, OFFICIAL_HASHES[name])


def test_all_sixteen_messages_are_there() -> None:
    from vision_msgs import msg

    names = {name for name in dir(msg) if name[0].isupper()}
    assert names == {
        'BoundingBox2D', 'BoundingBox2DArray', 'BoundingBox3D', 'BoundingBox3DArray',
        'Classification', 'Detection2D', 'Detection2DArray', 'Detection3D', 'Detection3DArray',
        'LabelInfo', 'ObjectHypothesis', 'ObjectHypothesisWithPose', 'Point2D', 'Pose2D',
        'VisionClass', 'VisionInfo',
    }
