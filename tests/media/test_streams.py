"""Subtitles, chapters, tags and other streams: kept where the container can, or said so."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from mien.media.read import VideoReader
from mien.media.sound import Copied
from mien.media.streams import Companions

from .films import Sound, film, packets, rewritten

LINES = ((0.2, 0.9, b"Good morning"), (1.1, 1.8, "Grüß Gott".encode()))
CHAPTERS = ((0.0, 0.8, "one"), (0.8, 2.0, "two"))


def lines(path: Path) -> list[tuple[float, float, str]]:
    """Start, end and text of the subtitles of a film, counted from its first frame."""
    with av.open(str(path)) as container:
        zero = next(frame.time for frame in container.decode(video=0))
    out = []
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.subtitles[0]):
            data = bytes(packet)
            if container.streams.subtitles[0].codec_context.name == "mov_text":
                data = data[2 : 2 + int.from_bytes(data[:2], "big")]
            if data:
                start = float(packet.pts * packet.time_base) - zero
                end = start + float(packet.duration * packet.time_base)
                out.append((round(start, 2), round(end, 2), data.decode()))
    return out


def chapters(path: Path) -> list[tuple[float, float, str]]:
    with av.open(str(path)) as container:
        return [
            (
                round(float(one["start"] * one["time_base"]), 2),
                round(float(one["end"] * one["time_base"]), 2),
                one["metadata"]["title"],
            )
            for one in container.chapters()
        ]


@pytest.mark.parametrize("name", ["b.mkv", "b.mp4", "b.mov", "b.m4v", "b.webm"])
def test_subtitles_are_kept_in_the_text_of_the_container(tmp_path: Path, name: str) -> None:
    source = film(tmp_path / "a.mkv", Sound("aac"), subtitles=("subrip", LINES))
    assert rewritten(source, tmp_path / name) == ()
    assert lines(tmp_path / name) == [(a, b, text.decode()) for a, b, text in LINES]
    with av.open(str(tmp_path / name)) as container:
        assert container.streams.subtitles[0].language == "ger"


def test_subtitles_return_from_mp4(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mkv", subtitles=("subrip", LINES))
    rewritten(source, tmp_path / "b.mp4")
    assert rewritten(tmp_path / "b.mp4", tmp_path / "c.mkv") == ()
    assert lines(tmp_path / "c.mkv") == [(a, b, text.decode()) for a, b, text in LINES]
    with av.open(str(tmp_path / "c.mkv")) as container:
        assert container.streams.subtitles[0].codec_context.codec.canonical_name == "subrip"


def test_styles_of_subtitles_are_lost_with_a_warning(tmp_path: Path) -> None:
    plain = film(tmp_path / "a.mkv", subtitles=("subrip", LINES))
    with av.open(str(plain)) as inp, av.open(str(tmp_path / "ass.mkv"), "w") as out:
        video = out.add_stream_from_template(inp.streams.video[0])
        text = inp.streams.subtitles[0]
        text.codec_context.open(strict=False)
        ass = out.add_stream("ass")
        ass.codec_context.subtitle_header = text.codec_context.subtitle_header
        ass.codec_context.time_base = Fraction(1, 1000)
        for packet in inp.demux():
            if not packet.size:
                continue
            if packet.stream is text:
                line = ass.codec_context.encode_subtitle(text.codec_context.decode2(packet))
                line.pts = line.dts = packet.pts
                line.duration, line.time_base, line.stream = packet.duration, packet.time_base, ass
                out.mux(line)
            else:
                packet.stream = video
                out.mux(packet)
    warnings = rewritten(tmp_path / "ass.mkv", tmp_path / "b.mp4")
    assert warnings == ("Subtitles (ass) lost their styles: MP4 holds plain text only.",)
    assert lines(tmp_path / "b.mp4") == [(a, b, line.decode()) for a, b, line in LINES]
    assert rewritten(tmp_path / "ass.mkv", tmp_path / "b.mkv") == ()


def test_times_count_from_the_first_frame(tmp_path: Path) -> None:
    source = film(
        tmp_path / "a.mkv", picture_start=0.4, subtitles=("subrip", LINES), chapters=CHAPTERS
    )
    for name in ("b.mp4", "b.webm"):
        rewritten(source, tmp_path / name)
        wanted = [(max(0.0, a - 0.4), b - 0.4, text.decode()) for a, b, text in LINES]
        assert [text for *_, text in lines(tmp_path / name)] == [text for *_, text in wanted]
        times = [(start, end) for start, end, _ in lines(tmp_path / name)]
        assert np.allclose(times, [(a, b) for a, b, _ in wanted], atol=0.011)
        got = [(a, b) for a, b, _ in chapters(tmp_path / name)]
        assert np.allclose(got, [(0.0, 0.4), (0.4, 1.6)], atol=0.011)


@pytest.mark.parametrize("name", ["b.mkv", "b.mp4", "b.mov", "b.m4v", "b.webm"])
def test_chapters_are_kept(tmp_path: Path, name: str) -> None:
    source = film(tmp_path / "a.mkv", chapters=CHAPTERS)
    assert rewritten(source, tmp_path / name) == ()
    assert chapters(tmp_path / name) == list(CHAPTERS)
    if name != "b.mp4":
        return
    assert rewritten(tmp_path / name, tmp_path / "c.mkv") == ()  # without MP4's own chapter track
    assert chapters(tmp_path / "c.mkv") == list(CHAPTERS)


@pytest.mark.parametrize("name", ["b.mkv", "b.mp4", "b.mov", "b.webm", "b.avi", "b.mpg"])
def test_all_sound_tracks_are_kept(tmp_path: Path, name: str) -> None:
    source = film(
        tmp_path / "a.mkv",
        Sound("ac3", language="ger", title="Director"),
        Sound("ac3", language="swe", disposition=1),
    )
    warnings = rewritten(source, tmp_path / name)
    with av.open(str(tmp_path / name)) as container:
        first, second = container.streams.audio
        if name in ("b.avi", "b.mpg"):
            lost = "language" if name == "b.avi" else "language, title"
            label = name[2:].upper()
            assert warnings == (f"Tags were not kept ({lost}): {label} cannot hold them.",)
            return
        assert warnings == ()
        assert first.language == "ger"
        assert second.language == ("sve" if name == "b.mov" else "swe")  # FFmpeg's name in MOV
        assert not first.disposition & av.stream.Disposition.default
        assert second.disposition & av.stream.Disposition.default
        assert "Director" in (first.metadata.get("title"), first.metadata.get("name"))
    if name == "b.mkv":
        assert [packets(tmp_path / name, track) for track in (0, 1)] == [
            packets(source, track) for track in (0, 1)
        ]


TAGS = {
    "title": "My talk",
    "artist": "Somebody",
    "comment": "A comment",
    "creation_time": "2024-05-06T07:08:09.000000Z",
    "location": "+52.5000+013.4000/",
}


@pytest.mark.parametrize("name", ["b.mkv", "b.mp4", "b.mov", "b.m4v", "b.webm", "b.avi"])
@pytest.mark.parametrize("extra", [{}, {"com.apple.quicktime.make": "Apple"}])
def test_tags_are_kept(tmp_path: Path, name: str, extra: dict[str, str]) -> None:
    tags = TAGS | extra
    warnings = rewritten(film(tmp_path / "a.mkv", tags=tags), tmp_path / name)
    with av.open(str(tmp_path / name)) as container:
        got = {key.lower(): value for key, value in container.metadata.items()}
    if name == "b.avi":
        lost = {*extra, "creation_time", "location"}
        (warning,) = warnings
        assert warning.startswith("Tags were not kept (")
        assert all(key.lower() in warning.lower() for key in lost)
    else:
        assert warnings == ()
        lost = set()
    assert {key: got.get(key) for key in tags if key not in lost} == {
        key: value for key, value in tags.items() if key not in lost
    }


@pytest.mark.parametrize("name", ["b.mp4", "b.mov", "b.mkv", "b.avi"])
def test_the_time_code_is_kept(tmp_path: Path, name: str) -> None:
    source = film(tmp_path / "a.mov", codec="libx264", timecode="01:02:03:04")
    warnings = rewritten(source, tmp_path / name)
    with av.open(str(tmp_path / name)) as container:
        tags = {k.lower(): v for k, v in container.streams.video[0].metadata.items()}
    if name == "b.avi":
        assert warnings == ("Tags were not kept (timecode): AVI cannot hold them.",)
    else:
        assert (warnings, tags["timecode"]) == ((), "01:02:03:04")


def test_attachments_are_kept_or_said_to_be_lost(tmp_path: Path) -> None:
    font = ("font.ttf", "application/x-truetype-font", bytes(range(256)))
    source = film(tmp_path / "a.mkv", attachment=font)
    assert rewritten(source, tmp_path / "b.mkv") == ()
    with av.open(str(tmp_path / "b.mkv")) as container:
        (kept,) = container.streams.attachments
        assert (kept.metadata["filename"], kept.mimetype, kept.data) == font
    warnings = rewritten(source, tmp_path / "b.mp4")
    assert warnings == ("The attachment font.ttf was not kept: MP4 cannot hold it.",)


def with_cover(path: Path, source: Path, png: bytes) -> Path:
    """A copy of a film in MP4 with a cover picture."""
    with av.open(str(source)) as inp, av.open(str(path), "w") as out:
        video = out.add_stream_from_template(inp.streams.video[0])
        cover = out.add_stream("png", width=16, height=16)
        cover.pix_fmt = "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.Packet(png)
        picture.pts = picture.dts = 0
        picture.time_base, picture.stream = Fraction(1, 25), cover
        for packet in inp.demux(video=0):
            if packet.size:
                packet.stream = video
                out.mux(packet)
        out.mux(picture)
    return path


def test_the_cover_picture_is_kept(tmp_path: Path) -> None:
    import cv2

    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    png = cv2.imencode(".png", image)[1].tobytes()
    source = with_cover(tmp_path / "a.mp4", film(tmp_path / "plain.mp4"), png)
    for name in ("b.mp4", "b.mkv"):
        assert rewritten(source, tmp_path / name) == ()
        with av.open(str(tmp_path / name)) as container:
            (cover,) = [
                one
                for one in container.streams.video
                if one.disposition & av.stream.Disposition.attached_pic
            ]
            found = [bytes(one) for one in container.demux(cover) if one.size]
        assert found == [png]
        with VideoReader(tmp_path / name) as reader:
            assert sum(1 for _ in reader) == 50
    warnings = rewritten(source, tmp_path / "b.avi")
    assert warnings == ("The cover picture was not kept: AVI cannot hold it.",)


def test_what_avi_cannot_hold_is_said(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mkv", Sound("ac3"), subtitles=("subrip", LINES), chapters=CHAPTERS)
    assert rewritten(source, tmp_path / "b.avi") == (
        "Subtitles (subrip, ger) were not kept: AVI cannot hold them.",
        "2 chapters were not kept: AVI cannot hold them.",
    )


def test_a_dub_keeps_all_but_the_sound(tmp_path: Path) -> None:
    source = film(
        tmp_path / "a.mkv",
        Sound("ac3", language="ger"),
        Sound("ac3"),
        subtitles=("subrip", LINES),
        chapters=CHAPTERS,
        tags={"title": "My talk"},
    )
    speech = film(tmp_path / "speech.mkv", Sound("flac"), tags={"title": "Recording 7"})
    warnings = rewritten(source, tmp_path / "b.mkv", sound=speech)
    assert warnings == (f"The 2 sound tracks of {source} were replaced by the speech.",)
    assert packets(tmp_path / "b.mkv") == packets(speech)
    with av.open(str(tmp_path / "b.mkv")) as container:
        assert len(container.streams.audio) == 1
        assert container.metadata["title"] == "My talk"
    assert chapters(tmp_path / "b.mkv") == list(CHAPTERS)
    assert len(lines(tmp_path / "b.mkv")) == 2


def test_sound_alone_brings_nothing_else(tmp_path: Path) -> None:
    source = film(
        tmp_path / "a.mkv",
        Sound("ac3"),
        Sound("ac3"),
        subtitles=("subrip", LINES),
        chapters=CHAPTERS,
    )
    assert rewritten(source, tmp_path / "b.mkv", streams=False) == ()
    with av.open(str(tmp_path / "b.mkv")) as container:
        assert [one.type for one in container.streams] == ["video", "audio"]
        assert not container.chapters()


def test_sparse_subtitles_do_not_hold_up_the_rest(tmp_path: Path) -> None:
    late = ((1.9, 2.0, b"The end"),)
    source = film(tmp_path / "a.mkv", Sound("aac"), subtitles=("subrip", late))
    rewritten(source, tmp_path / "b.mkv")
    with av.open(str(tmp_path / "b.mkv")) as container:
        order = [(p.stream.type, float(p.pts * p.time_base)) for p in container.demux() if p.size]
    sound = [time for kind, time in order if kind == "audio"]
    assert len(order) > 100
    assert sound == sorted(sound)
    assert lines(tmp_path / "b.mkv") == [(1.9, 2.0, "The end")]


def test_the_real_film_with_everything(shared: Path, tmp_path: Path) -> None:
    source = shared / "media" / "trouble" / "mkv_streams.mkv"
    if not source.exists():
        pytest.skip("the film is not here")
    assert rewritten(source, tmp_path / "b.mkv") == ()
    with av.open(str(tmp_path / "b.mkv")) as container:
        kinds = [one.type for one in container.streams]
        assert kinds == ["video", "audio", "audio", "subtitle", "attachment"]
        assert [one.language for one in container.streams.audio] == ["deu", "eng"]
        assert container.metadata["title"] == "My talk"
        assert len(container.chapters()) == 2
    for track in (0, 1):
        assert packets(tmp_path / "b.mkv", track) == packets(source, track)


@pytest.mark.parametrize(("name", "codec"), [("b.gif", "gif"), ("b.apng", "apng")])
def test_what_holds_pictures_only_says_all_that_is_lost(
    tmp_path: Path, name: str, codec: str
) -> None:
    source = film(
        tmp_path / "a.mkv",
        Sound("ac3", language="ger"),
        subtitles=("subrip", LINES),
        chapters=CHAPTERS,
        tags={"title": "My talk"},
    )
    with av.open(str(tmp_path / name), "w") as out:
        out.add_stream(codec, rate=10, width=16, height=16)
        with Companions(out, "GIF", picture=source, sound=source) as companions:
            companions.finish()
            assert companions.warnings == (
                "Sound (ac3, ger) was not kept: GIF cannot hold it.",
                "Subtitles (subrip, ger) were not kept: GIF cannot hold them.",
                "2 chapters were not kept: GIF cannot hold them.",
                "Tags were not kept (title): GIF cannot hold them.",
            )


def test_everything_is_written_about_a_second_ahead(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mkv", Sound("ac3", end=6.0), frames=150)
    muxed: list[float] = []
    with (
        av.open(str(tmp_path / "b.mkv"), "w") as out,
        Companions(out, "MKV", sound=source) as companions,
    ):
        for time in (0.0, 1.0, 2.0):
            companions.write_until(time)
            muxed.append(_written(companions))
        companions.finish()
    assert np.allclose(muxed, [1.0, 2.0, 3.0], atol=0.1)


def _written(companions: Companions) -> float:
    (source,) = companions._sources
    (route,) = source._routes.values()
    assert isinstance(route, Copied)
    return route._end / 1000
