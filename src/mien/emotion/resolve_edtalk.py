"""A request as the published C-MET needs it: emotion semantic vectors over time.

The same :class:`Emotion` or :class:`Timeline` that the mesh engine reads as action units. Names and
voices become differences of speech embeddings (section 3.1 of arXiv 2604.07786); faces, and names
for which the user brought EDTalk's own coefficients, become expression coefficients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mien.emotion.expression_track import Look
from mien.emotion.request import Emotion, Request, terms_at, turns_of
from mien.errors import InputError
from mien.media.audio import SAMPLE_RATE_HZ, Samples, has_sound, read_speech
from mien.media.still import is_still
from mien.weights.bundled import open_arrays

if TYPE_CHECKING:
    from mien.speech.emotion2vec import Emotion2vec

Vector = npt.NDArray[np.float32]

_STEP: Final = 0.5
_SPAN: Final = 3.0
"""A clip's own voice is heard every half second over three seconds around it."""

_NEUTRAL: Final = "neutral"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted at one moment.

    Attributes:
        vector: emotion semantic vector ``(S,)``, None where no voice or name is wanted.
        strength: of what the connector makes of it.
        targets: expression coefficients ``(D,)`` to go to, and how far.
    """

    vector: Vector | None
    strength: float
    targets: tuple[tuple[Vector, float], ...] = ()

    @property
    def weight(self) -> float:
        """How much there is to see of it."""
        return self.strength + sum(share for _, share in self.targets)


@lru_cache(maxsize=1)
def label_voices() -> Mapping[str, Vector]:
    """Mean speech embeddings per emotion that ship with mien, ``float32 (1024,)`` each.

    Raises:
        WeightsError: when the file is missing.
    """
    stored = open_arrays("published_voices.npz")
    pairs = zip(stored["names"].tolist(), stored["voices"], strict=True)
    return MappingProxyType(dict(pairs))


@dataclass(slots=True)
class Voices:
    """Turns names, files and faces into what they mean; every file is heard once.

    Attributes:
        listener: loads emotion2vec+ large at the first need.
        clip: the clip that is edited, or the speech of a portrait, for ``auto`` and ``neutral``.
        labels: EDTalk's own coefficients per emotion, where the user has them.
        face: reads the expression coefficients of a picture or clip of a face.
    """

    listener: Callable[[], Emotion2vec]
    clip: Path
    labels: Mapping[str, Vector] = field(default_factory=dict)
    face: Callable[[Path], Vector] | None = None
    _heard: dict[Path, Vector] = field(default_factory=dict)
    _last: tuple[Path, Samples] | None = None
    _net: Emotion2vec | None = None

    def at(self, request: Request, time: float) -> Wish:
        """What ``request`` wants at ``time`` seconds.

        Raises:
            InputError: for action units, which EDTalk does not know, and voices that are not there.
        """
        sums, strength = np.zeros(0, np.float32), 0.0
        targets: list[tuple[Vector, float]] = []
        for emotion, weight in terms_at(request, time):
            for vector, target, share in self._parts(emotion, time):
                much = weight * emotion.intensity * share
                if much <= 0:
                    continue
                if target is not None:
                    targets.append((target, much))
                elif vector is not None:
                    sums = much * vector if not len(sums) else sums + much * vector
                    strength += much
        vector = sums / strength if strength > 0 else None
        return Wish(vector, strength, tuple(targets))

    def check(self, request: Request) -> None:
        """Resolve everything that will be wanted, before any work.

        Raises:
            InputError: as :meth:`at`.
        """
        for time in turns_of(request):
            self.at(request, time)

    def _parts(
        self, emotion: Emotion, time: float
    ) -> list[tuple[Vector | None, Vector | None, float]]:
        """(vector or None, coefficients or None, strength) of all that an emotion is made of."""
        if emotion.units:
            raise InputError(
                "Action units belong to the mesh engine; EDTalk moves by names, voices and faces."
            )
        out: list[tuple[Vector | None, Vector | None, float]] = []
        for name, strength in emotion.labels:
            if name in self.labels:
                out.append((None, self.labels[name], strength))
            else:
                out.append((self._label(name), None, strength))
        for look, strength in emotion.looks:
            if look.about.get("by") == "face":
                out.append((None, self._face(Path(look.about["like"][0])), strength))
            else:
                out.append((self._voice(look, time), None, strength))
        return out

    def _label(self, name: str) -> Vector:
        voices = label_voices()
        if name != _NEUTRAL:
            return voices[name] - voices[_NEUTRAL]
        if is_still(self.clip) or not has_sound(self.clip):
            raise InputError(
                "For EDTalk, neutral means away from how the clip sounds, and this one has no "
                "sound. Bring EDTalk's own coefficients (mien weights convert edtalk/labels DIR) "
                "or use the mesh engine."
            )
        return voices[_NEUTRAL] - self.hear(self.clip)

    def _voice(self, look: Look, time: float) -> Vector:
        about: Mapping[str, Any] = look.about
        if "voice" in about:
            return self._course(Path(about["voice"]), time)
        plain = [Path(path) for path in about.get("neutral", ())]
        return self._mean([Path(path) for path in about["like"]]) - self._plain(plain)

    def _plain(self, paths: Sequence[Path]) -> Vector:
        return self._mean(paths) if paths else label_voices()[_NEUTRAL]

    def _mean(self, paths: Sequence[Path]) -> Vector:
        mean: Vector = np.mean([self.hear(path) for path in paths], 0)
        return mean

    def hear(self, path: Path, moment: float | None = None) -> Vector:
        """Speech embedding of a file, or of the seconds around a moment of it.

        Raises:
            InputError: for a file without sound.
        """
        key = path if moment is None else path / f"{moment:.1f}"
        if key not in self._heard:
            from mien.speech.emotion2vec import embed

            if self._net is None:
                self._net = self.listener()
            samples = self._samples(path)
            if moment is not None:
                middle, half = round(moment * SAMPLE_RATE_HZ), round(_SPAN * SAMPLE_RATE_HZ / 2)
                start = min(max(0, middle - half), max(0, len(samples) - 2 * half))
                samples = samples[start : start + 2 * half]
            self._heard[key] = embed(self._net, samples)
        return self._heard[key]

    def _samples(self, path: Path) -> Samples:
        """The sound of a file; the last one is kept, for ``auto`` comes back to it."""
        if self._last is None or self._last[0] != path:
            self._last = (path, read_speech(path))
        return self._last[1]

    def _course(self, path: Path, time: float) -> Vector:
        """How a voice differs from a neutral one at a time, between half seconds by line."""
        before = int(time / _STEP)
        share = time / _STEP - before
        one, two = (self.hear(path, _STEP * step) for step in (before, before + 1))
        return one + np.float32(share) * (two - one) - label_voices()[_NEUTRAL]

    def _face(self, path: Path) -> Vector:
        if self.face is None:
            raise InputError(f"A face cannot be read here; {path} shows one. Use a voice.")
        key = path / "face"
        if key not in self._heard:
            self._heard[key] = self.face(path)
        return self._heard[key]
