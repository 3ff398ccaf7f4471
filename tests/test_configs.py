"""Every file in configs/ belongs to a training and holds only settings that it has."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from mien.errors import InputError
from mien.training import TRAININGS

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.toml"))


def training_of(path: Path) -> str:
    """The training that a file is named after: tracker for tracker_mouth.toml."""
    name = path.stem.replace("_", "-")
    return name if name in TRAININGS else name.partition("-")[0]


def config_class(training: str) -> Any:
    module, _, name = TRAININGS[training].config.partition(":")
    return getattr(import_module(module), name)


def test_every_training_has_a_config() -> None:
    assert {training_of(path) for path in CONFIGS} == set(TRAININGS)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_loads(path: Path, tmp_path: Path) -> None:
    kind = config_class(training_of(path))
    assert isinstance(kind.load(path), kind)
    typo = tmp_path / path.name
    typo.write_text("stepz = 1\n" + path.read_text())
    with pytest.raises(InputError, match="stepz"):
        kind.load(typo)


@pytest.mark.parametrize("training", TRAININGS)
def test_training_function_exists(training: str) -> None:
    module, _, name = TRAININGS[training].run.partition(":")
    assert callable(getattr(import_module(module), name))
