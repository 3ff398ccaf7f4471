"""Variations of pictures: what cameras, light, codecs, hands and hats do."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from mien.face.crop import Crop
from mien.media.frame import RGBImage
from mien.training.tracker.material import Pictures

_BORDERS: Final = (cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101)


def jitter(crop: Crop, rng: np.random.Generator, *, loose: bool) -> Crop:
    """A crop that is a little off, as one from the last frame is, or far off.

    Loose: turned by up to 45 degrees, shifted by up to an eighth, scaled by up to a third.
    """
    if loose:
        angle, grow = rng.uniform(-np.pi / 4, np.pi / 4), rng.uniform(-0.29, 0.29)
        dx, dy = rng.uniform(-0.12, 0.12, 2)
    else:
        angle, grow = rng.normal(0, 0.08), rng.normal(0, 0.05)
        dx, dy = rng.normal(0, 0.03, 2)
    return Crop(
        crop.x + float(dx) * crop.side,
        crop.y + float(dy) * crop.side,
        crop.side * float(np.exp(grow)),
        crop.angle + float(angle),
        crop.mirrored,
    )


def cut_over(
    image: RGBImage, crop: Crop, pixels: int, rng: np.random.Generator, pictures: Pictures
) -> RGBImage:
    """The crop; outside ``image`` there is black, a colour, its edge, or another picture."""
    matrix = crop.matrix(pixels)
    size = (pixels, pixels)
    kind = rng.integers(5)
    if kind < 2:
        colour = (0, 0, 0) if kind == 0 else tuple(int(v) for v in rng.integers(0, 256, 3))
        return cv2.warpAffine(image, matrix, size, borderValue=colour)
    if kind < 4:
        return cv2.warpAffine(image, matrix, size, borderMode=_BORDERS[kind - 2])
    under = patch(pictures, pixels, rng)
    return cv2.warpAffine(image, matrix, size, dst=under.copy(), borderMode=cv2.BORDER_TRANSPARENT)


def patch(pictures: Pictures, pixels: int, rng: np.random.Generator) -> RGBImage:
    """A square of any picture, ``uint8 (pixels, pixels, 3)``."""
    picture = pictures.draw(rng)
    height, width = picture.shape[:2]
    side = int(min(height, width) * rng.uniform(0.3, 1))
    x, y = int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1))
    part = picture[y : y + side, x : x + side]
    how = cv2.INTER_AREA if side > pixels else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(part), (pixels, pixels), interpolation=how)


def occlude(image: RGBImage, rng: np.random.Generator, pictures: Pictures) -> RGBImage:
    """Something in front of the face: an ellipse or a bar, plain or of another picture."""
    side = image.shape[0]
    mask = np.zeros((side, side), np.uint8)
    x, y = rng.uniform(0, side, 2)
    if rng.random() < 0.5:
        axes = (int(rng.uniform(0.06, 0.28) * side), int(rng.uniform(0.06, 0.28) * side))
        cv2.ellipse(mask, (int(x), int(y)), axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    else:
        angle, thick = rng.uniform(0, np.pi), int(rng.uniform(0.03, 0.2) * side) + 1
        dx, dy = np.cos(angle) * side * 0.4, np.sin(angle) * side * 0.4
        ends = (int(x - dx), int(y - dy)), (int(x + dx), int(y + dy))
        cv2.line(mask, *ends, 1, thick)
    if rng.random() < 0.5:
        image[mask > 0] = rng.integers(0, 256, 3)
    else:
        cv2.copyTo(patch(pictures, side, rng), mask, image)
    return image


def photograph(image: RGBImage, rng: np.random.Generator) -> RGBImage:
    """Light, colour, blur, small size, noise and compression."""
    side = image.shape[0]
    chance = rng.random(8)
    if chance[0] < 0.3:  # taken small, shown large
        small = max(8, int(side / np.exp(rng.uniform(0, 1.3))))
        down = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        image = cv2.resize(down, (side, side), interpolation=cv2.INTER_LINEAR)
    if chance[1] < 0.2:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 0.02 * side)))
    elif chance[1] < 0.3:
        image = _smeared(image, rng)
    light = _light(rng, dark=bool(chance[2] < 0.08))
    image = cv2.LUT(image, light)
    if chance[3] < 0.15:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        image = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
    if chance[4] < 0.25:
        grain = rng.standard_normal((side, side), np.float32) * np.float32(rng.uniform(1, 12))
        noise = cv2.cvtColor(grain, cv2.COLOR_GRAY2RGB)
        image = cv2.add(image, noise, dtype=cv2.CV_8U)
    if chance[5] < 0.3:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(15, 85))]
        packed = cv2.imencode(".jpg", image, quality)[1]
        image = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return image


def _smeared(image: RGBImage, rng: np.random.Generator) -> RGBImage:
    """Motion blur."""
    length = int(rng.integers(3, max(4, image.shape[0] // 14)))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    middle = (length - 1) / 2
    dx, dy = np.cos(angle) * middle, np.sin(angle) * middle
    ends = (
        (round(middle - dx), round(middle - dy)),
        (round(middle + dx), round(middle + dy)),
    )
    cv2.line(kernel, *ends, 1.0)
    return cv2.filter2D(image, -1, kernel / kernel.sum())


def _light(rng: np.random.Generator, *, dark: bool) -> RGBImage:
    """A table of tone for each channel, ``uint8 (256, 1, 3)``."""
    level = np.linspace(0, 1, 256)[:, None]
    gamma = np.exp(rng.normal(0, 0.25) + (rng.uniform(0.3, 0.9) if dark else 0))
    contrast = np.exp(rng.normal(0, 0.2))
    colour = np.exp(rng.normal(0, 0.12, 3))
    out = (level**gamma - 0.5) * contrast * colour + 0.5 + rng.normal(0, 0.08)
    if dark:
        out = out * rng.uniform(0.15, 0.6)
    return (np.clip(out, 0, 1) * 255).astype(np.uint8)[:, None]
