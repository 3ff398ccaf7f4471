"""Losses of a window: diffusion, quantiser, discrimination (dicetalk.md section 8; ours)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mien.datasets.svd_clips import UNKNOWN
from mien.engines.svd.attention import Stream
from mien.engines.svd.networks import SvdNetworks
from mien.engines.svd.sampler import ADDED_TIME_IDS
from mien.training.svd.windows import Window


@dataclass(frozen=True, slots=True)
class Draw:
    """What is random about a window.

    Attributes:
        noise: like the latents.
        sigma: level of the noise, > 0.
        silent: whether voice and emotion are withheld.
        blind: whether the picture is withheld.
        retrieval: whether the bank's nearest entry is asked, not all of them.
    """

    noise: Tensor
    sigma: float
    silent: bool
    blind: bool
    retrieval: bool


LOSSES: Final = ("diffusion", "quantiser", "discrimination")


class Trainee(nn.Module):
    """The nets that learn, and the frozen UNet around them.

    Args:
        nets: of the engine; adapters, audio projection, bank and guider are trained.
        temporal: whether the UNet's own temporal layers are trained too.
    """

    def __init__(self, nets: SvdNetworks, *, temporal: bool) -> None:
        super().__init__()
        self.unet: Any = nets.unet
        self.audio, self.emotion, self.guider = (
            nets.audio_projection,
            nets.emotion_bank,
            nets.pose_guider,
        )
        self._told = nets.conditioning
        self._told.caching = False
        self._feature: list[Tensor] = []
        self.unet.requires_grad_(False)
        for name, parameter in self.unet.named_parameters():
            own = "temporal_transformer_blocks" in name and temporal
            if ".attn2.processor." in name or own:
                parameter.requires_grad_(True)
        for net in (self.audio, self.emotion, self.guider):
            net.requires_grad_(True)
        self.unet.mid_block.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, given: Any, out: Tensor) -> None:  # noqa: ANN401
        self._feature = [out]

    def learned(self) -> dict[str, nn.Parameter]:
        """Everything that learns, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def forward(self, window: Window, draw: Draw) -> dict[str, Tensor]:
        """Losses, and ``codes`` of the bank's entries that were asked."""
        frames = len(window.latents)
        told = self.emotion(
            window.prior[None],
            retrieval=draw.retrieval,
            dropped=torch.tensor([draw.silent], device=window.prior.device),
        )
        self._tell(window, draw, told.tokens)
        shown = 0.0 if draw.blind else 1.0
        noisy = window.latents + draw.sigma * draw.noise
        scale = (draw.sigma**2 + 1) ** 0.5
        picture = shown * window.reference.expand(frames, -1, -1, -1)
        time = 0.25 * torch.log(torch.tensor(draw.sigma, device=noisy.device))
        ids = noisy.new_tensor([ADDED_TIME_IDS])
        said = self.unet(
            torch.cat([noisy / scale, picture], 1)[None], time, shown * window.clip, ids
        ).sample[0]
        # v-prediction: what the sampler takes it for (mien.engines.svd.sampler.euler_step).
        wanted = (noisy / scale**2 - window.latents) * scale / draw.sigma
        losses = {
            "diffusion": F.mse_loss(said.float(), wanted),
            "quantiser": told.quantised.loss,
            "discrimination": self._discriminated(window, draw),
        }
        return {**losses, "codes": told.quantised.codes}

    def _tell(self, window: Window, draw: Draw, emotion: Tensor) -> None:
        frames = len(window.latents)
        heard = window.voice.flatten(1)
        if draw.silent:
            heard = torch.zeros_like(heard[:1])
        audio = self.audio(heard)
        rows = torch.arange(frames, device=heard.device).clamp(max=len(audio) - 1)[None]
        streams = (Stream(audio, rows), Stream(emotion, torch.zeros_like(rows)))
        self._told.start(streams, window.mask[:, :1], self.guider(window.mask))

    def _discriminated(self, window: Window, draw: Draw) -> Tensor:
        """Cross entropy of the middle feature's class; little where noise hides everything."""
        judge = self.emotion.classifier
        if judge is None or window.label == UNKNOWN:
            return window.latents.new_zeros(())
        said = judge(self._feature[0].float())
        label = torch.full((len(said),), window.label, device=said.device)
        return F.cross_entropy(said, label) / (1 + draw.sigma**2)
