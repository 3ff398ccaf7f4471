"""Prepare a corpus's films once: tracked faces, their speech, and tables of both.

``tracks/PLACE.npz`` holds for every frame of the film ``landmarks`` ``float32 (T, 478, 3)``, pixels
of the largest face, ``missing`` ``bool (T,)`` where there is none, ``seconds`` ``float64 (T,)`` and
``size`` (height, width); ``audio/PLACE.ogg`` its speech, 16 kHz mono, lossless. ``clips.csv`` lists
clips as the training of the articulator reads them, ``voices.csv`` voices as those on voices do.
Each file appears whole or not at all, and what is there is kept: an interrupted run continues.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.datasets.films import Film, Progress, find_films
from mien.errors import InputError
from mien.face.topology import Landmarks
from mien.face.tracker import FaceTracker
from mien.media.audio import SAMPLE_RATE_HZ, Samples, read_speech
from mien.media.output import whole_file
from mien.media.read import VideoReader
from mien.utils.workers import run_tasks

TRACKS, AUDIO = "tracks", "audio"
CLIPS, VOICES = "clips.csv", "voices.csv"

_LEAST_TRACKED: Final = 0.9
"""Share of frames with a face from which a clip is trained on."""

_POINTS: Final = 478


@dataclass(frozen=True, slots=True)
class Track:
    """The largest face of a film.

    Attributes:
        landmarks: ``float32 (T, 478, 3)`` pixels; zero where there is no face.
        missing: where there is none, ``bool (T,)``.
        seconds: times of the frames, ``float64 (T,)``.
        size: height and width of the frames.
    """

    landmarks: npt.NDArray[np.float32]
    missing: npt.NDArray[np.bool_]
    seconds: npt.NDArray[np.float64]
    size: tuple[int, int]

    def at(self, number: int) -> list[Landmarks]:
        """Return the face in a frame, as a tracker does."""
        absent = number >= len(self.missing) or bool(self.missing[number])
        return [] if absent else [self.landmarks[number]]

    @property
    def tracked(self) -> float:
        """Share of the frames with a face."""
        return 1 - float(self.missing.mean())

    @property
    def rate(self) -> float:
        """Frames per second."""
        steps = np.diff(self.seconds)
        return float(1 / np.median(steps)) if len(steps) else 0.0


def track_face(path: Path) -> Track:
    """Track the largest face of a film.

    Raises:
        InputError: when the film cannot be read or holds no frame.
    """
    found: list[Landmarks] = []
    missing, seconds = [], []
    size = (0, 0)
    with VideoReader(path) as reader, closing(FaceTracker(max_faces=1)) as tracker:
        for frame in reader:
            faces = tracker(frame.picture)
            size = (frame.picture.height, frame.picture.width)
            found.append(faces[0] if faces else np.zeros((_POINTS, 3), np.float32))
            missing.append(not faces)
            seconds.append(float(frame.time))
    if not found:
        raise InputError(f"{path} holds no frame.")
    return Track(np.stack(found), np.array(missing), np.array(seconds), size)


def read_track(path: Path) -> Track:
    """Read a track that was prepared.

    Raises:
        InputError: when the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            height, width = stored["size"].tolist()
            return Track(stored["landmarks"], stored["missing"], stored["seconds"], (height, width))
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} is no track ({error}); remove it and prepare again.") from error


@dataclass(frozen=True, slots=True)
class Clip:
    """A row of ``clips.csv``.

    Attributes:
        clip: the film's place.
        kind: ``real``.
        split: ``train``, ``val`` or ``test``.
        seconds: length.
        fps: frames per second.
        audio: 1 where there is speech, else 0.
        tracked: share of the frames with a face.
        person, emotion, level, sentence: what the corpus says; empty where it says nothing.
    """

    clip: str
    kind: str
    split: str
    seconds: float
    fps: float
    audio: int
    tracked: float
    person: str
    emotion: str
    level: str
    sentence: str


def prepared_track(prepared: Path, corpus: Path, film: Path) -> Path | None:
    """Return the track of a film of a corpus that was prepared; None where there is none."""
    if not film.is_relative_to(corpus):
        return None
    path = prepared / TRACKS / f"{film.relative_to(corpus).with_suffix('').as_posix()}.npz"
    return path if path.is_file() else None


def prepare_film(output: Path, film: Film) -> Clip:
    """Write the track and the speech of a film where they are not there yet.

    Raises:
        InputError: when the film cannot be read.
    """
    target = output / TRACKS / f"{film.place}.npz"
    if not target.exists():
        track = track_face(film.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target) as part, part.open("wb") as file:
            np.savez_compressed(file, **asdict(track))
    track = read_track(target)
    sound = output / AUDIO / f"{film.place}.ogg"
    speech = None if sound.exists() else film.speech()
    if speech is not None:
        sound.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(sound) as part:
            write_speech(part, read_speech(speech))
    label, rate = film.label, track.rate
    return Clip(
        clip=film.place,
        kind="real",
        split=label.split,
        seconds=round(float(track.seconds[-1]) + (1 / rate if rate else 0), 3),
        fps=round(rate, 3),
        audio=int(sound.exists()),
        tracked=round(track.tracked, 3),
        person=label.speaker,
        emotion=label.emotion,
        level="" if label.intensity is None else str(label.intensity),
        sentence=label.sentence,
    )


def write_speech(path: Path, samples: Samples) -> None:
    """Write ``float32 (N,)`` at 16 kHz as 16 bits, lossless (FLAC in Ogg)."""
    import av

    values = np.clip(np.rint(samples * 32767), -32768, 32767).astype(np.int16)
    with av.open(str(path), "w", format="ogg", options={"fflags": "bitexact"}) as container:
        stream = container.add_stream("flac", rate=SAMPLE_RATE_HZ, layout="mono", format="s16")
        frame = av.AudioFrame.from_ndarray(values[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@dataclass(frozen=True, slots=True)
class Preparation:
    """Result of a preparation.

    Attributes:
        films: number of films.
        clips: how many of them are in ``clips.csv``: with speech, and a face nearly throughout.
        voices: how many are in ``voices.csv``: with speech and an emotion.
        silent: places of films without sound.
        faceless: places of films whose face is missing in more than a tenth of the frames.
        unreadable: films that could not be read, and why.
    """

    films: int
    clips: int
    voices: int
    silent: tuple[str, ...]
    faceless: tuple[str, ...]
    unreadable: dict[str, str]


def prepare_corpus(
    corpus: str,
    folder: Path,
    output: Path,
    *,
    workers: int = 1,
    ray: str | None = None,
    progress: Progress | None = None,
) -> Preparation:
    """Prepare the films of a corpus in ``output``; the result does not depend on the workers.

    Args:
        corpus: as for :func:`mien.datasets.films.find_films`.
        folder: its root.
        output: folder to write; must lie outside ``folder``.
        workers: processes that work at once.
        ray: as for :func:`mien.utils.workers.run_tasks`.
        progress: called with (films done, films).

    Raises:
        InputError: for a corpus that is not there, or an output inside it.
    """
    folder, output = folder.resolve(), output.resolve()
    if output.is_relative_to(folder):
        raise InputError(f"{output} lies inside {folder}; choose a folder outside the corpus.")
    films = find_films(corpus, folder)
    output.mkdir(parents=True, exist_ok=True)
    clips: dict[str, Clip] = {}
    unreadable: dict[str, str] = {}
    work = partial(prepare_film, output)
    for done, outcome in enumerate(run_tasks(work, films, workers=workers, ray=ray), 1):
        if outcome.value is not None:
            clips[outcome.task.place] = outcome.value
        else:
            unreadable[outcome.task.place] = str(outcome.error)
        if progress is not None:
            progress(done, len(films))
    ready = [clips[film.place] for film in films if film.place in clips]
    used = [clip for clip in ready if clip.audio and clip.tracked >= _LEAST_TRACKED]
    _write_table(output / CLIPS, [field.name for field in fields(Clip)], map(asdict, used))
    voices = [_voice(corpus, clip) for clip in ready if clip.audio and clip.emotion]
    _write_table(output / VOICES, list(_voice(corpus, ready[0])) if ready else [], voices)
    return Preparation(
        films=len(films),
        clips=len(used),
        voices=len(voices),
        silent=tuple(clip.clip for clip in ready if not clip.audio),
        faceless=tuple(clip.clip for clip in ready if clip.tracked < _LEAST_TRACKED),
        unreadable=dict(sorted(unreadable.items())),
    )


def _voice(corpus: str, clip: Clip) -> dict[str, object]:
    """Return a row of a manifest of voices."""
    return {
        "file": f"{AUDIO}/{clip.clip}.ogg",
        "corpus": corpus,
        "speaker": clip.person,
        "emotion": clip.emotion,
        "intensity": clip.level,
        "sentence": clip.sentence,
        "split": clip.split,
    }


def _write_table(path: Path, names: list[str], rows: Iterable[dict[str, object]]) -> None:
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
