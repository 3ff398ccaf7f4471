"""Looks read from voices and faces: ``--like`` and ``--emotion auto``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.cmet.mesh import Expresser
from mien.cmet.semantic import Voice, semantic_vector, voice_of
from mien.emotion.expression_track import AUTO, Look
from mien.errors import FaceNotFoundError, InputError
from mien.face.facs import INDEX, Expression
from mien.media.audio import has_sound
from mien.media.still import is_still, read_still
from mien.speech.listener import Heard, Listener

_SMOOTH_SECONDS: Final = 1.0
"""Spread of the weights with which moments of a voice are averaged: feelings are slow."""

_STEP: Final = 0.25
_FULL: Final = 1.5
"""Length of an expression at which the person's own gives way entirely."""

_LOOKS: Final = 40
"""Pictures of a clip that are looked at."""

_REST: Final = 0.2
"""Quantile of a clip's action units that is taken for the person at rest."""

_SHAPE: Final = 0.15
"""Readings of a single picture up to this are the person's shape rather than an expression."""

_SPEECH_UNITS: Final = ("16L", "16R", "17", "18", "25", "26", "43L", "43R")


def look_like(
    paths: Sequence[str | Path], neutral: Sequence[str | Path] = ()
) -> tuple[Look, tuple[str, ...]]:
    """The look of voices, or of one face in a picture or silent clip.

    Args:
        paths: sound files, films with sound, or one picture or film of a face. Several voices are
            averaged.
        neutral: the same speaker speaking plainly; an average neutral voice by default.

    Returns:
        The look, and warnings.

    Raises:
        InputError: for files that cannot be used.
        FaceNotFoundError: for a picture without a face.
    """
    files = [Path(path) for path in paths]
    for path in (*files, *map(Path, neutral)):
        if not path.is_file():
            raise InputError(f"There is no file {path}.")
    pictures = [path for path in files if is_still(path) or not has_sound(path)]
    if not pictures:
        return _voice_look(files, [Path(p) for p in neutral])
    if len(files) > 1:
        raise InputError(
            f"{pictures[0]} shows a face; a look is taken from several voices or from one face."
        )
    if neutral:
        raise InputError("A neutral voice belongs to a voice; a face needs none.")
    return _face_look(files[0]), ()


def follow_voice(
    source: str | Path, neutral: Sequence[str | Path] = ()
) -> tuple[Look, tuple[str, ...]]:
    """The look that follows a clip's own voice over time.

    Raises:
        InputError: when the clip has no sound.
    """
    if is_still(Path(source)) or not has_sound(Path(source)):
        raise InputError(
            f"{source} has no sound: there is no voice to follow. Name an emotion, or use --like."
        )
    listener, expresser = Listener(), Expresser()
    plain, warnings = _neutral(listener, expresser, [Path(p) for p in neutral])
    heard = listener.listen(source)
    times = np.arange(0.0, max(heard.seconds, _STEP) + _STEP, _STEP)
    spoken = [moment for moment in heard.curve if moment.embedding is not None]
    if not spoken:
        still = np.zeros(len(INDEX), np.float32)
        return Look.steady(AUTO, still, {"by": "voice", "voice": str(source)}), (
            *warnings,
            *heard.warnings,
        )
    at = np.array([moment.time for moment in spoken])
    embeddings = np.stack([m.embedding for m in spoken if m.embedding is not None])
    faces = np.stack(
        [
            expresser.expression(semantic_vector(voice_of(listener, one[None]), plain))
            for one in _smooth(at, embeddings, at)
        ]
    )
    expressions = _smooth(at, faces, times)
    presence = np.clip(np.linalg.norm(expressions, axis=1) / _FULL, 0, 1).astype(np.float32)
    look = Look(AUTO, times, expressions, presence, {"by": "voice", "voice": str(source)})
    return look, (*warnings, *heard.warnings)


def _smooth(
    at: npt.NDArray[np.float64], values: npt.NDArray[np.float32], times: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Values ``(N, D)`` known ``at`` some times, as weighted means at others ``(K, D)``."""
    gap = (times[:, None] - at[None]) / _SMOOTH_SECONDS
    # The nearest moment counts for 1, so that long pauses hold what was felt last.
    gap = gap**2 - (gap**2).min(1, keepdims=True)
    weights = np.exp(-0.5 * gap)
    return (weights @ values / weights.sum(1, keepdims=True)).astype(np.float32)


def _voice_look(files: list[Path], neutral: list[Path]) -> tuple[Look, tuple[str, ...]]:
    listener, expresser = Listener(), Expresser()
    plain, warnings = _neutral(listener, expresser, neutral)
    heard = [listener.listen(path) for path in files]
    for path, one in zip(files, heard, strict=True):
        warnings += tuple(f"{path}: {warning}" for warning in one.warnings)
    spoken = [one for one in heard if float(np.abs(one.embedding).sum()) > 0]
    about = {
        "by": "voice",
        "like": [str(path) for path in files],
        "neutral": [str(path) for path in neutral],
    }
    if not spoken:
        return Look.steady("like", np.zeros(len(INDEX), np.float32), about), warnings
    vector = semantic_vector(_mean_voice(listener, spoken), plain)
    return Look.steady("like", expresser.expression(vector), about), warnings


def _neutral(
    listener: Listener, expresser: Expresser, files: list[Path]
) -> tuple[Voice, tuple[str, ...]]:
    if not files:
        return expresser.neutral_voice, ()
    heard = [listener.listen(path) for path in files]
    warnings = tuple(
        f"{path}: {warning}"
        for path, one in zip(files, heard, strict=True)
        for warning in one.warnings
    )
    spoken = [one for one in heard if float(np.abs(one.embedding).sum()) > 0]
    if not spoken:
        raise InputError(f"Nobody speaks in {files[0]}; leave --neutral out to do without.")
    return _mean_voice(listener, spoken), warnings


def _mean_voice(listener: Listener, heard: list[Heard]) -> Voice:
    return voice_of(listener, np.stack([one.embedding for one in heard]))


def _face_look(path: Path) -> Look:
    from mien.face.tracker import FaceTracker

    still = is_still(path)
    with closing(FaceTracker(still=still)) as tracker:
        readings = []
        for image in [read_still(path)] if still else _pictures(path):
            found = tracker(image)
            if found:
                readings.append(_reading(found[0]))
    if not readings:
        raise FaceNotFoundError(f"No usable face was found in {path}.")
    seen = np.stack(readings)
    if still:
        own = np.maximum(seen[0] - _SHAPE, 0) / (1 - _SHAPE)
    else:
        own = np.median(seen, 0) - np.quantile(seen, _REST, axis=0)
        own = np.maximum(own, np.median(seen, 0) - 2 * _SHAPE)
    return Look.steady(
        "like", _complete(own.astype(np.float32)), {"by": "face", "like": [str(path)]}
    )


def _pictures(path: Path) -> list[npt.NDArray[np.uint8]]:
    from mien.media.read import VideoReader

    with VideoReader(path) as reader:
        return list(reader.first_look(_LOOKS, 60.0))


def _reading(landmarks: npt.NDArray[np.float32]) -> Expression:
    from mien.face.pose import head_pose
    from mien.face.readers import read_expression

    return read_expression(head_pose(landmarks).to_head(landmarks))


def _complete(expression: Expression) -> Expression:
    """Add what landmarks do not show but always comes along; leave out what speech does."""
    out = expression.copy()
    for side in "LR":
        out[INDEX[f"6{side}"]] = max(out[INDEX[f"6{side}"]], 0.8 * out[INDEX[f"12{side}"]])
        out[INDEX[f"9{side}"]] = max(out[INDEX[f"9{side}"]], 0.6 * out[INDEX[f"10{side}"]])
    for name in _SPEECH_UNITS:
        out[INDEX[name]] *= 0.3
    return out
