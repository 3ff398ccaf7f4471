"""Fit the rig of the mesh engine to labelled faces.

Reads landmarks and expression scores of many people, brings every face into the head frame and
explains the landmarks by the scores (ridge regression, mirrored copies added, head turn as a
nuisance). The slopes are how real faces move; each is then cut to the region its muscle reaches,
made symmetric, and split into sides. Action units without a score (6, 9, 23, 25) are drawn
by hand. Also fits the inverse: action units from landmarks (a linear reader).

    python tools/fit_rig.py LABELS.npz src/mien/assets/rig.npz
"""

from __future__ import annotations

import sys

import numpy as np

from mien.face.facs import ACTION_UNITS, UNIT_AND_SIDE
from mien.face.pose import head_pose
from mien.face.topology import EYES, LOWER_LIP, UPPER_LIP, canonical_face

FACE = canonical_face()
C, MIRROR = FACE.points, FACE.mirror
X, Y = C[:, 0], C[:, 1]
MOUTH_Y = float(C[[13, 14], 1].mean())

# action unit -> (score that shows it, factor from a score of 1 to a strength of 1)
LEARNED = {
    "1": ("browInnerUp", 1.0), "2": ("browOuterUp", 1.0), "4": ("browDown", 1.0),
    "5": ("eyeWide", 0.5), "7": ("eyeSquint", 0.75), "10": ("mouthUpperUp", 1.4),
    "12": ("mouthSmile", 1.0), "14": ("mouthDimple", 0.8), "15": ("mouthFrown", 1.2),
    "16": ("mouthLowerDown", 1.0), "17": ("mouthShrugLower", 0.7), "18": ("mouthPucker", 1.2),
    "20": ("mouthStretch", 1.0), "24": ("mouthPress", 0.9), "26": ("jawOpen", 0.55),
    "43": ("eyeBlink", 1.0),
}  # fmt: skip

READ = {"6": None, "9": None, "25": None, "23": "mouthRollUpper"}
"""Scores that show an action unit without an entry in ``LEARNED``."""


def step(x: np.ndarray, a: float, b: float) -> np.ndarray:
    """Return a smooth step from 0 at ``a`` to 1 at ``b``."""
    t = np.clip((x - a) / (b - a), 0, 1)
    return t * t * (3 - 2 * t)


def bump(points: list[int], sx: float, sy: float) -> np.ndarray:
    """Return the largest of the Gaussians around ``points``."""
    d = C[:, None, :2] - C[points][None, :, :2]
    return np.exp(-((d[..., 0] / sx) ** 2 + (d[..., 1] / sy) ** 2) / 2).max(1)


def both(points: tuple[int, ...]) -> list[int]:
    """Return ``points`` and their mirrored partners."""
    return sorted({*points, *(int(MIRROR[p]) for p in points)})


LIDS = [p for e in EYES.values() for p in (*e.upper_lid, *e.lower_lid, *e.corners, *e.iris)]
BROWS = [p for e in EYES.values() for p in (*e.brow_upper, *e.brow_lower)]
LIPS = [p for row in (*UPPER_LIP, *LOWER_LIP) for p in row]
NOSE_PIN = 1 - np.maximum(
    bump([1, 4, 5, 195, 2, 19, 94], 0.15, 0.15), bump([6, 197, 168], 0.12, 0.12)
)
EYE_FREE = 1 - bump(LIDS, 0.08, 0.05)


def windows() -> dict[str, np.ndarray]:
    """Return the reach of each muscle, 0..1 per point."""
    brow = bump(BROWS, 0.20, 0.24) * step(-Y, -0.02, 0.14) * EYE_FREE
    lid_rows = [p for e in EYES.values() for r in (*e.upper_rows, e.lower_row) for p in r]
    lids = np.maximum(bump(LIDS, 0.03, 0.03), 0.0)
    lids[lid_rows] = np.maximum(lids[lid_rows], 0.6)
    for e in EYES.values():
        lids[list(e.upper_rows[1])] = 0.25
        lids[list(e.iris)] = 0
        lids[list(e.corners)] *= 0.3
    lids[BROWS] = 0
    mouth = bump(LIPS, 0.20, 0.17) * NOSE_PIN * step(Y, 0.35, 0.60)
    cheek = np.maximum(mouth, bump(LIPS, 0.34, 0.26) * NOSE_PIN * step(Y, 0.22, 0.55))
    chin = np.maximum(
        mouth, bump([199, 200, 18, 175], 0.28, 0.22) * step(Y, MOUTH_Y - 0.1, MOUTH_Y + 0.1)
    )
    jaw = step(Y, 0.25, 0.75) * NOSE_PIN * (1 - 0.5 * step(np.abs(X), 0.65, 1.1))
    return {
        **dict.fromkeys(("1", "2", "4"), brow),
        **dict.fromkeys(("5", "7", "43"), lids),
        **dict.fromkeys(("10", "14", "16", "18", "24"), mouth),
        **dict.fromkeys(("12", "15", "20"), cheek),
        "17": chin,
        "26": jaw,
    }


def learn(landmarks: np.ndarray, scores: np.ndarray, names: list[str]) -> tuple[np.ndarray, ...]:
    """Return slopes ``(S, 478, 3)`` of landmarks over scores, head-frame points, and scores."""
    head, keep, turn = np.empty(landmarks.shape), np.zeros(len(landmarks), bool), []
    for i, points in enumerate(landmarks):
        pose = head_pose(points)
        head[i] = pose.to_head(points)
        pitch = np.arctan2(pose.rotation[1, 2], pose.rotation[2, 2])
        keep[i] = abs(pose.yaw) < 0.35 and np.isfinite(head[i]).all() and scores[i].min() >= 0
        turn.append((pose.yaw, pitch))
    head, scores, angles = head[keep], scores[keep], np.array(turn)[keep]
    swap = {"Left": "Right", "Right": "Left"}
    partner = []
    for name in names:
        end = next((e for e in swap if name.endswith(e)), "")
        partner.append(names.index(name[: len(name) - len(end)] + swap.get(end, "")))
    flipped = head[:, MIRROR] * [-1, 1, 1]
    head = np.concatenate([head, flipped])
    scores = np.concatenate([scores, scores[:, partner]])
    angles = np.concatenate([angles, angles * [-1, 1]])
    design = np.concatenate([np.ones((len(head), 1)), scores, angles, angles**2], 1)
    ridge = np.full(design.shape[1], 20.0)
    ridge[0] = 0
    slopes = np.linalg.solve(
        design.T @ design + np.diag(ridge), design.T @ head.reshape(len(head), -1)
    )
    return slopes[1 : 1 + len(names)].reshape(-1, 478, 3), head, scores


def side_window(side: str) -> np.ndarray:
    """Return 1 on the person's ``side``; the left side has x > 0."""
    return step(X, -0.10, 0.10) if side == "L" else 1 - step(X, -0.10, 0.10)


def learned_fields(slopes: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    """Return the two-sided field ``(478, 3)`` of every learned action unit."""
    out = {}
    for unit, (score, factor) in LEARNED.items():
        parts = [i for i, n in enumerate(names) if n in (score, score + "Left", score + "Right")]
        field = slopes[parts].sum(0) * factor
        field = (field + field[MIRROR] * [-1, 1, 1]) / 2
        out[unit] = field * windows()[unit][:, None]
    return out


def drawn_fields() -> dict[str, np.ndarray]:
    """Return two-sided fields of the action units that no score shows."""
    sign = np.sign(X)
    cheeks = (
        bump(both((50, 117, 118, 101, 205, 36)), 0.20, 0.18)
        * EYE_FREE
        * NOSE_PIN
        * step(Y, 0.10, 0.28)
    )
    zero = np.zeros_like(X)
    six = np.stack([sign * 0.02 * cheeks, -0.085 * cheeks, -0.03 * cheeks], 1)
    for eye in EYES.values():
        for row, lift in ((eye.lower_lid, 0.028), (eye.lower_row, 0.034)):
            for i, p in enumerate(row):
                six[p, 1] -= lift * np.sin(np.pi * (i + 1) / 8) ** 0.6
    wings = bump(both((129, 98, 64, 102, 49)), 0.12, 0.13)
    bridge = bump(both((196, 174, 188, 236, 217)), 0.10, 0.12) * EYE_FREE
    lip = bump(both((37, 39, 40)), 0.16, 0.12) * np.where(Y < MOUTH_Y + 0.02, 1, 0)
    nine = np.stack([sign * 0.022 * wings, -0.075 * wings - 0.03 * bridge - 0.04 * lip, zero], 1)
    tight = np.zeros((478, 3))
    for rows, s in ((UPPER_LIP, 1), (LOWER_LIP, -1)):
        for r, row in enumerate(rows):
            for i, p in enumerate(row):
                tight[p, 1] += s * 0.05 * (1 - r / 3) * np.sin(np.pi * i / 10)
    corners = bump([61, 291], 0.16, 0.14) * NOSE_PIN
    tight[:, 0] -= sign * 0.045 * corners
    lower = np.zeros(478)
    upper = np.zeros(478)
    for row in LOWER_LIP:
        for i, p in enumerate(row):
            lower[p] = np.sin(np.pi * i / 10)
    for row in UPPER_LIP:
        for i, p in enumerate(row[1:-1], 1):
            upper[p] = np.sin(np.pi * i / 10)
    below = bump([17, 18], 0.24, 0.10) * np.where(Y > MOUTH_Y + 0.02, 1, 0) * (lower == 0)
    part = np.stack([zero, 0.07 * np.maximum(lower, 0.7 * below) - 0.02 * upper, zero], 1)
    return {"6": six, "9": nine, "23": tight, "25": part}


def reader(head: np.ndarray, scores: np.ndarray, names: list[str]) -> np.ndarray:
    """Return the linear reader ``(1 + 478*3, D)`` from head-frame points to action units."""
    target = np.zeros((len(head), len(ACTION_UNITS)))
    for i, (unit, side) in enumerate(UNIT_AND_SIDE):
        score = READ.get(unit) or (LEARNED[unit][0] if unit in LEARNED else None)
        if score is None:
            continue
        end = {"L": "Left", "R": "Right", "": ""}[side]
        exact = [j for j, n in enumerate(names) if n in (score, score + end)]
        target[:, i] = scores[
            :, exact or [names.index(score + "Left"), names.index(score + "Right")]
        ].mean(1)
    design = np.concatenate([np.ones((len(head), 1)), (head - C).reshape(len(head), -1)], 1)
    ridge = np.full(design.shape[1], 0.1)
    ridge[0] = 0
    return np.linalg.solve(design.T @ design + np.diag(ridge), design.T @ target)


def main(labels: str, out: str) -> None:
    """Fit and write the rig."""
    data = np.load(labels, allow_pickle=False)
    names = [str(n) for n in data["blendshape_names"]]
    train = data["split"] == "train"
    slopes, head, scores = learn(
        data["landmarks"][train].astype(np.float64),
        data["blendshapes"][train].astype(np.float64),
        names,
    )
    fields = {**learned_fields(slopes, names), **drawn_fields()}
    rig = np.zeros((len(ACTION_UNITS), 478, 3), np.float32)
    for i, (unit, side) in enumerate(UNIT_AND_SIDE):
        window = side_window(side) if side else np.ones(478)
        rig[i] = fields[unit] * window[:, None]
    np.savez_compressed(
        out,
        fields=rig.astype(np.float16),
        reader=reader(head, scores, names).astype(np.float32),
        names=np.array(ACTION_UNITS),
    )
    for name, field in zip(ACTION_UNITS, rig, strict=True):
        size = np.linalg.norm(field, axis=1)
        print(f"{name:4s} largest {size.max():.3f} at {size.argmax()}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
