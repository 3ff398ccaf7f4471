"""The engine: a portrait, a voice and priors to pictures at 25 frames a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mien.engines.svd.cost import Cost, cost, seconds, within
from mien.engines.svd.load import load_nets
from mien.engines.svd.nets import Nets
from mien.engines.svd.picture import Box, portrayed, working_size
from mien.engines.svd.pipeline import DiceTalkPipeline
from mien.engines.svd.rife import MULTIPLE, doubled
from mien.engines.svd.sampler import Plan
from mien.engines.svd.settings import PRESETS, SvdSettings
from mien.engines.svd.voice import FRAME_RATE, frame_count, hidden_states, whisper_encoder, windows
from mien.engines.svd.windows import even_pad
from mien.errors import InputError, MienError
from mien.media.audio import Samples
from mien.media.frame import RGBImage
from mien.utils.device import out_of_memory, torch_device, working_dtype
from mien.weights.store import Store

_LONG: Final = 120.0
"""Seconds from which a user is asked to agree."""

Progress = Callable[[int, int], None]
"""Called with the calls of the UNet done and to do."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a clip will be.

    Attributes:
        width, height: pixels.
        made: frames the UNet makes, 12.5 a second.
        made_rate: of those.
        rate: frames a second of the clip.
        cost: an estimate.
        settings: what it is made with, the levers among them.
        levers: what was done to fit the memory.
    """

    width: int
    height: int
    made: int
    made_rate: float
    rate: float
    cost: Cost
    settings: SvdSettings
    levers: tuple[str, ...]


class SvdEngine:
    """Makes clips.

    Args:
        nets: the engine's nets, on the CPU.
        settings: how it runs.

    Raises:
        InputError: for settings that this machine cannot follow.
    """

    name = "svd"

    def __init__(self, nets: Nets, settings: SvdSettings | None = None) -> None:
        self.settings = settings or SvdSettings()
        self.settings.check()
        self.device = torch_device(self.settings.device)
        self.dtype = working_dtype(self.settings.dtype, self.device)
        if self.settings.offload and self.device.type == "cpu":
            raise InputError("Nets wait on the CPU (offload) while a GPU works; here is none.")
        self.nets = nets

    @classmethod
    def load(cls, store: Store, settings: SvdSettings | None = None) -> SvdEngine:
        """Open converted weights.

        Raises:
            WeightsError: when some are missing or damaged.
            MissingExtraError: without diffusers or transformers.
        """
        settings = settings or SvdSettings()
        return cls(load_nets(store, interpolate=settings.interpolate), settings)

    @property
    def prior_size(self) -> int:
        """Numbers of an emotion prior."""
        return self.nets.emotion.spec.prior

    def scope(self, image: RGBImage, samples: Samples) -> Scope:
        """What the clip will be and cost; asks for patience where that is much.

        Raises:
            InputError: when it will take long and nobody agreed, or memory is too little.
        """
        settings = self.settings
        width, height = working_size(image.shape[1], image.shape[0], settings.side)
        made = frame_count(len(samples))
        if settings.even:
            pad = even_pad(made, settings.windows.length)
            settings = replace(settings, windows=replace(settings.windows, pad=pad))
        settings, levers = within(self.nets, settings, width, height, made, self.device, self.dtype)
        estimate = cost(self.nets, settings, width, height, made, self.dtype)
        if not settings.patient:
            self._ask(estimate, made)
        rate = FRAME_RATE * (2 if settings.interpolate else 1)
        return Scope(width, height, made, FRAME_RATE, rate, estimate, settings, levers)

    def _ask(self, estimate: Cost, made: int) -> None:
        if self.device.type != "cpu":
            return
        needed = seconds(estimate.operations, self.device, self.dtype)
        if needed > _LONG:
            raise InputError(
                f"Without a GPU these {made / FRAME_RATE:.1f} s of video will take about "
                f"{_spoken(needed)} ({estimate.operations / 1e12:.0f} TFLOP). Add --yes to go "
                "ahead, use --preset fast or --side 256, a GPU, or --engine mesh."
            )

    def frames(
        self,
        image: RGBImage,
        box: Box,
        samples: Samples,
        priors: npt.NDArray[np.float32],
        scope: Scope,
        progress: Progress | None = None,
    ) -> Iterator[RGBImage]:
        """The clip's pictures ``uint8 (H, W, 3)``, one after the other.

        Args:
            image: the portrait.
            box: of the face in it, ``x, y, w, h``.
            samples: the voice, 16 kHz.
            priors: one per made frame, ``(N, P)``.
            scope: from :meth:`scope`.
            progress: of the UNet.

        Raises:
            MienError: when memory is too little after all.
        """
        settings = scope.settings
        cpu = torch.device("cpu")
        self.nets.told.clamp = settings.clamp
        self.nets.place(cpu if settings.offload else self.device, self.dtype)
        pipeline = DiceTalkPipeline(self.nets, self.device, cpu if settings.offload else None)
        try:
            with pipeline.at_work("ear"):
                heard = hidden_states(samples, whisper_encoder(self.nets.ear, self.device))
            plan = _plan(settings)
            calls = plan.windows.calls(scope.made, plan.steps)
            each = calls // plan.steps

            def stepped(step: int, time: Tensor, given: dict[str, Tensor]) -> None:
                if progress is not None:
                    progress((step + 1) * each, calls)

            portrait = portrayed(image, box, shortest=settings.side)
            voice = windows(heard.cpu(), scope.made)
            prior = torch.from_numpy(np.ascontiguousarray(priors, np.float32))
            pipeline.check_inputs(portrait, voice, prior, plan, settings.decode)
            scene = pipeline.scene(
                portrait, voice, prior, retrieval=settings.retrieval,
                scales=(settings.audio_scale, settings.emotion_scale),
            )  # fmt: skip
            generator = torch.Generator().manual_seed(settings.seed)
            latents = pipeline.denoise(
                scene, plan, generator=generator, callback_on_step_end=stepped
            )
            yield from self._pictures(pipeline, latents, scene.frames, settings.decode)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise MienError(
                f"There is not enough memory on {self.device}. Use --max-memory with what is free "
                "(it chooses levers), --preset fast, or a smaller --side."
            ) from error

    def _pictures(
        self, pipeline: DiceTalkPipeline, latents: Tensor, count: int, decode: int
    ) -> Iterator[RGBImage]:
        """Decoded pictures, doubled where asked for; the last one twice, so that none is short."""
        last: Tensor | None = None
        for some in pipeline.frames(latents, count, decode):
            if self.nets.between is None:
                yield from map(_to_bytes, some)
                continue
            known = some if last is None else torch.cat([last, some])
            made = self._between(pipeline, known)
            yield from map(_to_bytes, made if last is None else made[1:])
            last = some[-1:]
        if last is not None:
            yield _to_bytes(last[0])

    def _between(self, pipeline: DiceTalkPipeline, frames: Tensor) -> Tensor:
        net = self.nets.between
        if net is None:
            return frames
        height, width = frames.shape[-2:]
        grown = (-height % (2 * MULTIPLE), -width % (2 * MULTIPLE))
        with torch.inference_mode(), pipeline.at_work("between"):
            given = F.pad(frames, (0, grown[1], 0, grown[0]), mode="replicate")
            made = doubled(net, given.to(pipeline.device, next(net.parameters()).dtype))
        return made[..., :height, :width].float().clamp(0, 1)


def _plan(settings: SvdSettings) -> Plan:
    return Plan(
        steps=settings.number_of_steps,
        guidance=settings.guidance(),
        windows=settings.windows,
        branches_at_once=settings.branches_at_once,
        reuse=PRESETS[settings.preset].reuse,
    )


def _to_bytes(picture: Tensor) -> RGBImage:
    """``float (3, H, W)`` in 0..1 to ``uint8 (H, W, 3)``."""
    out: RGBImage = (picture * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(out)


def _spoken(duration: float) -> str:
    if duration < 5400:
        return f"{duration / 60:.0f} minutes"
    if duration < 2 * 86400:
        return f"{duration / 3600:.0f} hours"
    return f"{duration / 86400:.0f} days"
