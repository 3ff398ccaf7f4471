"""The commands of both pages of reproduction, on corpora in miniature and with tiny nets."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")
pytest.importorskip("tensorboard")

from mien.datasets.miniature import make_miniature
from mien.engines.published_checkpoints import convert_file
from mien.weights.manifest import CONNECTOR, EMOTION2VEC, entry
from mien.weights.store import Store

from .command import mien
from .published import tiny_store, write_emotion2vec

ROOT = Path(__file__).parents[1]
SOME = {"emotions": ("neutral", "angry"), "sentences": 1, "seconds": 0.2}


def commands(page: str) -> list[list[str]]:
    """Every command of a page, split into words."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line]


class Pages:
    """Runs a page's commands: folders for the corpora that it names, smaller nets, a processor."""

    def __init__(self, folder: Path, store: Store, **corpora: Path) -> None:
        self.folder, self.store, self._corpora = folder, store, corpora

    def run(
        self, page: str, smaller: dict[str, tuple[str, ...]], faceless: str = "no engine"
    ) -> list[list[str]]:
        """Run every command that needs no hub, with more words for some, and return them.

        Nets of the engine ``faceless`` are too small to draw a face: its films are not measured. Of
        those of edtalk some may not be.
        """
        ran = []
        for words in commands(page):
            words = words[words.index("mien") + 1 :]
            if words[:2] in (["weights", "fetch"], ["data", "miniature"]):
                continue  # tests/test_weights.py fetches; the corpora are drawn, with fewer films
            more = [word for start, extra in smaller.items() for word in extra
                    if " ".join(words).startswith(start)]  # fmt: skip
            words = [*map(self._placed, words), *more]
            done = mien(*words, cache=self.store.folder)
            if words[0] == "evaluate" and faceless in words:
                assert done.returncode == 2, (words, done.stderr)
                assert "No usable face was found" in done.stderr
            else:
                lost = "could not be made or measured" in done.stderr
                assert done.returncode == int(lost and "edtalk" in words), (words, done.stderr)
            ran.append(words)
        return ran

    def _placed(self, word: str) -> str:
        name = word.removeprefix("build/")
        if name in self._corpora:
            return str(self._corpora[name])
        if word.partition("/")[0] == "build":
            return str(self.folder / word)
        return str(ROOT / word) if word.startswith("configs/") else word


def changed(*settings: str) -> tuple[str, ...]:
    """Options of a training that change settings."""
    return tuple(part for one in settings for part in ("--set", one))


@pytest.mark.slow
def test_from_the_films_to_cmet_tables(tmp_path: Path) -> None:
    make_miniature("mead", tmp_path / "MEAD", **SOME)  # type: ignore[arg-type]
    make_miniature("cremad", tmp_path / "CREMAD", **SOME)  # type: ignore[arg-type]
    store = tiny_store(tmp_path / "weights", speech=64)
    store.locate(CONNECTOR).unlink()  # the page trains one
    pages = Pages(tmp_path, store, MEAD=tmp_path / "MEAD", CREMAD=tmp_path / "CREMAD")
    tiny = changed("width=64", "layers=1", "feed_forward=64", "batch=4", "steps=3",
                   "measure_every=3", "device=cpu")  # fmt: skip
    cpu = ("--device", "cpu")
    ran = pages.run("reproduce_cmet.md", {"train": tiny, "features": cpu, "evaluate": cpu})
    assert "connector-edtalk" in {words[1] for words in ran}
    for protocol, pairs in (("cmet-mead", 1), ("cmet-cremad", 3)):
        folder = tmp_path / "build" / protocol
        assert len(list(folder.rglob("*.mp4"))) >= pairs
        table = (folder / "table.md").read_text()
        assert "edtalk" in table
        assert "AITV" in table


@pytest.mark.slow
def test_from_the_films_to_dicetalk_tables(tmp_path: Path) -> None:
    for name in ("accelerate", "diffusers", "transformers"):
        pytest.importorskip(name)
    from .svd import PRIOR, SIZES, published_files

    make_miniature("mead", tmp_path / "MEAD", **SOME)  # type: ignore[arg-type]
    make_miniature("hdtf", tmp_path / "HDTF", **SOME)  # type: ignore[arg-type]
    store = Store(tmp_path / "cache")
    files = published_files(tmp_path / "published")
    files[EMOTION2VEC] = write_emotion2vec(tmp_path / "emotion2vec.pt")
    fetched = next(w for w in commands("reproduce_dicetalk.md") if w[1:3] == ["weights", "fetch"])
    for name in fetched[3:-1]:  # no others: the page trains them
        convert_file(entry(name), files[name], store, SIZES.get(name))
    pages = Pages(tmp_path, store, MEAD=tmp_path / "MEAD", HDTF=tmp_path / "HDTF")
    cpu = ("--device", "cpu")
    tiny = ("--limit", "1", "--steps", "1", "--side", "64", *cpu)
    ran = pages.run(
        "reproduce_dicetalk.md",
        {
            "features": ("--side", "64", *cpu),
            "train dice-embedder": changed(
                f"width={PRIOR}", "heads=2", "layers=1", "frames=4", "batch=8", "steps=40",
                "measure_every=40", "learning_rate=3e-3", "device=cpu",
            ),
            "train dice ": changed(
                "frames=2", "batch=1", "steps=2", "measured=2", "measure_every=2", "warm_up=1",
                "precision=no", "device=cpu",
            ),
            "evaluate run dicetalk-mead MEAD": tiny,
            "evaluate run dicetalk-hdtf HDTF": tiny,
        },
        faceless="svd",
    )  # fmt: skip
    assert {"dice-embedder", "dice"} < {words[1] for words in ran}
    for name in ("dicetalk-mead", "dicetalk-hdtf", "talk"):
        assert list((tmp_path / "build" / name / "films").glob("*.mp4"))
    table = (tmp_path / "build" / "talk" / "table.md").read_text()
    assert "mesh" in table
    assert "Acc_emo" in table
