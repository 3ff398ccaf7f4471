"""Count operations and memory of the SVD engine, measure its presets, and time it on a GPU.

python benchmarks/svd.py [--device cuda] [--seconds 5]

Operations and peak memory are counted on tensors without data, at the published sizes, 512 x 512, 25
frames, for the published order of operations and for mien's. The loss of quality by presets is measured on
the recorded tiny inputs (tests/reference), against the preset "exact". With --device cuda a clip with
random weights in bfloat16 is timed from latents to frames.
"""

from __future__ import annotations

import argparse
import sys
import weakref
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from record import table, write_section
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.parity import dice
from tests.parity.compare import Seeded
from tests.svd import PlainAdapterAttention

from mien.engines.svd.attention import AdapterAttention, Stream
from mien.engines.svd.decoding import decode_latents
from mien.engines.svd.networks import PUBLISHED
from mien.engines.svd.sampler import SCALING_FACTOR, ClipInputs, sample
from mien.engines.svd.settings import SPEED_PRESETS, Sampling, SvdSettings, Windows
from mien.engines.svd.unet import SVD_XT, DeepCache, PoseGuider, build_unet
from mien.weights.manifest import VAE

HALF = torch.half


class Peak(TorchDispatchMode):
    """Measures the largest total size of the storages allocated inside that are alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.living, self.peak = 0, 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = f(*args, **(kwargs or {}))
        for value in tree_iter(out):
            if isinstance(value, torch.Tensor):
                storage = value.untyped_storage()
                key = storage._cdata
                if key not in self._known:
                    self._known[key] = storage.nbytes()
                    self.living += storage.nbytes()
                    self.peak = max(self.peak, self.living)
                    weakref.finalize(storage, self._gone, key)
        return out

    def _gone(self, key: int) -> None:
        self.living -= self._known.pop(key, 0)


def call(net: Any, conditioning: Any, side: int, branches: int, device: str) -> Any:
    """Return inputs of a UNet call, with audio tokens of ten seconds."""
    level = side // 8
    with torch.device(device):
        audio = torch.zeros(126, 32, 1024, dtype=HALF)
        rows = torch.zeros(branches, 25, dtype=torch.int64)
        emotion = torch.zeros(2, 32, 1024, dtype=HALF)
        mask = torch.zeros(1, 1, side, side, dtype=HALF)
        pose = torch.zeros(1, 320, level, level, dtype=HALF)
        conditioning.start((Stream(audio, rows), Stream(emotion, rows)), mask, pose)
        x = torch.zeros(branches, 25, 8, level, level, dtype=HALF)
        given = (torch.tensor(0.5), torch.zeros(branches, 1, 1024, dtype=HALF),
                 torch.zeros(branches, 3, dtype=HALF))  # fmt: skip
    return x, given


@torch.no_grad()
def counted() -> list[list[object]]:
    """Return rows of the TFLOP of a UNet call."""
    rows = []
    for name, adapter in (
        ("published order of operations", PlainAdapterAttention),
        ("mien, first call of a clip", AdapterAttention),
    ):
        with torch.device("meta"):
            net, conditioning = build_unet(SVD_XT, adapter)
        net = net.half().to("meta")
        conditioning.caching = adapter is AdapterAttention
        x, given = call(net, conditioning, 512, 3, "meta")
        with FlopCounterMode(display=False) as counter, torch.device("meta"):
            net(x, *given)
        rows.append([name, counter.get_total_flops() / 1e12])
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        net(x, *given)
    rows.append(["mien, every other call", counter.get_total_flops() / 1e12])
    cache = DeepCache(net, 2)
    up = torch.zeros(75, 640, 64, 64, dtype=HALF, device="meta")
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        cache.finest_level(x, *given, up)
    rows.append(["mien, deep features reused", counter.get_total_flops() / 1e12])
    return rows


def published_vae() -> Any:
    """Return a VAE of the published size on the meta device."""
    from diffusers import AutoencoderKLTemporalDecoder

    with torch.device("meta"):
        return AutoencoderKLTemporalDecoder(**PUBLISHED[VAE])


def no_scores(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> Any:
    """Stand in for attention without allocating scores, as fused kernels do."""
    return q.new_empty(*q.shape[:-1], v.shape[-1])


@torch.no_grad()
def peaks() -> list[list[object]]:
    """Return rows of gigabytes of activations in half precision."""
    rows = []
    with torch.device("meta"):
        net, conditioning = build_unet(SVD_XT)
    net = net.half().to("meta")
    with patch("torch.nn.functional.scaled_dot_product_attention", no_scores):
        for branches in (3, 1):
            x, given = call(net, conditioning, 512, branches, "meta")
            with Peak() as peak, torch.device("meta"):
                net(x, *given)
            rows.append([f"a call, {branches} branches at once", peak.peak / 1e9])
    vae = published_vae().half().to("meta")
    for frames in (10, 4, 2):
        z = torch.zeros(10, 4, 64, 64, dtype=HALF, device="meta")
        with Peak() as peak, torch.device("meta"):
            decode_latents(vae, z, frames)
        rows.append([f"decoding 10 frames together, {frames} at once", peak.peak / 1e9])
    return rows


@torch.no_grad()
def presets() -> list[list[object]]:
    """Return rows of every preset's work and its difference from "exact" on the recorded inputs."""
    from diffusers import AutoencoderKLTemporalDecoder

    made = Seeded(0, torch.float32, 0)
    vae = AutoencoderKLTemporalDecoder(**dice.config_of("dice_vae_tiny"))
    vae.load_state_dict(made.weights("dice_vae_tiny"))
    guider = PoseGuider(32)
    guider.load_state_dict(made.weights("dice_pose_guider_tiny"))
    inputs: ClipInputs = dice.tiny_inputs(made, vae, guider)
    noise = made.fill("pipe.noise", (1, 12, 4, 8, 8))[0]
    found = {}
    for name in SPEED_PRESETS:
        net, conditioning = dice.tiny_net(made)
        sampling = SvdSettings(preset=name, windows=Windows(5, 2, 5)).sampling()
        latents = sample(net, conditioning, inputs, noise, sampling)[:7]
        frames = vae.decode(latents / SCALING_FACTOR, num_frames=7).sample
        found[name] = (frames / 2 + 0.5).clamp(0, 1)
    exact = found["exact"]
    spread = float((exact - exact.mean()).square().mean())
    rows = []
    for name, frames in found.items():
        error = float((frames - exact).square().mean())
        decibel = 10 * np.log10(1 / error) if error else float("inf")
        steps = SPEED_PRESETS[name].num_inference_steps
        rows.append([name, steps, share(name), decibel, error / spread])
    return rows


def share(name: str) -> float:
    """Return the operations of a preset's UNet calls relative to "exact", at the published sizes."""
    sampling, total = SvdSettings(preset=name).sampling(), 0.0
    steps = sampling.num_inference_steps
    for step in range(steps):
        total += (34.5 if sampling.reuses(step) else 95.5) * len(sampling.branches(step)) / 3
    return total / (25 * 95.5)


@torch.inference_mode()
def timed(device: str, length: float) -> list[list[object]]:
    """Return rows of seconds per call and per clip, and peak memory, in bfloat16."""
    rows = []
    count = round(length * 12.5)
    for name in ("plain", *SPEED_PRESETS):
        torch.manual_seed(0)
        with torch.device(device):
            adapter = PlainAdapterAttention if name == "plain" else AdapterAttention
            net, conditioning = build_unet(SVD_XT, adapter)
            vae = published_vae().to_empty(device=device).bfloat16()
        net = net.to(device, torch.bfloat16)
        conditioning.caching = name != "plain"
        with torch.device(device):
            table_audio = torch.randn(count + 1, 32, 1024, dtype=torch.bfloat16)
            inputs = ClipInputs(
                torch.randn(1, 4, 64, 64), torch.randn(1, 1, 1024, dtype=torch.bfloat16), table_audio,
                torch.randn(2, 32, 1024, dtype=torch.bfloat16), torch.arange(count),
                torch.zeros(count, dtype=torch.int64),
                torch.ones(1, 1, 512, 512, dtype=torch.bfloat16),
                torch.zeros(1, 320, 64, 64, dtype=torch.bfloat16),
            )  # fmt: skip
            sampling = SvdSettings(preset="exact" if name == "plain" else name).sampling()
            noise = torch.randn(sampling.windows.total(count), 4, 64, 64)
        sample(net, conditioning, inputs, noise, Sampling(1))  # warm up
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        start = perf_counter()
        latents = sample(net, conditioning, inputs, noise, sampling)
        torch.cuda.synchronize()
        sampled = perf_counter() - start
        for first in range(0, count, 10):
            chunk = latents[first : first + 10]
            vae.decode((chunk / SCALING_FACTOR).bfloat16(), num_frames=len(chunk))
        torch.cuda.synchronize()
        calls = sampling.num_inference_steps * sampling.windows.per_step(count)
        whole = perf_counter() - start
        rows.append([name, sampled / calls, whole, torch.cuda.max_memory_allocated() / 1e9])
        del net, vae
        torch.cuda.empty_cache()
    return rows


def main() -> None:
    """Run the benchmark and write its section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=5.0)
    args = parser.parse_args()
    body = "Published sizes, 512 x 512, 25 frames, 3 branches.\n\n"
    body += table(["a call of the UNet", "TFLOP"], counted()) + "\n\n"
    body += "Peak of activations in half precision, attention without stored scores.\n\n"
    body += table(["", "GB"], peaks()) + "\n\n"
    body += "Presets against the exact result of the recorded tiny inputs (random weights).\n\n"
    heads = [
        "preset",
        "steps",
        "relative work",
        "PSNR, dB",
        "error relative to variance",
    ]
    body += table(heads, presets())
    if args.device != "cpu":
        body += f"\n\n{args.seconds:g} s of video, random weights, bfloat16.\n\n"
        body += table(
            ["", "s per call", "s end to end", "peak GB"], timed(args.device, args.seconds)
        )
    write_section("SVD", body)


if __name__ == "__main__":
    main()
