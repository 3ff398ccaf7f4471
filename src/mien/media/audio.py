"""Speech in: 16 kHz mono from any file with sound, read whole or as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.errors import InputError

SPEECH_RATE: Final = 16_000
"""Samples per second of everything that listens."""

Samples = npt.NDArray[np.float32]
"""Mono sound, ``float32 (samples,)``, 16 kHz, -1..1."""

_BLOCK_SECONDS: Final = 10
_LIBSNDFILE: Final = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au")


def read_speech(path: str | Path, seconds: float | None = None) -> Samples:
    """Read the sound of a file, the first ``seconds`` of it or all.

    Channels are averaged, any rate becomes 16 kHz. Films give their first sound track.

    Raises:
        InputError: when there is no such file, no sound in it, or nothing that can be decoded.
    """
    parts, wanted = [], None if seconds is None else round(seconds * SPEECH_RATE)
    count = 0
    for block in stream_speech(path):
        parts.append(block)
        count += len(block)
        if wanted is not None and count >= wanted:
            break
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    if not len(samples):
        raise InputError(f"{path} holds no sound that can be decoded.")
    return samples[:wanted]


def stream_speech(path: str | Path) -> Iterator[Samples]:
    """Yield the sound of a file in blocks of some ten seconds; memory does not grow with length.

    Raises:
        InputError: as :func:`read_speech`, when iteration starts.
    """
    import soxr

    resampler = None
    for block, rate in _blocks(_existing(path)):
        if resampler is None:
            resampler = soxr.ResampleStream(rate, SPEECH_RATE, 1, dtype="float32")
        yield resampler.resample_chunk(np.nan_to_num(block))
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def has_sound(path: str | Path) -> bool:
    """Whether a file has a sound track.

    Raises:
        InputError: when there is no such file, or it is no media file.
    """
    import soundfile

    from mien.media.read import open_container

    path = _existing(path)
    if path.suffix.lower() in _LIBSNDFILE:
        try:
            return soundfile.info(str(path)).frames > 0
        except (soundfile.SoundFileError, OSError):
            pass  # a wrong suffix: FFmpeg looks at the content
    with open_container(path) as container:
        return bool(container.streams.audio)


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.exists():
        raise InputError(f"There is no file {path}.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a sound or video file.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes).")
    return path


def _blocks(path: Path) -> Iterator[tuple[Samples, int]]:
    """Mono blocks at the file's own rate: by libsndfile what it knows, the rest by FFmpeg."""
    import soundfile

    if path.suffix.lower() in _LIBSNDFILE:
        try:
            file = soundfile.SoundFile(str(path))
        except (soundfile.SoundFileError, OSError):
            file = None  # a wrong suffix: FFmpeg looks at the content
        if file is not None:
            with file:
                size = _BLOCK_SECONDS * file.samplerate
                for block in file.blocks(blocksize=size, dtype="float32", always_2d=True):
                    yield block.mean(1, dtype=np.float32), file.samplerate
            return
    yield from _container_blocks(path)


def _container_blocks(path: Path) -> Iterator[tuple[Samples, int]]:
    import av

    from mien.media.read import open_container

    with open_container(path) as container:
        if not container.streams.audio:
            raise InputError(f"{path} has no sound in it.")
        stream = container.streams.audio[0]
        rate = stream.codec_context.sample_rate or SPEECH_RATE
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


def _decoded(packet: object, mono: object) -> Iterator[Samples]:
    """Mono samples of one packet; a packet that is damaged is left out."""
    import av

    try:
        frames = packet.decode()  # type: ignore[attr-defined]
    except av.FFmpegError:
        return
    for frame in frames:
        for piece in mono.resample(frame):  # type: ignore[attr-defined]
            yield piece.to_ndarray().reshape(-1).astype(np.float32)
