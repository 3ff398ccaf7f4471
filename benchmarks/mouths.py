"""How real drawn mouths are: differences, detail, flicker, and whether a classifier can tell.

python benchmarks/mouths.py runs/appearance/cache

The folder is what ``mien train appearance`` decoded. People measured here were held out; the flicker
is that of talking portraits beside that of real clips.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import deque
from contextlib import closing
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import torch
from record import MEDIA, table, write_section
from torch import nn
from torch.nn import functional as F

import mien
from mien.engines.mesh.appearance import (
    Exemplar,
    Layer,
    MouthFrame,
    donors,
    inside,
    region,
    skin_color,
)
from mien.engines.mesh.inside import drawn_mouth
from mien.face.pose import head_pose
from mien.face.tracker import FaceTracker
from mien.media.read import VideoReader
from mien.training.appearance.data import Mouths, open_mouths

Images = npt.NDArray[np.uint8]

MOST: Final = 260
CLIPS: Final = ("hdtf_512_25fps.mp4", "speech_450_25fps.mp4", "expressive_512_30fps.mp4")
PORTRAITS: Final = (
    "c-met_ChatGPT_man_crop.jpg", "c-met_ChatGPT_woman_crop.jpg", "anitalker_aiface1.jpg",
    "liveportrait_s5.jpg",
)  # fmt: skip
SPEECH: Final = "mead_happy.wav"
LEAST_PIXELS: Final = 150
STEPS: Final = 160
SEEDS: Final = 2


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--sheet", type=Path, help="picture of real mouths above drawn ones")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    mouths = open_mouths(arguments.cache)
    chosen = np.flatnonzero(mouths.held_out & (mouths.source != "still"))
    chosen = np.random.default_rng(0).permutation(chosen)[:MOST]
    real, people = mouths.target[chosen], mouths.person[chosen]
    masks = [inside(mouths.outline[i]) > 0.5 for i in chosen]
    rows: list[list[object]] = []
    pictures = [real]
    for name in ("a donor", "the same person"):
        own = name != "a donor"
        drawn = np.array([_drawn(mouths, int(i), own=own) for i in chosen])
        triples = list(zip(drawn, real, masks, strict=True))
        off = float(np.mean([np.abs(a.astype(int) - b)[m].mean() for a, b, m in triples]))
        alike = float(np.mean([_ssim(a, b)[m].mean() for a, b, m in triples]))
        detail = [[_detail(a, m), _detail(b, m)] for a, b, m in triples]
        seen = tell_apart(real, drawn, people)
        rows.append(
            [name, off, alike, float(np.divide(*np.mean(detail, 0))), float(np.mean(seen)),
             f"{min(seen):.2f} to {max(seen):.2f}"]
        )  # fmt: skip
        pictures.append(drawn)
    if arguments.sheet:
        few = np.random.default_rng(1).permutation(len(chosen))[:60].reshape(-1, 12)
        strips = [np.hstack([images[i] for i in line]) for line in few for images in pictures]
        cv2.imwrite(str(arguments.sheet), np.vstack(strips)[..., ::-1])
    flickers = [["real clips", _median([MEDIA / "videos" / name for name in CLIPS])]]
    with tempfile.TemporaryDirectory() as folder:
        spoken = []
        for name in PORTRAITS:
            spoken.append(Path(folder) / f"{name}.mp4")
            mien.talk(MEDIA / "portraits" / name, MEDIA / "speech" / SPEECH, spoken[-1], "neutral")
        flickers.append(["talking portraits", _median(spoken)])
    head = ["example", "L1 (0 to 255)", "SSIM", "detail (real: 1)", "told from real", "range"]
    body = (
        f"{len(chosen)} held-out mouths of {len(set(people))} people and clips, drawn with an "
        f"example from a donor or from the same person. Told from real: accuracy of a classifier "
        f"on people it was not trained on; 0.5 is chance.\n\n{table(head, rows)}\n\n"
        "Flicker: second difference over time of the brightness inside open mouths, in the head's "
        f"frame, relative to their contrast.\n\n{table(['', 'flicker'], flickers)}"
    )
    write_section("Mouths", body)


def _median(clips: list[Path]) -> float:
    return float(np.median([flicker(path) for path in clips]))


def flicker(path: Path) -> float:
    """Measure how much the inside of an open mouth changes against its trend over three frames."""
    found = []
    with VideoReader(path) as reader, closing(FaceTracker(max_faces=1)) as tracker:
        recent: deque[tuple[Layer, npt.NDArray[np.bool_]]] = deque(maxlen=3)
        for frame in reader:
            faces = tracker(frame.image)
            if not faces:
                recent.clear()
                continue
            points = faces[0].astype(np.float64)
            place = MouthFrame.of(points, head_pose(points))
            patch = cv2.cvtColor(place.cut(frame.image), cv2.COLOR_RGB2GRAY).astype(np.float32)
            within = cv2.erode(inside(place.outline), np.ones((5, 5))) > 0.5
            recent.append((patch, within))
            if len(recent) < 3:
                continue
            (a, first), (b, second), (c, third) = recent
            seen = first & second & third
            if seen.sum() > LEAST_PIXELS:
                change = np.abs(a - 2 * b + c)[seen].mean()
                found.append(float(change / max(b[seen].std(), 5)))
    return float(np.mean(found)) if found else 0.0


def _drawn(mouths: Mouths, index: int, *, own: bool) -> Images:
    """Draw one mouth as the engine does, with an example of its own clip or of a donor."""
    frame, target = mouths.frame(index), mouths.target[index]
    patch = mouths.warped[mouths.first[index + 1] - 1]
    skin = skin_color(patch, frame.outline)
    same = np.flatnonzero((mouths.person == mouths.person[index]) & (mouths.gap > 0.08))
    same = same[same != index]
    example = donors().for_face(frame.yaw, skin)
    if own and len(same):
        other = int(same[len(same) // 2])
        example = Exemplar.of(mouths.target[other], mouths.outline[other])
    drawn = drawn_mouth(patch, frame, example, skin)
    alpha = region(frame.outline)[..., None]
    return np.round(target + (drawn - target) * alpha).astype(np.uint8)


def _ssim(a: Images, b: Images) -> Layer:
    """Compute the map of structural similarity (Wang et al. 2004)."""
    x, y = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64) for image in (a, b))

    def blur(image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return cv2.GaussianBlur(image, (11, 11), 1.5)

    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    top = (2 * mx * my + 6.5025) * (2 * cov + 58.5225)
    out: Layer = top / ((mx**2 + my**2 + 6.5025) * (vx + vy + 58.5225))
    return out


def _detail(image: Images, mask: npt.NDArray[np.bool_]) -> float:
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(np.abs(cv2.Laplacian(gray, cv2.CV_32F))[mask].mean())


def tell_apart(real: Images, drawn: Images, people: npt.NDArray[np.str_]) -> list[float]:
    """Train a classifier on half of the people and test it on the others; 0.5 is chance."""
    names = np.unique(people)
    accuracies = []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        first = np.isin(people, rng.permutation(names)[: len(names) // 2])
        for train in (first, ~first):
            net = _train(real[train], drawn[train], seed, rng)
            with torch.no_grad():
                a, b = net(_tensor(real[~train])), net(_tensor(drawn[~train]))
            accuracies.append(float(((a > 0).float().mean() + (b <= 0).float().mean()) / 2))
    return accuracies


def _train(real: Images, drawn: Images, seed: int, rng: np.random.Generator) -> nn.Module:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for before, width in ((3, 16), (16, 32), (32, 64), (64, 64)):
        layers += [nn.Conv2d(before, width, 3, 2, 1), nn.ReLU()]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(64, 1)]
    net = nn.Sequential(*layers)
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=1e-2)
    a, b = _tensor(real), _tensor(drawn)
    labels = torch.cat([torch.ones(20, 1), torch.zeros(20, 1)])
    for step in range(STEPS):
        at = torch.from_numpy(rng.integers(0, len(a), 20))
        images = torch.cat([a[at], b[at]])
        if step % 2:
            images = images.flip(3)
        images = (
            images * torch.exp(torch.randn(40, 1, 1, 1) * 0.1) + torch.randn(40, 3, 1, 1) * 0.05
        )
        loss = F.binary_cross_entropy_with_logits(net(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.eval()


def _tensor(images: Images) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


if __name__ == "__main__":
    main()
