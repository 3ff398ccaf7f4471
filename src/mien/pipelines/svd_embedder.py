"""Mode V: a clip, a voice or a face to an emotion prior, by an embedder of the user's."""

from __future__ import annotations

from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.datasets.svd_latents import felt_frames, followed, seen_frames
from mien.emotion.resolve_svd import Embed, Prior
from mien.errors import FaceNotFoundError, InputError
from mien.face.tracker import FaceTracker
from mien.media.audio import has_sound, read_speech
from mien.media.still import is_still, read_still
from mien.pipelines.edtalk import open_ears
from mien.weights.store import Store

if TYPE_CHECKING:
    from mien.speech.emotion2vec import Emotion2vec


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
            voice = tensor(felt_frames(ears(), read_speech(source)))
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
        return seen_frames([marks[0]])
    try:
        return seen_frames(followed(source)[1])
    except (FaceNotFoundError, InputError):
        if heard:
            return None
        raise
