# SPDX-License-Identifier: Apache-2.0
"""torchvision's models say what torchvision's own way says, from files, offline."""
from __future__ import annotations

from functools import partial
import hashlib
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from safetensors.torch import save_file
import torch
from torchvision.models import get_model

from benchmarks.parity_torchvision import library_maps, load_both
from benchmarks.tiny_torchvision import INSTANCE, picture, thrifty
from seg_ros.models.agreement import equal_share
from seg_ros.models.contract import ModelError, ModelOptions, NotFiniteError
from seg_ros.models.torchvision import (
    cached_file,
    classes_of,
    download,
    load,
    MODELS,
    preset_size,
    published_weights,
)

SHORT_SIDE = 64
SEMANTIC = ('lraspp_mobilenet_v3_large', 'deeplabv3_mobilenet_v3_large')
IMAGE = picture(64, 96)


@pytest.fixture(autouse=True, scope='module')
def one_thread():
    """Let sums be the same however loaded the machine is."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='module')
def hub(tmp_path_factory):
    """Give torch an empty cache of its own."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path_factory.mktemp('hub')))
    yield Path(torch.hub.get_dir())
    torch.hub.set_dir(before)


@pytest.fixture(scope='module', params=SEMANTIC + INSTANCE)
def pair(request):
    """Return name, our model and torchvision's, with the same weights, for small images."""
    name = request.param
    ours, theirs = load_both(name, ModelOptions(score_threshold=0.0, confidence=True))
    if name in INSTANCE:
        detector = ours.network.network
        thrifty(ours.transform, detector.rpn, detector.roi_heads, short_side=SHORT_SIDE)
        thrifty(theirs.transform, theirs.rpn, theirs.roi_heads, short_side=SHORT_SIDE)
    else:
        ours.short_side = SHORT_SIDE
    return name, ours, theirs


def test_the_library_and_we_agree_pixel_for_pixel(pair):
    name, ours, theirs = pair
    result = ours.predict([IMAGE])[0]
    class_map, instance_map = library_maps(name, theirs, IMAGE, ours.options,
                                           short_side=SHORT_SIDE)
    assert len(np.unique(class_map)) > 2, 'a network that says one thing proves nothing'
    np.testing.assert_array_equal(result.class_map, class_map)
    np.testing.assert_array_equal(result.instance_map, instance_map)
    assert (instance_map.max() > 2) == (name in INSTANCE)


def test_an_instance_has_the_score_that_the_library_gives_it(pair):
    name, ours, theirs = pair
    if name in INSTANCE:
        with torch.inference_mode():
            said = theirs([torch.from_numpy(IMAGE).permute(2, 0, 1) / 255])[0]['scores']
        scores = ours.predict([IMAGE])[0].instances.scores
        assert len(scores) > 2
        assert set(scores.tolist()) <= set(said.tolist())


def test_the_compiler_sees_one_graph_whatever_is_found_and_changes_nothing(pair):
    name, ours, _ = pair
    if name not in ('lraspp_mobilenet_v3_large', 'maskrcnn_resnet50_fpn'):
        return  # runs the same code
    images = [IMAGE, np.zeros_like(IMAGE)]
    expected = ours.predict(images)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    ours.network._compiled = torch.compile(ours.network.network, backend='eager', dynamic=False)
    try:
        compiled = ours.predict(images)
        assert ours.network._compiled is not None, 'it gave up'
    finally:
        ours.network._compiled = None
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] == 1
    for one, other in zip(expected, compiled, strict=True):
        assert equal_share(one, other) == 1.0


@pytest.mark.parametrize('size', [(1, 1), (1, 90), (37, 53), (130, 65)])
def test_every_size_is_answered_at_its_own_size(pair, size):
    _, ours, _ = pair
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    result = ours.predict([image])[0]
    assert result.size == size
    known = set(range(len(ours.label_set))) | {255}
    assert set(np.unique(result.class_map).tolist()) <= known
    assert not result.confidence[result.class_map == 255].any()


def test_an_image_without_pixels_is_refused(pair):
    with pytest.raises(ModelError, match='^torchvision/.* got an image of 12x0, expected pixels'):
        pair[1].predict([IMAGE[:0, :12]])


def test_what_is_not_finite_is_an_error_and_never_a_label(pair):
    name, ours, _ = pair
    parts = {'lraspp_mobilenet_v3_large': 'classifier.low_classifier.bias',
             'deeplabv3_mobilenet_v3_large': 'classifier.4.bias'}
    places = [parts[name]] if name in parts else [
        'rpn.head.cls_logits.bias', 'roi_heads.box_predictor.bbox_pred.bias',
        'roi_heads.mask_predictor.mask_fcn_logits.bias']
    for place in places:
        bias = ours.network.network.get_parameter(place)
        kept = bias.clone()
        with torch.no_grad():
            bias[1] = float('nan')
            try:
                with pytest.raises(NotFiniteError, match='^torchvision/.* not finite'):
                    ours.predict([IMAGE])
            finally:
                bias.copy_(kept)


def test_a_threshold_thins_out_and_changes_nothing_else(pair):
    name, ours, _ = pair
    if name not in INSTANCE:
        return
    everything = ours.predict([IMAGE])[0].instances.scores
    middle = float(np.median(everything))
    options, ours.options = ours.options, ModelOptions(score_threshold=middle)
    try:
        kept = ours.predict([IMAGE])[0].instances.scores
    finally:
        ours.options = options
    # what is at the threshold is in; what a worse one covered may come up
    np.testing.assert_array_equal(kept, everything[everything >= middle])


@pytest.mark.parametrize('info', MODELS, ids=lambda info: info.spec)
def test_classes_are_those_of_the_metadata_without_background_and_na(info):
    published = published_weights(info.spec.partition('/')[2])
    classes = classes_of(published)
    names = classes.label_set.names
    assert len(names) == (80 if 'mask' in info.spec else 20)
    assert not {'N/A', '__background__'}.intersection(names)
    assert classes.label_set.things == set(names)
    channels = published.meta['categories']
    assert classes.table[0] == 255 and channels[0] == '__background__'
    for channel, class_id in enumerate(classes.table.tolist()):
        assert class_id == 255 or names[class_id] == channels[channel]
    assert (classes.table != 255).sum() == len(names)


def test_the_input_has_the_size_of_torchvisions_preset_unless_a_frame_is_very_long():
    for height, width in ((360, 480), (480, 360), (500, 500), (333, 777), (1080, 1920)):
        expected = published_weights('fcn_resnet50').transforms()(
            torch.zeros((3, height, width), dtype=torch.uint8)).shape[1:]
        assert preset_size(height, width, short_side=520) == tuple(expected)
    assert preset_size(1, 9000, short_side=520) == (1, 4160)
    assert preset_size(9000, 10, short_side=520) == (4160, 4)


def test_an_image_that_is_almost_a_line_is_refused_by_mask_rcnn(pair):
    name, ours, _ = pair
    if name in INSTANCE:
        with pytest.raises(ModelError, match='got an image of 400x1, expected no side longer'):
            ours.predict([np.zeros((1, 400, 3), np.uint8)])


def test_weights_that_are_not_here_are_one_sentence_with_the_command_that_fetches_them(hub):
    for info in MODELS:
        name = info.spec.partition('/')[2]
        published = published_weights(name)
        with pytest.raises(ModelError) as caught:
            load(name, ModelOptions())
        text = str(caught.value)
        assert text.startswith(f'the weights of {info.spec} are not on this machine: no {hub}')
        assert f'curl --create-dirs -o {cached_file(published)} {published.url}' in text
        assert '\n' not in text


def test_a_file_in_the_cache_must_have_the_hash_in_its_name(hub):
    path = cached_file(published_weights('lraspp_mobilenet_v3_large'))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b'half of it')
    try:
        with pytest.raises(ModelError, match=f'^cannot load {path}: its sha256 is .*, expected '
                                             'd234d4ea; '):
            load('lraspp_mobilenet_v3_large', ModelOptions())
    finally:
        path.unlink()


def test_weights_of_another_network_or_class_count_are_one_sentence(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / 'five.safetensors'
    save_file(get_model('lraspp_mobilenet_v3_large', weights=None, weights_backbone=None,
                        num_classes=5).state_dict(), path)
    for name in ('lraspp_mobilenet_v3_large', 'fcn_resnet50'):
        with pytest.raises(ModelError, match=f'^cannot load {path}: it belongs to another network'
                           ) as caught:
            load(name, ModelOptions(weights=str(path)))
        assert str(caught.value).endswith(f'give the weights of a {name} of 21 classes')
        assert '\n' not in str(caught.value)


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a line for each request."""

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def test_a_download_is_checked_against_its_name_and_leaves_nothing_behind(tmp_path):
    served, kept = tmp_path / 'served', tmp_path / 'kept'
    served.mkdir()
    good = f'net-{hashlib.sha256(b"weights").hexdigest()[:8]}.pth'
    for name in (good, 'net-00000000.pth'):
        (served / name).write_bytes(b'weights')
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=served))
    Thread(target=server.serve_forever, daemon=True).start()
    address = f'http://127.0.0.1:{server.server_address[1]}'
    try:
        download(f'{address}/{good}', kept / good)
        for name in ('net-00000000.pth', 'missing-00000000.pth'):
            with pytest.raises(ModelError, match=f'^cannot load {address}/{name}: the download '
                                                 'failed .* fetch it by hand to'):
                download(f'{address}/{name}', kept / name)
    finally:
        server.shutdown()
        server.server_close()
    assert [path.name for path in kept.iterdir()] == [good]
