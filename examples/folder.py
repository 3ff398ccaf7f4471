"""Edit all pictures of a folder and write a page that shows each before and after.

python examples/folder.py FOLDER PAGE.html happy sad:0.6
"""

from __future__ import annotations

import html
import sys
from pathlib import Path

import mien

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def main(folder: str, page: str, *emotions: str) -> None:
    """Edit every picture to every emotion; a picture without a face is named and left out."""
    parts = ["<!doctype html><meta charset=utf-8><title>Before and after</title>"]
    for path in sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in SUFFIXES):
        for emotion in emotions or ("happy",):
            try:
                result = mien.edit(path, emotion=emotion)
            except mien.FaceNotFoundError as error:
                print(error)
                break
            parts.append(f"<h2>{html.escape(path.name)}: {emotion}</h2>{result._repr_html_()}")
    Path(page).write_text("\n".join(parts), encoding="utf-8")
    print(f"{page}: {len(parts) - 1} edits")


if __name__ == "__main__":
    main(*sys.argv[1:])
