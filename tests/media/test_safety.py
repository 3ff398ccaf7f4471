"""Files that reach for other files, the network or all of the memory."""

from __future__ import annotations

import os
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mien.errors import InputError, MienError
from mien.media.audio import has_sound, read_speech
from mien.media.container import existing_file, open_container
from mien.media.read import VideoReader
from mien.media.size import check_size, image_size
from mien.media.still import is_still, read_still

from ..conftest import MakeClip


def ways_to_use(path: Path) -> list[Exception | None]:
    """Use a file in every way; what each raised."""
    out: list[Exception | None] = []
    for use in (_frames, read_speech, has_sound, is_still, read_still, check_size):
        try:
            use(path)  # type: ignore[operator]
            out.append(None)
        except Exception as error:  # noqa: BLE001 - looked at by the caller
            out.append(error)
    return out


def _frames(path: Path) -> int:
    with VideoReader(path) as reader:
        return sum(1 for _ in reader)


@contextmanager
def listener() -> Iterator[tuple[int, list[object]]]:
    """A local server that notes who connects."""
    met: list[object] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        server.settimeout(0.05)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                try:
                    connection, peer = server.accept()
                except TimeoutError:
                    continue
                met.append(peer)
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], met
        finally:
            stop.set()
            thread.join()


def playlists(target: str) -> dict[str, str]:
    """Texts that name another file, in FFmpeg's and other players' formats."""
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n"
    return {
        "list.m3u8": hls,
        "list.mp4": hls,
        "list.wav": hls,
        "master.m3u8": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\n{target}\n",
        "key.m3u8": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n{hls[8:]}',
        "list.ffconcat": f"ffconcat version 1.0\nfile '{target}'\n",
        "concat.mkv": f"ffconcat version 1.0\nfile '{target}'\nduration 1\n",
        "concat.png": f"ffconcat version 1.0\nfile '{target}'\n",
        "a.sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns={target}\nc=IN IP4 127.0.0.1\n"
        "t=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "a.mpd": f"<?xml version='1.0'?><MPD><Period><BaseURL>{target}</BaseURL></Period></MPD>",
        "a.svg": f"<svg xmlns='http://www.w3.org/2000/svg'><image href='{target}'/></svg>",
        "a.ram": target,
        "a.asx": f"<asx version='3.0'><entry><ref href='{target}'/></entry></asx>",
        "a.pls": f"[playlist]\nFile1={target}\nNumberOfEntries=1\n",
        "rtsp.mov": f"rtsptext\n{target}\n",
        "qt.mov": f"RTSPtextRTSP://{target}\n",
    }


@pytest.mark.parametrize("form", ["{name}", "{path}", "file:{path}", "./{name}", "../{up}"])
def test_a_text_that_names_a_clip_is_refused(
    make_clip: MakeClip, tmp_path: Path, form: str
) -> None:
    clip = make_clip("clip.mp4", audio="aac")
    target = form.format(name=clip.name, path=clip, up=f"{tmp_path.name}/{clip.name}")
    for name, text in playlists(target).items():
        path = tmp_path / name
        path.write_text(text)
        errors = ways_to_use(path)
        errors.pop(3 if path.suffix != ".png" else -1)  # is_still only looks at its first bytes
        assert all(isinstance(error, InputError) for error in errors), (name, errors)


@pytest.mark.parametrize("scheme", ["http", "tcp", "ftp", "rtsp", "https", "rtmp", "udp"])
def test_the_network_is_never_reached(tmp_path: Path, scheme: str) -> None:
    with listener() as (port, met):
        target = f"{scheme}://127.0.0.1:{port}/a.mp4"
        for name, text in playlists(target).items():
            path = tmp_path / name
            path.write_text(text)
            ways_to_use(path)
        for error in ways_to_use(Path(target)):
            assert isinstance(error, InputError)
            assert "download the file first" in str(error)
        assert not met


def boxes(data: bytes, path: list[bytes], entry: bytes) -> bytes:
    """Put ``entry`` in place of the content of the first box at ``path`` of an MP4 file."""
    at = 0
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        if kind == path[0]:
            inside = data[at + 8 : at + size]
            inside = boxes(inside, path[1:], entry) if len(path) > 1 else entry
            return (
                data[:at] + struct.pack(">I4s", len(inside) + 8, kind) + inside + data[at + size :]
            )
        at += size
    raise AssertionError(path)


@pytest.mark.parametrize("absolute", [True, False])
def test_a_quicktime_file_with_outside_data_is_refused(
    make_clip: MakeClip, tmp_path: Path, absolute: bool
) -> None:
    other = make_clip("other.mov")
    text = (str(other) if absolute else other.name).replace("/", ":").encode()
    text += b"\0" * (len(text) % 2)
    name = bytes([len(other.name)]) + other.name.encode().ljust(63, b"\0")
    body = b"alis\0\0\0\0" + b"\0" * 10 + b"\x04disk" + b"\0" * 35 + name + b"\0" * 16
    body += struct.pack(">HH", 1, 1) + b"\0" * 16
    body += struct.pack(">HH", 2, len(text)) + text + b"\xff\xff\0\0"
    entry = struct.pack(">III", 0, 1, max(170, len(body)) + 4) + body.ljust(170, b"\0")
    path = tmp_path / "a.mov"
    places = [b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"]
    path.write_bytes(boxes(make_clip("own.mov").read_bytes(), places, entry))
    with av.open(str(path), options={"enable_drefs": "1", "use_absolute_path": "1"}) as container:
        assert sum(1 for _ in container.decode(video=0)) == 10  # FFmpeg alone follows it
    with pytest.raises(InputError, match="a.mov is damaged"):
        _frames(path)


def test_names_do_not_matter(make_clip: MakeClip, tmp_path: Path, monkeypatch) -> None:
    clip = make_clip().read_bytes()
    monkeypatch.chdir(tmp_path)
    for name in ("2024-01-02T12:30:00.mp4", "http:a.mp4", "a%03d.png", "*.mp4", "-i", "a\udcff.mp4",
                 "concat:a|b.mp4", "pipe:0", "a.m3u8", "no suffix", "é\n.mov"):  # fmt: skip
        Path(name).write_bytes(clip)
        assert _frames(Path(name)) == 10, name


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes in the file system")
def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path / "pipe.mp4", Path("/dev/zero"), Path("/dev/null")):
        for error in ways_to_use(path):
            assert isinstance(error, InputError)
            assert "save its content to a file first" in str(error)


def test_names_that_no_file_can_have() -> None:
    for name in ("x" * 5000 + ".mp4", "a\0b.mp4", "a/" * 3000, "\ud800.mp4"):
        with pytest.raises(InputError) as refused:
            existing_file(name)
        assert len(str(refused.value)) < 400


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        existing_file(path)


def png(width: int, height: int, bits: int = 1) -> bytes:
    """A black picture that was never in memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    packer, row = zlib.compressobj(), b"\0" * (1 + (width * bits + 7) // 8)
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(cv2, "imdecode", decode)
    monkeypatch.setattr(cv2, "imdecodeWithMetadata", decode)


@pytest.mark.usefixtures("no_decoding")
def test_huge_pictures_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    jpeg = bytearray(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 30_000, 30_000)
    webp = b"RIFF\x40\0\0\0WEBPVP8L\x30\0\0\0\x2f" + struct.pack("<I", 16_383 | 16_383 << 14)
    for name, data, size in (
        ("a.png", png(20_000, 20_000), (20_000, 20_000)),
        ("a.jpg", bytes(jpeg), (30_000, 30_000)),
        ("a.webp", webp + b"\0" * 64, (16_384, 16_384)),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        assert image_size(path) == size
        for use in (read_still, check_size):
            with pytest.raises(InputError, match=f"{size[0]}x{size[1]}, above the limit"):
                use(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tiff", "gif"])
@pytest.mark.parametrize("size", [(7, 300), (301, 20)])
def test_sizes_are_read_from_headers(tmp_path: Path, suffix: str, size: tuple[int, int]) -> None:
    path = tmp_path / f"a.{suffix}"
    image = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3)).astype(np.uint8)
    path.write_bytes(cv2.imencode(f".{suffix}", image)[1].tobytes())
    assert image_size(path) == size
    assert check_size(path, size[0] * size[1]) == size
    with pytest.raises(InputError, match="above the limit"):
        check_size(path, size[0] * size[1] - 1)


def test_other_forms_of_pictures(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (40, 70, 4)).astype(np.uint8)
    forms = {
        "lossless.webp": cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])[1],
        "alpha.webp": cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 50])[1],
        "progressive.jpg": cv2.imencode(".jpg", image[..., :3], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[
            1
        ],
    }
    for name, data in forms.items():
        path = tmp_path / name
        path.write_bytes(data.tobytes())
        assert image_size(path) == (70, 40), name
    path = tmp_path / "exif.jpg"
    plain = forms["progressive.jpg"].tobytes()
    path.write_bytes(
        plain[:2] + b"\xff\xe1" + struct.pack(">H", 60_002) + b"\xff" * 60_000 + plain[2:]
    )
    assert image_size(path) == (70, 40)
    assert image_size(Path(__file__)) is None


def test_a_picture_cut_in_its_header_is_damaged(tmp_path: Path) -> None:
    for data in (png(50, 50)[:20], b"\xff\xd8\xff\xe0\0", b"II*\0\x08\0\0\0", b"GIF89a\1"):
        path = tmp_path / "a.png"
        path.write_bytes(data)
        with pytest.raises(InputError, match="damaged"):
            check_size(path)


def test_large_videos_are_refused_before_they_are_decoded(make_clip: MakeClip) -> None:
    clip = make_clip(size=(128, 96))
    with closing(open_container(clip, 128 * 96)):
        pass
    for use in (check_size, open_container, VideoReader):
        with pytest.raises(InputError, match="is 128x96, above the limit of 12287 pixels"):
            use(clip, 128 * 96 - 1)


def test_frames_that_grow_are_not_decoded(make_clip: MakeClip, tmp_path: Path) -> None:
    def raw(side: int) -> bytes:
        clip = make_clip(f"{side}.h264", size=(side, side))
        return clip.read_bytes()

    path = tmp_path / "grows.h264"
    path.write_bytes(raw(64) + raw(256))
    assert _frames(path) == 20
    with VideoReader(path, 64 * 64) as reader:
        count = sum(1 for _ in reader)
        assert count <= 10
        assert reader.damaged is not None


def test_only_mien_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(np.random.default_rng(1).bytes(5000))
    assert all(error is None or isinstance(error, MienError) for error in ways_to_use(path))
