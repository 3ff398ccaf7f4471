"""Ten steps of the published training against the paper's arithmetic, written out once more.

Nothing of mien's networks, losses or optimiser is used here: tensors by name, plain operations.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tensorboard")

from torch.nn import functional as F  # noqa: N812

from mien.cmet.connector import Connector
from mien.training.connector.edtalk import EDTalkConnectorConfig, EDTalkConnectorTask
from mien.training.trainer import Trainer

from .test_published_training import write_features

STEPS, HEADS, RATE, DECAY = 10, 4, 1e-4, 1e-5
TEMPERATURE, CONTRASTIVE, DIRECTIONAL = 0.1, 0.1, 0.05

Tensors = dict[str, torch.Tensor]

BLOCKS = (
    # kernel, stride, padding, residual
    (3, 1, 1, False), (3, 2, 1, False), (3, 1, 1, True), (3, 1, 1, True), (3, 2, 1, False),
    (3, 1, 1, True), (3, 1, 1, True), (2, 2, 0, False), (1, 1, 0, False),
)  # fmt: skip
"""Of the tokens' stacks at width 64; 1-4-8-8-8-16-16-16-32-64 channels."""


def tokens(w: Tensors, stack: str, code: torch.Tensor) -> torch.Tensor:
    batch, length, size = code.shape
    x = code.reshape(-1, 1, size)
    for i, (_, stride, padding, residual) in enumerate(BLOCKS):
        at = f"{stack}.{i}.conv_block"
        y = F.conv1d(x, w[f"{at}.0.weight"], w[f"{at}.0.bias"], stride, padding)
        mean = y.mean((0, 2), keepdim=True)
        spread = ((y - mean) ** 2).mean((0, 2), keepdim=True)
        count = y.shape[0] * y.shape[2]
        with torch.no_grad():
            w[f"{at}.1.running_mean"] += 0.1 * (mean.flatten() - w[f"{at}.1.running_mean"])
            unbiased = spread.flatten() * count / (count - 1)
            w[f"{at}.1.running_var"] += 0.1 * (unbiased - w[f"{at}.1.running_var"])
        y = (y - mean) / torch.sqrt(spread + 1e-5)
        y = y * w[f"{at}.1.weight"][:, None] + w[f"{at}.1.bias"][:, None]
        y = y + x if residual else y
        x = torch.tanh(y) if i == len(BLOCKS) - 1 else y.clamp(min=0)
    return normed(w, "Norm", x.reshape(batch, length, -1))


def normed(w: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    middle = x - x.mean(-1, keepdim=True)
    scaled = middle / torch.sqrt((middle**2).mean(-1, keepdim=True) + 1e-5)
    return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(w: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def gelu(x: torch.Tensor) -> torch.Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def positions(length: int, width: int) -> torch.Tensor:
    out = torch.zeros(length, width)
    for place in range(length):
        for i in range(0, width, 2):
            angle = place / 10_000 ** (i / width)
            out[place, i], out[place, i + 1] = math.sin(angle), math.cos(angle)
    return out


def attention(w: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    batch, length, width = x.shape
    joined = x @ w[f"{name}.in_proj_weight"].T + w[f"{name}.in_proj_bias"]
    q, k, v = (
        part.reshape(batch, length, HEADS, width // HEADS).transpose(1, 2)
        for part in joined.split(width, 2)
    )
    shares = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(width // HEADS), 3)
    return linear(w, f"{name}.out_proj", (shares @ v).transpose(1, 2).reshape(x.shape))


def connector(
    w: Tensors, reference: torch.Tensor, speech: torch.Tensor, code: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The difference, the speech token and the expression tokens."""
    before, now = tokens(w, "ref_encoder", reference), tokens(w, "exp_encoder", code)
    heard = gelu(linear(w, "speaker_encoder.proj", speech))
    voice = normed(w, "speaker_encoder.norm", heard)
    fusion = "fusion_transformer_encoder"
    kinds, place = w[f"{fusion}.modality.weight"], positions(code.shape[1], now.shape[2])
    x = torch.cat([before + place + kinds[1], voice + kinds[2], now + place + kinds[3]], 1)
    layer = f"{fusion}.transformer_encoder.layers.0"
    x = normed(w, f"{layer}.norm1", x + attention(w, f"{layer}.self_attn", x))
    wide = linear(w, f"{layer}.linear1", x).clamp(min=0)
    x = normed(w, f"{layer}.norm2", x + linear(w, f"{layer}.linear2", wide))
    last = gelu(linear(w, "projector.projector.0", x[:, -code.shape[1] :]))
    return linear(w, "projector.projector.2", last), voice[:, 0], now


def alike(visual: torch.Tensor, voice: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """The supervised contrastive loss, pair by pair."""
    both = torch.cat([visual, voice])
    both = both / both.norm(dim=1, keepdim=True)
    kinds, losses = [*label.tolist(), *label.tolist()], []
    for i, kind in enumerate(kinds):
        near = both @ both[i] / TEMPERATURE
        others = [j for j in range(len(kinds)) if j != i]
        total = torch.logsumexp(near[others], 0)
        same = [near[j] - total for j in others if kinds[j] == kind]
        losses.append(-torch.stack(same).mean())
    return torch.stack(losses).mean()


def loss(w: Tensors, batch: Tensors) -> torch.Tensor:
    there, heard, first = connector(w, batch["reference"], batch["speech"], batch["first"])
    back, unheard, second = connector(w, -batch["reference"], -batch["speech"], batch["second"])

    def focal(error: torch.Tensor) -> torch.Tensor:
        return (error**2 * (2 / (1 + torch.exp(-0.2 * error.abs())) - 1)).mean()

    change = (first - second).mean(1)  # the released code's sign
    pairs = alike(change, heard, batch["label"]) + alike(-change, unheard, batch["label"])
    lengths = there.norm(dim=2) * back.norm(dim=2)
    opposed = ((1 + (there * back).sum(2) / lengths) ** 2).mean()
    rebuilt = focal(there - batch["target"]) + focal(back + batch["target"])
    return rebuilt + CONTRASTIVE * pairs / 2 + DIRECTIONAL * opposed


def test_ten_steps_equal_the_papers_arithmetic(tmp_path: Path) -> None:
    settings = EDTalkConnectorConfig(
        features=write_features(tmp_path / "features"), width=64, layers=1, feed_forward=64,
        dropout=0.0, batch=12, steps=STEPS, measure_every=STEPS, device="cpu",
    )  # fmt: skip
    torch.set_default_dtype(torch.float64)
    try:
        task = _InDouble(settings)
        net, _ = Trainer(tmp_path / "run").fit(task, keep=False)
        weights = {name: value.clone() for name, value in task.start.items()}
        learned = [name for name, _ in net.named_parameters()]
        for name in learned:
            weights[name].requires_grad_()
        first = {name: torch.zeros_like(weights[name]) for name in learned}
        second = {name: torch.zeros_like(weights[name]) for name in learned}
        for step in range(1, STEPS + 1):
            total = loss(weights, task.batch(step - 1))
            assert float(total.detach()) == pytest.approx(task.totals[step - 1], rel=1e-7)
            slopes = torch.autograd.grad(total, [weights[name] for name in learned])
            with torch.no_grad():
                for name, slope in zip(learned, slopes, strict=True):
                    first[name] += (1 - 0.9) * (slope - first[name])
                    second[name] += (1 - 0.999) * (slope**2 - second[name])
                    weights[name] *= 1 - RATE * DECAY
                    mean = first[name] / (1 - 0.9**step)
                    square = second[name] / (1 - 0.999**step)
                    weights[name] -= RATE * mean / (square.sqrt() + 1e-8)
    finally:
        torch.set_default_dtype(torch.float32)
    moved = 0.0
    for name, value in net.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert int(value) == 2 * STEPS
            continue
        # A convolution's bias before batch norm has no slope but rounding, and Adam enlarges it.
        limit = 2 * STEPS * RATE if name.endswith("conv_block.0.bias") else 1e-6
        assert (value - weights[name]).abs().max() < limit, name
        moved = max(moved, float((value - task.start[name]).abs().max()))
    assert moved > 5e-4


class _InDouble(EDTalkConnectorTask):
    """The training in double precision, remembering where it began and its losses."""

    workers = 0

    def build(self) -> Connector:
        net = super().build()
        self.start = {name: value.clone() for name, value in net.state_dict().items()}
        self.totals: list[float] = []
        return net

    def batch(self, step: int) -> Tensors:
        drawn = super().batch(step).items()
        return {name: v.double() if v.is_floating_point() else v for name, v in drawn}

    def losses(self, net: Connector, batch: Tensors, step: int) -> object:
        found = super().losses(net, batch, step)
        self.totals.append(float(found.total.detach()))
        return found

    def measure(self, net: Connector) -> dict[str, float]:
        return {}


def test_the_settings_are_the_papers() -> None:
    settings = EDTalkConnectorConfig(features=Path("x"))
    assert (settings.learning_rate, settings.weight_decay) == (RATE, DECAY)
    assert (settings.loss.contrastive, settings.loss.directional) == (CONTRASTIVE, DIRECTIONAL)
    assert EDTalkConnectorTask.clip_norm is None
    assert np.allclose([EDTalkConnectorTask.rate(None, s) for s in (0, 99)], 1)  # type: ignore[arg-type]
