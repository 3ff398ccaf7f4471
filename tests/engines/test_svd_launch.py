"""Stage 2 of DICE-Talk's training in two processes, which accelerate launches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from mien.weights.store import CACHE_VARIABLE

from ..command import Done, mien
from ..svd import tiny_svd_store
from .test_svd_training import cached, priors_of

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
    """Run commands in two processes; without a GPU, ``--multi_gpu`` starts them on the CPU."""
    (folder / "commands.txt").write_text("\n".join(" ".join(one) for one in commands))
    (folder / "script.py").write_text(SCRIPT)
    return subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2",
         "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no",
         "--main_process_port", "0", "script.py"],
        cwd=folder, text=True, capture_output=True, timeout=500,
        env={**os.environ, CACHE_VARIABLE: str(cache), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def largest_difference(one: Path, other: Path) -> float:
    from safetensors.torch import load_file

    out = 0.0
    for file in FILES:
        a, b = (load_file(run / f"{file}.safetensors") for run in (one, other))
        assert a.keys() == b.keys()
        out = max(out, *(float((a[name] - b[name]).abs().max()) for name in a))
    return out


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    """But for rounding: resumed in the middle, and with several windows added up in each.

    A step moves a weight by up to 1e-5, and rounding by a hundredth of that.
    """
    cache = tiny_svd_store(tmp_path / "svd").folder
    cached(tmp_path / "clips")
    priors_of(tmp_path / "priors")
    (tmp_path / "dice.toml").write_text(SETTINGS)

    def train(run: str, batch: int, steps: int) -> list[str]:
        return [
            *("train", "dice", "--config", str(tmp_path / "dice.toml"), "-o", str(tmp_path / run)),
            *("--set", f"batch={batch}", "--set", f"steps={steps}"),
        ]

    def here(run: str, batch: int, steps: int) -> str:
        done = mien(*train(run, batch, steps), cache=cache)
        assert done.returncode == 0, done.stderr
        return done.stdout

    printed = here("whole", 2, 4), here("sum", 4, 3)
    here("parts", 2, 2)  # the number of steps may change when a run is resumed
    done = launched([[*train("parts", 2, 4), "--resume"], train("sums", 4, 3)], tmp_path, cache)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(printed), "the main process alone prints"
    assert done.stderr.count("step 4:") == 1
    assert largest_difference(tmp_path / "whole", tmp_path / "parts") <= 6e-7
    assert largest_difference(tmp_path / "sum", tmp_path / "sums") <= 6e-7
