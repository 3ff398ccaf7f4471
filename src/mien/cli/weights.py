"""``mien weights``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.options import Debug
from mien.errors import InputError, WeightsError

if TYPE_CHECKING:
    from mien.weights.store import Store, StoredWeights

weights = typer.Typer(
    help="Published weights: list, fetch, convert and verify them.", no_args_is_help=True
)

_Accept = Annotated[
    bool, typer.Option("--accept-licence", help="Accept the licences shown; needed once.")
]


@weights.command("list")
def list_them(debug: Debug = False) -> None:
    """Show all published weights, their licences, and which are on this machine."""
    from mien.weights.manifest import ENTRIES
    from mien.weights.store import Store

    store = Store()
    records = store.records()
    for item in ENTRIES:
        size = f"{records[item.name].size / 1e6:.0f} MB" if store.has(item.name) else ""
        here = f"here, {size}" if size else "not here"
        typer.echo(f"{item.name} ({here}): {item.about}")
        typer.echo(f"  {item.page}")
        if item.sha256:
            typer.echo(f"  SHA-256: {item.sha256}")
        licence = records[item.name].licence if size else item.licence
        typer.echo(f"  licence: {licence}")
    typer.echo(f"kept in {store.folder}")


@weights.command()
def fetch(
    names: Annotated[list[str], typer.Argument(help="Names or groups from list.", metavar="NAME")],
    accept: _Accept = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use earlier downloads only, never the network.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Download, check and convert; resumes interrupted downloads."""
    from mien.engines.published_checkpoints import fetch as run
    from mien.weights.manifest import entries
    from mien.weights.store import Store

    store = Store()
    wanted = [e for e in entries(names) if e.fetchable or e.name in names]
    _agree([e.name for e in wanted], accept)
    for item in wanted:
        typer.echo(f"{item.name}: {item.page}", err=True)
        _print(store, run(item, store, offline=offline))


@weights.command()
def convert(
    name: Annotated[str, typer.Argument(help="Name of the weights from list.")],
    file: Annotated[Path, typer.Argument(help="The published file or folder.", metavar="FILE")],
    accept: _Accept = False,
    own: Annotated[
        bool, typer.Option("--own", help="You trained it yourself: no licence of others applies.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            help="JSON file with the sizes of a net that differ from the published ones.",
            metavar="FILE",
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Convert a published file on this machine; nothing in it is executed."""
    from dataclasses import replace

    from mien.engines.published_checkpoints import convert_file
    from mien.weights.manifest import entry
    from mien.weights.store import Store

    store, item = Store(), entry(name)
    if not file.exists():
        raise InputError(f"There is no file {file}.")
    if own:
        item = replace(item, licence="none: trained by the user")
    else:
        _agree([item.name], accept)
    _print(store, convert_file(item, file, store, None if config is None else _sizes(config)))


def _print(store: Store, stored: StoredWeights) -> None:
    place = store.folder / stored.file
    typer.echo(f"{stored.name}: {place}, {stored.size / 1e6:.0f} MB, from {stored.origin}")


def _sizes(path: Path) -> dict[str, Any]:
    import json

    try:
        sizes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"The configuration {path} cannot be read ({error}).") from error
    if not isinstance(sizes, dict):
        raise InputError(f"The configuration {path} must be a JSON object of names and sizes.")
    return sizes


@weights.command()
def verify(debug: Debug = False) -> None:
    """Check all converted weights against their checksums."""
    from mien.weights.store import Store

    store = Store()
    bad = []
    for name, record in store.records().items():
        problem = store.damage(name)
        typer.echo(f"{name}: {problem or f'good ({record.sha256[:16]})'}")
        if problem:
            bad.append(name)
    if not store.records():
        typer.echo(f"There are no weights in {store.folder}.")
    if bad:
        raise WeightsError(f"Damaged: {', '.join(bad)}. Fetch or convert them again.")


def _agree(names: list[str], accept: bool) -> None:
    """Show licences that were not accepted before; remember the acceptance or refuse."""
    from mien.weights.manifest import entry
    from mien.weights.store import Store

    store = Store()
    new = [entry(name) for name in names if not store.accepted(entry(name))]
    for item in new:
        typer.echo(f"{item.name}: {item.licence}\n  {item.source}", err=True)
    if new and not accept:
        raise InputError(
            "Read the licences above; if you accept them, add --accept-licence (needed once)."
        )
    for item in new:
        store.accept(item)
