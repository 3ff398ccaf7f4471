"""Fit the last layer of the tracker's landmark nets anew, on the pictures they were trained on.

    python tools/refit_tracker.py DATA/faces [face mouth eye]

Points are linear in what the layer before computes, so the best weights follow from weighted least
squares in minutes; training by gradients leaves them a little off. Rows of a large error count
less (as in the wing loss), and a small ridge keeps the weights near the old ones. Writes
``src/mien/assets/tracker_NET.onnx`` where the error on held-out pictures shrinks.
"""

from __future__ import annotations

import argparse
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from mien.face.crop import eye_distance
from mien.face.landmarker import PARTS, Part
from mien.training.tracker.data import jitter, photograph, read_member
from mien.training.tracker.landmarks import view

ASSETS = Path(__file__).parent.parent / "src" / "mien" / "assets"
BATCH = 32
RIDGE = 3e-3
ROUNDS = 2
SPOILED = 0.3
"""Share of training crops that a bad camera took."""


class Net:
    """A landmark net, with the input of its last layer as an output."""

    def __init__(self, path: Path) -> None:
        self.path, self.model = path, onnx.load(path)
        graph = self.model.graph
        (gemm,) = (
            node for node in graph.node if node.op_type == "Gemm" and "points" in node.output[0]
        )
        self.features = gemm.input[0]
        graph.output.append(
            onnx.helper.make_tensor_value_info(self.features, onnx.TensorProto.FLOAT, None)
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(self.model.SerializeToString(), options)
        graph.output.pop()

    def __call__(self, images: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return points ``(N, P, 3)`` and the features ``(N, F)`` they are linear in."""
        found = self.session.run(["points", self.features], {"images": np.stack(images)})
        return found[0], found[1]

    def add(self, weight: np.ndarray, bias: np.ndarray) -> None:
        """Add to the last layer's weight ``(3 P, F)`` and bias, and write the net."""
        for tensor in self.model.graph.initializer:
            name = tensor.name.removesuffix(".half")
            change = {"net.points.weight": weight, "net.points.bias": bias}.get(name)
            if change is not None:
                old = numpy_helper.to_array(tensor)
                new = (old.astype(np.float32) + change).astype(old.dtype)
                tensor.CopyFrom(numpy_helper.from_array(new, tensor.name))
        onnx.save(self.model, self.path)


def crops(
    part: Part, folder: Path, *, held_out: bool, most: int
) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Cut every picture twice, mirrored or the other eye: crop, points, eye distance in crops."""
    rng = np.random.default_rng(5)
    with np.load(folder / "labels.npz") as stored:
        landmarks, split = stored["landmarks"].astype(np.float32), stored["split"]
    chosen = np.flatnonzero((split != "train") == held_out)
    with tarfile.open(folder / "crops.tar") as archive:
        names = sorted(archive.getnames())
        for i in rng.permutation(chosen)[:most]:
            image = read_member(archive, names[i])
            for second in (False, True):
                flip = second and part.name != "eye"
                seen = view(part, landmarks[i], flip=flip, which="RL"[second])
                crop = jitter(seen.crop, rng, loose=False)
                cut = crop.cut(image, part.pixels)
                if not held_out and rng.random() < SPOILED:
                    cut = photograph(cut, rng)
                yield cut, crop.to_crop(seen.points), eye_distance(landmarks[i]) / crop.side


def gather(net: Net, part: Part, folder: Path, *, held_out: bool, most: int) -> list[np.ndarray]:
    """Return the net's points, its features, the wanted points and eye distances of all crops."""
    rows: list[tuple[np.ndarray, ...]] = []
    batch: list[tuple[np.ndarray, np.ndarray, float]] = []

    def read() -> None:
        rows.append(
            (*net([row[0] for row in batch]), *map(np.array, list(zip(*batch, strict=True))[1:]))
        )
        batch.clear()

    for row in crops(part, folder, held_out=held_out, most=most):
        batch.append(row)
        if len(batch) == BATCH:
            read()
    if batch:
        read()
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def fit(
    features: np.ndarray, missing: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the change of weight ``(3 P, F)`` and bias that adds ``missing`` ``(N, 3 P)``."""
    mean, spread = features.mean(0), features.std(0) + 1e-4
    x = np.concatenate([(features - mean) / spread, np.ones((len(features), 1))], 1)
    share = np.ones(len(x))
    for _ in range(ROUNDS):
        gram = (x * share[:, None]).T @ x + RIDGE * len(x) * np.eye(x.shape[1])
        change = np.linalg.solve(gram, (x * share[:, None]).T @ missing)
        left = np.abs(missing - x @ change).mean(1) / sizes
        share = 1 / np.maximum(left, np.median(left) / 2)
        share /= share.mean()
    weight = change[:-1] / spread[:, None]
    return weight.T, change[-1] - mean @ weight


def error(points: np.ndarray, wanted: np.ndarray, sizes: np.ndarray) -> float:
    """Return the mean distance of points, percent of the eye distance."""
    return 100 * float((np.linalg.norm((points - wanted)[..., :2], axis=2) / sizes[:, None]).mean())


def main() -> None:
    """Refit the nets named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faces", type=Path)
    parser.add_argument("nets", nargs="*", default=list(PARTS))
    parser.add_argument("--most", type=int, default=6000, help="pictures to fit on")
    parser.add_argument("--assets", type=Path, default=ASSETS)
    args = parser.parse_args()
    for name in args.nets:
        part, net = PARTS[name], Net(args.assets / f"tracker_{name}.onnx")
        points, features, wanted, sizes = gather(
            net, part, args.faces, held_out=False, most=args.most
        )
        weight, bias = fit(features, (wanted - points).reshape(len(points), -1), sizes)
        points, features, wanted, sizes = gather(
            net, part, args.faces, held_out=True, most=args.most
        )
        better = points + (features @ weight.T + bias).reshape(points.shape).astype(np.float32)
        before, after = error(points, wanted, sizes), error(better, wanted, sizes)
        print(f"{name}: {before:.3f} % before, {after:.3f} % after, on held-out pictures")
        if after < before:
            net.add(weight, bias)


if __name__ == "__main__":
    main()
