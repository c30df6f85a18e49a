# SPDX-License-Identifier: Apache-2.0
"""Folders and videos give the same frames to every reader, and say what is wrong with them."""

import logging

import av
import cv2
import numpy as np
import pytest

from seg_ros.sim.recording import open_recording, read_image
from seg_ros.sim.video import VideoWriter


def write_picture(path, colour, size=(4, 6)):
    """Write a picture of one RGB colour, without loss."""
    image = np.full((*size, 3), colour, np.uint8)
    cv2.imwrite(str(path), image[..., ::-1])
    return image


@pytest.fixture
def folder(tmp_path):
    for name, colour in (('b', (0, 255, 0)), ('a', (255, 0, 0)), ('c', (0, 0, 255))):
        write_picture(tmp_path / f'{name}.png', colour)
    return tmp_path


@pytest.fixture
def video(tmp_path):
    path = tmp_path / 'grey.mp4'
    with VideoWriter(path, rate_hz=25.0) as writer:
        for grey in (0, 60, 120, 180, 240):
            writer.write(np.full((32, 48, 3), grey, np.uint8))
    return path


def test_the_images_of_a_folder_come_by_name_in_rgb(folder):
    pictures = list(open_recording(folder))
    assert [picture.name for picture in pictures] == ['a', 'b', 'c']
    assert [picture.image[0, 0].tolist() for picture in pictures] == [
        [255, 0, 0],
        [0, 255, 0],
        [0, 0, 255],
    ]


def test_files_that_are_no_images_are_not_frames(folder):
    (folder / 'notes.txt').write_text('hello')
    (folder / '.hidden.png').write_bytes(b'')
    (folder / 'd.png').mkdir()
    assert len(open_recording(folder)) == 3


def test_a_recording_plays_again_from_its_beginning(folder, video):
    for path in (folder, video):
        recording = open_recording(path)
        first, second = list(recording), list(recording)
        assert len(first) == len(second) == len(recording)
        for one, other in zip(first, second, strict=True):
            np.testing.assert_array_equal(one.image, other.image)


def test_one_image_is_a_recording_of_one_frame(folder):
    assert [picture.name for picture in open_recording(folder / 'b.png')] == ['b']


def test_a_damaged_image_is_skipped_with_a_warning_and_counted(folder, caplog):
    (folder / 'b.png').write_bytes(b'\x89PNG no more')
    recording = open_recording(folder)
    with caplog.at_level(logging.WARNING, logger='seg_ros'):
        names = [picture.name for picture in recording]
    assert names == ['a', 'c']
    assert recording.skipped == 1
    assert 'b.png' in caplog.text


def test_a_grey_image_becomes_rgb(tmp_path):
    cv2.imwrite(str(tmp_path / 'grey.png'), np.full((3, 5), 77, np.uint8))
    image = read_image(tmp_path / 'grey.png')
    assert image.shape == (3, 5, 3)
    assert (image == 77).all()


def test_a_video_gives_all_frames_its_rate_and_its_length(video):
    recording = open_recording(video)
    greys = [int(picture.image.mean()) for picture in recording]
    assert greys == pytest.approx([0, 60, 120, 180, 240], abs=3)
    assert recording.rate_hz == pytest.approx(25.0)
    assert len(recording) == 5


def test_what_cannot_be_played_is_one_sentence_with_its_name(tmp_path):
    empty = tmp_path / 'empty'
    empty.mkdir()
    text = tmp_path / 'text.mp4'
    text.write_text('this is no video')
    hollow = tmp_path / 'hollow'
    hollow.mkdir()
    (hollow / 'a.jpg').write_bytes(b'')
    for path, words in (
        (tmp_path / 'nowhere', 'does not exist'),
        (empty, 'no images in folder'),
        (text, 'as a video'),
        (hollow, 'none of the 1 images'),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            list(open_recording(path))
        assert path.name in str(caught.value)
        assert '\n' not in str(caught.value)


def test_a_video_cut_short_ends_where_it_is_cut(tmp_path):
    path = tmp_path / 'whole.mkv'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mjpeg', rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuvj420p'
        for grey in range(0, 200, 10):
            image = np.full((48, 64, 3), grey, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format='rgb24')))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    cut = tmp_path / 'cut.mkv'
    cut.write_bytes(data[: len(data) // 2])
    assert 0 < len(list(open_recording(cut))) < 20


def test_a_written_video_is_h264_that_browsers_play(video):
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == 'h264'
        assert stream.codec_context.pix_fmt == 'yuv420p'
        assert len(list(container.decode(video=0))) == 5
    data = video.read_bytes()
    assert data.index(b'moov') < data.index(b'mdat'), 'the index is not in front'


def test_odd_sizes_are_made_even_by_repeating_the_edge(tmp_path):
    path = tmp_path / 'odd.mp4'
    with VideoWriter(path, rate_hz=10.0) as writer:
        writer.write(np.full((31, 47, 3), 200, np.uint8))
    (picture,) = open_recording(path)
    assert picture.image.shape == (32, 48, 3)
    assert picture.image.min() > 190


def test_frames_keep_the_times_they_are_given(tmp_path):
    path = tmp_path / 'times.mp4'
    times_s = [0.0, 0.1, 0.5, 0.6]
    with VideoWriter(path, rate_hz=10.0) as writer:
        for time_s in times_s:
            writer.write(np.zeros((32, 32, 3), np.uint8), time_s=time_s)
    with av.open(str(path)) as container:
        assert [frame.time for frame in container.decode(video=0)] == pytest.approx(times_s)
