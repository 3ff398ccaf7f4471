"""Another person's expression over time, read from a film: brows, eyes, cheeks, smile and head.

Every frame is compared with the same person at rest, in the frames in which they show the least.
The differences become units of the rig, so that another face takes over how they move, not who
they are. A lasting expression, such as a smile, is in no difference; the part of it that exceeds
the shape of faces comes from the reader of expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from mien.engines.mesh import rig
from mien.errors import FaceNotFoundError
from mien.face.facs import INDEX, Expression, read_expression
from mien.face.follow import Face, follow
from mien.face.pose import head_pose
from mien.face.topology import EYES
from mien.face.tracker import FaceTracker
from mien.media.container import MAX_PIXELS
from mien.media.read import VideoReader
from mien.utils.numeric import smoothstep

Array = npt.NDArray[np.float64]

_FOLLOWED: Final = {
    "1": (1.4, 0.45, 0.95),
    "2": (1.6, 0.4, 0.9),
    "4": (1.2, 0.6, 1.1),
    "5": (0.9, 0.3, 1.0),
    "7": (0.9, 0.3, 1.0),
    "12": (1.3, 0.14, 0.6),
    "15": (1.1, 0.13, 0.4),
}
"""Units that are taken over, with three numbers each: a factor on their differences, because the
fit underestimates units that move the same skin; the reading up to which a unit counts as the shape
of the face; and the reading of a whole activation. Units of speech are not among them."""

_CHEEKS: Final = 0.7
"""Cheek raise (6), which landmarks do not show, per unit of a smile."""

_MOST: Final = 1.3

_RESTING: Final = 0.2
"""Share of the frames, those in which a person shows the least, that count as rest."""

_USUAL, _NOISE = 0.5, 0.03
"""Usual strength of a unit, and error of a landmark in eye distances, when units are told apart."""

_SPOKEN: Final = 0.2
"""Smile and lowered corners that may be the shape of speech."""

_BROW_SECONDS, _LIP_SECONDS, _HEAD_SECONDS = 0.06, 0.22, 0.06
"""Spread of the weights with which readings are smoothed: speech pulls at the corners of the lips,
and what is slower than speech is a smile."""

_SHUT, _OPEN = 0.3, 0.7
"""Openings of an eye, relative to its usual one, at which it is closed and open."""

_EASE_SECONDS: Final = 0.5
"""Time in which everything comes to rest behind the end of the film."""

_LIMITS: Final = (0.3, 0.22, 0.2)
"""Largest yaw, pitch and roll that are taken over, radians."""

_HEAD_SHARE: Final = 0.8
"""Share of small turns of the head that is taken over."""


class Driven(NamedTuple):
    """What the person does at one moment.

    Attributes:
        expression: action units ``float32 (D,)``, relative to the face at rest.
        turn: yaw to the right of the image, pitch down and roll clockwise of the head, radians,
            relative to its usual pose.
        blink: 0 (open) .. 1 (closed).
        weight: 0 where nothing is known of the person .. 1.
    """

    expression: Expression
    turn: tuple[float, float, float]
    blink: float
    weight: float


@dataclass(frozen=True, eq=False)
class Driver:
    """A person's expression over time.

    Attributes:
        times: seconds ``(T,)``, rising.
        expressions: action units ``(T, D)``.
        turns: yaw, pitch and roll ``(T, 3)``, radians.
        blinks: ``(T,)``.
        weights: ``(T,)``, 0 where the person is not seen.
    """

    times: Array
    expressions: Array
    turns: Array
    blinks: Array
    weights: Array

    @property
    def seconds(self) -> float:
        """Length of the film."""
        return float(self.times[-1])

    def at(self, time: float) -> Driven:
        """Return what the person does at ``time`` seconds; nothing behind the end of the film."""
        after = float(np.clip((time - self.seconds) / _EASE_SECONDS, 0, 1))
        weight = float(np.interp(time, self.times, self.weights) * (1 - smoothstep(after)))
        at = int(np.clip(np.searchsorted(self.times, time), 1, max(1, len(self.times) - 1)))
        low, high = at - 1, min(at, len(self.times) - 1)
        span = self.times[high] - self.times[low]
        share = float(np.clip((time - self.times[low]) / span, 0, 1)) if span > 0 else 0.0

        def between(values: Array) -> Array:
            return values[low] + share * (values[high] - values[low])

        yaw, pitch, roll = (weight * between(self.turns)).tolist()
        expression = (weight * between(self.expressions)).astype(np.float32)
        return Driven(expression, (yaw, pitch, roll), weight * float(between(self.blinks)), weight)


def read_driver(
    path: Path,
    max_pixels: int = MAX_PIXELS,
    seconds: float | None = None,
    on_frame: Callable[[], None] = lambda: None,
) -> Driver:
    """Read the largest face of a film.

    Args:
        path: the film.
        max_pixels: largest width x height of its frames.
        seconds: how much of it is needed; None for all.
        on_frame: called after every frame; may raise to stop.

    Raises:
        InputError: when it cannot be read.
        FaceNotFoundError: when it shows nobody.
    """
    times: list[float] = []
    seen: list[_Reading | None] = []
    person: int | None = None
    with VideoReader(path, max_pixels) as reader, closing(FaceTracker()) as tracker:
        for item in follow(reader, tracker):
            if seconds is not None and float(item.frame.time) > seconds:
                break
            if item.faces and person not in {face.id for face in item.faces}:
                person = max(item.faces, key=_size).id
            times.append(float(item.frame.time))
            face = next((face for face in item.faces if face.id == person), None)
            seen.append(None if face is None else _read(face))
            on_frame()
    if not any(seen):
        raise FaceNotFoundError(
            f"No usable face was found in {path}, whose expression is to be followed."
        )
    return _driver(np.array(times), seen)


def _size(face: Face) -> float:
    return float(np.ptp(face.landmarks[:, :2], axis=0).prod())


class _Reading(NamedTuple):
    """What is kept of a face in one frame.

    Attributes:
        units: of the rig, up to a constant of the person, ``(D,)``.
        beyond: by how much readings of followed units exceed the shape of faces, ``(D,)``.
        gap: opening of the eyes, eye distances.
        rotation: of the head, ``(3, 3)``.
        weight: of the face, 0..1.
    """

    units: Array
    beyond: Array
    gap: float
    rotation: Array
    weight: float


def _read(face: Face) -> _Reading:
    pose = head_pose(face.landmarks)
    head = pose.to_head(face.landmarks)
    units = _fit() @ head[:, :2].ravel()
    gap = float(np.mean([_gap(head, eye.upper_lid, eye.lower_lid) for eye in EYES.values()]))
    return _Reading(units, _beyond_shape(read_expression(head)), gap, pose.rotation, face.weight)


def _driver(times: Array, seen: Sequence[_Reading | None]) -> Driver:
    known = [i for i, reading in enumerate(seen) if reading is not None]
    readings = [reading for reading in seen if reading is not None]
    place = np.arange(len(times))

    def everywhere(values: Array) -> Array:
        """Fill the frames in which the person is not seen."""
        columns = values.reshape(len(known), -1).T
        return np.stack([np.interp(place, known, column) for column in columns], 1)

    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    closed = _blinks(np.array([reading.gap for reading in readings]))
    beyond = np.stack([reading.beyond for reading in readings])
    resting = np.argsort(beyond.sum(1) + closed)[: max(1, round(_RESTING * len(readings)))]
    units = np.stack([reading.units for reading in readings])
    units = everywhere(units - units[resting].mean(0) + beyond[resting].mean(0))
    blinks = everywhere(closed)[:, 0]
    weights = np.zeros(len(times))
    weights[known] = [reading.weight for reading in readings]
    rotations = np.stack([reading.rotation for reading in readings])
    turns = _smooth(everywhere(_turns(rotations)), _HEAD_SECONDS / step)
    return Driver(times, _shown(units, blinks, step), turns, blinks, weights)


def _beyond_shape(reading: Expression) -> Array:
    """Return by how much readings ``(D,)`` of followed units exceed the shape of faces."""
    out = np.zeros(len(reading))
    for unit, (_, shape, whole) in _FOLLOWED.items():
        for at in (INDEX[f"{unit}L"], INDEX[f"{unit}R"]):
            out[at] = max(float(reading[at]) - shape, 0) / (whole - shape)
    return out


@lru_cache(maxsize=1)
def _fit() -> Array:
    """Return the matrix ``(D, 956)`` from displacements across and down to units of the rig."""
    fields = rig.fields()[..., :2].reshape(len(INDEX), -1)
    prior = (_NOISE / _USUAL) ** 2 * np.eye(len(INDEX))
    return np.linalg.solve(fields @ fields.T + prior, fields).astype(np.float64)


def _shown(units: Array, blinks: Array, step: float) -> Array:
    """Return the expressions to take over ``(T, D)``.

    Args:
        units: differences from the person at rest, and what they show even there, ``(T, D)``.
        blinks: ``(T,)``.
        step: seconds between frames.
    """
    out = np.zeros_like(units)
    for unit, (gain, _, _) in _FOLLOWED.items():
        for side in "LR":
            at = INDEX[f"{unit}{side}"]
            shown = gain * units[:, at]
            if unit in ("5", "7"):
                shown = shown * (1 - blinks)
            lips = unit in ("12", "15")
            shown = _smooth(shown[:, None], (_LIP_SECONDS if lips else _BROW_SECONDS) / step)[:, 0]
            if lips:
                shown = (shown - _SPOKEN) / (1 - _SPOKEN)
            out[:, at] = np.clip(shown, 0, _MOST)
    for side in "LR":
        out[:, INDEX[f"6{side}"]] = _CHEEKS * out[:, INDEX[f"12{side}"]]
    return out


def _blinks(gaps: Array) -> Array:
    """Return how far the eyes are closed, ``(T,)``, relative to their usual opening."""
    usual = max(float(np.median(gaps)), 1e-3)
    out: Array = smoothstep(np.clip((_OPEN - gaps / usual) / (_OPEN - _SHUT), 0, 1))
    return out


def _gap(head: Array, upper: tuple[int, ...], lower: tuple[int, ...]) -> float:
    return float(np.abs(head[list(lower), 1] - head[list(upper), 1]).max())


def _turns(rotations: Array) -> Array:
    """Return yaw, pitch and roll ``(T, 3)`` relative to the usual pose, softly limited."""
    mean = rotations.mean(0)
    u, _, vt = np.linalg.svd(mean)
    usual = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    relative = np.einsum("ji,tjk->tik", usual, rotations)
    yaw = np.arctan2(relative[:, 2, 0], relative[:, 2, 2])
    pitch = np.arcsin(np.clip(relative[:, 2, 1], -1, 1))
    roll = np.arctan2(-relative[:, 0, 1], relative[:, 1, 1])
    limits = np.array(_LIMITS)
    out: Array = limits * np.tanh(_HEAD_SHARE * np.stack([yaw, pitch, roll], 1) / limits)
    return out


def _smooth(values: Array, sigma: float) -> npt.NDArray[Any]:
    """Average ``(T, K)`` along time with Gaussian weights of ``sigma`` frames."""
    if sigma < 0.2 or len(values) < 2:
        return values
    return cv2.GaussianBlur(
        np.ascontiguousarray(values), (1, 0), sigmaX=0.1, sigmaY=sigma,
        borderType=cv2.BORDER_REPLICATE,
    ).reshape(values.shape)  # fmt: skip
