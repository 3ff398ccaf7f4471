"""The commands of ``docs/reproduce_cmet.md``, on the corpus in miniature and with tiny nets."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")
pytest.importorskip("tensorboard")

from mien.datasets.miniature import make_miniature
from mien.weights.manifest import CONNECTOR

from .command import mien
from .published import tiny_store

ROOT = Path(__file__).parents[1]
TINY = ("width=64", "layers=1", "feed_forward=64", "batch=4", "steps=3", "measure_every=3")


def commands(page: str) -> list[list[str]]:
    """Every command of a page, split into words."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line]


@pytest.mark.slow
def test_every_command_of_the_page_runs(tmp_path: Path) -> None:
    films, crema = tmp_path / "MEAD", tmp_path / "CREMAD"
    some = {"emotions": ("neutral", "angry"), "sentences": 1, "seconds": 0.2}
    make_miniature("mead", films, **some)  # type: ignore[arg-type]
    make_miniature("cremad", crema, **some)  # type: ignore[arg-type]
    store = tiny_store(tmp_path / "weights", speech=64)
    store.locate(CONNECTOR).unlink()  # the page trains one
    places = {"MEAD": films, "CREMAD": crema}

    def placed(word: str) -> str:
        if word.startswith("build/"):
            return str(tmp_path / word)
        if word == "build":
            return str(tmp_path / "build")
        return str(ROOT / word) if word.startswith("configs/") else str(places.get(word, word))

    ran = []
    for name, *words in commands("reproduce_cmet.md"):
        assert name == "mien"
        if words[0] == "weights":
            continue  # the hub; tests/test_weights.py fetches
        if words[:2] == ["data", "miniature"]:
            continue  # drawn above, with fewer films
        words = list(map(placed, words))
        if words[0] == "train":
            words += [part for change in TINY for part in ("--set", change)]
        if words[0] in ("features", "train", "evaluate"):
            words += ["--device", "cpu"] if words[0] != "train" else ["--set", "device=cpu"]
        done = mien(*words, cache=store.folder)
        assert done.returncode == 0, (words, done.stderr)
        ran.append(words[:2])
    assert ["train", "connector-edtalk"] in ran
    for protocol, pairs in (("cmet-mead", 1), ("cmet-cremad", 3)):
        folder = tmp_path / "build" / protocol
        assert len(list(folder.rglob("*.mp4"))) >= pairs
        table = (folder / "table.md").read_text()
        assert "edtalk" in table
        assert "AITV" in table


def test_the_other_page_names_commands_that_there_are(tmp_path: Path) -> None:
    """Every command, subcommand and option of the DICE-Talk page."""
    seen = set()
    for words in commands("reproduce_dicetalk.md"):
        words = words[words.index("mien") :] if words[0] == "accelerate" else words
        own = [word for word in words[1:3] if re.fullmatch(r"[a-z-]+", word)]
        own = own[:1] if own[0] == "features" else own
        text = mien(*own, "--help", cache=tmp_path).stdout
        for option in (word for word in words if word.startswith("-")):
            assert option in text, (own, option)
        seen.add(own[0])
    assert seen == {"data", "weights", "features", "train", "evaluate"}
