"""Emotion of voices as plain values and as a plot: results of ``mien feel``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from mien.errors import InputError
from mien.media.audio import has_sound
from mien.media.frame import RGBImage
from mien.speech.listener import VOICE_EMOTIONS, Listener, VoiceEmotion, VoiceMoment


@dataclass(frozen=True, slots=True)
class FeltSecond:
    """A second of the curve: middle in seconds, likeliest emotion, and the measures there.

    ``emotion`` is None in a pause.
    """

    time: float
    emotion: str | None
    valence: float
    arousal: float
    intensity: float


@dataclass(frozen=True, slots=True)
class Feeling:
    """Result of ``mien.feel``.

    Attributes:
        file: the recording.
        emotion: probability by name; they sum to 1.
        valence, arousal: -1 (unpleasant, calm) .. 1 (pleasant, excited).
        intensity: 0 .. 1.
        confidence: probability of the likeliest emotion, 0 .. 1.
        seconds: length of the recording.
        curve: one entry per second.
        warnings: reasons why this is uncertain.
    """

    file: Path
    emotion: dict[str, float]
    valence: float
    arousal: float
    intensity: float
    confidence: float
    seconds: float
    curve: tuple[FeltSecond, ...]
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        return {**asdict(self), "file": str(self.file)}


def feelings(voices: Sequence[Path], neutral: Path | None = None) -> Iterator[Feeling]:
    """Analyse files one after the other, each when its result is asked for.

    Args:
        voices: files with sound.
        neutral: the same speaker's neutral voice, which makes the labels more reliable.

    Raises:
        InputError: at once, for a file that is missing or has no sound; later, for one that cannot
            be decoded.
    """
    for path in (*voices, *([] if neutral is None else [neutral])):
        if not has_sound(path):
            raise InputError(f"{path} has no sound in it.")

    def results() -> Iterator[Feeling]:
        listener = Listener()
        views = None if neutral is None else listener.views(neutral)
        for voice in voices:
            yield _feeling(voice, listener.analyse(voice, views))

    return results()


def _feeling(file: Path, voice: VoiceEmotion) -> Feeling:
    valence, arousal, _ = (round(value, 4) for value in voice.affect.tolist())
    odds = {name: round(p, 4) for name, p in voice.probabilities.items()}
    curve = tuple(map(_second, voice.curve))
    return Feeling(
        file=file,
        emotion=odds,
        valence=valence,
        arousal=arousal,
        intensity=round(voice.intensity, 4),
        confidence=round(voice.confidence, 4),
        seconds=round(voice.seconds, 3),
        curve=curve,
        warnings=voice.warnings,
    )


def _second(moment: VoiceMoment) -> FeltSecond:
    name = None if moment.embedding is None else VOICE_EMOTIONS[int(moment.emotion.argmax())]
    values = (moment.valence, moment.arousal, moment.intensity)
    return FeltSecond(round(moment.time, 2), name, *(round(value, 4) for value in values))


_SIZE: Final = (960, 420)
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 50, 60
_LINES: Final = (
    ("valence", (46, 125, 50)),
    ("arousal", (198, 40, 40)),
    ("intensity", (21, 101, 192)),
)
_GREY: Final = (120, 120, 120)
_PALE: Final = (225, 225, 225)


def draw_curve(feeling: Feeling) -> RGBImage:
    """Plot valence, arousal and intensity over time, the likeliest emotions below; pauses are gaps.

    Returns:
        RGB ``uint8 (420, 960, 3)``.
    """
    width, height = _SIZE
    image = np.full((height, width, 3), 255, np.uint8)
    span = max(feeling.seconds, 1e-6)

    def place(time: float, value: float) -> tuple[int, int]:
        x = _LEFT + (width - _LEFT - _RIGHT) * min(time / span, 1)
        y = _TOP + (height - _TOP - _BOTTOM) * (1 - value) / 2
        return round(x), round(y)

    for value in (-1.0, -0.5, 0.0, 0.5, 1.0):
        cv2.line(image, place(0, value), place(span, value), _PALE, 1)
        _write(image, f"{value:+.1f}", (8, place(0, value)[1] + 5), _GREY)
    x = _LEFT
    for name, colour in _LINES:
        points: list[tuple[int, int]] = []
        for second in (*feeling.curve, None):
            if second is not None and second.emotion is not None:
                points.append(place(second.time, getattr(second, name)))
                continue
            _stroke(image, points, colour)
            points = []
        _write(image, name, (x, 30), colour)
        x += 120
    _names(image, feeling, place(0, -1)[1] + 24, lambda time: place(time, 0)[0])
    return image


def _stroke(image: RGBImage, points: list[tuple[int, int]], colour: tuple[int, int, int]) -> None:
    if len(points) == 1:
        cv2.circle(image, points[0], 3, colour, -1, cv2.LINE_AA)
    elif points:
        cv2.polylines(image, [np.array(points, np.int32)], False, colour, 2, cv2.LINE_AA)


def _names(image: RGBImage, feeling: Feeling, y: int, x_of: Callable[[float], int]) -> None:
    """Write the emotion where it changes, if there is room."""
    before, free = None, 0
    for second in feeling.curve:
        x = x_of(second.time)
        if second.emotion is not None and second.emotion != before and x >= free:
            _write(image, second.emotion, (x, y), _GREY)
            free = x + 9 * len(second.emotion) + 8
            before = second.emotion
    _write(image, f"{feeling.seconds:.1f} s", (_SIZE[0] - 80, _SIZE[1] - 10), _GREY)


def _write(image: RGBImage, text: str, at: tuple[int, int], colour: tuple[int, int, int]) -> None:
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)
