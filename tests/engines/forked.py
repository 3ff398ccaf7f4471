"""Commands of mien in two processes each, which share their imports: cheaper than a launcher.

``python -m tests.engines.forked JSON``: a list of ``[step at which the second process is killed or
null, arguments]``. What each process held of a run at its end is printed as one line of JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Iterable
from typing import Any, Final

import diffusers  # noqa: F401
import torch

from mien.cli import main
from mien.training.run import Run
from mien.training.svd import diffusion, sharding  # noqa: F401

_step: Final = Run.step


def shares(run: Run[Any]) -> dict[str, float]:
    """The part of all bytes that this process holds of weights, averages and optimiser."""
    states = [value for state in run.optimiser.state.values() for value in state.values()]
    lists: dict[str, list[torch.Tensor]] = {
        "weights": list(run.net.parameters()),
        "averages": list(run.average.values()),
        "optimiser": states,
    }

    def held(values: list[torch.Tensor]) -> int:
        return sum(getattr(value, "_local_tensor", value).untyped_storage().nbytes()
                   for value in values)  # fmt: skip

    whole = {name: sum(v.nbytes for v in values) for name, values in lists.items()}
    return {name: held(values) / whole[name] for name, values in lists.items()}


def process(rank: int, port: int, kill: int | None, arguments: list[str]) -> None:
    """Run a command as one of two processes."""
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2,
           "MASTER_ADDR": "localhost", "MASTER_PORT": port}  # fmt: skip
    os.environ.update({name: str(value) for name, value in own.items()})

    def step(run: Run[Any], batches: Iterable[Any]) -> dict[str, float]:
        if kill == run.done and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        out = _step(run, batches)
        if run.done == run.task.steps:
            sys.stdout.write(json.dumps({"rank": rank, **shares(run)}) + "\n")
        return out

    Run.step = step  # type: ignore[method-assign]
    sys.argv = ["mien", *arguments]
    main()


def run(kill: int | None, arguments: list[str]) -> None:
    """Run a command; when the second process ends early, so does the first, as by a launcher."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    both = [fork.Process(target=process, args=(rank, port, kill, arguments)) for rank in (0, 1)]
    for one in both:
        one.start()
    both[1].join(300)
    if both[1].exitcode:
        both[0].kill()
    both[0].join(100)
    codes = [one.exitcode for one in both]
    if codes != ([0, 0] if kill is None else [-signal.SIGKILL] * 2):
        sys.exit(f"{arguments} ended with {codes}")


if __name__ == "__main__":
    for command in json.loads(sys.argv[1]):
        run(*command)
