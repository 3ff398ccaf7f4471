"""First what a mouth says, then how it moves: the net learns phones before it learns lips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from mien.training.articulator.config import ArticulatorConfig
from mien.training.articulator.net import ArticulatorNet, ArticulatorSpec
from mien.training.articulator.phones import PhoneSampler
from mien.training.checkpoint import load_checkpoint, save_checkpoint
from mien.training.schedule import warmed_cosine
from mien.utils.device import training_device

_WARM_UP: Final = 100
_DROPOUT: Final = 0.2
_STREAM: Final = 1
"""Sets its random numbers apart from those of the lips."""


def learn_phones(
    config: ArticulatorConfig,
    folder: Path,
    *,
    say: Callable[[str], None],
    progress: Callable[[int, int], None] | None = None,
) -> ArticulatorNet:
    """A net that tells phones apart; goes on from ``folder/checkpoint.pt`` where there is one.

    Raises:
        InputError: when the phones cannot be read, or the checkpoint has other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    device = training_device(config.device)
    net = ArticulatorNet(ArticulatorSpec(config.width, _DROPOUT)).to(device)
    optimiser = torch.optim.AdamW(
        net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    state = {"net": net, "optimiser": optimiser}
    done = 0
    if (folder / "checkpoint.pt").is_file():
        done = load_checkpoint(folder, config, state, device)
    sampler = PhoneSampler(Path(config.phones), config.batch, config.seconds)
    net.train()
    right = 0.0
    while done < config.phone_steps:
        torch.manual_seed(config.seed * 1_000_003 + done)
        rate = warmed_cosine(done, config.phone_steps, _WARM_UP)
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * rate
        rows, phones = sampler.draw(np.random.default_rng([config.seed, done, _STREAM]))
        scores = net.phones(rows.to(device))
        loss = phone_loss(scores, phones.to(device))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        done += 1
        right += float((scores.argmax(2).cpu() == phones).float().mean()) / config.measure_every
        if progress is not None:
            progress(done, config.phone_steps)
        if done % config.measure_every == 0 or done == config.phone_steps:
            say(f"phones, step {done}: loss {float(loss.detach()):.3f}, {right:.3f} right")
            right = 0.0
            save_checkpoint(folder, config, done, state)
    return net


def phone_loss(scores: Tensor, phones: Tensor) -> Tensor:
    """Cross entropy of ``(B, T, classes)`` against ``(B, T)``; labels are not always right."""
    return F.cross_entropy(scores.flatten(0, 1), phones.flatten(), label_smoothing=0.1)
