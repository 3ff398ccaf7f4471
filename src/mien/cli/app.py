"""The ``mien`` command: its sub-commands, its errors and its exit codes."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Final

import typer

from mien import __version__
from mien.cli.demo import demo
from mien.cli.doctor import doctor
from mien.cli.edit import edit
from mien.cli.emotions import emotions
from mien.cli.evaluate import evaluate
from mien.cli.feel import feel
from mien.cli.talk import talk
from mien.cli.train import features, train
from mien.cli.weights import weights
from mien.errors import MienError

INTERRUPTED: Final = 130

app = typer.Typer(
    name="mien",
    help="Change what a face feels in a video; make portraits talk. Offline, on a CPU.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(edit)
app.command()(talk)
app.command()(feel)
app.command()(emotions)
app.command()(demo)
app.command()(features)
app.command()(doctor)
app.add_typer(train, name="train")
app.add_typer(weights, name="weights")
app.add_typer(evaluate, name="evaluate")


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"mien {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Change what a face feels in a video; make portraits talk. Offline, on a CPU."""


def main() -> None:
    """Run the command line and end the process with its exit code."""
    debug = "--debug" in sys.argv[1:]
    if not debug:
        _silence_native_chatter()
    try:
        code = app(standalone_mode=False)
    except KeyboardInterrupt:
        typer.echo("Interrupted; nothing was written.", err=True)
        code = INTERRUPTED
    except MienError as error:
        if debug:
            raise
        typer.echo(f"mien: {error}", err=True)
        code = error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        code = _usage_error(error)
        if code is None:
            if debug:
                raise
            kind = type(error).__name__
            typer.echo(
                f"mien: unexpected {kind}: {error}\nRun again with --debug to see where; please "
                "report it.",
                err=True,
            )
            code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _usage_error(error: Exception) -> int | None:
    """Exit code of an error of the command line's own grammar, which is shown; None for others."""
    show = getattr(error, "show", None)
    code = getattr(error, "exit_code", None)
    if show is not None and isinstance(code, int):
        show(sys.stderr)
        return code
    if type(error).__name__ == "Abort":
        return INTERRUPTED
    return None


def _silence_native_chatter() -> None:
    """Send what native libraries write to stderr nowhere; mien's own messages still appear."""
    try:
        sys.stderr.flush()
        kept = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
    except OSError:  # no stderr
        return
    sys.stderr = os.fdopen(kept, "w", buffering=1, errors="backslashreplace")
