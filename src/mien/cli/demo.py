"""``mien demo``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mien.cli.console import progress_bar
from mien.errors import InputError

if TYPE_CHECKING:
    from mien.media.frame import RGBImage
    from mien.pipelines.job import Progress

DEMO_FACES: Final = tuple(f"{sex}{n}.jpg" for n in ("", 2, 3) for sex in ("woman", "man"))
DEMO_CLIP: Final = "clip.mp4"
DEMO_SPEECH: Final = "speech.ogg"
_TIMELINE: Final = "timeline.json"
_PAGE: Final = "index.html"
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
        bool, typer.Option("-y", "--overwrite", help="Replace an earlier demo.")
    ] = False,
) -> None:
    """Make a page that shows every emotion, an edited clip and a talking face, before and after."""
    from mien.api import edit, talk
    from mien.face.facs import RECIPES

    names = (_PAGE, "emotions.png", DEMO_CLIP, "clip-emotions.mp4", "talk.mp4")
    page, sheet, clip, edited, talking = paths = [output / name for name in names]
    for path in paths:
        if path.exists() and not overwrite:
            raise InputError(f"{path} exists already; use --overwrite, or another folder with -o.")
    faces = output / "faces"
    try:
        faces.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {output} cannot be created ({error.strerror}).") from error
    emotions = [name for name in RECIPES if name != "neutral"]
    with progress_bar("Editing faces") as progress:
        _write_faces(faces, emotions, progress)
    _write_sheet(sheet, faces, emotions)
    with demo_file(DEMO_CLIP) as source:
        shutil.copyfile(source, clip)
    with demo_file(_TIMELINE) as timeline, progress_bar("Editing the clip") as progress:
        edit_report = edit(clip, edited, timeline=timeline, overwrite=True, progress=progress)
    with (
        demo_file(DEMO_FACES[0]) as face,
        demo_file(DEMO_SPEECH) as speech,
        progress_bar("Talking") as progress,
    ):
        talk_report = talk(face, speech, talking, "happy:0.6", overwrite=True, progress=progress)
    _write_page(page, emotions)
    typer.echo(
        f"{faces}: every emotion on six faces that show nobody; {sheet.name}: all at a glance"
    )
    typer.echo(f"{clip}: a clip, and {edited}: the same clip through its emotions")
    typer.echo(f"({edit_report.frames} frames edited at {edit_report.speed})")
    typer.echo(f"{talking}: a face that talks ({talk_report.speed})")
    typer.echo(f"Open {page} in a browser to see them before and after.")


def _write_faces(folder: Path, emotions: list[str], progress: Progress | None) -> None:
    """Write every demo face, and its edit to every emotion."""
    from mien.api import edit

    total = len(DEMO_FACES) * len(emotions)
    for i, face in enumerate(DEMO_FACES):
        with demo_file(face) as source:
            shutil.copyfile(source, folder / face)
        for j, name in enumerate(emotions):
            edit(folder / face, _edited(folder, face, name), name, overwrite=True)
            if progress is not None:
                progress(i * len(emotions) + j + 1, total)


def _edited(folder: Path, face: str, emotion: str) -> Path:
    return folder / f"{Path(face).stem}-{emotion}.jpg"


def _write_sheet(path: Path, folder: Path, emotions: list[str]) -> None:
    """Write a contact sheet: a row per demo face, a column per emotion, the input first."""
    import cv2
    import numpy as np

    from mien.media.still import read_still, write_still

    def tile(image: RGBImage) -> RGBImage:
        return cv2.resize(image, (_TILE, _TILE), interpolation=cv2.INTER_AREA)

    rows = [
        np.hstack(
            [
                tile(read_still(file))
                for file in (folder / face, *(_edited(folder, face, name) for name in emotions))
            ]
        )
        for face in DEMO_FACES
    ]
    caption = np.full((_CAPTION, rows[0].shape[1], 3), 255, np.uint8)
    for i, name in enumerate(("input", *emotions)):
        (width, _), _ = cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, 0.7, 1)
        at = (i * _TILE + (_TILE - width) // 2, 24)
        cv2.putText(caption, name, at, cv2.FONT_HERSHEY_SIMPLEX, 0.7, (60, 60, 60), 1, cv2.LINE_AA)
    write_still(path, np.vstack([caption, *rows]))


def _write_page(path: Path, emotions: list[str]) -> None:
    """Write the page that shows what the demo made, for browsers without a network."""
    from mien.media.output import whole_file

    with demo_file(_PAGE) as page, demo_file(_TIMELINE) as timeline:
        made = {
            "faces": [Path(face).stem for face in DEMO_FACES],
            "emotions": emotions,
            **json.loads(timeline.read_text("utf-8")),
        }
        text = Template(page.read_text("utf-8")).substitute(made=json.dumps(made))
    with whole_file(path) as part:
        part.write_text(text, "utf-8")
