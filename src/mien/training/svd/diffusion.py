"""Stage 2 of DICE-Talk's training: adapters, projections, bank and guider of the svd engine.

The losses (diffusion, quantiser, discrimination) and their weights are mien's; the authors did not
release theirs. It runs on accelerate: mixed precision, several processes.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mien.datasets.svd_clips import UNKNOWN
from mien.dicetalk.bank import Discriminator
from mien.engines.svd.attention import Stream
from mien.engines.svd.networks import SvdNetworks, load_networks, untrained_networks
from mien.engines.svd.preprocess import HIDDEN_STATES, STATES_PER_FRAME
from mien.engines.svd.sampler import ADDED_TIME_IDS
from mien.errors import InputError
from mien.media.frame import RGBImage
from mien.training.run import move
from mien.training.svd.backend import AccelerateBackend
from mien.training.svd.conditions import Draw, draw_conditions
from mien.training.svd.data import DiffusionConfig, Window, WindowSampler, prior_size
from mien.training.svd.memory import blocks, checkpoint_blocks, halve_frozen
from mien.training.svd.sharding import ShardedBackend
from mien.training.svd.strips import emotion_strip
from mien.training.trainer import Losses, Task, Trainer
from mien.weights.convert import save
from mien.weights.store import Store

_TRAINING, _MEASURE = 0, 1
"""Streams of random numbers."""

_HALF: Final = {"bf16": torch.bfloat16, "fp16": torch.float16}

FILES: Final = {"unet": "adapters", "audio": "audio", "emotion": "bank", "guider": "guider"}
"""Files of the trained weights by part; ``mien weights convert svd/NAME`` reads them."""


def train_diffusion(
    config: DiffusionConfig, trainer: Trainer, nets: SvdNetworks | None = None
) -> dict[str, float]:
    """Train and write the averaged weights as published files.

    ``nets``, on the CPU, are what the run starts from, and are changed; those of
    :func:`initial_nets` by default. The scores are the losses on windows of people held out, which
    are the same ones with the same noise at every measure.
    """
    task = DiffusionTask(config, nets or initial_nets(config))
    if not task.held_out:
        trainer.log("Nobody is held out (see the setting test): measured on the clips trained on.")
    return trainer.fit(task)[1]


def initial_nets(config: DiffusionConfig, store: Store | None = None) -> SvdNetworks:
    """Open the nets that a run starts from."""
    store = store or Store()
    if config.start == "published":
        return load_networks(store, interpolate=False)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return untrained_networks(store, prior_size(config.priors))


def part_of(name: str) -> str:
    """Return the part of the net that a weight belongs to, see ``rates`` in the settings."""
    if "temporal_transformer_blocks" in name and ".attn2.processor." not in name:
        return "temporal"
    return FILES[name.partition(".")[0]]


LOSSES: Final = ("diffusion", "quantiser", "discrimination")


class Trainee(nn.Module):
    """The nets that are trained (adapters, audio projection, bank, guider), in the frozen UNet.

    ``temporal``: whether the UNet's own temporal layers are trained too.
    """

    def __init__(self, nets: SvdNetworks, *, temporal: bool) -> None:
        super().__init__()
        self.unet: Any = nets.unet
        self.audio = nets.audio_projection
        self.emotion: Any = nets.emotion_bank
        self.guider = nets.pose_guider
        self._conditioning = nets.conditioning
        self._conditioning.caching = False
        self._feature: list[Tensor] = []
        self.unet.requires_grad_(False)
        for name, parameter in self.unet.named_parameters():
            own = "temporal_transformer_blocks" in name and ".attn2.to_k." not in name
            if ".attn2.processor." in name or (temporal and own):  # one token needs no keys
                parameter.requires_grad_(True)
        for net in (self.audio, self.emotion, self.guider):
            net.requires_grad_(True)
        self.unet.mid_block.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: Any, out: Tensor) -> None:  # noqa: ANN401
        self._feature = [out]

    def learned(self) -> dict[str, nn.Parameter]:
        """Return everything that is trained, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def units(self) -> list[nn.Module]:
        """Return the modules whose weights are needed at one time, inner ones first."""
        small = [self.audio, self.emotion.classifier, self.emotion, self.guider]
        return [*blocks(self.unet), self.unet, *small, self]

    def forward(self, window: Window, draw: Draw) -> dict[str, Tensor]:
        """Compute the losses, the ``codes`` of the bank's entries, and what is ``recognised``.

        That is the share of frames whose class the discriminator finds; NaN without any.
        """
        emotion = self.emotion(
            window.prior.expand(2, -1),
            retrieval=draw.retrieval,
            dropped=torch.tensor([False, True], device=window.prior.device),
        )
        self._condition(window, draw, emotion.tokens)
        shown = float(draw.picture)
        noisy = window.latents + draw.sigma * draw.noise
        scale = (draw.sigma**2 + 1) ** 0.5
        picture = shown * window.reference.expand(len(noisy), -1, -1, -1)
        time = 0.25 * torch.log(torch.tensor(draw.sigma, device=noisy.device))
        ids = noisy.new_tensor([ADDED_TIME_IDS])
        output = self.unet(
            torch.cat([noisy / scale, picture], 1)[None], time, shown * window.clip, ids
        ).sample[0]
        # v-prediction, as the sampler expects (mien.engines.svd.sampler.clean_latents).
        target = (noisy / scale**2 - window.latents) * scale / draw.sigma
        discrimination, recognised = self._discriminated(window, draw)
        losses = {
            "diffusion": F.mse_loss(output.float(), target),
            "quantiser": emotion.quantised.loss,
            "discrimination": discrimination,
        }
        return {**losses, "codes": emotion.quantised.codes[:1], "recognised": recognised}

    def _condition(self, window: Window, draw: Draw, emotion: Tensor) -> None:
        """Give every frame its own tokens or, where they are withheld, those of nothing."""
        states = window.voice.flatten(1)
        audio = self.audio(torch.cat([states, torch.zeros_like(states[:1])]))
        own = torch.arange(len(states), device=states.device)
        spoken = torch.where(draw.voice, own, len(states))
        streams = (Stream(audio, spoken[None]), Stream(emotion, (~draw.emotion).long()[None]))
        self._conditioning.start(streams, window.mask[:, :1], self.guider(window.mask))

    def _discriminated(self, window: Window, draw: Draw) -> tuple[Tensor, Tensor]:
        """Cross entropy of the class of the middle feature, less where noise hides everything.

        Frames without a known emotion weigh nothing; they are classified all the same, as every
        process must use all weights. The share of right classes comes with it.
        """
        logits = self.emotion.classifier(self._feature[0].float())
        label = logits.new_full((len(logits),), max(window.label, 0), dtype=torch.int64)
        counted = draw.emotion.float() * (window.label != UNKNOWN)
        right = ((logits.argmax(1) == label) * counted).sum() / counted.sum()
        loss = (F.cross_entropy(logits, label, reduction="none") * counted).sum()
        return loss / counted.sum().clamp(min=1) / (1 + draw.sigma**2), right


class DiffusionTask(Task[DiffusionConfig, Trainee, tuple[Window, Draw]]):
    """Trains on windows of clips, one after the other.

    Attributes:
        held_out: whether there is anybody to measure on who is not trained on.
    """

    backend: AccelerateBackend
    measure_first = True
    workers = 2

    def __init__(self, config: DiffusionConfig, nets: SvdNetworks) -> None:
        super().__init__(config)
        self.average = config.average
        self._nets = nets
        widths = {
            "whisper": nets.audio_projection.proj1.in_features
            // (STATES_PER_FRAME * HIDDEN_STATES),
            "clip_tokens": nets.unet.config.cross_attention_dim,
        }
        self._sampler = WindowSampler(config, nets.emotion_bank.spec.prior, widths)
        self.held_out = self._sampler.held_out
        self._used: list[tuple[Tensor, Tensor]] = []

    def make_backend(self) -> AccelerateBackend:
        """Open accelerate.

        Raises:
            InputError: when the processes cannot share the windows of a step evenly.
        """
        config = self.config
        launched = int(os.environ.get("WORLD_SIZE", "1"))
        spread = config.sharding == "full" and launched > 1
        backend = (ShardedBackend if spread else AccelerateBackend)(config.device, config.precision)
        if config.batch % backend.processes:
            raise InputError(
                f"batch must be a multiple of the {backend.processes} processes; got "
                f"{config.batch}."
            )
        return backend

    def build(self) -> Trainee:
        """Prepare the nets: what is trained is in single precision."""
        config, nets = self.config, self._nets
        if config.checkpointing:
            checkpoint_blocks(nets.unet)
        bank = nets.emotion_bank
        if bank.classifier is None:  # the authors' file may lack it
            bank.spec = replace(bank.spec, feature=nets.unet.config.block_out_channels[-1])
            bank.classifier = Discriminator(bank.spec)
        net = Trainee(nets, temporal=config.temporal)
        # On a GPU autocast reads frozen weights in half precision; a CPU's norms cannot.
        if config.precision == "no" or self.device.type == "cpu":
            net.float()
        for parameter in net.learned().values():  # small steps are lost in half precision
            parameter.data = parameter.data.float()
        if config.precision != "no":
            halve_frozen(nets.unet, _HALF[config.precision])
        self._unused = nn.Module()
        self._unused.register_buffer("steps", torch.zeros(bank.spec.entries))
        return net

    def helpers(self) -> dict[str, nn.Module]:
        """Return for how many steps each entry of the bank has not been used."""
        return {"unused": self._unused}

    def rate(self, step: int) -> float:
        """Return a linear rise to the full rate."""
        return min(1, (step + 1) / max(1, self.config.warm_up))

    def parameter_groups(self, net: Trainee) -> list[dict[str, Any]]:
        """Return the weights by part and rate; biases, norms and entries do not decay."""
        groups: dict[tuple[str, bool], list[nn.Parameter]] = defaultdict(list)
        for name, parameter in net.learned().items():
            decays = parameter.ndim > 1 and "codebook.codebook" not in name
            groups[part_of(name), decays].append(parameter)
        return [
            {"params": some, "share": self.config.rates.get(part, 1.0)}
            | ({} if decays else {"weight_decay": 0.0})
            for (part, decays), some in groups.items()
        ]

    def optimiser(self, net: Trainee) -> torch.optim.Optimizer:
        """Create AdamW, in one kernel where the settings say so."""
        config = self.config
        return torch.optim.AdamW(
            self.parameter_groups(net),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=config.fused,
        )

    def micro_batches(self, step: int) -> Iterator[tuple[Window, Draw]]:
        """Draw the windows of a step that belong to this process.

        Their numbers decide them: the windows of a step are the same for any number of processes.
        """
        own = self.config.batch // self.backend.processes
        for number in range(self.backend.process * own, (self.backend.process + 1) * own):
            rng = np.random.default_rng([self.config.seed, _TRAINING, step, number])
            yield self._draw(rng, retrieval=(step + number) % 2 == 0)

    def losses(self, net: nn.Module, batch: tuple[Window, Draw], step: int) -> Losses:
        """Compute the losses of a window."""
        config, (window, draw) = self.config, batch
        self.backend.seed(draw.seed)
        parts = net(window, draw)
        parts.pop("recognised")
        self._used.append((parts.pop("codes"), window.prior))
        total = Losses.weighted(parts, config).total * self.backend.processes / config.batch
        return Losses(total, parts)

    def after_step(self) -> None:
        """Replace entries of the bank that have not been used for long."""
        gather = self.backend.accelerator.gather
        codes, priors = zip(*self._used, strict=True)
        self._used.clear()
        used, prior = gather(torch.cat(codes)), gather(torch.stack(priors))
        unused, book = self._unused.get_buffer("steps"), self._nets.emotion_bank.codebook
        with self.backend.whole(book):
            book.replace_unused(unused, used, prior, self.config.restart)

    def measure(self, net: Trainee) -> dict[str, float]:
        """Return mean losses and the share of recognised classes, on the same windows each time."""
        sums, recognised = dict.fromkeys(LOSSES, 0.0), list[float]()
        for number in range(self.config.measured):
            rng = np.random.default_rng([self.config.seed, _MEASURE, number])
            window = self._draw(rng, retrieval=number % 2 == 0, held_out=True)
            losses = net(*move(window, self.device))
            for name in LOSSES:
                sums[name] += float(losses[name]) / self.config.measured
            recognised.append(float(losses["recognised"]))
        known = [share for share in recognised if not math.isnan(share)]
        return sums | ({"recognised": float(np.mean(known))} if known else {})

    def pictures(self, net: Trainee) -> dict[str, RGBImage]:
        """Generate a window of somebody held out with every emotion."""
        if not self.config.sample_steps:
            return {}
        rng = np.random.default_rng([self.config.seed, _MEASURE])
        window = move(self._sampler.draw(rng, held_out=True), self.device)
        priors = {
            name: torch.from_numpy(value).to(self.device)
            for name, value in self._sampler.priors.items()
        }
        generator = torch.Generator().manual_seed(self.config.seed)
        with self.backend.accelerator.autocast():
            strip = emotion_strip(
                self._nets, window, priors, self.config.sample_steps, self.device, generator
            )
        return {"emotions": strip}

    def export(self, net: Trainee, folder: Path) -> None:
        """Write the trained weights under their published names."""
        configs = self._nets.trained_configs()
        parts: dict[str, dict[str, Tensor]] = {file: {} for file in FILES.values()}
        for name, value in net.learned().items():
            part, _, own = name.partition(".")
            parts[FILES[part]][own] = value.detach()
        for file, tensors in parts.items():
            name = f"svd/{file}"
            save(tensors, folder / f"{file}.safetensors", configs[name], {"name": name})

    def _draw(
        self, rng: np.random.Generator, *, retrieval: bool, held_out: bool = False
    ) -> tuple[Window, Draw]:
        window = self._sampler.draw(rng, held_out=held_out)
        return window, draw_conditions(self.config, window, rng, retrieval=retrieval)
