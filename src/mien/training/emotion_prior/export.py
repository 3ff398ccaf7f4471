"""A trained bank and decoder to the files that mien runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mien.dicetalk.bank import BankSpec, MeshDice, MeshDiceSpec
from mien.media.output import whole_file
from mien.training.checkpoint import load_weights
from mien.training.emotion_prior.material import FACE_GAIN
from mien.training.onnx_export import halve_weights, write_onnx


class _Face(nn.Module):
    """Priors to changes in code units, through all of the bank."""

    def __init__(self, net: MeshDice) -> None:
        super().__init__()
        self.net = net

    def forward(self, prior: Tensor) -> Tensor:
        out: Tensor = self.net(prior).face / FACE_GAIN
        return out


def load_net(path: Path) -> MeshDice:
    """Read a ``dice.pt``.

    Raises:
        InputError: when there is none.
    """
    spec, weights = load_weights(path)
    bank = {**spec["bank"], "hidden": tuple(spec["bank"]["hidden"])}
    net = MeshDice(MeshDiceSpec(BankSpec(**bank), spec["units"]))
    net.load_state_dict(weights)
    return net.eval()


def export_dice(run: Path, folder: Path) -> None:
    """Write ``dice.onnx`` (prior ``(N, width)`` to face ``(N, 17)``) and ``dice.npz`` (priors)."""
    net = load_net(run / "dice.pt")
    example = (torch.zeros(2, net.spec.bank.prior),)
    with whole_file(folder / "dice.onnx") as part:
        write_onnx(_Face(net), example, part, ["prior"], ["face"])
        halve_weights(part)
    with np.load(run / "priors.npz", allow_pickle=False) as stored:
        found = {name: stored[name] for name in ("names", "mean", "spread")}
    with whole_file(folder / "dice.npz") as part, part.open("wb") as file:
        np.savez_compressed(file, **found)
