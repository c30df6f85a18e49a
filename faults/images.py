# SPDX-License-Identifier: Apache-2.0
"""Faults of images: fields, bytes, encodings, stamps, sizes."""
from __future__ import annotations

from collections import Counter
import time
from typing import Any

import numpy as np
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

from faults.line import answered, Bench, chatter, good, judged, Line, noise, Result, Tally
from faults.pictures import (
    BAYER,
    flat_fields,
    image_fields,
    MAX_PIXELS,
    ORDER,
    refusal,
    rgb,
    YUV_PAIRS,
    YUV_PLANES,
)
from faults.robot import key_of, Robot
from seg_ros.core.panoptic import PanopticEncoding, unpack
from seg_ros.models.checkerboard import class_of_colour, LABEL_SET
from seg_ros.ros.encodings import BadImageError, check_image

_SEED = 7


def _image(robot: Robot, fields: dict[str, Any]) -> Image:
    return Image(header=robot.header(), **fields)


def _broken(robot: Robot, rng: np.random.Generator) -> Image:
    """Return an image of a random picture and encoding, about half of them broken in a field."""
    height, width = (int(side) for side in rng.integers(1, 17, 2))
    message = _image(robot, image_fields(
        noise(rng, height=height, width=width), str(rng.choice([*ORDER])), rng=rng,
        padding=int(rng.integers(0, 9)), is_bigendian=int(rng.integers(0, 2))))
    data, number = message.data, int(rng.integers(0, 2**32))
    changes: list[dict[str, Any]] = [
        {'width': number >> int(rng.integers(0, 32))},
        {'height': number >> int(rng.integers(0, 32))},
        {'width': 0}, {'height': 0}, {'step': 0},
        {'step': number >> int(rng.integers(0, 32))},
        {'encoding': str(rng.choice(['', 'yuv9', '16UC1', '32FC1', 'RGB8', 'rgb8 ', 'é' * 300,
                                     *BAYER, *YUV_PAIRS, *YUV_PLANES, *ORDER]))},
        {'data': data[:-1]}, {'data': data[:int(rng.integers(0, len(data)))]},
        {'data': bytes(data) + b'x'}, {'data': b''},
        {'is_bigendian': int(rng.integers(0, 256))},
    ]
    if rng.random() < 0.6:
        for name, value in changes[int(rng.integers(len(changes)))].items():
            setattr(message, name, value)
    if rng.random() < 0.1:
        message.header.frame_id = str(rng.choice(['', 'ß' * 50, 'a' * 5000, '/', 'x y\n']))
    if rng.random() < 0.1:
        # never the same twice, so that answers can be told apart; nanoseconds beyond a second too
        message.header.stamp.nanosec = int(rng.integers(0, 2**32))
    return message


def random_images(bench: Bench, count: int) -> Result:
    """V1: every field of Image at random."""
    process, robot = bench.checkerboard()
    rng, tally, refused = np.random.default_rng(_SEED), Tally(), []
    expected: Counter[str] = Counter()
    before = _rejections(robot)
    for number in bench.steps(count, 'V1'):
        message = _broken(robot, rng)
        reason = refusal(message)
        if reason:
            expected[reason] += 1
            refused.append(message)
            robot.images.publish(message)
            robot.spin_for(0.003)  # its queue is one deep: the next one would replace it
            tally.add()
        else:
            tally.add(_valid(robot, message, number))
        _forget(robot)
    tally.add(good(robot, noise(rng), what='the frame after'))
    wrong = [m for m in refused[-1000:] if answered(robot, m)]
    tally.add(f'{len(wrong)} bad images were answered' if wrong else '')
    found = _settled_rejections(robot, before)
    tally.add('' if all(found[reason] <= expected[reason] for reason in found)
              else f'reasons {dict(found)}, expected at most {dict(expected)}')
    tally.add('' if process.popen.poll() is None else 'the process ended')
    tally.add(f'{chatter(process)} error lines came within a second' if chatter(process) else '')
    tally.figures = {'refused': sum(expected.values()), 'seen and refused by the node':
                     sum(found.values()), 'crashes': int(process.popen.poll() is not None)}
    return tally.result()


def _valid(robot: Robot, message: Image, number: int) -> str:
    """Return what is wrong with the answer to a valid image."""
    picture = rgb(message)
    if picture is not None:
        return judged(robot, message, picture, what=f'image {number} in {message.encoding}')
    try:
        answer = robot.ask(message)
    except TimeoutError as error:
        return str(error)
    size = answer.pixels('semantic/image_raw').shape
    return '' if size == (message.height, message.width) else f'image {number}: size {size}'


def _forget(robot: Robot) -> None:
    """Drop old answers: hundreds of thousands come."""
    while len(robot.answers) > 2000:
        robot.answers.pop(next(iter(robot.answers)))
    del robot.order[:-100], robot.diagnostics[:-20]


def _rejections(robot: Robot) -> Counter[str]:
    """Return reason -> count of the newest diagnostics."""
    return Counter({name.removeprefix('rejected.'): int(value)
                    for name, value in robot.diagnostic_values().items()
                    if name.startswith('rejected.')})


def _settled_rejections(robot: Robot, before: Counter[str]) -> Counter[str]:
    """Return what was refused since, once two entries say the same."""
    robot.diagnostics.clear()
    robot.spin_until(lambda: len(robot.diagnostics) >= 2, what='two entries')
    return _rejections(robot) - before


def mutated_bytes(bench: Bench, count: int) -> Result:
    """V2: images whose serialized bytes were changed."""
    process, robot = bench.checkerboard()
    rng, tally = np.random.default_rng(_SEED + 1), Tally()
    wellformed = 0
    for number in bench.steps(count, 'V2'):
        original = _image(robot, image_fields(noise(rng, height=6, width=8), 'rgb8', rng=rng))
        # a mutated stamp must not make it the namesake of another frame
        original.header.frame_id = f'mutation_{number}_{rng.integers(2**62)}'
        data = _mutated(serialize_message(original), rng)
        try:
            message = deserialize_message(data, Image)
        except Exception:  # whatever the middleware calls it
            message = None
        robot.images.publish(data)
        robot.spin_for(0.003)
        if message is not None and not refusal(message):
            wellformed += 1
            tally.add(_answer_to_bytes(robot, message, number))
        elif number % 10 == 9:
            tally.add(good(robot, noise(rng), what=f'the frame after mutation {number}'))
        else:
            tally.add(f'mutation {number} was answered, bad as it is'
                      if message is not None and answered(robot, message) else '')
        if process.popen.poll() is not None:
            tally.add(f'the process ended at mutation {number}')
            break
        _forget(robot)
    tally.add(good(robot, noise(rng), what='the frame after'))
    tally.add(f'{chatter(process)} error lines came within a second' if chatter(process) else '')
    tally.figures = {'well-formed': wellformed,
                     'alive': str(process.popen.poll() is None).lower()}
    return tally.result()


def _answer_to_bytes(robot: Robot, message: Image, number: int) -> str:
    """Return what is wrong with the answer to bytes that are still a valid image."""
    messages = robot.answers[key_of(message.header)].messages
    try:
        robot.spin_until(lambda: 'semantic/image_raw' in messages, what=f'mutation {number}')
    except TimeoutError as error:
        return str(error)
    picture = rgb(message)
    labels = robot.answers[key_of(message.header)].pixels('semantic/image_raw')
    exact = picture is None or np.array_equal(labels, class_of_colour(picture))
    return '' if exact else f'mutation {number}: wrong labels'


def _mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Return bytes of which some were changed, put in or taken out, mostly in the header."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(0, min(len(changed), 80) if rng.random() < 0.8
                                 else len(changed)))
        kind = rng.random()
        if kind < 0.6:
            changed[place] = int(rng.integers(0, 256))
        elif kind < 0.7:
            changed[place:place + 4] = b'\xff\xff\xff\x7f'
        elif kind < 0.8:
            del changed[place:place + int(rng.integers(1, 9))]
        elif kind < 0.9:
            changed[place:place] = rng.bytes(int(rng.integers(1, 9)))
        else:
            del changed[max(place, 4):]
        if len(changed) < 8:
            break
    return bytes(changed)


def encodings(bench: Bench, count: int) -> Result:
    """V4: each encoding in each layout; count is how many times all of them."""
    _, robot = bench.checkerboard()
    rng, tally = np.random.default_rng(_SEED + 2), Tally()
    layouts = {'tight': ((8, 12), 0, 0), 'padded': ((8, 12), 6, 0), 'odd step': ((8, 12), 3, 0),
               'big-endian': ((8, 12), 5, 1), 'odd size': ((7, 5), 1, 0), '1x1': ((1, 1), 0, 0)}
    cells = [(name, cell) for name in (*ORDER, *BAYER, *YUV_PAIRS, *YUV_PLANES)
             for cell in layouts]
    for _ in bench.steps(count, 'V4'):
        for name, cell in cells:
            (height, width), padding, is_bigendian = layouts[cell]
            tally.add(_cell(robot, name, rng=rng, height=height, width=width, padding=padding,
                            is_bigendian=is_bigendian, what=f'{name}, {cell}'))
    tally.figures = {'cells': len(cells)}
    return tally.result()


def _cell(robot: Robot, name: str, *, rng: np.random.Generator, height: int, width: int,
          padding: int, is_bigendian: int, what: str) -> str:
    """Return what is wrong with one encoding in one layout."""
    if name in ORDER:
        picture = noise(rng, height=height, width=width)
        message = _image(robot, image_fields(picture, name, rng=rng, padding=padding,
                                             is_bigendian=is_bigendian))
        return judged(robot, message, rgb(message), what=what)  # type: ignore[arg-type]
    if name in BAYER:  # no size of these is as small or as odd as asked
        height, width = max(height, 3), max(width, 3)
    elif name != 'nv24':
        height, width = height + height % 2, width + width % 2
    if name == 'nv24':
        padding = 0  # its chroma rows are twice as long: the padding of test_encodings
    fields, picture = flat_fields(name, rng.integers(20, 230, 3).tolist(), height=height,
                                  width=width, rng=rng, padding=padding,
                                  is_bigendian=is_bigendian)
    if name in BAYER:
        return judged(robot, _image(robot, fields), picture, what=what)
    try:
        labels = robot.ask(_image(robot, fields)).pixels('semantic/image_raw')
    except TimeoutError as error:
        return f'{what}: {error}'
    near = [class_of_colour(picture + np.uint8(level)) for level in (255, 0, 1)]
    exact = np.any([labels == classes for classes in near], axis=0).all()
    return '' if exact and labels.shape == (height, width) else f'{what}: wrong labels'


def absurd_sizes(bench: Bench, count: int) -> Result:
    """V5: headers that speak of more, or of other, than there is."""
    process, robot = bench.checkerboard()
    rng, tally = np.random.default_rng(_SEED + 3), Tally()
    tally.add(good(robot, noise(rng), what='the frame before'))
    before_mb, slowest_ms = process.rss_mb(), 0.0
    cases = [{'width': 65536, 'height': 65536, 'step': 3 * 65536, 'data': b'x' * 12},
             {'width': 2**32 - 1, 'height': 2**32 - 1, 'step': 2**32 - 1},
             {'width': 0, 'height': 0, 'step': 0, 'data': b''},
             {'data': b'x' * 575}, {'data': b'x' * 577}]
    for number in bench.steps(count, 'V5'):
        message = robot.image(noise(rng), **cases[number % len(cases)])
        robot.images.publish(message)
        started = time.thread_time()  # what others do on this machine is not in it
        try:
            check_image(message, max_pixels=MAX_PIXELS)
            tally.add(f'case {number % len(cases)} is not refused')
        except BadImageError:
            slowest_ms = max(slowest_ms, 1e3 * (time.thread_time() - started))
        tally.add(good(robot, noise(rng), what=f'the frame after case {number % len(cases)}'))
        tally.add('a bad image was answered' if answered(robot, message) else '')
        _forget(robot)
    grown_mb = process.rss_mb() - before_mb
    tally.add('' if grown_mb < 50 else f'memory grew by {grown_mb:.0f} MB')
    tally.add('' if slowest_ms < 1 else f'a refusal took {slowest_ms:.1f} ms')
    tally.figures = {'refusal max CPU ms': round(slowest_ms, 3), 'RSS step MB': round(grown_mb, 1)}
    return tally.result()


def same_picture(bench: Bench, count: int) -> Result:
    """P1: one picture padded, in another encoding, byte-swapped."""
    _, robot = bench.checkerboard()
    rng, tally = np.random.default_rng(_SEED + 4), Tally()
    for _ in bench.steps(count, 'P1'):
        height, width = (int(side) for side in rng.integers(1, 25, 2))
        picture = noise(rng, height=height, width=width)
        name = str(rng.choice([n for n in ORDER if ORDER[n] != 'y']))
        message = _image(robot, image_fields(
            picture, name, rng=rng, padding=int(rng.integers(0, 20)),
            is_bigendian=int(rng.integers(0, 2))))
        tally.add(judged(robot, message, picture, what=name))
        _forget(robot)
    return tally.result()


def outputs_agree(bench: Bench, count: int) -> Result:
    """P2: all outputs of a frame, with each other and with their image."""
    _, robot = bench.checkerboard()
    rng, tally = np.random.default_rng(_SEED + 5), Tally()
    for number in bench.steps(count, 'P2'):
        block = int(rng.integers(1, 9))
        small = noise(rng, height=int(rng.integers(1, 9)), width=int(rng.integers(1, 9)))
        picture = small.repeat(block, axis=0).repeat(block, axis=1)
        message = robot.image(picture)
        try:
            wrong = _disagreement(message, robot.ask(message).messages)
        except TimeoutError as error:
            wrong = str(error)
        tally.add(f'example {number}: {wrong}' if wrong else '')
        _forget(robot)
    return tally.result()


def _disagreement(message: Image, outputs: dict[str, Any]) -> str:
    """Return the first rule that the outputs of an image break."""
    if any(output.header != message.header for output in outputs.values()):
        return "a header is not the input's"
    images = {topic: output for topic, output in outputs.items() if isinstance(output, Image)}
    if any((i.height, i.width) != (message.height, message.width) for i in images.values()):
        return "a size is not the input's"
    shape = message.height, message.width
    classes = np.frombuffer(images['semantic/image_raw'].data, np.uint8).reshape(shape)
    ids = np.frombuffer(images['instance/image_raw'].data, np.int32).reshape(shape)
    packed = np.frombuffer(images['panoptic/image_raw'].data, np.int32).reshape(shape)
    if not np.isin(classes, [*range(len(LABEL_SET)), 255]).all():
        return 'a class id is unknown'
    detections = outputs['instances'].detections
    if sorted(int(d.id) for d in detections) != sorted(set(ids[ids > 0].tolist())):
        return 'ids of image and array differ'
    if not np.array_equal(unpack(packed, PanopticEncoding.INSTANCE_HIGH)[0], classes):
        return 'panoptic and semantic classes differ'
    for detection in detections:
        rows, columns = np.nonzero(ids == int(detection.id))
        box, centre = detection.bbox, detection.bbox.center.position
        if (box.size_x, box.size_y) != (np.ptp(columns) + 1, np.ptp(rows) + 1) \
                or (centre.x, centre.y) != (columns.min() + box.size_x / 2,
                                            rows.min() + box.size_y / 2):
            return f'the box of {detection.id} is not tight'
    return ''


def odd_stamps(bench: Bench, count: int) -> Result:
    """T1: stamps of 0, from the future, twice, and a jump back as where a recording loops."""
    _, robot = bench.checkerboard()
    robot.set_parameters(tracking__enabled=True)
    tally, used, lost = Tally(), set(), 0
    last: set[int] | None = None
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[5:15, 5:15, 0] = LABEL_SET.id_of('ball')
    start = 1_600_000_000
    for number in bench.steps(count, 'T1'):
        for second in range(4):  # a loop of a recording: it starts with a jump back
            message = robot.image(picture)
            message.header.frame_id = f'loop_{number}_{second}'
            message.header.stamp.sec = start + second // 2  # each stamp twice
            ids = _ids_of(robot, message)
            lost += ids is None
            known = second and ids == last
            fresh = not second and ids and not ids & used
            tally.add('' if known or fresh else f'loop {number}, frame {second}: ids {ids}')
            last = ids
            used |= ids or set()
        for second in (0, 4_000_000_000 % 2**31):  # zero, and the year 2096
            message = robot.image(picture)
            message.header.frame_id = f'odd_{number}_{second}'
            message.header.stamp.sec, message.header.stamp.nanosec = second, 0
            tally.add(judged(robot, message, picture, what=f'stamp {second}'))
            used |= _ids(robot.answers[key_of(message.header)])
        _forget(robot)
    for kind in ('zero', 'future', 'backwards', 'duplicate'):
        # nothing comes before the first loop
        robot.wait_for_diagnostic(f'stamp.{kind}', lambda text: int(text or 0) >= count - 1)
        tally.add()
    robot.set_parameters(tracking__enabled=False)  # it would steady classes of the next lines
    tally.figures = {'frames lost after a jump': lost}
    return tally.result()


def _ids_of(robot: Robot, message: Image) -> set[int] | None:
    """Return the ids that an image is answered with, None where it is not."""
    try:
        return _ids(robot.ask(message))
    except TimeoutError:
        return None


def _ids(answer: Any) -> set[int]:
    return {int(d.id) for d in answer.messages['instances'].detections}


def size_flips(bench: Bench, count: int) -> Result:
    """C2: another size with every frame."""
    process, robot = bench.checkerboard()
    rng, tally = np.random.default_rng(_SEED + 6), Tally()
    half_mb = process.rss_mb()
    for number in bench.steps(count, 'C2'):
        size = (48, 64) if number % 2 else (int(rng.integers(1, 64)), int(rng.integers(1, 64)))
        tally.add(good(robot, noise(rng, height=size[0], width=size[1]), what=f'frame {number}'))
        if number == count // 2:
            half_mb = process.rss_mb()
        _forget(robot)
    grown_mb = process.rss_mb() - half_mb
    tally.add('' if grown_mb < 20 else f'memory grew by {grown_mb:.0f} MB in the second half')
    tally.figures = {'RSS growth in the second half, MB': round(grown_mb, 1)}
    return tally.result()


LINES = (
    Line('V1', 'random Images: every field', 300, 100_000, random_images),
    Line('V2', 'mutated CDR bytes', 200, 10_000, mutated_bytes),
    Line('V4', 'each encoding in each layout', 1, 20, encodings),
    Line('V5', '65536x65536 with 12 bytes, 0x0, length off by one', 10, 1_000, absurd_sizes),
    Line('P1', 'same picture padded, re-encoded, byte-swapped', 50, 5_000, same_picture),
    Line('P2', 'any output against its frame', 50, 5_000, outputs_agree),
    Line('T1', 'stamp 0, future, backwards, duplicate', 3, 300, odd_stamps),
    Line('C2', 'size flips every frame', 50, 1_000, size_flips),
)
