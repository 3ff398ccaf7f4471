"""``mien evaluate``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.console import progress_bar
from mien.cli.data import Ray, Workers
from mien.cli.options import (
    AsJson,
    AudioGuidance,
    Compile,
    Connector,
    Crop,
    Debug,
    Device,
    Dtype,
    Embedder,
    EmotionGuidance,
    ImageGuidance,
    Preset,
    Side,
    Steps,
    edtalk_options,
    svd_options,
)
from mien.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from mien.evaluation.figures import Table
    from mien.evaluation.render import Engine, Rendered

evaluate = typer.Typer(
    help="Run evaluation protocols: make films, measure them, compare systems.",
    no_args_is_help=True,
)

_Protocol = Annotated[str, typer.Argument(help="See mien evaluate protocols.", metavar="PROTOCOL")]
_Root = Annotated[Path, typer.Argument(help="Folder of the corpus.", metavar="DIR")]
_Pairs = Annotated[Path, typer.Argument(help="Table of pairs (CSV).", metavar="PAIRS")]
_Output = Annotated[Path, typer.Option("-o", "--output", help="Folder to write to.", metavar="OUT")]
_Engine = Annotated[str, typer.Option("--engine", help="mesh, edtalk or svd.")]
_Net = Annotated[
    list[str] | None,
    typer.Option(
        "--net", help="Metric net (ONNX) of your own; see nets; repeatable.", metavar="SLOT=FILE"
    ),
]
_Classes = Annotated[
    str, typer.Option("--classes", help="Classes of the emotion net, in order: happy,sad,...")
]
_Compare = Annotated[
    list[str] | None,
    typer.Option(
        "--compare",
        help="Films of another system, called like the pairs; repeatable.",
        metavar="[NAME=]DIR",
    ),
]
_Limit = Annotated[
    int | None,
    typer.Option("--limit", help="Use only this many pairs, spread evenly, to try it out."),
]


@evaluate.command()
def protocols(debug: Debug = False) -> None:
    """List the protocols."""
    from mien.evaluation.pairs import PROTOCOLS

    for name, protocol in PROTOCOLS.items():
        typer.echo(f"{name:15} {protocol.about}")


@evaluate.command()
def nets(debug: Debug = False) -> None:
    """List the slots for metric nets of your own, and the files in them."""
    from mien.evaluation.slots import SLOTS, NetFiles

    filled = dict(NetFiles.given().files)
    for slot in SLOTS.values():
        typer.echo(f"{slot.name:14} {slot.variable}: {filled.get(slot.name, 'empty')}")
        typer.echo(f"  {slot.metrics}: {slot.what}; takes {slot.takes}, gives {slot.gives}")


@evaluate.command()
def pairs(
    protocol: _Protocol,
    root: _Root,
    output: Annotated[Path, typer.Option("-o", "--output", help="CSV to write.", metavar="FILE")],
    debug: Debug = False,
) -> None:
    """List which film is edited to which emotion, or which portrait says what."""
    from mien.evaluation.pairs import protocol as chosen
    from mien.evaluation.pairs import with_sound, write_pairs

    found, silent = with_sound(chosen(protocol).pairs(root.resolve()))
    _warn_silent(silent)
    write_pairs(output, found)
    typer.echo(f"{output}: {len(found)} pairs")


@evaluate.command()
def render(
    table: _Pairs,
    output: _Output,
    engine: _Engine = "edtalk",
    workers: Workers = 1,
    ray: Ray = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    compile: Compile = False,
    connector: Connector = None,
    svd_preset: Preset = None,
    steps: Steps = None,
    side: Side = None,
    crop: Crop = None,
    image_guidance: ImageGuidance = None,
    audio_guidance: AudioGuidance = None,
    emotion_guidance: EmotionGuidance = None,
    embedder: Embedder = None,
    debug: Debug = False,
) -> None:
    """Make the film of every pair; an interrupted run continues where it stopped."""
    from mien.evaluation.pairs import read_pairs, with_sound
    from mien.evaluation.render import render as run

    maker = _engine(
        engine, device, dtype, compile, connector, preset=svd_preset, num_inference_steps=steps,
        shorter_side=side, crop=crop, image_guidance=image_guidance, audio_guidance=audio_guidance,
        emotion_guidance=emotion_guidance, embedder=embedder,
    )  # fmt: skip
    found, silent = with_sound(read_pairs(table))
    _warn_silent(silent)
    with progress_bar("Rendering") as progress:
        made = run(found, output, maker, workers=workers, ray=ray, progress=progress)
    _show_rendered(made)
    typer.echo(f"{output}: {made.films} films, {made.seconds:.2f} s per film (AITV)")
    _end(len(made.failed))


@evaluate.command()
def score(
    table: _Pairs,
    compare: Annotated[
        list[str],
        typer.Argument(help="Folders of films called like the pairs.", metavar="[NAME=]DIR..."),
    ],
    output: _Output,
    net: _Net = None,
    classes: _Classes = "",
    workers: Workers = 1,
    ray: Ray = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Measure films of one or several systems on the same pairs and write a table."""
    from mien.evaluation.pairs import read_pairs
    from mien.evaluation.run import measure_systems
    from mien.evaluation.slots import NetFiles

    files = NetFiles.given(net or (), _names(classes))
    found, systems = read_pairs(table), dict(_systems(compare))
    with progress_bar("Measuring") as progress:
        result = measure_systems(
            found, systems, output, files, workers=workers, ray=ray, progress=progress
        )
    _show(result, output, as_json=as_json)


@evaluate.command()
def run(
    protocol: _Protocol,
    root: _Root,
    output: _Output,
    engine: _Engine = "mesh",
    compare: _Compare = None,
    limit: _Limit = None,
    prepared: Annotated[
        Path | None,
        typer.Option("--prepared", help="Folder that mien data prepare wrote.", metavar="DIR"),
    ] = None,
    net: _Net = None,
    classes: _Classes = "",
    workers: Workers = 1,
    ray: Ray = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    compile: Compile = False,
    connector: Connector = None,
    svd_preset: Preset = None,
    steps: Steps = None,
    side: Side = None,
    crop: Crop = None,
    image_guidance: ImageGuidance = None,
    audio_guidance: AudioGuidance = None,
    emotion_guidance: EmotionGuidance = None,
    embedder: Embedder = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Run a whole protocol, from the corpus to a table; an interrupted run continues.

    OUT then holds table.md, table.json, table.png, samples.jpg, pairs.csv and the films.
    """
    from mien.evaluation.run import Plan, run_protocol
    from mien.evaluation.slots import NetFiles

    maker = _engine(
        engine, device, dtype, compile, connector, preset=svd_preset, num_inference_steps=steps,
        shorter_side=side, crop=crop, image_guidance=image_guidance, audio_guidance=audio_guidance,
        emotion_guidance=emotion_guidance, embedder=embedder,
    )  # fmt: skip
    plan = Plan(
        protocol,
        root,
        maker,
        output,
        NetFiles.given(net or (), _names(classes)),
        tuple(_systems(compare or ())),
        limit,
        workers,
        ray,
        prepared,
    )
    with progress_bar("Evaluating") as progress:
        result = run_protocol(plan, progress=progress)
    _show(result, output, as_json=as_json)


def _engine(
    name: str, device: str, dtype: str, compile: bool, connector: Path | None, **diffusion: object
) -> Engine:
    """Return the engine with its options; ``diffusion``: those of svd alone."""
    from mien.evaluation.render import Engine

    slow = name == "svd"  # a whole protocol takes long anyway
    options = svd_options(
        name, device=device, dtype=dtype, compile=compile, connector=connector, allow_slow=slow,
        **diffusion,
    )  # fmt: skip
    return Engine(name, options or edtalk_options(name, device, dtype, compile, None, connector))


def _systems(folders: Sequence[str]) -> list[tuple[str, Path]]:
    """Return name and folder of every system; the folder's own name where none is given."""
    out = []
    for text in folders:
        name, equals, folder = text.rpartition("=")
        path = Path(folder)
        if not path.is_dir():
            raise InputError(f"There is no folder {path} of films to compare with.")
        out.append((name if equals else path.resolve().name, path))
    return out


def _names(classes: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in classes.split(",") if name.strip())


def _warn_silent(silent: Sequence[Path]) -> None:
    if silent:
        typer.echo(
            f"warning: {len(silent)} recordings without sound were left out, such as {silent[0]}",
            err=True,
        )


def _show_rendered(made: Rendered) -> None:
    for name, why in made.failed.items():
        typer.echo(f"warning: {name} could not be made: {why}", err=True)


def _show(table: Table, output: Path, *, as_json: bool) -> None:
    """Print the table and draw its plots."""
    try:
        table.plot(output / "table.png")
    except MissingExtraError as error:
        typer.echo(f"warning: no plots: {error}", err=True)
    for note in table.notes:
        typer.echo(f"note: {note}", err=True)
    if as_json:
        typer.echo(json.dumps(asdict(table), ensure_ascii=False))
    else:
        for one in table.systems:
            figures = ", ".join(f"{figure.metric} {figure.value:.4g}" for figure in one.figures)
            typer.echo(f"{one.name}: {figures}")
        typer.echo(f"{output / 'table.md'}: {table.pairs} films per system")
    _end(table.lost)


def _end(lost: int) -> None:
    """End with exit code 1 where films are missing."""
    if lost:
        typer.echo(f"warning: {lost} films could not be made or measured", err=True)
        raise typer.Exit(1)
