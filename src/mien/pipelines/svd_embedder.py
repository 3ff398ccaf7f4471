"""Mode V: a clip, a voice or a face to an emotion prior, by an embedder of the user's."""

from __future__ import annotations

from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mien.emotion.resolve_svd import Embed, Prior
from mien.errors import FaceNotFoundError, InputError
from mien.face.pose import head_pose
from mien.face.readers import read_expression
from mien.face.tracker import FaceTracker
from mien.media.audio import Samples, has_sound, read_speech
from mien.media.frame import RGBImage
from mien.media.read import VideoReader
from mien.media.still import is_still, read_still
from mien.pipelines.edtalk import open_ears
from mien.weights.store import Store

if TYPE_CHECKING:
    from mien.speech.emotion2vec import Emotion2vec

LONGEST_SECONDS: Final = 60.0
"""What is read of a clip."""

_POOLED: Final = 10
"""Frames of emotion2vec, 50 per second, that are averaged."""

Array = npt.NDArray[Any]


def embedder_of(path: Path, store: Store, size: int) -> Embed:
    """A function of clips, sounds and pictures to the mean of their prior, ``float32 (size,)``.

    Args:
        path: ``embedder.safetensors`` of ``mien train dice-embedder``.
        store: where emotion2vec is, which hears voices; opened when one is given.
        size: numbers of the bank's priors.

    Raises:
        InputError: when there is none, or it makes other priors than the bank hears.
        WeightsError: when it is damaged.
    """
    import torch

    from mien.dicetalk.embedder import load_embedder

    net = load_embedder(path)
    if net.spec.width != size:
        raise InputError(f"{path} makes priors of {net.spec.width} numbers; the bank wants {size}.")

    @cache
    def ears() -> Emotion2vec:
        return open_ears(store)

    def tensor(values: Any) -> torch.Tensor:  # noqa: ANN401
        return torch.from_numpy(values)[None]

    def embed(source: Path) -> Prior:
        still = is_still(source)
        voice = None
        if not still and has_sound(source):
            voice = tensor(voice_frames(ears(), read_speech(source)))
            if voice.shape[2] != net.spec.audio:
                raise InputError(f"{path} was trained with another emotion2vec than is here.")
        face = _face(source, voice is not None)
        with torch.no_grad():
            mean: Prior = net(voice, None if face is None else tensor(face)).mean[0].numpy()
            return mean

    return embed


def _face(source: Path, heard: bool) -> Any:  # noqa: ANN401
    """Action units of a picture or clip; None for a sound without a picture."""
    if is_still(source):
        with closing(FaceTracker(still=True)) as tracker:
            marks = tracker(read_still(source))
        if not marks:
            raise FaceNotFoundError(f"No usable face was found in {source}.")
        return face_frames([marks[0]])
    try:
        return face_frames(track_face(source)[1])
    except (FaceNotFoundError, InputError):
        if heard:
            return None
        raise


def voice_frames(net: Emotion2vec, samples: Samples) -> Array:
    """Return emotion2vec's frames averaged over fifths of a second, ``float32 (V, E)``."""
    from mien.speech.emotion2vec import frames_of

    frames = frames_of(net, samples)
    pieces = np.array_split(frames, max(1, len(frames) // _POOLED))
    return np.stack([piece.mean(0) for piece in pieces])


def face_frames(landmarks: list[Array]) -> Array:
    """Return the action units of faces, ``float32 (T, D)``."""
    units = [read_expression(head_pose(one).to_head(one)) for one in landmarks]
    return np.stack(units).astype(np.float32)


def track_face(path: Path) -> tuple[list[RGBImage], list[Array]]:
    """Read a clip's first minute at 12.5 frames per second with the landmarks of its largest face.

    Where no face is found, the last known one is repeated.

    Raises:
        FaceNotFoundError: when there is no face at all.
    """
    from mien.engines.svd.voice import FRAME_RATE

    frames: list[RGBImage] = []
    found: list[Array | None] = []
    with VideoReader(path) as reader, closing(FaceTracker(max_faces=1)) as tracker:
        for frame in reader:
            faces = tracker(frame.image)
            if frame.time > LONGEST_SECONDS:
                break
            if float(frame.time) + 1e-3 >= len(frames) / FRAME_RATE:
                frames.append(frame.image)
                found.append(faces[0] if faces else None)
    known = next((one for one in found if one is not None), None)
    if known is None:
        raise FaceNotFoundError(f"No usable face was found in {path}.")
    landmarks = []
    for one in found:
        known = one if one is not None else known
        landmarks.append(known)
    return frames, landmarks
