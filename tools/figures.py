"""Draw the figures of README and documentation: layers, the way of a frame, and badges.

Each is drawn from what the repository says, and redrawn by ``make docs`` when that changes. Boxes
have a colour of their own and lines a middle grey, so that they can be read on white and on dark.

    python tools/figures.py docs
"""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from dataclasses import dataclass
from html import escape
from pathlib import Path
from textwrap import wrap

ROOT = Path(__file__).resolve().parents[1]

OWN, PAPER, FILE = ("#e0f2f1", "#00796b"), ("#fff3e0", "#ef6c00"), ("#eceff1", "#546e7a")
"""Fill and outline: made by this project, an idea of one of the papers, a user's file."""

LINE, INK = "#78909c", "#123"
WIDTH, HEIGHT, RIGHT, DOWN = 164, 64, 40, 22
"""Of a box, and between boxes."""


@dataclass(frozen=True)
class Box:
    """A box of the figure of the way: its place in columns and rows, what it says, its colours."""

    column: float
    row: float
    title: str
    text: str
    colours: tuple[str, str] = OWN


BOXES = {
    "film": Box(0, 0, "Video or portrait", "any size, rate, length", FILE),
    "faces": Box(1, 0, "Faces", "found, tracked, 478 points each"),
    "own": Box(2, 0, "Own expression", "what the face shows by itself"),
    "voice": Box(0, 2, "Voice", "an emotion, or speech", FILE),
    "listener": Box(1, 1, "Listener", "how the voice sounds"),
    "connector": Box(2, 1, "C-MET's connector", "from voices to faces", PAPER),
    "articulator": Box(1, 2, "Articulator", "from speech to lips"),
    "request": Box(0, 3, "Request", "names, mixes, units, a face, a timeline", FILE),
    "recipes": Box(1, 3, "Recipes and reader", "names and faces as action units"),
    "priors": Box(2, 3, "DICE-Talk's priors", "no two clips alike", PAPER),
    "change": Box(3, 1.5, "Change at time t", "asked for, less the own, with speech"),
    "engine": Box(4, 1.5, "Mesh engine", "warp, eyes, mouth, shading"),
    "result": Box(4, 3, "Video", "same sound, size, rate; marked", FILE),
}

ARROWS = (
    ("film", "faces"), ("faces", "own"), ("own", "change"), ("voice", "listener"),
    ("listener", "connector"), ("connector", "change"), ("voice", "articulator"),
    ("articulator", "change"), ("request", "recipes"), ("recipes", "priors"), ("recipes", "change"),
    ("priors", "change"), ("change", "engine"),
)  # fmt: skip


def way() -> str:
    """Return the figure of what happens to a frame (SVG)."""

    def corner(box: Box) -> tuple[float, float]:
        return box.column * (WIDTH + RIGHT), box.row * (HEIGHT + DOWN)

    parts = []
    for start, end in ARROWS:
        (x, y), (u, v) = corner(BOXES[start]), corner(BOXES[end])
        x, y, u, v = x + WIDTH, y + HEIGHT / 2, u - 6, v + HEIGHT / 2
        bend = min(u - x, RIGHT * 2) / 2
        parts.append(_arrow(f"M{x:g} {y:g}C{x + bend:g} {y:g} {u - bend:g} {v:g} {u:g} {v:g}"))
    (x, y), (u, v) = corner(BOXES["engine"]), corner(BOXES["result"])
    parts.append(_arrow(f"M{x + WIDTH / 2:g} {y + HEIGHT:g}V{v - 6:g}"))
    x, y = corner(BOXES["faces"])
    u = corner(BOXES["engine"])[0] + WIDTH / 2
    v = corner(BOXES["engine"])[1]
    parts.append(_arrow(f"M{x + WIDTH / 2:g} 0C{x + WIDTH / 2:g} -34 {u:g} -34 {u:g} {v - 6:g}"))
    for box in BOXES.values():
        parts += _box(*corner(box), WIDTH, HEIGHT, box.title, box.text, box.colours)
    right = max(corner(box)[0] for box in BOXES.values()) + WIDTH
    down = max(corner(box)[1] for box in BOXES.values()) + HEIGHT
    marker = (
        '<defs><marker id="tip" markerWidth="7" markerHeight="7" refX="1" refY="3.5" orient="auto">'
        f'<path d="M0 0L7 3.5L0 7z" fill="{LINE}"/></marker></defs>'
    )
    return _svg((-2, -32, right + 4, down + 34), "What mien does with a frame", [marker, *parts])


def layers() -> str:
    """Return the figure of the layers (SVG), from import-linter's contract and the docstrings."""
    contracts = _settings()["tool"]["importlinter"]["contracts"]
    rows = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    width, height, gap = 760, 56, 8
    parts = []
    for row, layer in enumerate(rows):
        packages = [name.strip() for name in layer.split("|")]
        box = (width - gap * (len(packages) - 1)) / len(packages)
        for column, name in enumerate(packages):
            summary = (importlib.import_module(name).__doc__ or "").strip().splitlines()[0]
            at = (column * (box + gap), row * (height + gap))
            parts += _box(*at, box, height, name.removeprefix("mien."), summary, OWN)
    title = "The layers of mien: a package imports only from packages below it"
    return _svg((-1, -1, width + 2, len(rows) * (height + gap) - gap + 2), title, parts)


def badges() -> str:
    """Return a row of badges (SVG): version, Pythons, licence, types, coverage."""
    project = _settings()["project"]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    from mien import __version__

    prefix = "Programming Language :: Python :: 3."
    minors = [int(c.removeprefix(prefix)) for c in project["classifiers"] if c.startswith(prefix)]
    floor = re.search(r"^COVERAGE \?= (\d+)", makefile, re.MULTILINE)
    facts = {
        "version": __version__,
        "python": f"3.{min(minors)} – 3.{max(minors)}",
        "licence": project["license"],
        "types": "mypy, strict",
        "test coverage": f"at least {floor[1] if floor else '?'} %",
        "runs on": "a CPU, offline",
    }
    x, parts = 0.0, []
    for name, fact in facts.items():
        left, right = (len(text) * 6.3 + 12 for text in (name, fact))
        parts.append(
            f'<rect x="{x:g}" width="{left + right:g}" height="20" rx="3" fill="#00796b"/>'
            f'<path d="M{x + left:g} 0h-{left - 3:g}a3 3 0 0 0-3 3v14a3 3 0 0 0 3 3h{left - 3:g}z" '
            'fill="#455a64"/>'
            f'<text x="{x + left / 2:g}" y="14" text-anchor="middle" fill="#fff">{escape(name)}'
            f'</text><text x="{x + left + right / 2:g}" y="14" text-anchor="middle" fill="#fff">'
            f"{escape(fact)}</text>"
        )
        x += left + right + 6
    return _svg((0, 0, x - 6, 20), ", ".join(f"{k}: {v}" for k, v in facts.items()), parts, 11)


FIGURES = {"architecture.svg": layers, "way.svg": way, "badges.svg": badges}


def draw(folder: Path) -> None:
    """Write the figures that are missing or out of date."""
    for name, figure in FIGURES.items():
        text, path = figure(), folder / name
        if not path.is_file() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def _settings() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def _arrow(path: str) -> str:
    return (
        f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="1.6" marker-end="url(#tip)"/>'
    )


def _box(
    x: float, y: float, width: float, height: float, title: str, text: str, colours: tuple[str, str]
) -> list[str]:
    """A rounded box with a bold title and up to two lines of text."""
    fill, outline = colours
    lines = [
        f'<tspan x="{x + 12:g}" dy="15">{escape(line)}</tspan>'
        for line in wrap(text, int((width - 20) / 6.4))[:2]
    ]
    return [
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height}" rx="6" fill="{fill}" '
        f'stroke="{outline}"/>',
        f'<text x="{x + 12:g}" y="{y + 19:g}" fill="{INK}"><tspan font-weight="bold">'
        f"{escape(title)}</tspan>{''.join(lines)}</text>",
    ]


def _svg(box: tuple[float, ...], title: str, parts: list[str], size: int = 12) -> str:
    view = " ".join(f"{side:g}" for side in box)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}" width="{box[2]:g}" '
        f'height="{box[3]:g}" font-family="sans-serif" font-size="{size}">\n'
        f"<title>{escape(title)}</title>\n" + "\n".join(parts) + "\n</svg>\n"
    )


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
