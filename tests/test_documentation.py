"""Every command and Python block of README and docs runs here, or is named with a reason."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import soundfile
from typer.main import get_command

from mien.api import talk
from mien.cli.app import app
from mien.datasets.miniature import make_miniature
from mien.media.audio import read_speech
from mien.media.read import VideoReader
from mien.media.still import read_still
from mien.media.write import VideoWriter

from .command import mien
from .conftest import DEMO

if TYPE_CHECKING:
    from click import Command

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}

ELSEWHERE = {
    r"^(\.venv/bin/)?(pip|python -m pip) (install|download)": "installs: tools/release_check.sh",
    r"--engine (edtalk|svd)|^mien weights|^mien features|^mien train (connector-edtalk|dice)"
    r"|^accelerate": "weights and licences of others: tests/test_reproduction.py on tiny nets",
    r"^mien (studio|serve)|MIEN_TOKENS|^curl ": "runs until it is stopped: tests/serve",
    r"(^| )(MEAD|HDTF|CREMA-D|DATA)\b": "a corpus: tests/test_reproduction.py in miniature",
    r"^for |^done|configs/": "trains for hours, on data that is not in the repository",
    r"^mien data miniature": "draws for a minute; drawn smaller here",
    r"^python (-m )?(benchmarks|tools)": "needs material that is not in the repository",
    r"^mien evaluate run cmet-mead build/mini": "measures for a minute: tests/evaluation",
}
"""Commands that do not run here, and why."""

FRAGMENTS = {
    "docs/backbones.md": "pieces of tests/eigenfaces.py, which tests/cmet/test_backbone.py runs",
    "docs/evaluation.md": "needs a net to export",
}
"""Pages whose Python is not run, and why."""

SOME: dict[str, Any] = {"emotions": ("neutral", "angry"), "sentences": 1, "seconds": 0.4}
"""What is drawn of a corpus in miniature."""

WHOLE_PAGES = {
    "docs/reproduce_cmet.md": "tests/test_reproduction.py",
    "docs/reproduce_dicetalk.md": "tests/test_reproduction.py",
}


@cache
def whole_command() -> Command:
    """The command line, built once."""
    return get_command(app)


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def commands(page: str) -> list[str]:
    """The commands of a page, each without its comment."""
    lines = "\n".join(blocks(PAGES[page], "sh")).replace("\\\n", " ").splitlines()
    words = (re.sub(r"\s+#.*", "", line).strip() for line in lines)
    return [line for line in words if line and not line.startswith("#")]


def reason(command: str) -> str | None:
    """Why a command does not run here."""
    return next((why for what, why in ELSEWHERE.items() if re.search(what, command)), None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages name, all small."""
    place = tmp_path_factory.mktemp("pages")
    voice = read_speech(DEMO / "speech.ogg", 0.4, start=Fraction(1))
    for name in ("speech", "voice", "sarcastic", "a", "b", "neutral", "plain"):
        soundfile.write(place / f"{name}.wav", voice, 16_000)
    faces = [
        cv2.resize(cv2.imread(str(DEMO / f"{name}.jpg")), (256, 256)) for name in ("woman", "man")
    ]
    for name in ("portrait.jpg", "face.jpg", "smile.jpg"):
        cv2.imwrite(str(place / name), faces[0])
    cv2.imwrite(str(place / "ben.png"), faces[1])
    cv2.imwrite(str(place / "group.jpg"), np.hstack(faces))
    clip = place / "clip.mp4"
    said, talking = place / "said.wav", place / "talking.mp4"
    soundfile.write(said, np.tile(voice, 3)[:14_400], 16_000)
    talk(place / "portrait.jpg", said, talking, "neutral", provenance=False)
    with (
        VideoReader(talking) as reader,
        VideoWriter(clip, reader.info, audio_from=talking) as writer,
    ):
        for frame in islice(reader, 0, None, 3):  # fewer frames, as long
            writer.write(frame.image, frame.time)
    for name in ("anna.mp4", "film.mp4"):
        shutil.copy(clip, place / name)
    for name in ("rows.csv", "manifest.csv"):
        (place / name).write_text(blocks(PAGES["docs/batch.md"], "csv")[0])
    (place / "out").mkdir()
    (place / "clips").mkdir()
    shutil.copy(place / "portrait.jpg", place / "clips")
    (place / "project.json").write_text('{"mien": 1, "input": "clip.mp4", "emotion": "happy"}')
    for name in ("examples", "configs"):
        shutil.copytree(ROOT / name, place / name)
    return place


@pytest.fixture
def tidy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Go to that folder, and return what removes the files that a page made."""
    monkeypatch.chdir(folder)
    given = set(folder.iterdir())

    def remove() -> None:
        for path in {*folder.iterdir(), *(folder / "out").iterdir()} - given:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    return remove


def run(words: list[str], folder: Path) -> None:
    """Run a command of a page; what an earlier one made under the same name is removed."""
    if "-o" in words and not words[words.index("-o") + 1].endswith("/"):
        Path(words[words.index("-o") + 1]).unlink(missing_ok=True)
    done = mien(*words[1:], cache=folder / "cache")
    assert done.returncode == 0, (shlex.join(words), done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_says_runs(page: str, folder: Path, tidy: Callable[[], None]) -> None:
    drawn = re.findall(r"data miniature mead -o (build/\w+)", "\n".join(commands(page)))
    for name in dict.fromkeys(drawn if page not in WHOLE_PAGES else ()):
        make_miniature("mead", folder / name, **SOME)
    if page == "docs/training.md":
        pytest.importorskip("tensorboard")
    for command in dict.fromkeys(commands(page)):
        if page not in WHOLE_PAGES and reason(command) is None:
            run(shlex.split(command), folder)
    tidy()
    if page not in FRAGMENTS:
        if "mien.cmet" in PAGES[page]:
            pytest.importorskip("torch")
        image = read_still(folder / "face.jpg")
        names: dict[str, object] = {
            "image": image,
            "images": [image] * 3,
            "camera": [image],
            "voice": [read_speech(folder / "voice.wav")],
            "show": lambda image: None,
            "preview": lambda image: None,
        }
        for block in blocks(PAGES[page], "python"):
            tidy()
            exec(compile(block, page, "exec"), names)  # noqa: S102 - the project's own pages
    tidy()


def test_every_reason_is_needed() -> None:
    all_commands = [command for page in PAGES for command in commands(page)]
    for what in ELSEWHERE:
        assert any(re.search(what, command) for command in all_commands), what
    for page in FRAGMENTS:
        assert blocks(PAGES[page], "python"), page


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_option_exists(page: str) -> None:
    """Also of the commands that do not run here, and of those within a sentence."""
    command = whole_command()
    lines = commands(page) + re.findall(r"`(mien [^`]+)`", PAGES[page])
    for line in lines:
        words = line.replace("...", " ").split()
        if "mien" in words:
            words = words[words.index("mien") + 1 :]
            exists(command, words, line)


def exists(command: Command, words: list[str], line: str) -> None:
    """Follow the words of a command line down to a command, and check its options."""
    subs = getattr(command, "commands", {})
    if subs and words and not words[0].startswith("-"):
        name = words[0].rstrip(".,;:")
        for one in name.split("|"):
            if one.isupper():
                return
            assert one in subs, (line, one)
        exists(subs[name.split("|")[0]], words[1:], line)
        return
    known = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
    for word in words:
        option = word.partition("=")[0].strip("()[],;")
        if re.fullmatch(r"--?[a-z][a-z-]*", option):
            assert option in known | {"--help", "-h"}, (line, option)


def test_code_blocks_say_their_language() -> None:
    for page, text in PAGES.items():
        fences = re.findall(r"^ *```(.*)$", text, re.MULTILINE)
        assert all(fences[::2]), page
        for language, read in (("json", json.loads), ("toml", tomllib.loads)):
            for block in blocks(text, language):
                for part in block.splitlines() if block.count("\n{") else [block]:
                    read(part)
