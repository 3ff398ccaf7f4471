"""``mien batch``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli import options as opt
from mien.errors import InputError

if TYPE_CHECKING:
    from mien.batch.run import RowResult


def batch(
    rows: Annotated[
        Path, typer.Argument(help="CSV or JSONL manifest, or a folder.", metavar="ROWS")
    ],
    folder: Annotated[
        str | None,
        typer.Option("-o", "--output", help="Folder for outputs without a name.", metavar="DIR"),
    ] = None,
    emotion: opt.EmotionSpec = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--set", help="Option of all rows; repeatable.", metavar="NAME=VALUE"),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", "-w", help="Processes; default 1.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option("--ray", help="Run on a Ray cluster, or local.", metavar="ADDRESS"),
    ] = None,
    reports: Annotated[
        Path | None,
        typer.Option("--reports", help="Folder for reports; default ROWS.reports.", metavar="DIR"),
    ] = None,
    overwrite: opt.Overwrite = False,
    quiet: opt.Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    debug: opt.Debug = False,
) -> None:
    """Edit or animate many files; the same command continues after an interruption."""
    from mien.batch.rows import read_rows
    from mien.batch.run import run_rows

    defaults: dict[str, str | bool] = {}
    for given in option or ():
        name, equals, value = given.partition("=")
        if not equals:
            raise InputError(f"--set takes NAME=VALUE; got {given}.")
        defaults[name.strip()] = value
    if emotion is not None:
        defaults["emotion"] = emotion
    if overwrite:
        defaults["overwrite"] = True
    listed = read_rows(rows, defaults, folder)
    if folder is not None and "://" not in folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
    place = reports or rows.resolve().with_name(f"{rows.resolve().name}.reports")
    digits = len(str(len(listed)))

    def show(result: RowResult) -> None:
        for warning in () if quiet else result.warnings:
            typer.echo(f"warning: row {result.number}: {warning}", err=True)
        if result.error:
            typer.echo(f"row {result.number}: {result.error}", err=True)
        elif not as_json and not quiet:
            state = "done before" if result.kept else "done"
            typer.echo(f"{result.number:{digits}}/{len(listed)} {state}: {result.output}")

    summary = run_rows(listed, place, workers=workers, ray=ray, show=show)
    if as_json:
        typer.echo(json.dumps(summary.to_dict()))
    elif not quiet:
        kept = f", {summary.kept} done before" if summary.kept else ""
        typer.echo(
            f"{summary.done} done{kept}, {len(summary.failed)} failed; reports: {summary.reports}"
        )
    if summary.exit_code:
        raise typer.Exit(summary.exit_code)
