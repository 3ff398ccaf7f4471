"""The imperceptible mark: invisible, found after what the web does to files, else never seen."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import mien
from mien.face.topology import OVAL
from mien.face.tracker import FaceTracker
from mien.media.frame import ArrayPicture
from mien.media.still import read_still
from mien.provenance import detection
from mien.provenance.mark import CANVAS, face_mask, key_phases, marked

DEMO = ("woman", "man", "woman2")


@pytest.fixture(scope="module")
def faces(request: pytest.FixtureRequest) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    folder = Path(mien.__file__).parent / "assets" / "demo"
    images = {name: read_still(folder / f"{name}.jpg") for name in DEMO}
    with closing(FaceTracker(still=True)) as tracker:
        return {name: (image, tracker(image)[0]) for name, image in images.items()}


def found(image: np.ndarray, landmarks: np.ndarray) -> float:
    return detection.score([detection.evened(ArrayPicture(image), landmarks)]).score


def test_pictures_keep_their_look_and_carry_the_mark(
    faces: dict[str, tuple[np.ndarray, np.ndarray]],
) -> None:
    for image, landmarks in faces.values():
        after = marked(ArrayPicture(image), landmarks).image()
        region = np.zeros(image.shape[:2], np.uint8)
        cv2.fillPoly(region, [landmarks[list(OVAL), :2].astype(np.int32)], 1)
        error = ((after.astype(float) - image) ** 2)[region > 0].mean()
        assert 10 * np.log10(255**2 / error) > 45
        wider = cv2.dilate(region, np.ones((25, 25), np.uint8))
        assert np.array_equal(after[wider == 0], image[wider == 0])
        assert found(image, landmarks) < 0.7
        assert found(after, landmarks) > 1.5


def test_a_picture_is_recognised_smaller_cropped_and_compressed(
    faces: dict[str, tuple[np.ndarray, np.ndarray]], tmp_path: Path
) -> None:
    image, landmarks = faces["woman"]
    after = marked(ArrayPicture(image), landmarks).image()
    height, width = after.shape[:2]
    less = after[height // 10 :, : -width // 10]
    half = cv2.resize(after, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    for name, changed, quality in (("less", less, 75), ("half", half, 90)):
        path = tmp_path / f"{name}.jpg"
        swapped = cv2.cvtColor(changed, cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(path), swapped, [cv2.IMWRITE_JPEG_QUALITY, quality])
        assert detection.read_mark(path).present, name


def test_deep_pictures_and_weak_edits(faces: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    image, landmarks = faces["man"]
    deep = image.astype(np.uint16) * 257
    after = marked(ArrayPicture(deep), landmarks).read(ArrayPicture(deep).box)
    assert after.dtype == np.uint16
    change = (after.astype(int) - deep) / 257
    assert change[landmarks[4, 1].astype(int), landmarks[4, 0].astype(int) - 40 :][:80].std() > 0.5
    half = marked(ArrayPicture(deep), landmarks, 0.5).read(ArrayPicture(deep).box)
    assert np.abs((half.astype(int) - deep) * 2 - (after.astype(int) - deep)).max() <= 2
    untouched = ArrayPicture(image)
    assert marked(untouched, landmarks, 0.0) is untouched


def reencoded(
    path: Path, target: Path, crf: int, change: Callable[[np.ndarray], np.ndarray]
) -> Path:
    with av.open(str(path)) as source, av.open(str(target), "w") as out:
        stream = None
        for index, frame in enumerate(source.decode(video=0)):
            image = np.ascontiguousarray(change(frame.to_ndarray(format="rgb24")))
            if stream is None:
                stream = out.add_stream("libx264", rate=25, options={"crf": str(crf)})
                stream.height, stream.width, stream.pix_fmt = *image.shape[:2], "yuv420p"
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(picture))
        assert stream is not None
        out.mux(stream.encode(None))
    return target


@pytest.mark.slow
def test_an_edited_clip_is_recognised_after_crf_28_scaling_and_cropping(
    short_clip: Path, tmp_path: Path
) -> None:
    edited, bare = tmp_path / "a.mp4", tmp_path / "b.mp4"
    report = mien.edit(short_clip, edited, "happy")
    assert report.provenance.mark
    assert not mien.edit(short_clip, bare, "happy", provenance=False).provenance.mark
    assert detection.read_mark(bare).score < 0.8
    for name, crf, change in (
        ("crf", 28, lambda image: image),
        ("half", 20, lambda image: cv2.resize(image, None, fx=0.5, fy=0.5)),
        ("crop", 20, lambda image: image[26:486, 26:486]),
    ):
        reading = detection.read_mark(reencoded(edited, tmp_path / f"{name}.mp4", crf, change))
        assert (reading.faces, reading.present) == (1, True), (name, reading)


def test_the_score_of_what_does_not_know_the_key_is_bounded() -> None:
    """At one place it has the variance that the bound is made of; over all it stays below."""
    rng = np.random.default_rng(0)
    key = key_phases()
    assert np.allclose(np.abs(key[key != 0]), 1)
    blobs = [
        cv2.GaussianBlur(rng.standard_normal((CANVAS, CANVAS)), (0, 0), s) * face_mask()
        for s in (0.5, 1, 1.5, 2)
    ]
    values = []
    for blob in blobs:
        spectrum = np.fft.fft2(blob)
        phases = np.where(key != 0, spectrum / np.abs(spectrum), 0)
        surface = np.fft.ifft2(phases * key.conj()).real * CANVAS**2
        values.append(surface / np.sqrt(np.count_nonzero(key)))
    assert np.std(values) == pytest.approx(1, abs=0.02)
    scores = [detection.score([blob.astype(np.float32)]).score for blob in blobs]
    assert max(scores) < 0.85
    several = detection.score([blob.astype(np.float32) for blob in blobs])
    assert several.faces == 4
    assert several.score < max(scores)
    assert detection.score([]) == detection.MarkReading(0, 0.0)
