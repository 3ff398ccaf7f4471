from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.errors import InputError, OutputError
from mien.media.audio import has_sound, read_speech
from mien.media.output import check_output, whole_file
from mien.media.read import VideoReader
from mien.media.still import is_still, read_still, write_still


def exif(orientation: int) -> bytes:
    entry = struct.pack("<HHII", 0x0112, 3, 1, orientation)
    tiff = b"II*\x00\x08\x00\x00\x00\x01\x00" + entry + b"\x00" * 4
    body = b"Exif\x00\x00" + tiff
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


def jpeg(path: Path, block: bytes) -> Path:
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, :40, 2] = 255  # left half red
    data = cv2.imencode(".jpg", image)[1].tobytes()
    path.write_bytes(data[:2] + block + data[2:])
    return path


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    turned = read_still(jpeg(tmp_path / "a.jpg", exif(6)))
    assert turned.shape == (80, 40, 3)
    assert turned[10, 20, 0] > 200
    assert turned[70, 20, 0] < 50


@pytest.mark.parametrize("block", [b"\xff\xe1\x00\x10Exif\x00\x00garbage!", exif(77)])
def test_corrupt_exif_is_ignored(tmp_path: Path, block: bytes) -> None:
    assert read_still(jpeg(tmp_path / "a.jpg", block)).shape == (40, 80, 3)


def test_transparency_is_blended_over_white(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 4), np.uint8))
    assert (read_still(tmp_path / "a.png") == 255).all()


def test_grey_and_16_bits_become_8_bit_rgb(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((8, 9), 30_000, np.uint16))
    image = read_still(tmp_path / "a.png")
    assert image.shape == (8, 9, 3)
    assert image.dtype == np.uint8
    assert abs(int(image[0, 0, 0]) - 117) <= 1


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    image = np.full((31, 33, 3), (200, 100, 50), np.uint8)
    write_still(tmp_path / f"a{suffix}", image)
    assert is_still(tmp_path / f"a{suffix}")
    assert np.abs(read_still(tmp_path / f"a{suffix}").astype(int) - image).max() <= 4
    assert len(list(tmp_path.iterdir())) == 1


def test_an_image_too_large_for_its_format(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        write_still(tmp_path / "a.webp", np.zeros((2, 40_000, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def test_files_that_are_not_images(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"hello")
    (tmp_path / "b.png").write_bytes(b"")
    for name in ("a.png", "b.png", "c.png"):
        with pytest.raises(InputError, match=name):
            read_still(tmp_path / name)


def broken(path: Path, kind: str) -> Path:
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(np.uint8)
    data = cv2.imencode(path.suffix, image)[1].tobytes()
    contents = {
        "text": b"this is not an image",
        "zeros": bytes(2000),
        "no signature": data[40:],
        "cut": data[:30],
    }
    path.write_bytes(contents[kind])
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
@pytest.mark.parametrize("kind", ["text", "zeros", "no signature", "cut"])
def test_a_broken_image_is_reported_as_damaged(tmp_path: Path, suffix: str, kind: str) -> None:
    path = broken(tmp_path / f"a{suffix}", kind)
    for use in (lambda: is_still(path) and read_still(path), lambda: read_still(path)):
        with pytest.raises(InputError, match="is damaged: it cannot be decoded as an image"):
            use()


@pytest.mark.parametrize("kind", ["text", "zeros"])
def test_a_broken_image_is_reported_before_the_output_is(tmp_path: Path, kind: str) -> None:
    import mien

    path = broken(tmp_path / "a.png", kind)
    with pytest.raises(InputError, match=r"a\.png is damaged"):
        mien.edit(path, tmp_path / "out.mp4", "sad")


def test_a_video_named_like_an_image_is_a_video(
    tmp_path: Path, make_clip: Callable[..., Path]
) -> None:
    path = make_clip("a.mp4").rename(tmp_path / "a.png")
    assert not is_still(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.mp4", "is damaged: it cannot be decoded as a video"),
        ("a.wav", "is damaged: it cannot be decoded as sound"),
        ("a.bin", "cannot be decoded as a video, an image or sound"),
    ],
)
def test_a_broken_video_or_sound_file_is_reported_as_damaged(
    tmp_path: Path, name: str, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(b"neither a video nor sound" * 40)
    with pytest.raises(InputError, match=message):
        VideoReader(path)
    with pytest.raises(InputError, match=message):
        read_speech(path)
    with pytest.raises(InputError, match=message):
        has_sound(path)


def test_a_file_is_written_completely_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with whole_file(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), whole_file(target) as temporary:
            temporary.write_text("half")
            raise error
    assert target.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_is_reported(tmp_path: Path) -> None:
    import errno

    with pytest.raises(OutputError, match="disk is full"), whole_file(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_invalid_outputs_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    source.write_bytes(b"x")
    (tmp_path / "link.mp4").symlink_to(source)
    (tmp_path / "old.mp4").write_bytes(b"y")
    (tmp_path / "folder.mp4").mkdir()
    cases = {
        source: "is the input",
        tmp_path / "link.mp4": "is the input",
        tmp_path / "sub" / ".." / "in.mp4": "does not exist",
        tmp_path / "old.mp4": "exists already",
        tmp_path / "none" / "a.mp4": "does not exist",
        tmp_path / "a.txt": "must end in",
        tmp_path / "folder.mp4": "is a folder",
    }
    for path, message in cases.items():
        with pytest.raises(InputError, match=message):
            check_output(path, inputs=[source], overwrite=False, suffixes=(".mp4",))
    check_output(tmp_path / "old.mp4", inputs=[source], overwrite=True, suffixes=(".mp4",))
    with pytest.raises(InputError, match="is the input"):
        check_output(source, inputs=[source], overwrite=True, suffixes=(".mp4",))
