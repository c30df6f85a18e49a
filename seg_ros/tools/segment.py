# SPDX-License-Identifier: Apache-2.0
"""`seg_ros segment`: overlays, label images and a list of instances of the user's own files."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from dataclasses import dataclass, field
import json
from pathlib import Path
from typing import Any, TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seg_ros.core.labels import LabelSet
from seg_ros.core.overlay import draw_overlay
from seg_ros.core.types import Segmentation, VOID
from seg_ros.sim.recording import ImageFolder, open_recording, Picture, Recording
from seg_ros.tools.models import pipeline_from

if TYPE_CHECKING:
    from seg_ros.sim.video import VideoWriter

_DEFAULT_RATE_HZ = 10.0


def run(options: Namespace) -> int:
    """Segment every frame and say where the results are."""
    recording = open_recording(options.images or options.video)
    _refuse_double_names(recording)
    pipeline = pipeline_from(options)
    output = Output(Path(options.out), pipeline.label_set, video=bool(options.video))
    output.begin(recording.rate_hz or _DEFAULT_RATE_HZ)
    try:
        for picture in tqdm(recording, total=len(recording) or None, unit='frame'):
            output.add(picture, pipeline.segment(picture.image))
    finally:
        output.end()
    skipped = f', {recording.skipped} skipped' if recording.skipped else ''
    print(f'{output.frames} frames{skipped}, {output.instances} instances: {output.folder}')
    for line in output.contents():
        print(f'  {line}')
    return 0


def _refuse_double_names(recording: Recording) -> None:
    """Raise ValueError where two images would write one file."""
    if isinstance(recording, ImageFolder):
        name, count = Counter(file.stem for file in recording.files).most_common(1)[0]
        if count > 1:
            raise ValueError(
                f'{count} images of {str(recording.path)!r} are called {name!r}, '
                'expected names that differ before the suffix'
            )


@dataclass
class Output:
    """The folder that results are written to."""

    folder: Path
    label_set: LabelSet
    video: bool  # overlays as a video instead of pictures
    frames: int = 0
    instances: int = 0
    _writer: VideoWriter | None = field(default=None, init=False)

    def begin(self, rate_hz: float) -> None:
        """Make the folders and say what the ids mean."""
        for name in ('semantic', 'instance') + (() if self.video else ('overlay',)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        classes = {str(i): name for i, name in enumerate(self.label_set.names)}
        things = [name for name in self.label_set.names if name in self.label_set.things]
        labels = {'classes': classes, 'things': things, 'void': VOID}
        (self.folder / 'labels.json').write_text(json.dumps(labels, indent=2) + '\n')
        self._list = (self.folder / 'instances.jsonl').open('w')
        if self.video:
            self._writer = _video_writer(self.folder / 'overlay.mp4', rate_hz=rate_hz)

    def add(self, picture: Picture, segmentation: Segmentation) -> None:
        """Write one frame."""
        overlay = draw_overlay(picture.image, segmentation, self.label_set)
        if self._writer:
            self._writer.write(overlay)
        else:
            _write_png(self._file('overlay', picture), cv2.cvtColor(overlay, cv2.COLOR_RGB2BGR))
        _write_png(self._file('semantic', picture), segmentation.class_map)
        _write_png(self._file('instance', picture), segmentation.id_map().astype(np.uint16))
        self._list.write(json.dumps(self._listed(picture.name, segmentation)) + '\n')
        self.frames += 1
        self.instances += len(segmentation.instances)

    def _file(self, kind: str, picture: Picture) -> Path:
        return self.folder / kind / f'{picture.name}.png'

    def _listed(self, name: str, segmentation: Segmentation) -> dict[str, object]:
        """Return one line of instances.jsonl."""
        found = segmentation.instances
        rows = zip(found.ids, found.class_ids, found.scores, found.boxes, strict=True)
        return {
            'frame': name,
            'instances': [
                {
                    'id': int(instance_id),
                    'class': self.label_set.names[class_id],
                    'score': round(float(score), 4),
                    'box': box.astype(int).tolist(),
                }
                for instance_id, class_id, score, box in rows
            ],
        }

    def end(self) -> None:
        """Close the files; what is there can be used, after an interruption too."""
        self._list.close()
        if self._writer:
            self._writer.close()

    def contents(self) -> list[str]:
        """Return what lies in the folder, for people."""
        overlay = 'overlay.mp4       H.264' if self.video else 'overlay/*.png     colours'
        return [
            f'{overlay} over the image',
            'semantic/*.png    class id of each pixel, 255 = void',
            'instance/*.png    16-bit instance id of each pixel, 0 = none',
            'instances.jsonl   id, class, score and box (x_min y_min x_max y_max) by frame',
            'labels.json       what the class ids mean',
        ]


def _video_writer(path: Path, *, rate_hz: float) -> VideoWriter:
    """Return the writer, or raise ValueError where PyAV is missing."""
    try:
        from seg_ros.sim.video import VideoWriter
    except ImportError as error:
        raise ValueError(f'cannot write H.264 without PyAV ({error}): pip install av') from error
    return VideoWriter(path, rate_hz=rate_hz)


def _write_png(path: Path, image: NDArray[Any]) -> None:
    """Write a grey or BGR image."""
    encoded = cv2.imencode('.png', image)[1]
    path.write_bytes(encoded.tobytes())
