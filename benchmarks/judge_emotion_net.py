"""Judge (a): do classifiers trained on human labels recognise the requested emotion?

Classifiers like those of FER2013: three small CNNs on 48 x 48 grey aligned faces. They are trained
here, on ``FACES/crops.tar`` and the human labels in ``FACES/labels.npz``, in three folds by person:
each net is tested on the third of the people it never saw, so the held-out figures cover the whole
set. The portraits are judged by the mean of the three. Labels: happy, sad, angry, surprised,
neutral, disgusted; the classes are balanced in training, so the judge favours none.

Run ``render_faces.py`` first. This script has a separate environment, without mien::

    python3 -m venv fer && fer/bin/pip install torch==2.13.0 numpy opencv-python-headless
    fer/bin/python benchmarks/judge_emotion_net.py OUT --faces ../shared/data/faces
"""

from __future__ import annotations

import argparse
import re
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from record import table, write_section
from torch import Tensor, nn

LABELS = ("happy", "sad", "angry", "surprised", "neutral", "disgusted")
JUDGED = ("happy", "sad", "angry", "surprised")
SIDE = 48
_MARGIN = 8
"""Margin of a stored crop in pixels, so that shifts and rotations show picture, not black."""
_FOLDS = 3
_WHOLE = SIDE + 2 * _MARGIN


def aligned(grey: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Return the aligned face, ``uint8 (64, 64)``, from landmarks ``(478, 3)``."""
    left, right = (landmarks[list(p), :2].astype(float).mean(0) for p in ((33, 133), (362, 263)))
    middle, across = (left + right) / 2, right - left
    # A turned face has a short eye line; its height (brow to chin) does not shrink with the turn.
    height = float(np.linalg.norm(landmarks[168, :2].astype(float) - landmarks[2, :2]))
    unit = max(float(np.linalg.norm(across)), height * 1.15)
    angle = float(np.degrees(np.arctan2(across[1], across[0])))
    scale = SIDE / (2.45 * unit)
    matrix = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), angle, scale)
    matrix[:, 2] += np.array([_WHOLE / 2, _MARGIN + SIDE * 0.34]) - middle
    if scale < 0.5:  # against aliasing
        grey = cv2.GaussianBlur(grey, (0, 0), 0.35 / scale)
    return cv2.warpAffine(
        grey, matrix, (_WHOLE, _WHOLE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


@dataclass(frozen=True)
class Faces:
    """Labelled crops: ``pictures`` uint8 (N, 64, 64), ``labels`` (N,), ``people`` (N,) numbers."""

    pictures: np.ndarray
    labels: np.ndarray
    people: np.ndarray


def load_faces(folder: Path) -> Faces:
    """Read the crops that carry one of the six labels."""
    with np.load(folder / "labels.npz", allow_pickle=False) as data:
        emotion, landmarks, source = data["emotion"], data["landmarks"], data["source"]
    people = [re.sub(r"[_\d]*\.\w+$", "", str(s)) for s in source]
    _, number = np.unique(people, return_inverse=True)
    pictures, labels, persons = [], [], []
    with tarfile.open(folder / "crops.tar") as tar:
        for i, member in enumerate(tar):
            if emotion[i] not in LABELS:
                continue
            file = tar.extractfile(member)
            if file is None:
                continue
            grey = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_GRAYSCALE)
            pictures.append(aligned(grey, landmarks[i]))
            labels.append(LABELS.index(str(emotion[i])))
            persons.append(number[i])
    return Faces(np.stack(pictures), np.array(labels), np.array(persons))


class Net(nn.Module):
    """Three stages of two convolutions each, then a mean over the picture."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 1
        for stage in (width, 2 * width, 4 * width):
            for _ in range(2):
                layers += [nn.Conv2d(before, stage, 3, padding=1, bias=False)]
                layers += [nn.BatchNorm2d(stage), nn.ReLU(inplace=True)]
                before = stage
            layers += [nn.MaxPool2d(2), nn.Dropout2d(0.1)]
        self.body = nn.Sequential(*layers)
        # 3 x 3 positions are kept: the position of a crease decides what it means.
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(3),
            nn.Flatten(),
            nn.Dropout(0.4),
            nn.Linear(before * 9, len(LABELS)),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Logits ``(N, 6)`` of float pictures ``(N, 1, 48, 48)``."""
        return self.head(self.body(pictures))


def normalised(pictures: Tensor) -> Tensor:
    """Normalise every picture to zero mean and unit contrast."""
    mean, std = pictures.mean((2, 3), keepdim=True), pictures.std((2, 3), keepdim=True)
    return (pictures - mean) / (std + 8)


def augmented(pictures: Tensor) -> Tensor:
    """Augment (mirror, rotate, shift, scale, blur, contrast, noise) and crop to 48 x 48."""
    count = len(pictures)
    turn = (torch.rand(count) - 0.5) * 0.45
    scale = (1 + (torch.rand(count) - 0.5) * 0.24) * SIDE / _WHOLE
    flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = scale * flip * turn.cos(), -scale * turn.sin()
    theta[:, 1, 0], theta[:, 1, 1] = scale * flip * turn.sin(), scale * turn.cos()
    theta[:, :, 2] = (torch.rand(count, 2) - 0.5) * 0.22
    grid = nn.functional.affine_grid(theta, [count, 1, SIDE, SIDE], align_corners=False)
    out = nn.functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    # Half of the set is sharp and half is soft, not evenly over the classes: sharpness must
    # carry no information.
    soft = nn.functional.avg_pool2d(out, 3, 1, 1, count_include_pad=False)
    out = out + torch.rand(count, 1, 1, 1) * (soft - out)
    gamma = torch.exp((torch.rand(count, 1, 1, 1) - 0.5) * 0.8)
    out = 255 * (out / 255).clamp(1e-3, 1) ** gamma
    return out + torch.randn_like(out) * 6 * torch.rand(count, 1, 1, 1)


def centre(pictures: np.ndarray) -> Tensor:
    """Return the middle of stored crops as float ``(N, 1, 48, 48)``."""
    cut = pictures[:, _MARGIN : _MARGIN + SIDE, _MARGIN : _MARGIN + SIDE]
    return torch.from_numpy(np.ascontiguousarray(cut)).float()[:, None]


def train(faces: Faces, chosen: np.ndarray, steps: int, seed: int) -> Net:
    """Train one net on the faces ``chosen`` (bool mask), all classes equally often."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    net = Net().to(memory_format=torch.channels_last)
    groups = [np.flatnonzero(chosen & (faces.labels == k)) for k in range(len(LABELS))]
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    net.train()
    for _ in range(steps):
        index = np.concatenate([random.choice(g, 16) for g in groups])
        pictures = torch.from_numpy(faces.pictures[index]).float()[:, None]
        loss = loss_of(net(normalised(augmented(pictures))), torch.from_numpy(faces.labels[index]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def probabilities(nets: list[Net], pictures: np.ndarray) -> np.ndarray:
    """Return probabilities ``float (N, 6)`` of stored crops, averaged over nets and mirror images."""
    inputs = normalised(centre(pictures))
    total = torch.zeros(len(pictures), len(LABELS))
    for net in nets:
        for part in (inputs, inputs.flip(3)):
            total += torch.cat([net(p).softmax(1) for p in part.split(256)])
    return (total / (2 * len(nets))).numpy()


def cross_train(faces: Faces, steps: int) -> tuple[list[Net], np.ndarray]:
    """Train one net per fold; return them and the held-out confusion ``(6, 6)``."""
    people = np.unique(faces.people)
    fold_of = np.zeros(people.max() + 1, int)
    fold_of[np.random.default_rng(0).permutation(people)] = np.arange(len(people)) % _FOLDS
    fold = fold_of[faces.people]
    confusion = np.zeros((len(LABELS), len(LABELS)), int)
    nets = []
    for k in range(_FOLDS):
        start = time.perf_counter()
        net = train(faces, fold != k, steps, k)
        test = fold == k
        read = probabilities([net], faces.pictures[test]).argmax(1)
        np.add.at(confusion, (faces.labels[test], read), 1)
        print(f"net {k + 1}: {(read == faces.labels[test]).mean():.3f} held out, "
              f"{time.perf_counter() - start:.0f} s")  # fmt: skip
        nets.append(net)
    return nets, confusion


def load_or_train(args: argparse.Namespace) -> tuple[list[Net], np.ndarray]:
    """Return the nets and their held-out confusion, from ``--weights`` if the file exists."""
    if args.weights.exists():
        data = torch.load(args.weights, weights_only=True)
        nets = [Net() for _ in data["nets"]]
        for net, state in zip(nets, data["nets"], strict=True):
            net.load_state_dict(state)
        return [net.eval() for net in nets], data["confusion"].numpy()
    nets, confusion = cross_train(load_faces(args.faces), args.steps)
    args.weights.parent.mkdir(parents=True, exist_ok=True)
    states = [net.state_dict() for net in nets]
    torch.save({"nets": states, "confusion": torch.from_numpy(confusion)}, args.weights)
    return nets, confusion


def portraits(folder: Path, emotion: str) -> np.ndarray:
    """Return aligned crops of one rendered emotion of every portrait."""
    out = []
    for place in sorted(p.parent for p in folder.glob("*/landmarks.npy")):
        grey = cv2.imread(str(place / f"{emotion}.png"), cv2.IMREAD_GRAYSCALE)
        if grey is None:
            raise SystemExit(f"{place} has no {emotion}.png; run render_faces.py again.")
        out.append(aligned(grey, np.load(place / "landmarks.npy", allow_pickle=False)))
    if not out:
        raise SystemExit(f"No rendered faces in {folder}; run render_faces.py first.")
    return np.stack(out)


def main() -> None:
    """Train or load the judge, judge the rendered portraits, write the section."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder made by render_faces.py")
    parser.add_argument("--faces", type=Path, default=Path("../shared/data/faces"))
    parser.add_argument("--weights", type=Path, default=Path("build/judge_emotion_net.pt"))
    parser.add_argument(
        "--steps", type=int, default=1100, help="training steps per net, of 96 faces"
    )
    args = parser.parse_args()
    nets, confusion = load_or_train(args)
    recall = confusion.diagonal() / confusion.sum(1)
    inputs = probabilities(nets, portraits(args.out, "input")).argmax(1)
    rows, right = [], []
    for emotion in JUDGED:
        k = LABELS.index(emotion)
        read = probabilities(nets, portraits(args.out, emotion))
        votes = np.bincount(read.argmax(1), minlength=len(LABELS))
        right.append(float((read.argmax(1) == k).mean()))
        mistakes = [f"{LABELS[j]} {votes[j]}" for j in np.argsort(-votes) if j != k and votes[j]]
        rows.append((emotion, right[-1], float(read[:, k].mean()), float((inputs == k).mean()),
                     float(recall[k]), ", ".join(mistakes) or "-"))  # fmt: skip
    four = [LABELS.index(e) for e in JUDGED]
    head = (
        "emotion",
        "top-1",
        "mean probability",
        "inputs read so",
        "real photographs",
        "else read as",
    )
    body = (
        f"{len(inputs)} portraits at the default intensity, read by {len(nets)} small CNNs trained "
        "on human labels of six classes.\n\n"
        f"{table(head, rows)}\n\n"
        f"**Mean top-1: {np.mean(right):.2f}** (asked: 0.80). The judge itself, on "
        f"{confusion.sum()} photographs of people it never saw: "
        f"{confusion.trace() / confusion.sum():.2f} of all right, "
        f"{recall.mean():.2f} mean over the six classes, {recall[four].mean():.2f} over these four."
    )
    write_section("Read by an emotion net", body)


if __name__ == "__main__":
    main()
