"""Examples that the help of the commands ends with."""

from __future__ import annotations

from typing import Final

EXAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "edit": (
        "mien edit clip.mp4 -o sad.mp4 -e sad:0.7",
        "mien edit clip.mp4 -o out.mp4 --like voice.wav",
        "mien edit clip.mp4 -o out.mp4 --timeline subtitles.srt",
        "mien edit clip.mp4 -e happy --preview 1:23.5 -o frame.png",
        "mien edit group.jpg -o out.jpg -e happy --face 2 -y",
    ),
    "talk": (
        "mien talk portrait.jpg speech.wav -o talk.mp4",
        "mien talk portrait.jpg speech.wav -o talk.mp4 -e happy:0.6 --seed 3",
    ),
    "feel": (
        "mien feel voice.wav --plot curve.png",
        "mien feel face.jpg --json",
    ),
    "batch": (
        "mien batch clips/ -o out/ -e happy:0.7",
        "mien batch rows.csv -w 4",
    ),
    "emotions": (
        "mien emotions",
        "mien emotions --sheet emotions.png --on portrait.jpg",
    ),
    "verify": ("mien verify sad.mp4",),
}


def epilog(command: str) -> str:
    """Return the examples of a command, each a paragraph of its own; empty without any."""
    return "\n\n".join(("Examples:", *EXAMPLES[command])) if command in EXAMPLES else ""
