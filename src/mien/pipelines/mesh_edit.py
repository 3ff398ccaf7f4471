"""Edit a video or a picture file."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from time import perf_counter

from mien.emotion.request import Request
from mien.engines.mesh import MeshEngine, MeshSettings
from mien.errors import InputError
from mien.face.follow import Face, TrackedFrame, follow
from mien.face.select import FaceChoice, FaceSelector
from mien.face.tracker import FaceTracker
from mien.media.audio import has_sound
from mien.media.frame import Frame, RGBImage
from mien.media.output import STILL_SUFFIXES, VIDEO_SUFFIXES, check_output
from mien.media.read import VideoReader
from mien.media.still import is_still, read_still, write_still
from mien.media.write import VideoWriter
from mien.pipelines.neutral_expression import RestingFaces, change
from mien.pipelines.people import Tally, nobody, selector_for
from mien.pipelines.prefetch import ahead
from mien.pipelines.report import Progress, Report, mesh_weights, weights_behind


def check_files(source: Path, output: Path, choice: FaceChoice, *, overwrite: bool) -> bool:
    """Make sure an edit can be read and written, before any work; whether it is a still.

    Raises:
        InputError: for an input or output that cannot be used.
    """
    if not source.exists():
        raise InputError(f"There is no file {source}.")
    still = source.is_file() and is_still(source)
    inputs = [source] + ([choice.picture] if choice.picture else [])
    suffixes = STILL_SUFFIXES if still else VIDEO_SUFFIXES
    check_output(output, inputs=inputs, overwrite=overwrite, suffixes=suffixes)
    return still


def check_talk(
    portrait: Path, speech: Path, output: Path, choice: FaceChoice, *, overwrite: bool
) -> None:
    """Make sure that a face can talk into a file, before any work.

    Raises:
        InputError: for files that cannot be used.
    """
    if not portrait.exists():
        raise InputError(f"There is no file {portrait}.")
    if not has_sound(speech):
        raise InputError(f"{speech} has no sound in it.")
    inputs = [portrait, speech] + ([choice.picture] if choice.picture else [])
    check_output(output, inputs=inputs, overwrite=overwrite, suffixes=VIDEO_SUFFIXES)


def edit_file(
    source: Path,
    output: Path,
    request: Request,
    choice: FaceChoice,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    warnings: tuple[str, ...] = (),
) -> Report:
    """Write ``source`` with another feeling to ``output``.

    Raises:
        InputError: for an input, output or choice that cannot be used.
        FaceNotFoundError: when there is nobody to edit; nothing is written then.
        OutputError: when writing fails on the way; nothing is left then.
    """
    still = check_files(source, output, choice, overwrite=overwrite)
    edit = _edit_still if still else _edit_video
    report = edit(source, output, request, choice, overwrite, progress)
    weights = (*report.weights, *weights_behind(request))
    return replace(report, warnings=(*warnings, *report.warnings), weights=weights)


def _edit_still(
    source: Path,
    output: Path,
    request: Request,
    choice: FaceChoice,
    overwrite: bool,
    progress: Progress | None,
) -> Report:
    start = perf_counter()
    image = read_still(source)
    with closing(FaceTracker(still=True, max_faces=32)) as tracker:
        found = tuple(Face(i, points) for i, points in enumerate(tracker(image), 1))
    chosen = selector_for(choice).pick(found)
    if not chosen:
        raise nobody(source, choice, len(found))
    engine = MeshEngine(MeshSettings(still=True))
    resting = RestingFaces(engine)
    for face in chosen:
        image = engine.render(image, face, change(request, 0.0, resting.of(face)))
    write_still(output, image)
    if progress is not None:
        progress(1, 1)
    return Report(
        output=output,
        frames=1,
        seconds=0.0,
        rate=0.0,
        faces=len(chosen),
        spans_without_face=(),
        emotion=request.describe(),
        engine=engine.name,
        weights=mesh_weights(),
        frames_per_second=1 / (perf_counter() - start),
    )


def _edit_video(
    source: Path,
    output: Path,
    request: Request,
    choice: FaceChoice,
    overwrite: bool,
    progress: Progress | None,
) -> Report:
    start = perf_counter()
    engine = MeshEngine()
    tally = Tally()
    frames, end = 0, Fraction(0)
    with VideoReader(source) as reader, closing(FaceTracker()) as tracker:
        resting = RestingFaces(engine)
        resting.look(reader, tracker)
        writer = VideoWriter(output, reader.info, audio_from=source, overwrite=overwrite)
        tracked = ahead(follow(reader, tracker))
        drawn = ahead(_draw(tracked, engine, request, resting, selector_for(choice), tally, reader))
        with writer, closing(drawn) as pictures:
            for frame in pictures:
                writer.write(frame.image, frame.time)
                frames, end = frames + 1, frame.time
                if progress is not None:
                    progress(frames, reader.info.frames)
            if not tally.people:
                raise nobody(source, choice, tally.most_faces)
        rate, damaged = reader.info.rate, reader.damaged
    return Report(
        output=output,
        frames=frames,
        seconds=float(end + 1 / rate),
        rate=float(rate),
        faces=len(tally.people),
        spans_without_face=tuple((float(a), float(b)) for a, b in tally.spans),
        emotion=request.describe(),
        engine=engine.name,
        weights=mesh_weights(),
        frames_per_second=frames / (perf_counter() - start),
        warnings=(f"{source}: {damaged}",) if damaged else (),
    )


def _draw(
    tracked: Iterator[TrackedFrame],
    engine: MeshEngine,
    request: Request,
    resting: RestingFaces,
    selector: FaceSelector,
    tally: Tally,
    reader: VideoReader,
) -> Generator[Frame]:
    """Frames with the chosen faces edited; frames without one pass through untouched."""
    step = 1 / reader.info.rate
    try:
        for item in tracked:
            chosen = selector.pick(item.faces)
            tally.count(item.frame.time, chosen, len(item.faces), step)
            image: RGBImage = item.frame.image
            for face in chosen:
                delta = change(request, float(item.frame.time), resting.of(face))
                image = engine.render(image, face, delta)
            yield Frame(image, item.frame.time, item.frame.index)
    finally:
        close = getattr(tracked, "close", None)
        if close is not None:
            close()
