# SPDX-License-Identifier: Apache-2.0
"""Models of the hub, small and random, saved and loaded offline, answer as their library does."""
from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
import json

import numpy as np
import pytest
import torch
import transformers

from benchmarks import parity_hub, tiny_hub
from seg_ros.core.config import config_from
from seg_ros.core.types import VOID
from seg_ros.models import huggingface, load_model
from seg_ros.models.contract import ModelError, ModelOptions, Moment, NotFiniteError, Task
from seg_ros.models.hub.classes import read_classes
from seg_ros.models.pipeline import Pipeline

SQUARE = (tiny_hub.SIZE, tiny_hub.SIZE)
WIDE = (90, 160)
EASILY = {'query_threshold': 0.5, 'query_kept_share': 0.05}
QUERY_KINDS = sorted(set(tiny_hub.KINDS) - {'segformer', 'upernet'})
EOMT_KINDS = ['eomt', 'eomt_masked', 'eomt_dinov3']
CAR, PERSON = tiny_hub.NAMES.index('car'), tiny_hub.NAMES.index('person')


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    """Return the folder of a kind, made once."""
    root = tmp_path_factory.mktemp('hub')
    return lru_cache(lambda kind: tiny_hub.save(kind, root / kind))


@pytest.fixture(scope='module')
def library(saved):
    """Return the model of a kind as transformers loads it."""
    @lru_cache
    def load(kind):
        name = json.loads((saved(kind) / 'config.json').read_text())['architectures'][0]
        network = getattr(transformers, name)
        return network.from_pretrained(saved(kind), local_files_only=True).eval()
    return load


@pytest.fixture(scope='module')
def processor(saved):
    """Return the image processor of a kind as transformers loads it."""
    @lru_cache
    def load(kind):
        if kind == 'videomt':
            return transformers.VideomtVideoProcessor.from_pretrained(saved(kind))
        if kind == 'oneformer':
            return transformers.OneFormerProcessor.from_pretrained(saved(kind))
        return transformers.AutoImageProcessor.from_pretrained(saved(kind))
    return load


def loaded(folder, **options):
    return load_model(f'huggingface/{folder}', ModelOptions(**options))


def picture(size, seed=0):
    """Return a smooth (H, W, 3) picture: noise alone looks the same everywhere."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3)).astype(np.float32)
    smooth = torch.nn.functional.interpolate(
        torch.from_numpy(coarse).permute(2, 0, 1)[None], size=size, mode='bicubic')
    return smooth[0].permute(1, 2, 0).clamp(0, 255).to(torch.uint8).numpy()


def library_inputs(processor, kind, image, task=Task.PANOPTIC):
    """Return what the library feeds to its network."""
    if kind == 'videomt':
        return processor(videos=[[image]], return_tensors='pt')
    if kind == 'oneformer':
        return processor(images=image, task_inputs=[str(task)], return_tensors='pt')
    inputs = processor(images=image, return_tensors='pt')
    inputs.pop('patch_offsets', None)
    return inputs


def pixels_of(inputs):
    return inputs['pixel_values_videos'][0] if 'pixel_values_videos' in inputs \
        else inputs['pixel_values']


def library_logits(network, inputs):
    """Return the (Q, C) class and (Q, h, w) mask logits of the library's forward."""
    with torch.inference_mode():
        outputs = network(**inputs)
    if 'pred_masks' in outputs:
        return outputs, outputs.logits[0], outputs.pred_masks[0]
    return outputs, outputs.class_queries_logits[0], outputs.masks_queries_logits[0]


def assert_same_segments(result, segmentation, segments_info):
    """Compare with the library's map of segment ids and their list."""
    segmentation = segmentation.numpy().astype(int)
    class_of_id = {entry['id']: entry['label_id'] for entry in segments_info}
    classes = np.vectorize(lambda value: class_of_id.get(value, VOID))(segmentation)
    np.testing.assert_array_equal(result.class_map, classes)
    things = [entry for entry in segments_info if entry['label_id'] in (CAR, PERSON)]
    seen = [entry for entry in things if (segmentation == entry['id']).any()]
    assert len(result.instances) == len(seen)
    for row, entry in enumerate(sorted(seen, key=lambda entry: entry['id']), start=1):
        np.testing.assert_array_equal(result.instance_map == row, segmentation == entry['id'])
        assert abs(result.instances.scores[row - 1] - entry['score']) < 1e-5


@pytest.mark.parametrize('size', [SQUARE, WIDE])
@pytest.mark.parametrize('kind', sorted(tiny_hub.KINDS))
def test_pixels_are_those_of_the_librarys_processor(kind, size, saved, processor):
    image = picture(size)
    ours = loaded(saved(kind)).preparation.apply(image, torch.device('cpu'))
    theirs = pixels_of(library_inputs(processor(kind), kind, image))
    # EoMT's pads to a square, ours only to whole patches
    height, width = ours.pixels.shape[2:]
    torch.testing.assert_close(ours.pixels, theirs[..., :height, :width], atol=1e-5, rtol=1e-5)
    shown = ours.starts[-1] + width if ours.starts else width
    assert ours.image_size[0] <= height and ours.image_size[1] <= shown


@pytest.mark.parametrize('kind', QUERY_KINDS)
def test_logits_are_those_of_the_librarys_forward(kind, saved, library, processor):
    image = picture(SQUARE)
    inputs = library_inputs(processor(kind), kind, image)
    _, classes, masks = library_logits(library(kind), inputs)
    model = loaded(saved(kind))
    with torch.inference_mode():
        found = model._logits(pixels_of(inputs))
    torch.testing.assert_close(found[0][0], masks, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found[1][0], classes, atol=1e-3, rtol=1e-3)


def easily(model):
    """Let a random network's many segments through, which contradict each other."""
    model.options = replace(model.options, **EASILY)
    return model


@pytest.mark.parametrize('size', [SQUARE, WIDE])
def test_panoptic_of_videomt_is_the_librarys(size, saved, library, processor):
    image = picture(size)
    outputs, *_ = library_logits(
        library('videomt'), library_inputs(processor('videomt'), 'videomt', image))
    expected = processor('videomt').post_process_panoptic_segmentation(
        outputs, target_sizes=[size], threshold=0.5, overlap_mask_area_threshold=0.05,
        label_ids_to_fuse=[0, 1, 2])[0]
    result = easily(loaded(saved('videomt'))).predict([image])[0]
    assert len(expected['segments_info']) > 1
    assert_same_segments(result, **expected)


@pytest.mark.parametrize('size', parity_hub.FRAMES)
@pytest.mark.parametrize('kind', sorted(tiny_hub.KINDS))
def test_every_answer_is_the_librarys_or_where_that_is_wrong_the_papers(kind, size, saved):
    rows = list(parity_hub.rows_of(kind, saved(kind), size))
    for row in rows:
        # the network runs twice, and with two threads a sum may round otherwise: of two masks that
        # are equal at a pixel the other may win; on equal logits nothing differs, as
        # test_postprocess_queries.py shows
        width, height = map(int, row.frame.split('x'))
        but_one_pixel = 1 - 1.5 / (width * height)  # the half is for rounding
        assert row.equal_instances >= but_one_pixel, row
        assert row.equal_classes >= (0.999 if row.task == Task.SEMANTIC else but_one_pixel), row
    assert not rows or max(row.segments for row in rows) > 1


@pytest.mark.parametrize('size', [(320, 180), (90, 300), (33, 200), (65, 64)])
def test_windows_slide_over_frames_of_any_proportions_as_the_librarys(size, saved):
    row, = parity_hub.rows_of('eomt_windows', saved('eomt_windows'), size)
    assert row.equal_classes >= 0.999, row
    assert row.segments > 1


def test_a_model_of_windows_serves_classes_alone_and_no_strip_of_a_frame(saved):
    model = loaded(saved('eomt_windows'), confidence=True)
    assert model.tasks == {Task.SEMANTIC}
    answer, = model.predict([picture(WIDE)])
    assert answer.confidence.max() > answer.confidence.min() > 0
    with pytest.raises(ModelError, match='got an image of 400x20, expected no side longer'):
        model.predict([picture((20, 400))])
    damaged = torch.nn.Parameter(torch.full_like(model.network.network.model.query.weight, np.nan))
    model.network.network.model.query.weight = damaged
    with pytest.raises(NotFiniteError):
        model.predict([picture(WIDE)])


@pytest.mark.parametrize('kind', ['eomt', 'eomt_dinov3'])
def test_a_wide_frame_runs_wide_and_as_the_library_with_that_grid(kind, saved, library):
    model = loaded(saved(kind))
    pixels = model.preparation.apply(picture(WIDE), torch.device('cpu')).pixels
    assert pixels.shape[2:] == (40, 64)
    reference = type(library(kind)).from_pretrained(saved(kind)).eval()
    reference.grid_size = (5, 8)
    if kind == 'eomt':
        # an image at the top left of a padded square has these positions
        reference.embeddings.position_ids = reference.embeddings.position_ids[:, :40]
    with torch.inference_mode():
        theirs, ours = reference(pixels), model.network(pixels)
    torch.testing.assert_close(ours.masks, theirs.masks_queries_logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.classes, theirs.class_queries_logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('kind', EOMT_KINDS)
def test_eomt_is_one_graph_and_exports(kind, saved):
    network = loaded(saved(kind)).network.network
    pixels = torch.randn(1, 3, 40, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        program = torch.export.export(network, (pixels,))  # fails at a graph break or a sync
        exported, eager = program.module()(pixels), network(pixels)
    torch.testing.assert_close(exported.masks, eager.masks)
    torch.testing.assert_close(exported.classes, eager.classes)


def test_videomt_frame_by_frame_is_the_librarys_clip(saved, library, processor):
    frames = [picture(SQUARE, seed) for seed in range(4)]
    inputs = processor('videomt')(videos=[frames], return_tensors='pt')
    with torch.inference_mode():
        clip = library('videomt')(**inputs)
        network, carried = loaded(saved('videomt')).network, None
        for number, pixels in enumerate(inputs['pixel_values_videos'][0]):
            found = network(pixels[None], carried)
            carried = found.queries
            torch.testing.assert_close(found.masks[0], clip.masks_queries_logits[number],
                                       atol=1e-3, rtol=1e-3)
            torch.testing.assert_close(found.classes[0], clip.class_queries_logits[number],
                                       atol=1e-3, rtol=1e-3)


def answers_of(results):
    """Return what two runs of a stream must agree on."""
    return [(result.class_map.tobytes(), result.instances.slots.tolist()) for result in results]


def moments(*names, frame):
    return [Moment(stream=name, stamp=frame * 100_000_000) for name in names]


@pytest.fixture
def video(saved):
    """Return a VidEoMT that finds many segments."""
    return easily(loaded(saved('videomt')))


def streamed(model, images, name=''):
    """Return the answers to the images of one camera, one after the other."""
    return [model.predict_next([image], moments(name, frame=frame))[0]
            for frame, image in enumerate(images)]


def test_streams_do_not_mix_whatever_the_order(video):
    front, left = ([picture(WIDE, seed + camera) for seed in range(3)] for camera in (0, 50))
    alone = [streamed(video, front), streamed(video, left, 'other')]
    video.forget()
    together = []
    for frame in range(3):
        pair = [front[frame], left[frame]]
        if frame % 2:
            answers = video.predict_next(pair[::-1], moments('left', 'front', frame=frame))[::-1]
        else:
            answers = video.predict_next(pair, moments('front', 'left', frame=frame))
        together.append(answers)
    assert [answers_of(results) for results in zip(*together, strict=True)] \
        == [answers_of(results) for results in alone]


def test_a_frame_depends_on_the_past_of_its_stream_only(video):
    images = [picture(WIDE, seed) for seed in range(3)]
    first = answers_of(streamed(video, images))
    assert answers_of(video.predict(images))[0] == first[0]  # without a stream it is a first one
    assert answers_of(video.predict(images))[1:] != first[1:]
    # stamps that jump back start anew, and so do a long gap, another size and a reset
    assert answers_of(streamed(video, images)) == first
    late = video.predict_next([images[0]], moments('', frame=20))
    assert answers_of(late) == first[:1]
    other = picture(SQUARE)
    resized = video.predict_next([other], moments('', frame=21))
    assert answers_of(resized) == answers_of(video.predict([other]))
    video.forget()
    assert answers_of(video.predict_next([other], moments('', frame=22))) == answers_of(resized)


def test_a_batch_that_fails_leaves_every_stream_as_it_was(video):
    images = [picture(WIDE, seed) for seed in range(2)]
    expected = answers_of(streamed(video, images))
    video.forget()
    video.predict_next([images[0]], moments('', frame=0))
    with pytest.raises(ModelError):
        video.predict_next([images[1], np.zeros((0, 4, 3), np.uint8)],
                           moments('', 'broken', frame=1))
    again = video.predict_next([images[1]], moments('', frame=1))
    assert answers_of(again) == expected[1:]


def test_the_pipeline_tells_a_streaming_model_where_an_image_comes_from(saved):
    pipeline = Pipeline(config_from({
        'device': 'cpu', 'panoptic_model': f'huggingface/{saved("videomt")}',
        'model.precision': 'fp32', **EASILY}))
    images = [picture(WIDE, seed) for seed in range(2)]
    expected = answers_of(streamed(easily(loaded(saved('videomt'))), images))
    results = [pipeline.infer([image], moments('', frame=frame))[0][0]
               for frame, image in enumerate(images)]
    assert answers_of(results) == expected
    pipeline.forget()
    assert answers_of(pipeline.infer([images[0]], moments('', frame=2))[0]) == expected[:1]


def test_weights_are_hashed_and_may_come_from_another_file(saved, tmp_path):
    model = loaded(saved('eomt'))
    assert len(model.sha256) == 64
    other = saved('eomt_masked') / 'model.safetensors'
    replaced = loaded(saved('eomt'), weights=str(other))
    assert replaced.network.network.is_masked == (True, True)
    with pytest.raises(ModelError, match='sha256'):
        loaded(saved('eomt'), sha256='0' * 64)


def spoiled(folder, target, **config):
    """Return a copy of a folder with other entries in its config."""
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    entries = {**json.loads((folder / 'config.json').read_text()), **config}
    (target / 'config.json').write_text(json.dumps(entries))
    return target


def refusal(spec, **options):
    with pytest.raises(ModelError) as error:
        load_model(spec, ModelOptions(**options))
    assert '\n' not in str(error.value)
    return str(error.value)


def test_what_is_not_there_is_named_with_the_command_that_fetches_it(monkeypatch):
    monkeypatch.setattr('socket.socket.connect', None)  # nothing may even try
    sentence = refusal('huggingface/nobody/nothing')
    assert 'config.json' in sentence
    assert '`hf download nobody/nothing`' in sentence
    assert 'no such folder' in refusal('huggingface//nowhere/at all')


def test_a_folder_without_weights_or_of_another_kind_is_refused(saved, tmp_path):
    folder = spoiled(saved('eomt'), tmp_path / 'a', model_type='gpt2')
    assert "model_type is 'gpt2'" in refusal(f'huggingface/{folder}')
    (folder / 'model.safetensors').unlink()
    assert 'model.safetensors' in refusal(f'huggingface/{folder}')


def test_weights_of_another_network_are_refused(saved, tmp_path):
    folder = spoiled(saved('eomt'), tmp_path / 'a', num_queries=7)
    assert 'query' in refusal(f'huggingface/{folder}')
    assert 'missing' in refusal(f'huggingface/{saved("eomt")}',
                                weights=str(saved('mask2former') / 'model.safetensors'))


def test_differences_to_gated_weights_are_no_weights(saved, tmp_path):
    prefix = 'network.encoder.backbone.'
    trained = tmp_path / 'pytorch_model.bin'
    torch.save({f'{prefix}cls_token': torch.zeros(1), 'network.q.weight': torch.ones(2)}, trained)
    sentence = refusal(f'huggingface/{saved("eomt")}', weights=str(trained))
    assert "names of EoMT's training code" in sentence and str(trained) in sentence
    torch.save({f'{prefix}patch_embed.register_tokens': torch.zeros(1)}, trained)
    for sentence in (refusal(f'huggingface/{tmp_path}'),
                     refusal(f'huggingface/{saved("eomt_dinov3")}', weights=str(trained))):
        assert "differences to DINOv3's gated weights" in sentence
        assert 'tue-mps/eomt-dinov3-coco-panoptic-large-640' in sentence


def test_code_in_a_folder_is_never_run(saved, tmp_path):
    folder = spoiled(saved('eomt'), tmp_path / 'a', auto_map={
        'AutoModel': 'evil.Net', 'AutoConfig': 'evil.Config'}, trust_remote_code=True)
    (folder / 'evil.py').write_text(f'open({str(tmp_path / "ran")!r}, "w")')
    assert len(loaded(folder).predict([picture(SQUARE)])) == 1
    assert not (tmp_path / 'ran').exists()


def test_attention_that_is_masked_at_random_is_refused(saved, tmp_path):
    folder = spoiled(saved('eomt'), tmp_path / 'a')
    reference = transformers.EomtForUniversalSegmentation.from_pretrained(folder)
    reference.attn_mask_probs.fill_(0.5)
    reference.save_pretrained(tmp_path / 'b')
    (tmp_path / 'b' / 'preprocessor_config.json').write_bytes(
        (folder / 'preprocessor_config.json').read_bytes())
    assert 'attn_mask_probs' in refusal(f'huggingface/{tmp_path / "b"}')


def test_things_come_from_the_config_or_from_the_data_set():
    def things(names, **config):
        config = {'id2label': dict(enumerate(names)), **config}
        return read_classes(config, channels=len(names), all_things=False).label_set.things

    street_things = ('person', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle')
    assert things((*map(str, range(11)), *street_things)) == set(street_things)
    coco = ['person', *map(str, range(78)), 'toothbrush', *map(str, range(78, 131))]
    assert things(coco) == set(coco[:80])
    assert things(coco[:80]) == set(coco[:80])
    ade = ['wall', *map(str, range(11)), 'person', *map(str, range(11, 148))]
    assert len(things(ade)) == 100
    assert things(('a', 'b')) == set()
    assert things(('a', 'b'), things=['b']) == {'b'}


def test_classes_without_a_name_are_not_used():
    config = {'id2label': {'0': 'N/A', '1': 'person', '3': 'car', '9': 'beyond'}}
    classes = read_classes(config, channels=5, all_things=True)
    assert classes.label_set.names == ('person', 'car')
    assert classes.used == (1, 3)
    assert classes.label_set.things == {'person', 'car'}


def test_more_classes_than_a_byte_can_tell_are_refused(saved, tmp_path):
    folder = spoiled(saved('segformer'), tmp_path / 'a',
                     id2label={str(place): f'class {place}' for place in range(300)})
    assert '300' in refusal(f'huggingface/{folder}')


def test_without_things_nothing_is_counted(saved, tmp_path, caplog):
    folder = spoiled(saved('eomt'), tmp_path / 'a', things=[])
    assert loaded(folder).tasks == {Task.SEMANTIC}
    assert 'things' in caplog.text


def test_a_folder_in_the_hubs_cache_is_used_without_a_word_to_the_hub(
        saved, tmp_path, monkeypatch):
    snapshot = tmp_path / 'models--me--eomt' / 'snapshots' / 'abc'
    snapshot.mkdir(parents=True)
    for path in saved('eomt').iterdir():
        (snapshot / path.name).write_bytes(path.read_bytes())
    (tmp_path / 'models--me--eomt' / 'refs').mkdir()
    (tmp_path / 'models--me--eomt' / 'refs' / 'main').write_text('abc')
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path))
    monkeypatch.setattr('socket.socket.connect', None)
    assert huggingface.find_folder('me/eomt', allow_download=False) == snapshot
