"""Edit a live stream of pictures, such as a camera's."""

from __future__ import annotations

import math
import threading
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np

from mien.emotion.request import Request, build_request
from mien.emotion.resolve_mesh import MeshResolver
from mien.engines.mesh import MeshEngine
from mien.engines.mesh.engine import NeutralEstimate
from mien.errors import InputError
from mien.face.facs import Expression
from mien.face.follow import FaceFollower
from mien.face.select import FaceChoice
from mien.face.tracker import FaceTracker
from mien.media.arrays import FASTEST, as_image
from mien.media.frame import ArrayPicture, Picture, RGBImage
from mien.pipelines.footage import selector_for
from mien.pipelines.mesh_edit import expression_change
from mien.pipelines.start import checked_provenance
from mien.provenance.label import LiveLabel
from mien.provenance.mark import marked
from mien.utils.closing import Closing
from mien.utils.numeric import is_number
from mien.utils.text import shown

if TYPE_CHECKING:
    from mien.media.arrays import ImageInput

_EASE_SECONDS: Final = 0.15
"""Time constant with which a new request, or a better estimate of the face at rest, takes over."""


class Editor(Closing):
    """Edits live pictures, each without waiting for later ones.

        with mien.Editor("happy:0.7", face="all") as editor:
            for image in camera:
                show(editor(image))

    ``emotion`` may be set at any time; the face eases into it. The person's own expression is
    estimated on the way. Use it as a context manager, or call ``close``; it refuses pictures after
    that. Threads may share it: their pictures take turns.

    Args:
        emotion: an ``Emotion``, ``Timeline`` or text such as ``"sad:0.6"``.
        face: ``"largest"``, ``"all"``, a number from 1 as text, or the path of a picture of the
            person, as in :func:`mien.edit`.
        rate: pictures per second where no times are given.
        provenance: whether edited faces carry the imperceptible mark.
        label: language of a visible label ("AI edited"): ``"en"``, ``"de"`` …; None for no label.

    Raises:
        InputError: for a request, choice or setting that cannot be used.
    """

    def __init__(
        self,
        emotion: Request | str,
        *,
        face: str = "largest",
        rate: float = 25.0,
        provenance: bool = True,
        label: str | None = None,
    ) -> None:
        if not is_number(rate) or not 0 < rate <= FASTEST:
            raise InputError(
                f"rate must be pictures per second, up to {FASTEST:.0f}; got {shown(rate)}."
            )
        self._provenance = checked_provenance(provenance)
        self._label = LiveLabel(label, created=False)
        self._selector = selector_for(FaceChoice.parse(face))
        self.emotion = emotion
        self._engine = MeshEngine()
        self._tracker = FaceTracker()
        self._follower = FaceFollower(self._tracker)
        self._baselines: dict[int, NeutralEstimate] = {}
        self._drawn: dict[int, Expression] = {}
        self._step = 1 / Fraction(rate).limit_denominator(100_000)
        self._time: Fraction | None = None
        self._turn = threading.Lock()
        self._closed = False

    @property
    def emotion(self) -> Request:
        """The emotion that is asked for now."""
        return self._emotion

    @emotion.setter
    def emotion(self, request: Request | str) -> None:
        self._emotion, self._resolver = live_request(request)

    def __call__(self, image: ImageInput, time: float | Fraction | None = None) -> RGBImage:
        """Return ``image`` with the chosen faces edited, RGB ``uint8 (H, W, 3)``.

        Args:
            image: such an array, or a PIL image. It is not changed, and returned as it is where
                there is no face.
            time: seconds; must grow. Without it pictures are ``1 / rate`` apart.

        Raises:
            InputError: for another array, a time that does not grow, or an editor that is closed.
        """
        picture = as_image(image, "Pictures")
        if time is not None and not (is_number(time) or isinstance(time, Fraction)):
            raise InputError(f"time must be seconds; got {shown(time)}.")
        with self._turn:
            if self._closed:
                raise InputError("This Editor is closed; open another one.")
            return self._edited(ArrayPicture(picture), time)

    def _edited(self, picture: Picture, time: float | Fraction | None) -> RGBImage:
        last = self._time
        now = (
            Fraction(time)
            if time is not None
            else (last + self._step if last is not None else Fraction(0))
        )
        if last is not None and now <= last:
            raise InputError(f"Times must grow; got {float(now)} after {float(last)}.")
        self._time = now
        share = eased(float(now - last)) if last is not None else np.float32(0)
        faces = self._follower.update(picture, now)
        for face in self._selector.pick(faces, self._follower.cut):
            baseline = self._baselines.setdefault(face.id, NeutralEstimate())
            baseline.observe(self._engine.encode(picture, face))
            wanted = expression_change(self._resolver.at(float(now)), baseline.own)
            change = self._drawn.get(face.id, wanted)
            change = change + share * (wanted - change)
            self._drawn[face.id] = change
            drawn = self._engine.render(picture, face, change)
            if self._provenance and drawn is not picture:
                drawn = marked(drawn, face.landmarks, face.weight)
            picture = drawn
        return self._label.drawn_on(picture).image()

    def close(self) -> None:
        """Release the nets."""
        with self._turn:
            if not self._closed:
                self._closed = True
                self._tracker.close()


def live_request(request: Request | str) -> tuple[Request, MeshResolver]:
    """Return a checked request, and what turns it into action units of a face that may speak.

    Raises:
        InputError: for one that cannot be used, or that needs the voice of a clip.
    """
    emotion = build_request(request)
    resolver = MeshResolver(emotion, speaking=True)
    resolver.check()
    return emotion, resolver


def eased(seconds: float) -> np.float32:
    """Return how far a new request has taken over after some time, 0..1."""
    return np.float32(1 - math.exp(-seconds / _EASE_SECONDS))
