"""The models of DICE-Talk, opened out of a store of converted weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from mien.emotion.references import faces_of
from mien.emotion.request import Request
from mien.emotion.resolve_svd import Embed, Prior, SvdResolver
from mien.errors import FaceNotFoundError, InputError, needs_extra
from mien.face.facs import read_landmarks
from mien.face.topology import Landmarks
from mien.face.tracker import FaceTracker
from mien.media.audio import Samples, has_sound, read_speech
from mien.media.read import VideoReader
from mien.media.resample import nearest_frames
from mien.media.still import is_still
from mien.pipelines.cmet_models import load_emotion2vec
from mien.pipelines.job import TRACKER_ASSETS
from mien.speech.analysis import VoiceAnalysis
from mien.weights.manifest import (
    INTERPOLATOR,
    PRIORS,
    SVD_NEEDED,
)
from mien.weights.store import Store, Weights, weights_used

if TYPE_CHECKING:
    from mien.engines.svd.engine import SvdEngine
    from mien.engines.svd.settings import SvdSettings
    from mien.speech.emotion2vec import Emotion2vec

Array = npt.NDArray[np.float32]

_LONGEST_SECONDS: Final = 60.0
"""Start of a clip whose faces are read as a reference."""

_POOLED_FRAMES: Final = 10
"""Frames of emotion2vec (50 per second) in one row of the embedder's voice."""


@dataclass(frozen=True, slots=True)
class SvdModels:
    """DICE-Talk's models out of a store.

    Attributes:
        engine: makes clips.
        settings: how it runs.
        store: where the models come from.
    """

    engine: SvdEngine
    settings: SvdSettings
    store: Store

    @classmethod
    def open(cls, settings: SvdSettings, store: Store | None = None) -> SvdModels:
        """Load the engine.

        Raises:
            MissingExtraError: without diffusers or transformers.
            WeightsError: when weights are missing or damaged.
            InputError: for settings that this machine cannot follow.
        """
        store = store or Store()
        with needs_extra("svd", "The engine svd"):
            from mien.engines.svd.engine import SvdEngine

        store.locate(PRIORS)  # a small file that is missing is reported before large ones load
        return cls(SvdEngine.load(store, settings), settings, store)

    def resolver(self, request: Request, own_voice: VoiceAnalysis) -> SvdResolver:
        """Return what turns a request into priors of the emotion bank.

        Raises:
            WeightsError: when the priors or the embedder are damaged.
            InputError: when they do not fit the bank.
        """
        from mien.weights.convert import load

        stored, size = load(self.store.intact(PRIORS))[0], self.engine.prior_size
        known = {name: value.numpy() for name, value in stored.items()}
        if {len(value) for value in known.values()} != {size}:
            raise InputError(
                f"The stored priors and the emotion bank are incompatible: the bank expects {size} "
                "numbers per prior."
            )
        embedder = self.settings.embedder
        embed = None if embedder is None else embedder_of(Path(embedder), self.store, size)
        return SvdResolver(request, own_voice, known, embed)

    def weights(self) -> tuple[Weights, ...]:
        """Return everything that was used, with hashes and licences."""
        interpolator = (INTERPOLATOR,) if self.settings.interpolate else ()
        names = (*TRACKER_ASSETS, *SVD_NEEDED, PRIORS, *interpolator)
        return weights_used(names, self.store)


def embedder_of(path: Path, store: Store, size: int) -> Embed:
    """Return a function from a clip, a sound or a picture to the mean of its prior (mode V).

    Args:
        path: ``embedder.safetensors`` of ``mien train dice-embedder``.
        store: where emotion2vec is; opened for the first file with sound.
        size: numbers of the bank's priors; the function returns ``float32 (size,)``.

    Raises:
        InputError: when there is no such file, or its priors do not fit the bank.
        WeightsError: when it is damaged.
    """
    import torch

    from mien.dicetalk.embedder import load_embedder

    net = load_embedder(path)
    if net.spec.width != size:
        raise InputError(
            f"{path} and the emotion bank are incompatible: priors of {net.spec.width} and {size} "
            "numbers."
        )
    listener = cache(lambda: load_emotion2vec(store))

    def embed(source: Path, samples: Samples | None) -> Prior:
        voice = None
        if not is_still(source) and has_sound(source):
            voice = voice_frames(listener(), read_speech(source) if samples is None else samples)
            if voice.shape[1] != net.spec.audio:
                raise InputError(f"{path} was trained with another emotion2vec than this one.")
        face = _face_frames_of(source, optional=voice is not None)
        given = (None if rows is None else torch.from_numpy(rows)[None] for rows in (voice, face))
        with torch.no_grad():
            mean: Prior = net(*given).mean[0].numpy()
            return mean

    return embed


def voice_frames(listener: Emotion2vec, samples: Samples) -> Array:
    """Return what the embedder reads of a voice: emotion2vec's frames, pooled, ``(T, S)``."""
    from mien.speech.emotion2vec import frames_by_piece

    out = []
    for frames in frames_by_piece(listener, samples):
        pooled = np.array_split(frames, max(1, len(frames) // _POOLED_FRAMES))
        out += [part.mean(0) for part in pooled]
    return np.stack(out)


def face_frames(landmarks: Iterable[Landmarks]) -> Array:
    """Return what the embedder reads of a face: action units, ``float32 (T, D)``."""
    read = [read_landmarks(one) for one in landmarks]
    return np.stack(read).astype(np.float32)


def sampled_faces(path: Path, seconds: float = math.inf) -> Iterator[Landmarks]:
    """Yield the largest face of a clip, as many per second as the svd engine makes frames.

    Where no face is found, the last known one stands in.

    Args:
        path: the clip.
        seconds: part of it that is read, from its start.

    Raises:
        FaceNotFoundError: when no frame shows a face.
    """
    from mien.engines.svd.settings import FRAMES_PER_SECOND

    known: Landmarks | None = None
    before = 0
    with VideoReader(path) as reader, closing(FaceTracker(max_faces=1)) as tracker:
        for frame in nearest_frames(reader, FRAMES_PER_SECOND):
            if frame.time > seconds:
                break
            faces = tracker(frame.picture)
            known = faces[0] if faces else known
            if known is None:
                before += 1
                continue
            yield from repeat(known, 1 + before)
            before = 0
    if known is None:
        raise FaceNotFoundError(f"No usable face was found in {path}.")


def _face_frames_of(source: Path, *, optional: bool) -> Array | None:
    """Return the action units of a picture or clip; None where there is no face but may be none."""
    if is_still(source):
        return face_frames(face for _, face in faces_of(source))
    try:
        return face_frames(sampled_faces(source, _LONGEST_SECONDS))
    except (FaceNotFoundError, InputError):
        if optional:
            return None
        raise
