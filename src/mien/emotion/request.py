"""What the user asks for: an emotion, a mix, action units, or a timeline of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NotRequired, Self, TypedDict

from mien.emotion.captions import SUBTITLES, TEXT, entries_of
from mien.emotion.references import (
    Files,
    OwnVoice,
    Reference,
    ReferenceDescription,
    describe_reference,
    paths_of,
    reference_to,
)
from mien.emotion.synonyms import suggest
from mien.errors import InputError
from mien.face.facs import ACTION_UNITS, MIDLINE, NAMED, PAIRED
from mien.media.container import existing_file
from mien.utils.numeric import is_number, smoothstep
from mien.utils.text import shown

MAX_INTENSITY: Final = 1.5
"""Largest intensity; 1 is a clear, natural expression."""

AUTO: Final = "auto"
"""Name of the emotion that follows the clip's own voice."""

NAMES: Final = tuple(NAMED)
"""Emotions that have a name."""


class Recognition(TypedDict):
    """What was recognised in a voice or a face: the likeliest label and its probability."""

    emotion: str
    confidence: float


def recognition(emotion: str, probability: float) -> Recognition:
    """Describe what was recognised."""
    return {"emotion": emotion, "confidence": round(probability, 3)}


class EmotionDescription(TypedDict):
    """An emotion in reports: strengths by name, references as ``looks``."""

    labels: dict[str, float]
    action_units: dict[str, float]
    looks: list[ReferenceDescription]
    intensity: float
    follows: NotRequired[str]
    heard: NotRequired[dict[str, Recognition]]
    seen: NotRequired[dict[str, Recognition]]


class KeyframeDescription(EmotionDescription):
    """An entry of a timeline in reports."""

    at: float
    fade: float
    easing: str


class TimelineDescription(TypedDict):
    """A timeline in reports."""

    timeline: list[KeyframeDescription]
    intensity: float
    follows: NotRequired[str]
    heard: NotRequired[dict[str, Recognition]]
    seen: NotRequired[dict[str, Recognition]]


RequestDescription = EmotionDescription | TimelineDescription
"""A request in reports, as plain values; ``follows`` names the prosody that scales it, and
``heard`` says what the listener recognised in each voice, ``seen`` what was recognised in the face
of a clip beside its voice."""


@dataclass(frozen=True, slots=True)
class Emotion:
    """A mix of emotions, action units, voices and faces.

    Attributes:
        labels: emotions (``NAMES``) and how strong each is.
        units: action units added on top, as names of ``ACTION_UNITS`` or without side.
        references: voices and faces, unresolved, and how strong each is.
        intensity: factor on all of it, 0..1.5.
    """

    labels: tuple[tuple[str, float], ...] = ()
    units: tuple[tuple[str, float], ...] = ()
    references: tuple[tuple[Reference, float], ...] = ()
    intensity: float = 1.0

    def __post_init__(self) -> None:
        check_intensity(self.intensity)
        for name, strength in _pairs(self.labels, "labels"):
            _check_name(name)
            check_intensity(strength, f"The strength of {name}")
        for name, strength in _pairs(self.units, "units"):
            if not isinstance(name, str) or name not in (*ACTION_UNITS, *PAIRED):
                valid = ", ".join((*PAIRED, *MIDLINE, "and 12L, 12R … per side"))
                raise InputError(f"There is no action unit {shown(name)}. Valid: {valid}.")
            check_intensity(strength, f"The strength of action unit {name}")
        for reference, strength in _pairs(self.references, "references"):
            if not isinstance(reference, Reference):
                raise InputError(f"A reference must be a voice or face; got {shown(reference)}.")
            check_intensity(strength, "The strength of a voice or face")

    @classmethod
    def parse(
        cls,
        text: str = "",
        *,
        au: str = "",
        intensity: float = 1.0,
        like: Files | None = None,
        neutral: Files | None = None,
    ) -> Self:
        """Read ``sad``, ``sad:0.6``, ``happy:0.7,surprised:0.4`` and ``12L=0.8,4=0.5``.

        Args:
            text: emotions, separated by commas, each with an optional strength; ``auto`` follows
                the clip's own voice.
            au: action units, separated by commas; ``12`` means both sides, ``45`` is 43.
            intensity: factor on all of it.
            like: voices, or one face, whose emotion is added in full. They are not decoded here.
            neutral: the neutral voice of the speaker of ``like``, or of the clip with ``auto``.

        Raises:
            InputError: for names that do not exist, numbers out of range, missing files and values
                of other types.
        """
        _check_text(text, "emotion", "text such as 'sad:0.6' or an Emotion or Timeline")
        _check_text(au, "au", "text such as '12L=0.8,4=0.5'")
        plain = paths_of(neutral, "neutral")
        labels: list[tuple[str, float]] = []
        own_voice: list[tuple[Reference, float]] = []
        for part in filter(None, (p.strip() for p in text.split(","))):
            name, colon, strength = part.partition(":")
            name = name.strip().lower()
            value = _number(strength, f"The strength of {name}") if colon else 1.0
            if name == AUTO:
                own_voice.append((OwnVoice(plain), value))
            else:
                labels.append((name, value))
        units = []
        for part in filter(None, (p.strip() for p in au.split(","))):
            name, equals, strength = part.partition("=")
            name = name.strip().upper().removeprefix("AU").replace("45", "43")
            what = f"The strength of action unit {shown(name)}"
            units.append((name, _number(strength, what) if equals else 1.0))
        paths = paths_of(like, "like")
        if plain and not paths and not own_voice:
            raise InputError("neutral belongs to like or to the emotion auto; name one of them.")
        references = [(reference_to(paths, plain), 1.0)] if paths else []
        if not labels and not units and not references and not own_voice:
            raise InputError(
                "No emotion was named. Use --emotion (emotion=), --like, --au or --timeline; "
                f"emotions: {', '.join((*NAMES, AUTO))}."
            )
        return cls(tuple(labels), tuple(units), (*references, *own_voice), intensity)

    def describe(self, own_voice: Path | None = None) -> EmotionDescription:
        """Describe the emotion in plain values; ``own_voice`` is the file that ``auto`` follows."""
        return {
            "labels": dict(self.labels),
            "action_units": dict(self.units),
            "looks": [describe_reference(r, s, own_voice) for r, s in self.references],
            "intensity": self.intensity,
        }


_EASINGS: Final[Mapping[str, Callable[[float], float]]] = {
    "linear": lambda t: t,
    "ease": smoothstep,
    "ease-in": lambda t: t * t,
    "ease-out": lambda t: t * (2 - t),
}
EASINGS: Final = tuple(_EASINGS)

_SHORTEST_FADE_SECONDS: Final = 0.05
_MOST_SECONDS: Final = 10**7
_MOST_BYTES: Final = 10**7
_MOST_ENTRIES: Final = 10_000
_MOST_DIGITS: Final = 100
_LONGEST_NAME: Final = 100
_LONGEST_TEXT: Final = 2000


@dataclass(frozen=True, slots=True)
class Keyframe:
    """One entry of a timeline.

    Attributes:
        at: seconds at which the change begins.
        emotion: what it changes to.
        fade: seconds the change takes, at least 0.05, so that nothing jumps.
        easing: ``linear``, ``ease``, ``ease-in`` or ``ease-out``.
    """

    at: float
    emotion: Emotion
    fade: float = 0.4
    easing: str = "ease"

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", _check_seconds(self.at, "at"))
        fade = max(_check_seconds(self.fade, "fade"), _SHORTEST_FADE_SECONDS)
        object.__setattr__(self, "fade", fade)
        if not isinstance(self.emotion, Emotion):
            raise InputError(f"A keyframe holds an Emotion; got {shown(self.emotion)}.")
        if not isinstance(self.easing, str) or self.easing not in EASINGS:
            raise InputError(
                f"easing must be one of {', '.join(EASINGS)}; got {shown(self.easing)}."
            )


@dataclass(frozen=True, slots=True)
class Timeline:
    """Emotions over time. Before the first entry the face is left as it is.

    Attributes:
        keys: entries in the order of time.
        intensity: factor on all of them.
    """

    keys: tuple[Keyframe, ...]
    intensity: float = 1.0

    def __post_init__(self) -> None:
        check_intensity(self.intensity)
        if not isinstance(self.keys, tuple) or not all(isinstance(k, Keyframe) for k in self.keys):
            raise InputError(
                f"The keys of a timeline are a tuple of Keyframe; got {shown(self.keys)}."
            )

    @classmethod
    def load(cls, path: str | Path, intensity: float = 1.0) -> Self:
        """Read a timeline (JSON, see ``docs/timeline.md``), subtitles with tags, or a text file.

        Paths in it are relative to it.

        Raises:
            InputError: naming the entry and the field that cannot be used.
        """
        if not isinstance(path, str | Path):
            raise InputError(f"timeline must be the path of a file; got {shown(path)}.")
        try:
            path = existing_file(path)
        except InputError as error:
            raise InputError(
                f"The timeline (JSON, subtitles or text) cannot be opened. {error}"
            ) from error
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(
                f"The timeline {shown(path)} is larger than {_MOST_BYTES // 10**6} MB."
            )
        try:
            text = path.read_text(encoding="utf-8-sig")
        except ValueError as error:
            raise InputError(f"The timeline {shown(path)} is not UTF-8 text ({error}).") from error
        if path.suffix.lower() in (*SUBTITLES, TEXT):
            entries = entries_of(path, text, (*NAMES, AUTO))
            return cls.from_data(entries, intensity, path.parent)
        try:
            data = json.loads(text, parse_int=_integer, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise InputError(f"The timeline {shown(path)} is not valid JSON ({error}).") from error
        return cls.from_data(data, intensity, path.parent)

    @classmethod
    def from_data(cls, data: object, intensity: float = 1.0, folder: Path | None = None) -> Self:
        """Build a timeline from a list of entries, or an object with that list as ``timeline``.

        Files are relative to ``folder``.
        """
        if isinstance(data, Mapping):
            _check_fields(data, ("timeline",), "The timeline")
            data = data.get("timeline")
        if not isinstance(data, list) or not data:
            raise InputError('A timeline is a list of entries like {"at": 0, "emotion": "sad"}.')
        if len(data) > _MOST_ENTRIES:
            raise InputError(f"A timeline has at most {_MOST_ENTRIES} entries; got {len(data)}.")
        entries = (_keyframe(i, entry, folder or Path()) for i, entry in enumerate(data, 1))
        keys = sorted(entries, key=lambda k: k.at)
        return cls(tuple(keys), check_intensity(intensity))

    def shares(self, time: float) -> list[tuple[Keyframe, float]]:
        """Return the entries begun at ``time``, and how far each has taken over (0..1)."""
        return [
            (key, _EASINGS[key.easing](min(1.0, (time - key.at) / key.fade)))
            for key in self.keys
            if time > key.at
        ]

    def describe(self, own_voice: Path | None = None) -> TimelineDescription:
        """Describe the entries in plain values; see :meth:`Emotion.describe`."""
        return {
            "timeline": [
                {"at": k.at, "fade": k.fade, "easing": k.easing, **k.emotion.describe(own_voice)}
                for k in self.keys
            ],
            "intensity": self.intensity,
        }


Request = Emotion | Timeline
"""Anything that says which emotion is wanted at a time."""


def build_request(
    emotion: Request | str | None = None,
    *,
    au: str | None = None,
    timeline: str | Path | None = None,
    like: Files | None = None,
    neutral: Files | None = None,
    intensity: float = 1.0,
    optional: bool = False,
) -> Request:
    """Build one request out of the ways to ask for it; arguments as in :func:`mien.edit`.

    Files are opened to see what they are, never decoded. Where it is ``optional``, nothing may be
    asked for.

    Raises:
        InputError: when nothing was asked for, too much at once, or a value has another type.
    """
    if optional and all(way is None for way in (emotion, au, timeline, like, neutral)):
        return Emotion(intensity=intensity)
    if timeline is not None:
        if emotion is not None or au is not None or like is not None:
            raise InputError("--timeline excludes --emotion, --au and --like.")
        return _with_neutral(Timeline.load(timeline, intensity), paths_of(neutral, "neutral"))
    if isinstance(emotion, Emotion | Timeline):
        if au is not None or intensity != 1.0 or like is not None or neutral is not None:
            raise InputError(
                "An Emotion or Timeline object carries its own action units, references and "
                "intensity; leave au, like, neutral and intensity out."
            )
        return emotion
    return Emotion.parse(
        "" if emotion is None else emotion,
        au="" if au is None else au,
        intensity=intensity,
        like=like,
        neutral=neutral,
    )


def emotions_of(request: Request) -> tuple[Emotion, ...]:
    """Return the emotions that a request is made of."""
    if isinstance(request, Timeline):
        return tuple(key.emotion for key in request.keys)
    return (request,)


def references_of(request: Request) -> Iterator[Reference]:
    """Yield the voices and faces that a request refers to."""
    for emotion in emotions_of(request):
        for reference, _ in emotion.references:
            yield reference


def settled_times(request: Request) -> tuple[float, ...]:
    """Return the seconds at which each part of a request has taken over entirely."""
    keys = request.keys if isinstance(request, Timeline) else ()
    return (0.0, *(key.at + key.fade for key in keys))


def weighted_emotions(request: Request, time: float) -> list[tuple[Emotion, float]]:
    """Return the emotions that make up a request at ``time`` seconds, and their weights."""
    if isinstance(request, Emotion):
        return [(request, 1.0)]
    terms: list[tuple[Emotion, float]] = []
    for key, share in request.shares(time):
        terms = [(emotion, weight * (1 - share)) for emotion, weight in terms]
        terms.append((key.emotion, share))
    return [(emotion, weight * request.intensity) for emotion, weight in terms]


def check_intensity(value: float, what: str = "The intensity") -> float:
    """Return ``value`` if it is an intensity.

    Raises:
        InputError: for NaN, infinity, negative or too large values, and what is no number.
    """
    if not is_number(value) or not 0 <= value <= MAX_INTENSITY:
        raise InputError(f"{what} must be a number from 0 to {MAX_INTENSITY}; got {shown(value)}.")
    return float(value)


def _number(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise InputError(
            f"{what} must be a number from 0 to {MAX_INTENSITY}; got {shown(text)}."
        ) from None
    return check_intensity(value, what)


def _check_seconds(value: float, what: str) -> float:
    if not is_number(value) or not 0 <= value <= _MOST_SECONDS:
        raise InputError(f"{what} must be seconds from 0 upwards; got {shown(value)}.")
    return float(value)


def _pairs(value: object, what: str) -> tuple[tuple[Any, Any], ...]:
    good = isinstance(value, tuple) and all(isinstance(p, tuple) and len(p) == 2 for p in value)
    if not good:
        raise InputError(f"{what} must be a tuple of pairs; got {shown(value)}.")
    pairs: tuple[tuple[Any, Any], ...] = value  # type: ignore[assignment]
    return pairs


def _check_name(name: str) -> None:
    if isinstance(name, str) and name in NAMES:
        return
    near = suggest(name, NAMES) if isinstance(name, str) and len(name) < _LONGEST_NAME else ""
    hint = f" Did you mean {near}?" if near else ""
    valid = ", ".join((*NAMES, AUTO))
    raise InputError(f"There is no emotion {shown(name)}.{hint} Valid: {valid}.")


def _check_text(value: object, name: str, expected: str) -> None:
    if not isinstance(value, str):
        raise InputError(f"{name} must be {expected}; got {type(value).__name__}.")
    if len(value) > _LONGEST_TEXT:
        raise InputError(
            f"{name} is limited to {_LONGEST_TEXT} characters; got {len(value)}: {shown(value)}."
        )


def _with_neutral(timeline: Timeline, neutral: tuple[Path, ...]) -> Timeline:
    """Give the ``auto`` entries of a timeline that have no neutral voice this one."""
    if not neutral:
        return timeline
    if not any(isinstance(reference, OwnVoice) for reference in references_of(timeline)):
        raise InputError("neutral belongs to like or auto; the timeline has its own.")

    def filled(emotion: Emotion) -> Emotion:
        references = tuple(
            (OwnVoice(reference.neutral or neutral), strength)
            if isinstance(reference, OwnVoice)
            else (reference, strength)
            for reference, strength in emotion.references
        )
        return replace(emotion, references=references)

    keys = tuple(replace(key, emotion=filled(key.emotion)) for key in timeline.keys)
    return replace(timeline, keys=keys)


_FIELDS: Final = ("at", "emotion", "au", "like", "neutral", "intensity", "fade", "easing")


def _keyframe(number: int, entry: object, folder: Path) -> Keyframe:
    where = f"Entry {number} of the timeline"
    if not isinstance(entry, Mapping):
        raise InputError(f"{where} is not an object but {shown(entry)}.")
    _check_fields(entry, _FIELDS, where)
    for name in ("emotion", "au"):
        if not isinstance(entry.get(name, ""), str):
            raise InputError(f"{where}: {name} must be text; got {shown(entry[name])}.")
    try:
        files = {
            name: tuple(folder / path for path in paths_of(entry.get(name), name))
            for name in ("like", "neutral")
        }
        emotion = Emotion.parse(
            entry.get("emotion", ""),
            au=entry.get("au", ""),
            intensity=entry.get("intensity", 1.0),
            **files,
        )
        return Keyframe(
            entry.get("at", ""), emotion, entry.get("fade", 0.4), entry.get("easing", "ease")
        )
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _check_fields(data: Mapping[Any, Any], fields: Sequence[str], where: str) -> None:
    unknown = [name for name in data if name not in fields]
    if unknown:
        raise InputError(
            f"{where} has the unknown field {shown(unknown[0])}; valid: {', '.join(fields)}."
        )


def _integer(text: str) -> int:
    """Parse an integer of a timeline; Python's own error for long ones advises programmers."""
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no number")
