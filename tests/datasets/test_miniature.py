"""The corpora in miniature: folders, faces, voices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mien.datasets.films import check_corpus, find_films
from mien.datasets.mead import EMOTIONS
from mien.datasets.miniature import make_miniature
from mien.errors import InputError
from mien.evaluation.pairs import crema_pairs, mead_pairs
from mien.face.facs import INDEX, read_expression
from mien.face.pose import head_pose
from mien.face.tracker import FaceTracker
from mien.media.audio import read_speech
from mien.media.read import VideoReader

from ..command import mien

SHORT = {"sentences": 1, "seconds": 0.2, "emotions": ("neutral", "angry", "surprised")}


@pytest.fixture(scope="module")
def mead(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("miniature")
    assert make_miniature("mead", folder, **SHORT) == 9  # type: ignore[arg-type]
    return folder


def last_brow(path: Path) -> tuple[int, float]:
    """Number of frames, and how far the brows of the last one are raised."""
    tracker = FaceTracker(max_faces=1)
    with VideoReader(path) as reader:
        frames = [frame.image for frame in reader]
    face = tracker(frames[-1])[0]
    units = read_expression(head_pose(face).to_head(face))
    return len(frames), float(units[INDEX["1L"]] + units[INDEX["2L"]] - units[INDEX["4L"]])


def test_it_has_meads_folders_faces_and_voices(mead: Path) -> None:
    report = check_corpus("mead", mead)
    assert report.films == 9
    assert set(report.people) == {"mead_M005", "mead_W011", "mead_M003"}
    assert report.emotions == {"angry": 3, "neutral": 3, "surprised": 3}
    assert not report.silent
    assert not report.unreadable
    assert {pair.emotion for pair in mead_pairs(mead)} == {"angry", "surprised"}
    for person in ("M005", "M003"):
        place = mead / person / "front"
        counts, brows = zip(*(last_brow(place / name / f"level_{level}" / "001.mp4")
                              for name, level in (("angry", 3), ("neutral", 1), ("surprised", 3))),
                            strict=True)  # fmt: skip
        assert counts == (5, 5, 5)
        assert brows[0] < brows[1] < brows[2]
    loud, plain = (
        np.abs(read_speech(mead / "W011/front" / place / "001.mp4")).max()
        for place in ("angry/level_3", "neutral/level_1")
    )
    assert loud > 1.3 * plain


def test_existing_films_are_kept_and_others_come_out_the_same(mead: Path, tmp_path: Path) -> None:
    film = mead / "M003/front/angry/level_3/001.mp4"
    before, when = film.read_bytes(), film.stat().st_mtime_ns
    make_miniature("mead", mead, **SHORT)  # type: ignore[arg-type]
    assert film.stat().st_mtime_ns == when
    film.unlink()
    make_miniature("mead", mead, **SHORT)  # type: ignore[arg-type]
    assert film.read_bytes() == before


def test_the_other_corpora(tmp_path: Path) -> None:
    crema, hdtf = tmp_path / "crema", tmp_path / "hdtf"
    make_miniature("cremad", crema, **{**SHORT, "emotions": ("neutral", "angry")})  # type: ignore[arg-type]
    assert len(crema_pairs(crema)) == 3
    assert all(film.sound is not None for film in find_films("cremad", crema))
    make_miniature("hdtf", hdtf, **SHORT)  # type: ignore[arg-type]
    assert len({film.label.speaker for film in find_films("hdtf", hdtf)}) == 3


def test_a_close_face_fills_the_picture(mead: Path, tmp_path: Path) -> None:
    make_miniature("mead", tmp_path, **{**SHORT, "emotions": ("neutral",)}, close=True)  # type: ignore[arg-type]

    def share(root: Path) -> float:
        path = root / "W011/front/neutral/level_1/001.mp4"
        with VideoReader(path) as reader:
            image = next(iter(reader)).image
        face = FaceTracker(max_faces=1)(image)[0][:, :2]
        return float(np.ptp(face, 0).max()) / len(image)

    assert share(mead) < 0.7 < 0.78 < share(tmp_path) < 0.9


@pytest.mark.parametrize(
    "wrong",
    [{"corpus": "celeb"}, {"emotions": ("joy",)}, {"sentences": 9}, {"levels": (4,)},
     {"seconds": 60.0}, {"side": 33}],
)  # fmt: skip
def test_what_there_is_not_is_refused(wrong: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="miniature"):
        make_miniature(**{"corpus": "mead", "folder": tmp_path / "x", **wrong})  # type: ignore[arg-type]
    assert not (tmp_path / "x").exists()


def test_the_command_names_what_it_knows(tmp_path: Path) -> None:
    bad = mien("data", "miniature", "celeb", "-o", tmp_path / "x", cache=tmp_path)
    assert bad.returncode == 2
    assert "mead, cremad, hdtf" in bad.stderr
    assert len(EMOTIONS) == 8
