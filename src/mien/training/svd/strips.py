"""A picture of what the svd engine has learned: one voice and face with every emotion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import cv2
import numpy as np
import torch
from torch import Tensor

from mien.engines.svd.networks import SvdNetworks
from mien.engines.svd.pipeline import DiceTalkPipeline
from mien.engines.svd.sampler import SCALING_FACTOR, ClipInputs, sample
from mien.engines.svd.settings import Sampling, Windows
from mien.media.frame import RGBImage
from mien.training.svd.data import Window

_SHOWN: Final = 4
_SIDE: Final = 160
"""Of a frame in the picture, pixels."""


def emotion_strip(
    nets: SvdNetworks,
    window: Window,
    priors: Mapping[str, Tensor],
    steps: int,
    device: torch.device,
    generator: torch.Generator,
) -> RGBImage:
    """Generate a window with every emotion; a row for each below the recorded frames.

    The first picture of a row is the reference.

    Args:
        nets: UNet and small nets on ``device``; the VAE may be elsewhere.
        window: on ``device``.
        priors: of the emotions, by name.
        steps: of the sampler.
        device: where the nets run.
        generator: of the noise, which is the same for every emotion.
    """
    pipeline = DiceTalkPipeline(nets, device=device, offload=True)
    frames = len(window.latents)
    noise = torch.randn(window.latents.shape, generator=generator).to(device)
    sampling = Sampling(steps, windows=Windows(frames, shift=0, pad=0))
    rows = {"recorded": window.latents}
    for name, prior in priors.items():
        inputs = inputs_of(nets, pipeline, window, prior)
        rows[name] = sample(nets.unet, nets.conditioning, inputs, noise, sampling)
    which = np.linspace(0, frames - 1, min(_SHOWN, frames)).round().astype(int)
    reference = window.reference * SCALING_FACTOR
    pictures = []
    for name, latents in rows.items():
        shown = torch.cat([reference, latents[which]]).float()
        decoded = torch.cat(
            [one for i in range(len(shown)) for one in pipeline.decode(shown[i : i + 1], 1)]
        )
        pictures.append(_row(name, decoded))
    out: RGBImage = np.concatenate(pictures)
    return out


def inputs_of(
    nets: SvdNetworks, pipeline: DiceTalkPipeline, window: Window, prior: Tensor
) -> ClipInputs:
    """Condition every frame of a window on its voice, picture and a prior ``(P,)``."""
    states = window.voice.flatten(1)
    rows = torch.arange(len(states), device=states.device)
    return ClipInputs(
        reference=window.reference,
        image_embedding=window.clip,
        audio=nets.audio_projection(torch.cat([states, torch.zeros_like(states[:1])])),
        emotion=pipeline.emotion_tokens(prior[None]),
        audio_rows=rows,
        emotion_rows=torch.zeros_like(rows),
        mask=window.mask[:, :1],
        pose=nets.pose_guider(window.mask),
    )


def _row(name: str, frames: Tensor) -> RGBImage:
    """Put frames ``(n, 3, H, W)`` in 0..1 beside each other and write a name on them."""
    whole: Any = (255 * frames).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    small = [cv2.resize(one, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for one in whole]
    row = np.ascontiguousarray(np.concatenate(small, 1))
    for colour, width in ((0, 3), (255, 1)):
        cv2.putText(row, name, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (colour,) * 3, width)
    out: RGBImage = row
    return out
