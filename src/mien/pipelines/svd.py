"""Let a portrait speak with DICE-Talk as published."""

from __future__ import annotations

from contextlib import closing
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from mien.emotion.request import Request
from mien.emotion.resolve_svd import Priors
from mien.errors import InputError, MissingExtraError
from mien.face.select import FaceChoice
from mien.face.topology import Landmarks
from mien.media.audio import read_speech
from mien.media.read import VideoInfo
from mien.media.still import is_still, read_still
from mien.media.write import VideoWriter
from mien.pipelines.people import people_in
from mien.pipelines.prefetch import ahead
from mien.pipelines.report import Progress, Report, tracker_weights
from mien.weights.manifest import INTERPOLATOR, PRIORS, SVD_NEEDED
from mien.weights.store import Store, Weights, weights_used

if TYPE_CHECKING:
    from mien.engines.svd.engine import SvdEngine
    from mien.engines.svd.settings import SvdSettings


def talk_diffused(
    portrait: Path,
    speech: Path,
    output: Path,
    request: Request,
    choice: FaceChoice,
    settings: SvdSettings,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    warnings: tuple[str, ...] = (),
    store: Store | None = None,
) -> Report:
    """Write a clip in which the face in a picture says ``speech``, 25 frames a second.

    Progress counts the calls of the UNet, which take nearly all the time.

    Raises:
        InputError: for a picture, sound, request or settings that cannot be used; when it will
            take long and nobody agreed; when memory is too little.
        FaceNotFoundError: when there is nobody who could speak.
        MissingExtraError, WeightsError: when libraries or weights are missing.
        OutputError: when writing fails on the way; nothing is left then.
    """
    start = perf_counter()
    settings.check()
    if not is_still(portrait):
        raise InputError(f"{portrait} is a video; svd makes pictures speak. Dub with edtalk.")
    if choice.kind == "all":
        raise InputError("svd makes one person speak; choose one with --face.")
    store = store or Store()
    engine, priors = _open(store, settings)
    priors.check(request)
    image = read_still(portrait)
    face = people_in(image, portrait, choice)[0]
    samples = read_speech(speech)
    scope = engine.scope(image, samples)
    if scope.levers:
        warnings += (f"To fit the memory: {', '.join(scope.levers)}.",)
    course = priors.course(request, scope.made, scope.made_rate)
    shown = np.zeros((scope.height, scope.width, 3), np.uint8)
    rate = Fraction(scope.rate).limit_denominator(1000)
    count = scope.made * (2 if settings.interpolate else 1)
    info = VideoInfo.new(portrait, shown, rate, count)
    done = 0
    drawn = engine.frames(image, box_of(face.landmarks), samples, course, scope, progress)
    writer = VideoWriter(output, info, audio_from=speech, overwrite=overwrite)
    with writer, closing(ahead(drawn)) as frames:
        for picture in frames:
            writer.write(picture, Fraction(done) / rate)
            done += 1
    return Report(
        output=output,
        frames=done,
        seconds=float(done / rate),
        rate=float(rate),
        faces=1,
        spans_without_face=(),
        emotion=request.describe(),
        engine=engine.name,
        weights=(*tracker_weights(), *_used(store, settings)),
        frames_per_second=done / (perf_counter() - start),
        warnings=warnings,
    )


def box_of(landmarks: Landmarks) -> tuple[float, float, float, float]:
    """The box round a face, ``x, y, w, h`` in pixels."""
    low, high = landmarks[:, :2].min(0), landmarks[:, :2].max(0)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


def _open(store: Store, settings: SvdSettings) -> tuple[SvdEngine, Priors]:
    try:
        from mien.engines.svd.engine import SvdEngine
        from mien.weights.convert import load
    except ImportError as error:
        raise MissingExtraError(
            f"The engine svd needs more than the core ({error.name}): pip install 'mien[svd]'."
        ) from error
    path = store.locate(PRIORS)
    engine = SvdEngine.load(store, settings)
    known = {name: value.numpy() for name, value in load(path)[0].items()}
    sizes = {len(value) for value in known.values()}
    if sizes != {engine.prior_size}:
        raise InputError(
            f"The priors have {sizes} numbers, the bank wants {engine.prior_size}: they do not "
            "belong together."
        )
    if settings.embedder is None:
        return engine, Priors(known)
    from mien.pipelines.svd_embedder import embedder_of

    embed = embedder_of(Path(settings.embedder), store, engine.prior_size)
    return engine, Priors(known, embed)


def _used(store: Store, settings: SvdSettings) -> tuple[Weights, ...]:
    names = (*SVD_NEEDED, PRIORS, *((INTERPOLATOR,) if settings.interpolate else ()))
    return weights_used(names, store)
