"""A corpus in miniature: three people who are not real, who talk with eight emotions, in seconds.

The films have the folders, names and sound of MEAD, CREMA-D or HDTF, so that everything that reads
those runs on them: to try a command, and to test a whole reproduction. Faces are the demo's, drawn
by the mesh engine; the voice is the demo's too, with another pitch, loudness and timbre for every
person and emotion. What comes out of a training on them says nothing about real people.
"""

from __future__ import annotations

import hashlib
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.resources import as_file
from pathlib import Path
from types import MappingProxyType
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.datasets.corpora import CREMAD_EMOTIONS, CREMAD_TEST_SENTENCES
from mien.datasets.mead import EMOTIONS, LEVELS, NEUTRAL
from mien.emotion.request import Emotion
from mien.emotion.resolve_mesh import MeshResolver
from mien.engines.mesh import MeshSettings
from mien.engines.mesh.idle_motion import IdleMotion
from mien.engines.mesh.portrait import Portrait, Turn
from mien.errors import InputError
from mien.face.crop import face_square
from mien.face.facs import Expression
from mien.face.follow import Face
from mien.face.select import FaceChoice
from mien.media.audio import SAMPLE_RATE_HZ, Samples, read_speech
from mien.media.frame import RGBImage
from mien.media.output import whole_file
from mien.media.still import read_still
from mien.pipelines.footage import people_in
from mien.pipelines.job import Progress
from mien.speech.analysis import VoiceAnalysis
from mien.speech.articulation import code_at
from mien.weights.bundled import asset

CORPORA: Final = ("mead", "cremad", "hdtf")

_RATE: Final = 25
_SPEECH: Final = "demo/speech.ogg"
_CLOSE: Final = 0.12
"""Room on every side of a face that fills the picture, of its size."""

_SENTENCE_STARTS: Final = (0.15, 1.4, 2.7, 3.9)
"""Seconds at which parts of the demo's speech begin that serve as sentences."""


@dataclass(frozen=True, slots=True)
class _Person:
    """Name in every corpus, picture, and how fast the demo's voice is played."""

    mead: str
    cremad: str
    hdtf: str
    picture: str
    speed: float


PEOPLE: Final = (
    _Person("M005", "1002", "RD_Radio1", "man", 0.82),
    _Person("W011", "1003", "WDA_Mini", "woman2", 1.0),
    _Person("M003", "1001", "RD_Radio9", "man3", 0.88),
)
"""The last one belongs to C-MET's test people of MEAD, and to those of HDTF by its rule."""


@dataclass(frozen=True, slots=True)
class _Manner:
    """How an emotion sounds beside a neutral voice: factors, and how they change.

    Directions follow the review of vocal expression by Juslin & Laukka (2003); the sizes are this
    project's.
    """

    speed: float = 1.0
    gain: float = 1.0
    bright: float = 0.0
    tremble: float = 0.0
    rise: float = 0.0


MANNERS: Final = MappingProxyType(
    {
        NEUTRAL: _Manner(),
        "angry": _Manner(1.08, 2.2, 0.8),
        "contempt": _Manner(0.96, 0.9, 0.2, rise=-0.12),
        "disgusted": _Manner(0.9, 1.3, -0.3, tremble=0.05),
        "fear": _Manner(1.18, 0.8, 0.2, tremble=0.3),
        "happy": _Manner(1.14, 1.5, 0.5, rise=0.06),
        "sad": _Manner(0.86, 0.45, -0.7, rise=-0.06),
        "surprised": _Manner(1.12, 1.4, 0.3, rise=0.25),
    }
)

_TREMBLE_HZ: Final = 7.0


@dataclass(frozen=True, slots=True)
class _Take:
    """One film: who says which sentence how, and where it goes."""

    person: _Person
    emotion: str
    level: int
    sentence: int
    film: Path
    sound: Path | None = None


def make_miniature(
    corpus: str,
    folder: Path,
    *,
    emotions: tuple[str, ...] = EMOTIONS,
    levels: tuple[int, ...] = (LEVELS,),
    sentences: int = 2,
    seconds: float = 0.6,
    side: int = 224,
    close: bool = False,
    progress: Progress | None = None,
) -> int:
    """Write a corpus in miniature; films that exist are kept.

    Args:
        corpus: ``"mead"`` (sound in the films), ``"cremad"`` (beside them) or ``"hdtf"``.
        folder: its root.
        emotions: MEAD's names of the emotions to make; CREMA-D has six of them, HDTF none.
        levels: intensities of MEAD's emotions, 1 to 3.
        sentences: how many every person says, 1 to 4.
        seconds: length of a film; three times as long in HDTF, which has one per sentence.
        side: pixels.
        close: whether the face fills the picture, as small nets need it.
        progress: called with (films done, films).

    Returns:
        The number of films.

    Raises:
        InputError: for a corpus, emotion, level or number that there is not.
    """
    takes = _takes(corpus, folder, emotions, levels, sentences)
    if not 0.2 <= seconds <= 2 or not 128 <= side <= 512 or side % 2:
        raise InputError(
            f"A miniature takes 0.2 to 2 seconds and an even side of 128 to 512 pixels; got "
            f"{seconds} and {side}."
        )
    speech, codes = demo_speech()
    people = {take.person for take in takes}
    actors = {person: Actor(person.picture, side, close=close) for person in people}
    length = seconds * (3 if corpus == "hdtf" else 1)
    for done, take in enumerate(takes, 1):
        if not take.film.exists() or (take.sound is not None and not take.sound.exists()):
            times = _timing(take, length)
            sound = _voice(speech, times, take)
            spoken = code_at(codes, times[:: _samples_a_frame()])
            seed = _seed(take)
            change = speaking_expression(take.emotion, take.level)
            change = change * np.random.default_rng(seed).uniform(0.85, 1.05)
            _write(take, actors[take.person].perform(change, spoken, seed), sound)
        if progress is not None:
            progress(done, len(takes))
    return len(takes)


def _takes(
    corpus: str, folder: Path, emotions: tuple[str, ...], levels: tuple[int, ...], sentences: int
) -> list[_Take]:
    """List the films of a corpus, in an order that does not depend on the machine."""
    unknown = [name for name in emotions if name not in EMOTIONS]
    if corpus not in CORPORA or unknown:
        wrong = corpus if corpus not in CORPORA else ", ".join(unknown)
        raise InputError(
            f"There is no miniature of {wrong!r}. Valid: {', '.join(CORPORA)}; "
            f"{', '.join(EMOTIONS)}."
        )
    if not 1 <= sentences <= len(_SENTENCE_STARTS) or not set(levels) <= set(range(1, LEVELS + 1)):
        raise InputError(
            f"A miniature has 1 to {len(_SENTENCE_STARTS)} sentences and levels of 1 to {LEVELS}; "
            f"got {sentences} and {levels}."
        )
    listed = {"mead": _mead_takes, "cremad": _cremad_takes, "hdtf": _hdtf_takes}[corpus]
    return [take for person in PEOPLE for take in listed(person, folder, emotions, levels)
            if take.sentence < sentences]  # fmt: skip


def _mead_takes(
    person: _Person, folder: Path, emotions: tuple[str, ...], levels: tuple[int, ...]
) -> Iterator[_Take]:
    for emotion in emotions:
        for level in (1,) if emotion == NEUTRAL else levels:
            place = folder / person.mead / "front" / emotion / f"level_{level}"
            for number in range(len(_SENTENCE_STARTS)):
                film = place / f"{number + 1:03d}.mp4"
                yield _Take(person, emotion, level, number, film)


def _cremad_takes(
    person: _Person, folder: Path, emotions: tuple[str, ...], levels: tuple[int, ...]
) -> Iterator[_Take]:
    for code, emotion in CREMAD_EMOTIONS.items():
        for number, words in enumerate((CREMAD_TEST_SENTENCES[0], "DFA", "ITH", "IOM")):
            if emotion in emotions:
                name = f"{person.cremad}_{words}_{code}_XX"
                film = folder / "VideoFlash" / f"{name}.flv"
                sound = folder / "AudioWAV" / f"{name}.wav"
                yield _Take(person, emotion, LEVELS, number, film, sound)


def _hdtf_takes(
    person: _Person, folder: Path, emotions: tuple[str, ...], levels: tuple[int, ...]
) -> Iterator[_Take]:
    for number in range(len(_SENTENCE_STARTS)):
        yield _Take(person, NEUTRAL, 1, number, folder / f"{person.hdtf}_{number:03d}.mp4")


class Actor:
    """A person of the demo, ready to be drawn.

    Args:
        picture: name of the demo's picture.
        side: pixels.
        close: whether the picture is cut to the face.
    """

    def __init__(self, picture: str, side: int, *, close: bool = False) -> None:
        with as_file(asset(f"demo/{picture}.jpg")) as path:
            image = read_still(path)
            if close:
                image = _cut(image, _only_face(image, path))
            image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
            face = _only_face(image, path)
        self._image = image
        self._portrait = Portrait(image, face, MeshSettings(portrait=True))

    def perform(
        self, change: Expression, codes: npt.NDArray[np.float32], seed: int
    ) -> Iterator[RGBImage]:
        """Yield frames, one per articulation code.

        Args:
            change: action units of the whole take.
            codes: of the speech.
            seed: of the motion of head and eyes.
        """
        idle = IdleMotion(seed % 1000)
        for i, code in enumerate(codes):
            head = idle.at(i / _RATE, 0.0)
            turn = Turn(head.yaw, head.pitch, head.roll, head.rise)
            yield self._portrait.draw(code, change, turn, head.blink, head.gaze, onto=self._image)


def _only_face(image: RGBImage, path: Path) -> Face:
    return people_in(image, path, FaceChoice.parse("largest"))[0]


def _cut(image: RGBImage, face: Face) -> RGBImage:
    """Cut a square around a face."""
    square = face_square(face.landmarks)
    half = (0.5 + _CLOSE) * square.side
    x0, y0 = (max(0, round(middle - half)) for middle in (square.x, square.y))
    side = min(round(2 * half), image.shape[0] - y0, image.shape[1] - x0)
    return image[y0 : y0 + side, x0 : x0 + side]


def speaking_expression(emotion: str, level: int) -> Expression:
    """Return the action units of an emotion in a face that speaks; a third per level."""
    request = Emotion.parse(emotion, intensity=level / LEVELS)
    return MeshResolver(request, speaking=True).at(0.0).expression


def _seed(take: _Take) -> int:
    name = f"{take.person.mead} {take.emotion} {take.level} {take.sentence}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")


def demo_speech() -> tuple[Samples, npt.NDArray[np.float32]]:
    """Return the demo's speech and its articulation codes."""
    with as_file(asset(_SPEECH)) as path:
        return read_speech(path), VoiceAnalysis(path, "articulation").articulation.codes


def _samples_a_frame() -> int:
    return SAMPLE_RATE_HZ // _RATE


def _timing(take: _Take, seconds: float) -> npt.NDArray[np.float64]:
    """Return where in the demo's speech every sample of a take comes from, seconds."""
    manner, strength = MANNERS[take.emotion], take.level / LEVELS
    share = np.arange(round(seconds * _RATE) * _samples_a_frame()) / (seconds * SAMPLE_RATE_HZ)
    speed = 1 + strength * (manner.speed - 1 + manner.rise * (share - 0.5))
    passed = np.cumsum(take.person.speed * speed) / SAMPLE_RATE_HZ
    out: npt.NDArray[np.float64] = _SENTENCE_STARTS[take.sentence] + passed
    return out


def _voice(speech: Samples, times: npt.NDArray[np.float64], take: _Take) -> Samples:
    """Play the demo's speech in the manner of a take."""
    manner, strength = MANNERS[take.emotion], take.level / LEVELS
    known = np.arange(len(speech)) / SAMPLE_RATE_HZ
    out = np.interp(times, known, speech)
    bright = strength * manner.bright
    out = out + bright * np.diff(out, prepend=out[:1]) * (2 if bright > 0 else 0)
    if bright < 0:
        width = 1 + round(-8 * bright)
        out = np.convolve(out, np.ones(width) / width, "same")
    phase = 2 * np.pi * _TREMBLE_HZ * np.arange(len(out)) / SAMPLE_RATE_HZ
    out = out * (1 + strength * manner.tremble * np.sin(phase))
    gain = 1 + strength * (manner.gain - 1)
    return np.clip(0.45 * gain * out, -1, 1).astype(np.float32)


def _write(take: _Take, images: Iterator[RGBImage], sound: Samples) -> None:
    """Write a film, with the sound in it or beside it."""
    import av

    take.film.parent.mkdir(parents=True, exist_ok=True)
    if take.sound is not None:
        take.sound.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(take.sound) as part, wave.open(str(part), "wb") as file:
            file.setparams((1, 2, SAMPLE_RATE_HZ, len(sound), "NONE", ""))
            file.writeframes((sound * 32767).astype("<i2").tobytes())
    with whole_file(take.film) as part, av.open(str(part), "w") as container:
        picture = container.add_stream("libx264", rate=_RATE, options={"preset": "veryfast"})
        voice = None if take.sound else container.add_stream("aac", rate=SAMPLE_RATE_HZ)
        for i, image in enumerate(images):
            if i == 0:
                picture.height, picture.width = image.shape[:2]
                picture.pix_fmt = "yuv420p"
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, _RATE)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        if voice is not None:
            block = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            block.sample_rate, block.pts = SAMPLE_RATE_HZ, 0
            container.mux(voice.encode(block))
            container.mux(voice.encode(None))
