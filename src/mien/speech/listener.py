"""Speech emotion recognition: embedding, emotion probabilities and affect of a voice over time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import soxr

from mien.errors import InputError
from mien.media.audio import SAMPLE_RATE_HZ, Samples, read_speech, stream_speech
from mien.speech.course import parts, settle
from mien.speech.features import (
    CONTEXT_ROWS,
    FEATURES_PER_SECOND,
    HOP,
    MELS,
    SILENT,
    Chunk,
    Features,
    feature_chunks,
    features,
    loudness,
    moved_bands,
    speech_span,
)
from mien.utils.affect import AFFECT
from mien.weights.bundled import open_net

Array = npt.NDArray[np.float32]

Embedding = npt.NDArray[np.float32]
"""``float32 (E,)`` of unit length."""

LEARNED_EMOTIONS: Final = (
    "neutral",
    "happy",
    "sad",
    "angry",
    "surprised",
    "fear",
    "disgusted",
    "contempt",
    "calm",
    "bored",
)
"""Labels that the net of the listener is trained on: the basic emotions, calm and bored."""

EXTENDED_VOICES: Final = (
    "charismatic",
    "desirous",
    "empathetic",
    "envious",
    "romantic",
    "sarcastic",
)
"""Labels that it has examples of in synthetic speech alone: voices that sound like their mean."""

VOICE_EMOTIONS: Final = (*LEARNED_EMOTIONS, *EXTENDED_VOICES)
"""All labels of the listener."""

VOCAL_TRACTS: Final = (-0.13, 0.0, 0.13)
"""Octaves that pitch and formants of a voice are moved by before it is embedded, half as far as in
training. The embeddings are averaged."""

_AS_IT_IS: Final = (0.0,)

TRACT_INPUTS: Final = ("moves", "octaves")
"""Inputs of ``listener.onnx`` for what :func:`vocal_tracts` returns."""

SHORT_SECONDS: Final = 2.0
"""Seconds of speech below which results are uncertain."""

_PIECE: Final = 8 * SAMPLE_RATE_HZ
"""Samples per embedding of a longer voice; the embeddings are averaged."""

_EDGE: Final = 8 * HOP
_SHORTEST_PIECE: Final = 0.3
_MOMENT_SECONDS: Final = 2.0
"""Span around a second that its embedding is computed from."""

_LOUD_RANGE: Final = 1.2
_LEAST_VOICED: Final = 0.04
_WEAKEST, _STRONGEST = 1.0, 3.0
"""Range of the intensity labels in training."""

_TEMPOS: Final = (1.0, 0.92, 1.09)
_VIEW_SAMPLES: Final = 15 * SAMPLE_RATE_HZ
_PADDING_LEVEL: Final = -2.0
_NEUTRAL: Final = VOICE_EMOTIONS.index("neutral")
_ALL_NEUTRAL: Final = np.eye(len(VOICE_EMOTIONS), dtype=np.float32)[_NEUTRAL]
_AFFECTS: Final = np.array([AFFECT[name] for name in VOICE_EMOTIONS], np.float32)


@dataclass(frozen=True, slots=True)
class VoiceMoment:
    """One second of a voice, read as part of the whole (:mod:`mien.speech.course`).

    Attributes:
        time: its middle, seconds.
        embedding: unit embedding, ``float32 (E,)``; None in a pause.
        emotion: probabilities, ``float32 (len(VOICE_EMOTIONS),)``; all neutral in a pause.
        valence, arousal: -1..1.
        intensity: 0..1.
    """

    time: float
    embedding: Embedding | None
    emotion: Array
    valence: float
    arousal: float
    intensity: float


@dataclass(frozen=True, slots=True)
class VoiceEmotion:
    """Emotion of a voice.

    Attributes:
        embedding: unit embedding, ``float32 (E,)``; zeros where nobody speaks.
        emotion: probabilities, ``float32 (len(VOICE_EMOTIONS),)``, in that order.
        affect: valence, arousal and dominance, ``float32 (3,)``, -1..1.
        intensity: 0 (faint) .. 1 (strong).
        seconds: length of the recording.
        curve: one moment per second.
        warnings: reasons why this is uncertain.
    """

    embedding: Embedding
    emotion: Array
    affect: Array
    intensity: float
    seconds: float
    curve: tuple[VoiceMoment, ...]
    warnings: tuple[str, ...] = ()

    @property
    def probabilities(self) -> dict[str, float]:
        """Probability of every label."""
        return {name: float(p) for name, p in zip(VOICE_EMOTIONS, self.emotion, strict=True)}

    @property
    def likeliest(self) -> str:
        """The likeliest label."""
        return VOICE_EMOTIONS[int(self.emotion.argmax())]

    @property
    def confidence(self) -> float:
        """Probability of the likeliest label: how far to trust it, 0..1."""
        return float(self.emotion.max())

    @property
    def has_speech(self) -> bool:
        """Whether anybody speaks."""
        return bool(self.embedding.any())


class Listener:
    """Recognises emotion with the bundled nets, or with others of the same kind.

    Args:
        folder: of ``listener.onnx`` and ``listener_says.onnx``; the bundled ones by default.
        threads: processor threads; 0 leaves it to the runtime.
    """

    def __init__(self, folder: str | Path | None = None, *, threads: int = 0) -> None:
        self._embedder = open_net("listener.onnx", folder=folder, threads=threads)
        self._classifier = open_net("listener_says.onnx", folder=folder, threads=threads)
        self.size = int(self._classifier.get_inputs()[0].shape[1])

    def analyse(self, voice: str | Path | Samples, neutral: Array | None = None) -> VoiceEmotion:
        """Recognise the emotion of a file or of samples.

        Args:
            voice: a file with sound (streamed, any length), or ``float32 (samples,)`` at 16 kHz.
            neutral: the same speaker's neutral voice, which makes the labels more reliable: its
                embedding ``(E,)``, or better its :meth:`views` ``(V, E)``.

        Raises:
            InputError: when there is no sound.
        """
        blocks: Iterable[Samples] = (
            [voice] if isinstance(voice, np.ndarray) else stream_speech(voice)
        )
        stream = EmotionStream(self, neutral)
        for chunk in feature_chunks(blocks):
            stream.feed(chunk)
        return stream.result()

    def views(self, voice: str | Path | Samples) -> Array:
        """Compute embeddings ``float32 (V, E)`` of a voice as it is, and played slower and faster.

        Classifying each view beside the same view of a neutral voice, and averaging, is more
        reliable than classifying one. Only the first fifteen seconds count.

        Raises:
            InputError: when there is no sound, or nobody speaks.
        """
        seconds = _VIEW_SAMPLES / SAMPLE_RATE_HZ
        samples = voice if isinstance(voice, np.ndarray) else read_speech(voice, seconds)
        views = []
        for tempo in _TEMPOS:
            played = soxr.resample(samples[:_VIEW_SAMPLES], tempo, 1)
            rows = features(played.astype(np.float32))
            if _is_silent(rows):
                raise InputError("Nobody speaks in the neutral voice; leave it out or use another.")
            low, high = speech_span(rows)
            views.append(self.embed([rows[low:high]])[0])
        return np.stack(views)

    def embed(self, voices: list[Features], octaves: tuple[float, ...] = VOCAL_TRACTS) -> Array:
        """Compute unit embeddings ``float32 (N, E)`` from the features of several voices.

        Args:
            voices: features ``(T, FEATURES)`` of each.
            octaves: the vocal tracts to average over.
        """
        lengths = np.array([len(rows) for rows in voices], np.int64)
        batch = np.full((len(voices), int(lengths.max()), voices[0].shape[1]), 0, np.float32)
        batch[..., :MELS] = _PADDING_LEVEL
        for row, rows in zip(batch, voices, strict=True):
            row[: len(rows)] = rows
        tracts = vocal_tracts(np.array(octaves, np.float32))
        feed = {"rows": batch, "lengths": lengths, **dict(zip(TRACT_INPUTS, tracts, strict=True))}
        out: Array = self._embedder.run(None, feed)[0]
        return out

    def classify(
        self,
        embeddings: Array,
        neutral: Embedding | None = None,
        *,
        temperature: float = 1.0,
    ) -> tuple[Array, Array]:
        """Compute emotion probabilities and intensities of unit embeddings.

        Args:
            embeddings: ``float32 (N, E)``.
            neutral: embedding ``(E,)`` of the same speaker's neutral voice.
            temperature: of the softmax; probabilities are calibrated at 1.

        Returns:
            Probabilities ``float32 (N, len(VOICE_EMOTIONS))`` and intensities ``(N,)``, 0..1.
        """
        beside = embeddings if neutral is None else np.broadcast_to(neutral, embeddings.shape)
        alone, relative, strength = self._classifier.run(
            None, {"embedding": embeddings, "neutral": np.ascontiguousarray(beside)}
        )
        logits = (alone if neutral is None else relative) / temperature
        odds = np.exp(logits - logits.max(1, keepdims=True))
        odds /= odds.sum(1, keepdims=True)
        share = np.clip((strength - _WEAKEST) / (_STRONGEST - _WEAKEST), 0, 1)
        # Intensity was trained on emotional voices only; a neutral one has none.
        return odds, share * (1 - odds[:, _NEUTRAL])

    def classify_views(self, views: Array, neutral: Array) -> Array:
        """Compute probabilities from :meth:`views` of a voice and of its neutral one."""
        pairs = zip(views, neutral, strict=True)
        odds = [self.classify(own[None], plain)[0][0] for own, plain in pairs]
        mean = np.exp(np.log(np.stack(odds) + 1e-9).mean(0))
        return (mean / mean.sum()).astype(np.float32)


def vocal_tracts(octaves: Array) -> tuple[Array, Array]:
    """Return what moves bands by ``octaves (V,)``, ``float32 (V, MELS, MELS)``, and the octaves."""
    distance = np.abs(moved_bands(octaves)[:, None] - np.arange(MELS)[:, None])
    return np.maximum(1 - distance, 0).astype(np.float32), octaves


def affect_of(emotion: Array) -> Array:
    """Compute valence, arousal and dominance ``(..., 3)`` expected under probabilities."""
    return emotion @ _AFFECTS


class EmotionStream:
    """Emotion of a voice that arrives in chunks of features; see :meth:`Listener.analyse`.

    A voice is embedded in pieces of eight seconds, and every second of it from two seconds around
    it. Memory grows by one embedding per second.
    """

    def __init__(self, listener: Listener, neutral: Array | None = None) -> None:
        self._listener = listener
        self._views = neutral if neutral is not None and neutral.ndim == 2 else None
        self._neutral = neutral if neutral is None or neutral.ndim == 1 else neutral[0]
        self._rows, self._samples = np.zeros((0, 0), np.float32), np.zeros(0, np.float32)
        self._opening = np.zeros(0, np.float32)
        self._start = self._speech_rows = self._voiced_rows = 0
        self._pieces: list[tuple[Embedding, float]] = []
        # Middle and, outside pauses, embedding of every second.
        self._seconds: list[tuple[float, Embedding | None]] = []

    def feed(self, chunk: Chunk) -> None:
        """Take the next chunk."""
        if self._views is not None and len(self._opening) < _VIEW_SAMPLES:
            self._opening = np.concatenate([self._opening, chunk.samples])[:_VIEW_SAMPLES]
        self._rows = np.concatenate([self._rows, chunk.rows]) if len(self._rows) else chunk.rows
        self._samples = np.concatenate([self._samples, chunk.samples])
        while len(self._samples) >= 2 * _PIECE:
            self._take(_PIECE)

    def result(self) -> VoiceEmotion:
        """Return the emotion of the whole."""
        if not self._start and not len(self._samples):
            raise InputError("There is no sound to analyse (0 samples).")
        if len(self._samples) > 1.5 * _PIECE:
            self._take(len(self._samples) // 2 // SAMPLE_RATE_HZ * SAMPLE_RATE_HZ)
        if len(self._samples):
            self._take(len(self._samples))
        if self._pieces:
            vectors, weights = zip(*self._pieces, strict=True)
            mean = np.average(vectors, axis=0, weights=weights)
            embedding = (mean / max(float(np.linalg.norm(mean)), 1e-9)).astype(np.float32)
            odds, strength = self._listener.classify(embedding[None], self._neutral)
            emotion, intensity = odds[0], float(strength[0])
        else:
            embedding = np.zeros(self._listener.size, np.float32)
            emotion, intensity = _ALL_NEUTRAL, 0.0
        curve = self._curve(embedding)
        seconds = self._start / SAMPLE_RATE_HZ
        affect, warnings = affect_of(emotion), self._warnings()
        out = VoiceEmotion(embedding, emotion, affect, intensity, seconds, curve, warnings)
        if self._views is None or not self._pieces:
            return out
        own = self._listener.views(self._opening)
        emotion = self._listener.classify_views(own, self._views)
        return replace(out, emotion=emotion, affect=affect_of(emotion))

    def _take(self, count: int) -> None:
        """Analyse the next ``count`` samples as a piece by itself."""
        rows, samples = self._rows[: -(-count // HOP)].copy(), self._samples[:count]
        rest = len(self._samples) - count
        # At an edge within the voice, windows must not reach into the neighbouring piece.
        if self._start:
            rows[:CONTEXT_ROWS] = features(samples[:_EDGE])[:CONTEXT_ROWS]
        if rest:
            rows[-CONTEXT_ROWS:] = features(samples[-_EDGE:])[-CONTEXT_ROWS:]
        self._analyse_piece(self._start / SAMPLE_RATE_HZ, rows)
        self._start += count
        self._rows, self._samples = self._rows[len(rows) :], self._samples[count:]

    def _analyse_piece(self, start: float, rows: Features) -> None:
        if _is_silent(rows):
            for at in range(0, len(rows), FEATURES_PER_SECOND):
                middle = at + min(FEATURES_PER_SECOND, len(rows) - at) / 2
                time = start + middle / FEATURES_PER_SECOND
                self._seconds.append((time, None))
            return
        low, high = speech_span(rows)
        self._speech_rows += high - low
        self._voiced_rows += int((rows[low:high, MELS + 1] > 0.5).sum())
        if high - low >= _SHORTEST_PIECE * FEATURES_PER_SECOND:
            embedding = self._listener.embed([rows[low:high]])[0]
            self._pieces.append((embedding, float(high - low)))
        reach = int(_MOMENT_SECONDS * FEATURES_PER_SECOND / 2)
        level, spans, seconds = loudness(rows), [], []
        for at in range(0, len(rows), FEATURES_PER_SECOND):
            now = level[at : at + FEATURES_PER_SECOND]
            loud = bool(now.max() > max(SILENT, level.max() - _LOUD_RANGE))
            middle = at + len(now) // 2
            if loud:
                spans.append(rows[max(middle - reach, 0) : middle + reach])
            time = start + middle / FEATURES_PER_SECOND
            seconds.append((time, loud))
        # Moments are many and settle around the whole: one vocal tract is enough for them.
        vectors = iter(self._listener.embed(spans, _AS_IT_IS)) if spans else iter(())
        self._seconds += [(time, next(vectors) if loud else None) for time, loud in seconds]

    def _curve(self, embedding: Embedding) -> tuple[VoiceMoment, ...]:
        """Moments around what the whole voice says, or its parts where it changes."""
        spoken = [own for _, own in self._seconds if own is not None]
        settled: list[Embedding] = []
        if spoken:
            moments = np.stack(spoken)
            found = parts(self._listener.classify(moments, self._neutral)[0])
            for part in found:
                mean = moments[part].mean(0)
                around = embedding if len(found) == 1 else mean / np.linalg.norm(mean)
                settled += list(self._settled(moments[part], around))
        left = iter(settled)
        return tuple(
            self._moment(time, None if own is None else next(left)) for time, own in self._seconds
        )

    def _settled(self, moments: Array, around: Embedding) -> Array:
        """Moments of a part, moved only as far as they say the same emotion as the part."""
        moved = settle(moments, around)
        said = self._listener.classify(moved, self._neutral)[0].argmax(1)
        whole = self._listener.classify(around[None], self._neutral)[0].argmax()
        return np.where((said == whole)[:, None], moved, around)

    def _moment(self, time: float, embedding: Embedding | None) -> VoiceMoment:
        if embedding is None:
            return VoiceMoment(time, None, _ALL_NEUTRAL, 0, 0, 0)
        odds, strength = self._listener.classify(embedding[None], self._neutral)
        valence, arousal, _ = affect_of(odds[0]).tolist()
        return VoiceMoment(time, embedding, odds[0], valence, arousal, float(strength[0]))

    def _warnings(self) -> tuple[str, ...]:
        if not self._speech_rows:
            return ("Nobody speaks: the sound is silent throughout. Taken as neutral.",)
        out: tuple[str, ...] = ()
        if self._voiced_rows < _LEAST_VOICED * self._speech_rows:
            out += ("Hardly any voice was found (noise or music?); the result is uncertain.",)
        if self._speech_rows < SHORT_SECONDS * FEATURES_PER_SECOND:
            out += (
                f"Only {self._speech_rows / FEATURES_PER_SECOND:.1f} s of speech; at least "
                f"{SHORT_SECONDS:g} s are better.",
            )
        return out


def _is_silent(rows: Features) -> bool:
    return len(rows) == 0 or float(loudness(rows).max()) < SILENT
