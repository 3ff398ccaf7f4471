"""Compare the speed of the engine edtalk with the direct per-frame formulation.

python benchmarks/edtalk.py [--frames 8] [--compile] [--device cpu]

Both run in one process on the same deterministic weights and pictures. *Drawing* is one frame from a
source, lips, pose and expression; *all* adds reading the driving frame's expression, as an edit does. The
baseline (``edtalk_baseline.py``) encodes the source for every frame and the driving frame twice.
On Linux everything is measured twice: with glibc's default allocator, and with thresholds high enough that
large blocks are kept, which favours the baseline.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from record import table, write_section

sys.path.insert(0, str(Path(__file__).parent.parent))

import edtalk_baseline as baseline
from tests.reference.reference_weights import fill, image, state_dict

from mien.engines.edtalk.checkpoints import fold
from mien.engines.edtalk.engine import EDTalkEngine
from mien.engines.edtalk.generator import Coefficients
from mien.engines.edtalk.settings import EDTalkConfig, EDTalkSettings

SPEC = Path(__file__).parent.parent / "tests" / "reference" / "edtalk_generator.json"
NAMES = {"fp32": "float32", "bf16": "bfloat16"}


def keep_memory() -> None:
    """Raise glibc's thresholds (mmap, trim, top pad)."""
    libc = ctypes.CDLL(None)
    for option, value in ((-3, 1 << 30), (-1, 2**31 - 1), (-2, 200 << 20)):
        libc.mallopt(option, value)


def milliseconds(run: Callable[[], object], count: int, device: str) -> float:
    """Return the median time of ``run`` after one warm-up call."""
    run()
    times = []
    for _ in range(count):
        if device != "cpu":
            torch.cuda.synchronize()
        start = perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(perf_counter() - start)
    return 1000 * float(np.median(times))


@torch.inference_mode()
def measure(frames: int, device: str, *, compiled: bool) -> list[dict[str, object]]:
    """Return the rows of the table."""
    raw = state_dict(SPEC, 0)
    weights = {name: torch.from_numpy(np.asarray(value)) for name, value in raw.items()}
    on_device = {name: value.to(device) for name, value in weights.items()}

    def picture(name: str) -> torch.Tensor:
        return torch.from_numpy(image(name, 256, 256, 0))[None].to(device)

    source = picture("edtalk.source")
    driving = [picture(f"edtalk.driving.{i}") for i in range(2)]
    lip = [torch.from_numpy(fill(f"bench.lip.{i}", (1, 20), 0)).to(device) for i in range(2)]
    moved = [torch.from_numpy(fill(f"bench.exp.{i}", (1, 10), 0)).to(device) for i in range(2)]
    step = iter(range(10**9))

    def baseline_draw() -> torch.Tensor:
        i = next(step) % 2
        return baseline.draw(on_device, source, lip[i], driving[i], moved[i])

    def baseline_all() -> torch.Tensor:
        i = next(step) % 2
        baseline.motion(on_device, baseline.encode(on_device, driving[i])[0])
        return baseline.draw(on_device, source, lip[i], driving[i], moved[i])

    wanted = [baseline.draw(on_device, source, lip[i], driving[i], moved[i]) for i in range(2)]
    rows = [
        {
            "what": "baseline float32",
            "draw": milliseconds(baseline_draw, max(3, frames // 2), device),
            "all": milliseconds(baseline_all, max(3, frames // 2), device),
        }
    ]
    kinds = [(dtype, False) for dtype in NAMES] + ([(d, True) for d in NAMES] if compiled else [])
    for dtype, compile_ in kinds:
        settings = EDTalkSettings(device, dtype, compile_)
        net = EDTalkEngine(fold(weights, EDTalkConfig(), torch.float32), settings)._net
        encoded = net.source(source)
        poses = [net.motion(frame).pose for frame in driving]

        def draw(net: object = net, encoded: object = encoded, poses: list = poses) -> torch.Tensor:
            i = next(step) % 2
            return net.draw(encoded, Coefficients(lip[i], poses[i], moved[i]))

        def everything(net: object = net, encoded: object = encoded) -> torch.Tensor:
            i = next(step) % 2
            motion = net.motion(driving[i])
            return net.draw(encoded, Coefficients(lip[i], motion.pose, moved[i]))

        drawn = [net.draw(encoded, Coefficients(lip[i], poses[i], moved[i])) for i in range(2)]
        gaps = torch.cat([(a.float() - b).abs() for a, b in zip(drawn, wanted, strict=True)])
        rows.append(
            {
                "what": f"mien {NAMES[dtype]}" + (", compiled" if compile_ else ""),
                "draw": milliseconds(draw, frames, device),
                "all": milliseconds(everything, frames, device),
                "most": float(gaps.max()),
                "mean": float(gaps.mean()),
            }
        )
        if device != "cpu":
            rows += batches(net, encoded, lip, poses, moved, NAMES[dtype], frames, device)
    return rows


def batches(net, encoded, lip, poses, moved, name, frames, device) -> list[dict[str, object]]:  # noqa: ANN001
    """Measure larger batches on a GPU."""
    out = []
    for size in (4, 8, 16, 32):
        some = Coefficients(
            *(torch.cat([v[i % 2] for i in range(size)]) for v in (lip, poses, moved))
        )
        torch.cuda.reset_peak_memory_stats()
        time = milliseconds(lambda some=some: net.draw(encoded, some), frames, device) / size
        peak = torch.cuda.max_memory_allocated() / 1e9
        out.append({"what": f"mien {name}, batch {size}, {peak:.2f} GB", "draw": time, "all": None})
    return out


def main() -> None:
    """Run the benchmark, with both allocators on Linux."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--allocator", choices=("usual", "keeping"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.allocator is not None:
        if args.allocator == "keeping":
            keep_memory()
        print(json.dumps(measure(args.frames, args.device, compiled=args.compile)))
        return
    kinds = ["usual"]
    if sys.platform == "linux" and args.device == "cpu":
        kinds.append("keeping")
    text = []
    for kind in kinds:
        command = [sys.executable, __file__, *sys.argv[1:], "--allocator", kind]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        rows = json.loads(done.stdout.splitlines()[-1])
        base = rows[0]
        shown = [
            [
                row["what"],
                f"{row['draw']:.0f}",
                f"{base['draw'] / row['draw']:.1f}",
                f"{row['all']:.0f}" if row["all"] else "",
                f"{base['all'] / row['all']:.1f}" if row["all"] else "",
                f"{row['most']:.1e}" if "most" in row else "",
                f"{row['mean']:.1e}" if "mean" in row else "",
            ]
            for row in rows
        ]
        head = [
            "256 x 256",
            "draw, ms",
            "speed-up",
            "all, ms",
            "speed-up",
            "largest difference",
            "mean difference",
        ]
        text.append(f"Allocator {kind}, {args.device}:\n\n" + table(head, shown))
    intro = (__doc__ or "").split("\n\n", 2)[2].strip()
    write_section("EDTalk", intro + "\n\n" + "\n\n".join(text))


if __name__ == "__main__":
    main()
