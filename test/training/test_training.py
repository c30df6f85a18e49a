# SPDX-License-Identifier: Apache-2.0
"""The training learns from exact targets, and goes on after a stop as if there had been none."""
from __future__ import annotations

import copy
from dataclasses import replace
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from seg_ros.core.types import VOID
from seg_ros.models.contract import ModelOptions
from seg_ros.models.postprocess import find_centres, group_pixels
from seg_ros.models.street_tiny import (
    CHANNELS,
    Channels,
    load,
    OFFSET_UNIT,
    STRIDE,
    votes_of_offsets,
)
from training.calibrate import class_shifts, mean_iou
from training.data import (
    Augmentation,
    ClassIndex,
    Labelled,
    make_targets,
    paste,
    PASTED_IDS,
    read_camvid,
    Samples,
    stand_in_instances,
    THING_IDS,
    UNCOUNTED,
    View,
    warp,
)
from training.export import new_network, PACKAGE_WEIGHTS, STREET, TRAIN_WEIGHTS, write_weights
from training.losses import centre_loss, imitation_loss, offset_loss, overlap_loss
from training.plan import Machine, Plan
from training.synthetic import compact_ids, FIRST_UNSEEN_SEED, frame_numbers, read_synthetic
from training.teacher import Teacher
from training.train import (
    _parse,
    first_weights,
    fit,
    load_checkpoint,
    main,
    read_teacher,
    save_checkpoint,
    Trainer,
)

CAR, PEDESTRIAN = THING_IDS[:2]
CPU = torch.device('cpu')
ROOT = Path(__file__).resolve().parents[2]
PLAN = Plan(steps=4, batch_size=2, parts=2, size=(64, 48), whole_from=1.0, warm_up=2)


def size_at(step: int) -> tuple[int, int]:
    """Return the size of the crops of the plan."""
    return PLAN.size_at(PLAN.share(step, elapsed_s=0))


@pytest.fixture(scope='module')
def frames() -> Labelled:
    """Return two tiny frames with a car and a pedestrian each."""
    rng = np.random.default_rng(0)
    classes = np.full((2, 48, 64), 3, np.uint8)
    classes[:, 10:30, 10:40], classes[:, 12:36, 48:58] = CAR, PEDESTRIAN
    instances = (classes == CAR) * 1 + (classes == PEDESTRIAN) * 2
    images = rng.integers(0, 256, (2, 48, 64, 3), np.uint8)
    return Labelled(images=images, classes=classes, instances=instances.astype(np.uint8))


@pytest.fixture(scope='module')
def scarce(frames) -> Labelled:
    """Return the two frames as a source of few."""
    return replace(frames, is_scarce=True)


def view_of(instances: np.ndarray, classes: np.ndarray) -> View:
    """Return a view whose image does not matter."""
    return View(image=np.zeros((*classes.shape, 3), np.uint8), classes=classes,
                instances=instances)


def test_two_steps_and_a_resume_equal_four_straight(tmp_path, frames):
    straight = Trainer(PLAN, CPU)
    fit(straight, [frames], checkpoint=tmp_path / 'straight.pt', workers=0)
    first = Trainer(PLAN, CPU, threads=1)
    samples = Samples([frames], batch_size=2, seed=PLAN.seed, size_at=size_at)
    for step in range(2):
        first.train_step(samples[step])
    save_checkpoint(tmp_path / 'half.pt', first)
    second = Trainer(replace(PLAN), CPU)
    second.restore(load_checkpoint(tmp_path / 'half.pt'))
    fit(second, [frames], checkpoint=tmp_path / 'half.pt', workers=0)
    assert second.step == straight.step == 4
    for one, other in ((straight.network, second.network), (straight.average, second.average)):
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name


def test_training_makes_the_loss_smaller(frames):
    trainer = Trainer(replace(PLAN, steps=40, peak_rate=2e-3), CPU)
    batch = Samples([frames], batch_size=2, seed=1, size_at=size_at)[0]
    totals = [float(trainer.train_step(batch).total) for _ in range(12)]
    assert totals[-1] < 0.8 * totals[0]


def test_the_rate_rises_and_falls_to_zero():
    plan = Plan(steps=100, warm_up=10)
    rates = [plan.rate(step, plan.share(step, elapsed_s=9)) for step in range(101)]
    assert 0 < rates[0] < rates[5] < rates[10]
    assert max(rates) <= plan.peak_rate and rates[100] == pytest.approx(0)


def test_a_batch_that_does_not_make_equal_parts_is_refused():
    with pytest.raises(ValueError, match='6 samples do not make 4 equal parts'):
        Plan(batch_size=6, parts=4)


def test_a_plan_by_the_clock_comes_to_rest_in_time_however_slow_the_steps():
    plan = Plan(minutes=2, warm_up=1)
    assert [plan.share(step, elapsed_s) for step, elapsed_s in ((5, 0), (5, 60), (9, 500))] == [
        0, 0.5, 1]
    assert plan.rate(5, share=0.5) == pytest.approx(plan.peak_rate / 2)
    assert plan.rate(5, share=1) == pytest.approx(0)


def test_a_run_by_the_clock_ends_and_goes_on_with_the_time_that_was_left(tmp_path, frames):
    plan = replace(PLAN, minutes=0.5 / 60)
    trainer = Trainer(plan, CPU)
    fit(trainer, [frames], checkpoint=tmp_path / 'checkpoint.pt', workers=0)
    state = load_checkpoint(tmp_path / 'checkpoint.pt')
    assert trainer.step == state['step'] > 0
    assert 0.5 <= state['elapsed_s']
    again = Trainer(plan, CPU)
    again.restore(state)
    assert again.share() == 1


def test_the_last_steps_see_whole_frames():
    plan = Plan(steps=100, size=(64, 48), whole_from=0.75)
    assert [plan.size_at(plan.share(step, elapsed_s=0)) for step in (0, 74, 75, 99)] == [
        (64, 48), (64, 48), (720, 544), (720, 544)]


def test_a_rare_class_is_drawn_as_often_as_a_common_one():
    classes = np.full((8, 12, 16), 3, np.uint8)
    classes[5, 7, 9] = 2
    classes[:, 0] = VOID
    index = ClassIndex(Labelled(images=np.zeros((*classes.shape, 3), np.uint8), classes=classes,
                                instances=np.zeros_like(classes)))
    rng = np.random.default_rng(0)
    drawn = [index.draw(rng) for _ in range(200)]
    seen = [classes[place][pixel] for place, pixel in drawn]
    assert set(seen) == {2, 3}
    assert 70 < seen.count(2) < 130
    assert {(place, pixel) for (place, pixel), value in zip(drawn, seen, strict=True)
            if value == 2} == {(5, (7, 9))}


def test_a_class_is_drawn_among_those_that_are_asked_for():
    classes = np.zeros((3, 4, 5), np.uint8)
    classes[1, 2, 3], classes[2, 1, 1] = 7, 8
    index = ClassIndex(Labelled(images=np.zeros((*classes.shape, 3), np.uint8), classes=classes,
                                instances=np.zeros_like(classes)))
    rng = np.random.default_rng(0)
    assert {index.draw(rng, among=(5, 7)) for _ in range(9)} == {(1, (2, 3))}
    with pytest.raises(ValueError):
        index.draw(rng, among=(5, 6))


@pytest.mark.parametrize('shift', [-3, 0, 2])
def test_pasted_objects_stand_before_the_frame_under_ids_that_were_free(shift):
    rng = np.random.default_rng(5)
    view, donor = (View(image=rng.integers(0, 256, (6, 8, 3), np.uint8),
                        classes=rng.choice([0, 2, PEDESTRIAN], (6, 8)).astype(np.uint8),
                        instances=rng.choice([0, 1, 4, UNCOUNTED], (6, 8)).astype(np.uint8))
                   for _ in range(2))
    out = paste(view, donor, class_ids=(2, PEDESTRIAN), shift=shift)
    for row, column in np.ndindex(6, 8):
        here, origin = (row, column), (row, column - shift)
        is_pasted = 0 <= column - shift < 8 and donor.classes[origin] in (2, PEDESTRIAN)
        source, place = (donor, origin) if is_pasted else (view, here)
        assert (out.image[here] == source.image[place]).all()
        assert out.classes[here] == source.classes[place]
        # the view has ids up to 4
        new_ids = {0: 0, 1: 5, 4: 8, UNCOUNTED: UNCOUNTED}
        old = int(source.instances[place])
        assert out.instances[here] == (new_ids[old] if is_pasted else old)


def test_pasted_objects_for_which_there_is_no_id_are_uncounted():
    full = view_of(np.full((2, 2), 250, np.uint8), np.full((2, 2), CAR, np.uint8))
    donor = view_of(np.array([[4, 5], [0, UNCOUNTED]], np.uint8),
                    np.full((2, 2), PEDESTRIAN, np.uint8))
    out = paste(full, donor, class_ids=(PEDESTRIAN,), shift=0)
    np.testing.assert_array_equal(out.instances, [[254, UNCOUNTED], [0, UNCOUNTED]])


def test_a_source_that_has_several_turns_is_indexed_once(frames, monkeypatch):
    indexed = []
    monkeypatch.setattr('training.data.ClassIndex', indexed.append)
    source = replace(frames)
    Samples([source, source], batch_size=1, seed=0, size_at=size_at)
    Samples([source], batch_size=1, seed=0, size_at=size_at)
    assert indexed == [source]


@pytest.mark.parametrize('is_scarce', [True, False])
def test_only_scarce_frames_show_the_rare_objects_of_others(frames, is_scarce):
    classes = frames.classes.copy()
    classes[0], classes[1] = CAR, 3
    classes[1, :, 24:40] = PASTED_IDS[0]
    source = replace(frames, classes=classes, is_scarce=is_scarce)
    plain, pasted = (
        Samples([source], batch_size=8, seed=1, size_at=size_at,
                augmentation=Augmentation(scales=(1, 1), recoloured=0, pasted=share))[0].classes
        for share in (0, 1))
    shows_both = [((view == CAR).any() and (view == PASTED_IDS[0]).any()).item()
                  for view in pasted]
    assert any(shows_both) == is_scarce
    assert torch.equal(plain, pasted) == (not is_scarce)


@pytest.mark.parametrize('scales', [(0.5, 0.5), (1, 1), (2, 2)])
def test_a_crop_shows_the_pixel_that_it_was_drawn_for(scales):
    rng = np.random.default_rng(0)
    for _ in range(50):
        row, column = int(rng.integers(3, 57)), int(rng.integers(3, 77))
        classes = np.zeros((60, 80), np.uint8)
        classes[row - 3:row + 4, column - 3:column + 4] = CAR
        out = warp(view_of(np.zeros_like(classes), classes), rng, size=(32, 24), scales=scales,
                   focus=(row, column))
        assert (out.classes == CAR).any()


def test_training_starts_from_a_checkpoint_or_from_a_weights_file(tmp_path):
    trainer = Trainer(PLAN, CPU)
    save_checkpoint(tmp_path / 'checkpoint.pt', trainer)
    write_weights(tmp_path / 'weights.safetensors', trainer.average.state_dict(), STREET)
    for name in ('checkpoint.pt', 'weights.safetensors'):
        other = Trainer(replace(PLAN, seed=9), CPU)
        other.start_from(first_weights(tmp_path / name))
        for key, tensor in trainer.average.state_dict().items():
            assert torch.equal(tensor, other.network.state_dict()[key])
            assert torch.equal(tensor, other.average.state_dict()[key])


def test_a_wide_teacher_is_imitated_and_does_not_change(tmp_path, scarce):
    wide = Trainer(replace(PLAN, width=2), CPU)
    write_weights(tmp_path / 'wide.safetensors', wide.average.state_dict(), STREET)
    teacher = read_teacher(tmp_path / 'wide.safetensors', CPU)
    image = torch.rand(1, 3, 48, 64)
    before = teacher(image)
    pupil = Trainer(replace(PLAN, steps=40), CPU, teacher=teacher)
    alone = Trainer(replace(PLAN, steps=40), CPU)
    batch = Samples([scarce], batch_size=2, seed=1, size_at=size_at)[0]
    for _ in range(5):
        pupil.train_step(batch)
        assert alone.train_step(batch).imitation == 0
    far, near = (imitation_loss(student.network(image).semantic, teacher(image))
                 for student in (alone, pupil))
    assert near < far
    assert torch.equal(teacher(image), before)


def test_a_teacher_says_the_mean_of_an_image_and_its_mirror_image():
    network = new_network().eval()
    image = torch.rand(2, 3, 48, 64)
    seen, mirrored = (network(x).semantic.softmax(dim=1) for x in (image, image.flip(3)))
    said = Teacher(copy.deepcopy(network), CPU)(image)
    torch.testing.assert_close(said.exp(), (seen + mirrored.flip(3)) / 2)


def test_a_teacher_is_asked_about_frames_of_which_there_are_few(frames, scarce):
    asked = []

    def teacher(images):
        asked.append(len(images))
        return torch.full((len(images), 11, 24, 32), 1 / 11).log()

    trainer = Trainer(replace(PLAN, batch_size=4), CPU, teacher=teacher)
    mixed = Samples([scarce, frames], batch_size=4, seed=1, size_at=size_at)[0]
    np.testing.assert_array_equal(mixed.is_scarce, [True, False, True, False])
    assert trainer.train_step(mixed).imitation > 0
    assert asked == [1, 1]
    plenty = Samples([frames], batch_size=4, seed=1, size_at=size_at)[0]
    assert trainer.train_step(plenty).imitation == 0
    assert asked == [1, 1]


def test_the_imitation_loss_is_the_divergence_from_the_teacher():
    taught = torch.tensor([0.7, 0.3]).log().view(1, 2, 1, 1)
    assert imitation_loss(taught + 5, taught) == pytest.approx(0, abs=1e-6)
    even = torch.zeros(1, 2, 1, 1)
    expected = 0.7 * np.log(0.7 / 0.5) + 0.3 * np.log(0.3 / 0.5)
    assert imitation_loss(even, taught) == pytest.approx(expected, rel=1e-5)


def test_a_gpu_gets_whole_batches_and_every_core_makes_them(monkeypatch):
    monkeypatch.setattr('os.cpu_count', lambda: 16)
    assert Machine.with_device(torch.device('cuda')) == Machine(parts=1, workers=15)
    assert Machine.with_device(CPU) == Machine(parts=2, workers=1)


@pytest.fixture
def camvid(tmp_path, monkeypatch, frames) -> Path:
    """Return a folder with two frames to train on and one of val, and its name in CAMVID_DIR."""
    for split, drives in (('train', ('0001TP', '0016E5')), ('val', ('0016E5',))):
        folder = tmp_path / 'camvid' / split
        for kind in ('images', 'labels'):
            (folder / kind).mkdir(parents=True)
        for number, drive in enumerate(drives):
            cv2.imwrite(str(folder / f'images/{drive}_0{number}.jpg'), frames.images[number])
            cv2.imwrite(str(folder / f'labels/{drive}_0{number}.png'), frames.classes[number])
    monkeypatch.setenv('CAMVID_DIR', str(tmp_path / 'camvid'))
    return tmp_path / 'camvid'


def test_several_splits_are_read_one_after_the_other(camvid):
    train, val, both = read_camvid('train'), read_camvid('val'), read_camvid('train', 'val')
    assert (len(train), len(val), len(both)) == (2, 1, 3)
    for name in ('images', 'classes', 'instances'):
        assert np.array_equal(getattr(both, name),
                              np.concatenate([getattr(train, name), getattr(val, name)]))


def test_a_split_of_a_drive_has_the_frames_of_that_drive_alone(camvid):
    train = read_camvid('train')
    for place, drive in enumerate(('0001TP', '0016E5')):
        alone = read_camvid(f'train/{drive}')
        assert np.array_equal(alone.images, train.images[place:place + 1])
        assert np.array_equal(alone.classes, train.classes[place:place + 1])
    with pytest.raises(FileNotFoundError, match=r'no CamVid frames of train/0006R0 in .*train: '):
        read_camvid('train/0006R0')


@pytest.mark.parametrize(('words', 'splits'), [
    ([], ['train']), (['--splits', 'train', 'val'], ['train', 'val']), (['--splits'], []),
    (['--splits', 'train/0006R0'], ['train/0006R0'])])
def test_the_command_line_names_the_splits_or_none(words, splits):
    assert _parse(words).splits == splits


def test_a_split_that_is_not_there_is_refused_with_its_folder(camvid, monkeypatch):
    monkeypatch.setenv('CAMVID_DIR', str(camvid / 'elsewhere'))
    with pytest.raises(FileNotFoundError,
                       match=r'no CamVid frames of val in .*elsewhere/val: set CAMVID_DIR$'):
        read_camvid('val')


def test_the_command_trains_resumes_and_leaves_weights_that_load(tmp_path, monkeypatch, camvid):
    monkeypatch.setattr('training.train.RUNS', tmp_path / 'runs')
    monkeypatch.setattr('training.calibrate.SEEDS', range(9_999, 10_000))
    monkeypatch.setattr('training.calibrate.THRESHOLDS', (0.2, 0.5))
    arguments = ['--batch-size', '2', '--parts', '2', '--synthetic-frames', '0', '--no-evaluate',
                 '--workers', '0', '--whole-from', '1', '--splits', 'train', 'val', '--output',
                 str(tmp_path / 'new.safetensors')]
    main([*arguments, '--steps', '1'])
    assert load_checkpoint(tmp_path / 'runs/street_tiny/checkpoint.pt')['step'] == 1
    main([*arguments, '--steps', '2'])
    assert load_checkpoint(tmp_path / 'runs/street_tiny/checkpoint.pt')['step'] == 2
    assert load('', ModelOptions(weights=str(tmp_path / 'new.safetensors'))).sha256


@pytest.mark.parametrize(('words', 'message'), [
    (['--start-from', 'wide.safetensors'], 'are wider than the network, expected at most'),
    (['--start-from', 'none.safetensors'], 'none.safetensors: '),
    (['--start-from', 'none.pt'], 'none.pt'),
    (['--teacher', 'empty.pt'], 'empty.pt is no checkpoint'),
    (['--start-from', 'text.pt'], 'text.pt is no checkpoint'),
    (['--start-from', 'weights.pt'], 'weights.pt is no checkpoint'),
    (['--batch-size', '3', '--parts', '2'], '3 samples do not make 2 equal parts'),
    (['--synthetic-frames', '80001'], '80001 frames would need unseen seeds')])
def test_what_a_training_cannot_start_with_ends_it_in_one_sentence(
        words, message, tmp_path, monkeypatch, camvid):
    monkeypatch.setattr('training.train.RUNS', tmp_path / 'runs')
    monkeypatch.chdir(tmp_path)
    wide = new_network(Channels(*(2 * count for count in CHANNELS)))
    write_weights(Path('wide.safetensors'), wide.state_dict(), STREET)
    torch.save(wide.state_dict(), 'weights.pt')
    Path('empty.pt').touch()
    Path('text.pt').write_text('no state')
    with pytest.raises(SystemExit, match=message) as caught:
        main([*words, '--no-evaluate'])
    assert '\n' not in str(caught.value)


def test_a_class_that_is_seen_too_often_is_shifted_down_as_far_as_that_helps():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 3, (3000,), generator=generator)
    logits = torch.randn((3000, 3), generator=generator) + 3.0 * torch.eye(3)[truth]
    biased = logits + torch.tensor([2.0, 0.0, 0.0])
    shifts = class_shifts([(biased, truth), (biased.flip(0), truth.flip(0))])
    assert -2.5 <= shifts[0] - shifts[1:].mean() <= -1.5
    assert mean_iou((biased, truth), shifts) >= mean_iou((logits, truth), torch.zeros(3)) - 0.005
    assert torch.equal(class_shifts([(100.0 * torch.eye(3)[truth], truth)]), torch.zeros(3))


@pytest.mark.parametrize(('weights', 'reports'), [
    (PACKAGE_WEIGHTS, ['street_tiny']),
    (TRAIN_WEIGHTS, ['street_tiny_train', 'street_tiny_ablation', 'street_tiny_shifted'])])
def test_the_reports_are_of_the_weights_in_the_repository(weights, reports):
    sha256 = load('', ModelOptions(weights=str(ROOT / weights))).sha256
    for name in reports:
        report = json.loads((ROOT / f'reports/{name}.json').read_text())
        assert report['weights_sha256'] == sha256, name


def test_exported_weights_load_as_a_model(tmp_path):
    trainer = Trainer(PLAN, CPU)
    write_weights(tmp_path / 'new.safetensors', trainer.average.state_dict(), STREET)
    model = load('', ModelOptions(weights=str(tmp_path / 'new.safetensors')))
    assert model.label_set == STREET.label_set
    assert [path.name for path in tmp_path.iterdir()] == ['new.safetensors']


def test_a_batch_depends_on_the_seed_and_its_number_alone(frames):
    samples = Samples([frames], batch_size=2, seed=3, size_at=size_at)
    later = Samples([frames], batch_size=2, seed=3, size_at=size_at)
    later[0]
    for one, other in zip(vars(samples[5]).values(), vars(later[5]).values(), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(samples[5].images, samples[6].images)


def test_perfect_answers_are_grouped_into_the_true_objects(frames):
    instances = frames.instances[0]
    targets = make_targets(view_of(instances, frames.classes[0]))
    centres = find_centres(torch.from_numpy(targets.centres), threshold=0.9, stride=STRIDE)
    assert len(centres.scores) == 2
    votes = votes_of_offsets(torch.from_numpy(targets.offsets))
    owners = group_pixels(votes, centres, things=3, reach=8)
    row_of = {thing: row for row, thing in enumerate(centres.things.tolist(), start=1)}
    # away from the edges of the objects, where offsets of two cells mix
    assert (owners[0, 7:14, 7:18] == row_of[0]).all()
    assert (owners[1, 8:16, 26:28] == row_of[1]).all()


def test_offsets_point_from_each_cell_to_the_mean_of_the_object():
    classes = np.full((16, 16), CAR, np.uint8)
    instances = np.ones((16, 16), np.uint8)
    targets = make_targets(view_of(instances, classes))
    # the object's mean is (7.5, 7.5), the first cell lies at (1.5, 1.5)
    assert targets.offsets[:, 0, 0].tolist() == [6 / OFFSET_UNIT, 6 / OFFSET_UNIT]
    assert targets.centres[0].max() == 1 and targets.centres[1].max() == 0


def test_uncounted_things_teach_neither_centres_nor_offsets():
    classes = np.full((16, 16), CAR, np.uint8)
    targets = make_targets(view_of(np.full((16, 16), UNCOUNTED, np.uint8), classes))
    assert not targets.is_counted.any() and not targets.weights.any()
    heat, counted = torch.from_numpy(targets.centres), torch.from_numpy(targets.is_counted)
    assert centre_loss(torch.zeros(1, 3, 4, 4), heat[None], counted[None]) == 0
    assert offset_loss(torch.ones(1, 2, 4, 4), torch.zeros(1, 2, 4, 4),
                       torch.from_numpy(targets.weights)[None]) == 0


def test_a_row_of_touching_cars_does_not_stand_for_one():
    classes = np.zeros((60, 100), np.uint8)
    classes[5:25, 5:35] = CAR
    classes[40:50, 5:95] = CAR
    instances = stand_in_instances(classes)
    assert set(np.unique(instances[5:25, 5:35])) == {1}
    assert set(np.unique(instances[40:50, 5:95])) == {UNCOUNTED}
    assert not instances[classes == 0].any()


def test_a_warp_moves_image_and_labels_together():
    classes = np.repeat(np.arange(8, dtype=np.uint8), 8)[None].repeat(48, 0)
    image = (classes * 20)[..., None].repeat(3, 2)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        out = warp(View(image=image, classes=classes, instances=classes), rng, size=(64, 48),
                   scales=(0.55, 2.0))
        inside = out.classes < 8
        same = np.abs(out.image[..., 0].astype(int) - out.classes * 20.0) < 30
        assert same[inside].mean() > 0.95
        assert (out.instances[~inside] == UNCOUNTED).all()


def test_object_ids_are_compacted_and_things_without_one_are_uncounted():
    classes = np.array([[3, CAR, CAR, PEDESTRIAN]], np.uint8)
    ids = np.array([[0, 70_000, 0, 12]], np.int32)
    assert compact_ids(classes, ids).tolist() == [[0, 2, UNCOUNTED, 1]]


def test_the_frames_of_a_seed_are_spread_over_its_run():
    numbers = frame_numbers(3, count=4)
    assert [number // 150 for number in numbers] == [0, 1, 2, 3]
    np.testing.assert_array_equal(numbers, frame_numbers(3, count=4))


def test_unseen_seeds_are_never_rendered_for_training(tmp_path):
    with pytest.raises(ValueError, match='unseen seeds'):
        read_synthetic(tmp_path, frames=8 * FIRST_UNSEEN_SEED + 1)


def test_the_overlap_loss_is_one_less_the_mean_iou_of_sure_answers():
    truth = torch.tensor([[[0, 0, 0, 1], [1, 255, 255, 1]]])
    answer = torch.tensor([[[0, 0, 1, 1], [1, 0, 1, 0]]])
    probability = torch.nn.functional.one_hot(answer, 3).permute(0, 3, 1, 2).float()
    # class 0: 2 of 4 pixels; class 1: 2 of 4; class 2 does not occur
    assert overlap_loss(probability, truth) == pytest.approx(0.5)
