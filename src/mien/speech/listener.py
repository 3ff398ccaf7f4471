"""The listener: what a voice feels, as an embedding, as labels and over time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import soxr

from mien.errors import InputError
from mien.media.audio import SAMPLE_RATE_HZ, Samples, read_speech, stream_speech
from mien.speech.features import MELS, RATE, Features, features
from mien.speech.labels import AFFECT, HEARD
from mien.speech.trim import speech_span
from mien.weights.bundled import open_net

if TYPE_CHECKING:
    pass

Embedding = npt.NDArray[np.float32]
"""``float32 (E,)`` of unit length."""

_CHUNK_SECONDS: Final = 8
"""Longer voices are heard in pieces of this length; their embeddings are averaged."""

_SHORTEST_PIECE: Final = 0.3
_LOOK_SECONDS: Final = 2.0
"""What a moment of the curve is judged on."""

_SILENT: Final = 0.35
"""Level of the loudest row, in the features' unit, under which nobody speaks (some -60 dB)."""

_LEAST_VOICED: Final = 0.04
SHORT: Final = 2.0
"""Seconds of speech under which what is heard is uncertain."""

_WEAKEST, _STRONGEST = 1.0, 3.0
"""The training's units of intensity."""

_VIEWS: Final = (1.0, 0.92, 1.09)
_VIEW_SECONDS: Final = 15.0

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Moment:
    """A second of a voice.

    Attributes:
        time: middle of it, seconds.
        embedding: unit embedding, ``float32 (E,)``; None in a pause.
        emotion: probabilities, ``float32 (len(HEARD),)``; all neutral in a pause.
        valence, arousal: -1..1.
        intensity: 0..1.
        loudness: level relative to the whole voice, natural logarithm of power / 4.
    """

    time: float
    embedding: Embedding | None
    emotion: npt.NDArray[np.float32]
    valence: float
    arousal: float
    intensity: float
    loudness: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What a voice feels.

    Attributes:
        embedding: unit embedding, ``float32 (E,)``.
        emotion: probabilities, ``float32 (len(HEARD),)``, in the order of ``HEARD``.
        affect: valence, arousal and dominance, ``float32 (3,)``, -1..1.
        intensity: 0 (faint) .. 1 (strong).
        seconds: length of the recording.
        curve: one moment per second.
        warnings: what makes this uncertain.
    """

    embedding: Embedding
    emotion: npt.NDArray[np.float32]
    affect: npt.NDArray[np.float32]
    intensity: float
    seconds: float
    curve: tuple[Moment, ...]
    warnings: tuple[str, ...] = ()

    @property
    def probabilities(self) -> dict[str, float]:
        """Probability of every label."""
        return {name: float(p) for name, p in zip(HEARD, self.emotion, strict=True)}

    @property
    def label(self) -> str:
        """The likeliest label."""
        return HEARD[int(self.emotion.argmax())]


class Listener:
    """Hears voices with the net that ships with mien, or another one of the same kind.

    Args:
        folder: of ``listener.onnx`` and ``listener_says.onnx``; the shipped ones by default.
        threads: of the computation; 0 leaves it to the runtime.

    Raises:
        WeightsError: when a net is missing or damaged.
    """

    def __init__(self, folder: str | Path | None = None, *, threads: int = 0) -> None:
        self._embed = open_net("listener.onnx", folder=folder, threads=threads)
        self._say = open_net("listener_says.onnx", folder=folder, threads=threads)
        self.size = int(self._embed.get_outputs()[0].shape[1])

    def listen(self, voice: str | Path | Samples, neutral: Array | None = None) -> Heard:
        """Hear a file or samples.

        Args:
            voice: a file with sound (streamed, any length), or ``float32 (samples,)`` at 16 kHz.
            neutral: the same speaker's plain voice, which makes labels surer: its embedding
                ``(E,)``, or better its :meth:`views` ``(V, E)``.

        Raises:
            InputError: when there is no sound.
        """
        blocks = iter([voice]) if isinstance(voice, np.ndarray) else stream_speech(voice)
        pieces: list[tuple[Embedding, float]] = []
        moments: list[_Second] = []
        tally = _Tally()
        for start, rows in _pieces(blocks, tally):
            tally.count(rows)
            if _is_silent(rows):
                moments += _pauses(start, rows)
                continue
            low, high = speech_span(rows)
            if high - low >= _SHORTEST_PIECE * RATE:
                pieces.append((self.embed([rows[low:high]])[0], float(high - low)))
            moments += self._seconds(start, rows)
        if not tally.samples:
            raise InputError("There is no sound to listen to (0 samples).")
        plain = neutral if neutral is None or neutral.ndim == 1 else neutral[0]
        heard = self._sum_up(pieces, moments, plain, tally)
        if neutral is None or neutral.ndim == 1 or not pieces:
            return heard
        emotion = self._say_of_views(self.views(voice), neutral)
        return replace(heard, emotion=emotion, affect=affect_of(emotion))

    def views(self, voice: str | Path | Samples) -> Array:
        """Embeddings ``float32 (V, E)`` of a voice as it is, and played slower and faster.

        Beside a neutral voice that is played alike, the mean of what is said of each is surer than
        what is said of one. The first fifteen seconds count.

        Raises:
            InputError: when there is no sound, or nobody speaks.
        """
        samples = voice if isinstance(voice, np.ndarray) else read_speech(voice, _VIEW_SECONDS)
        looks = []
        for speed in _VIEWS:
            played = soxr.resample(samples[: round(_VIEW_SECONDS * SAMPLE_RATE_HZ)], speed, 1)
            rows = features(played.astype(np.float32))
            if _is_silent(rows):
                raise InputError("Nobody is heard; a neutral voice must speak.")
            low, high = speech_span(rows)
            looks.append(self.embed([rows[low:high]])[0])
        return np.stack(looks)

    def _say_of_views(self, views: Array, neutral: Array) -> Array:
        """Probabilities ``(len(HEARD),)``: geometric mean over the views."""
        said = [self.say(own[None], plain)[0][0] for own, plain in zip(views, neutral, strict=True)]
        mean = np.exp(np.log(np.stack(said) + 1e-9).mean(0))
        return (mean / mean.sum()).astype(np.float32)

    def embed(self, voices: list[Features]) -> npt.NDArray[np.float32]:
        """Unit embeddings ``float32 (N, E)`` of features of several voices."""
        lengths = np.array([len(rows) for rows in voices], np.int64)
        batch = np.full((len(voices), int(lengths.max()), voices[0].shape[1]), 0, np.float32)
        batch[..., :MELS] = _AFTER_THE_END
        for row, rows in zip(batch, voices, strict=True):
            row[: len(rows)] = rows
        out: npt.NDArray[np.float32] = self._embed.run(None, {"rows": batch, "lengths": lengths})[0]
        return out

    def say(
        self,
        embeddings: npt.NDArray[np.float32],
        neutral: Embedding | None = None,
        *,
        temperature: float = 1.0,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Probabilities ``(N, len(HEARD))`` and intensities ``(N,)`` 0..1 of unit embeddings."""
        plain = embeddings if neutral is None else np.broadcast_to(neutral, embeddings.shape)
        alone, beside, intensity = self._say.run(
            None, {"embedding": embeddings, "neutral": np.ascontiguousarray(plain)}
        )
        logits = (alone if neutral is None else beside) / temperature
        odds = np.exp(logits - logits.max(1, keepdims=True))
        odds /= odds.sum(1, keepdims=True)
        share = np.clip((intensity - _WEAKEST) / (_STRONGEST - _WEAKEST), 0, 1)
        # Strength was only learned from feeling voices: without feeling there is none.
        return odds, share * (1 - odds[:, _PLAIN])

    def _seconds(self, start: float, rows: Features) -> list[_Second]:
        """Embeddings of the seconds of a piece, each judged on two seconds around it."""
        reach = int(_LOOK_SECONDS * RATE / 2)
        out: list[_Second] = []
        looks: list[Features] = []
        level = rows[:, :MELS].mean(1)
        for at in range(0, len(rows), RATE):
            now = level[at : at + RATE]
            loud = now.max() > max(_SILENT - 2, level.max() - 1.2)
            middle = at + len(now) // 2
            if loud:
                looks.append(rows[max(middle - reach, 0) : middle + reach])
            out.append(_Second(start + middle / RATE, float(now.mean()), len(looks) - 1, loud))
        if looks:
            embeddings = self.embed(looks)
            out = [s.with_embedding(embeddings[s.index]) if s.loud else s for s in out]
        return out

    def _sum_up(
        self,
        pieces: list[tuple[Embedding, float]],
        moments: list[_Second],
        neutral: Embedding | None,
        tally: _Tally,
    ) -> Heard:
        seconds = tally.samples / SAMPLE_RATE_HZ
        warnings = tally.warnings()
        if pieces:
            mean = np.average([e for e, _ in pieces], axis=0, weights=[w for _, w in pieces])
            embedding = (mean / max(float(np.linalg.norm(mean)), 1e-9)).astype(np.float32)
            said, strength = self.say(embedding[None], neutral)
            emotion, intensity = said[0], float(strength[0])
        else:
            embedding = np.zeros(self.size, np.float32)
            emotion, intensity = _NEUTRAL, 0.0
        typical = float(np.mean([m.level for m in moments if m.loud] or [0.0]))
        curve = tuple(self._moment(m, neutral, typical) for m in moments)
        return Heard(
            embedding, emotion, affect_of(emotion), intensity, seconds, curve, tuple(warnings)
        )

    def _moment(self, second: _Second, neutral: Embedding | None, typical: float) -> Moment:
        if second.embedding is None:
            return Moment(second.time, None, _NEUTRAL, 0, 0, 0, second.level - typical)
        said, strength = self.say(second.embedding[None], neutral)
        valence, arousal, _ = affect_of(said[0]).tolist()
        level = second.level - typical
        return Moment(
            second.time, second.embedding, said[0], valence, arousal, float(strength[0]), level
        )


def affect_of(emotion: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Valence, arousal and dominance ``(..., 3)`` expected under probabilities ``(..., HEARD)``."""
    return emotion @ _AFFECTS


_AFTER_THE_END: Final = -2.0
_PLAIN: Final = HEARD.index("neutral")
_NEUTRAL: Final = np.eye(len(HEARD), dtype=np.float32)[_PLAIN]
_AFFECTS: Final = np.array([AFFECT[name] for name in HEARD], np.float32)


@dataclass(frozen=True, slots=True)
class _Second:
    time: float
    level: float
    index: int
    loud: bool
    embedding: Embedding | None = None

    def with_embedding(self, embedding: Embedding) -> _Second:
        return _Second(self.time, self.level, self.index, self.loud, embedding)


@dataclass(slots=True)
class _Tally:
    """What is counted while a voice goes by."""

    samples: int = 0
    speech: int = 0
    voiced: int = 0

    def count(self, rows: Features) -> None:
        if _is_silent(rows):
            return
        low, high = speech_span(rows)
        self.speech += high - low
        self.voiced += int((rows[low:high, MELS + 1] > 0.5).sum())

    def warnings(self) -> list[str]:
        if not self.speech:
            return ["Nobody is heard: the sound is silent throughout. Taken as neutral."]
        out = []
        if self.voiced < _LEAST_VOICED * self.speech:
            out.append("Hardly any voice is heard (noise or music?); what is said is uncertain.")
        if self.speech < SHORT * RATE:
            out.append(
                f"Only {self.speech / RATE:.1f} s of speech; at least {SHORT:g} s are better."
            )
        return out


def _is_silent(rows: Features) -> bool:
    return len(rows) == 0 or float(rows[:, :MELS].mean(1).max()) < _SILENT - 2


def _pauses(start: float, rows: Features) -> list[_Second]:
    return [
        _Second(start + (at + min(RATE, len(rows) - at) / 2) / RATE, -2.0, -1, False)
        for at in range(0, len(rows), RATE)
    ]


def _pieces(blocks: Iterable[Samples], tally: _Tally) -> Iterator[tuple[float, Features]]:
    """Features in pieces of some eight seconds with their start times, from a stream of sound."""
    size = _CHUNK_SECONDS * SAMPLE_RATE_HZ
    held = np.zeros(0, np.float32)
    start = 0
    for block in blocks:
        tally.samples += len(block)
        held = np.concatenate([held, np.asarray(block, np.float32)])
        while len(held) >= 2 * size:
            yield start / SAMPLE_RATE_HZ, features(held[:size])
            held, start = held[size:], start + size
    if len(held) > 1.5 * size:
        half = len(held) // 2 // SAMPLE_RATE_HZ * SAMPLE_RATE_HZ
        yield start / SAMPLE_RATE_HZ, features(held[:half])
        held, start = held[half:], start + half
    if len(held):
        yield start / SAMPLE_RATE_HZ, features(held)
