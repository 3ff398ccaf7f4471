"""Measure whether edits keep speech: the mouth opening, tracked before and after.

python benchmarks/lipsync.py [CLIP ...]
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
from record import MEDIA, table, write_section

import mien
from mien.engines.mesh.lips import CLOSED
from mien.face.facs import BASIC_EMOTIONS
from mien.face.tracker import FaceTracker
from mien.media.read import VideoReader

DEFAULT = ("hdtf_512_25fps.mp4", "mead_w009_neutral_256_25fps.mp4", "speech_450_25fps.mp4",
           "hdtf_radio_256_25fps.mp4", "grid_360x288.mpg")  # fmt: skip


def openings(path: Path) -> np.ndarray:
    """Return the unsmoothed lip gap per frame in eye distances, NaN without a face."""
    out = []
    with VideoReader(path) as reader, closing(FaceTracker(max_faces=1)) as tracker:
        for frame in reader:
            found = tracker(frame.image)
            if not found:
                out.append(np.nan)
                continue
            p = found[0][:, :2]
            eyes = np.linalg.norm(p[[33, 133]].mean(0) - p[[263, 362]].mean(0))
            out.append(float(np.linalg.norm(p[13] - p[14]) / eyes))
    return np.array(out)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path, nargs="*")
    args = parser.parse_args()
    clips = args.clips or [MEDIA / "videos" / name for name in DEFAULT]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        before = {clip: openings(clip) for clip in clips}
        for emotion in BASIC_EMOTIONS[1:]:
            correlations, kept, closed_frames = [], [], []
            for clip in clips:
                out = Path(folder) / "out.mp4"
                mien.edit(clip, out, emotion, overwrite=True)
                a, b = before[clip], openings(out)
                good = np.isfinite(a) & np.isfinite(b)
                correlations.append(float(np.corrcoef(a[good], b[good])[0, 1]))
                closed = good & (a < CLOSED)
                kept.append(int((b[closed] <= a[closed] + 0.01).sum()))
                closed_frames.append(int(closed.sum()))
            shares = [k / n for k, n in zip(kept, closed_frames, strict=True) if n]
            share = sum(kept) / max(sum(closed_frames), 1)
            rows.append(
                [emotion, min(correlations), float(np.mean(correlations)), min(shares), share]
            )
    head = ["emotion", "lowest correlation", "mean correlation",
            "lowest share of a clip's closed frames that stay closed", "share of all closed frames"]  # fmt: skip
    body = f"{len(clips)} clips; the output is tracked again.\n\n{table(head, rows)}"
    write_section("Lip-sync", body)


if __name__ == "__main__":
    main()
