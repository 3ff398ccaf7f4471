"""Parts of films: spans, previews, comparisons with the original, animations."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import mien
from mien.errors import FaceNotFoundError, InputError
from mien.media.kinds import image_kind
from mien.media.read import VideoReader
from mien.media.still import read_still
from mien.pipelines.compare import Comparison
from mien.pipelines.part import Part

from .command import mien as command
from .conftest import MakeClip
from .speech.voices import buzz, write_sound

LOSSLESS = mien.EncodingSettings(lossless=True)


def pictures(path: Path) -> list[np.ndarray]:
    with VideoReader(path) as reader:
        return [frame.image.astype(int) for frame in reader]


def test_an_edit_eases_in_and_out_inside_its_span() -> None:
    part = Part(2.0, 4.0)
    weights = np.array([part.weight(i / 25) for i in range(150)])
    assert not weights[:51].any()
    assert not weights[100:].any()
    assert weights[60:90].min() == 1
    assert np.abs(np.diff(weights)).max() < 0.16
    assert Part(0.0, 1.0).weight(0.0) == 1, "a film begins as it is asked for"
    assert Part(2.0, None).weight(90) == 1
    assert max(Part(1.0, 1.1).weight(1 + i / 100) for i in range(10)) == 1, "short spans too"
    assert Part(1, 9).of(Path("x"), 5) == Part(1, None)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ((3, 2), "is empty"),
        ((2, 2), "is empty"),
        ((-1, None), "--from"),
        ((0, float("nan")), "--to"),
        ((0, None, True), "--preview"),
        ((2, 4, 5), "outside the span"),
    ],
)
def test_times_that_make_no_sense(values: tuple[float, ...], word: str) -> None:
    with pytest.raises(InputError, match=word):
        Part(*values)


def test_reading_can_begin_anywhere(make_clip: MakeClip) -> None:
    path = make_clip(stamps=range(60), time_base=Fraction(1, 25))
    with VideoReader(path) as reader:
        whole = list(reader)
        part = list(reader.frames_from(1.5))
        assert [(f.index, f.time) for f in part] == [(f.index, f.time) for f in whole[37:]]
        assert all((a.image == b.image).all() for a, b in zip(part, whole[37:], strict=True))
        look = [picture.image() for picture in reader.first_look(4, 12, 2.0)]
        assert len(look) == 4
        assert (look[0] == whole[50].image).all()


def test_what_lies_outside_a_span_stays_exactly(short_clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mkv"
    report = mien.edit(short_clip, out, "happy", start=0.4, end=0.8, encoding=LOSSLESS)
    before, after = pictures(short_clip), pictures(out)
    changed = [np.abs(a - b).max() for a, b in zip(before, after, strict=True)]
    assert not any(changed[:11])
    assert not any(changed[20:])
    assert max(changed[14:17]) > 40
    assert changed[11] < max(changed)
    assert (report.span, report.frames, report.spans_without_face) == ((0.4, 0.8), 25, ())
    with pytest.raises(InputError, match=r"--?span|The span at 7 s lies beyond"):
        mien.edit(short_clip, tmp_path / "a.mp4", "happy", start=7)
    with pytest.raises(FaceNotFoundError):
        mien.edit(short_clip, tmp_path / "a.mp4", "happy", start=0.4, face="3")
    assert list(tmp_path.glob("a*")) == []


def test_a_preview_is_the_frame_of_the_edit(short_clip: Path, tmp_path: Path) -> None:
    mien.edit(short_clip, tmp_path / "film.mkv", "happy", encoding=LOSSLESS)
    report = mien.edit(short_clip, tmp_path / "one.png", "happy", preview=0.61)
    wanted, original = pictures(tmp_path / "film.mkv")[15], pictures(short_clip)[15]
    shown = read_still(tmp_path / "one.png").astype(int)
    assert np.abs(shown - wanted).mean() < 0.2 * np.abs(wanted - original).mean()
    assert (report.preview, report.frames, report.faces) == (0.61, 1, 1)


def test_previews_that_cannot_be(
    make_clip: MakeClip, short_clip: Path, demo_face: Path, tmp_path: Path
) -> None:
    for source, time, output, word in (
        (short_clip, 7, "a.png", "lasts 1.00 s"),
        (demo_face, 0, "a.png", "is a picture"),
        (short_clip, 0.5, "a.mp4", "must end in"),
    ):
        with pytest.raises(InputError, match=word):
            mien.edit(source, tmp_path / output, "happy", preview=time)
    with pytest.raises(FaceNotFoundError):
        mien.edit(make_clip(), tmp_path / "a.png", "happy", preview=0.1)
    assert list(tmp_path.glob("a.*")) == []


def test_comparisons_of_a_picture(demo_face: Path, tmp_path: Path) -> None:
    for kind in ("side", "split"):
        mien.edit(demo_face, tmp_path / f"{kind}.png", "happy", compare=kind)
    mien.edit(demo_face, tmp_path / "alone.png", "happy")
    before, after = read_still(demo_face), read_still(tmp_path / "alone.png")
    side, split = (read_still(tmp_path / f"{kind}.png") for kind in ("side", "split"))
    assert (side == np.hstack((before, after))).all()
    (line,) = {int(np.flatnonzero((split == 255).all((0, 2)))[0])}
    assert 200 < line < 312, "through the face"
    assert (split[:, :line] == before[:, :line]).all()
    assert (split[:, line + 2 :] == after[:, line + 2 :]).all()
    with pytest.raises(InputError, match="side, split"):
        mien.edit(demo_face, tmp_path / "a.png", "happy", compare="above")


def test_a_film_becomes_an_animation(short_clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.webp"
    report = mien.edit(short_clip, out, "sad", compare="side", end=0.2)
    kind = image_kind(out)
    assert kind is not None
    assert kind.delays == (Fraction(1, 25),) * 25
    assert report.compare == "side"
    width = pictures(short_clip)[0].shape[1]
    shown = pictures(out)[24]
    assert shown.shape[1] == 2 * width
    assert np.abs(shown[:, :width] - shown[:, width:]).mean() < 3, "the edit is over by then"


def test_a_portrait_at_one_moment(demo_face: Path, tmp_path: Path) -> None:
    voice = write_sound(tmp_path / "voice.wav", buzz(1.0, 200))
    out = tmp_path / "a.png"
    report = mien.talk(demo_face, voice, out, "happy", preview=0.5, compare="side")
    both, width = read_still(out), read_still(demo_face).shape[1]
    assert (both[:, :width] == read_still(demo_face)).all()
    assert (both[:, width:] != both[:, :width]).any()
    assert report.frames == 1
    with pytest.raises(InputError, match="lasts 1.00 s"):
        mien.talk(demo_face, voice, tmp_path / "b.png", "happy", preview=3)


def test_the_command_line(
    short_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command("edit", short_clip, "-e", "happy", "--preview", "0:00.4", cache=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "short_0.4s.png").is_file()
    assert "the frame at 0.4 s" in done.stdout
    wrong = command("edit", short_clip, "-e", "happy", "--preview", "soon", cache=tmp_path)
    assert wrong.returncode == 2
    assert "is no time" in wrong.stderr
    nowhere = command("edit", short_clip, "-e", "happy", cache=tmp_path)
    assert nowhere.returncode == 2
    assert "-o" in nowhere.stderr


def test_a_comparison_says_that_it_is_opaque(make_clip: MakeClip) -> None:
    with VideoReader(make_clip("clip.mkv", codec="ffv1", pixel_format="yuva420p")) as reader:
        info = reader.info
    comparison = Comparison("side")
    joined = comparison.info(info)
    assert (joined.width, joined.height) == (2 * info.width, info.height)
    assert (info.layout.alpha, joined.layout.alpha) == (True, False)
    assert "Transparency" in comparison.warnings[0]
