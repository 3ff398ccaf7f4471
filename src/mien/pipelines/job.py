"""A job: checks before any work, progress, cancellation, the output and its report."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import Final

from mien.emotion.request import Emotion, Request, RequestDescription
from mien.errors import CancelledError, FaceNotFoundError, InputError
from mien.face.follow import Face
from mien.face.select import FaceChoice
from mien.media.arrays import FrameSource
from mien.media.audio import has_sound
from mien.media.container import MAX_PIXELS, too_large
from mien.media.encode import EncodingSettings
from mien.media.frame import Frame, Picture, RGBImage
from mien.media.kinds import image_kind
from mien.media.output import (
    ANIMATION_SUFFIXES,
    STILL_SUFFIXES,
    VIDEO_SUFFIXES,
    check_output,
)
from mien.media.read import VideoInfo, VideoReader
from mien.media.size import check_size
from mien.media.still import Still, holds_xmp, is_still, open_still, write_still
from mien.media.write import VideoWriter, holds_comment
from mien.pipelines.compare import Comparison, check_comparison
from mien.pipelines.credits import (
    label_of,
    sealing,
    sidecar_warning,
    signing_key_of,
    source_type_of,
)
from mien.pipelines.part import Part
from mien.pipelines.report import Maker, Report, Written
from mien.provenance.claim import ProvenanceRecord
from mien.provenance.credential import holds_credential
from mien.provenance.label import Label
from mien.provenance.mark import marked
from mien.utils.text import shown
from mien.weights.store import Weights, weights_used

Progress = Callable[[int, int | None], None]
"""Called with the number of frames done and, where known, of all frames."""

Cancel = Callable[[], bool]
"""Called between frames; the job stops when it returns True."""

OnFrame = Callable[[RGBImage, float], None]
"""Called with every finished picture, RGB ``uint8 (H, W, 3)``, and its time in seconds."""

TRACKER_ASSETS: Final = tuple(f"tracker_{net}.onnx" for net in ("detector", "face", "mouth", "eye"))
MESH_ASSETS: Final = (*TRACKER_ASSETS, "canonical_face.npz", "rig.npz", "shading.npz")
MOUTH_ASSETS: Final = ("appearance.onnx", "appearance.npz")
"""What draws the inside of mouths in pictures and talking portraits."""

SPEECH_ASSETS: Final = ("articulator.onnx", "articulation.npz", "dice.onnx", "dice.npz")
_FACE_ASSETS: Final = ("dice_face.onnx", "dice_face.npz")
_VOICE_ASSETS: Final = ("listener.onnx", "listener_says.onnx", "connector.onnx", "connector.npz")

_MOST_PIXELS: Final = 2**30
"""What OpenCV decodes at most."""

_LEAST_SIDE: Final = 16
"""Pixels; no face can be found in less."""


@dataclass(frozen=True, slots=True)
class Job:
    """One picture or clip to make.

    Attributes:
        source: video or picture whose faces change.
        output: file to write; None hands the pictures to ``on_frame`` alone.
        request: emotion that is asked for.
        choice: which faces change.
        speech: file with the voice that the faces speak; None for an edit.
        part: of the film that is edited.
        compare: how the original is shown along, one of ``COMPARISONS``; None: not at all.
        follow: film of another person, whose expression over time is taken over.
        overwrite: whether an existing output may be replaced.
        encoding: codec and quality of a video.
        max_pixels: largest width x height of pictures and frames.
        provenance: whether the output says what it is: mark, credential and metadata.
        label: language of a visible label; None for no label.
        progress: called with (frames done, frames in all or None).
        cancel: called between frames; stops the job when it returns True.
        on_frame: called with every finished picture and its time.
        given: picture or frames in memory, instead of the file ``source``, which then only names
            them in messages.
        started: when the work began, on ``perf_counter``.
    """

    source: Path
    output: Path | None
    request: Request = field(default_factory=Emotion)
    choice: FaceChoice = field(default_factory=lambda: FaceChoice("largest"))
    speech: Path | None = None
    part: Part = field(default_factory=Part)
    compare: str | None = None
    follow: Path | None = None
    overwrite: bool = False
    encoding: EncodingSettings = field(default_factory=EncodingSettings)
    max_pixels: int = MAX_PIXELS
    provenance: bool = True
    label: str | None = None
    progress: Progress | None = None
    cancel: Cancel | None = None
    on_frame: OnFrame | None = None
    given: RGBImage | FrameSource | None = None
    started: float = field(default_factory=perf_counter)

    @property
    def still(self) -> bool:
        """Whether the input is a picture."""
        if self.given is not None:
            return not isinstance(self.given, FrameSource)
        return self.source.is_file() and is_still(self.source)

    @property
    def own_voice(self) -> bool:
        """Whether the voice is that of the source itself, with its picture."""
        return self.speech is None or (self.given is None and self.speech.samefile(self.source))

    @property
    def makes_picture(self) -> bool:
        """Whether the output is a picture rather than a clip."""
        return self.part.preview is not None or (self.speech is None and self.still)

    def open_picture(self) -> Still:
        """Return the input, which is a picture.

        Raises:
            InputError: when it cannot be decoded.
        """
        if self.given is None:
            return open_still(self.source, self.max_pixels)
        assert not isinstance(self.given, FrameSource)  # noqa: S101 - a picture, as it says
        return Still(self.given)

    def open_clip(self) -> VideoReader | FrameSource:
        """Return the input, which is a clip.

        Raises:
            InputError: when it cannot be decoded.
        """
        if isinstance(self.given, FrameSource):
            return self.given
        return VideoReader(self.source, self.max_pixels)

    def check(self) -> None:
        """Check input and output before any work.

        Raises:
            InputError: for an input or output that cannot be used.
            FaceNotFoundError: for an input in which no face can be.
        """
        if not 1 <= self.max_pixels <= _MOST_PIXELS:
            raise InputError(
                f"max_pixels must be a whole number from 1 to {_MOST_PIXELS}; got "
                f"{shown(self.max_pixels)}."
            )
        width, height = self._checked_size()
        if 0 < min(width, height) < _LEAST_SIDE:
            raise FaceNotFoundError(
                f"No usable face can be in {shown(self.source)}: it has {width}x{height} pixels."
            )
        if self.choice.picture is not None:
            check_size(self.choice.picture, self.max_pixels)
        check_comparison(self.compare)
        if self.speech is None and self.still and (self.part != Part() or self.follow):
            raise InputError(
                f"{shown(self.source)} is a picture; --preview, --from, --to and --follow are for "
                "films."
            )
        if self.follow is not None:
            check_size(self.follow, self.max_pixels)
            if is_still(self.follow):
                raise InputError(
                    f"{shown(self.follow)} is a picture; --follow takes a film. To take over the "
                    "expression of a picture, use --like."
                )
        if self.speech is not None and not has_sound(self.speech):
            raise InputError(f"{shown(self.speech)} has no sound in it.")
        self._check_output()
        signing_key_of(self)
        label_of(self, width, height)

    def _checked_size(self) -> tuple[int, int]:
        """Return width and height of the input, which is refused where it is too large."""
        if self.given is None:
            return check_size(self.source, self.max_pixels)
        first = self.given.first if isinstance(self.given, FrameSource) else self.given
        height, width = first.shape[:2]
        if width * height > self.max_pixels:
            raise too_large(self.source, width, height, self.max_pixels)
        return width, height

    def _check_output(self) -> None:
        suffixes: tuple[str, ...] = STILL_SUFFIXES
        if not self.makes_picture:  # a .png is an animation only where the input is one
            kind = image_kind(self.source) if self.given is None else None
            animations = ANIMATION_SUFFIXES[: None if kind and kind.animated else -1]
            suffixes = (*VIDEO_SUFFIXES, *animations)
        if self.makes_picture and self.encoding != EncodingSettings():
            raise InputError(
                "Codec, quality, preset and lossless are for videos; the output is a picture."
            )
        if self.output is None:
            if self.encoding != EncodingSettings():
                raise InputError("encoding is for files; name an output, or leave it out.")
            return
        source = None if self.given is not None else self.source
        files = (source, self.speech, self.choice.picture, self.follow)
        inputs = [path for path in files if path is not None]
        check_output(self.output, inputs=inputs, overwrite=self.overwrite, suffixes=suffixes)

    def step(self, done: int, total: int | None) -> None:
        """Report progress, unless the job was cancelled.

        Raises:
            CancelledError: when the caller wants the job to stop.
        """
        if self.cancel is not None and self.cancel():
            lost = "" if self.output is None else f"; {self.output} was not written"
            raise CancelledError(f"The job was cancelled{lost}.")
        if self.progress is not None:
            self.progress(done, total)

    def write(
        self, frames: Generator[Frame], info: VideoInfo, maker: Maker, total: int | None = None
    ) -> Written:
        """Write a clip with the sound of the speech or of the source, or a picture.

        Whatever stops ``frames`` (an error, a cancelled job, an interrupt) leaves no file behind.

        Args:
            frames: all of the clip, in order; closed at the end.
            info: size, rate and colour of the clip.
            maker: of the frames.
            total: number of frames where it is known.

        Raises:
            OutputError: when writing or signing fails.
        """
        comparison = None if self.compare is None else Comparison(self.compare)
        info = info if comparison is None else comparison.info(info)
        label = label_of(self, info.width, info.height)

        def shown_of(frame: Frame) -> Picture:
            picture = frame.picture if comparison is None else comparison.of(frame)
            picture = picture if label is None else label.drawn_on(picture)
            if self.on_frame is not None:
                self.on_frame(picture.image(), float(frame.time))
            return picture

        if self.output is None:
            return self._hand_over(frames, info, shown_of, label, total)
        key = signing_key_of(self)
        finish = None if key is None else sealing(self, self.output, maker, key)
        origin, suffix = source_type_of(self), self.output.suffix.lower()
        embedded = holds_credential(suffix, clip=not self.makes_picture)
        in_metadata = holds_xmp if self.makes_picture else holds_comment
        record = ProvenanceRecord(
            wanted=self.provenance,
            credential=("embedded" if embedded else "sidecar") if key else "",
            signer=key.signer if key else "",
            metadata=self.provenance and in_metadata(suffix),
            mark=self.provenance,
            label="" if label is None else label.text,
        )
        if self.makes_picture:
            with closing(frames):
                (frame,) = deque(frames, 1)
            self.step(0, 1)
            picture = shown_of(frame)
            add_xmp = origin.add_to_xmp if self.provenance else None
            lost = write_still(self.output, picture, add_xmp=add_xmp, finish=finish)
            if self.progress is not None:
                self.progress(1, 1)
            warnings = (*lost, *sidecar_warning(self, record))
            return Written(1, 0.0, 0.0, warnings=warnings, provenance=record)
        done, end = 0, Fraction(0)
        sound = self.speech or (None if self.given is not None else self.source)
        writer = VideoWriter(
            self.output,
            info,
            audio_from=sound,
            streams_from=None if self.still or self.given is not None else self.source,
            overwrite=self.overwrite,
            settings=self.encoding,
            add_comment=origin.add_to_comment if self.provenance else None,
            finish=finish,
        )
        with writer, closing(frames):
            for frame in frames:
                writer.write(shown_of(frame), frame.time)
                done, end = done + 1, frame.time
                self.step(done, total)
        seconds = float(end + 1 / info.rate)
        return Written(
            done,
            seconds,
            float(info.rate),
            str(writer.encoding),
            (
                *(() if comparison is None else comparison.warnings),
                *writer.warnings,
                *sidecar_warning(self, record),
            ),
            record,
        )

    def _hand_over(
        self,
        frames: Generator[Frame],
        info: VideoInfo,
        show: Callable[[Frame], Picture],
        label: Label | None,
        total: int | None,
    ) -> Written:
        """Show the pictures of a job without an output file; they go to ``on_frame``."""
        text = "" if label is None else label.text
        record = ProvenanceRecord(wanted=self.provenance, mark=self.provenance, label=text)
        done, end = 0, Fraction(0)
        with closing(frames):
            if self.makes_picture:
                (frame,) = deque(frames, 1)
                show(frame)
                self.step(1, 1)
                return Written(1, 0.0, 0.0, provenance=record)
            for frame in frames:
                show(frame)
                done, end = done + 1, frame.time
                self.step(done, total)
        seconds = float(end + 1 / info.rate)
        return Written(done, seconds, float(info.rate), provenance=record)

    def report(
        self,
        written: Written,
        maker: Maker,
        *,
        faces: int,
        spans: tuple[tuple[float, float], ...] = (),
        warnings: tuple[str, ...] = (),
    ) -> Report:
        """Return the report of a finished job; ``warnings`` are those of the work itself."""
        return Report(
            output=self.output,
            frames=written.frames,
            seconds=written.seconds,
            rate=written.rate,
            faces=faces,
            spans_without_face=spans,
            emotion=maker.resolver.describe(),
            engine=maker.engine,
            weights=maker.weights(),
            frames_per_second=written.frames / (perf_counter() - self.started),
            encoding=written.encoding,
            warnings=(*maker.resolver.warnings, *warnings, *written.warnings),
            provenance=written.provenance,
            span=(self.part.start, self.part.end) if self.part.is_span else None,
            preview=self.part.preview,
            compare=self.compare,
            follow=None if self.follow is None else str(self.follow),
            input=self.source if self.given is None else None,
        )

    def marked(self, picture: Picture, face: Face) -> Picture:
        """Return a picture with the mark in an edited face, unless provenance is turned off."""
        if not self.provenance:
            return picture
        return marked(picture, face.landmarks, face.weight)


def assets_behind(request: RequestDescription) -> tuple[str, ...]:
    """Return the bundled nets that a resolved expression comes from, besides the engine's."""
    voices = _VOICE_ASSETS if "heard" in request else ()
    return (*voices, *(_FACE_ASSETS if "seen" in request else ()))


def all_bundled_weights() -> tuple[Weights, ...]:
    """Return the record of everything that ships with mien."""
    voices = (*_VOICE_ASSETS, "published_voices.npz")
    return weights_used((*MESH_ASSETS, *voices, *_FACE_ASSETS, *SPEECH_ASSETS))
