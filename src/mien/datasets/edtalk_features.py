"""Features for the training of the published connector: EDTalk's expressions, emotion2vec's voices.

Beside every video's place in MEAD's folders (:mod:`mien.datasets.mead`) there are
``NNN_ED_exp.npy``, expression coefficients ``float32 (L, 10)`` at 25 frames per second, and
``emotion2vec+large_features/NNN.npy``, the speech embedding ``float32 (1024,)``: the layout that
C-MET published (arXiv 2604.07786, section 3.4). ``mien features`` writes both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from mien.datasets.manifest import Processed, find_videos, needed_speech, process_videos
from mien.datasets.mead import find_files
from mien.engines.edtalk.framing import training_crop
from mien.engines.edtalk.settings import FRAMES_PER_SECOND
from mien.errors import InputError, MienError
from mien.face.tracker import FaceTracker
from mien.media.audio import read_speech
from mien.media.output import whole_file
from mien.media.read import VideoReader
from mien.utils.numeric import interpolate_rows

if TYPE_CHECKING:
    from mien.pipelines.cmet_models import CmetModels

EXPRESSION_SUFFIX: Final = "_ED_exp.npy"
SPEECH_FOLDER: Final = "emotion2vec+large_features"

_BATCH: Final = 8
_LISTED: Final = 5
"""Missing files that an error lists."""

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recording:
    """A video's features.

    Attributes:
        person, emotion: as in :class:`mien.datasets.mead.MeadFile`.
        level: 1 to 3.
        sentence: its number.
        expression: ``float32 (L, D)``.
        voice: ``float32 (S,)``.
    """

    person: str
    emotion: str
    level: int
    sentence: int
    expression: Array
    voice: Array


def read_features(folder: Path, people: Sequence[str]) -> list[Recording]:
    """Read the features of some people, in order of their paths.

    Raises:
        InputError: when there are none, or when some lack a voice, naming them.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder of features {folder}; make it with mien features.")
    out, missing = [], []
    for file in find_files(folder, (EXPRESSION_SUFFIX,)):
        if file.person not in people:
            continue
        name = file.path.name.removesuffix(EXPRESSION_SUFFIX)
        voice = file.path.parent / SPEECH_FOLDER / f"{name}.npy"
        if not voice.is_file() or not name.isdigit():
            missing.append(str(voice))
            continue
        code = np.load(file.path, allow_pickle=False).astype(np.float32)
        if code.ndim != 2 or len(code) < 1 or not np.isfinite(code).all():
            raise InputError(
                f"{file.path} should hold finite coefficients (L, D); its shape is {code.shape}."
            )
        embedding = np.load(voice, allow_pickle=False).astype(np.float32).reshape(-1)
        out.append(Recording(file.person, file.emotion, file.level, int(name), code, embedding))
    if missing:
        more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
        raise InputError(f"Features are missing: {', '.join(missing[:_LISTED])}{more}.")
    if not out:
        raise InputError(
            f"{folder} holds no <ID>/front/<emotion>/<level_N>/NNN{EXPRESSION_SUFFIX} of the "
            f"{len(people)} people wanted."
        )
    return out


def extract_features(
    root: Path,
    output: Path,
    models: CmetModels,
    *,
    views: Sequence[str] = (),
    log: Callable[[str], None],
    progress: Callable[[int, int | None], None] | None = None,
) -> Processed:
    """Write expression coefficients and speech embeddings of every video under ``root``.

    Existing files are kept, so that an interrupted run continues. A video without sound, in the
    film or beside it, is left out, as training needs both.

    Args:
        root: folder of videos, MEAD's for instance.
        output: folder to write, with the same subfolders.
        models: backbone and speech encoder.
        views: of MEAD that are read; all by default.
        log: called with a line per video without a face or sound.
        progress: called with (videos done, videos).

    Raises:
        InputError: when there is no video under ``root``, or not one could be used.
    """

    def extract(path: Path) -> None:
        place = output / path.parent.relative_to(root)
        face = place / f"{path.stem}{EXPRESSION_SUFFIX}"
        voice = place / SPEECH_FOLDER / f"{path.stem}.npy"
        speech = None if voice.exists() else needed_speech(path)
        if not face.exists():
            _save(face, read_expressions(path, models))
        if speech is not None:
            _save(voice, models.embed(read_speech(speech)))

    videos = find_videos(root, views, log=log)
    return process_videos(root, videos, extract, log=log, progress=progress)


def read_expressions(path: Path, models: CmetModels) -> Array:
    """Read the expression coefficients of a clip's largest face, ``float32 (L, D)``, 25 per second.

    Gaps without a face are interpolated linearly.

    Raises:
        MienError: when there is no face in it.
    """
    times: list[float] = []
    end = 0.0

    def crops(reader: VideoReader, tracker: FaceTracker) -> Iterator[npt.NDArray[np.uint8]]:
        nonlocal end
        for frame in reader:
            end = float(frame.time)
            found = tracker(frame.picture)
            if found:
                times.append(end)
                yield training_crop(found[0]).cut(
                    frame.picture, models.engine.pixels, replicate_edges=True
                )

    with VideoReader(path) as reader, closing(FaceTracker(max_faces=1)) as tracker:
        step = float(1 / reader.info.rate)
        stream, codes = crops(reader, tracker), list[Array]()
        while some := list(islice(stream, _BATCH)):
            codes += [motion.expression for motion in models.engine.motion(np.stack(some))]
    if not codes:
        raise MienError(f"No usable face was found in {path}.")
    grid = np.arange(max(1, round((end + step) * FRAMES_PER_SECOND))) / FRAMES_PER_SECOND
    return interpolate_rows(grid, np.array(times), np.stack(codes))


def _save(path: Path, values: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part, part.open("wb") as file:
        np.save(file, values)
