"""Export a finished training as the appearance net and its donors in ``src/mien/assets``.

mien train appearance --config configs/appearance.toml --data DATA -o runs/appearance
python tools/make_appearance_assets.py runs/appearance
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.engines.mesh.appearance import (
    PIXELS_PER_EYE_DISTANCE,
    Exemplar,
    inside,
)
from mien.training.appearance.data import Mouths, open_mouths
from mien.training.appearance.net import AppearanceNet, NetSpec, export_net
from mien.training.trainer import read_net

ASSETS = Path(__file__).parent.parent / "src" / "mien" / "assets"

_DONORS: Final = 12
_SHARED: Final = "london"
"""The pictures whose licence allows to pass on parts of them, with credit (CC BY 4.0)."""

_GAPS: Final = (0.10, 0.28)
_LEAST_TEETH: Final = 0.45
_MOST_YELLOW: Final = 0.8
"""Red by blue in the teeth, relative to the skin's: light can explain no more."""

_MARGIN: Final = 2.0
"""Pixels around the inside that are kept."""


_CONTRAST: Final = 2.0
"""The fit explains a third of the variance and stays near the mean; a mouth between dark and toothy
looks like neither."""


def main() -> None:
    """Export the run named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cache", type=Path, help="where the training put the decoded mouths")
    parser.add_argument("--assets", type=Path, default=ASSETS)
    arguments = parser.parse_args()
    mouths = open_mouths(arguments.cache or arguments.run / "cache")
    net = read_net(arguments.run / "net.pt", lambda spec: AppearanceNet(NetSpec(**spec)))
    print(f"{export_net(net, arguments.assets).stat().st_size / 1e6:.2f} MB")
    np.savez_compressed(
        arguments.assets / "appearance.npz", **_donors(mouths), style=_style(mouths)
    )


def _donors(mouths: Mouths) -> dict[str, npt.NDArray[np.generic]]:
    """Return mouths with teeth, spread over the brightness of the skin and mirrored in turn."""
    good = (mouths.source == _SHARED) & ~mouths.held_out & (mouths.style[:, 1] > _LEAST_TEETH)
    good &= (mouths.gap > _GAPS[0]) & (mouths.gap < _GAPS[1])
    found, examples = [], []
    for i in np.flatnonzero(good):
        example = Exemplar.of(mouths.target[i], mouths.outline[i])
        if _yellow(example) < _MOST_YELLOW:
            found.append(i)
            examples.append(example)
    order = np.argsort([example.skin.mean() for example in examples])
    chosen = order[np.linspace(0, len(order) - 1, min(_DONORS, len(order))).astype(int)]
    images = []
    for k in chosen:
        mask = inside(examples[k].outline, _MARGIN)[..., None]
        images.append(np.round(examples[k].image * mask).astype(np.uint8))
    return {
        "image": np.array(images),
        "outline": np.array([examples[k].outline for k in chosen]),
        "skin": np.array([examples[k].skin for k in chosen]),
        "yaw": mouths.yaw[[found[k] for k in chosen]],
    }


def _yellow(example: Exemplar) -> float:
    pixels = example.image[inside(example.outline) > 0.5]
    teeth = pixels[pixels.mean(1) > np.percentile(pixels.mean(1), 60)].mean(0)
    return float(teeth[0] / teeth[2] / (example.skin[0] / example.skin[2]))


def _style(mouths: Mouths) -> npt.NDArray[np.float64]:
    """Fit the fractions of dark and of teeth, linear in 1 and in gap and width of the mouth."""
    use = ~mouths.held_out & (mouths.source != "still")
    width = np.ptp(mouths.outline[use, :, 0], axis=1) / PIXELS_PER_EYE_DISTANCE
    shape = np.column_stack([np.ones(use.sum()), mouths.gap[use], width])
    weight = np.sqrt(mouths.share[use])[:, None]
    styles = mouths.style[use]
    fit = np.linalg.lstsq(shape * weight, styles * weight, rcond=None)[0]
    mean = np.average(styles, axis=0, weights=mouths.share[use])
    out: npt.NDArray[np.float64] = _CONTRAST * fit.T
    out[:, 0] += (1 - _CONTRAST) * mean
    return out


if __name__ == "__main__":
    main()
