"""``mien demo``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mien.cli.progress import progress_bar
from mien.errors import InputError

if TYPE_CHECKING:
    from mien.media.frame import RGBImage

DEMO_FACES: Final = ("woman.jpg", "man.jpg", "both.jpg")
DEMO_CLIP: Final = "clip.mp4"
DEMO_SPEECH: Final = "speech.ogg"
_TILE: Final = 320
_CAPTION: Final = 34


@contextmanager
def demo_picture(name: str) -> Iterator[Path]:
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
    """Make a contact sheet of all emotions, an edited clip and a talking face from demo material."""
    from mien.api import edit, talk
    from mien.face.facs import RECIPES

    names = ("emotions.png", "clip.mp4", "clip-emotions.mp4", "talk.mp4")
    wanted = [output / name for name in names]
    for path in wanted:
        if path.exists() and not overwrite:
            raise InputError(f"{path} exists already; use --overwrite, or another folder with -o.")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {output} cannot be created ({error.strerror}).") from error
    _write_sheet(wanted[0], list(RECIPES))
    with demo_picture(DEMO_CLIP) as clip:
        shutil.copyfile(clip, wanted[1])
    with (
        as_file(files("mien") / "assets" / "demo" / "timeline.json") as timeline,
        progress_bar("Editing the clip") as progress,
    ):
        report = edit(wanted[1], wanted[2], timeline=timeline, overwrite=True, progress=progress)
    with (
        demo_picture(DEMO_FACES[0]) as face,
        demo_picture(DEMO_SPEECH) as speech,
        progress_bar("Talking") as progress,
    ):
        talking = talk(face, speech, wanted[3], "happy:0.6", overwrite=True, progress=progress)
    typer.echo(f"{wanted[0]}: every emotion on three average faces")
    typer.echo(f"{wanted[1]}: a clip, and {wanted[2]}: the same clip through its emotions")
    typer.echo(f"({report.frames} frames edited at {report.frames_per_second:.0f} frames/s)")
    typer.echo(
        f"{wanted[3]}: an average face that talks ({talking.frames_per_second:.0f} frames/s)"
    )


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
            with demo_picture(face) as source:
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
