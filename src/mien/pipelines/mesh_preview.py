"""Show single frames of a clip with an emotion, while its settings are being tried out."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

from mien.emotion.request import Request
from mien.emotion.resolve_mesh import MeshResolver
from mien.engines.mesh import MeshEngine, MeshSettings
from mien.errors import InputError
from mien.face.follow import Face
from mien.face.recognition import appearance
from mien.face.select import FaceChoice
from mien.face.tracker import FaceTracker
from mien.media.container import MAX_PIXELS
from mien.media.frame import Picture, RGBImage
from mien.media.read import VideoReader
from mien.media.size import check_size
from mien.media.still import open_still
from mien.pipelines.footage import nobody, open_footage, selector_for
from mien.pipelines.job import Job
from mien.pipelines.mesh_edit import OwnExpressions, expression_change
from mien.provenance.mark import marked
from mien.speech.analysis import VoiceAnalysis
from mien.utils.closing import Closing

_MOST_FACES: Final = 32
_KEPT_REQUESTS: Final = 8
_KEPT_FRAMES: Final = 4


@dataclass(frozen=True, slots=True)
class _Moment:
    """A frame, its time and the faces in it, left to right."""

    picture: Picture
    time: float
    faces: tuple[Face, ...]


class MeshPreview(Closing):
    """Frames of one video or picture with an emotion, as :func:`mien.api.edit` would show them.

    The nets, the last frames with their faces and the person's own expression stay in memory, so
    that another emotion on the same frame takes only the drawing. Use it as a context manager, or
    call ``close``.

    Args:
        source: the video or picture.
        max_pixels: largest width x height of its frames.

    Raises:
        InputError: when it cannot be read.
    """

    def __init__(self, source: Path, max_pixels: int = MAX_PIXELS) -> None:
        self._source, self._max_pixels = source, max_pixels
        check_size(source, max_pixels)
        self._still = Job(source, source).still
        self._stack = ExitStack()
        self._tracker = self._stack.enter_context(
            closing(FaceTracker(still=True, max_faces=_MOST_FACES))
        )
        self._engine = MeshEngine(MeshSettings(still=self._still))
        self._reader: VideoReader | None = None
        if not self._still:
            self._reader = self._stack.enter_context(VideoReader(source, max_pixels))
        self._own: OwnExpressions | None = None
        self._ids = count(1)  # appearance decides whether two frames show the same person
        self._moments: dict[float, _Moment] = {}
        self._resolvers: dict[Request, MeshResolver] = {}

    def __call__(self, request: Request, seconds: float = 0.0, face: str = "largest") -> RGBImage:
        """Return the frame shown at ``seconds`` with the chosen faces edited, RGB ``uint8``.

        Raises:
            InputError: for a request or choice that cannot be used.
            FaceNotFoundError: when the frame does not show the chosen face.
        """
        choice = FaceChoice.parse(face)
        resolver = self._resolver(request)
        moment = self._moment(seconds)
        chosen = selector_for(choice).pick(moment.faces)
        if not chosen:
            raise nobody(self._source, choice, len(moment.faces))
        picture = moment.picture
        target = resolver.at(moment.time)
        for one in chosen:
            delta = expression_change(target, self._own_expressions().of(one))
            drawn = self._engine.render(picture, one, delta)
            picture = picture if drawn is picture else marked(drawn, one.landmarks)
        return picture.image()

    def original(self, seconds: float = 0.0) -> RGBImage:
        """Return the frame shown at ``seconds`` as it is, RGB ``uint8``."""
        return self._moment(seconds).picture.image()

    def faces(self, seconds: float = 0.0) -> list[tuple[float, float, float, float]]:
        """Return the faces in a frame, left to right, as left, top, right, bottom in pixels."""
        boxes = []
        for face in self._moment(seconds).faces:
            low, high = face.landmarks[:, :2].min(0), face.landmarks[:, :2].max(0)
            boxes.append((float(low[0]), float(low[1]), float(high[0]), float(high[1])))
        return boxes

    def close(self) -> None:
        """Release the nets and the file."""
        self._stack.close()

    def _moment(self, seconds: float) -> _Moment:
        if self._still:
            seconds = 0.0
        if not 0 <= seconds < 10**7:
            raise InputError(f"The time must be seconds from 0 upwards; got {seconds}.")
        if seconds not in self._moments:
            if self._reader is None:
                picture: Picture = open_still(self._source, self._max_pixels)
                time = 0.0
            else:
                frame = self._reader.frame_at(seconds)
                picture, time = frame.picture, float(frame.time)
            found = sorted(self._tracker(picture), key=lambda points: float(points[:, 0].mean()))
            faces = tuple(
                Face(next(self._ids), points, look=appearance(picture, points)) for points in found
            )
            self._moments[seconds] = _Moment(picture, time, faces)
            if len(self._moments) > _KEPT_FRAMES:
                del self._moments[next(iter(self._moments))]
        return self._moments[seconds]

    def _own_expressions(self) -> OwnExpressions:
        """Return what people look like by themselves, as an edit of the clip would find it."""
        if self._still:
            return OwnExpressions(self._engine)
        if self._own is None:
            job = Job(self._source, self._source, max_pixels=self._max_pixels)
            with open_footage(job) as footage:
                self._own = OwnExpressions(self._engine, footage)
        return self._own

    def _resolver(self, request: Request) -> MeshResolver:
        if request not in self._resolvers:
            voice = VoiceAnalysis(self._source, with_picture=True)
            resolver = MeshResolver(request, voice, speaking=not self._still)
            resolver.check()
            self._resolvers[request] = resolver
            if len(self._resolvers) > _KEPT_REQUESTS:
                del self._resolvers[next(iter(self._resolvers))]
        return self._resolvers[request]
