"""``mien evaluate``."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mien.cli.console import progress_bar
from mien.cli.options import Compile, Debug, Device, Dtype, edtalk_options

evaluate = typer.Typer(
    help="Run the papers' evaluation protocols: pairs, render, score.",
    no_args_is_help=True,
)

_Pairs = Annotated[Path, typer.Argument(help="Table of pairs (CSV).", metavar="PAIRS")]
_Net = typer.Option(help="Metric network (ONNX).", metavar="FILE")


class Corpus(StrEnum):
    """Corpora with an evaluation protocol."""

    mead = "mead"
    crema = "crema-d"


@evaluate.command()
def pairs(
    corpus: Annotated[Corpus, typer.Argument(help="Corpus.")],
    root: Annotated[Path, typer.Argument(help="Folder of the corpus.", metavar="DIR")],
    output: Annotated[Path, typer.Option("-o", "--output", help="CSV to write.", metavar="FILE")],
    debug: Debug = False,
) -> None:
    """List which clip is edited to which emotion."""
    from mien.evaluation.pairs import crema_pairs, mead_pairs, write_pairs

    found = mead_pairs(root.resolve()) if corpus is Corpus.mead else crema_pairs(root.resolve())
    write_pairs(output, found)
    typer.echo(f"{output}: {len(found)} pairs")


@evaluate.command()
def render(
    table: _Pairs,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder to write to.", metavar="DIR")
    ],
    engine: Annotated[str, typer.Option("--engine", help="mesh or edtalk.")] = "edtalk",
    device: Device = "auto",
    dtype: Dtype = "auto",
    compile: Compile = False,
    debug: Debug = False,
) -> None:
    """Render the video of every pair; an interrupted run continues where it stopped."""
    from mien.evaluation.pairs import read_pairs
    from mien.evaluation.score import render as run

    options = edtalk_options(engine, device, dtype, compile, None)
    found = read_pairs(table)
    with progress_bar("Rendering") as progress:
        seconds = run(found, output, engine, options, progress)
    typer.echo(f"{output}: {len(found)} videos, {seconds:.2f} s per video")


@evaluate.command()
def score(
    table: _Pairs,
    videos: Annotated[Path, typer.Argument(help="Folder of videos.", metavar="DIR")],
    classifier: Annotated[Path | None, _Net] = None,
    classes: Annotated[
        str, typer.Option("--classes", help="Names of the classifier's outputs: happy,sad,...")
    ] = "",
    inception: Annotated[Path | None, _Net] = None,
    video: Annotated[Path | None, _Net] = None,
    sync_video: Annotated[Path | None, _Net] = None,
    sync_audio: Annotated[Path | None, _Net] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="JSON to write.", metavar="FILE")
    ] = None,
    debug: Debug = False,
) -> None:
    """Measure rendered videos: emotion accuracy, FID, FVD and lip sync."""
    from mien.evaluation.pairs import read_pairs
    from mien.evaluation.score import Networks
    from mien.evaluation.score import score as run

    names = tuple(name.strip() for name in classes.split(",") if name.strip())
    networks = Networks(classifier, names, inception, video, sync_video, sync_audio)
    found = read_pairs(table)
    with progress_bar("Scoring") as progress:
        scores = asdict(run(found, videos, networks, progress))
    for name, value in scores.items():
        if value is not None:
            typer.echo(f"{name}: {value:.4g}")
    if output is not None:
        from mien.media.output import whole_file

        with whole_file(output) as part:
            part.write_text(json.dumps(scores, indent=1), encoding="utf-8")
