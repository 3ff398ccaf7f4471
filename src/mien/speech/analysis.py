"""Everything a run needs to know about one voice, from a single pass over its file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from mien.errors import InputError
from mien.media.audio import Samples, has_sound, stream_speech
from mien.media.container import existing_file
from mien.media.read import VideoReader
from mien.media.still import is_still
from mien.speech.articulation import Articulator, Code, RowStore, loudness_of, stress
from mien.speech.features import FEATURES_PER_SECOND, MELS, Chunk, feature_chunks
from mien.speech.listener import EmotionStream, Listener, VoiceEmotion

_T = TypeVar("_T")

Part = Literal["emotion", "articulation", "prosody", "samples"]

_KEPT_VOICES: Final = 256

PROSODY_SECONDS: Final = 0.1
"""Seconds per value of :class:`Prosody`."""

_LARGEST_PITCH_STEP: Final = 0.1
"""Octaves in 10 ms; larger steps are octave errors."""


@dataclass(frozen=True, slots=True)
class Prosody:
    """Loudness and pitch movement of a voice, ten values per second.

    Attributes:
        level: mean level, ``float32 (K,)``, in the features' unit.
        movement: pitch movement, ``float32 (K,)``, octaves.
    """

    level: npt.NDArray[np.float32]
    movement: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Articulation:
    """Movement of the mouth.

    Attributes:
        codes: ``float32 (T, 7)``, 50 per second; see :mod:`mien.speech.articulation`.
        stress: how stressed every 10 ms are, ``float32 (R,)``, 0..1.
    """

    codes: Code
    stress: npt.NDArray[np.float32]


@dataclass(slots=True)
class _Results:
    sample_count: int = 0
    emotion: VoiceEmotion | None = None
    articulation: Articulation | None = None
    prosody: Prosody | None = None
    samples: Samples | None = None


class VoiceAnalysis:
    """One voice, opened and decoded once, when first asked for anything.

    All parts that a run needs must be required before that. Memory does not hold the sound: it
    grows by some 3 kB per second for emotion, articulation and prosody together. ``samples`` are
    the exception, for published nets (emotion2vec, Whisper, Audio2Lip) that read 16 kHz sound
    directly: 64 kB per second.

    Args:
        path: file with sound.
        parts: what will be needed; :meth:`require` adds to it.
        with_picture: whether the voice is heard with the video in the same file. Time then counts
            from the first frame, otherwise from the first sample.
    """

    def __init__(self, path: str | Path, *parts: Part, with_picture: bool = False) -> None:
        self.path = Path(path)
        self._with_picture = with_picture
        self._parts: set[Part] = set(parts)
        self._done: _Results | None = None

    @cached_property
    def has_sound(self) -> bool:
        """Whether the file has a sound track; does not decode it."""
        return not is_still(self.path) and has_sound(self.path)

    def require(self, *parts: Part) -> None:
        """Add parts to what the pass computes.

        Raises:
            RuntimeError: when the pass is over and did without them.
        """
        if self._done is not None and not self._parts.issuperset(parts):
            raise RuntimeError(f"{self.path} was decoded already without {', '.join(parts)}.")
        self._parts.update(parts)

    @property
    def sample_count(self) -> int:
        """Length in samples at 16 kHz."""
        return self._results.sample_count

    @property
    def emotion(self) -> VoiceEmotion:
        """Emotion of the voice, as the listener recognises it."""
        return self._sounding(self._results.emotion)

    @property
    def articulation(self) -> Articulation:
        """Movement of the mouth."""
        return self._sounding(self._results.articulation)

    @property
    def samples(self) -> Samples:
        """The sound, ``float32 (samples,)``, 16 kHz mono."""
        return self._sounding(self._results.samples)

    @property
    def prosody(self) -> Prosody:
        """Loudness and pitch movement; empty where there is no sound."""
        return _computed(self._results.prosody)

    def _sounding(self, part: _T | None) -> _T:
        if not self._results.sample_count:
            raise InputError(f"{self.path} holds no sound that can be decoded.")
        return _computed(part)

    @property
    def _results(self) -> _Results:
        if self._done is None:
            self._done = self._run()
        return self._done

    def _start(self) -> Fraction | None:
        """Return the time of the first frame on the file's clock, None without a picture."""
        if not self._with_picture or is_still(self.path):
            return None
        with VideoReader(self.path) as reader:
            return reader.info.start

    def _run(self) -> _Results:
        out = _Results()
        blocks: Iterator[Samples] = stream_speech(self.path, self._start())
        if "samples" in self._parts:
            out.samples = np.concatenate([np.zeros(0, np.float32), *blocks])
            out.sample_count = len(out.samples)
            blocks = iter([out.samples])
        if self._parts == {"samples"}:
            return out
        emotion = EmotionStream(Listener()) if "emotion" in self._parts else None
        rows = RowStore() if "articulation" in self._parts else None
        prosody = _ProsodyStream() if "prosody" in self._parts else None
        count = 0
        for chunk in feature_chunks(blocks):
            count += len(chunk.samples)
            for consumer in (emotion, rows, prosody):
                if consumer is not None:
                    consumer.feed(chunk)
        out.sample_count = count
        if emotion is not None and count:
            out.emotion = emotion.result()
        if rows is not None:
            with closing(rows):
                codes = Articulator().follow(rows)
                out.articulation = Articulation(codes, stress(loudness_of(rows)))
        if prosody is not None:
            out.prosody = prosody.result()
        return out


def _computed(part: _T | None) -> _T:
    if part is None:
        raise RuntimeError("This part of the voice was not required before it was decoded.")
    return part


class VoiceEmotions:
    """Emotions of voices by file, each analysed once.

    Attributes:
        warnings: reasons why those analysed so far are uncertain.
        known: those analysed so far.
    """

    def __init__(self, own_voice: VoiceAnalysis | None = None) -> None:
        self.warnings: tuple[str, ...] = ()
        self.known: dict[Path, VoiceEmotion] = {}
        self._own_voice = own_voice

    @property
    def listener(self) -> Listener:
        """The bundled listener."""
        return _listener()

    def of(self, path: Path) -> VoiceEmotion:
        """Return the emotion of a file's voice."""
        if path not in self.known:
            own = self._own_voice if self._own_voice and self._own_voice.path == path else None
            voice = analyse_file(path) if own is None else own.emotion
            self.warnings += tuple(f"{path}: {warning}" for warning in voice.warnings)
            self.known[path] = voice
        return self.known[path]


def analyse_file(path: Path) -> VoiceEmotion:
    """Return the emotion of a file's voice; that of the last files is kept for the next job.

    Raises:
        InputError: when there is no such file or no sound in it.
    """
    found = existing_file(path).stat()
    return _analysed(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=_KEPT_VOICES)
def _analysed(path: Path, size: int, changed: int) -> VoiceEmotion:
    return _listener().analyse(path)


@lru_cache(maxsize=1)
def _listener() -> Listener:
    return Listener()


class _ProsodyStream:
    def __init__(self) -> None:
        self._level: list[npt.NDArray[np.float32]] = [np.zeros(0, np.float32)]
        self._movement: list[npt.NDArray[np.float32]] = [np.zeros(0, np.float32)]

    def feed(self, chunk: Chunk) -> None:
        """Take a chunk; all but the last one of a voice hold whole tenths of a second."""
        width = round(PROSODY_SECONDS * FEATURES_PER_SECOND)
        rows = chunk.rows[: len(chunk.rows) // width * width]
        rows = rows.reshape(-1, width, rows.shape[1])
        self._level.append(rows[..., :MELS].mean((1, 2)))
        step = np.abs(np.diff(rows[..., MELS], axis=1)) * (rows[:, 1:, MELS + 1] > 0.5)
        self._movement.append(np.minimum(step, _LARGEST_PITCH_STEP).sum(1))

    def result(self) -> Prosody:
        return Prosody(np.concatenate(self._level), np.concatenate(self._movement))
