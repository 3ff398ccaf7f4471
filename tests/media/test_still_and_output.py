from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mien.errors import InputError, OutputError
from mien.media.audio import has_sound, read_speech
from mien.media.frame import Box, to_8_bits
from mien.media.output import check_output, whole_file
from mien.media.read import VideoReader
from mien.media.still import Metadata, Still, is_still, open_still, read_still, write_still
from mien.media.tiff import ORIENTATION, SUBFILE, encode_tiff, number_tag


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


def profile(space: bytes = b"RGB ") -> bytes:
    """Return a small ICC profile that libpng accepts."""
    text = b"text" + bytes(4) + b"long enough for every reader of it, " * 12 + b"\0"
    head = bytearray(128)
    head[8:24] = b"\2\x10\0\0mntr" + space + b"XYZ "
    head[36:40] = b"acsp"
    head[68:80] = struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)
    body = bytes(head[4:]) + struct.pack(">I4sII", 1, b"cprt", 144, len(text)) + text
    return struct.pack(">I", len(body) + 4) + body


XMP_PACKET = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>"
DESCRIBED = Metadata(exif(1)[10:], XMP_PACKET, profile())
DEEP = np.random.default_rng(0).integers(0, 65536, (19, 23, 3)).astype(np.uint16)
PLAIN = (DEEP >> 8).astype(np.uint8)
ALPHA = np.arange(19 * 23, dtype=np.uint8).reshape(19, 23)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".webp", ".bmp"])
def test_formats_without_loss_keep_every_sample(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    assert write_still(path, PLAIN) == ()
    assert is_still(path)
    assert np.array_equal(open_still(path).array, PLAIN)
    assert open_still(path).lossless
    gray = Still(np.repeat(PLAIN[..., :1], 3, axis=2), gray=True)
    assert write_still(path, gray) == ()
    assert np.array_equal(open_still(path).array, gray.array)
    assert open_still(path).gray == (suffix != ".webp")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_transparency_is_kept_with_the_colours_under_it(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    assert write_still(path, Still(PLAIN, alpha=ALPHA)) == ()
    still = open_still(path)
    assert np.array_equal(still.array, PLAIN)
    assert still.alpha is not None
    assert np.array_equal(still.alpha, ALPHA)


@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
def test_transparency_that_cannot_be_kept_is_blended_over_white(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    (warning,) = write_still(path, Still(np.zeros((8, 8, 3), np.uint8), alpha=ALPHA[:8, :8] * 0))
    assert "Transparency was blended over white" in warning
    assert (read_still(path) == 255).all()
    assert write_still(path, Still(PLAIN, alpha=np.full_like(ALPHA, 255))) == ()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_are_kept(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    alpha = ALPHA.astype(np.uint16) * 257
    for still in (Still(DEEP), Still(DEEP, alpha=alpha)):
        assert write_still(path, still) == ()
        found = open_still(path)
        assert np.array_equal(found.array, DEEP)
        assert (found.alpha is None) == (still.alpha is None)
        assert found.alpha is None or np.array_equal(found.alpha, alpha)


def test_depth_that_cannot_be_kept_is_reported(tmp_path: Path) -> None:
    (warning,) = write_still(tmp_path / "a.bmp", DEEP)
    assert "8 bits" in warning
    assert np.array_equal(read_still(tmp_path / "a.bmp"), to_8_bits(DEEP))
    (warning,) = write_still(tmp_path / "a.avif", np.full((32, 32, 3), 40_000, np.uint16))
    assert "12 bits" in warning
    found = open_still(tmp_path / "a.avif").array
    assert found.dtype == np.uint16
    assert np.abs(found.astype(int) - 40_000).max() < 300


@pytest.mark.parametrize(
    ("suffix", "lost"),
    [
        (".png", ()),
        (".jpg", ()),
        (".webp", ()),
        (".tif", ("EXIF",)),
        (".avif", ("XMP", "colour profile")),
        (".bmp", ("EXIF", "XMP", "colour profile")),
    ],
)
def test_metadata_are_kept_or_reported(tmp_path: Path, suffix: str, lost: tuple[str, ...]) -> None:
    path = tmp_path / f"a{suffix}"
    warnings = write_still(path, Still(PLAIN, metadata=DESCRIBED))
    assert warnings == ((f"{suffix} cannot hold the input's {', '.join(lost)}.",) if lost else ())
    found = open_still(path).metadata
    assert found.exif == (b"" if "EXIF" in lost else DESCRIBED.exif)
    assert found.xmp == (b"" if "XMP" in lost else XMP_PACKET)
    assert found.profile == (b"" if "colour profile" in lost else profile())


def test_a_profile_of_other_colours_is_not_attached(tmp_path: Path) -> None:
    gray = Still(np.repeat(PLAIN[..., :1], 3, axis=2), gray=True)
    for space, kept in ((b"GRAY", True), (b"RGB ", False)):
        still = replace(gray, metadata=Metadata(profile=profile(space)))
        assert (write_still(tmp_path / "a.png", still) == ()) is kept
        assert open_still(tmp_path / "a.png").metadata.profile == profile(space) * kept


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("number", range(1, 9))
def test_pictures_are_read_upright_and_written_so(tmp_path: Path, suffix: str, number: int) -> None:
    stored = np.zeros((40, 60, 3), np.uint8)
    stored[:20, :30] = 240, 0, 0
    stored[20:, :30] = 0, 0, 240
    path = tmp_path / f"a{suffix}"
    if suffix == ".tif":
        path.write_bytes(encode_tiff(stored, {ORIENTATION: number}))
    else:
        turned = Metadata(exif(number)[10:])
        write_still(path, Still(stored, lossless=True, metadata=turned))
    # Where the stored top left corner (red) and the one under it (blue) are shown, row and column.
    corners = {1: "tl bl", 2: "tr br", 3: "br tr", 4: "bl tl"}
    corners |= {5: "tl tr", 6: "tr tl", 7: "br bl", 8: "bl br"}
    red, blue = corners[number].split()
    for target in (path, tmp_path / "again.png"):
        still = open_still(target)
        assert still.array.shape == ((40, 60, 3) if number < 5 else (60, 40, 3))
        for corner, channel in ((red, 0), (blue, 2)):
            y, x = {"t": 5, "b": -5}[corner[0]], {"l": 5, "r": -5}[corner[1]]
            assert still.array[y, x].argmax() == channel
            assert still.array[y, x, channel] > 200
        write_still(tmp_path / "again.png", still)
        assert number_tag(still.metadata.exif, ORIENTATION, 1) == 1


def test_an_edit_keeps_what_belongs_to_the_picture() -> None:
    still = Still(DEEP, alpha=ALPHA.astype(np.uint16), gray=True, metadata=DESCRIBED)
    box = Box(2, 3, 6, 9)
    edited = still.replaced(box, np.zeros((6, 4, 3), np.uint16))
    assert isinstance(edited, Still)
    assert (edited.array[3:9, 2:6] == 0).all()
    assert np.array_equal(edited.array[9:], DEEP[9:])
    assert edited.alpha is still.alpha
    assert edited.metadata == DESCRIBED


def test_grey_pictures_stay_grey_whatever_is_drawn(tmp_path: Path) -> None:
    drawn = np.full((16, 16, 3), 90, np.uint8)
    drawn[4:8, 4:8] = 200, 20, 30
    write_still(tmp_path / "a.webp", Still(drawn, gray=True))
    found = open_still(tmp_path / "a.webp").array
    assert (found.max(2) == found.min(2)).all()
    assert found[0, 0, 0] == 90
    assert found[5, 5, 0] == cv2.cvtColor(drawn, cv2.COLOR_RGB2GRAY)[5, 5]


def test_lossy_pictures_do_not_become_large_ones(tmp_path: Path) -> None:
    for lossless, limit in ((False, PLAIN.nbytes), (True, 10**6)):
        write_still(tmp_path / "a.webp", Still(PLAIN, lossless=lossless))
        assert (tmp_path / "a.webp").stat().st_size < limit
        assert open_still(tmp_path / "a.webp").lossless is lossless


def test_grey_tiff_with_transparency_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    image = np.dstack([PLAIN[..., 0], ALPHA])
    with av.open(str(path), "w", format="image2") as out:
        stream = out.add_stream("tiff")
        stream.width, stream.height, stream.pix_fmt = 23, 19, "ya8"
        frame = av.VideoFrame(23, 19, "ya8")
        rows = np.frombuffer(frame.planes[0], np.uint8).reshape(19, -1)
        rows[:, :46] = image.reshape(19, 46)
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    still = open_still(path)
    assert still.alpha is not None
    assert np.array_equal(still.alpha, ALPHA)
    assert np.array_equal(still.array, np.repeat(PLAIN[..., :1], 3, axis=2))


def test_further_pages_are_reported(tmp_path: Path) -> None:
    cv2.imwritemulti(str(tmp_path / "a.tif"), [PLAIN[..., ::-1], PLAIN])
    still = open_still(tmp_path / "a.tif")
    assert np.array_equal(still.array, PLAIN)
    (note,) = write_still(tmp_path / "b.png", still)
    assert "several pages; only the first one is used" in note
    assert still.lost_in_clips == (note,)
    assert open_still(tmp_path / "b.png").lost_in_clips == ()


def test_transparency_of_a_portrait_that_talks_is_reported() -> None:
    (note,) = Still(PLAIN, alpha=ALPHA).lost_in_clips
    assert "blended over white" in note
    assert Still(PLAIN, alpha=np.full_like(ALPHA, 255)).lost_in_clips == ()


def test_damaged_files_give_pictures_or_plain_errors(tmp_path: Path) -> None:
    """120 damaged files of five kinds."""
    rng = np.random.default_rng(0)
    outcomes = set()
    for i in range(120):
        suffix = (".png", ".tif", ".bmp", ".avif", ".webp")[i % 5]
        whole = tmp_path / f"whole{suffix}"
        if i < 5:
            write_still(whole, Still(PLAIN, alpha=ALPHA, metadata=DESCRIBED))
        data = bytearray(whole.read_bytes())
        at = int(rng.integers(0, min(len(data), 200) if i % 2 else len(data)))
        if i % 3 == 0:
            data = data[: max(1, at)]
        else:
            data[at : at + 4] = rng.integers(0, 256, 4).astype(np.uint8).tobytes()
        path = tmp_path / f"a{suffix}"
        path.write_bytes(data)
        try:
            is_still(path)
            outcomes.add(read_still(path).ndim)
        except InputError as error:
            outcomes.add(len(str(error)) < 300)
    assert outcomes == {3, True}


def test_kinds_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(encode_tiff(PLAIN, {SUBFILE: 1}))
    with pytest.raises(InputError, match="raw file; convert it"):
        read_still(path)
    path.write_bytes(b"II+\0" + bytes(60))
    with pytest.raises(InputError, match="is a BigTIFF, which is not read; convert it"):
        read_still(path)
    cv2.imwrite(str(path), np.zeros((8, 8, 3), np.float32))
    with pytest.raises(InputError, match="convert it to 16-bit integers"):
        read_still(path)


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
