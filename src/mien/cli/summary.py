"""The result of a job, printed."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mien.pipelines.job import Report


def show(report: Report, *, as_json: bool) -> None:
    """Print warnings, and the report as one or two lines or as JSON."""
    for warning in report.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if as_json:
        json.dump(report.to_dict(), sys.stdout)
        typer.echo()
    else:
        typer.echo(_summary(report))


def _summary(report: Report) -> str:
    people = "1 face" if report.faces == 1 else f"{report.faces} faces"
    text = f"{report.output}: {people}, {report.frames} frame{'s' if report.frames != 1 else ''}"
    if report.frames > 1:
        text += f", {report.frames_per_second:.0f} frames/s"
    if report.spans_without_face:
        spans = ", ".join(f"{a:.2f}-{b:.2f} s" for a, b in report.spans_without_face[:5])
        more = len(report.spans_without_face) - 5
        text += f"\nno face, left unchanged: {spans}" + (f" and {more} more" if more > 0 else "")
    return text
