"""``mien data``: what of a corpus is there, its preparation, and corpora in miniature."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mien.cli.console import progress_bar
from mien.cli.options import AsJson, Debug

data = typer.Typer(
    help="Check and prepare MEAD, CREMA-D, HDTF and RAVDESS, or make one in miniature.",
    no_args_is_help=True,
)


class Corpus(StrEnum):
    """Corpora whose films are read."""

    mead = "mead"
    cremad = "cremad"
    hdtf = "hdtf"
    ravdess = "ravdess"


_Corpus = Annotated[Corpus, typer.Argument(help="Corpus.")]
_Root = Annotated[Path, typer.Argument(help="Folder of the corpus.", metavar="DIR")]
Workers = Annotated[int, typer.Option("--workers", help="Processes that work at once.")]
Ray = Annotated[
    str | None,
    typer.Option("--ray", help="Address of a Ray cluster, or local.", metavar="ADDRESS"),
]


@data.command()
def check(
    corpus: _Corpus,
    root: _Root,
    workers: Workers = 1,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List what a corpus contains, what is missing, and which films are silent or damaged."""
    from mien.datasets.films import check_corpus

    with progress_bar("Looking") as progress:
        report = check_corpus(corpus.value, root, workers=workers, progress=progress)
    for line in report.warnings():
        typer.echo(f"warning: {line}", err=True)
    typer.echo(json.dumps(asdict(report)) if as_json else "\n".join(report.lines()))


@data.command()
def miniature(
    corpus: Annotated[str, typer.Argument(help="mead, cremad or hdtf.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.", metavar="OUT")],
    sentences: Annotated[int, typer.Option("--sentences", help="Films per emotion.")] = 2,
    seconds: Annotated[float, typer.Option("--seconds", help="Length of a film.")] = 0.6,
    side: Annotated[int, typer.Option("--side", help="Pixels of a side.")] = 224,
    close: Annotated[bool, typer.Option("--close", help="Let the face fill the picture.")] = False,
    debug: Debug = False,
) -> None:
    """Make a tiny corpus of three synthetic people, to try and test every step that follows."""
    from mien.datasets.miniature import make_miniature

    with progress_bar("Drawing") as progress:
        films = make_miniature(
            corpus, output, sentences=sentences, seconds=seconds, side=side, close=close,
            progress=progress,
        )  # fmt: skip
    typer.echo(f"{output}: {films} films of three people who are not real")


@data.command()
def prepare(
    corpus: _Corpus,
    root: _Root,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write.", metavar="OUT")],
    workers: Workers = 1,
    ray: Ray = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Track the faces and extract the speech of every film; an interrupted run continues."""
    from mien.datasets.prepare import prepare_corpus

    with progress_bar("Preparing") as progress:
        done = prepare_corpus(
            corpus.value, root, output, workers=workers, ray=ray, progress=progress
        )
    for what, names in (("have no sound", done.silent), ("show no face", done.faceless)):
        if names:
            typer.echo(f"warning: {len(names)} films {what}: {', '.join(names[:5])}", err=True)
    for name, why in done.unreadable.items():
        typer.echo(f"warning: {name} was left out: {why}", err=True)
    if as_json:
        typer.echo(json.dumps(asdict(done)))
        return
    typer.echo(
        f"{output}: {done.films} films; {done.clips} talking clips, {done.voices} voices with an "
        "emotion"
    )
