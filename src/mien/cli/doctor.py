"""``mien doctor``."""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any, Final

import typer

from mien import __version__
from mien.errors import MienError

_LIBRARIES: Final = (
    "numpy",
    "opencv-python-headless",
    "av",
    "soundfile",
    "soxr",
    "onnxruntime",
    "typer",
    "rich",
)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Check this installation: versions, nets, and one frame edited for real."""
    checks: dict[str, Any] = {
        "mien": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
    }
    problems = [f"{name} is not installed" for name, v in checks["libraries"].items() if v is None]
    try:
        checks["weights"] = [
            {"name": w.name, "sha256": w.sha256, "licence": w.licence} for w in _weights()
        ]
        checks["engines"] = {"mesh": _self_test(), **_published()}
    except (MienError, ImportError, OSError) as error:
        checks["engines"] = {"mesh": f"does not work: {error}"}
        problems.append(str(error))
    checks["problems"] = problems
    if as_json:
        json.dump(checks, sys.stdout)
        typer.echo()
    else:
        _print(checks)
    if problems:
        raise typer.Exit(1)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _weights() -> Any:  # noqa: ANN401 - keeps the import lazy
    from mien.pipelines.job import all_bundled_weights

    return all_bundled_weights()


def _self_test() -> str:
    """Find and edit the face of the demo picture; says how long that took."""
    from contextlib import closing
    from time import perf_counter

    import numpy as np

    from mien.cli.demo import DEMO_FACES, demo_file
    from mien.emotion.request import Emotion
    from mien.engines.mesh import MeshEngine
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
    edited = MeshEngine().render(image, Face(1, found[0]), Emotion.parse("sad").expression_at())
    if not np.abs(edited.astype(int) - image).max() > 0:
        raise MienError("The self test changed nothing in the demo picture; reinstall mien.")
    return f"works ({(perf_counter() - start) * 1000:.0f} ms for one frame)"


def _published() -> dict[str, str]:
    """Whether published engines can run; they are optional, so nothing here is a problem."""
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
    if missing:
        return f"needs {' and '.join(missing)}: pip install 'mien[{extra}]'"
    store = Store()
    away = [name for name in weights if not store.has(name)]
    if len(away) == len(weights):
        return f"has no weights yet: mien weights fetch {extra}"
    return f"lacks {', '.join(away)}" if away else "has its weights"


def _print(checks: dict[str, Any]) -> None:
    typer.echo(f"mien {checks['mien']}, Python {checks['python']}, {checks['system']}")
    for name, found in checks["libraries"].items():
        typer.echo(f"  {name} {found or 'MISSING'}")
    for net in checks.get("weights", []):
        typer.echo(f"  {net['name']} {net['sha256'][:16]} {net['licence']}")
    for engine, state in checks["engines"].items():
        typer.echo(f"engine {engine}: {state}")
    typer.echo(
        "all well" if not checks["problems"] else "problems: " + "; ".join(checks["problems"])
    )
