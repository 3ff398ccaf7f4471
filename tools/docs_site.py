"""MkDocs hook: pages made from the repository, and its figures.

README, CHANGELOG, CONTRIBUTING and the model cards stay where they are and become pages; the
command-line and API references are written from the code. Links between files of the repository
become links between pages. Figures are redrawn whenever they are out of date.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CARDS = sorted((ROOT / "src" / "mien" / "assets").glob("*.md"))

PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CITATION.cff": "CITATION.cff",
    "LICENSE": "LICENSE.txt",
    "NOTICE": "NOTICE.txt",
    "examples/timeline.json": "timeline.json",
    "examples/README.md": "examples.md",
    "integrations/comfyui/README.md": "comfyui.md",
    "integrations/space/README.md": "space.md",
    **{f"src/mien/assets/{card.name}": f"cards/{card.name}" for card in CARDS},
}
"""File of the repository to file of the site."""


def on_config(config: Any) -> Any:  # noqa: ANN401 - MkDocs' own types
    """Redraw the figures whose sources have changed."""
    sys.path.insert(0, str(Path(__file__).parent))
    import figures

    figures.draw(ROOT / "docs")
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
    """Turn links to files of the repository into links to pages; list the published weights."""
    if page.file.src_uri == "data.md":
        markdown = markdown.replace("<!-- weights -->", published_weights())
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


def published_weights() -> str:
    """Return a table of the weights that ``mien weights fetch`` knows."""
    from mien.weights.manifest import ENTRIES

    rows = [f"| `{e.name}` | [{e.about}]({e.source}) | {e.licence} |" for e in ENTRIES]
    return "\n".join(["| name | what | licence |", "|---|---|---|", *rows])


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
