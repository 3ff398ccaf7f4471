"""Damaged files of every kind: a result or a plain error, and never a leftover file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import cv2
import numpy as np
import pytest

import mien
from mien.errors import FaceNotFoundError, InputError
from mien.media.audio import has_sound, read_speech
from mien.media.read import VideoReader
from mien.media.size import check_size
from mien.media.still import is_still, read_still

_CASES_PER_KIND: Final = 36
_EDITED: Final = 6
"""One case in so many is edited as a whole."""

_VIDEOS: Final = {
    "mp4": ("libx264", "aac"), "mov": ("mpeg4", "pcm_s16le"), "mkv": ("libx264", "flac"),
    "webm": ("libvpx", "libopus"), "avi": ("mpeg4", "mp3"), "mpg": ("mpeg2video", "mp2"),
    "ts": ("libx264", "aac"), "flv": ("flv1", "mp3"), "gif": ("gif", None),
}  # fmt: skip
_SOUNDS: Final = {"wav": "pcm_s16le", "flac": "flac", "mp3": "mp3", "ogg": "libopus"}
_IMAGES: Final = ("png", "jpg", "webp", "bmp", "tiff")
_KINDS: Final = (*_VIDEOS, *_SOUNDS, *_IMAGES)


def sample(kind: str, folder: Path) -> bytes:
    """A small whole file."""
    path = folder / f"whole.{kind}"
    image = np.random.default_rng(2).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 3)
    if kind in _IMAGES:
        path.write_bytes(cv2.imencode(f".{kind}", image)[1].tobytes())
        return path.read_bytes()
    codec, sound = _VIDEOS[kind] if kind in _VIDEOS else (None, _SOUNDS[kind])
    with av.open(str(path), "w") as container:
        video = audio = None
        if codec is not None:
            video = container.add_stream(codec, rate=25)
            video.width, video.height = 64, 48
            video.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
        if sound is not None:
            audio = container.add_stream(sound, rate=48_000 if "opus" in sound else 44_100)
            audio.layout = "mono"
        for i in range(6 if video else 0):
            frame = av.VideoFrame.from_ndarray(np.roll(image, 5 * i, 1), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(video.encode(frame))
        if video is not None:
            container.mux(video.encode(None))
        if audio is not None:
            tone = np.sin(np.arange(12_000) * 0.05)[None] * 9000
            block = av.AudioFrame.from_ndarray(tone.astype(np.int16), format="s16", layout="mono")
            block.sample_rate, block.pts = audio.rate, 0
            container.mux(audio.encode(block))
            container.mux(audio.encode(None))
    return path.read_bytes()


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut, flip, remove, insert, or put an extreme number somewhere; in the head twice as often."""
    out = bytearray(data)
    reach = len(out) if rng.random() < 0.5 else min(len(out), 600)
    at, length = int(rng.integers(reach)), int(rng.integers(1, 200))
    kind = rng.integers(5)
    if kind == 0:
        del out[at:]
    elif kind == 1:
        for place in rng.integers(0, reach, rng.integers(1, 30)):
            out[place] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        del out[at : at + length]
    elif kind == 3:
        out[at:at] = rng.bytes(length)
    else:
        out[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0"])
    return bytes(out)


def looks(path: Path) -> Iterator[object]:
    """Everything that a job reads of its inputs, one thing at a time."""

    def frames() -> int:
        with VideoReader(path) as reader:
            list(reader.first_look(3, 1.0))
            return sum(frame.picture.small(32).size for frame in reader)

    yield from (
        lambda: check_size(path),
        lambda: is_still(path) and read_still(path),
        lambda: has_sound(path),
        lambda: read_speech(path, 60),
        frames,
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", _KINDS)
def test_damaged_files(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(_KINDS.index(kind))
    whole = sample(kind, tmp_path)
    folder = tmp_path / "work"
    folder.mkdir()
    path, outputs = folder / f"in.{kind}", [folder / f"out.{suffix}" for suffix in ("mp4", "png")]
    counts: Counter[str] = Counter()
    lines = 0
    path.write_bytes(whole)
    for case in range(_CASES_PER_KIND + 1):
        uses = list(looks(path))
        if case % _EDITED == 0:
            output = outputs[kind in _IMAGES]
            uses.append(lambda output=output: mien.edit(path, output, "sad", overwrite=True))
        for use in uses:
            try:
                use()
            except (InputError, FaceNotFoundError) as error:
                counts[type(error).__name__] += 1
                lines = max(lines, len(str(error).splitlines()))
            else:
                counts["read"] += 1
        assert [found.name for found in folder.iterdir()] == [path.name]
        path.write_bytes(damage(whole, rng) or b"\0")
    assert lines == 1
    assert counts["read"] > _CASES_PER_KIND / 2
    assert counts["InputError"] > _CASES_PER_KIND / 5
