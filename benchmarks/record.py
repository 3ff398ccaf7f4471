"""Keep ``docs/benchmarks.md``: one section per benchmark, replaced when it runs again.

Needs nothing but the standard library, so that scripts with a separate environment can use it.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "benchmarks.md"
MEDIA = ROOT.parent / "shared" / "media"

_INTRODUCTION = """# Benchmarks

Each section is written by the script named in it and replaced when that script runs again. The
scripts are in `benchmarks/`; the clips and portraits they use are not part of this repository.
"""


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Name of the processor as far as the system tells."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; floats with two digits."""

    def cell(value: object) -> str:
        return f"{value:.2f}" if isinstance(value, float) else str(value)

    lines = [head, ["---"] * len(head), *([cell(v) for v in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_section(title: str, body: str) -> None:
    """Put ``body`` under ``title`` into the document, with the command and the machine; print it."""
    text = "\n\n".join([f"## {title}", f"`{_command()}`", body.strip(), f"*{_circumstances()}*"])
    print(text)
    document = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.exists() else _INTRODUCTION
    parts = re.split(r"(?m)^(?=## )", document)
    others = [p.strip() for p in parts[1:] if p.splitlines()[0] != f"## {title}"]
    sections = sorted([*others, text], key=str.lower)
    DOCUMENT.parent.mkdir(exist_ok=True)
    part = DOCUMENT.with_suffix(".part")
    part.write_text("\n\n".join([parts[0].strip(), *sections]) + "\n", encoding="utf-8")
    part.replace(DOCUMENT)


def _command() -> str:
    """The command line as seen from the repository, whatever folder it ran in."""
    script = f"benchmarks/{Path(sys.argv[0]).name}"
    return shlex.join(["python", script, *(_shown(word) for word in sys.argv[1:])])


def _shown(word: str) -> str:
    path = Path(word)
    if not path.exists() and not path.is_absolute():
        return word
    full = path.resolve()
    if full.is_relative_to(ROOT):
        return str(full.relative_to(ROOT))
    if full.is_relative_to(ROOT.parent):
        return str(Path("..") / full.relative_to(ROOT.parent))
    return full.name


def _circumstances() -> str:
    # -uno: new files elsewhere do not change what was measured.
    commit = _git("rev-parse", "--short", "HEAD") or "unknown commit"
    changed = " with local changes" if _git("status", "--porcelain", "-uno", "src") else ""
    return (
        f"mien at {commit}{changed}, Python {platform.python_version()}, {cores()} cores of "
        f"{processor()}."
    )


def _git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
