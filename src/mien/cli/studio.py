"""``mien studio``."""

from __future__ import annotations

from typing import Annotated

import typer

from mien.cli.options import Debug
from mien.cli.serve import Port
from mien.errors import needs_extra


def studio(
    port: Port = 7860,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
    debug: Debug = False,
) -> None:
    """Open the studio: edit, talk and feel in a browser, on this computer alone."""
    with needs_extra("studio", "The studio"):
        from mien.serve.server import folder_of, run_http
        from mien.serve.service import Service
        from mien.serve.studio_app import add_studio

    def started(address: str) -> None:
        typer.echo(f"The studio is at {address} (Ctrl-C ends it).")
        if browser:
            typer.launch(address)

    service = Service(folder_of(None, "studio"), keep=False)
    run_http(
        service,
        "127.0.0.1",
        port,
        add=lambda app: add_studio(app, service),
        started=started,
        quiet=True,
    )
