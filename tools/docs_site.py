"""MkDocs hook: pages made from the repository, and the architecture figure.

README, CHANGELOG, CONTRIBUTING and the model cards stay where they are and become pages; the
command-line and API references are written from the code. Links between files of the repository
become links between pages. ``docs/architecture.svg`` is redrawn whenever it is out of date.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import posixpath
import re
import tomllib
from html import escape
from pathlib import Path
from textwrap import wrap
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FIGURE = ROOT / "docs" / "architecture.svg"
CARDS = sorted((ROOT / "src" / "mien" / "assets").glob("*.md"))

PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "CITATION.cff": "CITATION.cff",
    "LICENSE": "LICENSE.txt",
    "NOTICE": "NOTICE.txt",
    "examples/timeline.json": "timeline.json",
    **{f"src/mien/assets/{card.name}": f"cards/{card.name}" for card in CARDS},
}
"""File of the repository to file of the site."""


def on_config(config: Any) -> Any:  # noqa: ANN401 - MkDocs' own types
    """Redraw the architecture figure where the layers or their descriptions have changed."""
    figure = architecture()
    if not FIGURE.is_file() or FIGURE.read_text("utf-8") != figure:
        FIGURE.write_text(figure, "utf-8")
    return config


def on_files(files: Any, config: Any) -> Any:  # noqa: ANN401 - MkDocs' own types
    """Add the pages that are made from other files and from the code."""
    from mkdocs.structure.files import File

    pages = {site: (ROOT / source).read_text("utf-8") for source, site in PAGES.items()}
    pages |= {"cli.md": command_line(), "api.md": public_api(), "papers.md": papers()}
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:  # noqa: ANN401
    """Turn links to files of the repository into links to pages."""
    sources = {site: source for source, site in PAGES.items()}
    here = page.file.src_uri
    folder = posixpath.dirname(sources.get(here, f"docs/{here}"))

    def relink(match: re.Match[str]) -> str:
        target, _, anchor = match[1].partition("#")
        if not target or "://" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        site = PAGES.get(path, path.removeprefix("docs/"))
        link = posixpath.relpath(site, posixpath.dirname(here) or ".")
        return f"]({link}{'#' + anchor if anchor else ''})"

    return re.sub(r"\]\(([^)\s]+)\)", relink, markdown)


def command_line() -> str:
    """Return the page of all commands and options."""
    from typer import Context
    from typer.cli import get_docs_for_click
    from typer.main import get_command

    from mien.cli.app import app

    command = get_command(app)
    text = get_docs_for_click(obj=command, ctx=Context(command), name="mien", title="Command line")
    # The lists of sub-commands cut their sentences short, and the sections follow anyway.
    return re.sub(r"\*\*Commands\*\*:\n\n(?:\* .*\n)+\n", "", text)


def public_api() -> str:
    """Return the page of everything that ``import mien`` offers."""
    import mien

    objects = [getattr(mien, name) for name in mien.__all__ if not name.startswith("_")]
    groups: dict[str, list[Any]] = {"Functions": [], "Classes": [], "Settings": [], "Errors": []}
    for thing in objects:
        if not inspect.isclass(thing):
            groups["Functions"].append(thing)
        elif issubclass(thing, Exception):
            groups["Errors"].append(thing)
        else:
            kind = "Settings" if thing.__name__.endswith("Settings") else "Classes"
            groups[kind].append(thing)
    lines = ["# Python API", "", "Everything here is imported from `mien`.", ""]
    for title, members in groups.items():
        if members:
            lines += [f"## {title}", ""]
        lines += [f"::: {thing.__module__}.{thing.__qualname__}\n" for thing in members]
    return "\n".join(lines)


def papers() -> str:
    """Return the page of the modules that implement the two papers."""
    lines = ["# The papers' classes", ""]
    for name in ("mien.cmet", "mien.dicetalk"):
        package = importlib.import_module(name)
        lines += [f"## {name}", "", inspect.getdoc(package) or "", ""]
        lines += [
            f"::: {name}.{module.name}\n" for module in pkgutil.iter_modules(package.__path__)
        ]
    return "\n".join(lines)


def architecture() -> str:
    """Return the figure of the layers (SVG), from import-linter's contract and the docstrings."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    width, height, gap = 760, 56, 8
    parts = []
    for row, layer in enumerate(layers):
        packages = [name.strip() for name in layer.split("|")]
        box = (width - gap * (len(packages) - 1)) / len(packages)
        for column, name in enumerate(packages):
            x, y = column * (box + gap), row * (height + gap)
            summary = (importlib.import_module(name).__doc__ or "").strip().splitlines()[0]
            text = [
                f'<tspan x="{x + 12:g}" dy="15">{escape(line)}</tspan>'
                for line in wrap(summary, int(box / 7))[:2]
            ]
            parts.append(
                f'<rect x="{x:g}" y="{y}" width="{box:g}" height="{height}" rx="6" fill="#e0f2f1" '
                f'stroke="#00796b"/>\n'
                f'<text x="{x + 12:g}" y="{y + 18}" fill="#004d40">'
                f'<tspan font-weight="bold">{name.removeprefix("mien.")}</tspan>{"".join(text)}'
                "</text>"
            )
    total = len(layers) * (height + gap) - gap
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 -1 {width + 2} {total + 2}" '
        'font-family="sans-serif" font-size="12">\n'
        "<title>The layers of mien: a package imports only from packages below it</title>\n"
        + "\n".join(parts)
        + "\n</svg>\n"
    )
