"""Console output that several commands share: a progress bar and the summary of a report."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from mien.errors import InputError

if TYPE_CHECKING:
    from mien.pipelines.job import Progress
    from mien.pipelines.report import Report

_SPANS_SHOWN = 5
_SPEED_SECONDS = 4 * 3600.0
"""Time over which the speed is taken; what is counted may take minutes each."""


@contextmanager
def progress_bar(
    title: str, unit: str = "frames", *, quiet: bool = False
) -> Iterator[Progress | None]:
    """Show what is done, how fast, and the time left; None if stderr is no terminal.

    Args:
        title: of the bar.
        unit: what is counted, in the plural.
        quiet: show nothing.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        speed_estimate_period=_SPEED_SECONDS,
    ) as bar:
        task = bar.add_task(title, total=None, speed="")

        def show(done: int, total: int | None) -> None:
            speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
            text = ""
            if speed:
                text = f"{speed:.0f} {unit}/s" if speed >= 1 else f"{1 / speed:.0f} s each"
            whole = max(total, done) if total else None
            bar.update(task, completed=done, total=whole, speed=text)

        yield show


def check_loudness(quiet: bool, verbose: bool) -> None:
    """Refuse ``--quiet`` together with ``--verbose``."""
    if quiet and verbose:
        raise InputError("--quiet and --verbose exclude each other.")


def show_report(
    report: Report, *, as_json: bool, quiet: bool = False, verbose: bool = False
) -> None:
    """Print warnings, and the report as one or two lines or as JSON.

    Args:
        report: of a finished job.
        as_json: print it whole, as JSON.
        quiet: print neither warnings nor lines.
        verbose: print more lines: how, with what, and what the output says about itself.
    """
    for warning in () if quiet else report.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if as_json:
        json.dump(report.to_dict(), sys.stdout)
        typer.echo()
    elif not quiet:
        more = _details(report) if verbose else ()
        typer.echo("\n".join((_summary(report), *_recognised(report), *more)))


def _summary(report: Report) -> str:
    if report.preview is not None:
        return f"{report.output}: the frame at {report.preview:g} s"
    people = "1 face" if report.faces == 1 else f"{report.faces} faces"
    text = f"{report.output}: {people}, {report.frames} frame{'s' if report.frames != 1 else ''}"
    if report.frames > 1:
        text += f", {report.speed}"
    if report.span is not None:
        start, end = report.span
        until = "the end" if end is None else f"{end:g} s"
        text += f"\nedited from {start:g} s to {until}"
    if report.spans_without_face:
        shown = report.spans_without_face[:_SPANS_SHOWN]
        spans = ", ".join(f"{start:.2f}-{end:.2f} s" for start, end in shown)
        more = len(report.spans_without_face) - len(shown)
        text += f"\nno face, left unchanged: {spans}" + (f" and {more} more" if more else "")
    return text


def _recognised(report: Report) -> Iterator[str]:
    """Yield what was recognised in each voice, and in the face of a clip."""
    seen = report.emotion.get("seen", {})
    for path, voice in report.emotion.get("heard", {}).items():
        text = f"{path} sounds {voice['emotion']} ({voice['confidence']:.2f})"
        if path in seen:
            text += f" and looks {seen[path]['emotion']} ({seen[path]['confidence']:.2f})"
        yield text


def _details(report: Report) -> Iterator[str]:
    yield f"engine: {report.engine}"
    if report.encoding:
        yield f"encoding: {report.encoding}; {report.rate:g} frames/s, {report.seconds:.2f} s"
    marks = report.provenance
    said = {
        "mark in faces": marks.mark,
        "metadata": marks.metadata,
        f"Content Credential ({marks.credential}, {marks.signer})": marks.credential,
        f"label {marks.label!r}": marks.label,
    }
    yield f"provenance: {', '.join(name for name, true in said.items() if true) or 'none'}"
    for net in report.weights:
        yield f"used: {net.name} ({net.sha256[:12]}, {net.licence})"
