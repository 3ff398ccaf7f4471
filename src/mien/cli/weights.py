"""``mien weights``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mien.cli.options import Debug
from mien.errors import InputError, WeightsError

weights = typer.Typer(
    help="Weights that others published: list, fetch, verify, convert.", no_args_is_help=True
)

_Accept = Annotated[
    bool, typer.Option("--accept-licence", help="Accept the licences shown; asked once.")
]


@weights.command("list")
def list_them(debug: Debug = False) -> None:
    """Show what there is, what is here, and under which licence."""
    from mien.weights.manifest import ENTRIES
    from mien.weights.store import Store

    store = Store()
    kept = store.records()
    for item in ENTRIES:
        here = f"here, {kept[item.name].size / 1e6:.0f} MB" if store.has(item.name) else "not here"
        typer.echo(f"{item.name} ({here}): {item.about}")
        typer.echo(f"  {item.page}")
        typer.echo(f"  licence: {item.licence}")
    typer.echo(f"kept in {store.folder}")


@weights.command()
def fetch(
    names: Annotated[list[str], typer.Argument(help="Names or groups, see list.", metavar="NAME")],
    accept: _Accept = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use what was downloaded before, never the network.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Download, check and convert; goes on where it was interrupted."""
    from mien.engines.published_checkpoints import fetch as run
    from mien.weights.manifest import entries
    from mien.weights.store import Store

    store = Store()
    wanted = [e for e in entries(names) if e.repository or e.name in names]
    _agree([e.name for e in wanted], accept)
    for item in wanted:
        typer.echo(f"{item.name}: {item.page}", err=True)
        kept = run(item, store, offline=offline)
        typer.echo(f"{item.name}: {store.folder / kept.file}, {kept.size / 1e6:.0f} MB")


@weights.command()
def convert(
    name: Annotated[str, typer.Argument(help="Which weights these are, see list.")],
    file: Annotated[Path, typer.Argument(help="What the authors published.", metavar="FILE")],
    accept: _Accept = False,
    config: Annotated[
        Path | None,
        typer.Option(help="JSON file with the sizes of a net that differ from the published ones."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Convert a published file that you have; nothing in it is executed."""
    from mien.engines.published_checkpoints import convert_file
    from mien.weights.manifest import entry
    from mien.weights.store import Store

    store, item = Store(), entry(name)
    if not file.exists():
        raise InputError(f"There is no file {file}.")
    _agree([item.name], accept)
    stored = convert_file(item, file, store, None if config is None else _sizes(config))
    typer.echo(f"{item.name}: {store.folder / stored.file}, {stored.size / 1e6:.0f} MB")


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
    """Check everything that is here against its checksum."""
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
    """Show licences that were not accepted before, and remember or refuse."""
    from mien.weights.manifest import entry
    from mien.weights.store import Store

    store = Store()
    new = [entry(name) for name in names if not store.accepted(entry(name))]
    for item in new:
        typer.echo(f"{item.name}: {item.licence}\n  {item.source}", err=True)
    if new and not accept:
        raise InputError(
            "Read the licence(s) above; if you accept, say so once with --accept-licence."
        )
    for item in new:
        store.accept(item)
