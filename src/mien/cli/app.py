"""The ``mien`` command: its sub-commands, its errors and its exit codes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from mien import __version__
from mien.cli.batch import batch
from mien.cli.config import VARIABLE, load_defaults
from mien.cli.data import data
from mien.cli.demo import demo
from mien.cli.doctor import doctor
from mien.cli.edit import edit
from mien.cli.emotions import emotions
from mien.cli.evaluate import evaluate
from mien.cli.examples import epilog
from mien.cli.feel import feel
from mien.cli.process import EndedError, end_on_signals, prepare_streams
from mien.cli.serve import serve
from mien.cli.studio import studio
from mien.cli.talk import talk
from mien.cli.train import features, train
from mien.cli.verify import verify
from mien.cli.weights import weights
from mien.errors import MienError

INTERRUPTED: Final = 130
_LONGEST_MESSAGE: Final = 300

app = typer.Typer(
    name="mien",
    help="Change what a face feels in a video; make portraits talk. Offline, on a CPU.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_MAKE, _LOOK = "Make pictures and films", "Look at files and at the installation"
_OFFER, _TRAIN = "Work with others", "Train and measure"
for _panel, _commands in (
    (_MAKE, (edit, talk, batch, demo)),
    (_LOOK, (feel, verify, emotions, doctor)),
    (_OFFER, (studio, serve)),
):
    for _command in _commands:
        app.command(rich_help_panel=_panel, epilog=epilog(_command.__name__))(_command)
app.add_typer(weights, name="weights", rich_help_panel=_TRAIN)
app.add_typer(train, name="train", rich_help_panel=_TRAIN)
app.command(rich_help_panel=_TRAIN)(features)
app.add_typer(data, name="data", rich_help_panel=_TRAIN)
app.add_typer(evaluate, name="evaluate", rich_help_panel=_TRAIN)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"mien {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            envvar=VARIABLE,
            help="TOML file with defaults: a table per command, such as \\[edit].",
            metavar="FILE",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Change what a face feels in a video; make portraits talk. Offline, on a CPU."""
    if config is not None:
        context.default_map = load_defaults(config, context.command)


def main() -> None:
    """Run the command line and end the process with its exit code."""
    debug = "--debug" in sys.argv[1:]
    out = prepare_streams(native_messages=debug)
    end_on_signals()
    try:
        code = app(standalone_mode=False)
    except EndedError as ended:
        typer.echo("Interrupted.", err=True)
        code = ended.exit_code
    except MienError as error:
        if debug:
            raise
        typer.echo(f"mien: {error}", err=True)
        code = error.exit_code
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
    out.flush()
    if out.failure is not None:
        typer.echo(f"mien: not everything could be printed ({out.failure.strerror}).", err=True)
        code = code or 1
    sys.exit(code if isinstance(code, int) else 0)


def _usage_error(error: Exception) -> int | None:
    """Exit code of an error of the command line's own grammar, which is shown; None for others."""
    if getattr(error, "option_name", "") == "-i":
        error.message = "No such option: -i. Inputs need none; the intensity is -I."  # type: ignore[attr-defined]
    show = getattr(error, "show", None)
    code = getattr(error, "exit_code", None)
    if show is not None and isinstance(code, int):
        for name in ("message", "option_name"):
            text = str(getattr(error, name, ""))
            if len(text) > _LONGEST_MESSAGE:
                half = _LONGEST_MESSAGE // 2
                setattr(error, name, f"{text[:half]}…{text[-half:]}")
        show(sys.stderr)
        return code
    return INTERRUPTED if type(error).__name__ == "Abort" else None
