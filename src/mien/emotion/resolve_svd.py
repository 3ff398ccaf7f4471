"""A request as DICE-Talk needs it: an emotion prior for every frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.emotion.expression_track import Look
from mien.emotion.request import Emotion, Request, terms_at, turns_of
from mien.errors import InputError
from mien.speech.labels import HEARD
from mien.speech.listener import Heard, Listener

Prior = npt.NDArray[np.float32]

NEUTRAL: Final = "neutral"

Embed = Callable[[Path], Prior]
"""A clip (face, voice or both) to the mean of its prior: mode V."""


@dataclass(slots=True)
class Priors:
    """Turns names, voices and faces into priors; every file is looked at once.

    A prior is the neutral one plus, for every emotion, its strength times the way from neutral to
    it (mode P). Voices without an embedder count as the emotions that the listener hears in them.

    Attributes:
        known: stored priors by name, ``float32 (256,)``; ``neutral`` among them.
        embed: mode V, where the user has an embedder.
    """

    known: Mapping[str, Prior]
    embed: Embed | None = None
    _ways: dict[Path, Prior] = field(default_factory=dict)
    _heard: dict[Path, Heard] = field(default_factory=dict)
    _listener: Listener | None = None

    def at(self, request: Request, time: float) -> Prior:
        """The prior wanted at ``time`` seconds.

        Raises:
            InputError: for action units, names without a prior, faces without an embedder.
        """
        out = self.known[NEUTRAL].astype(np.float32).copy()
        for emotion, weight in terms_at(request, time):
            for way, share in self._parts(emotion, time):
                out += np.float32(weight * emotion.intensity * share) * way
        return out

    def course(self, request: Request, frames: int, rate: float) -> Prior:
        """Priors of all frames ``(N, 256)``; a steady one is repeated exactly."""
        return np.stack([self.at(request, i / rate) for i in range(frames)])

    def check(self, request: Request) -> None:
        """Resolve everything that will be wanted, before any work.

        Raises:
            InputError: as :meth:`at`.
        """
        for time in turns_of(request):
            self.at(request, time)

    def _parts(self, emotion: Emotion, time: float) -> list[tuple[Prior, float]]:
        if emotion.units:
            raise InputError(
                "Action units belong to the mesh engine; svd is moved by names, voices and faces."
            )
        out = [(self._way(name), strength) for name, strength in emotion.labels]
        return out + [(self._worn(look, time), strength) for look, strength in emotion.looks]

    def _way(self, name: str) -> Prior:
        if name not in self.known:
            raise InputError(
                f"There is no prior of {name!r} for the engine svd. Valid: {', '.join(self.known)}."
            )
        return self.known[name] - self.known[NEUTRAL]

    def _worn(self, look: Look, time: float) -> Prior:
        about = look.about
        if "voice" in about and self.embed is None:
            return self._voice(Path(about["voice"]), time)
        paths = [Path(path) for path in about.get("like", (about.get("voice"),))]
        if self.embed is not None:
            return np.mean([self._embedded(path) for path in paths], 0).astype(np.float32)
        if about.get("by") == "face":
            raise InputError(
                "To feel as a face looks, svd needs an embedder (--embedder FILE, made by mien "
                "train dice-embedder); nobody published one. Use a name or a voice."
            )
        shares = np.mean([self._listen(path).emotion for path in paths], 0)
        return self._mixed(shares)

    def _voice(self, path: Path, time: float) -> Prior:
        """The way of a voice at a time, between its seconds by line."""
        curve = [m for m in self._listen(path).curve if m.embedding is not None]
        if not curve:
            return np.zeros_like(self.known[NEUTRAL])
        ways = np.stack([self._mixed(m.emotion) for m in curve])
        times = [m.time for m in curve]
        columns = [np.interp(time, times, column) for column in ways.T]
        return np.array(columns, np.float32)

    def _mixed(self, shares: npt.NDArray[np.float32]) -> Prior:
        out = np.zeros_like(self.known[NEUTRAL])
        for name, share in zip(HEARD, shares.tolist(), strict=True):
            if name in self.known:
                out += np.float32(share) * self._way(name)
        return out

    def _listen(self, path: Path) -> Heard:
        if path not in self._heard:
            if self._listener is None:
                self._listener = Listener()
            self._heard[path] = self._listener.listen(path)
        return self._heard[path]

    def _embedded(self, path: Path) -> Prior:
        if path not in self._ways and self.embed is not None:
            self._ways[path] = self.embed(path) - self.known[NEUTRAL]
        return self._ways[path]
