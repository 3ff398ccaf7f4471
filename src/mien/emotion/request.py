"""What the user asks for: an emotion, a mix, action units, or a timeline of them."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol, Self

import numpy as np

from mien.emotion.expression_track import AUTO, PRESETS, Look, presets
from mien.errors import InputError
from mien.face.facs import ACTION_UNITS, MIDLINE, PAIRED, RECIPES, Expression, expression

MOST: Final = 1.5
"""Largest intensity; 1 is a clear, natural expression."""


class Request(Protocol):
    """Anything that says which expression is wanted at a time."""

    def expression_at(self, time: float) -> Expression:
        """Action units ``float32 (D,)`` wanted at ``time`` seconds."""

    def presence_at(self, time: float) -> float:
        """How much of the person's own resting expression gives way, 0..1."""

    def describe(self) -> dict[str, Any]:
        """The request in plain values, for reports."""


_NO_LOOKS: Final[Mapping[str, Look]] = MappingProxyType({})


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"{what} must be a number from 0 to {MOST}; got {text!r}.") from None
    return check_intensity(value, what)


def check_intensity(value: float, what: str = "The intensity") -> float:
    """Return ``value`` if it is an intensity.

    Raises:
        InputError: for NaN, infinity, negative or too large values.
    """
    if not math.isfinite(value) or not 0 <= value <= MOST:
        raise InputError(f"{what} must be a number from 0 to {MOST}; got {value}.")
    return float(value)


def _unknown(kind: str, name: str, valid: tuple[str, ...]) -> InputError:
    near = difflib.get_close_matches(name, valid, 1, 0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    return InputError(f"There is no {kind} {name!r}.{hint} Valid: {', '.join(valid)}.")


NAMES: Final = (*RECIPES, *PRESETS)
"""Emotions that have a name of their own."""


@dataclass(frozen=True, slots=True)
class Emotion:
    """One expression, however it was asked for; steady unless a look moves.

    Attributes:
        labels: emotions (``NAMES``) and how strong each is.
        units: action units added on top, as names of ``ACTION_UNITS`` or without side.
        looks: expressions out of voices and faces, and how strong each is.
        intensity: factor on all of it, 0..1.5.
    """

    labels: tuple[tuple[str, float], ...] = ()
    units: tuple[tuple[str, float], ...] = ()
    looks: tuple[tuple[Look, float], ...] = ()
    intensity: float = 1.0

    def __post_init__(self) -> None:
        check_intensity(self.intensity)
        for name, strength in self.labels:
            if name not in NAMES:
                raise _unknown("emotion", name, NAMES)
            check_intensity(strength, f"The strength of {name}")
        for look, strength in self.looks:
            check_intensity(strength, f"The strength of {look.name}")
        for name, strength in self.units:
            if name not in ACTION_UNITS and name not in PAIRED:
                raise _unknown("action unit", name, (*PAIRED, *MIDLINE, "and 12L, 12R … per side"))
            check_intensity(strength, f"The strength of action unit {name}")

    @classmethod
    def parse(
        cls,
        text: str = "",
        *,
        au: str = "",
        intensity: float = 1.0,
        looks: Mapping[str, Look] = _NO_LOOKS,
        like: Look | None = None,
    ) -> Self:
        """Read ``sad``, ``sad:0.6``, ``happy:0.7,surprised:0.4`` and ``12L=0.8,4=0.5``.

        Args:
            text: emotions, separated by commas, each with an optional strength.
            au: action units, separated by commas; ``12`` means both sides, ``45`` is 43.
            intensity: factor on all of it.
            looks: further names, ``auto`` for instance, and what they mean.
            like: a look that is added in full.

        Raises:
            InputError: for names that do not exist and numbers out of range.
        """
        labels = []
        worn = [] if like is None else [(like, 1.0)]
        for part in filter(None, (p.strip() for p in text.split(","))):
            name, colon, strength = part.partition(":")
            name = name.strip().lower()
            if name not in NAMES and name not in looks:
                if name == AUTO:
                    raise InputError("auto follows a clip's own voice; here there is no clip.")
                raise _unknown("emotion", name, (*NAMES, *looks))
            value = _number(strength, f"The strength of {name}") if colon else 1.0
            if name in looks:
                worn.append((looks[name], value))
            else:
                labels.append((name, value))
        units = []
        for part in filter(None, (p.strip() for p in au.split(","))):
            name, equals, strength = part.partition("=")
            name = name.strip().upper().removeprefix("AU").replace("45", "43")
            what = f"The strength of action unit {name}"
            units.append((name, _number(strength, what) if equals else 1.0))
        if not labels and not units and not worn:
            raise InputError(f"No emotion was named. Valid: {', '.join(NAMES)}.")
        return cls(tuple(labels), tuple(units), tuple(worn), intensity)

    def scaled(self, intensity: float) -> Self:
        """The same emotion with another overall intensity."""
        return replace(self, intensity=intensity)

    def expression_at(self, time: float = 0.0) -> Expression:
        """Action units ``float32 (D,)`` at ``time`` seconds."""
        total = expression(_summed(self.units))
        for name, strength in self.labels:
            total = total + strength * _named(name)
        for look, strength in self.looks:
            total = total + strength * look.expression_at(time)
        return (self.intensity * total).astype(np.float32)

    def presence_at(self, time: float = 0.0) -> float:
        """How much of the person's own expression gives way: with labels, up to all of it.

        Action units alone are added to what the face does already.
        """
        named = sum(strength for _, strength in self.labels)
        worn = sum(strength * look.presence_at(time) for look, strength in self.looks)
        return min(1.0, self.intensity * (named + worn))

    def describe(self) -> dict[str, Any]:
        """Labels, action units and intensity."""
        return {
            "labels": dict(self.labels),
            "action_units": dict(self.units),
            "looks": [
                {"name": look.name, "strength": strength, **look.about}
                for look, strength in self.looks
            ],
            "intensity": self.intensity,
        }


def _named(name: str) -> Expression:
    return RECIPES[name].expression() if name in RECIPES else presets()[name].look.expression_at(0)


def _summed(units: tuple[tuple[str, float], ...]) -> dict[str, float]:
    out: dict[str, float] = {}
    for name, strength in units:
        out[name] = out.get(name, 0.0) + strength
    return out


_EASINGS: Final = {
    "linear": lambda t: t,
    "ease": lambda t: t * t * (3 - 2 * t),
    "ease-in": lambda t: t * t,
    "ease-out": lambda t: t * (2 - t),
}
EASINGS: Final = tuple(_EASINGS)

_SHORTEST_FADE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of a timeline.

    Attributes:
        at: seconds at which the change begins.
        emotion: what it changes to.
        fade: seconds the change takes, at least 0.05: nothing jumps.
        easing: ``linear``, ``ease``, ``ease-in`` or ``ease-out``.
    """

    at: float
    emotion: Emotion
    fade: float = 0.4
    easing: str = "ease"


@dataclass(frozen=True, slots=True)
class Timeline:
    """Emotions over time. Before the first entry the face is left as it is.

    Attributes:
        keys: entries in the order of time.
        intensity: factor on all of them.
    """

    keys: tuple[Key, ...]
    intensity: float = 1.0

    @classmethod
    def load(
        cls, path: str | Path, intensity: float = 1.0, looks: Mapping[str, Look] = _NO_LOOKS
    ) -> Self:
        """Read a timeline file (JSON, see ``docs/timeline.md``); paths are relative to it.

        Raises:
            InputError: naming the entry and the field that cannot be used.
        """
        path = Path(path)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"The timeline {path} cannot be opened ({error.strerror}).") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"The timeline {path} is not valid JSON ({error}).") from error
        return cls.from_data(data, intensity, looks, path.parent)

    @classmethod
    def from_data(
        cls,
        data: object,
        intensity: float = 1.0,
        looks: Mapping[str, Look] = _NO_LOOKS,
        folder: Path | None = None,
    ) -> Self:
        """Build a timeline from a list of entries, or an object with that list as ``timeline``.

        ``looks`` are further names for emotions; files are relative to ``folder``.
        """
        if isinstance(data, Mapping):
            data = data.get("timeline")
        if not isinstance(data, list) or not data:
            raise InputError('A timeline is a list of entries like {"at": 0, "emotion": "sad"}.')
        place = folder or Path()
        entries = (_key(i, entry, looks, place) for i, entry in enumerate(data, 1))
        keys = sorted(entries, key=lambda k: k.at)
        return cls(tuple(keys), check_intensity(intensity))

    def expression_at(self, time: float) -> Expression:
        """Action units ``float32 (D,)`` at ``time`` seconds; continuous in time."""
        now = np.zeros(len(ACTION_UNITS), np.float32)
        for key, share in self.shares(time):
            now = now + share * (key.emotion.expression_at(time) - now)
        return (self.intensity * now).astype(np.float32)

    def presence_at(self, time: float) -> float:
        """How much of the person's own expression gives way at ``time``, 0..1."""
        now = 0.0
        for key, share in self.shares(time):
            now += share * (key.emotion.presence_at(time) - now)
        return min(1.0, self.intensity * now)

    def shares(self, time: float) -> list[tuple[Key, float]]:
        """Entries that have begun at ``time``, and how far each has taken over (0..1)."""
        out = []
        for key in self.keys:
            if time > key.at:
                out.append((key, _EASINGS[key.easing](min(1.0, (time - key.at) / key.fade))))
        return out

    def describe(self) -> dict[str, Any]:
        """The entries in plain values."""
        return {
            "timeline": [
                {"at": k.at, "fade": k.fade, "easing": k.easing, **k.emotion.describe()}
                for k in self.keys
            ],
            "intensity": self.intensity,
        }


def _key(number: int, entry: object, looks: Mapping[str, Look], folder: Path) -> Key:
    where = f"Entry {number} of the timeline"
    if not isinstance(entry, Mapping):
        raise InputError(f"{where} is not an object but {entry!r}.")
    unknown = set(entry) - set(_FIELDS)
    if unknown:
        raise InputError(
            f"{where} has the unknown field {sorted(unknown)[0]!r}; valid: {', '.join(_FIELDS)}."
        )
    at, fade = (
        _field(entry, name, where, default) for name, default in (("at", None), ("fade", 0.4))
    )
    easing = entry.get("easing", "ease")
    if easing not in EASINGS:
        raise InputError(f"{where}: easing must be one of {', '.join(EASINGS)}; got {easing!r}.")
    names = {name: entry.get(name, "") for name in ("emotion", "au")}
    for name, value in names.items():
        if not isinstance(value, str):
            raise InputError(f"{where}: {name} must be text; got {value!r}.")
    try:
        intensity = check_intensity(_field(entry, "intensity", where, 1.0))
        like = _like(entry, folder)
        emotion = Emotion.parse(
            names["emotion"], au=names["au"], intensity=intensity, looks=looks, like=like
        )
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return Key(at, emotion, max(fade, _SHORTEST_FADE), easing)


_FIELDS: Final = ("at", "emotion", "au", "like", "neutral", "intensity", "fade", "easing")


def _like(entry: Mapping[str, Any], folder: Path) -> Look | None:
    """The look of the files an entry names."""
    several: dict[str, list[Path]] = {}
    for name in ("like", "neutral"):
        value = entry.get(name, [])
        paths = [value] if isinstance(value, str) else value
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise InputError(f"{name} must be a file or a list of files; got {value!r}.")
        several[name] = [folder / path for path in paths]
    if not several["like"]:
        if several["neutral"]:
            raise InputError("neutral belongs to like, which is missing.")
        return None
    from mien.emotion.resolve_mesh import look_like

    look, _ = look_like(several["like"], several["neutral"])
    return look


def _field(entry: Mapping[str, Any], name: str, where: str, default: float | None) -> float:
    value = entry.get(name, default)
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not good or value is None or value < 0:
        raise InputError(
            f"{where}: {name} must be seconds from 0 upwards; got {value!r}."
            if name != "intensity"
            else f"{where}: intensity must be a number from 0 to {MOST}; got {value!r}."
        )
    return float(value)


def turns_of(request: Request) -> tuple[float, ...]:
    """Seconds at which everything a request wants has been wanted once."""
    keys = request.keys if isinstance(request, Timeline) else ()
    return (0.0, *(key.at + key.fade for key in keys))


def terms_at(request: Request, time: float) -> list[tuple[Emotion, float]]:
    """What a request is made of at ``time`` seconds: emotions and how much of each.

    For engines that know emotions by other things than action units.

    Raises:
        InputError: for requests of another kind.
    """
    if isinstance(request, Emotion):
        return [(request, 1.0)]
    if not isinstance(request, Timeline):
        raise InputError(f"This engine cannot use a {type(request).__name__}.")
    terms: list[tuple[Emotion, float]] = []
    for key, share in request.shares(time):
        terms = [(emotion, weight * (1 - share)) for emotion, weight in terms]
        terms.append((key.emotion, share))
    return [(emotion, weight * request.intensity) for emotion, weight in terms]
