"""All nets of the engine, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch

from mien.dicetalk.bank import EmotionBank, TokenNet
from mien.engines.svd.conditioning import Conditioning
from mien.engines.svd.pose_guider import PoseGuider
from mien.engines.svd.rife import FlowNet

SCALING: Final = 0.18215
"""Of the latents."""


@dataclass(slots=True)
class Nets:
    """What makes a clip.

    Attributes:
        unet: diffusers' video UNet with adapters.
        told: how the adapters are told things.
        vae: diffusers' ``AutoencoderKLTemporalDecoder``.
        eye: transformers' ``CLIPVisionModelWithProjection``.
        ear: encoder of transformers' ``WhisperModel``.
        audio: hidden states of a frame to tokens.
        emotion: priors to tokens.
        guider: face mask to a feature.
        between: frames between frames; None to leave the published 12.5 a second.
    """

    unet: Any
    told: Conditioning
    vae: Any
    eye: Any
    ear: Any
    audio: TokenNet
    emotion: EmotionBank
    guider: PoseGuider
    between: FlowNet | None = None

    def modules(self) -> dict[str, torch.nn.Module]:
        """The nets by name."""
        names = ("unet", "vae", "eye", "ear", "audio", "emotion", "guider", "between")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move everything; UNet, decoder, guider and flow in ``dtype``, what listens in float32."""
        for name, net in self.modules().items():
            net.eval().requires_grad_(False)
            wide = name in ("ear", "audio", "emotion", "eye")
            torch.nn.Module.to(net, device, torch.float32 if wide else dtype)
        self.vae.encoder.float()
        self.vae.quant_conv.float()
