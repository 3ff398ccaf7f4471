"""Who is who: give the faces of one frame after another to people, by place and appearance.

A face alone near the place where a person was keeps that person's id, and its appearance is checked
twice a second. Where two faces come close, one covers another, or somebody appears, appearance
decides; a face that cannot be told yet belongs to nobody for the moment.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.face.crop import Square, face_square
from mien.face.recognition import Appearance, mean_appearance
from mien.face.topology import Landmarks

Thumbnail = npt.NDArray[np.int16]

SAME: Final = 0.5
"""Likeness from which a face is recognised as a person who was elsewhere or away."""

_KEEP: Final = 0.4
"""Likeness from which a face at a person's place is still that person's."""

_OTHER: Final = 0.25
"""Likeness below which a face after an abrupt change is somebody else's at once."""

_MARGIN: Final = 0.1
"""How much more alike than anybody else a recognised person must be."""

_OWN_PLACE: Final = 0.1
"""Likeness that a person's own place is worth when faces are given to people."""

_NOVEL: Final = 0.85
"""Likeness below which a check adds to what is known of a person's looks."""

_LOOKS: Final = 8
"""How many looks of a person are kept: the first and the latest."""

_REACH: Final = 0.6
"""How far a face may move between frames, in face sizes."""

_SUDDEN: Final = 0.2
"""Motion between frames after which a face is checked, in face sizes."""

_NEAR: Final = 1.2
_TOUCHING: Final = 0.85
"""Distances, in face sizes, at which faces are checked more often, and in every frame."""

_COVERED: Final = 0.6
"""Likeness below which the less alike one of two touching faces counts as covered."""

_EARLY: Final = 0.5
"""Seconds in which a new person is checked as often as people near each other."""

_CHECK: Final = 0.5
_CHECK_NEAR: Final = 0.15
"""Seconds between checks of a person's appearance."""

_STRIKES: Final = 3
"""Failed checks in a row after which a face alone is somebody else's."""

_PATIENCE: Final = 0.4
_PATIENCE_TOUCHING: Final = 1.5
"""Seconds after which a stranger, or one who touches another face, becomes a new person."""

_AWAY: Final = 0.5
"""Seconds out of sight after which an edit fades in."""

_MEMORY: Final = 3.0
"""Seconds for which a person's last place counts."""

_STIRRED: Final = 8.0
_CUT: Final = 12.0
"""Mean changes of a thumbnail, grey levels, after which all faces are checked, and which make
somebody else in a person's place a cut."""

_REDRAWN: Final = 12
_REDRAWN_SHARE: Final = 0.6
"""Change in grey levels, and the share of a thumbnail that must change as much, for a dissolve."""


@dataclass(slots=True)
class Person:
    """What is known of a person.

    Attributes:
        id: from 1, in the order of appearance.
        looks: appearances at several times.
        square: the last place.
        seen: when the person was last seen, seconds.
        since: when the person appeared or came back, seconds.
        here: whether the last place is in this scene.
        covered: whether the face was hidden or could not be told when it was last looked for.
    """

    id: int
    looks: list[Appearance]
    square: Square
    seen: float
    since: float
    here: bool = True
    covered: bool = False
    checked: float = 0.0
    strikes: int = 0
    backdrop: Thumbnail | None = None

    @property
    def look(self) -> Appearance:
        """The mean of the looks."""
        return mean_appearance(self.looks)

    def likeness(self, look: Appearance) -> float:
        """Return the likeness to the most similar look."""
        return float(max(known @ look for known in self.looks))

    def remember(self, look: Appearance) -> None:
        """Add a look unless it is known."""
        if self.likeness(look) < _NOVEL:
            self.looks.append(look)
            if len(self.looks) > _LOOKS:
                del self.looks[1]


@dataclass(slots=True)
class _Found:
    """A face of this frame."""

    square: Square
    look: Callable[[], Appearance]
    owner: Person | None = None
    person: Person | None = None
    near: bool = False
    touching: bool = False
    seen: Appearance | None = None
    likeness: float = 1.0

    def appearance(self) -> Appearance:
        """Return the appearance, computed once."""
        if self.seen is None:
            self.seen = self.look()
        return self.seen


@dataclass(slots=True)
class _Stranger:
    """A face near others, or in somebody else's place, that is nobody's yet."""

    square: Square
    since: float
    seen: float


@dataclass(frozen=True, slots=True)
class Sighting:
    """Whose the faces of a frame are.

    Attributes:
        people: the person of every face, in the order given; None where that cannot be told yet.
        covered: ids of the people who are behind others or cannot be told from them.
        revoked: ids that were given wrongly, each with the last time (seconds) they were certain.
        new_scene: whether somebody else is in a person's place because the scene changed.
    """

    people: tuple[Person | None, ...]
    covered: frozenset[int]
    revoked: dict[int, float] = field(default_factory=dict)
    new_scene: bool = False


class People:
    """Everybody seen in a clip so far."""

    def __init__(self) -> None:
        self._people: list[Person] = []
        self._strangers: list[_Stranger] = []
        self._last = -np.inf

    def see(
        self,
        faces: Sequence[Landmarks],
        look: Callable[[Landmarks], Appearance],
        now: float,
        thumbnail: Thumbnail,
        *,
        cut: bool = False,
        change: float = 0.0,
    ) -> Sighting:
        """Tell whose the faces of the next frame are.

        Args:
            faces: landmarks of every face, ``(478, 3)`` pixels.
            look: computes the appearance of one of them.
            now: seconds.
            thumbnail: of the frame.
            cut: whether a new scene begins.
            change: mean change of the thumbnail since the last frame with a face, grey levels.
        """
        stirred = change > _STIRRED
        begins = cut or self._last == -np.inf
        if cut:
            self._strangers.clear()
            for person in self._people:
                person.here = person.covered = False
        here = [p for p in self._people if p.here and now - p.seen <= _MEMORY]
        found = [_Found(face_square(points), partial(look, points)) for points in faces]
        _give_places(found, here)
        missing = [p.square for p in here if all(face.owner is not p for face in found)]
        for face in found:
            others = missing + [other.square for other in found if other is not face]
            gap = min((_gap(face.square, other) for other in others), default=np.inf)
            face.near, face.touching = gap < _NEAR, gap < _TOUCHING
            if not (stirred or self._due(face, now)):
                face.person = face.owner
        self._recognise(found)
        _uncover(found)
        revoked: dict[int, float] = {}
        new_scene = False
        for face in found:
            owner = face.owner
            if face.person is None and owner is not None and not face.near:
                owner.strikes += 1
                sudden = change > _CUT and owner.likeness(face.appearance()) < _OTHER
                if owner.strikes < _STRIKES and not sudden:
                    face.person, face.seen = owner, None
                    continue
                revoked[owner.id], owner.here = owner.checked, False
                steady = owner.seen == self._last
                new_scene |= steady and (change > _CUT or _redrawn(owner.backdrop, thumbnail))
            if face.person is None and (begins or new_scene or self._is_new(face, now)):
                face.person = self._new(face.appearance(), face.square, now)
        for face in found:
            if face.person is not None:
                self._update(face.person, face, now, thumbnail, begins or new_scene)
        self._strangers = [s for s in self._strangers if s.seen >= now]
        covered: set[int] = set()
        for person in here:
            near = any(_gap(person.square, face.square) < _NEAR for face in found)
            if person.here and person.seen < now and (person.covered or near):
                person.covered = True
                covered.add(person.id)
        self._last = now
        people = tuple(face.person for face in found)
        return Sighting(people, frozenset(covered), revoked, new_scene)

    def _due(self, face: _Found, now: float) -> bool:
        """Return whether appearance has to decide whose a face is."""
        person = face.owner
        if person is None or face.touching or person.covered or person.strikes:
            return True
        if person.seen < self._last or _gap(person.square, face.square) > _SUDDEN:
            return True
        often = face.near or now - person.since < _EARLY
        return now - person.checked >= (_CHECK_NEAR if often else _CHECK)

    def _recognise(self, found: list[_Found]) -> None:
        """Give the faces that are nobody's yet to the people they look like."""
        given = [face.person for face in found]
        free = [p for p in self._people if all(p is not other for other in given)]
        pairs = [
            (face, person, person.likeness(face.appearance()))
            for face in found
            if face.person is None
            for person in free
        ]
        pairs.sort(key=lambda pair: -pair[2] - _OWN_PLACE * (pair[1] is pair[0].owner))
        for face, person, likeness in pairs:
            if face.person is not None or any(other.person is person for other in found):
                continue
            if person is not face.owner:
                rivals = [s for f, p, s in pairs if f is face and p is not person]
                if likeness < max(SAME, max(rivals, default=-1.0) + _MARGIN):
                    continue
            elif likeness < _KEEP:
                continue
            face.person, face.likeness = person, likeness

    def _is_new(self, face: _Found, now: float) -> bool:
        """Return whether a face that is nobody's shows a person not seen before."""
        same = (s for s in self._strangers if s.square.near(face.square, _REACH))
        stranger = next(same, None)
        if stranger is None:
            if not face.near and face.owner is None:
                return True
            stranger = _Stranger(face.square, now, now)
            self._strangers.append(stranger)
        stranger.square, stranger.seen = face.square, now
        return now - stranger.since >= (_PATIENCE_TOUCHING if face.touching else _PATIENCE)

    def _new(self, look: Appearance, square: Square, now: float) -> Person:
        person = Person(len(self._people) + 1, [look], square, now, now, here=False)
        self._people.append(person)
        return person

    def _update(
        self, person: Person, face: _Found, now: float, thumbnail: Thumbnail, begins: bool
    ) -> None:
        """Record where a person is, and how the person looks where that was checked."""
        if begins or not person.here or person.covered or now - person.seen > _AWAY:
            person.since = -np.inf if begins else now
        if face.seen is not None:
            if not face.touching:
                person.remember(face.seen)
            person.checked, person.strikes, person.backdrop = now, 0, thumbnail
        person.square, person.seen = face.square, now
        person.here, person.covered = True, False


def _give_places(found: list[_Found], people: list[Person]) -> None:
    """Set whose place every face is at: the nearest person's, each once."""
    pairs = [(face, person) for face in found for person in people]
    for face, person in sorted(pairs, key=lambda pair: _gap(pair[0].square, pair[1].square)):
        taken = any(other.owner is person for other in found)
        if face.owner is None and not taken and person.square.near(face.square, _REACH):
            face.owner = person


def _uncover(found: list[_Found]) -> None:
    """Take the face that is behind another one from its person."""
    for face, other in itertools.permutations(found, 2):
        if (
            face.person is not None
            and other.person is not None
            and face.likeness < min(_COVERED, other.likeness)
            and _gap(face.square, other.square) < _TOUCHING
        ):
            face.person = None


def _gap(one: Square, other: Square) -> float:
    """Return the distance of two faces in mean face sizes."""
    distance = float(np.hypot(one.x - other.x, one.y - other.y))
    return distance / max((one.side + other.side) / 2, 1e-6)


def _redrawn(before: Thumbnail | None, now: Thumbnail) -> bool:
    """Return whether nearly all of the picture changed."""
    if before is None or before.shape != now.shape:
        return False
    return bool((np.abs(before - now) > _REDRAWN).mean() > _REDRAWN_SHARE)
