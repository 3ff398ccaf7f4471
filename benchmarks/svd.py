"""The SVD engine: operations and memory of a call, cost of presets; on a GPU seconds too.

python benchmarks/svd.py [--device cuda] [--seconds 5]

Operations and peak memory are counted on tensors without data, at the published sizes, 512 x 512, 25
frames, for the published order of work and ours. What presets cost in quality is measured on the recorded
tiny scene (tests/reference), against 25 steps with everything on. With --device cuda a clip with random
weights in bfloat16 is timed from latents to frames.
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

from mien.engines.svd.conditioning import Stream
from mien.engines.svd.deep_cache import DeepFeatures
from mien.engines.svd.guidance import Guidance
from mien.engines.svd.pose_guider import PoseGuider
from mien.engines.svd.sampler import Plan, Scene, first_latents, sample
from mien.engines.svd.settings import PRESETS
from mien.engines.svd.specs import make_vae
from mien.engines.svd.unet import SVD_XT, build_unet
from mien.engines.svd.windows import Windows

HALF = torch.half
VAE = {"block_out_channels": (128, 256, 512, 512), "down_block_types": ("DownEncoderBlock2D",) * 4,
       "layers_per_block": 2}  # fmt: skip


class Peak(TorchDispatchMode):
    """Largest sum of living storages that were made inside."""

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


def call(net: Any, told: Any, side: int, branches: int, device: str) -> Any:
    """One call of the UNet as a function; frames of ten seconds are told."""
    level = side // 8
    with torch.device(device):
        audio = torch.zeros(126, 32, 1024, dtype=HALF)
        rows = torch.zeros(branches, 25, dtype=torch.int64)
        emotion = torch.zeros(2, 32, 1024, dtype=HALF)
        mask = torch.zeros(1, 1, side, side, dtype=HALF)
        told.start((Stream(audio, rows), Stream(emotion, rows)), mask,
                   torch.zeros(1, 320, level, level, dtype=HALF))  # fmt: skip
        x = torch.zeros(branches, 25, 8, level, level, dtype=HALF)
        given = (torch.tensor(0.5), torch.zeros(branches, 1, 1024, dtype=HALF),
                 torch.zeros(branches, 3, dtype=HALF))  # fmt: skip
    return x, given


@torch.no_grad()
def counted() -> list[list[object]]:
    """Rows: TFLOP of a call, and peak memory of its activations."""
    rows = []
    for name, plain in (
        ("published order of operations", True),
        ("mien, first call of a clip", False),
    ):
        with torch.device("meta"):
            net, told = build_unet(SVD_XT, plain=plain)
        net = net.half().to("meta")
        told.caching = not plain
        x, given = call(net, told, 512, 3, "meta")
        with FlopCounterMode(display=False) as counter, torch.device("meta"):
            net(x, *given)
        rows.append([name, counter.get_total_flops() / 1e12])
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        net(x, *given)
    rows.append(["mien, every other call", counter.get_total_flops() / 1e12])
    deep = DeepFeatures(net, 2)
    up = torch.zeros(75, 640, 64, 64, dtype=HALF, device="meta")
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        deep._finest(x, *given, up)
    rows.append(["mien, deep features reused", counter.get_total_flops() / 1e12])
    return rows


def no_scores(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> Any:
    """Attention that keeps no scores, as fused kernels do."""
    return q.new_empty(*q.shape[:-1], v.shape[-1])


@torch.no_grad()
def peaks() -> list[list[object]]:
    """Rows: gigabytes of activations in half precision."""
    rows = []
    with torch.device("meta"):
        net, told = build_unet(SVD_XT)
    net = net.half().to("meta")
    with patch("torch.nn.functional.scaled_dot_product_attention", no_scores):
        for branches in (3, 1):
            x, given = call(net, told, 512, branches, "meta")
            with Peak() as peak, torch.device("meta"):
                net(x, *given)
            rows.append([f"a call, {branches} branches at once", peak.peak / 1e9])
    vae = make_vae(VAE).half().to("meta")
    for frames in (10, 4, 2):
        z = torch.zeros(frames, 4, 64, 64, dtype=HALF, device="meta")
        with Peak() as peak, torch.device("meta"):
            vae.decode(z, num_frames=frames)
        rows.append([f"decoding {frames} frames at once", peak.peak / 1e9])
    return rows


@torch.no_grad()
def presets() -> list[list[object]]:
    """Rows: what a preset's result differs by on the recorded tiny scene, and its share of the work."""
    from diffusers import AutoencoderKLTemporalDecoder

    made = Seeded(0, torch.float32, 0)
    vae = AutoencoderKLTemporalDecoder(**dice.config_of("dice_vae_tiny"))
    vae.load_state_dict(made.weights("dice_vae_tiny"))
    guider = PoseGuider(32)
    guider.load_state_dict(made.weights("dice_pose_guider_tiny"))
    scene: Scene = dice.tiny_scene(made, vae, guider)
    noise = made.fill("pipe.noise", (1, 12, 4, 8, 8))[0]
    found = {}
    for name, preset in PRESETS.items():
        net, told = dice.tiny_net(made)
        low, high = preset.guided
        plan = Plan(
            preset.steps, Guidance(low=low, high=high), Windows(5, 2, 5), reuse=preset.reuse
        )
        start = first_latents(scene.latent, noise, preset.steps, 0.18215)
        latents = sample(net, told, scene, start, plan)[:7]
        frames = vae.decode(latents / 0.18215, num_frames=7).sample
        found[name] = (frames / 2 + 0.5).clamp(0, 1)
    exact = found["exact"]
    spread = float((exact - exact.mean()).square().mean())
    rows = []
    for name, frames in found.items():
        error = float((frames - exact).square().mean())
        decibel = 10 * np.log10(1 / error) if error else float("inf")
        rows.append([name, PRESETS[name].steps, share(name), decibel, error / spread])
    return rows


def share(name: str) -> float:
    """Operations of a preset's calls by those of the exact one's, at the published sizes."""
    preset = PRESETS[name]
    total = 0.0
    for step in range(preset.steps):
        branches = (
            3
            if Guidance(low=preset.guided[0], high=preset.guided[1]).covers(step, preset.steps)
            else 1
        )
        total += (95.5 if step % preset.reuse == 0 else 34.5) * branches / 3
    return total / (25 * 95.5)


@torch.inference_mode()
def timed(device: str, length: float) -> list[list[object]]:
    """Rows: seconds per call and per clip, peak memory, with random weights in bfloat16."""
    rows = []
    count = round(length * 12.5)
    for name in ("plain", *PRESETS):
        torch.manual_seed(0)
        with torch.device(device):
            net, told = build_unet(SVD_XT, plain=name == "plain")
            vae = make_vae(VAE).to_empty(device=device).bfloat16()
        net = net.to(device, torch.bfloat16)
        told.caching = name != "plain"
        with torch.device(device):
            table_audio = torch.randn(count + 1, 32, 1024, dtype=torch.bfloat16)
            scene = Scene(
                torch.randn(1, 4, 64, 64), torch.randn(1, 1, 1024, dtype=torch.bfloat16), table_audio,
                torch.randn(2, 32, 1024, dtype=torch.bfloat16), torch.arange(count),
                torch.zeros(count, dtype=torch.int64),
                torch.ones(1, 1, 512, 512, dtype=torch.bfloat16),
                torch.zeros(1, 320, 64, 64, dtype=torch.bfloat16),
            )  # fmt: skip
            preset = PRESETS.get(name, PRESETS["exact"])
            low, high = preset.guided
            plan = Plan(preset.steps, Guidance(low=low, high=high), reuse=preset.reuse)
            latents = torch.randn(plan.windows.total(count), 4, 64, 64) * 700
        sample(net, told, scene, latents, Plan(1, windows=plan.windows))  # warm up
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        start = perf_counter()
        done = sample(net, told, scene, latents, plan)
        torch.cuda.synchronize()
        drawn = perf_counter() - start
        for first in range(0, count, 10):
            vae.decode(
                (done[first : first + 10] / 0.18215).bfloat16(),
                num_frames=len(done[first : first + 10]),
            )
        torch.cuda.synchronize()
        calls = plan.windows.calls(count, plan.steps)
        whole = perf_counter() - start
        rows.append([name, drawn / calls, whole, torch.cuda.max_memory_allocated() / 1e9])
        del net, vae
        torch.cuda.empty_cache()
    return rows


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=5.0)
    args = parser.parse_args()
    body = "Published sizes, 512 x 512, 25 frames, 3 branches.\n\n"
    body += table(["a call of the UNet", "TFLOP"], counted()) + "\n\n"
    body += "Peak of activations in half precision, attention without stored scores.\n\n"
    body += table(["", "GB"], peaks()) + "\n\n"
    body += "What presets cost, against the exact result of the recorded tiny scene (random weights).\n\n"
    heads = [
        "preset",
        "steps",
        "work by the exact one's",
        "PSNR, dB",
        "error by the picture's variance",
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
