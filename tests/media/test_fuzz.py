"""Damaged files: an error or a result, never a crash and never a leftover file."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.errors import InputError, OutputError
from mien.media.read import VideoReader
from mien.media.still import read_still
from mien.media.write import VideoWriter

from ..conftest import MakeClip

CASES = 240


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    out = bytearray(data)
    kind = rng.integers(4)
    if kind == 0:
        return bytes(out[: rng.integers(0, len(out))])
    if kind == 1:
        for at in rng.integers(0, len(out), rng.integers(1, 60)):
            out[at] ^= 1 << int(rng.integers(8))
        return bytes(out)
    if kind == 2:
        at, length = int(rng.integers(0, len(out))), int(rng.integers(1, 400))
        del out[at : at + length]
        return bytes(out)
    at = int(rng.integers(0, len(out)))
    out[at:at] = rng.integers(0, 256, rng.integers(1, 400), dtype=np.uint8).tobytes()
    return bytes(out)


@pytest.mark.slow
def test_damaged_clips(make_clip: MakeClip, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    sources = [
        make_clip("a.mp4", audio="aac").read_bytes(),
        make_clip("b.mkv", audio="aac").read_bytes(),
        make_clip("c.avi", codec="mpeg4", time_base=Fraction(1, 25), stamps=range(10)).read_bytes(),
    ]
    folder = tmp_path / "work"
    folder.mkdir()
    outcomes = {"read": 0, "refused": 0}
    for case in range(CASES):
        path = folder / "in.mp4"
        path.write_bytes(damage(sources[case % 3], rng))
        try:
            with VideoReader(path) as reader:
                writer = VideoWriter(
                    folder / "out.mp4", reader.info, audio_from=path, overwrite=True
                )
                with writer:
                    for frame in reader:
                        writer.write(frame.image, frame.time)
            outcomes["read"] += 1
        except (InputError, OutputError):
            outcomes["refused"] += 1
        assert {p.name for p in folder.iterdir()} <= {"in.mp4", "out.mp4"}
    assert outcomes["read"] > 10
    assert outcomes["refused"] > 10


def test_damaged_stills(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 255, (40, 50, 3)).astype(np.uint8)
    sources = [cv2.imencode(ext, image)[1].tobytes() for ext in (".png", ".jpg", ".webp")]
    refused = 0
    for case in range(CASES):
        path = tmp_path / "in.png"
        path.write_bytes(damage(sources[case % 3], rng))
        try:
            assert read_still(path).ndim == 3
        except InputError:
            refused += 1
    assert 0 < refused < CASES
