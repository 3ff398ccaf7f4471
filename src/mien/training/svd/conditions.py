"""What a window of the training is conditioned on: the branches of guidance, and padding.

Guidance combines branches without any condition, with the picture alone, with picture and voice,
and with everything (:mod:`mien.engines.svd.sampler`). One draw per window chooses its branch, so
that the shares are those of the settings. At the end of a clip the sampler's windows hold frames
of padding, which have neither voice nor emotion; some of the windows here have such frames, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from mien.training.svd.data import WITHHELD, DiffusionConfig, Window

_FULL: Final = "full"


@dataclass(frozen=True, slots=True)
class Draw:
    """Random numbers of a window of ``L`` frames.

    Attributes:
        noise: like the latents.
        sigma: level of the noise, > 0.
        picture: whether the reference picture is given.
        voice, emotion: frames that are given a voice and an emotion, ``bool (L,)``.
        retrieval: whether the bank uses the nearest entry instead of all of them.
        seed: of PyTorch's random numbers.
    """

    noise: Tensor
    sigma: float
    picture: bool
    voice: Tensor
    emotion: Tensor
    retrieval: bool
    seed: int = 0


def draw_conditions(
    config: DiffusionConfig, window: Window, rng: np.random.Generator, *, retrieval: bool
) -> Draw:
    """Draw the noise of a window and what it is conditioned on."""
    noise = rng.normal(size=tuple(window.latents.shape)).astype(np.float32)
    sigma = math.exp(config.sigma_mean + config.sigma_spread * float(rng.normal()))
    shares = np.array([getattr(config, name) for name in WITHHELD])
    branch = rng.choice((*WITHHELD, _FULL), p=[*shares, max(0.0, 1 - shares.sum())])
    given = window.inside & ~_padding(len(noise), config.padded, rng)
    nothing = torch.zeros_like(given)
    return Draw(
        noise=torch.from_numpy(noise),
        sigma=sigma,
        picture=branch != "without_all",
        voice=given if branch in (_FULL, "without_emotion") else nothing,
        emotion=given if branch == _FULL else nothing,
        retrieval=retrieval,
        seed=int(rng.integers(2**62)),
    )


def _padding(frames: int, share: float, rng: np.random.Generator) -> Tensor:
    """Draw which frames are padding: in ``share`` of the windows some at one end, never all."""
    out = torch.zeros(frames, dtype=torch.bool)
    padded, at_end = rng.random() < share, rng.random() < 0.5
    if padded and frames > 1:
        count = int(rng.integers(1, frames))
        out[frames - count if at_end else 0 :][:count] = True
    return out
