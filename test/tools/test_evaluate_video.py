# SPDX-License-Identifier: Apache-2.0
"""`seg_ros evaluate --video` and `seg_ros street`: ids that can be counted by hand."""

import json
import math
from pathlib import Path
import shlex

import cv2
import numpy as np
from PIL import Image
import pytest

from seg_ros.sim import Street
from seg_ros.tools.cli import main
from seg_ros.tools.evaluate_video import in_order
from seg_ros.tools.truth_files import encode_grey16, read_truth

ROOT = Path(__file__).parents[2]
GROUND, BOX, BALL, VOID = 0, 3, 4, 255


def scene(*objects):
    """Return (classes, numbers) of a frame: ground, and squares (class, number, column)."""
    classes, numbers = np.full((24, 64), GROUND, np.uint8), np.zeros((24, 64), np.int32)
    for class_id, number, column in objects:
        classes[8:16, column:column + 8] = class_id
        numbers[8:16, column:column + 8] = number
    return classes, numbers


def picture_of(classes, numbers):
    """Return the image in which the checkerboard model sees these classes and objects."""
    red = np.where(classes == VOID, 5, classes)
    green = np.where(numbers > 0, (numbers - 1) << 6, 1)
    return np.stack((red, green, np.full_like(red, 200)), axis=-1).astype(np.uint8)


def kitti_step(classes, numbers):
    return np.stack((classes, numbers >> 8, numbers & 255), axis=-1).astype(np.uint8)


class Video:
    """Images and truth in two folders."""

    def __init__(self, root):
        self.images, self.truth, self.json = root / 'images', root / 'truth', root / 'a.json'
        self.images.mkdir()
        self.truth.mkdir()

    def add(self, name, *, seen, truth, coded=encode_grey16):
        cv2.imwrite(str(self.images / f'{name}.png'), picture_of(*seen)[..., ::-1])
        Image.fromarray(coded(*truth)).save(self.truth / f'{name}.png')

    def play(self, seen, truth, coded=encode_grey16):
        for index, (one, other) in enumerate(zip(seen, truth, strict=True)):
            self.add(str(index), seen=one, truth=other, coded=coded)

    def evaluate(self, *arguments, rate=('--rate-hz', '10'), model='checkerboard'):
        return main(['evaluate', '--video', '--images', str(self.images), '--labels',
                     str(self.truth), '--model', model, '--device', 'cpu', '--json',
                     str(self.json), *rate, *arguments])

    def figures(self):
        return json.loads(self.json.read_text())


@pytest.fixture
def video(tmp_path):
    return Video(tmp_path)


MOVING = [scene((BOX, 1, 4 + 2 * i), (BALL, 1, 40)) for i in range(4)]
RENAMED = [scene((BOX, 1 if i < 2 else 2, 8)) for i in range(4)]


@pytest.mark.parametrize(('coded', 'option'), [(encode_grey16, 'grey16'),
                                               (kitti_step, 'kitti-step')])
def test_what_the_model_sees_exactly_has_all_ones_in_either_format(video, coded, option):
    # box and ball are both number 1 of their class: not one object
    video.play(MOVING, MOVING, coded)
    assert video.evaluate('--truth', option) == 0
    figures = video.figures()
    for name in ('hota', 'idf1', 'stq', 'vpq', 'miou'):
        assert figures[name] == pytest.approx(1.0), name
    assert (figures['frames'], figures['object_frames'], figures['id_switches']) == (4, 8, 0)
    assert figures['fps'] > 0
    assert (figures['model'], figures['device'], figures['rate_hz']) == ('checkerboard', 'cpu', 10)


def test_the_tracker_alone_takes_the_true_masks_but_not_their_names(video, capsys):
    # one square all the time, which the truth names 1, 1, 2, 2: one track in two truths
    video.play([scene()] * 4, RENAMED)
    assert video.evaluate('--tracker-alone', model='no such model') == 0
    figures = video.figures()
    assert figures['idf1'] == 0.5  # IDTP 2, IDFP 2, IDFN 2
    assert figures['hota'] == pytest.approx(math.sqrt(0.5))  # each TP: TPA 2, FPA 2
    assert figures['id_switches'] == 0
    assert figures['model'] is None
    assert 'the tracker alone, on the true instances' in capsys.readouterr().out


def test_a_track_that_is_forgotten_comes_back_as_a_switch(video):
    frames = [scene((BOX, 1, 8)), scene(), scene(), scene((BOX, 1, 8))]
    video.play(frames, frames)
    video.evaluate()
    assert video.figures()['id_switches'] == 0
    video.evaluate(rate=('--rate-hz', '2'))  # unseen for 1.5 s, longer than max_lost_s
    assert video.figures()['id_switches'] == 1
    video.evaluate('-p', 'tracking.max_lost_s=2.0', rate=('--rate-hz', '2'))
    assert video.figures()['id_switches'] == 0


def test_an_object_that_was_away_for_long_can_count_as_another(video):
    frames = [scene((BOX, 1, 8)), scene(), scene(), scene((BOX, 1, 8)), scene((BOX, 1, 8))]
    video.play(frames, frames)
    for gap_s, switches, idf1 in (('1.5', 1, 2 / 3), ('1.4', 0, 1.0)):
        # at 2 Hz it is away for 1.5 s, longer than the tracker remembers it
        video.evaluate('--max-gap-s', gap_s, rate=('--rate-hz', '2'))
        figures = video.figures()
        assert (figures['id_switches'], figures['idf1']) == (switches, pytest.approx(idf1))
        assert figures['max_gap_s'] == float(gap_s)


def test_what_is_too_small_to_count_is_in_view_all_the_same(video):
    small = [scene((BOX, 1, 8)) for _ in range(3)]
    for classes, numbers in small:
        classes[8:16, 10:16], numbers[8:16, 10:16] = GROUND, 0
    frames = [scene((BOX, 1, 8)), *small, scene((BOX, 1, 8))]
    video.play(frames, frames)
    video.evaluate('--tracker-alone', '--min-area', '64', '--max-gap-s', '0.15')
    figures = video.figures()
    assert (figures['object_frames'], figures['id_switches'], figures['idf1']) == (2, 0, 1.0)


def test_tracking_is_on_unless_it_is_turned_off(video):
    # without it ids count from 1: the ball is 2, then 1
    frames = [scene((BOX, 1, 4), (BALL, 1, 40)), scene((BALL, 1, 40))]
    video.play(frames, frames)
    video.evaluate()
    assert video.figures()['id_switches'] == 0
    video.evaluate('-p', 'tracking.enabled=false')
    assert video.figures()['id_switches'] == 1


def test_what_lies_on_void_is_no_false_alarm(video):
    seen = scene((BOX, 1, 4), (BALL, 1, 40))
    classes, numbers = scene((BOX, 1, 4))
    video.play([seen], [(classes, numbers)])
    video.evaluate()
    assert video.figures()['idf1'] == pytest.approx(2 / 3)  # IDTP 1, IDFP 1
    classes = classes.copy()
    classes[8:16, 40:45] = VOID  # five of the ball's eight columns
    video.play([seen], [(classes, numbers)])
    video.evaluate()
    assert video.figures()['idf1'] == 1.0


def test_small_true_objects_can_be_left_out(video):
    seen, truth = scene((BOX, 1, 4)), scene((BOX, 1, 4), (BALL, 1, 40))
    video.play([seen], [truth])
    video.evaluate('--min-area', '64')
    assert video.figures()['object_frames'] == 2
    video.evaluate('--min-area', '65')
    assert video.figures()['object_frames'] == 0


def test_ignored_ids_and_objects_of_stuff_are_not_counted(video):
    classes, numbers = scene((BOX, 1, 4), (BALL, 1, 40))
    numbers = numbers.copy()
    numbers[:4] = 7  # a piece of ground with a number
    video.play([scene((BOX, 1, 4))], [(classes, numbers)])
    video.evaluate('--ignore-ids', f'255,{BALL}')
    figures = video.figures()
    assert (figures['object_frames'], figures['miou'], figures['vpq']) == (1, 1.0, 1.0)


def test_frames_are_in_the_order_of_their_numbers():
    names = ['frame10', 'frame9', 'a', 'frame009_b', '2', '11']
    assert sorted(names, key=in_order) == ['a', 'frame9', 'frame009_b', 'frame10', '2', '11']


def test_both_formats_say_class_and_identity(tmp_path):
    classes, numbers = scene((BOX, 1, 4), (BALL, 999, 40))
    classes[0, :2], numbers[0, 0] = VOID, 0
    file = tmp_path / 'a.png'
    read = []
    for name, coded in (('grey16', encode_grey16), ('kitti-step', kitti_step)):
        Image.fromarray(coded(classes, numbers)).save(file)
        found, ids = read_truth(file, name)
        np.testing.assert_array_equal(found, classes)
        np.testing.assert_array_equal(ids > 0, numbers > 0)
        read.append([ids[12, column] for column in (4, 40)])
    assert read[0] == [3001, 4999]
    assert read[1] == [3 * 65536 + 1, 4 * 65536 + 999]


@pytest.mark.parametrize(('class_id', 'number', 'words'), [
    (65, 1, 'class id 65'), (BOX, 1000, 'object of one class 1000')])
def test_the_16_bit_format_refuses_what_it_has_no_room_for(class_id, number, words):
    with pytest.raises(ValueError, match=f'{words} does not fit'):
        encode_grey16(*scene((class_id, number, 4)))


def missing_truth(video):
    (video.truth / '1.png').unlink()


def damaged_truth(video):
    (video.truth / '1.png').write_bytes(b'no image')


def cut_truth(video):
    file = video.truth / '1.png'
    file.write_bytes(file.read_bytes()[:-30])


def eight_bit_truth(video):
    cv2.imwrite(str(video.truth / '1.png'), np.zeros((24, 64), np.uint8))


def small_truth(video):
    cv2.imwrite(str(video.truth / '1.png'), np.zeros((2, 3), np.uint16))


def damaged_image(video):
    (video.images / '1.png').write_bytes(b'no image')


@pytest.mark.parametrize(('break_it', 'words'), [
    (missing_truth, '1 of 4 files lack labels of the same stem'),
    (damaged_truth, 'cannot decode truth'),
    (cut_truth, 'cannot decode truth'),
    (eight_bit_truth, 'has mode L, expected a 16-bit grey PNG'),
    (small_truth, 'is 64x24, its truth is 3x2'),
    (damaged_image, 'cannot decode image'),
])
def test_a_bad_file_is_one_sentence_that_names_it(video, capsys, break_it, words):
    video.play(MOVING, MOVING)
    break_it(video)
    assert video.evaluate() == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith('seg_ros: ')
    assert words in error
    assert '1.png' in error
    assert not video.json.exists()


@pytest.mark.parametrize(('arguments', 'words'), [
    (['--rate-hz', '0'], '--rate-hz is 0, expected above 0'),
    (['--rate-hz', 'nan'], '--rate-hz is nan, expected above 0'),
    ([], '--video needs --rate-hz'),
    (['--rate-hz', '10', '--max-gap-s', '-1'], '--max-gap-s is -1, expected at least 0'),
    (['--rate-hz', '10', '--truth', 'kitti-step'], 'expected an RGB PNG'),
    (['--rate-hz', '10', '--model', 'checkerboard/overlapping'], 'instance segmentation only'),
])
def test_a_bad_option_is_one_sentence(video, capsys, arguments, words):
    video.play(MOVING, MOVING)
    assert video.evaluate(*arguments, rate=()) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_options_of_videos_are_refused_for_single_images(tmp_path, capsys):
    code = main(['evaluate', '--images', str(tmp_path), '--labels', str(tmp_path),
                 '--tracker-alone'])
    assert code == 2
    assert '--tracker-alone is for images in order' in capsys.readouterr().err


def lines_of_readme():
    """Return the README's two commands that measure on a street, as arguments."""
    lines = [shlex.split(line, comments=True) for line in (ROOT / 'README.md').read_text()
             .splitlines() if line.startswith(('.venv/bin/seg_ros street',
                                               '.venv/bin/seg_ros evaluate --video'))]
    return [line[1:] for line in lines]


def test_the_two_lines_of_the_readme_measure_a_street(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    street, evaluate = lines_of_readme()
    street[street.index('--frames') + 1] = '3'
    assert main([*street, '--size', '96x64']) == 0
    assert main([*evaluate, '--device', 'cpu']) == 0
    out = capsys.readouterr().out
    for figure in ('HOTA', 'IDF1', 'STQ', 'VPQ', 'mIoU', 'id switches in', '3 frames'):
        assert figure in out


def test_the_truth_of_a_street_is_the_streets(tmp_path):
    out = tmp_path / 'out'
    assert main(['street', '--out', str(out), '--seed', '4', '--frames', '3', '--rate-hz', '5',
                 '--size', '96x64']) == 0
    street = Street(seed=4, width=96, height=64, rate_hz=5.0)
    names = {}
    for index in range(3):
        frame = street.frame(index)
        image = cv2.imread(str(out / f'images/{index:06d}.png'))
        np.testing.assert_array_equal(image[..., ::-1], frame.image)
        class_map, ids = read_truth(out / f'truth/{index:06d}.png', 'grey16')
        np.testing.assert_array_equal(class_map, frame.class_map)
        np.testing.assert_array_equal(ids > 0, frame.instance_map > 0)
        for pair in zip(frame.instance_map.ravel(), ids.ravel(), strict=True):
            names.setdefault(pair[0], pair[1])
            assert names[pair[0]] == pair[1]
    assert len(set(names.values())) == len(names) > 2


@pytest.mark.parametrize(('arguments', 'words'), [
    (['--frames', '0'], '--frames is 0'), (['--size', '7x7'], 'image size is 7 x 7'),
    (['--size', ''], "--size is ''"), (['--size', 'x'], '--size'),
    (['--rate-hz', '0'], 'rate is 0.0 Hz'), (['--seed', '-1'], 'seed is -1')])
def test_a_street_that_cannot_be_is_one_sentence(tmp_path, capsys, arguments, words):
    assert main(['street', '--out', str(tmp_path / 'out'), *arguments]) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_a_street_is_not_mixed_with_other_files(tmp_path, capsys):
    (tmp_path / 'truth').mkdir()
    (tmp_path / 'truth/old.png').touch()
    assert main(['street', '--out', str(tmp_path), '--frames', '1']) == 2
    assert 'expected a new or empty folder' in capsys.readouterr().err
