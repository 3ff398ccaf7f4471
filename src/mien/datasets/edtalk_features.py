"""Features of many videos for the training of the published connector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from mien.datasets.mead import EXPRESSION_SUFFIX, SPEECH_FOLDER
from mien.datasets.videos import each_video
from mien.emotion.resolve_edtalk import Voices
from mien.engines.edtalk.framing import training_crop
from mien.engines.edtalk.mel import RATE
from mien.errors import MienError
from mien.face.tracker import FaceTracker
from mien.media.audio import has_sound
from mien.media.output import whole_file
from mien.media.read import VideoReader

if TYPE_CHECKING:
    from mien.pipelines.edtalk import Published

_AT_ONCE: Final = 8


def extract(
    root: Path,
    output: Path,
    nets: Published,
    *,
    say: Callable[[str], None],
    progress: Callable[[int, int | None], None] | None = None,
) -> int:
    """Write expression coefficients and speech embeddings of every video under ``root``.

    ``OUTPUT/<same path>/NAME_ED_exp.npy`` is ``float32 (L, D)`` at 25 frames per second,
    ``.../emotion2vec+large_features/NAME.npy`` the embedding of its sound. What is there already is
    left: an interrupted run goes on.

    Args:
        root: folder of videos, MEAD's for instance.
        output: folder to write.
        nets: engine and listener.
        say: told of videos without a face or sound.
        progress: called with (videos done, videos).

    Returns:
        How many videos have features now.

    Raises:
        InputError: when there is no video under ``root``.
    """

    def read(path: Path) -> bool:
        place = output / path.parent.relative_to(root)
        face = place / f"{path.stem}{EXPRESSION_SUFFIX}"
        voice = place / SPEECH_FOLDER / f"{path.stem}.npy"
        if not face.exists():
            _save(face, expression_of(path, nets))
        if not voice.exists() and has_sound(path):
            _save(voice, Voices(nets.listener, path).hear(path))
        return face.exists()

    return each_video(root, read, say=say, progress=progress)


def expression_of(path: Path, nets: Published) -> npt.NDArray[np.float32]:
    """Expression coefficients of a clip's largest face at 25 frames per second, ``(L, D)``.

    Moments without a face are bridged by line.

    Raises:
        MienError: when there is no face in it.
    """
    times: list[float] = []
    codes: list[npt.NDArray[np.float32]] = []
    end = 0.0
    with VideoReader(path) as reader, closing(FaceTracker(max_faces=1)) as tracker:
        step = float(1 / reader.info.rate)

        def crops() -> Iterator[npt.NDArray[np.uint8]]:
            nonlocal end
            for frame in reader:
                end = float(frame.time)
                found = tracker(frame.image)
                if found:
                    times.append(end)
                    crop = training_crop(found[0])
                    yield crop.cut(frame.image, nets.engine.pixels, stretched=True)

        waiting: list[npt.NDArray[np.uint8]] = []
        for crop in crops():
            waiting.append(crop)
            if len(waiting) == _AT_ONCE:
                codes += [m.expression for m in nets.engine.motion(np.stack(waiting))]
                waiting = []
        if waiting:
            codes += [m.expression for m in nets.engine.motion(np.stack(waiting))]
    if not codes:
        raise MienError(f"No usable face was found in {path}.")
    grid = np.arange(max(1, round((end + step) * RATE))) / RATE
    table = np.stack(codes)
    columns = [np.interp(grid, times, column) for column in table.T]
    return np.stack(columns, 1).astype(np.float32)


def _save(path: Path, values: npt.NDArray[np.float32]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part, part.open("wb") as file:
        np.save(file, values)
