# SPDX-License-Identifier: Apache-2.0
"""`seg_ros evaluate` on images whose mIoU can be counted by hand."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
import pytest

from seg_ros.tools.cli import main


def picture_of(classes):
    """Return an image that the checkerboard model sees as these class ids: red is the class."""
    image = np.zeros((*np.shape(classes), 3), np.uint8)
    image[..., 0] = classes
    return image


class Data:
    """Images and labels in two folders."""

    def __init__(self, root):
        self.images, self.labels = root / 'images', root / 'labels'
        self.images.mkdir()
        self.labels.mkdir()
        self.json = root / 'figures.json'

    def add(self, name, *, predicted, truth):
        image = picture_of(np.array(predicted))
        cv2.imwrite(str(self.images / f'{name}.png'), image[..., ::-1])
        cv2.imwrite(str(self.labels / f'{name}.png'), np.array(truth, np.uint8))

    def evaluate(self, *arguments):
        return main(
            [
                'evaluate',
                '--images',
                str(self.images),
                '--labels',
                str(self.labels),
                '--device',
                'cpu',
                '--json',
                str(self.json),
                *(arguments or ('--model', 'checkerboard')),
            ]
        )

    def figures(self):
        return json.loads(self.json.read_text())


@pytest.fixture
def data(tmp_path):
    return Data(tmp_path)


def test_the_miou_is_that_of_all_pixels_of_all_frames(data):
    # ground: 3 right, 1 predicted as wall; wall: 1 right; 4 pixels of 255 do not count
    data.add('one', predicted=[[0, 0, 0, 1]], truth=[[0, 0, 0, 0]])
    data.add('two', predicted=[[1, 0, 0, 0]], truth=[[1, 255, 255, 255]])
    data.add('three', predicted=[[2, 2, 2, 2]], truth=[[2, 2, 2, 255]])
    assert data.evaluate() == 0
    figures = data.figures()
    assert figures['iou'] == {
        'ground': pytest.approx(3 / 4),
        'wall': pytest.approx(1 / 2),
        'plant': pytest.approx(1.0),
        'box': None,
        'ball': None,
    }
    assert figures['miou'] == pytest.approx((3 / 4 + 1 / 2 + 1) / 3)
    assert figures['frames'] == 3
    assert figures['ignored'] == {'255': 4}
    assert figures['fps'] > 0
    assert figures['model'] == 'checkerboard'
    assert figures['device'] == 'cpu'


@pytest.mark.parametrize('batch', [1, 2, 3, 9])
def test_every_frame_counts_once_whatever_the_batch(data, batch):
    for name, predicted in zip('abc', (0, 1, 1), strict=True):
        data.add(name, predicted=[[predicted, 0]], truth=[[0, 0]])
    assert data.evaluate('--model', 'checkerboard', '--batch', str(batch)) == 0
    assert data.figures()['iou']['ground'] == pytest.approx(4 / 6)
    assert (data.figures()['frames'], data.figures()['batch']) == (3, batch)


def test_predicted_void_is_a_miss_of_the_labelled_class(data):
    data.add('a', predicted=[[0, 5]], truth=[[0, 0]])  # 5 is the checkerboard's void
    data.evaluate()
    assert data.figures()['iou']['ground'] == pytest.approx(1 / 2)


def test_ids_outside_of_the_label_set_are_ignored_and_counted(data, capsys):
    data.add('a', predicted=[[0, 0, 1, 1]], truth=[[0, 11, 1, 11]])
    data.evaluate()
    assert data.figures()['miou'] == 1.0
    assert data.figures()['ignored'] == {'11': 2}
    assert 'label id 11, 2 pixels (50.0%)' in capsys.readouterr().out


def test_ignored_ids_may_be_classes(data):
    data.add('a', predicted=[[0, 0, 1, 1]], truth=[[0, 0, 0, 1]])
    data.evaluate('--model', 'checkerboard', '--ignore-ids', '255,1')
    assert data.figures()['ignored'] == {'1': 1}


def test_palette_labels_are_ids_not_colours(data):
    data.add('a', predicted=[[3, 4]], truth=[[0, 0]])
    labels = Image.fromarray(np.array([[3, 4]], np.uint8), mode='P')
    labels.putpalette([i for colour in range(256) for i in (255 - colour, colour, 7)])
    labels.save(data.labels / 'a.png')
    data.evaluate()
    assert data.figures()['miou'] == 1.0


def test_parameters_of_the_node_can_be_given(data):
    data.add('a', predicted=[[0, 1, 2]], truth=[[0, 0, 1]])
    data.evaluate('--model', 'checkerboard', '-p', 'classes=["ground,wall=flat", "plant"]')
    assert data.figures()['iou'] == {'flat': 1.0, 'plant': 1.0}


def broken_sizes(data):
    data.add('a', predicted=[[0, 1, 2]], truth=[[0, 0]])


def broken_pairs(data):
    data.add('a', predicted=[[0]], truth=[[0]])
    cv2.imwrite(str(data.images / 'b.png'), np.zeros((1, 1, 3), np.uint8))


def broken_labels(data):
    data.add('a', predicted=[[0]], truth=[[0]])
    (data.labels / 'a.png').write_bytes(b'no image')


def coloured_labels(data):
    data.add('a', predicted=[[0]], truth=[[0]])
    cv2.imwrite(str(data.labels / 'a.png'), np.zeros((1, 1, 3), np.uint8))


def broken_image(data):
    data.add('a', predicted=[[0]], truth=[[0]])
    (data.images / 'a.png').write_bytes(b'no image')


def nothing(data):
    pass


def doubled_stem(data):
    data.add('a', predicted=[[0]], truth=[[0]])
    cv2.imwrite(str(data.images / 'a.jpg'), np.zeros((1, 1, 3), np.uint8))


@pytest.mark.parametrize(
    ('break_it', 'words'),
    [
        (broken_sizes, 'is 3x1, its labels are 2x1'),
        (broken_pairs, '1 of 2 files lack labels'),
        (broken_labels, 'cannot decode labels'),
        (coloured_labels, 'have mode RGB, expected one byte a pixel'),
        (broken_image, 'cannot decode image'),
        (nothing, 'no images in folder'),
        (doubled_stem, 'have one stem'),
    ],
)
def test_bad_data_is_one_sentence_and_code_2(data, capsys, break_it, words):
    break_it(data)
    assert data.evaluate() == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith('seg_ros: ')
    assert words in error
    assert not data.json.exists()


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--model', 'nonsense'], "unknown model 'nonsense'"),
        (['--model', 'checkerboard/overlapping'], 'serves instance segmentation only'),
        (['--model', 'checkerboard', '--ignore-ids', '255,x'], 'cannot read ignore ids'),
        (['--model', 'checkerboard', '--ignore-ids', '256'], 'cannot read ignore ids'),
        (['--model', 'checkerboard', '--weights', '/nowhere'], 'checkerboard has no weights'),
        (['--model', 'checkerboard', '-p', 'score_treshold=0.1'], "mean 'score_threshold'?"),
        (['--model', 'checkerboard', '-p', 'score_threshold'], 'expected NAME=VALUE'),
        (['--model', 'checkerboard', '-p', 'score_threshold=7'], 'expected 0.0 to 1.0'),
        (['--model', 'checkerboard', '--batch', '0'], '--batch is 0, expected at least 1'),
        (['--video', '--batch', '2'], '--batch is for images without order'),
    ],
)
def test_bad_arguments_are_one_sentence_and_code_2(data, capsys, arguments, words):
    data.add('a', predicted=[[0]], truth=[[0]])
    assert data.evaluate(*arguments) == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_real_frames_pair_with_their_labels(tmp_path):
    root = Path(os.environ.get('CAMVID_DIR', '../shared/data/camvid'))
    if not root.is_dir():
        reason = f'no CamVid in {root} (CAMVID_DIR)'
        pytest.fail(reason) if os.environ.get('CI') else pytest.skip(reason)
    code = main(
        [
            'evaluate',
            '--images',
            str(root / 'val/images'),
            '--labels',
            str(root / 'val/labels'),
            '--model',
            'checkerboard',
            '--device',
            'cpu',
            '--json',
            str(tmp_path / 'figures.json'),
        ]
    )
    figures = json.loads((tmp_path / 'figures.json').read_text())
    assert code == 0
    assert figures['frames'] == 101
    assert '11' in figures['ignored']
