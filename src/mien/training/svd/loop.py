"""Stage 2: train adapters, projections, bank and guider on cached clips with accelerate."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from mien.dicetalk.bank import Discriminator
from mien.engines.svd.networks import SvdNetworks, load_networks, untrained_networks
from mien.errors import MissingExtraError
from mien.training.checkpoint import load_checkpoint, save_checkpoint
from mien.training.svd.config import DiffusionConfig
from mien.training.svd.objective import LOSSES, Draw, Trainee
from mien.training.svd.windows import Window, WindowSampler, prior_size
from mien.utils.device import training_device
from mien.weights.convert import save
from mien.weights.store import Store

_MEASURE: Final = 1
"""Sets the random numbers of a measure apart from those of the training."""

FILES: Final = {"unet": "adapters", "audio": "audio", "emotion": "bank", "guider": "guider"}
"""Where what learned is written, by part; ``mien weights convert svd/NAME`` reads them."""


def train_diffusion(
    config: DiffusionConfig,
    nets: SvdNetworks,
    folder: Path,
    *,
    resume: bool = False,
    say: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Train, writing ``checkpoint.pt`` and the averaged weights as published files.

    Args:
        config: settings.
        nets: of the engine, on the CPU (``load_networks``); those that learn are changed.
        folder: where to.
        resume: go on from the checkpoint, bit by bit on a CPU.
        say: gets lines worth reading.
        progress: called with (steps done, steps).

    Returns:
        The losses on the same windows and noise as at the beginning, averaged weights.

    Raises:
        InputError: for settings or data that cannot be used.
        MissingExtraError: without accelerate.
    """
    say = say or (lambda _: None)
    folder.mkdir(parents=True, exist_ok=True)
    run = _Run(config, nets)
    if resume:
        run.done = load_checkpoint(folder, config, run.state(), run.device)
    else:
        say(f"before: {_line(run.measure())}")
    losses: dict[str, float] = defaultdict(float)
    since = 0
    while run.done < config.steps:
        for name, value in run.step().items():
            losses[name] += value
        since += 1
        if progress is not None:
            progress(run.done, config.steps)
        if run.done % config.measure_every == 0 or run.done == config.steps:
            mean = {name: value / since for name, value in losses.items()}
            say(f"step {run.done}: {_line(mean)} | measured {_line(run.measure())}")
            losses.clear()
            since = 0
            if run.first:
                save_checkpoint(folder, config, run.done, run.state())
    if run.first:
        run.write(folder)
    return run.measure()


def nets_for(config: DiffusionConfig, store: Store | None = None) -> SvdNetworks:
    """The nets that a run begins with, out of a store.

    Raises:
        InputError: without priors.
        WeightsError, MissingExtraError: when something is missing.
    """
    store = store or Store()
    if config.start == "published":
        return load_networks(store, interpolate=False)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return untrained_networks(store, prior_size(Path(config.priors)))


def _line(losses: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in losses.items())


class _Average(nn.Module):
    """Averaged copies of what learns; a name may not hold dots in a module."""

    def __init__(self, learned: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.names = list(learned)
        for i, value in enumerate(learned.values()):
            self.register_buffer(f"p{i}", value.detach().clone())

    def values(self) -> dict[str, Tensor]:
        """The averages by name."""
        return {name: getattr(self, f"p{i}") for i, name in enumerate(self.names)}


class _Learned(nn.Module):
    """The state of what learns alone, for checkpoints: the frozen UNet is not saved."""

    def __init__(self, learned: Mapping[str, nn.Parameter]) -> None:
        super().__init__()
        self.values = nn.ParameterList(learned.values())


class _Run:
    """Nets and optimiser. Randomness depends on seed and step alone: resuming is exact."""

    def __init__(self, config: DiffusionConfig, nets: SvdNetworks) -> None:
        try:
            from accelerate import Accelerator, DistributedDataParallelKwargs
        except ImportError as error:
            raise MissingExtraError(
                f"This training needs more than the core ({error.name}): pip install 'mien[svd]'."
            ) from error
        self.config = config
        device = training_device(config.device)
        # The discriminator sees labelled windows alone: not every process uses all that learns.
        some = DistributedDataParallelKwargs(find_unused_parameters=True)
        self._accelerator = Accelerator(
            cpu=device.type == "cpu", mixed_precision=config.precision, kwargs_handlers=[some]
        )
        self.device, self.first = self._accelerator.device, self._accelerator.is_main_process
        torch.manual_seed(config.seed)
        if config.checkpointing:
            nets.unet.enable_gradient_checkpointing()
        bank = nets.emotion_bank
        if bank.classifier is None:  # the authors' file may lack it
            bank.spec = replace(bank.spec, feature=nets.unet.config.block_out_channels[-1])
            bank.classifier = Discriminator(bank.spec)
        self._configs = nets.trained_configs()
        self._trainee = Trainee(nets, temporal=config.temporal)
        self._sampler = WindowSampler(config, bank.spec.prior)
        # On a GPU autocast reads frozen weights in half precision; a CPU's norms do not.
        if config.precision == "no" or self.device.type == "cpu":
            self._trainee.float()
        learned = self._trainee.learned()
        for parameter in learned.values():  # small steps are lost in half precision
            parameter.data = parameter.data.float()
        self._optimiser = torch.optim.AdamW(
            learned.values(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self._model, self._optimiser = self._accelerator.prepare(self._trainee, self._optimiser)
        self._average = _Average(learned).to(self.device)
        self._learned = _Learned(learned)
        self._unused = nn.Module()
        self._unused.register_buffer("count", torch.zeros(bank.spec.entries))
        self.done = 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "learned": self._learned,
            "average": self._average,
            "optimiser": self._optimiser,
            "unused": self._unused,
        }

    def step(self) -> dict[str, float]:
        """One update over ``batch`` windows; the mean losses."""
        config = self.config
        for group in self._optimiser.param_groups:
            group["lr"] = config.learning_rate * min(1, (self.done + 1) / max(1, config.warm_up))
        self._model.train()
        self._optimiser.zero_grad()
        sums: dict[str, float] = defaultdict(float)
        codes, asked = [], []
        rank = self._accelerator.process_index
        for part in range(config.batch):
            rng = np.random.default_rng([config.seed, 0, self.done, rank, part])
            torch.manual_seed(int(rng.integers(2**62)))
            window, draw = self._drawn(rng, retrieval=(self.done + part) % 2 == 0)
            losses = self._model(window, draw)
            codes.append(losses.pop("codes"))
            asked.append(window.prior)
            total = (
                losses["diffusion"]
                + config.quantiser * losses["quantiser"]
                + config.discrimination * losses["discrimination"]
            )
            self._accelerator.backward(total / config.batch)
            for name, value in losses.items():
                sums[name] += float(value.detach()) / config.batch
        self._accelerator.clip_grad_norm_(self._trainee.learned().values(), 1.0)
        self._optimiser.step()
        gather = self._accelerator.gather
        self._restart(gather(torch.cat(codes)), gather(torch.stack(asked)))
        self.done += 1
        self._follow()
        return dict(sums)

    def _drawn(self, rng: np.random.Generator, *, retrieval: bool) -> tuple[Window, Draw]:
        config = self.config
        window = _moved(self._sampler.draw(rng), self.device)
        noise = rng.normal(size=tuple(window.latents.shape)).astype(np.float32)
        sigma = math.exp(config.sigma_mean + config.sigma_spread * float(rng.normal()))
        silent, blind = rng.random() < config.drop_speech, rng.random() < config.drop_image
        draw = Draw(torch.from_numpy(noise).to(self.device), sigma, silent, blind, retrieval)
        return window, draw

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Mean losses of the averaged weights over windows that are the same each time."""
        learned, average = self._trainee.learned(), self._average.values()
        kept = {name: value.detach().clone() for name, value in learned.items()}
        for name, value in learned.items():
            value.copy_(average[name])
        self._model.eval()
        sums = dict.fromkeys(LOSSES, 0.0)
        for number in range(self.config.measured):
            rng = np.random.default_rng([self.config.seed, _MEASURE, number])
            losses = self._model(*self._drawn(rng, retrieval=number % 2 == 0))
            for name in LOSSES:
                sums[name] += float(losses[name]) / self.config.measured
        for name, value in learned.items():
            value.copy_(kept[name])
        return sums

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averages; faster in the beginning."""
        keep = min(self.config.average, self.done / (self.done + 10))
        average = self._average.values()
        for name, value in self._trainee.learned().items():
            average[name].lerp_(value.detach(), 1 - keep)

    @torch.no_grad()
    def _restart(self, codes: Tensor, priors: Tensor) -> None:
        """Entries that nobody asked for in a while go where a prior is."""
        book = self._trainee.emotion.codebook
        count: Tensor = self._unused.get_buffer("count")
        count += 1
        count[codes] = 0
        for entry in torch.nonzero(count > self.config.restart).flatten().tolist():
            book.codebook.weight[entry] = book.fc(priors[entry % len(priors)])
            count[entry] = 0

    def write(self, folder: Path) -> None:
        """Write the averaged weights under their published names."""
        parts: dict[str, dict[str, Tensor]] = {file: {} for file in FILES.values()}
        for name, value in self._average.values().items():
            part, _, own = name.partition(".")
            parts[FILES[part]][own] = value
        for file, tensors in parts.items():
            about = {"name": f"svd/{file}"}
            save(tensors, folder / f"{file}.safetensors", self._configs[f"svd/{file}"], about)


def _moved(window: Window, device: torch.device) -> Window:
    names = ("latents", "reference", "clip", "voice", "mask", "prior")
    return replace(window, **{name: getattr(window, name).to(device) for name in names})
