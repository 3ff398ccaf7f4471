"""Read speech: 16 kHz mono from any file with sound, whole or as a stream."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mien.errors import InputError
from mien.media.container import existing_file, may_be_joined, open_container

if TYPE_CHECKING:
    import av.container

SAMPLE_RATE_HZ: Final = 16_000
"""Sample rate of all sound that mien analyses."""

Samples = npt.NDArray[np.float32]
"""Mono sound, ``float32 (samples,)``, 16 kHz, -1..1."""

_BLOCK_SECONDS: Final = 10
_RATES_HZ: Final = (2000, 1_000_000)
"""Lowest and highest sample rate that a sound recording can have."""

_LOUDEST: Final = 16.0
"""Limit of samples; recordings in floating point may exceed full scale."""

_CANCELLED: Final = 0.1
"""Level of the mean of all channels, relative to the loudest, under which they cancel out."""

_TOLERANCE_SECONDS: Final = 0.1
"""Imprecision of time stamps that moves no sample."""

_JUMP_SECONDS: Final = 1
_MOST_PLANES: Final = 8
"""Planes of a frame that PyAV can read; it crashes at the ninth."""

_LONGEST_PAUSE_SECONDS: Final = 600
_LONGEST_BROADCAST_PAUSE_SECONDS: Final = 10
_MARGIN_SECONDS: Final = 10
"""How far sound may exceed the length that its file states."""


def read_speech(
    path: str | Path, seconds: float | None = None, *, start: Fraction | None = None
) -> Samples:
    """Read the sound of a file, or its first ``seconds``; see :func:`stream_speech`.

    Raises:
        InputError: when there is no such file, or no sound in it that can be decoded.
    """
    parts, wanted = [], None if seconds is None else round(seconds * SAMPLE_RATE_HZ)
    count = 0
    with closing(stream_speech(path, start)) as blocks:
        for block in blocks:
            parts.append(block)
            count += len(block)
            if wanted is not None and count >= wanted:
                break
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if not len(samples):
        raise InputError(f"{path} has no sound that can be decoded.")
    return samples[:wanted]


def stream_speech(path: str | Path, start: Fraction | None = None) -> Generator[Samples]:
    """Yield the sound of a file in blocks of about ten seconds; memory does not grow with length.

    The default track is read, or the first one where none is marked so. Channels are averaged; of
    channels that cancel each other out the loudest is taken. Any rate becomes 16 kHz. Gaps in the
    time stamps become silence.

    Args:
        path: file with sound.
        start: time of the first sample on the file's clock, seconds: earlier sound is left out,
            silence precedes sound that begins later. None begins with the first sample there is.

    Raises:
        InputError: as :func:`read_speech`, when iteration starts.
    """
    import soxr

    resampler = None
    for block, rate in _blocks(existing_file(path), start):
        if resampler is None:
            resampler = soxr.ResampleStream(rate, SAMPLE_RATE_HZ, 1, dtype="float32")
        yield resampler.resample_chunk(block)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def has_sound(path: str | Path) -> bool:
    """Return whether a file has a sound track that is not empty.

    Raises:
        InputError: when there is no such file, or it is not a media file.
    """
    import av

    with open_container(existing_file(path)) as container:
        track = main_track(container)
        try:
            packets = islice(container.demux(track), 1) if track is not None else ()
            return any(packet.size for packet in packets)
        except av.FFmpegError:
            return False


def sound_start(path: str | Path) -> Fraction:
    """Return when the sound of a file begins on its own clock, seconds; 0 without sound."""
    with open_container(existing_file(path)) as container, closing(_frames(container)) as frames:
        return next((time_of(frame) or Fraction(0) for frame in frames), Fraction(0))


def main_track(container: av.container.InputContainer) -> av.AudioStream | None:
    """Return the sound track that players choose: the first default one, or else the first."""
    from av.stream import Disposition

    tracks = [track for track in container.streams.audio if track.codec_context is not None]
    default = (track for track in tracks if track.disposition & Disposition.default)
    return next(default, tracks[0] if tracks else None)


def time_of(frame: av.AudioFrame) -> Fraction | None:
    """Return the time of a decoded frame, seconds, if it has one."""
    if frame.pts is None or frame.time_base is None:
        return None
    return frame.pts * Fraction(frame.time_base)


def reachable(frame: av.AudioFrame) -> av.AudioFrame:
    """Return a frame whose samples PyAV reaches: interleaved where it has many channels."""
    import av

    if not frame.format.is_planar or frame.layout.nb_channels <= _MOST_PLANES:
        return frame
    return av.AudioResampler(format=frame.format.packed).resample(frame)[0]


def samples_of(frame: av.AudioFrame) -> Samples:
    """Return the samples of a frame, ``float32 (channels, N)``, -1..1; finite."""
    frame = reachable(frame)
    values: npt.NDArray[Any] = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    if values.dtype.kind in "iu":
        half = 2.0 ** (8 * values.dtype.itemsize - 1)
        offset = half if values.dtype.kind == "u" else 0.0
        return ((values - offset) / half).astype(np.float32)
    finite = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    return np.clip(finite, -_LOUDEST, _LOUDEST).astype(np.float32)


@dataclass(slots=True)
class SampleGrid:
    """Places decoded frames on one even grid of samples, whatever gaps or overlaps they have.

    Attributes:
        rate: samples per second.
        start: time of the grid's first sample, seconds; None for that of the first frame.
        latest: seconds after ``start`` at which the first frame can be.
        longest_pause: seconds; what seems later or longer is a jump of the clock.
        placed: samples placed so far.
    """

    rate: int
    start: Fraction | None = None
    latest: float = _LONGEST_PAUSE_SECONDS
    longest_pause: float = _LONGEST_PAUSE_SECONDS
    placed: int = 0

    @classmethod
    def of(
        cls, container: av.container.InputContainer, rate: int, start: Fraction | None
    ) -> SampleGrid:
        """Return a grid for the sound of a file."""
        if not container.duration:
            return cls(rate, start)
        length = container.duration / 1_000_000 + _MARGIN_SECONDS
        return cls(rate, start, length, min(length, _LONGEST_PAUSE_SECONDS))

    def place(self, time: Fraction | None, count: int) -> tuple[int, int]:
        """Place the next frame.

        Args:
            time: of its first sample, seconds; None where it is not known.
            count: of its samples.

        Returns:
            The samples of silence that precede it, and how many of its own are left out.
        """
        if self.start is None:
            self.start = Fraction(0) if time is None else time
        late = 0 if time is None else round((time - self.start) * self.rate) - self.placed
        if self.placed and abs(late) <= _TOLERANCE_SECONDS * self.rate:
            late = 0
        longest = self.longest_pause if self.placed else self.latest
        back = self.placed and late < -_JUMP_SECONDS * self.rate
        if back or late > longest * self.rate:  # a jump of the clock: go on without a break
            self.start, late = self.start + Fraction(late, self.rate), 0
        silence, omitted = max(0, late), min(max(0, -late), count)
        self.placed += silence + count - omitted
        return silence, omitted


def _frames(container: av.container.InputContainer) -> Generator[av.AudioFrame]:
    """Yield the decoded sound of the main track; damaged parts are left out."""
    import av

    track = main_track(container)
    if track is None:
        return
    packets = container.demux(track)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, av.FFmpegError):
            return
        try:
            yield from packet.decode()
        except av.FFmpegError:
            continue


def _blocks(path: Path, start: Fraction | None) -> Generator[tuple[Samples, int]]:
    """Yield mono blocks and the file's own rate."""
    with open_container(path) as container:
        track = main_track(container)
        if track is None:
            raise InputError(f"{path} has no sound in it.")
        grid: SampleGrid | None = None
        parts: list[Samples] = []
        count = 0
        for frame in _frames(container):
            if grid is None:
                grid = SampleGrid.of(container, frame.sample_rate, start)
                if may_be_joined(container):
                    grid.longest_pause = _LONGEST_BROADCAST_PAUSE_SECONDS
                if not _RATES_HZ[0] <= grid.rate <= _RATES_HZ[1]:
                    raise InputError(f"{path} is damaged: it states {grid.rate} samples a second.")
            rate, size = grid.rate, _BLOCK_SECONDS * grid.rate
            samples = _at_rate(frame, rate)
            silence, omitted = grid.place(time_of(frame), samples.shape[1])
            samples = samples[:, omitted:]
            if silence or (parts and len(parts[0]) != len(samples)) or count >= size:
                yield from ((_mono(parts), rate) for _ in parts[:1])
                parts, count = [], 0
            for done in range(0, silence, size):
                yield np.zeros(min(size, silence - done), np.float32), rate
            parts.append(samples)
            count += samples.shape[1]
        if grid is not None and parts:
            yield _mono(parts), grid.rate


def _at_rate(frame: av.AudioFrame, rate: int) -> Samples:
    """Return the samples of a frame at ``rate``, ``float32 (channels, N)``."""
    import av

    if frame.sample_rate == rate:
        return samples_of(frame)
    converter = av.AudioResampler(format="fltp", rate=rate)
    pieces = (*converter.resample(frame), *converter.resample(None))
    return np.concatenate([samples_of(piece) for piece in pieces], axis=1)


def _mono(parts: list[Samples]) -> Samples:
    """Return the mean of the channels, or the loudest where they cancel each other out."""
    channels = np.concatenate(parts, axis=1)
    mean = channels.mean(0, dtype=np.float32)
    if len(channels) == 1 or not mean.size:
        return mean
    levels = np.sqrt(np.square(channels).mean(1))
    if np.sqrt(np.square(mean).mean()) < _CANCELLED * levels.max():
        return channels[int(levels.argmax())]
    return mean
