"""Small films with sound and other streams, made on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from mien.media.audio import samples_of
from mien.media.read import VideoReader
from mien.media.write import VideoWriter

RATE = 48_000
CLICKS = (0.5, 1.0, 1.5)
"""Seconds at which sounds click, on the clock of their file."""


@dataclass(frozen=True)
class Sound:
    """A sound track whose clicks tell the time; the last millisecond is loud."""

    codec: str = "flac"
    rate: int = RATE
    layout: str = "stereo"
    start: float = 0.0
    end: float = 2.0
    language: str = ""
    title: str = ""
    disposition: int = 0

    def samples(self) -> np.ndarray:
        """``int16 (N, channels)``; channels differ in level."""
        time = np.arange(round(self.start * self.rate), round(self.end * self.rate)) / self.rate
        value = np.zeros(len(time))
        for click in CLICKS:
            value[(time >= click) & (time < click + 0.005)] = 20_000
        value[-round(self.rate / 1000) :] = 20_000
        count = av.AudioLayout(self.layout).nb_channels
        return (value[:, None] * np.linspace(1.0, 0.5, count)).astype(np.int16)


def film(
    path: Path,
    *sounds: Sound,
    picture_start: float = 0.0,
    frames: int = 50,
    codec: str = "mpeg4",
    subtitles: tuple[str, Sequence[tuple[float, float, bytes]]] | None = None,
    tags: dict[str, str] | None = None,
    chapters: Sequence[tuple[float, float, str]] = (),
    attachment: tuple[str, str, bytes] | None = None,
    timecode: str = "",
) -> Path:
    """Write a grey film at 25 frames per second; times are on the file's clock."""
    with av.open(str(path), "w") as out:
        out.metadata.update(tags or {})
        video = out.add_stream(codec, rate=25, width=64, height=48)
        if timecode:
            video.metadata["timecode"] = timecode
        tracks = []
        for sound in sounds:
            track = out.add_stream(sound.codec, rate=sound.rate, layout=sound.layout)
            track.disposition = sound.disposition
            if sound.codec == "wmav2":
                track.bit_rate = 128_000
            tags_of = {"language": sound.language, "title": sound.title}
            track.metadata.update({key: value for key, value in tags_of.items() if value})
            tracks.append(track)
        text = None
        if subtitles is not None:
            text = out.add_mux_stream(subtitles[0])
            text.time_base = Fraction(1, 1000)
            text.metadata["language"] = "ger"
        if attachment is not None:
            out.add_attachment(*attachment)
        out.set_chapters(
            [
                {
                    "id": number,
                    "start": round(start * 1000),
                    "end": round(end * 1000),
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": title},
                }
                for number, (start, end, title) in enumerate(chapters, 1)
            ]
        )
        for sound, track in zip(sounds, tracks, strict=True):
            samples, first = sound.samples(), round(sound.start * sound.rate)
            for at in range(0, len(samples), 1024):
                piece = samples[at : at + 1024].reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(piece, "s16", sound.layout)
                frame.sample_rate, frame.time_base = sound.rate, Fraction(1, sound.rate)
                frame.pts = first + at
                out.mux(track.encode(frame))
            out.mux(track.encode(None))
        for number in range(frames):
            image = np.full((48, 64, 3), (40 + 3 * number) % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.time_base = Fraction(1, 25)
            frame.pts = number + round(picture_start * 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        for start, end, line in subtitles[1] if subtitles is not None else ():
            packet = av.Packet(line)
            packet.pts = packet.dts = round(start * 1000)
            packet.duration, packet.time_base = round((end - start) * 1000), Fraction(1, 1000)
            packet.stream = text
            out.mux(packet)
    return path


def rewritten(
    source: Path, target: Path, *, sound: Path | None = None, streams: bool = True
) -> tuple[str, ...]:
    """Copy a film through reader and writer; return the warnings."""
    with (
        VideoReader(source) as reader,
        VideoWriter(
            target,
            reader.info,
            audio_from=sound or source,
            streams_from=source if streams else None,
            overwrite=True,
        ) as writer,
    ):
        for frame in reader:
            writer.write(frame.picture, frame.time)
    return writer.warnings


def packets(path: Path, track: int = 0) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(container.streams.audio[track]) if p.size]


def heard(path: Path, track: int = 0) -> np.ndarray:
    """Decoded sound from the first frame of the picture on, ``float (channels, N)``."""
    with av.open(str(path)) as container:
        zero = next(frame.time for frame in container.decode(video=0))
    with av.open(str(path)) as container:
        stream = container.streams.audio[track]
        rate, pieces = stream.codec_context.sample_rate, []
        end = None
        for frame in container.decode(stream):
            start = end if frame.time is None else round((frame.time - zero) * rate)
            samples = samples_of(frame)
            end = start + samples.shape[1]
            pieces.append((start, samples))
    whole = np.zeros((len(pieces[0][1]), end), np.float32)
    for start, samples in pieces:
        if start + samples.shape[1] > 0:
            whole[:, max(0, start) : start + samples.shape[1]] = samples[:, max(0, -start) :]
    return whole


def clicks(path: Path, track: int = 0) -> list[float]:
    """Times of clicks, seconds after the first frame of the picture; not the one at the end."""
    with av.open(str(path)) as container:
        rate = container.streams.audio[track].codec_context.sample_rate
    loud = np.flatnonzero(np.abs(heard(path, track)[0]) > 0.25) / rate
    starts = loud[np.diff(loud, prepend=-1.0) > 0.1]
    return [float(time) for time in starts]
