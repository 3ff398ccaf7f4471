"""Measure detection and tracking of faces against the teacher's landmarks.

python tools/label_clips.py TEACHER.task ../shared/data/talking/video build/teacher
python tools/label_clips.py TEACHER.task ../shared/media/videos build/teacher-media
python benchmarks/track.py --make-static build/static
python tools/label_clips.py TEACHER.task build/static build/teacher-static
python benchmarks/track.py --labels build/teacher --media build/teacher-media \
    --static build/static --static-labels build/teacher-static --empty FOLDER

(``tools/label_clips.py`` runs in an environment with mediapipe, see there.)
"""

from __future__ import annotations

import argparse
import csv
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import perf_counter

import av
import cv2
import numpy as np
from record import MEDIA, table, write_section

from mien.face.crop import eye_distance, face_square, mesh_distance
from mien.face.follow import OneEuro
from mien.face.pose import head_pose
from mien.face.topology import IRISES, LIDS, LIPS, RIGID
from mien.face.tracker import FaceTracker
from mien.media.still import read_still

FINE = [*LIPS, *LIDS]
SHARED = MEDIA.parent
FRONTAL = np.deg2rad(15)


def errors(found: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Return the distance of every point as a share of the eye distance."""
    return np.linalg.norm((found - want)[:, :2], axis=1) / eye_distance(want)


def nearest(found: list[np.ndarray], want: np.ndarray) -> np.ndarray | None:
    """Return the face nearest to ``want``."""
    near = min(found, key=lambda points: mesh_distance(want, points), default=None)
    return near if near is not None and mesh_distance(want, near) < 0.5 else None


def held_out_stills() -> Iterator[tuple[np.ndarray, np.ndarray, str]]:
    """Read held-out crops with the teacher's landmarks and their sources."""
    with np.load(SHARED / "data" / "faces" / "labels.npz") as stored:
        landmarks, split = stored["landmarks"].astype(np.float32), stored["split"]
        source = stored["source"]
    with tarfile.open(SHARED / "data" / "faces" / "crops.tar") as archive:
        for i, name in enumerate(sorted(archive.getnames())):
            if split[i] == "train":
                continue
            data = np.frombuffer(archive.extractfile(name).read(), np.uint8)
            image = np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
            yield image, landmarks[i], str(source[i]).split("/")[0]


def summary(rows: list[np.ndarray], frontal: list[bool]) -> list[float]:
    """Return the mean over all points; over lips and lids of frontal faces; over irises."""
    e, f = np.array(rows), np.array(frontal)
    return [100 * v for v in (e.mean(), e[f][:, FINE].mean(), e[f][:, IRISES].mean())] + [
        100 * float(np.median(e.mean(1)))
    ]


def is_frontal(points: np.ndarray) -> bool:
    """Tell whether the face is turned by less than 15 degrees."""
    return abs(head_pose(points).yaw) < FRONTAL


def stills() -> list[list[object]]:
    """Return the errors on held-out crops, by kind of source."""
    rows, frontal, lost = defaultdict(list), defaultdict(list), defaultdict(int)
    with closing(FaceTracker(still=True)) as tracker:
        for image, want, source in held_out_stills():
            found = nearest(tracker(image), want)
            if found is None:
                lost[source] += 1
                continue
            for key in (source, "all"):
                rows[key].append(errors(found, want))
                frontal[key].append(is_frontal(want))
    lost["all"] = sum(lost.values())
    return [
        [f"stills: {key}", len(rows[key]), *summary(rows[key], frontal[key]), "", lost[key]]
        for key in sorted(rows)
    ]


def frames(path: Path) -> Iterator[np.ndarray]:
    """Read the frames of a clip."""
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            yield np.ascontiguousarray(frame.to_ndarray(format="rgb24"))


def follow(path: Path, label: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mien's and the teacher's landmarks, NaN where there is no face."""
    with np.load(label) as stored:
        want = stored["landmarks"].astype(np.float32)
        want[stored["missing"]] = np.nan
    out = np.full_like(want, np.nan)
    with closing(FaceTracker()) as tracker:
        for i, image in enumerate(frames(path)):
            found = tracker(image)
            if found:
                here = want[i] if np.isfinite(want[i]).all() else found[0]
                out[i] = min(found, key=lambda points: mesh_distance(here, points))
    both = np.isfinite(out).all((1, 2)) & np.isfinite(want).all((1, 2))
    return out, want, both


def jitter(points: np.ndarray) -> float:
    """Return the median second difference of rigid points, per mille of the eye distance."""
    rigid = points[:, list(RIGID), :2]
    if not np.isfinite(points).any():
        return float("nan")
    second = np.linalg.norm(rigid[2:] - 2 * rigid[1:-1] + rigid[:-2], axis=2)
    return 1000 * float(np.nanmedian(second)) / float(np.nanmean([eye_distance(p) for p in points]))


def opening(points: np.ndarray) -> np.ndarray:
    """Return the mouth opening of every frame in eye distances."""
    return np.array([np.linalg.norm(p[13, :2] - p[14, :2]) / eye_distance(p) for p in points])


def clips(labels: Path) -> list[list[object]]:
    """Measure errors, openings and jitter on held-out clips."""
    folder = SHARED / "data" / "talking"
    with (folder / "manifest.csv").open(newline="") as file:
        held_out = [r for r in csv.DictReader(file) if r["split"] != "train"]
    out = []
    for row in held_out:
        ours, want, both = follow(
            folder / "video" / f"{row['clip']}.mp4", labels / f"{row['clip']}.npz"
        )
        e = [errors(a, b) for a, b in zip(ours[both], want[both], strict=True)]
        f = [is_frontal(p) for p in want[both]]
        f = f if any(f) else [True] * len(f)
        r = float(np.corrcoef(opening(ours[both]), opening(want[both]))[0, 1])
        lost = int((np.isfinite(want).all((1, 2)) & ~both).sum())
        out.append(
            [f"clip: {row['clip'][-28:]} ({row['kind']})", int(both.sum()), *summary(e, f), r, lost,
             jitter(ours), jitter(smoothed(ours)), jitter(want)]
        )  # fmt: skip
    return out


def media(labels: Path) -> list[list[object]]:
    """Count frames lost in whole clips of every kind."""
    out = []
    for path in sorted((MEDIA / "videos").iterdir()):
        label = labels / f"{path.stem}.npz"
        if not label.is_file():
            continue
        ours, want, both = follow(path, label)
        theirs = np.isfinite(want).all((1, 2))
        lost = int((theirs & ~both).sum())
        e = [errors(a, b).mean() for a, b in zip(ours[both], want[both], strict=True)]
        r = float(np.corrcoef(opening(ours[both]), opening(want[both]))[0, 1]) if e else np.nan
        found = int(np.isfinite(ours).all((1, 2)).sum())
        error = 100 * float(np.mean(e)) if e else float("nan")
        out.append(
            [path.name, len(want), int(theirs.sum()), found, lost, error, r, jitter(ours),
             jitter(want)]
        )  # fmt: skip
    return out


def make_static(folder: Path) -> None:
    """Write clips of unmoving portraits with noise and real compression."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name in ("hallo_4", "hallo_6", "liveportrait_s5", "dice-talk_female"):
        image = read_still(MEDIA / "portraits" / f"{name}.jpg")
        image = cv2.resize(image, (512, 512), interpolation=cv2.INTER_AREA)
        with av.open(str(folder / f"{name}.mp4"), "w") as file:
            stream = file.add_stream("libx264", rate=25)
            stream.width = stream.height = 512
            stream.pix_fmt = "yuv420p"
            for _ in range(75):
                noisy = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
                file.mux(stream.encode(av.VideoFrame.from_ndarray(noisy, format="rgb24")))
            file.mux(stream.encode(None))


def static(folder: Path, labels: Path) -> list[list[object]]:
    """Measure jitter where nothing moves."""
    out = []
    for path in sorted(folder.glob("*.mp4")):
        ours, want, _ = follow(path, labels / f"{path.stem}.npz")
        calm = smoothed(ours)
        out.append(
            [path.stem, jitter(ours), jitter(calm), jitter(want), spread(ours), spread(calm),
             spread(want)]
        )  # fmt: skip
    return out


def smoothed(points: np.ndarray) -> np.ndarray:
    """Smooth landmarks as the editor does, at 25 frames per second."""
    filtered = OneEuro()
    return np.array([filtered(p, 1 / 25) if np.isfinite(p).all() else p for p in points])


def spread(points: np.ndarray) -> float:
    """Return the standard deviation of all points over time, per mille of the eye distance."""
    size = float(np.nanmean([eye_distance(p) for p in points]))
    return 1000 * float(np.sqrt(np.nanvar(points[..., :2], axis=0).mean())) / size


def speed() -> list[list[object]]:
    """Measure milliseconds per tracked face at several frame sizes, and for loading."""
    image = read_still(MEDIA / "portraits" / "hallo_4.jpg")
    start = perf_counter()
    tracker = FaceTracker()
    out: list[list[object]] = [["loading", 1000 * (perf_counter() - start), ""]]
    sizes = [(256, 205), (512, 410), (1080, 410), (2160, 410), (4320, 410), (2160, 1728)]
    for height, side in sizes:
        frame = np.full((height, height * 16 // 9, 3), 90, np.uint8)
        frame[:side, :side] = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        tracker.reset()
        moved = [np.ascontiguousarray(np.roll(frame, k, 1)) for k in (0, 2, 4, 2)]
        times = []
        for i in range(100):
            begin = perf_counter()
            found = tracker(moved[i % 4])
            times.append(1000 * (perf_counter() - begin))
            if not found:
                raise SystemExit(f"no face at height {height}")
        out.append(
            [
                f"frame {height * 16 // 9} x {height}, portrait of {side}",
                float(np.median(times)),
                float(np.mean(times)),
            ]
        )
    return out


def turned(image: np.ndarray, points: np.ndarray, degrees: float) -> np.ndarray:
    """Rotate the picture about the face."""
    box = face_square(points)
    matrix = cv2.getRotationMatrix2D((box.x, box.y), degrees, 1.0)
    size = (image.shape[1], image.shape[0])
    return cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE)


def finding() -> list[list[object]]:
    """Count portraits found when small, rotated, and filling the picture."""
    shown: dict[str, list[int]] = defaultdict(list)
    with closing(FaceTracker(still=True)) as tracker:
        for path in sorted((MEDIA / "portraits").iterdir()):
            image = read_still(path)
            known = tracker(image)
            shown["as it is"].append(len(known))
            if not known:
                continue
            box = face_square(known[0])
            for side in (24, 32, 48, 96):
                scale = side / box.side
                small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                small = small[:1000, :1800]
                frame = np.full((1080, 1920, 3), 110, np.uint8)
                frame[40 : 40 + small.shape[0], 60 : 60 + small.shape[1]] = small
                shown[f"{side} pixels in 1920 x 1080"].append(len(tracker(frame)))
            for degrees in (15, 30, 45, 60):
                for sign in (-1, 1):
                    found = tracker(turned(image, known[0], sign * degrees))
                    shown[f"turned by {degrees} degrees"].append(len(found))
            half = box.side / 2
            left, top = max(0, int(box.x - half)), max(0, int(box.y - half))
            whole = image[top : int(box.y + half), left : int(box.x + half)]
            shown["filling the picture"].append(len(tracker(np.ascontiguousarray(whole))))
    return [
        [name, len(counts), sum(c >= 1 for c in counts), sum(max(0, c - 1) for c in counts)]
        for name, counts in shown.items()
    ]


def empty(folder: Path) -> str:
    """Count detections in pictures without faces."""
    pictures = [p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".png", ".jpeg")]
    false = []
    with closing(FaceTracker(still=True)) as tracker:
        for path in pictures:
            image = cv2.imread(str(path))
            if image is not None and tracker(np.ascontiguousarray(image[..., ::-1])):
                false.append(path.name)
    return f"{len(false)} of {len(pictures)} pictures without a face show one to mien: {false[:12]}"


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("labels", "media", "static", "static-labels", "make-static", "empty"):
        parser.add_argument(f"--{name}", type=Path)
    args = parser.parse_args()
    if args.make_static:
        make_static(args.make_static)
        return
    text = [
        "Speed, milliseconds (median and mean of 100 frames; every 25th searches for new faces)."
    ]
    text.append(table(["", "median", "mean"], speed()))
    text.append("Portraits found, and false detections beside them:")
    text.append(table(["", "portraits", "found", "false"], finding()))
    if args.empty:
        text.append(empty(args.empty))
    if args.labels:
        head = ["", "pictures", "all points, %", "lips and lids, frontal, %", "irises, frontal, %",
                "median picture, %", "opening, r", "lost", "jitter", "smoothed", "teacher's jitter"]  # fmt: skip
        rows = [[*row, *[""] * (len(head) - len(row))] for row in [*stills(), *clips(args.labels)]]
        text.append("Distance to the teacher's landmarks, % of the eye distance. Jitter: median "
                    "second difference of rigid points, per mille of the eye distance; "
                    "the teacher smooths its own in video, so mien's is given smoothed too.")  # fmt: skip
        text.append(table(head, rows))
    if args.media:
        head = ["clip", "frames", "teacher finds", "mien finds", "lost", "distance, %",
                "opening, r", "jitter", "teacher's"]  # fmt: skip
        text += ["Whole clips:", table(head, media(args.media))]
    if args.static and args.static_labels:
        head = [
            "portrait",
            "jitter",
            "smoothed",
            "teacher's",
            "spread",
            "smoothed",
            "teacher's spread",
        ]
        text += ["Nothing moves (noise and compression only), per mille of the eye distance:",
                 table(head, static(args.static, args.static_labels))]  # fmt: skip
    write_section("Tracker", "\n\n".join(text))


if __name__ == "__main__":
    main()
