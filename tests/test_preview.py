"""Single frames shown while an emotion is being chosen."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import mien
from mien.emotion.request import build_request
from mien.errors import FaceNotFoundError, InputError
from mien.media.read import VideoReader
from mien.media.still import read_still
from mien.pipelines.mesh_preview import MeshPreview

from .conftest import MakeClip


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi", "clip.mpg", "clip.mov"])
def test_a_frame_is_found_by_its_time(make_clip: MakeClip, name: str) -> None:
    codec = {"avi": "mpeg4", "mpg": "mpeg2video"}.get(name[-3:], "libx264")
    path = make_clip(name, stamps=range(60), time_base=Fraction(1, 25), codec=codec)
    with VideoReader(path) as reader:
        frames = list(reader)
        for index in (0, 1, 37, 59):
            found = reader.frame_at(float(frames[index].time) + 0.01)
            assert found.time == frames[index].time
            assert (found.image == frames[index].image).all()
        assert reader.frame_at(100).time == frames[-1].time


def test_the_preview_of_a_picture_is_its_edit(demo_face: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    mien.edit(demo_face, out, "happy:0.7")
    with MeshPreview(demo_face) as preview:
        assert (preview(build_request("happy:0.7")) == read_still(out)).all()
        assert (preview.original() == read_still(demo_face)).all()
        (box,) = preview.faces()
        assert box[0] < 256 < box[2]
        with pytest.raises(FaceNotFoundError, match="no number 2"):
            preview(build_request("happy"), face="2")


def test_the_preview_of_a_clip_is_close_to_its_edit(short_clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    mien.edit(short_clip, out, "surprised", encoding=mien.EncodingSettings(lossless=True))
    with MeshPreview(short_clip) as preview, VideoReader(out) as edited:
        before = preview.original(0.6).astype(int)
        shown = preview(build_request("surprised"), 0.6).astype(int)
        wanted = edited.frame_at(0.6).image.astype(int)
        changed = np.abs(wanted - before).mean()
        assert np.abs(shown - wanted).mean() < 0.5 * changed
        with pytest.raises(InputError, match="from 0 upwards"):
            preview.original(-1)
