"""Baseline for benchmarks and tests only: the generator in its direct formulation.

Everything is computed for every frame as the paper writes it: the source is encoded again, scales are
taken at run time, modulated convolutions use one group per sample, both branches of the expression
modules are computed, directions are made orthonormal at every call. ``mien`` itself never uses this.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = Mapping[str, Tensor]


def _linear(w: Weights, name: str, x: Tensor) -> Tensor:
    weight = w[f"{name}.weight"]
    return F.linear(x, weight / math.sqrt(weight.shape[1]), w[f"{name}.bias"])


def _conv(w: Weights, name: str, x: Tensor, **options: int) -> Tensor:
    weight = w[f"{name}.weight"]
    return F.conv2d(x, weight / math.sqrt(weight[0].numel()), **options)


def _activate(x: Tensor, bias: Tensor) -> Tensor:
    return math.sqrt(2) * F.leaky_relu(x + bias, 0.2)


def _fir(x: Tensor, kernel: Tensor, pad: tuple[int, int], up: int = 1) -> Tensor:
    batch, channels, height, width = x.shape
    if up > 1:
        wide = x.new_zeros(batch, channels, height * up, width * up)
        wide[:, :, ::up, ::up] = x
        x = wide
    x = F.pad(x, (*pad, *pad))
    flat = x.reshape(batch * channels, 1, *x.shape[2:])
    out = F.conv2d(flat, kernel.flip(0, 1)[None, None])
    return out.reshape(batch, channels, *out.shape[2:])


def encode(w: Weights, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the style and the feature maps, coarse to fine."""
    base = "enc.net_app.convs"
    x = _activate(_conv(w, f"{base}.0.0", x), w[f"{base}.0.1.bias"])
    maps = [x]
    for i in range(1, 7):
        at = f"{base}.{i}"
        main = _activate(_conv(w, f"{at}.conv1.0", x, padding=1), w[f"{at}.conv1.1.bias"])
        main = _fir(main, w[f"{at}.conv2.0.kernel"], (2, 2))
        main = _activate(_conv(w, f"{at}.conv2.1", main, stride=2), w[f"{at}.conv2.2.bias"])
        skip = _fir(x, w[f"{at}.skip.0.kernel"], (1, 1))
        x = (main + _conv(w, f"{at}.skip.1", skip, stride=2)) / math.sqrt(2)
        maps.append(x)
    return _conv(w, f"{base}.7", x)[:, :, 0, 0], maps[-2::-1]


def motion(w: Weights, style: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the lip, pose and expression coefficients."""
    for i in range(4):
        style = _linear(w, f"fc.{i}", style)
    out = []
    for head in ("lip_fc", "pose_fc", "exp_fc"):
        x = style
        for i in range(3):
            x = _linear(w, f"{head}.{i}", x)
        out.append(x)
    return out[0], out[1], out[2]


def _directions(w: Weights) -> Tensor:
    raw = torch.cat([w["direction_lipnonlip.weight"], w["direction_exp.weight"]], 1)
    return torch.linalg.qr(raw + 1e-8)[0]


def _modulated(
    w: Weights, name: str, x: Tensor, latent: Tensor, *, up: bool = False, demodulate: bool = True
) -> Tensor:
    weight = w[f"{name}.weight"]
    batch, (_, outputs, inputs, k, _) = len(x), weight.shape
    s = _linear(w, f"{name}.modulation", latent).reshape(batch, 1, inputs, 1, 1)
    weight = weight / math.sqrt(inputs * k * k) * s
    if demodulate:
        weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
    flat = x.reshape(1, batch * inputs, *x.shape[2:])
    if up:
        weight = weight.transpose(1, 2).reshape(batch * inputs, outputs, k, k)
        y = F.conv_transpose2d(flat, weight, stride=2, groups=batch)
        y = y.reshape(batch, outputs, *y.shape[2:])
        return _fir(y, w[f"{name}.blur.kernel"], (1, 1))
    weight = weight.reshape(batch * outputs, inputs, k, k)
    y = F.conv2d(flat, weight, padding=k // 2, groups=batch)
    return y.reshape(batch, outputs, *y.shape[2:])


def _styled(w: Weights, name: str, x: Tensor, latent: Tensor, *, up: bool = False) -> Tensor:
    y = _modulated(w, f"{name}.conv", x, latent, up=up)
    return _activate(y, w[f"{name}.activate.bias"])


def _adain(w: Weights, name: str, x: Tensor, style: Tensor) -> Tensor:
    def plain(part: str, value: Tensor) -> Tensor:
        return F.linear(value, w[f"{name}.{part}.weight"], w[f"{name}.{part}.bias"])

    hidden = F.relu(plain("mlp_shared.0", style))
    gamma, beta = plain("mlp_gamma", hidden), plain("mlp_beta", hidden)
    normal = F.instance_norm(x, eps=1e-5)
    return normal * (1 + gamma[:, :, None, None]) + beta[:, :, None, None]


def _express(w: Weights, name: str, x: Tensor, style: Tensor) -> Tensor:
    def conv(part: str, value: Tensor) -> Tensor:
        return F.conv2d(value, w[f"{name}.{part}.weight"], w[f"{name}.{part}.bias"], padding=1)

    F.leaky_relu(_adain(w, f"{name}.norm1", conv("conv1", x), style), 0.2)  # never used
    return _adain(w, f"{name}.norm2", conv("conv2", x), style) + x


def draw(w: Weights, source: Tensor, lip: Tensor, pose_frame: Tensor, expression: Tensor) -> Tensor:
    """Draw one image per row: source, lip and expression coefficients, and a frame for the pose."""
    style, maps = encode(w, source)
    pose = motion(w, encode(w, pose_frame)[0])[1]
    latent = style + torch.cat([lip, pose, expression], 1) @ _directions(w).T
    moved = expression @ _directions(w)[:, 26:].T
    x = w["dec.input.input"].expand(len(latent), -1, -1, -1)
    x = _styled(w, "dec.conv1", x, latent)
    flow: Tensor | None = None
    colour = x.new_zeros(len(latent), 3, 1, 1)
    for i, features in enumerate(maps):
        x = _styled(w, f"dec.convs.{2 * i}", x, latent, up=True)
        x = _styled(w, f"dec.convs.{2 * i + 1}", x, latent)
        bent = _express(w, f"dec.fineadainresblock.{i}", features, moved)
        raw = _modulated(w, f"dec.to_flows.{i}.conv", x, latent, demodulate=False)
        raw = raw + w[f"dec.to_flows.{i}.bias"]
        if flow is not None:
            raw = raw + _fir(flow, w[f"dec.to_flows.{i}.upsample.kernel"], (2, 1), up=2)
        flow = raw
        side = x.shape[-1]
        line = torch.linspace(-1, 1, side, dtype=x.dtype, device=x.device)
        y, across = torch.meshgrid(line, line, indexing="ij")
        where = torch.tanh(flow[:, :2]).permute(0, 2, 3, 1) + torch.stack([across, y], 2)
        mask = torch.sigmoid(flow[:, 2:])
        warped = F.grid_sample(bent, where, align_corners=False) * mask
        rgb = _activate(
            _conv(w, f"dec.to_rgbs.{i}.conv.0", warped), w[f"dec.to_rgbs.{i}.conv.1.bias"]
        )
        rgb = rgb + w[f"dec.to_rgbs.{i}.bias"]
        if i:
            rgb = rgb + _fir(colour, w[f"dec.to_rgbs.{i}.upsample.kernel"], (2, 1), up=2)
        colour = rgb
        x = warped + x * (1 - mask)
    return colour
