"""Stage 2 of DICE-Talk's training in two processes, which accelerate launches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from mien.weights.store import CACHE_VARIABLE

from ..command import Done, mien
from ..svd import tiny_svd_store
from .test_svd_training import cached, priors_of

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = ("adapters", "audio", "bank", "guider")
SETTINGS = (
    'labelled = "clips/mead"\npriors = "priors"\ntest = ["M002"]\nframes = 2\nmeasured = 1\n'
    'sample_steps = 0\nwarm_up = 1\naverage = 0.5\ndevice = "cpu"\n'
    "save_every = 1\n"
)
SCRIPT = """
import sys
from mien.cli import main
for line in open("commands.txt"):
    sys.argv = ["mien", *line.split()]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""


def launched(commands: list[list[str]], folder: Path, cache: Path) -> Done:
    """Run commands in two processes by the settings for eight GPUs, here on the CPU."""
    (folder / "commands.txt").write_text("\n".join(" ".join(one) for one in commands))
    (folder / "script.py").write_text(SCRIPT)
    return subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", "--config_file",
         str(CONFIGS / "accelerate_gpus.yaml"), "--num_processes", "2", "script.py"],
        cwd=folder, text=True, capture_output=True, timeout=500,
        env={**os.environ, CACHE_VARIABLE: str(cache), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def forked(commands: list[tuple[int | None, list[str]]], cache: Path) -> list[dict[str, float]]:
    """Run commands in two processes each, see :mod:`tests.engines.forked`; what those held."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.engines.forked", json.dumps(commands)],
        cwd=Path(__file__).parents[2], text=True, capture_output=True, timeout=500,
        env={**os.environ, CACHE_VARIABLE: str(cache), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def largest_difference(one: Path, other: Path) -> float:
    from safetensors.torch import load_file

    out = 0.0
    for file in FILES:
        a, b = (load_file(run / f"{file}.safetensors") for run in (one, other))
        assert a.keys() == b.keys()
        out = max(out, *(float((a[name] - b[name]).abs().max()) for name in a))
    return out


def test_machines_are_launched_by_their_number() -> None:
    """The second machine waits for the address of the first; its settings hold for all others."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    args, _, _ = _validate_launch_command(
        launch_command_parser().parse_args(
            ["--config_file", str(CONFIGS / "accelerate_machines.yaml"), "--machine_rank", "1",
             "--main_process_ip", "192.0.2.1", "-m", "mien", "train", "dice"]
        )
    )  # fmt: skip
    assert args.multi_gpu
    assert args.module
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", dict(os.environ))
        prepare_multi_gpu_env(args)
    assert (args.nproc_per_node, args.nnodes, str(args.node_rank)) == ("8", "2", "1")
    assert args.rdzv_endpoint == "192.0.2.1:29500"


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    """But for rounding: resumed in the middle, with several windows added up in each, and spread.

    A step moves a weight by up to 1e-5, and rounding by a hundredth of that. A run whose net is
    spread over both is killed, and resumed to the same bits; one process then continues it.
    """
    cache = tiny_svd_store(tmp_path / "svd").folder
    cached(tmp_path / "clips")
    priors_of(tmp_path / "priors")
    (tmp_path / "dice.toml").write_text(SETTINGS)

    def train(run: str, batch: int, steps: int, *more: str) -> list[str]:
        return [
            *("train", "dice", "--config", str(tmp_path / "dice.toml"), "-o", str(tmp_path / run)),
            *("--set", f"batch={batch}", "--set", f"steps={steps}", *more),
        ]

    def here(*settings: Any) -> str:
        done = mien(*train(*settings), cache=cache)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def gap(one: str, other: str) -> float:
        return largest_difference(tmp_path / one, tmp_path / other)

    spread = ("--set", "sharding=full")
    printed = here("whole", 2, 4), here("sum", 4, 3)
    here("parts", 2, 2)  # the number of steps may change when a run is resumed
    done = launched(
        [train("parts", 2, 4, "--resume"), train("sums", 4, 3), train("spread", 4, 3, *spread)],
        tmp_path, cache,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join([*printed, printed[1]]), "the main process alone prints"
    assert done.stderr.count("step 4:") == 1
    assert gap("whole", "parts") <= 6e-7
    assert gap("sum", "sums") <= 6e-7
    assert gap("sum", "spread") <= 6e-7
    again = train("killed", 4, 3, *spread, "--set", "checkpointing=true")
    held = forked([(2, again), (None, [*again, "--resume", "--set", "sample_steps=1"])], cache)
    assert gap("spread", "killed") == 0
    assert sorted(shares.pop("rank") for shares in held) == [0, 1]
    assert all(0.5 <= share < 0.51 for shares in held for share in shares.values()), held
    samples = tmp_path / "killed" / "samples"
    assert [path.name for path in samples.iterdir()] == ["emotions-00000003.png"]
    for run in ("sum", "killed"):
        here(run, 4, 4, "--resume")
    assert gap("sum", "killed") <= 6e-7
