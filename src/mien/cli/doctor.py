"""``mien doctor``."""

from __future__ import annotations

import json
import platform
import re
import sys
from typing import Annotated, Any, Final

import typer

from mien import __version__
from mien.errors import MienError


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Check this installation: libraries, nets, what each engine lacks, and one edit."""
    checks: dict[str, Any] = {
        "mien": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "libraries": _libraries(),
    }
    problems = [f"{name} is not installed" for name, v in checks["libraries"].items() if v is None]
    try:
        from mien.pipelines.job import all_bundled_weights

        checks["weights"] = [
            {"name": w.name, "sha256": w.sha256, "licence": w.licence}
            for w in all_bundled_weights()
        ]
        checks["engines"] = {"mesh": _self_test(), **_published()}
        checks["extras"] = _extras()
    except (MienError, ImportError, OSError) as error:
        checks["engines"] = {"mesh": f"does not work: {error}"}
        problems.append(str(error))
    checks["advice"] = _torch_advice()
    checks["problems"] = problems
    if as_json:
        json.dump(checks, sys.stdout)
        typer.echo()
    else:
        _print(checks)
    if problems:
        raise typer.Exit(1)


def _libraries() -> dict[str, str | None]:
    """Return the versions of the required libraries; None for missing ones."""
    from importlib import metadata

    try:
        requirements = metadata.requires("mien") or []
    except metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return {}
    names = [re.split(r"[^\w.-]", one)[0] for one in requirements if "extra ==" not in one]
    return {name: _version(name) for name in names}


def _version(name: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _self_test() -> str:
    """Edit the demo picture and return how long that took."""
    from contextlib import closing
    from time import perf_counter

    import numpy as np

    from mien.cli.demo import DEMO_FACES, demo_file
    from mien.engines.mesh import MeshEngine
    from mien.face.facs import RECIPES
    from mien.face.follow import Face
    from mien.face.tracker import FaceTracker
    from mien.media.still import read_still

    with demo_file(DEMO_FACES[0]) as path:
        image = read_still(path)
    with closing(FaceTracker(still=True)) as tracker:
        found = tracker(image)
    if not found:
        raise MienError("The self test found no face in the demo picture; reinstall mien.")
    start = perf_counter()
    edited = MeshEngine().render(image, Face(1, found[0]), RECIPES["sad"].expression())
    if not np.abs(edited.astype(int) - image).max() > 0:
        raise MienError("The self test changed nothing in the demo picture; reinstall mien.")
    return f"works ({(perf_counter() - start) * 1000:.0f} ms for one frame)"


def _published() -> dict[str, str]:
    """Return the state of the optional engines; none of it counts as a problem."""
    from mien.weights.manifest import CONNECTOR, GENERATOR, PRIORS, SVD_NEEDED

    torch = ("torch", "safetensors")
    return {
        "edtalk": _optional("edtalk", torch, (GENERATOR, CONNECTOR)),
        "svd": _optional("svd", (*torch, "diffusers", "transformers"), (*SVD_NEEDED, PRIORS)),
    }


def _optional(extra: str, libraries: tuple[str, ...], weights: tuple[str, ...]) -> str:
    from importlib.util import find_spec

    from mien.weights.store import Store

    missing = [name for name in libraries if find_spec(name) is None]
    store = Store()
    absent = [name for name in weights if not store.has(name)]
    needs = []
    if missing:
        needs.append(f"the libraries {', '.join(missing)} (pip install 'mien[{extra}]')")
    if absent:
        which = "its weights" if len(absent) == len(weights) else f"the weights {', '.join(absent)}"
        needs.append(f"{which} (mien weights fetch {extra})")
    if needs:
        return f"cannot run: needs {' and '.join(needs)}"
    return f"ready ({_device()})"


def _device() -> str:
    """Return what PyTorch computes on."""
    from mien.utils.device import torch_device

    return str(torch_device("auto"))


_EXTRAS: Final = {
    "studio": ("the studio in a browser", ("fastapi", "uvicorn", "multipart")),
    "serve": ("the HTTP API and MCP", ("fastapi", "uvicorn", "mcp")),
    "provenance": ("signed Content Credentials", ("c2pa", "cryptography")),
    "train": ("training", ("torch", "tensorboard", "onnx")),
    "metrics": ("more metrics, and plots", ("dlib", "matplotlib")),
    "ray": ("batches on a cluster", ("ray",)),
    "remote": ("batches in remote storage", ("fsspec",)),
}
"""What the extras that are no engines are for, and the modules they bring."""


def _extras() -> dict[str, str]:
    """Return which extras are installed; none of them counts as a problem."""
    from importlib.util import find_spec

    out = {}
    for extra, (_, modules) in _EXTRAS.items():
        missing = [name for name in modules if find_spec(name) is None]
        needs = f"needs {', '.join(missing)} (pip install 'mien[{extra}]')"
        out[extra] = needs if missing else "installed"
    return out


def _torch_advice() -> str:
    """Return how to install PyTorch without CUDA; empty where it is there."""
    from importlib.util import find_spec

    if find_spec("torch") is not None:
        return ""
    return (
        "PyTorch is not installed. Without an NVIDIA GPU, install its CPU build first: PyTorch's "
        "installation page names the package index for it (choose CPU there). Otherwise pip brings "
        "several gigabytes of CUDA libraries on Linux."
    )


def _print(checks: dict[str, Any]) -> None:
    typer.echo(f"mien {checks['mien']}, Python {checks['python']}, {checks['system']}")
    for name, installed in checks["libraries"].items():
        typer.echo(f"  {name} {installed or 'MISSING'}")
    for net in checks.get("weights", []):
        typer.echo(f"  {net['name']} {net['sha256'][:16]} {net['licence']}")
    for engine, state in checks["engines"].items():
        typer.echo(f"engine {engine}: {state}")
    for extra, state in checks.get("extras", {}).items():
        typer.echo(f"extra {extra} ({_EXTRAS[extra][0]}): {state}")
    if checks["advice"]:
        typer.echo(checks["advice"])
    problems = checks["problems"]
    typer.echo(f"problems: {'; '.join(problems)}" if problems else "no problems found")
