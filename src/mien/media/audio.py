"""Read speech: 16 kHz mono from any file with sound, whole or as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from mien.errors import InputError
from mien.media.container import existing_file, open_container
from mien.media.output import SOUND_SUFFIXES

if TYPE_CHECKING:
    import av
    import soundfile

SAMPLE_RATE_HZ: Final = 16_000
"""Sample rate of all sound that mien analyses."""

Samples = npt.NDArray[np.float32]
"""Mono sound, ``float32 (samples,)``, 16 kHz, -1..1."""

_BLOCK_SECONDS: Final = 10


def read_speech(path: str | Path, seconds: float | None = None) -> Samples:
    """Read the sound of a file, or its first ``seconds``.

    Channels are averaged, any rate becomes 16 kHz. Of a video, the first sound track is read.

    Raises:
        InputError: when there is no such file, or no sound in it that can be decoded.
    """
    parts, wanted = [], None if seconds is None else round(seconds * SAMPLE_RATE_HZ)
    count = 0
    for block in stream_speech(path):
        parts.append(block)
        count += len(block)
        if wanted is not None and count >= wanted:
            break
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if not len(samples):
        raise InputError(f"{path} has no sound that can be decoded.")
    return samples[:wanted]


def stream_speech(path: str | Path) -> Iterator[Samples]:
    """Yield the sound of a file in blocks of about ten seconds; memory does not grow with length.

    Raises:
        InputError: as :func:`read_speech`, when iteration starts.
    """
    import soxr

    resampler = None
    for block, rate in _blocks(existing_file(path)):
        if resampler is None:
            resampler = soxr.ResampleStream(rate, SAMPLE_RATE_HZ, 1, dtype="float32")
        yield resampler.resample_chunk(np.nan_to_num(block))
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def has_sound(path: str | Path) -> bool:
    """Return whether a file has a sound track.

    Raises:
        InputError: when there is no such file, or it is not a media file.
    """
    path = existing_file(path)
    if (file := _sound_file(path)) is not None:
        with file:
            return file.frames > 0
    with open_container(path) as container:
        return bool(container.streams.audio)


def _sound_file(path: Path) -> soundfile.SoundFile | None:
    """Open a file with libsndfile; None where FFmpeg has to read it."""
    import soundfile

    if path.suffix.lower() in SOUND_SUFFIXES:
        try:
            return soundfile.SoundFile(str(path))
        except (soundfile.SoundFileError, OSError):
            pass  # perhaps a wrong suffix: FFmpeg goes by the content
    return None


def _blocks(path: Path) -> Iterator[tuple[Samples, int]]:
    """Yield mono blocks and the file's own rate; libsndfile reads what it can, FFmpeg the rest."""
    import av

    if (file := _sound_file(path)) is not None:
        with file:
            size = _BLOCK_SECONDS * file.samplerate
            for block in file.blocks(blocksize=size, dtype="float32", always_2d=True):
                yield block.mean(1, dtype=np.float32), file.samplerate
        return

    with open_container(path) as container:
        if not container.streams.audio:
            raise InputError(f"{path} has no sound in it.")
        stream = container.streams.audio[0]
        rate = stream.codec_context.sample_rate or SAMPLE_RATE_HZ
        mono = av.AudioResampler(format="flt", layout="mono", rate=rate)
        parts: list[Samples] = []
        count = 0
        for packet in container.demux(stream):
            for piece in _decoded(packet, mono):
                parts.append(piece)
                count += len(piece)
            if count >= _BLOCK_SECONDS * rate:
                yield np.concatenate(parts), rate
                parts, count = [], 0
        if parts:
            yield np.concatenate(parts), rate


def _decoded(packet: av.Packet, mono: av.AudioResampler) -> Iterator[Samples]:
    """Yield the mono samples of one packet; a damaged packet yields nothing."""
    import av

    try:
        frames = packet.decode()
    except av.FFmpegError:
        return
    for frame in frames:
        for piece in mono.resample(frame):
            yield piece.to_ndarray().reshape(-1).astype(np.float32)
