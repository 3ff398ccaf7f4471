"""Measure the imperceptible mark: PSNR, what it survives, false alarms, cost.

The pictures without the mark are the face crops of `../shared/data` with their labelled landmarks.

python benchmarks/mark.py [--pictures 2200] [--seconds 2] [--cost-seconds 4]
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import closing
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from record import MEDIA, table, write_section

import mien
from mien.face.pose import head_pose
from mien.face.topology import OVAL
from mien.face.tracker import FaceTracker
from mien.media.frame import ArrayPicture
from mien.media.read import VideoReader
from mien.provenance.detection import evened, read_mark, score
from mien.provenance.mark import marked

FACES = MEDIA.parent / "data" / "faces"
CLIPS = (
    "wide_1280x720_30fps.mp4", "hdtf_512_25fps.mp4", "expressive_512_30fps.mp4",
    "speech_450_25fps.mp4", "odd_480x908_2997fps.mp4", "mead_w009_neutral_256_25fps.mp4",
    "turning_224_25fps.mp4",
)  # fmt: skip
Change = Callable[[np.ndarray], np.ndarray]


def half(image: np.ndarray) -> np.ndarray:
    """Halve both sides."""
    height, width = image.shape[:2]
    size = (width // 4 * 2, height // 4 * 2)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def crop(image: np.ndarray) -> np.ndarray:
    """Cut 5 % off every side."""
    height, width = image.shape[:2]
    top, left = height // 20, width // 20
    return image[top : top + height * 9 // 20 * 2, left : left + width * 9 // 20 * 2]


def even(image: np.ndarray) -> np.ndarray:
    """Make the sides even."""
    return image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]


TREATMENTS: dict[str, tuple[Change, int] | None] = {
    "as written": None,
    "CRF 28": (even, 28),
    "half size": (half, 18),
    "10 % cropped": (crop, 18),
    "all three": (lambda image: half(crop(image)), 28),
}


def reencode(path: Path, target: Path, change: Change, crf: int, frames: int | None = None) -> Path:
    """Decode, change and encode a clip again."""
    with av.open(str(path)) as source, av.open(str(target), "w") as out:
        stream = None
        for index, frame in enumerate(islice(source.decode(video=0), frames)):
            image = np.ascontiguousarray(change(frame.to_ndarray(format="rgb24")))
            if stream is None:
                stream = out.add_stream("libx264", rate=25, options={"crf": str(crf)})
                stream.height, stream.width, stream.pix_fmt = *image.shape[:2], "yuv420p"
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(picture))
        if stream is not None:
            out.mux(stream.encode(None))
    return target


def start_of(name: str, folder: Path, seconds: float) -> Path:
    """Cut the start of a clip, at 25 frames per second."""
    return reencode(MEDIA / "videos" / name, folder / name, even, 12, round(25 * seconds))


def psnr(path: Path) -> tuple[float, float]:
    """Return eye distance and PSNR inside the outline of the first frame's largest face."""
    with VideoReader(path) as reader, closing(FaceTracker()) as tracker:
        picture = next(iter(reader)).picture
        landmarks = tracker(picture)[0]
        before, after = picture.image(), marked(picture, landmarks).image()
    region = np.zeros(before.shape[:2], np.uint8)
    cv2.fillPoly(region, [landmarks[list(OVAL), :2].astype(np.int32)], 1)
    error = ((after.astype(float) - before) ** 2)[region > 0].mean()
    return head_pose(landmarks).scale, float(10 * np.log10(255**2 / error))


def survival(folder: Path, seconds: float) -> str:
    """Measure what the mark survives."""
    rows = []
    for name in CLIPS:
        clip = start_of(name, folder, seconds)
        edited = folder / "edited.mp4"
        mien.edit(clip, edited, "happy", overwrite=True)
        row: list[object] = [name, *psnr(clip)]
        for treatment in TREATMENTS.values():
            path = reencode(edited, folder / "again.mp4", *treatment) if treatment else edited
            row.append(read_mark(path).score)
        rows.append(row)
        print(row, flush=True)
    head = ["clip, edited to happy", "eye distance, px", "PSNR, dB", *TREATMENTS]
    return table(head, rows)


def unmarked(count: int) -> np.ndarray:
    """Return the scores of faces without the mark."""
    labels = np.load(FACES / "labels.npz")
    points = labels["landmarks"].astype(np.float32)
    chosen = set(np.linspace(0, len(points) - 1, count).astype(int).tolist())
    scores = []
    with tarfile.open(FACES / "crops.tar") as archive:
        names = sorted(member for member in archive.getnames() if member.endswith(".jpg"))
        for index, name in enumerate(names):
            if index in chosen:
                with archive.extractfile(name) or io.BytesIO() as file:
                    data = np.frombuffer(file.read(), np.uint8)
                image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
                scores.append(score([evened(ArrayPicture(image), points[index])]).score)
    return np.array(scores)


def cpu(command: list[str]) -> float:
    """Run a command and return its processor time, seconds."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed.")
    return used.ru_utime + used.ru_stime


def cost(folder: Path, seconds: float, repeats: int = 3) -> str:
    """Measure what provenance costs."""
    rows = []
    for name in ("hdtf_512_25fps.mp4", "wide_1280x720_30fps.mp4"):
        clip = start_of(name, folder, seconds)
        edit = [sys.executable, "-m", "mien", "edit", str(clip), "-e", "happy", "--overwrite", "-o"]
        times: dict[str, list[float]] = {"--no-provenance": [], "--intensity=1": []}
        for _ in range(repeats):
            for option, values in times.items():
                values.append(cpu([*edit, str(folder / "cost.mp4"), option]))
        before, after = (float(np.median(values)) for values in times.values())
        rows.append([name, before, after, f"{100 * (after / before - 1):+.1f} %"])
    head = ["clip", "without, CPU s", "mark, metadata and credential, CPU s", "difference"]
    return table(head, rows)


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=2200)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--cost-seconds", type=float, default=4)
    given = parser.parse_args()
    scores = unmarked(given.pictures)
    print(len(scores), scores.max(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        survived = survival(Path(folder), given.seconds)
        spent = cost(Path(folder), given.cost_seconds)
    body = f"""A score of 1 or more says that the mark is there; by design the probability that a file without it reaches 1 is below 1e-6.

{survived}

Faces of {len(scores)} photographs without the mark: highest score {scores.max():.2f}, mean {scores.mean():.2f}, none reaches 1.

{spent}
"""
    if (scores >= 1).any():
        raise SystemExit(f"{(scores >= 1).sum()} false alarms.")
    write_section("The mark", body)


if __name__ == "__main__":
    main()
