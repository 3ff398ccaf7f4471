"""Let a portrait speak, with the mesh engine: any length in constant memory, offline, on a CPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.dicetalk.prior_sampling import PriorSampler
from mien.emotion.request import Request
from mien.engines.mesh import MeshEngine, MeshSettings
from mien.engines.mesh.idle_motion import Idle, Moment
from mien.engines.mesh.portrait import Portrait
from mien.engines.mesh.turning import Turn
from mien.errors import InputError
from mien.face.facs import Expression
from mien.face.follow import Face
from mien.face.pose import head_pose
from mien.face.select import FaceChoice
from mien.media.audio import SPEECH_RATE, Samples, read_speech
from mien.media.frame import Frame, RGBImage
from mien.media.read import VideoInfo
from mien.media.still import is_still, read_still
from mien.media.write import VideoWriter
from mien.pipelines.neutral_expression import RestingFaces, change
from mien.pipelines.people import people_in
from mien.pipelines.prefetch import ahead
from mien.pipelines.report import Progress, Report, mesh_weights, speech_weights, weights_behind
from mien.speech.articulation import Articulator, code_at
from mien.speech.features import RATE, Features, features, loudness

RATES: Final = (25, 30, 50, 60)
"""Frames per second a portrait can speak at."""

_WORKERS: Final = 2
_WAITING: Final = 6
_TURNED: Final = 0.6
"""Yaw, radians, from which a user is told that the picture is a profile."""

_SMALL: Final = 60.0
"""Pixels between the eyes' and the mouth's scale under which a face is small for this."""

_STRESS: Final = (0.15, 1.5)
"""Seconds over which a syllable, and a phrase, is heard."""


@dataclass(frozen=True, slots=True)
class TalkSettings:
    """How a portrait speaks.

    Attributes:
        rate: frames per second: 25, 30, 50 or 60.
        side: longest side of the output, pixels; None keeps the picture's size.
        liveliness: factor on blinks, glances and turns of the head, 0..2.
        variety: how much the expression varies around the emotion's own, 0..1.
        seed: another seed blinks, turns and varies differently.
    """

    rate: int = 25
    side: int | None = None
    liveliness: float = 1.0
    variety: float = 0.5
    seed: int = 0

    def check(self) -> None:
        """Refuse what cannot be done.

        Raises:
            InputError: naming the setting.
        """
        if self.rate not in RATES:
            raise InputError(
                f"The rate must be one of {', '.join(map(str, RATES))}; got {self.rate}."
            )
        if self.side is not None and not 64 <= self.side <= 8192:
            raise InputError(f"The longest side must be 64 to 8192 pixels; got {self.side}.")
        if not 0 <= self.liveliness <= 2:
            raise InputError(f"The liveliness must be a number from 0 to 2; got {self.liveliness}.")
        if not 0 <= self.variety <= 1:
            raise InputError(f"The variety must be a number from 0 to 1; got {self.variety}.")
        if self.seed < 0:
            raise InputError(f"The seed must be a number from 0; got {self.seed}.")


def talk_file(
    portrait: Path,
    speech: Path,
    output: Path,
    request: Request,
    choice: FaceChoice,
    settings: TalkSettings,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    warnings: tuple[str, ...] = (),
) -> Report:
    """Write a clip in which the face in ``portrait`` says ``speech``.

    Raises:
        InputError: for a picture, sound, output or choice that cannot be used.
        FaceNotFoundError: when there is nobody who could speak.
        OutputError: when writing fails on the way; nothing is left then.
    """
    settings.check()
    if not is_still(portrait):
        raise InputError(
            f"{portrait} is a video; the mesh engine makes pictures speak. To dub a video use "
            "--engine edtalk."
        )
    start = perf_counter()
    image = _sized(read_still(portrait), settings.side)
    chosen = people_in(image, portrait, choice)
    for face in chosen:
        warnings += _doubts(portrait, face)
    samples = read_speech(speech)
    count = max(1, -(-len(samples) * settings.rate // SPEECH_RATE))
    info = VideoInfo.new(portrait, image, Fraction(settings.rate), count)
    scene = _Scene(image, chosen, samples, request, settings)
    done = 0
    writer = VideoWriter(output, info, audio_from=speech, overwrite=overwrite)
    with writer, closing(ahead(scene.frames(count))) as frames:
        for frame in frames:
            writer.write(frame.image, frame.time)
            done += 1
            if progress is not None:
                progress(done, count)
    return Report(
        output=output,
        frames=done,
        seconds=done / settings.rate,
        rate=float(settings.rate),
        faces=len(chosen),
        spans_without_face=(),
        emotion=request.describe(),
        engine="mesh",
        weights=(*mesh_weights(), *speech_weights(), *weights_behind(request)),
        frames_per_second=done / (perf_counter() - start),
        warnings=warnings,
    )


class _Scene:
    """The people of a picture while they speak."""

    def __init__(
        self,
        image: RGBImage,
        faces: tuple[Face, ...],
        samples: Samples,
        request: Request,
        settings: TalkSettings,
    ) -> None:
        self._image, self._request, self._rate = image, request, settings.rate
        mesh = MeshSettings(portrait=True)
        self._people = [Portrait(image, face, mesh) for face in faces]
        resting = RestingFaces(MeshEngine(MeshSettings(still=True)))
        self._resting = [resting.of(face) for face in faces]
        self._idle = [
            Idle(settings.seed * 1000 + i, settings.liveliness) for i, _ in enumerate(faces)
        ]
        self._varieties = [
            PriorSampler(settings.variety, settings.seed * 1000 + i) for i, _ in enumerate(faces)
        ]
        rows = features(samples)
        self._codes = Articulator().follow(rows)
        self._stress = _stress(rows)

    def frames(self, count: int) -> Iterator[Frame]:
        """The clip, frame by frame; two are drawn at a time."""
        with ThreadPoolExecutor(_WORKERS, "mien-draw") as pool:
            waiting: deque[Future[Frame]] = deque()
            try:
                for i in range(count):
                    time = Fraction(i, self._rate)
                    waiting.append(pool.submit(self._frame, i, time, *self._plan(float(time))))
                    if len(waiting) > _WAITING:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _plan(self, time: float) -> tuple[list[Moment], list[Expression]]:
        """What heads and faces do at a time; asked for in the order of time, in one thread."""
        at = min(int(time * RATE), len(self._stress) - 1)
        stress = float(self._stress[at]) if at >= 0 else 0.0
        wanted = self._request.expression_at(time)
        felt = [
            change(self._request, time, resting) + variety.change(wanted, time)
            for resting, variety in zip(self._resting, self._varieties, strict=True)
        ]
        return [idle.at(time, stress) for idle in self._idle], felt

    def _frame(
        self, index: int, time: Fraction, moments: list[Moment], felt: list[Expression]
    ) -> Frame:
        code = code_at(self._codes, [float(time)])[0]
        image = self._image
        for person, moment, delta in zip(self._people, moments, felt, strict=True):
            image = person.draw(
                code,
                delta,
                Turn(moment.yaw, moment.pitch, moment.roll, moment.rise),
                moment.blink,
                moment.gaze,
                onto=image,
            )
        return Frame(image, time, index)


def _stress(rows: Features) -> npt.NDArray[np.float32]:
    """How much louder a syllable is than its phrase, 0..1, 100 values a second."""
    level = loudness(rows)
    if not len(level):
        return np.zeros(0, np.float32)
    near, far = (
        cv2.GaussianBlur(level[None], (0, 0), seconds * RATE, borderType=cv2.BORDER_REPLICATE)[0]
        for seconds in _STRESS
    )
    return np.clip((near - far) / 0.35, 0, 1).astype(np.float32)


def _sized(image: RGBImage, side: int | None) -> RGBImage:
    """The picture with even sides, its longest at most ``side``."""
    height, width = image.shape[:2]
    scale = 1.0 if side is None else min(1.0, side / max(height, width))
    size = (max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2))
    if scale == 1.0:  # half a pixel less at an odd side is cut off, not squeezed
        return np.ascontiguousarray(image[: size[1], : size[0]])
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _doubts(path: Path, face: Face) -> tuple[str, ...]:
    """What a user should know about a picture."""
    pose = head_pose(face.landmarks)
    out: tuple[str, ...] = ()
    if abs(pose.yaw) > _TURNED:
        out += (
            f"{path}: the face is turned by {np.degrees(abs(pose.yaw)):.0f} degrees; a picture "
            "from the front speaks better. The head is kept stiller.",
        )
    if pose.scale < _SMALL / 2:
        out += (f"{path}: the face is small ({pose.scale:.0f} pixels between the eyes).",)
    return out
