"""Make ``shading.npz``, the shading of a smile; measure it on people it was not fitted on.

python tools/fit_shading.py DATA/highres

The folder holds ``london_NUMBER_neutral.jpg`` and ``london_NUMBER_smiling.jpg`` (Face Research Lab
London Set, CC BY 4.0). Printed: the share of the change of held-out people's skin that the map
explains (one left out at a time), beside drawn creases.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from mien.engines.mesh import MeshEngine
from mien.engines.mesh.shading import ORIGIN, PIXELS, PIXELS_PER_EYE_DISTANCE, canonical_in_map
from mien.engines.mesh.warp import Region, extend, motion_field
from mien.engines.mesh.wrinkles import draw_wrinkles
from mien.face.facs import INDEX, expression
from mien.face.follow import Face
from mien.face.topology import EYES, LOWER_LIP, OVAL, UPPER_LIP
from mien.face.tracker import FaceTracker
from mien.media.frame import RGBImage
from mien.media.still import read_still

ASSETS = Path(__file__).parent.parent / "src" / "mien" / "assets"
SMOOTH = 9.0
"""Standard deviation, map pixels, of what is left out as light or a change of the head's pose."""

WHOLE_SMILE = 0.46
"""Reading of action unit 12 at strength 1, beyond that of a neutral face (``engine.removal``)."""

DARK = 12.0
"""Added to brightness before the logarithm, against noise in shadows."""

Maps = npt.NDArray[np.float32]


def main() -> None:
    """Fit, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=ASSETS / "shading.npz")
    arguments = parser.parse_args()
    changes, amounts = (np.array(c) for c in zip(*pairs(arguments.pictures), strict=True))
    changes = (changes + changes[:, :, ::-1]) / 2
    mask = skin_mask()
    total, weight = np.tensordot(amounts, changes, 1), float((amounts**2).sum())
    rest = zip(changes, amounts, strict=True)
    guessed = np.array([a * (total - a * c) / (weight - a * a) for c, a in rest])
    drawn = amounts[:, None, None, None] * drawn_creases()
    for name, guess in (("learned", guessed), ("drawn creases", drawn)):
        print(f"{name}: {explained(changes * mask, guess * mask):.3f} of {len(changes)} people")
    np.savez_compressed(arguments.output, smile=(total / weight * mask).astype(np.float16))


def pairs(folder: Path) -> Iterator[tuple[Maps, float]]:
    """Yield how skin changes, ``float32 (128, 128, 3)``, and by how much of a smile."""
    engine = MeshEngine()
    with closing(FaceTracker(still=True)) as tracker:
        for neutral in sorted(folder.glob("london_*_neutral.jpg")):
            looks, smiles = [], []
            for path in (neutral, neutral.with_name(neutral.name.replace("neutral", "smiling"))):
                image = np.ascontiguousarray(read_still(path)[..., :3])
                found = tracker(image)
                if not found:
                    break
                looks.append(detail(fitted(image, found[0].astype(np.float64))))
                reading = engine.encode(image, Face(1, found[0])).expression
                smiles.append(float(reading[[INDEX["12L"], INDEX["12R"]]].mean()))
            if len(looks) == 2:
                yield looks[1] - looks[0], (smiles[1] - smiles[0]) / WHOLE_SMILE


def fitted(image: RGBImage, points: npt.NDArray[np.float64]) -> RGBImage:
    """Warp a face onto the canonical one."""
    target = canonical_in_map()
    to_map = np.linalg.lstsq(
        np.column_stack([points[:, :2], np.ones(len(points))]), target[:, :2], rcond=None
    )[0].T
    factor = float(np.sqrt(abs(np.linalg.det(to_map[:, :2]))))
    if factor < 0.8:
        image = cv2.GaussianBlur(image, (0, 0), 0.45 / factor)
    small = cv2.warpAffine(image, to_map, (PIXELS, PIXELS), borderMode=cv2.BORDER_REPLICATE)
    placed = points.copy()
    placed[:, :2] = points[:, :2] @ to_map[:, :2].T + to_map[:, 2]
    vertices, moves = extend(placed, target[:, :2] - placed[:, :2])
    depth = np.full(len(vertices), float(placed[:, 2].mean()))
    depth[: len(placed)] = placed[:, 2]
    field = motion_field(vertices, moves, depth, Region(0, 0, PIXELS, PIXELS, 1.0))
    at = np.arange(PIXELS, dtype=np.float32)
    x, y = field[..., 0] + at[None], field[..., 1] + at[:, None]
    return cv2.remap(small, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def detail(image: RGBImage) -> Maps:
    """Return logarithmic brightness without what is smooth, ``float32 (128, 128, 3)``."""
    light = np.log(image.astype(np.float32) + DARK)
    return light - cv2.GaussianBlur(light, (0, 0), SMOOTH)


def skin_mask() -> Maps:
    """Return where the map applies, ``float32 (128, 128, 1)``: skin below the brows."""
    points = canonical_in_map()[:, :2]
    mask = _filled(points, OVAL, 0) * cv2.erode(_filled(points, OVAL, 0), np.ones((7, 7)))
    mask[: round(ORIGIN[1] + 0.05 * PIXELS_PER_EYE_DISTANCE)] = 0
    for eye in EYES.values():
        outline = [eye.corners[0], *eye.upper_lid, eye.corners[1], *eye.lower_lid[::-1]]
        mask *= 1 - _filled(points, outline, 7)
    mask *= 1 - _filled(points, [*UPPER_LIP[0], *LOWER_LIP[0][-2:0:-1]], 5)
    return cv2.GaussianBlur(mask, (0, 0), 1.5)[..., None]


def _filled(points: npt.NDArray[np.float64], outline: object, grow: int) -> Maps:
    mask = np.zeros((PIXELS, PIXELS), np.float32)
    cv2.fillPoly(mask, [np.round(points[list(outline)]).astype(np.int32)], 1.0)  # type: ignore[call-overload]
    return cv2.dilate(mask, np.ones((grow, grow))) if grow else mask


def drawn_creases() -> Maps:
    """Return the change that drawn creases make, for comparison."""
    image = np.full((PIXELS, PIXELS, 3), 160, np.uint8)
    region = Region(0, 0, PIXELS, PIXELS, 1.0)
    smile, points = expression({"12": 1.0, "6": 0.7}), canonical_in_map()[:, :2]
    draw_wrinkles(image, points, smile, PIXELS_PER_EYE_DISTANCE, region, 2.0)
    return detail(image) - detail(np.full_like(image, 160))


def explained(change: Maps, guess: Maps) -> float:
    """Return the share of a change that a guess explains, at its best strength."""
    best = float((change * guess).sum() / max(float((guess**2).sum()), 1e-9))
    return 1 - float(((change - best * guess) ** 2).sum() / (change**2).sum())


if __name__ == "__main__":
    main()
