# SPDX-License-Identifier: Apache-2.0
"""Renders the frames on which a faster mode of a model is held against fp32 at configure."""
from __future__ import annotations

from pathlib import Path

import cv2

from seg_ros.sim import Street

FOLDER = Path(__file__).resolve().parent.parent / 'seg_ros' / 'models' / 'check_frames'
SEEDS = (10_000, 10_003, 10_011, 10_020)  # crowded, in no training
_INDEX = 30


def main() -> None:
    """Write one frame a street."""
    FOLDER.mkdir(exist_ok=True)
    for seed in SEEDS:
        image = Street(seed=seed, width=640, height=480).frame(_INDEX).image
        cv2.imwrite(str(FOLDER / f'street_{seed}.jpg'), cv2.cvtColor(image, cv2.COLOR_RGB2BGR),
                    (cv2.IMWRITE_JPEG_QUALITY, 90))


if __name__ == '__main__':
    main()
