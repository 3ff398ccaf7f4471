"""The SVD engine: a portrait, a voice and emotion priors to images at 25 frames per second."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mien.engines.svd.cost import Work, estimate_cost, estimate_seconds, fit_memory
from mien.engines.svd.networks import SvdNetworks, load_networks
from mien.engines.svd.pipeline import DiceTalkPipeline
from mien.engines.svd.preprocess import Box, frame_count, prepare_portrait, working_size
from mien.engines.svd.settings import BRANCHES_AT_ONCE, FRAMES_PER_SECOND, SvdSettings, even_pad
from mien.errors import InputError, MienError
from mien.media.audio import Samples
from mien.media.frame import RGBImage
from mien.utils.device import out_of_memory, torch_device, working_dtype
from mien.weights.store import Store

Progress = Callable[[int, int], None]

_SLOW_SECONDS: Final = 120.0
"""Estimated time from which the user must agree."""


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """What will be generated.

    Attributes:
        width, height: pixels.
        generated_frames: frames the UNet generates, 12.5 per second.
        settings: the settings to use, with options that save memory.
        memory_options: names of those options.
    """

    width: int
    height: int
    generated_frames: int
    settings: SvdSettings
    memory_options: tuple[str, ...]

    @property
    def frame_rate_factor(self) -> int:
        """Frames of the clip per generated frame."""
        return 2 if self.settings.interpolate else 1


class SvdEngine:
    """Generates talking portraits.

    Args:
        networks: the networks, on the CPU.
        settings: how they run.

    Raises:
        InputError: for settings that cannot be used on this machine.
    """

    name = "svd"

    def __init__(self, networks: SvdNetworks, settings: SvdSettings | None = None) -> None:
        self.settings = settings or SvdSettings()
        self.settings.check()
        self.device = torch_device(self.settings.device)
        self.dtype = working_dtype(self.settings.dtype, self.device)
        if self.settings.offload and self.device.type == "cpu":
            raise InputError("--offload needs a GPU; the device here is the CPU.")
        self.networks = networks

    @classmethod
    def load(cls, store: Store, settings: SvdSettings | None = None) -> SvdEngine:
        """Load converted weights."""
        settings = settings or SvdSettings()
        return cls(load_networks(store, interpolate=settings.interpolate), settings)

    @property
    def prior_size(self) -> int:
        """Numbers of an emotion prior."""
        return self.networks.emotion_bank.spec.prior

    def plan(self, image: RGBImage, samples: Samples) -> ClipPlan:
        """Plan the clip of a portrait ``uint8 (h, w, 3)`` and a voice (16 kHz).

        Raises:
            InputError: when memory is too small, or when the clip is estimated to take long and
                the settings do not allow that.
        """
        settings, networks = self.settings, self.networks
        width, height = working_size(image.shape[1], image.shape[0], settings.shorter_side)
        frames = frame_count(len(samples))
        if settings.even_padding:
            pad = even_pad(frames, settings.windows.length)
            settings = replace(settings, windows=replace(settings.windows, pad=pad))
        settings, options = fit_memory(
            networks, settings, width, height, frames, self.device, self.dtype
        )
        if self.device.type == "cpu" and not settings.allow_slow:
            cost = estimate_cost(networks, settings, width, height, frames, self.dtype)
            needed = estimate_seconds(cost.operations, self.device, self.dtype)
            if needed > _SLOW_SECONDS:
                raise InputError(
                    f"A video of {frames / FRAMES_PER_SECOND:.1f} s is estimated to take "
                    f"{_spell(needed)} on this machine ({cost.operations / 1e12:.0f} TFLOP without "
                    "a GPU); pass --yes to run it anyway, or use --svd-preset turbo, --side 256 or "
                    "--engine mesh."
                )
        return ClipPlan(width, height, frames, settings, options)

    def frames(
        self,
        image: RGBImage,
        box: Box,
        samples: Samples,
        priors: npt.NDArray[np.float32],
        plan: ClipPlan,
        progress: Progress | None = None,
    ) -> Iterator[RGBImage]:
        """Generate the clip's frames ``uint8 (H, W, 3)``, in order.

        Args:
            image: the portrait.
            box: the face's ``x, y, w, h`` in it.
            samples: the voice, 16 kHz.
            priors: one per generated frame, ``(N, P)``.
            plan: see :meth:`plan`.
            progress: called after every call of the UNet, and after decoding and interpolating some
                frames, with the work so far and in all. The unit is a call of the UNet with three
                guidance branches; decoding and interpolation count by their operations.

        Raises:
            MienError: when memory runs out.
        """
        settings = plan.settings
        sampling = settings.sampling()
        work = Work.of(self.networks, sampling.windows, plan.width, plan.height)
        total = work.total(sampling, plan.generated_frames)
        done = _Done(progress, total, BRANCHES_AT_ONCE * work.whole)

        def call_end(step: int, branches: int) -> None:
            done.add(branches * work.branch(sampling, step))

        def counted(chunks: Iterable[Tensor], operations: float) -> Iterator[Tensor]:
            for chunk in chunks:
                done.add(len(chunk) * operations)
                yield chunk

        self.networks.conditioning.clamp = settings.clamp_mask
        self.networks.place(torch.device("cpu") if settings.offload else self.device, self.dtype)
        pipeline = DiceTalkPipeline(self.networks, device=self.device, offload=settings.offload)
        try:
            portrait = prepare_portrait(image, box, shorter_side=settings.shorter_side)
            voice = pipeline.encode_audio(samples, plan.generated_frames)
            prior = torch.from_numpy(np.ascontiguousarray(priors, np.float32))
            inputs = pipeline.encode(
                portrait,
                voice,
                prior,
                retrieval=settings.retrieval,
                scales=(settings.audio_scale, settings.emotion_scale),
            )
            generator = torch.Generator().manual_seed(settings.seed)
            latents = pipeline.denoise(
                inputs, sampling, generator=generator, callback_on_call_end=call_end
            )
            decoded = pipeline.decode(latents, inputs.frames, settings.decode_chunk_size)
            doubled = pipeline.double(counted(decoded, work.decoding))
            for chunk in counted(doubled, work.interpolation / plan.frame_rate_factor):
                yield from map(_to_bytes, chunk)
            done.finish()
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            raise MienError(
                f"Memory ran out on {self.device}. Pass --max-memory with the free gigabytes (it "
                "chooses memory-saving options), or a smaller --side."
            ) from error


class _Done:
    """Reports work in whole units, never all of it before the end."""

    def __init__(self, report: Progress | None, total: float, unit: float) -> None:
        self._report, self._unit, self._total = report, unit, max(1, round(total / unit))
        self._operations = 0.0

    def add(self, operations: float) -> None:
        """Report more operations."""
        self._operations += operations
        self._show(min(int(self._operations / self._unit), self._total - 1))

    def finish(self) -> None:
        """Report that everything is done."""
        self._show(self._total)

    def _show(self, done: int) -> None:
        if self._report is not None:
            self._report(done, self._total)


def _to_bytes(image: Tensor) -> RGBImage:
    """``float (3, H, W)`` in 0..1 to ``uint8 (H, W, 3)``."""
    out: RGBImage = (image * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(out)


def _spell(seconds: float) -> str:
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    if seconds < 2 * 86400:
        return f"{seconds / 3600:.0f} hours"
    return f"{seconds / 86400:.0f} days"
