"""What the package says of itself: its extras, its metadata and the figures of its README."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "mien"

IMPORTED_AS = {
    "opencv-python-headless": "cv2",
    "python-multipart": None,  # FastAPI imports it, for forms
    "dlib-bin": "dlib",
    "prometheus-client": "prometheus_client",
    "face-recognition-models": "face_recognition_models",
    "c2pa-python": "c2pa",
}
"""Names of packages under which nobody would import them."""

NOT_OF_USERS = ("docs", "dev")


@cache
def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["project"]  # type: ignore[no-any-return]


def names(requirements: list[str]) -> Iterator[str]:
    """The module that each requirement brings."""
    for requirement in requirements:
        found = re.match(r"[\w.-]+", requirement)
        assert found, requirement
        module = IMPORTED_AS.get(found[0], found[0])
        if module is not None:
            yield module


@cache
def imported() -> frozenset[str]:
    """The other packages that the code imports anywhere, or asks for by name."""
    out = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                out |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                out.add(node.module or "")
            elif isinstance(node, ast.Constant) and re.fullmatch(r"[a-z_0-9]+", str(node.value)):
                out.add(f"?{node.value}")
    return frozenset(name.partition(".")[0] for name in out)


def test_every_extra_brings_what_the_code_uses() -> None:
    for extra, requirements in project()["optional-dependencies"].items():
        if extra not in NOT_OF_USERS:
            for module in names(requirements):
                assert {module, f"?{module}"} & imported(), (extra, module)
    for module in names(project()["dependencies"]):
        assert module in imported(), module


def test_everything_that_is_imported_is_declared() -> None:
    declared = set(names(project()["dependencies"]))
    for extra, requirements in project()["optional-dependencies"].items():
        if extra not in NOT_OF_USERS:
            declared |= set(names(requirements))
    declared |= {"click", "starlette", "pydantic", "anyio"}  # brought by those, as they say
    declared |= {"mien", "PIL"}  # PIL: of whoever hands over its images
    modules = {name for name in imported() if not name.startswith("?")}
    assert modules - declared - set(sys.stdlib_module_names) == set()


def test_metadata_is_complete() -> None:
    fields = project()
    assert fields["authors"] == [{"name": "mien contributors"}]
    assert {"description", "readme", "license", "keywords", "urls"} <= set(fields)
    minimum = fields["requires-python"].removeprefix(">=")
    assert f"Programming Language :: Python :: {minimum}" in fields["classifiers"]


def test_figures_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import figures

    for name, figure in figures.FIGURES.items():
        assert (ROOT / "docs" / name).read_text("utf-8") == figure(), f"make docs draws {name} anew"
    assert (ROOT / "docs" / "film.webp").stat().st_size < 1_500_000
