"""Cached clips for the training of the SVD engine (``mien features --engine svd``).

A file ``NAME.npz`` holds, at 12.5 frames per second:

- ``latents`` ``float16 (T, 4, h, w)``, times the scaling factor;
- ``clip_tokens`` ``float16 (R, C)`` and ``reference_frames`` ``int (R,)``: CLIP's tokens of frames
  that can serve as the reference picture, and which frames these are;
- ``whisper`` ``float16 (S, 5, C)``: Whisper's hidden states, 50 per second;
- ``mask`` ``uint8 (H, W)``: 255 where the face is, else 0;
- ``face`` ``float32 (T, D)``: action units; ``voice`` ``float32 (V, E)``: emotion2vec's frames.

MEAD's folders give person, emotion and level; clips elsewhere (HDTF) are unlabelled, and their
emotion comes from an embedder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.datasets.manifest import Processed, needed_speech, process_videos
from mien.datasets.mead import EMOTIONS, LEVELS, NEUTRAL, read_place
from mien.errors import InputError
from mien.media.audio import SAMPLE_RATE_HZ, Samples, read_speech
from mien.media.frame import RGBImage
from mien.media.output import whole_file
from mien.pipelines.models import LONGEST_SECONDS, face_frames, sampled_frames, voice_frames
from mien.weights.store import Store

if TYPE_CHECKING:
    import torch

    from mien.engines.svd.networks import SvdNetworks
    from mien.speech.emotion2vec import Emotion2vec

Array = npt.NDArray[Any]

CLASSES: Final = 1 + LEVELS * (len(EMOTIONS) - 1)
"""Neutral, and seven emotions at three levels: 22."""

UNKNOWN: Final = -1
ARRAYS: Final = (
    "latents", "clip_tokens", "reference_frames", "whisper", "mask", "face", "voice",
)  # fmt: skip

_MARGIN: Final = 0.5
"""Of the face's box on every side: the published crop."""

_REFERENCES: Final = 4
_BATCH: Final = 8


@dataclass(frozen=True, slots=True)
class CachedClip:
    """A cached clip and its label.

    Attributes:
        path: of the file.
        person: MEAD's name; the name of the file elsewhere.
        emotion: one of MEAD's; empty for unlabelled clips.
        level: 1 to 3; 1 for neutral.
    """

    path: Path
    person: str
    emotion: str
    level: int

    @property
    def label(self) -> int:
        """Class of the discriminator, 0 for neutral; -1 for unlabelled clips."""
        if not self.emotion:
            return UNKNOWN
        if self.emotion == NEUTRAL:
            return 0
        others = [name for name in EMOTIONS if name != NEUTRAL]
        return 1 + LEVELS * others.index(self.emotion) + self.level - 1


def find_clips(folder: Path) -> list[CachedClip]:
    """List the cached clips under ``folder``, in order of paths.

    Raises:
        InputError: when there is none.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; make it with mien features --engine svd.")
    out = []
    for path in sorted(folder.rglob("*.npz")):
        place = read_place(path, folder)
        if place is None:
            out.append(CachedClip(path, path.stem, "", 1))
        else:
            out.append(CachedClip(path, place.person, place.emotion, place.level))
    if not out:
        raise InputError(f"There is no cached clip (*.npz) under {folder}.")
    return out


def load_arrays(path: Path, *names: str) -> dict[str, Array]:
    """Read some arrays of a cached clip.

    Raises:
        InputError: when one is missing or not finite.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            out = {name: stored[name] for name in names}
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} is not a cached clip ({error}); make it again.") from error
    for name, values in out.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise InputError(f"{path}: {name} holds values that are not finite; make it again.")
    return out


class ClipEncoder:
    """Computes the arrays of cached clips from videos.

    Args:
        nets: of the SVD engine; VAE, image encoder and audio encoder are used.
        emotion2vec: in evaluation mode.
        side: pixels of the square crop, a multiple of 64.
        device: where the nets are.

    Raises:
        InputError: for another side.
    """

    def __init__(
        self, nets: SvdNetworks, emotion2vec: Emotion2vec, side: int, device: torch.device
    ) -> None:
        if side < 64 or side % 64:
            raise InputError(f"The side must be a multiple of 64; got {side}.")
        self._nets, self._emotion2vec, self._side, self._device = nets, emotion2vec, side, device

    @classmethod
    def open(cls, store: Store, side: int, device: torch.device) -> ClipEncoder:
        """Open the nets of a store.

        Raises:
            WeightsError, MissingExtraError: when something is missing.
        """
        from mien.engines.svd.networks import untrained_networks
        from mien.pipelines.cmet_models import load_emotion2vec

        nets = untrained_networks(store, prior_size=2)
        for net in (nets.vae, nets.image_encoder, nets.audio_encoder):
            net.eval().requires_grad_(False).to(device).float()
        return cls(nets, load_emotion2vec(store).to(device).eval(), side, device)

    def encode(self, path: Path) -> dict[str, Array]:
        """Compute :data:`ARRAYS` of a video's first minute.

        Raises:
            MienError: when there is no face or no sound in it.
        """
        speech = needed_speech(path)
        frames, landmarks = sampled_frames(path)
        samples = read_speech(speech)[: round(LONGEST_SECONDS * SAMPLE_RATE_HZ)]
        crops, mask = self._crop(frames, landmarks)
        latents, tokens, references = self._encode_pictures(crops)
        return {
            "latents": latents.astype(np.float16),
            "clip_tokens": tokens.astype(np.float16),
            "reference_frames": references,
            "whisper": self._encode_speech(samples).astype(np.float16),
            "mask": mask,
            "face": face_frames(landmarks),
            "voice": voice_frames(self._emotion2vec, samples).astype(np.float32),
        }

    def _crop(self, frames: list[RGBImage], landmarks: list[Array]) -> tuple[list[RGBImage], Array]:
        """Square crops around all of the clip's faces, and the mask of the face in them."""
        from mien.engines.svd.preprocess import crop_box, mask_box

        points = np.concatenate([one[:, :2] for one in landmarks])
        (x0, y0), (x1, y1) = points.min(0).tolist(), points.max(0).tolist()
        height, width = frames[0].shape[:2]
        left, top, right, bottom = crop_box((x0, y0, x1, y1), width, height, _MARGIN)
        mask = np.zeros((height, width), np.uint8)
        a, b, c, d = mask_box((x0, y0, x1 - x0, y1 - y0), width, height)
        mask[b:d, a:c] = 255
        size = (self._side, self._side)
        *crops, small = (
            cv2.resize(image[top:bottom, left:right], size, interpolation=cv2.INTER_AREA)
            for image in (*frames, mask)
        )
        return crops, small

    def _encode_pictures(self, crops: list[RGBImage]) -> tuple[Array, Array, Array]:
        """Latents of all crops; CLIP's tokens of some, and their indices."""
        import torch

        from mien.engines.svd.preprocess import prepare_portrait
        from mien.engines.svd.sampler import SCALING_FACTOR

        latents = []
        with torch.no_grad():
            for start in range(0, len(crops), _BATCH):
                some = np.stack(crops[start : start + _BATCH]).transpose(0, 3, 1, 2)
                pictures = torch.from_numpy(some.astype(np.float32) / 127.5 - 1).to(self._device)
                mode = self._nets.vae.encode(pictures).latent_dist.mode()
                latents.append((mode * SCALING_FACTOR).cpu().numpy())
            which = np.unique(np.linspace(0, len(crops) - 1, _REFERENCES).round().astype(np.int64))
            box = (0.0, 0.0, float(self._side), float(self._side))
            portraits = [prepare_portrait(crops[i], box, shorter_side=self._side) for i in which]
            shown = np.stack([portrait.clip for portrait in portraits])
            tokens = self._nets.image_encoder(torch.from_numpy(shown).to(self._device)).image_embeds
        return np.concatenate(latents), tokens.cpu().numpy(), which

    def _encode_speech(self, samples: Samples) -> Array:
        from mien.engines.svd.preprocess import hidden_states, whisper_encoder

        states = hidden_states(samples, whisper_encoder(self._nets.audio_encoder, self._device))
        return states.cpu().numpy()


def cache_clips(
    root: Path,
    output: Path,
    encoder: ClipEncoder,
    *,
    log: Callable[[str], None],
    progress: Callable[[int, int | None], None] | None = None,
) -> Processed:
    """Write ``OUTPUT/<same path>/NAME.npz`` for every video under ``root`` and count them.

    Existing files are kept, so that an interrupted run continues.

    Args:
        root: folder of videos; those in MEAD's folders become labelled clips.
        output: folder to write.
        encoder: computes the arrays.
        log: called with a line per video without a face or sound.
        progress: called with (videos done, videos).

    Raises:
        InputError: when there is no video under ``root``, or not one could be used.
    """

    def cache(path: Path) -> None:
        target = output / path.relative_to(root).with_suffix(".npz")
        if not target.exists():
            arrays = encoder.encode(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(target) as part, part.open("wb") as file:
                np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    return process_videos(root, cache, log=log, progress=progress)
