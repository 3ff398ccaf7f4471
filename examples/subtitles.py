"""Let a face follow the emotions that subtitles name, as examples/film.srt does.

python examples/subtitles.py CLIP examples/film.srt OUT.mp4
"""

from __future__ import annotations

import sys

import mien


def main(clip: str, subtitles: str, output: str) -> None:
    """List what the subtitles ask for, then edit the clip."""
    timeline = mien.Timeline.load(subtitles)
    for key in timeline.keys:
        names = ", ".join(f"{name} {strength:g}" for name, strength in key.emotion.labels)
        print(f"{key.at:6.2f} s  {names}")
    report = mien.edit(clip, output, timeline, overwrite=True)
    print(f"{report.output}: {report.frames} frames")


if __name__ == "__main__":
    main(*sys.argv[1:])
