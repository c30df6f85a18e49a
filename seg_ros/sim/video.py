# SPDX-License-Identifier: Apache-2.0
"""Writes H.264 video that ordinary players and browsers show."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from numpy.typing import NDArray

_CLOCK_HZ = 90_000  # MPEG's own time base: every common rate is exact in it


class VideoWriter:
    """An MP4 file under way: H.264, yuv420p, its index in front so that it plays while it loads.

    Close it, or use it in a `with` block; a file that is not closed does not play.
    """

    def __init__(self, path: Path, *, rate_hz: float, quality: int = 20) -> None:
        """Open the file; quality is x264's constant rate factor, lower is better."""
        self._container = av.open(str(path), 'w', options={'movflags': 'faststart'})
        self._stream = self._container.add_stream(
            'libx264', rate=Fraction(rate_hz).limit_denominator(1001)
        )
        self._stream.options = {'crf': str(quality), 'preset': 'veryfast'}
        self._stream.pix_fmt = 'yuv420p'
        self._stream.time_base = Fraction(1, _CLOCK_HZ)
        self._stream.codec_context.time_base = Fraction(1, _CLOCK_HZ)
        self._rate_hz = rate_hz
        self._started = False
        self._last_tick = -1

    def write(self, image: NDArray[np.uint8], *, time_s: float | None = None) -> None:
        """Append an (H, W, 3) RGB image, at a time since the start or one period later."""
        image = even(image)
        if not self._started:
            self._stream.height, self._stream.width = image.shape[:2]
            self._started = True
        frame = av.VideoFrame.from_ndarray(image, format='rgb24')
        frame.time_base = Fraction(1, _CLOCK_HZ)
        frame.pts = self._tick(time_s)
        self._container.mux(self._stream.encode(frame))

    def _tick(self, time_s: float | None) -> int:
        """Return the time of the next frame, never before or at that of the last."""
        period = round(_CLOCK_HZ / self._rate_hz)
        if time_s is None:
            self._last_tick = 0 if self._last_tick < 0 else self._last_tick + period
        else:
            self._last_tick = max(round(time_s * _CLOCK_HZ), self._last_tick + 1)
        return self._last_tick

    def close(self) -> None:
        """Write what the encoder still holds, and the index."""
        if self._started:
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def __enter__(self) -> VideoWriter:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file, after an error too: what is there plays."""
        self.close()


def even(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the image with an even number of rows and columns, as yuv420p wants it."""
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode='edge')
    return np.ascontiguousarray(image)
