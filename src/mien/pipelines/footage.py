"""The input of a job: frames with the chosen faces in them, and a first look at its people."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Final, Generic, NamedTuple, TypeVar

from mien.errors import FaceNotFoundError
from mien.face.follow import Face, TrackedFrame, follow
from mien.face.recognition import Appearance, appearance
from mien.face.select import FaceChoice, FaceSelector
from mien.face.topology import Landmarks
from mien.face.tracker import FaceTracker
from mien.media.arrays import FrameSource
from mien.media.frame import ArrayPicture, Frame, Image, Picture
from mien.media.read import VideoInfo, VideoReader
from mien.media.still import opaque, read_still
from mien.pipelines.job import Job
from mien.pipelines.part import beyond
from mien.utils.prefetch import prefetch

Sample = TypeVar("Sample")

FIRST_LOOK_FRAMES: Final = 14
FIRST_LOOK_SECONDS: Final = 12.0

_LEAD_SECONDS: Final = 0.5
"""What is followed before a previewed frame, so that its faces are as steady as in the film."""

_SWING_SECONDS: Final = 4
_SWING_PIXELS: Final = 80_000_000
"""Frames that are shown back and forth: their seconds, and their pixels at most."""

_MOST_FACES: Final = 32
_SAME: Final = 0.4
"""Likeness from which samples are taken for a person's."""


class FrameFaces(NamedTuple):
    """A frame and the chosen faces in it."""

    frame: Frame
    faces: tuple[Face, ...]


@dataclass(slots=True)
class FirstLook(Generic[Sample]):
    """Samples of the people at the start of a clip, found again by their appearance.

    Attributes:
        read: makes a sample out of a picture and the landmarks of one face in it.
    """

    read: Callable[[Picture, Landmarks], Sample]
    _samples: list[tuple[Appearance, Sample]] = field(default_factory=list)

    def add(self, image: Picture, landmarks: Landmarks) -> None:
        """Take a sample."""
        self._samples.append((appearance(image, landmarks), self.read(image, landmarks)))

    def of(self, face: Face) -> list[Sample]:
        """Return the samples of a person, in the order they were taken."""
        if face.look is None:
            return []
        return [sample for known, sample in self._samples if known @ face.look >= _SAME]


class Footage:
    """The frames of a job's input, with the chosen faces in them.

    A picture is a clip of one frame. Frames outside the part that the job edits hold no faces, and
    at the ends of that part the weights of faces rise and fall. Of a preview, the frames shortly
    before it come too. Made by :func:`open_footage`.

    Attributes:
        info: size, rate and colour of the input.
        people: ids of the people who were seen.
    """

    def __init__(self, job: Job, rate: Fraction, stack: ExitStack) -> None:
        self.people: set[int] = set()
        self._path, self._choice, self._stack = job.source, job.choice, stack
        self._spans: list[list[Fraction]] = []
        self._empty = False
        self._reader: VideoReader | FrameSource | None = None
        self._lost: tuple[str, ...] = ()
        if job.still:
            still = job.open_picture()
            picture: ArrayPicture = still
            if not job.makes_picture:
                picture, self._lost = ArrayPicture(opaque(still)), still.lost_in_clips
            self._portrait = FrameFaces(
                Frame(picture, Fraction(0), 0), people_in(picture, job.source, job.choice)
            )
            self.info = VideoInfo.new(job.source, picture.array, rate, 1)
        else:
            self._reader = stack.enter_context(closing(job.open_clip()))
            self._tracker = stack.enter_context(closing(FaceTracker()))
            self.info = self._reader.info
        # A speech may be longer than its film.
        shorter = job.still or job.speech is not None
        self._part = job.part.of(job.source, None if shorter else self.info.duration)

    def first_look(self, read: Callable[[Picture, Landmarks], Sample]) -> FirstLook[Sample]:
        """Take samples from the start of the part that is edited; a picture gives none."""
        look = FirstLook(read)
        if self._reader is not None:
            for image in self._reader.first_look(
                FIRST_LOOK_FRAMES, FIRST_LOOK_SECONDS, self._part.start
            ):
                for landmarks in self._tracker(image):
                    look.add(image, landmarks)
            self._tracker.reset()
        return look

    def frames(self, until: float = 0.0, *, swing: bool = False) -> Iterator[FrameFaces]:
        """Yield all frames in order; the last one is repeated up to ``until`` seconds.

        Args:
            until: seconds.
            swing: instead of the last frame alone, repeat the last seconds back and forth.

        Raises:
            FaceNotFoundError: after the last frame, when nobody was seen.
            InputError: after the last frame, when the part that is edited lies behind it.
        """
        last: FrameFaces | None = None
        end_of_film: deque[FrameFaces] = deque()
        for last in self._read():
            if swing:
                end_of_film.append(last)
                if len(end_of_film) > self._swing_frames:
                    end_of_film.popleft()
            yield last
        if last is None:
            return
        preview, step = self._part.preview, 1 / self.info.rate
        end = max(float(last.frame.time + step), float(self.info.duration or 0))
        end = end if swing else max(until, end)
        if preview is not None and preview > end:
            raise beyond("The preview", preview, self._path, end)
        if self._reader is not None and self._part.start >= end:
            raise beyond("The span", self._part.start, self._path, end)
        if preview is not None and not swing and preview > last.frame.time + step:
            held = int((preview - last.frame.time) / step)
            time, index = last.frame.time + held * step, last.frame.index + held
            last = last._replace(frame=replace(last.frame, time=time, index=index))
            yield last
        repeated = itertools.cycle([*list(end_of_film)[-2::-1], *list(end_of_film)[1:]] or [last])
        while preview is None and float(last.frame.time + step) < until:
            time, index = last.frame.time + step, last.frame.index + 1
            again = next(repeated)
            last = FrameFaces(replace(again.frame, time=time, index=index), again.faces)
            yield last
        if preview is not None and not last.faces:
            raise nobody(self._path, self._choice, 0, preview)

    def count(self, until: float = 0.0) -> int | None:
        """Return the number of :meth:`frames` as far as the file tells; 1 for a preview."""
        if self._part.preview is not None:
            return 1
        known = self.info.frames
        return None if known is None else max(known, round(until * self.info.rate))

    @property
    def _swing_frames(self) -> int:
        """Return how many frames go back and forth: few enough for the memory, or only one."""
        info = self.info
        most = _SWING_PIXELS // (info.width * info.height)
        wanted = round(_SWING_SECONDS * info.rate)
        return wanted if most >= wanted else most if most >= info.rate else 1

    @property
    def spans(self) -> tuple[tuple[float, float], ...]:
        """(start, end) in seconds without any chosen face."""
        return tuple((float(start), float(end)) for start, end in self._spans)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong with the file."""
        if self._reader is None:
            return self._lost
        damaged = self._reader.damaged
        return (*((f"{self._path}: {damaged}",) if damaged else ()), *self._reader.warnings)

    def _read(self) -> Iterator[FrameFaces]:
        if self._reader is None:
            self.people.update(face.id for face in self._portrait.faces)
            yield self._portrait
            return
        selector, step = selector_for(self._choice), 1 / self.info.rate
        most, reached = 0, False
        # Closed before the reader is, whatever becomes of this generator.
        tracked = self._stack.enter_context(closing(prefetch(self._tracked(self._reader))))
        for item in tracked:
            if not self._part.covers(item.frame.time):
                yield FrameFaces(item.frame, ())
                continue
            reached = True
            chosen = selector.pick(item.faces, item.cut)
            most = max(most, len(item.faces))
            self._count(item.frame.time, chosen, step)
            weight = self._part.weight(item.frame.time)
            faces = (replace(face, weight=weight * face.weight) for face in chosen if weight > 0)
            yield FrameFaces(item.frame, tuple(faces))
        if reached and not self.people:
            raise nobody(self._path, self._choice, most)

    def _tracked(self, reader: VideoReader | FrameSource) -> Iterator[TrackedFrame]:
        """Yield the frames, with the faces in those that are edited."""
        part, preview = self._part, self._part.preview
        if preview is not None:
            wanted = _until(reader.frames_from(max(0.0, preview - _LEAD_SECONDS)), preview)
            yield from follow(wanted, self._tracker)
        elif not part.is_span:
            yield from follow(reader, self._tracker)
        else:
            inside = itertools.groupby(reader, lambda frame: part.covers(frame.time))
            for edited, frames in inside:
                if edited:
                    yield from follow(frames, self._tracker)
                else:
                    yield from (TrackedFrame(frame, (), cut=False) for frame in frames)

    def _count(self, time: Fraction, chosen: tuple[Face, ...], step: Fraction) -> None:
        seen = [face.id for face in chosen if not face.bridged]
        self.people.update(seen)
        if not seen and self._empty:
            self._spans[-1][1] = time + step
        elif not seen:
            self._spans.append([time, time + step])
        self._empty = not seen


@contextmanager
def open_footage(job: Job, rate: Fraction = Fraction(25)) -> Iterator[Footage]:
    """Open the input of a job.

    Args:
        job: its source is a video or a picture.
        rate: frames per second where the source is a picture.

    Raises:
        InputError: when it cannot be read.
        FaceNotFoundError: when a picture shows nobody.
    """
    with ExitStack() as stack:
        yield Footage(job, rate, stack)


def people_in(image: Image, path: Path, choice: FaceChoice) -> tuple[Face, ...]:
    """Return the chosen faces of a picture.

    Raises:
        FaceNotFoundError: when there is none.
    """
    with closing(FaceTracker(still=True, max_faces=_MOST_FACES)) as tracker:
        found = tuple(
            Face(i, points, look=appearance(image, points) if choice.picture else None)
            for i, points in enumerate(tracker(image), 1)
        )
    chosen = selector_for(choice).pick(found)
    if not chosen:
        raise nobody(path, choice, len(found))
    return chosen


def selector_for(choice: FaceChoice) -> FaceSelector:
    """Return the selector of a choice; reads the reference picture where there is one."""
    reference: Appearance | None = None
    if choice.picture is not None:
        image = read_still(choice.picture)
        with closing(FaceTracker(still=True)) as tracker:
            found = tracker(image)
        reference = appearance(image, found[0]) if found else None
    return FaceSelector(choice, reference)


def _until(frames: Iterator[Frame], seconds: float) -> Iterator[Frame]:
    """Yield frames up to the one that is shown at a time."""
    first = next(frames)
    yield first
    yield from itertools.takewhile(lambda frame: frame.time <= seconds, frames)


def nobody(
    path: Path, choice: FaceChoice, found: int, time: float | None = None
) -> FaceNotFoundError:
    """Return the error for an input without a chosen face, where ``found`` others are.

    ``time``: of a single frame without one, seconds.
    """
    if time is not None:
        return FaceNotFoundError(f"The face to edit is not in the frame of {path} at {time:g} s.")
    if found and choice.kind == "number":
        return FaceNotFoundError(
            f"{path} shows {found} face(s); there is no number {choice.number}."
        )
    if found and choice.kind == "picture":
        return FaceNotFoundError(
            f"The person of {choice.picture} was not found in {path}, which shows {found} other "
            "face(s). Use a frame of the clip that shows the person from the front, or a number."
        )
    return FaceNotFoundError(
        f"No usable face was found in {path}. Faces must be upright, well lit and at least about "
        "24 pixels wide."
    )
