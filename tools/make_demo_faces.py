"""Make the composite faces that ship as demo material.

Each picture is made of several people of the Face Research Lab London Set (DeBruine & Jones 2017,
figshare 5047666, CC BY 4.0). Shape, shading and colour of the face are the mean of a group. Fine
detail cannot be averaged without blur, so that it comes from single people, another one for each
part: eyes, brows, nose, mouth, skin, and head (hair, ears, neck, background). The parts are joined
in a Laplacian pyramid, so that the picture is sharp and shows nobody.

    python tools/make_demo_faces.py ../shared/data/highres src/mien/assets/demo

``tools/check_demo_faces.py`` measures how far each is from every person of the set.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from mien.face.topology import EYES, LIPS, OVAL
from mien.face.tracker import FaceTracker
from mien.media.still import read_still, write_still

Image = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]

SIZE = 704
SIDE = 512
"""Sizes of the sources and of the results, pixels."""

LEVELS = 6
OWN_LEVELS = {"skin": 3, "nose": 3, "mouth": 4, "eyes": 5, "brows": 5}
"""How many of the finest pyramid levels of each part come from one person; later ones cover
earlier ones."""

BROWS = (
    (46, 53, 52, 65, 55, 107, 66, 105, 63, 70),
    (276, 283, 282, 295, 285, 336, 296, 334, 293, 300),
)
NOSE = (6, 122, 196, 236, 198, 209, 49, 102, 64, 98, 97, 2, 326, 327, 294, 331, 279, 429, 420,
        456, 419, 351)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recipe:
    """Numbers of people in the London Set: a group, and who gives the detail of each part."""

    people: tuple[str, ...]
    head: str
    skin: str
    nose: str
    mouth: str
    eyes: str
    brows: str


RECIPES = {
    "woman": Recipe(
        ("009", "010", "014", "019", "039", "097", "124", "134", "139"),
        head="124", skin="010", nose="009", mouth="039", eyes="134", brows="014",
    ),
    "man": Recipe(
        ("043", "044", "061", "082", "096", "114", "137"),
        head="043", skin="043", nose="096", mouth="114", eyes="082", brows="114",
    ),
    "woman2": Recipe(
        ("006", "038", "064", "066", "094"),
        head="094", skin="094", nose="066", mouth="066", eyes="006", brows="038",
    ),
    "man2": Recipe(
        ("005", "024", "036", "045", "067", "119"),
        head="024", skin="005", nose="119", mouth="005", eyes="036", brows="045",
    ),
    "woman3": Recipe(
        ("025", "062", "126", "129"),
        head="129", skin="062", nose="126", mouth="025", eyes="025", brows="025",
    ),
    "man3": Recipe(
        ("012", "018", "068", "103", "104", "108", "117", "121", "130", "138", "142"),
        head="130", skin="012", nose="117", mouth="142", eyes="018", brows="103",
    ),
}  # fmt: skip


def aligned(points: Points, target: Points) -> Points:
    """Move points ``(N, 2)`` onto a target by the best similarity."""
    source, goal = (
        np.ascontiguousarray(p - p.mean(0)).view(complex)[:, 0] for p in (points, target)
    )
    turned = source * (np.vdot(source, goal) / np.vdot(source, source))
    return turned.view(float).reshape(-1, 2) + target.mean(0)


def spline(points: Points, values: Points, step: int = 4, smooth: float = 2e-4) -> Image:
    """Fit a thin-plate spline through values ``(N, 2)``; return it for every pixel."""

    def kernel(a: Points) -> Points:
        squared = ((a[:, None] - at) ** 2).sum(-1)
        return np.hstack([squared * np.log(squared + 1e-9), np.ones((len(a), 1)), a])

    at = points / SIZE
    rows = kernel(at)
    rows[:, : len(at)] += smooth * np.eye(len(at))
    constraints = np.hstack([rows[:, len(at) :].T, np.zeros((3, 3))])
    solved = np.linalg.solve(np.vstack([rows, constraints]), np.vstack([values, np.zeros((3, 2))]))
    axis = np.linspace(0, 1 - 1 / SIZE, SIZE // step + 1)
    coarse = np.array([kernel(np.stack([axis, np.full_like(axis, y)], 1)) @ solved for y in axis])
    fine = np.linspace(0, len(axis) - 1, SIZE, dtype=np.float32)
    return cv2.remap(coarse.astype(np.float32), *np.meshgrid(fine, fine), cv2.INTER_LINEAR)


def onto(image: Image, points: Points, target: Points) -> Image:
    """Warp an image from its landmarks onto ``target``; the border stays."""
    edge = np.linspace(0, SIZE - 1, 9)
    border = np.array([(x, y) for x in edge for y in edge if {x, y} & {0.0, SIZE - 1.0}])
    here, there = np.vstack([target, border]), np.vstack([points, border])
    motion = spline(here, there - here)
    axis = np.arange(SIZE, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    return cv2.remap(image, motion[..., 0] + x, motion[..., 1] + y, cv2.INTER_LANCZOS4,
                     borderMode=cv2.BORDER_REFLECT)  # fmt: skip


def soft_mask(points: Points, grow: int, blur: float) -> Image:
    """Return a mask 0..1 of the convex hull of points, grown by pixels and blurred."""
    mask = np.zeros((SIZE, SIZE), np.float32)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.round(points).astype(np.int32)), 1.0)
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grow + 1, 2 * grow + 1))
    return cv2.GaussianBlur(cv2.dilate(mask, disk), (0, 0), blur)


def part_masks(target: Points) -> dict[str, Image]:
    """Return the masks of the face (below the hair), of its parts and of the eyeballs."""

    def union(groups: Iterable[tuple[int, ...]], grow: int, blur: float) -> Image:
        return reduce(np.maximum, (soft_mask(target[list(g)], grow, blur) for g in groups))

    oval = target[list(OVAL)]
    hairline = float(0.45 * target[10, 1] + 0.55 * target[[105, 334], 1].mean())
    below = np.clip((np.arange(SIZE, dtype=np.float32)[:, None] - hairline + 20) / 40, 0, 1)
    lids = [(*eye.corners, *eye.upper_lid, *eye.lower_lid) for eye in EYES.values()]
    return {
        "face": below * soft_mask(oval.mean(0) + (oval - oval.mean(0)) * [0.90, 0.92], 0, 12),
        "nose": union([NOSE], 6, 8),
        "mouth": union([LIPS], 16, 8),
        "eyes": union(lids, 16, 6),
        "brows": union(BROWS, 14, 7),
        "eyeballs": union(lids, 0, 1.5),
    }


def pyramid(image: Image, bands: bool = True) -> list[Image]:
    """Return the Laplacian (``bands``) or the Gaussian pyramid of an image."""
    levels = [image]
    for _ in range(LEVELS):
        levels.append(cv2.pyrDown(levels[-1]))
    if bands:
        for i, upper in enumerate(levels[:-1]):
            levels[i] = upper - cv2.pyrUp(levels[i + 1], dstsize=upper.shape[1::-1])
    return levels


def matched(people: dict[str, Image], head: str, masks: dict[str, Image]) -> dict[str, Image]:
    """Match the skin of Lab images with that of ``head``; eyeballs keep their colour."""
    parts = np.max([masks[p] for p in ("eyes", "brows", "mouth")], 0)
    skin = (masks["face"] > 0.9) & (parts < 0.1)
    goal, spread = people[head][skin].mean(0), people[head][skin].std(0)
    keep = masks["eyeballs"][..., None] * np.array([0.3, 1, 1], np.float32)
    out = {}
    for name, image in people.items():
        gain = np.clip(spread / image[skin].std(0), 0.8, 1.2)
        out[name] = np.float32((image - image[skin].mean(0)) * gain + goal)
        out[name] += (image - out[name]) * keep
    return out


def compose(recipe: Recipe, sources: dict[str, tuple[Image, Points]]) -> Image:
    """Make one face, RGB 0..1 ``(SIZE, SIZE, 3)``, of Lab images and landmarks ``(478, 2)``."""
    reference = sources[recipe.head][1]
    target = np.mean([aligned(sources[p][1], reference) for p in recipe.people], 0)
    masks = part_masks(target)
    people = matched(
        {name: onto(*sources[name], target) for name in {*recipe.people, recipe.head}},
        recipe.head,
        masks,
    )
    bands = {name: pyramid(image) for name, image in people.items()}
    mean = pyramid(np.mean([people[p] for p in recipe.people], 0))
    shares = {part: pyramid(mask[..., None], bands=False) for part, mask in masks.items()}
    image = np.zeros_like(mean[-1])
    for level in range(LEVELS, -1, -1):
        face = mean[level]
        for part, count in OWN_LEVELS.items():
            own = bands[getattr(recipe, part)][level] if level < count else mean[level]
            share = shares[part][level].reshape(*face.shape[:2], 1) if part != "skin" else 1.0
            face = face + (own - face) * share
        head = bands[recipe.head][level]
        band = head + (face - head) * shares["face"][level].reshape(*face.shape[:2], 1)
        image = band if level == LEVELS else band + cv2.pyrUp(image, dstsize=band.shape[1::-1])
    return np.clip(cv2.cvtColor(image, cv2.COLOR_Lab2RGB), 0, 1)


def main(faces: Path, out: Path) -> None:
    """Write every recipe's picture."""
    out.mkdir(parents=True, exist_ok=True)
    with closing(FaceTracker(still=True, max_faces=1)) as tracker:
        for name, recipe in RECIPES.items():
            sources = {}
            for person in {*recipe.people, recipe.head}:
                image = read_still(faces / f"london_{person}_neutral.jpg")
                lab = cv2.cvtColor(np.float32(image) / 255, cv2.COLOR_RGB2Lab)
                sources[person] = lab, tracker(image)[0][:, :2].astype(np.float64)
            face = cv2.resize(compose(recipe, sources), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            write_still(out / f"{name}.jpg", np.round(face * 255).astype(np.uint8))
            print(f"{name}.jpg: {len(recipe.people)} people")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
