"""What the appearance net is trained for, and how it is measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812

from mien.engines.mesh.appearance import HOLE
from mien.training.appearance import AppearanceConfig
from mien.training.appearance.data import Drawer, Mouths, Sample
from mien.training.appearance.net import AppearanceNet, Discriminator, NetSpec, export_net
from mien.training.trainer import Losses, Task

Batch = tuple[Tensor, Tensor]

DRAWN: Final = 2.5
"""Pixels beyond the hole that the net learns to draw, too: the inner edges of the lips."""

_SCALES: Final = 3
_MEASURED: Final = 24
"""Held-out mouths of each source that are measured."""

_SHEET_COLUMNS: Final = 8


class AppearanceTask(Task[AppearanceConfig, AppearanceNet, Batch]):
    """Trains the net on pairs of a mouth as the mesh draws it and the real one."""

    average = 0.995
    average_warm_up = 20
    workers = 1
    weights_file = "net.pt"

    def __init__(self, config: AppearanceConfig, mouths: Mouths) -> None:
        super().__init__(config)
        self._drawer = Drawer(mouths)
        self._judge = Discriminator()
        rng = np.random.default_rng(1)
        self._held_out: dict[str, list[Sample]] = {}
        for source in np.unique(mouths.source):
            among = np.flatnonzero(mouths.held_out & (mouths.source == source))
            chosen = np.random.default_rng(0).permutation(among)[:_MEASURED]
            self._held_out[str(source)] = [
                self._drawer.example(int(i), rng, augment=False) for i in chosen
            ]

    def build(self) -> AppearanceNet:
        """Create the net."""
        net = AppearanceNet(NetSpec(**self.config.sizes(NetSpec)))
        return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def helpers(self) -> Mapping[str, nn.Module]:
        """Return the discriminator."""
        return {"judge": self._judge}

    def parameter_groups(self, net: AppearanceNet) -> list[dict[str, Any]]:
        """Return net and discriminator, with the momentum that suits adversaries."""
        betas = (0.5, 0.99)
        judge = list(self._judge.parameters())
        return [
            {"params": list(net.parameters()), "betas": betas},
            {"params": judge, "betas": betas, "share": self.config.discriminator_rate},
        ]

    def batch(self, step: int) -> Batch:
        """Draw inputs ``(N, 16, 96, 128)`` and targets ``(N, 3, 96, 128)``, -1..1."""
        rng = self.rng(step)
        return _stacked([self._drawer.draw(rng) for _ in range(self.config.batch)])

    def losses(self, net: AppearanceNet, batch: Batch, step: int) -> Losses:
        """Compute differences in colour and gradients and, later, what the discriminator says."""
        planes, target = batch
        config = self.config
        drawn = net(planes)
        mask = region(planes)
        off = drawn - target
        color = (off.abs() * mask).sum() / (3 * mask.sum())
        parts = {"color": color, "gradients": _gradients(off, mask)}
        total = color + config.gradients * parts["gradients"]
        if step < config.adversarial_from * self.steps:
            return Losses(total, parts)
        hints = planes[:, 3:5]
        image = target + off * mask
        near = (F.avg_pool2d(mask, 4) > 0.05).float()
        count = near.sum() + 1
        real, real_features = self._judge(torch.cat([target, hints], 1))
        fake, _ = self._judge(torch.cat([image.detach(), hints], 1))
        parts["judge"] = ((F.relu(1 - real) + F.relu(1 + fake)) * near).sum() / count
        frozen = {name: p.detach() for name, p in self._judge.named_parameters()}
        fooled, features = functional_call(self._judge, frozen, (torch.cat([image, hints], 1),))
        parts["fooled"] = -(fooled * near).sum() / count
        parts["features"] = torch.stack(
            [(a - b.detach()).abs().mean() for a, b in zip(features, real_features, strict=True)]
        ).sum()
        total = total + config.adversarial * parts["fooled"] + config.features * parts["features"]
        return Losses(total + parts["judge"], parts)

    def measure(self, net: AppearanceNet) -> dict[str, float]:
        """Measure the mean difference (0..255) inside held-out mouths, by source, and detail."""
        out = {}
        for source, samples in self._held_out.items():
            if not samples:
                continue
            planes, target = _stacked(samples)
            planes, target = planes.to(self.device), target.to(self.device)
            image = net(planes).clamp(-1, 1)
            hole = planes[:, 3:4]
            difference = ((image - target).abs() * hole).sum() / (3 * hole.sum())
            out[source] = 127.5 * float(difference)
            out[f"{source} detail"] = _detail(image, hole) / max(_detail(target, hole), 1e-6)
        return out

    def export(self, net: AppearanceNet, folder: Path) -> None:
        """Write the weights, the ONNX file and a sheet: drawn by the mesh, by the net, real."""
        super().export(net, folder)
        columns = []
        for samples in self._held_out.values():
            if samples:
                planes, target = _stacked(samples[:_SHEET_COLUMNS])
                with torch.no_grad():
                    drawn = net(planes.to(self.device)).cpu()
                image = target + (drawn - target) * region(planes)
                rows = [planes[:, :3], planes[:, 5:8], image, target]
                columns.append(np.vstack([_strip(row) for row in rows]))
        width = max(part.shape[1] for part in columns)
        padded = [np.pad(c, ((0, 8), (0, width - c.shape[1]), (0, 0))) for c in columns]
        cv2.imwrite(str(folder / "sheet.png"), np.vstack(padded)[..., ::-1])
        export_net(net.cpu(), folder)


def region(planes: Tensor) -> Tensor:
    """Return the soft mask ``(N, 1, 96, 128)`` of what the net draws, from its input."""
    # The signed distance is positive inside and in units of 16 pixels.
    outside = -planes[:, 4:5] * 16
    return ((HOLE + DRAWN + 0.5 - outside) / DRAWN).clamp(0, 1)


def _stacked(samples: list[Sample]) -> Batch:
    planes = torch.from_numpy(np.stack([sample.planes for sample in samples]))
    target = torch.from_numpy(np.stack([sample.target.transpose(2, 0, 1) for sample in samples]))
    layout = torch.channels_last
    return (
        planes.contiguous(memory_format=layout),
        (target / 127.5 - 1).contiguous(memory_format=layout),
    )


def _gradients(off: Tensor, mask: Tensor) -> Tensor:
    """Return the mean difference between gradients at several scales."""
    out = off.new_zeros(())
    for _ in range(_SCALES):
        across = (off[..., 1:] - off[..., :-1]).abs() * mask[..., 1:]
        down = (off[..., 1:, :] - off[..., :-1, :]).abs() * mask[..., 1:, :]
        out = out + (across.sum() + down.sum()) / (3 * mask.sum() + 1)
        off, mask = F.avg_pool2d(off, 2), F.avg_pool2d(mask, 2)
    return out


def _detail(image: Tensor, mask: Tensor) -> float:
    """Return the mean absolute Laplacian inside a mask."""
    gray = image.mean(1, keepdim=True)
    kernel = gray.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    edges = F.conv2d(gray, kernel, padding=1).abs() * mask
    return float(edges.sum() / mask.sum())


def _strip(images: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).byte().permute(0, 2, 3, 1).numpy()
    return np.hstack(list(pixels))
