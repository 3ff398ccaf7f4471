"""What a voice feels, in plain values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mien.speech.labels import HEARD
from mien.speech.listener import Heard, Listener, Moment


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
        file: what was listened to.
        emotion: probability by name; they sum to 1.
        valence, arousal: -1 (unpleasant, calm) .. 1 (pleasant, excited).
        intensity: 0 .. 1.
        seconds: length of the recording.
        curve: one entry per second.
        warnings: what makes this uncertain.
    """

    file: Path
    emotion: dict[str, float]
    valence: float
    arousal: float
    intensity: float
    seconds: float
    curve: tuple[FeltSecond, ...]
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        return {**asdict(self), "file": str(self.file)}


def feelings(voices: Sequence[Path], neutral: Path | None = None) -> Iterator[Feeling]:
    """Listen to files one after the other; the net is loaded once.

    Args:
        voices: files with sound.
        neutral: the same speaker's plain voice.

    Raises:
        InputError: for a file that cannot be listened to.
    """
    listener = Listener()
    plain = None if neutral is None else listener.views(neutral)
    for voice in voices:
        yield _feeling(voice, listener.listen(voice, plain))


def _feeling(file: Path, heard: Heard) -> Feeling:
    valence, arousal, _ = heard.affect.tolist()
    return Feeling(
        file=file,
        emotion={name: round(p, 4) for name, p in heard.probabilities.items()},
        valence=round(valence, 4),
        arousal=round(arousal, 4),
        intensity=round(heard.intensity, 4),
        seconds=round(heard.seconds, 3),
        curve=tuple(map(_second, heard.curve)),
        warnings=heard.warnings,
    )


def _second(moment: Moment) -> FeltSecond:
    return FeltSecond(
        time=round(moment.time, 2),
        emotion=None if moment.embedding is None else HEARD[int(moment.emotion.argmax())],
        valence=round(moment.valence, 4),
        arousal=round(moment.arousal, 4),
        intensity=round(moment.intensity, 4),
    )
