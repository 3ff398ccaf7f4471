"""``mien demo``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mien.cli.console import progress_bar
from mien.errors import InputError

if TYPE_CHECKING:
    from mien.media.frame import RGBImage

DEMO_FACES: Final = tuple(f"{sex}{n}.jpg" for n in ("", 2, 3) for sex in ("woman", "man"))
DEMO_CLIP: Final = "clip.mp4"
DEMO_SPEECH: Final = "speech.ogg"
_TILE: Final = 320
_CAPTION: Final = 34


@contextmanager
def demo_file(name: str) -> Iterator[Path]:
    """Open a file of the demo material that ships with mien."""
    with as_file(files("mien") / "assets" / "demo" / name) as path:
        if not path.exists():
            raise InputError(f"The demo file {name} is missing from this installation.")
        yield path


def demo(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder to write to.", metavar="DIR")
    ] = Path("mien-demo"),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier demo.")
    ] = False,
) -> None:
    """Make a contact sheet of all emotions, an edited clip and a talking face as a demo."""
    from mien.api import edit, talk
    from mien.face.facs import RECIPES

    names = ("emotions.png", "clip.mp4", "clip-emotions.mp4", "talk.mp4")
    sheet, clip, edited, talking = paths = [output / name for name in names]
    for path in paths:
        if path.exists() and not overwrite:
            raise InputError(f"{path} exists already; use --overwrite, or another folder with -o.")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {output} cannot be created ({error.strerror}).") from error
    _write_sheet(sheet, list(RECIPES))
    with demo_file(DEMO_CLIP) as source:
        shutil.copyfile(source, clip)
    with (
        as_file(files("mien") / "assets" / "demo" / "timeline.json") as timeline,
        progress_bar("Editing the clip") as progress,
    ):
        edit_report = edit(clip, edited, timeline=timeline, overwrite=True, progress=progress)
    with (
        demo_file(DEMO_FACES[0]) as face,
        demo_file(DEMO_SPEECH) as speech,
        progress_bar("Talking") as progress,
    ):
        talk_report = talk(face, speech, talking, "happy:0.6", overwrite=True, progress=progress)
    typer.echo(f"{sheet}: every emotion on six faces that show nobody")
    typer.echo(f"{clip}: a clip, and {edited}: the same clip through its emotions")
    speed = f"{edit_report.frames_per_second:.0f} frames/s"
    typer.echo(f"({edit_report.frames} frames edited at {speed})")
    speed = f"{talk_report.frames_per_second:.0f} frames/s"
    typer.echo(f"{talking}: a face that talks ({speed})")


def _write_sheet(path: Path, names: list[str]) -> None:
    """Write a contact sheet: a row per demo face, a column per emotion."""
    import tempfile

    import cv2
    import numpy as np

    from mien.api import edit
    from mien.media.still import read_still, write_still

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for face in DEMO_FACES:
            with demo_file(face) as source:
                tiles: list[RGBImage] = []
                for name in names:
                    target = Path(folder) / f"{face}-{name}.png"
                    edit(source, target, name)
                    image = read_still(target if name != "neutral" else source)
                    tiles.append(cv2.resize(image, (_TILE, _TILE), interpolation=cv2.INTER_AREA))
                rows.append(np.hstack(tiles))
    caption = np.full((_CAPTION, rows[0].shape[1], 3), 255, np.uint8)
    for i, name in enumerate(names):
        (width, _), _ = cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, 0.7, 1)
        at = (i * _TILE + (_TILE - width) // 2, 24)
        cv2.putText(caption, name, at, cv2.FONT_HERSHEY_SIMPLEX, 0.7, (60, 60, 60), 1, cv2.LINE_AA)
    write_still(path, np.vstack([caption, *rows]))
