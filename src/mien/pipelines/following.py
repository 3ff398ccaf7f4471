"""Let faces follow the expression of another person over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mien.emotion.resolve_mesh import EmotionTarget
from mien.engines.mesh.driver import Driven, Driver, read_driver
from mien.engines.mesh.idle_motion import HeadState
from mien.pipelines.job import Job


class Wanted(Protocol):
    """What says which expression is wanted at a time, such as a resolver."""

    def at(self, time: float) -> EmotionTarget:
        """Return what is wanted at ``time`` seconds."""


@dataclass(frozen=True, slots=True)
class Following:
    """A request, and on top of it the expression of another person.

    Attributes:
        request: what is asked for besides.
        driver: the person who is followed.
        intensity: factor on their expression.
    """

    request: Wanted
    driver: Driver
    intensity: float

    def at(self, time: float) -> EmotionTarget:
        """Return what is wanted at ``time`` seconds; the own expression of a face gives way."""
        target, driven = self.request.at(time), self.driver.at(time)
        shown = target.expression + np.float32(self.intensity) * driven.expression
        presence = max(target.presence, min(1.0, self.intensity) * driven.weight)
        return EmotionTarget(shown.astype(np.float32), presence)


def following(job: Job, request: Wanted, seconds: float | None) -> Following | None:
    """Read the film that a job follows, as far as ``seconds``; None where it follows none.

    Raises:
        InputError: when it cannot be read.
        FaceNotFoundError: when it shows nobody.
    """
    if job.follow is None:
        return None
    driver = read_driver(job.follow, job.max_pixels, seconds, lambda: job.step(0, None))
    return Following(request, driver, job.request.intensity)


def shorter(followed: Following | None, job: Job, seconds: float) -> tuple[str, ...]:
    """Say, as a warning, where the film that is followed ends before the output does."""
    if followed is None or followed.driver.seconds + 1 >= seconds:
        return ()
    length = followed.driver.seconds
    return (f"{job.follow} lasts {length:.1f} s; behind that nobody is followed.",)


def followed_head(idle: HeadState, driven: Driven) -> HeadState:
    """Return the state of a head that follows a person as far as they are known."""
    share = driven.weight
    turns = ((1 - share) * own + other for own, other in zip(
        (idle.yaw, idle.pitch, idle.roll), driven.turn, strict=True
    ))  # fmt: skip
    yaw, pitch, roll = turns
    return HeadState(
        yaw, pitch, roll, idle.rise, (1 - share) * idle.blink + driven.blink, idle.gaze
    )
