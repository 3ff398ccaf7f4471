"""Measure films one by one: what metrics need of each is kept in a file, then summed up."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from mien.errors import InputError
from mien.evaluation.clips import FaceClip, read_clip
from mien.evaluation.distances import flicker, landmark_distances, psnr, ssim
from mien.evaluation.pairs import Pair
from mien.evaluation.readers import Readers, open_readers
from mien.evaluation.slots import NetFiles
from mien.media.audio import has_sound, read_speech
from mien.media.output import whole_file
from mien.media.read import VideoReader
from mien.pipelines.job import Progress
from mien.utils.workers import run_tasks

_VERSION: Final = 2
"""Part of the signature of what was measured; raise it when a metric changes."""

_PAIRED_EVERY: Final = 2
"""Pictures of two films are compared in every second frame."""

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FilmTask:
    """A film to measure.

    Attributes:
        pair: what it was made for.
        film: the file.
        sound: the voice, where the film has none of its own.
        aligned: the real film that shows the same words at the same times; None without one.
        target: where the measurement is kept.
        track: the face in the film, where it was prepared.
        aligned_track: likewise in ``aligned``.
    """

    pair: Pair
    film: Path
    sound: Path | None
    aligned: Path | None
    target: Path
    track: Path | None = None
    aligned_track: Path | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What metrics need of one film.

    Attributes:
        name, emotion: of the pair.
        values: single numbers by metric.
        features: arrays ``(K, D)`` by slot.
        probabilities: of the classes of expressions.
        second: likewise, of the second reader; None without one.
    """

    name: str
    emotion: str
    values: dict[str, float]
    features: dict[str, Array]
    probabilities: Array
    second: Array | None = None


def measure_films(
    tasks: Sequence[FilmTask],
    files: NetFiles,
    *,
    workers: int = 1,
    ray: str | None = None,
    progress: Progress | None = None,
) -> tuple[list[Measured], dict[str, str]]:
    """Measure films; what was measured before with the same nets is kept.

    Args:
        tasks: the films.
        files: nets of the user.
        workers: processes that work at once.
        ray: as for :func:`mien.utils.workers.run_tasks`.
        progress: called with (films done, films).

    Returns:
        The measurements in the order of the tasks, and films that could not be measured, by name,
        with why.
    """
    open_readers(files)  # nets that cannot be used are refused before any work
    failed: dict[str, str] = {}
    ordered = sorted(tasks, key=lambda task: (str(task.aligned), str(task.film)))
    work = partial(measure_film, files)
    for done, outcome in enumerate(run_tasks(work, ordered, workers=workers, ray=ray), 1):
        if outcome.error is not None:
            failed[outcome.task.pair.name] = str(outcome.error)
        if progress is not None:
            progress(done, len(tasks))
    return [_read(task) for task in tasks if task.pair.name not in failed], failed


def measure_film(files: NetFiles, task: FilmTask) -> None:
    """Measure one film and write the measurement to ``task.target``, unless it is there.

    Raises:
        MienError: when the film or the one it is compared with cannot be read, or shows no face.
    """
    signature = _signature(files, task)
    if task.target.is_file() and _stored(task.target).get("signature") == signature:
        return
    readers = open_readers(files)
    clip = read_clip(task.film, task.pair.seconds, task.track)
    values = {"flicker": flicker(clip), "frames": float(len(clip.images))}
    features = {"expression": readers.expression(clip)}
    for name in ("inception", "i3d", "identity"):
        read = getattr(readers, name)
        if read is not None:
            features[name] = read(clip)
    probabilities = readers.emotion(clip)
    values |= _synced(readers, clip, task)
    if task.aligned is not None:
        real, identity = _real(files, task.aligned, task.pair.seconds, task.aligned_track)
        values |= _compared(readers, clip, real)
        if identity is not None and "identity" in features:
            values["csim"] = float((_unit(features["identity"]) @ identity).mean())
    stored = {
        "signature": signature,
        "values": json.dumps(values),
        "probabilities": probabilities,
        **({} if readers.second is None else {"second": readers.second(clip)}),
        **{f"features_{name}": array.astype(np.float16) for name, array in features.items()},
    }
    task.target.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(task.target) as part, part.open("wb") as file:
        np.savez(file, **stored)  # type: ignore[arg-type]


def _signature(files: NetFiles, task: FilmTask) -> str:
    """Return a hash of everything that a measurement depends on."""
    named = {name: tuple(one) for name, one in open_readers(files).named.items()}
    used = [task.film, task.sound, task.aligned]
    states = [
        None if path is None else (str(path), path.stat().st_size, path.stat().st_mtime_ns)
        for path in used
    ]
    text = json.dumps([_VERSION, named, files.classes, states, task.pair.seconds], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _synced(readers: Readers, clip: FaceClip, task: FilmTask) -> dict[str, float]:
    own = has_sound(task.film)
    sound = task.film if own else task.sound
    if sound is None:
        return {}
    with VideoReader(task.film) as reader:
        start = reader.info.start if own else None
    found = readers.sync(clip, read_speech(sound, task.pair.seconds, start=start))
    return {"sync_distance": found.distance, "sync_confidence": found.confidence,
            "sync_offset": float(found.offset)}  # fmt: skip


def _compared(readers: Readers, clip: FaceClip, real: FaceClip) -> dict[str, float]:
    """Compare a film frame by frame with the real one."""
    count = min(len(clip.images), len(real.images))
    both = np.flatnonzero(clip.seen[:count] & real.seen[:count])
    if not len(both):
        return {}
    values = asdict(landmark_distances(clip.landmarks[both], real.landmarks[both]))
    some = both[::_PAIRED_EVERY].tolist()
    pictures = [(clip.images[i], real.images[i]) for i in some]
    values["psnr"] = float(np.mean([psnr(*two) for two in pictures]))
    values["ssim"] = float(np.mean([ssim(*two) for two in pictures]))
    if readers.lpips is not None:
        made, true = zip(*pictures, strict=True)
        values["lpips"] = float(readers.lpips(made, true).mean())
    return values


@lru_cache(maxsize=4)
def _real(
    files: NetFiles, path: Path, seconds: float | None, track: Path | None
) -> tuple[FaceClip, Array | None]:
    """Return a real film and the identity in it, ``float32 (D,)`` of length 1."""
    clip, read = read_clip(path, seconds, track), open_readers(files).identity
    return clip, None if read is None else _unit(read(clip).mean(0))


def _unit(vectors: Array) -> Array:
    length = np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return np.asarray(vectors / length, np.float32)


def _stored(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError):
        return {}


def _read(task: FilmTask) -> Measured:
    stored = _stored(task.target)
    if not stored:
        raise InputError(f"{task.target} is damaged; remove it and measure again.")
    prefix = "features_"
    return Measured(
        name=task.pair.name,
        emotion=task.pair.emotion,
        values=json.loads(str(stored["values"])),
        features={
            name.removeprefix(prefix): array.astype(np.float32)
            for name, array in stored.items()
            if name.startswith(prefix)
        },
        probabilities=stored["probabilities"],
        second=stored.get("second"),
    )
