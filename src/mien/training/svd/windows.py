"""Windows of cached clips with everything that the UNet is told about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mien.datasets.mead import LEVELS, NEUTRAL
from mien.datasets.svd_clips import ARRAYS, UNKNOWN, CachedClip, find_clips, load_arrays
from mien.dicetalk.embedder import EmotionEmbedder, load_embedder
from mien.engines.svd.preprocess import audio_windows
from mien.engines.svd.sampler import SCALING_FACTOR
from mien.errors import InputError
from mien.training.svd.config import DiffusionConfig
from mien.weights.convert import read_prior


@dataclass(frozen=True, slots=True)
class Window:
    """A window of ``L`` frames.

    Attributes:
        latents: ``float32 (L, 4, h, w)``, scaled.
        reference: latent of the picture, not scaled, ``(1, 4, h, w)``.
        clip: CLIP's token of the picture ``(1, 1, C)``.
        voice: what every frame hears ``(L, 10, 5, C)``.
        mask: ``(1, 3, H, W)``, 0..1.
        prior: ``(P,)``.
        label: class, -1 where nobody said.
    """

    latents: Tensor
    reference: Tensor
    clip: Tensor
    voice: Tensor
    mask: Tensor
    prior: Tensor
    label: int


class WindowSampler:
    """Draws windows: labelled and other clips in turn, one to one.

    Raises:
        InputError: for data that cannot be used.
    """

    def __init__(self, config: DiffusionConfig, numbers: int) -> None:
        self._config = config
        self._labelled = [one for one in find_clips(Path(config.labelled)) if one.emotion]
        if not self._labelled:
            raise InputError(f"{config.labelled} is not in MEAD's layout: nobody says who feels.")
        self._other = find_clips(Path(config.unlabelled)) if config.unlabelled else []
        self._priors = _read_priors(Path(config.priors))
        wrong = {name: len(v) for name, v in self._priors.items() if len(v) != numbers}
        if wrong:
            raise InputError(f"The priors of {config.priors} must have {numbers} numbers: {wrong}.")
        missing = {one.emotion for one in self._labelled} - set(self._priors)
        if missing:
            raise InputError(f"{config.priors} has no prior of {', '.join(sorted(missing))}.")
        self._embedder = _embedder(Path(config.embedder), numbers) if config.embedder else None

    def draw(self, rng: np.random.Generator) -> Window:
        """One window."""
        from_other = bool(self._other) and rng.random() < 0.5
        clips = self._other if from_other else self._labelled
        return self._window(clips[int(rng.integers(len(clips)))], rng)

    def _window(self, one: CachedClip, rng: np.random.Generator) -> Window:
        parts: dict[str, Any] = load_arrays(one.path, *ARRAYS[:5])
        latents, length = parts["latents"], self._config.frames
        start = int(rng.integers(max(1, len(latents) - length + 1)))
        index = np.minimum(np.arange(start, start + length), len(latents) - 1)
        which = int(rng.integers(len(parts["reference_frames"])))
        heard = audio_windows(torch.from_numpy(parts["whisper"].astype(np.float32)), len(latents))
        mask = torch.from_numpy(parts["mask"].astype(np.float32) / 255)
        return Window(
            latents=_tensor(latents[index]),
            reference=_tensor(latents[parts["reference_frames"][which]])[None] / SCALING_FACTOR,
            clip=_tensor(parts["clip_tokens"][which])[None, None],
            voice=heard[index],
            mask=mask[None, None].expand(1, 3, -1, -1),
            prior=torch.from_numpy(self._prior(one, rng)),
            label=one.label,
        )

    def _prior(self, one: CachedClip, rng: np.random.Generator) -> np.ndarray:
        own = rng.random() < self._config.own_prior
        if self._embedder is not None and (own or one.label == UNKNOWN):
            parts: dict[str, Any] = load_arrays(one.path, "voice", "face")
            given = (_tensor(parts[name])[None] for name in ("voice", "face"))
            with torch.no_grad():
                gaussian = self._embedder(*given)
                noise = torch.from_numpy(rng.normal(size=gaussian.mean.shape).astype(np.float32))
                out: np.ndarray = gaussian.sample(noise)[0].numpy()
                return out
        plain = self._priors[NEUTRAL]
        if one.label == UNKNOWN:
            return plain
        share = np.float32(one.level / LEVELS) if one.emotion != NEUTRAL else np.float32(1)
        return plain + share * (self._priors[one.emotion] - plain)


def _tensor(values: Any) -> Tensor:  # noqa: ANN401
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def prior_size(folder: Path) -> int:
    """Numbers of the priors of a folder.

    Raises:
        InputError: when there are none.
    """
    return len(_read_priors(folder)[NEUTRAL])


def _read_priors(folder: Path) -> dict[str, np.ndarray]:
    found = {path.stem.lower(): read_prior(path) for path in sorted(folder.glob("*.npy"))}
    if NEUTRAL not in found:
        raise InputError(f"{folder} must hold EMOTION.npy files, neutral.npy among them.")
    return found


def _embedder(path: Path, size: int) -> EmotionEmbedder:
    net = load_embedder(path)
    if net.spec.width != size:
        raise InputError(f"{path} makes priors of {net.spec.width} numbers; {size} are needed.")
    return net
