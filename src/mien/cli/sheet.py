"""A picture of all emotions: ``mien emotions --sheet``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from mien.cli.console import progress_bar
from mien.cli.demo import DEMO_FACES, demo_file
from mien.emotion.request import NAMES, Emotion
from mien.media.frame import RGBImage
from mien.media.output import STILL_SUFFIXES, check_output
from mien.media.still import write_still
from mien.pipelines.mesh_preview import MeshPreview

_COLUMNS: Final = 7
_TILE: Final = 320
_CAPTION: Final = 34
_GREY: Final = (60, 60, 60)
_MARGIN: Final = 0.45
"""What is shown around a face, its own sizes."""


def write_sheet(path: Path, picture: Path | None, *, overwrite: bool) -> None:
    """Draw every emotion on the largest face of a picture, with its name below.

    Args:
        path: picture to write.
        picture: with the face; None for a face of the demo.
        overwrite: whether an existing ``path`` may be replaced.

    Raises:
        InputError: for an input or output that cannot be used.
        FaceNotFoundError: when the picture shows nobody.
    """
    inputs = [] if picture is None else [picture]
    check_output(path, inputs=inputs, overwrite=overwrite, suffixes=STILL_SUFFIXES)
    with ExitStack() as stack:
        source = picture or stack.enter_context(demo_file(DEMO_FACES[0]))
        preview = stack.enter_context(MeshPreview(source))
        progress = stack.enter_context(progress_bar("Drawing"))
        tiles = []
        for done, name in enumerate(NAMES, 1):
            drawn = preview(Emotion(((name, 1.0),)))
            tiles.append(_captioned(_around_face(drawn, preview.faces()), name))
            if progress is not None:
                progress(done, len(NAMES))
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % _COLUMNS)
    rows = [np.hstack(tiles[at : at + _COLUMNS]) for at in range(0, len(tiles), _COLUMNS)]
    write_still(path, np.vstack(rows))


def _around_face(image: RGBImage, faces: list[tuple[float, float, float, float]]) -> RGBImage:
    """Return a square around the largest face."""
    left, top, right, bottom = max(faces, key=lambda box: box[2] - box[0])
    side = round((1 + 2 * _MARGIN) * max(right - left, bottom - top))
    corner = (round((left + right - side) / 2), round((top + bottom - side) / 2))
    height, width = image.shape[:2]
    side = min(side, height, width)
    x, y = (min(max(0, at), of - side) for at, of in zip(corner, (width, height), strict=True))
    return image[y : y + side, x : x + side]


def _captioned(image: RGBImage, name: str) -> RGBImage:
    size = cv2.resize(image, (_TILE, _TILE), interpolation=cv2.INTER_AREA)
    caption: RGBImage = np.full((_CAPTION, _TILE, 3), 255, np.uint8)
    (width, _), _ = cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, 0.7, 1)
    at = ((_TILE - width) // 2, 24)
    cv2.putText(caption, name, at, cv2.FONT_HERSHEY_SIMPLEX, 0.7, _GREY, 1, cv2.LINE_AA)
    return np.vstack([size, caption])
