"""Read and write still images: PNG, JPEG, WebP; upright, RGB, 8 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import cv2
import numpy as np

from mien.errors import InputError, OutputError
from mien.media.container import MAX_PIXELS, existing_file, open_container
from mien.media.frame import RGBImage
from mien.media.output import STILL_SUFFIXES, whole_file
from mien.media.size import check_size

_SIGNATURES: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_JPEG_QUALITY: Final = 95
_MAX_SIDE: Final = 32_767


def is_still(path: Path) -> bool:
    """Return whether a file is a still image, by its content: PNG, JPEG or WebP.

    Raises:
        InputError: when the file cannot be opened, or is named like an image and has neither an
            image nor a video in it.
    """
    with existing_file(path).open("rb") as file:
        head = file.read(16)
    if head.startswith(_SIGNATURES) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP"):
        return True
    if path.suffix.lower() in STILL_SUFFIXES:
        with open_container(path) as container:
            if container.format.name.endswith("_pipe"):  # an image, by its first bytes
                raise _damaged(path)
    return False


def read_still(path: str | Path, max_pixels: int = MAX_PIXELS) -> RGBImage:
    """Read an image as RGB ``uint8 (H, W, 3)``, upright; a corrupt EXIF block is ignored.

    Grey becomes RGB, 16 bits become 8, transparency is blended over white.

    Raises:
        InputError: when there is no such file, it cannot be decoded or has more than
            ``max_pixels`` pixels.
    """
    path = Path(path)
    check_size(path, max_pixels)
    data = np.fromfile(path, np.uint8)
    try:
        # OpenCV applies the EXIF orientation, but not to IMREAD_UNCHANGED, which has the alpha.
        image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
        stored, kinds, blocks = cv2.imdecodeWithMetadata(data, cv2.IMREAD_UNCHANGED)
        if image is None or stored is None or stored.ndim != 3 or stored.shape[2] != 4:
            alpha = None
        else:  # as a grey image with the same EXIF block, the alpha is turned upright as well
            grey = np.ascontiguousarray(stored[..., 3])
            _, data = cv2.imencodeWithMetadata(".png", grey, kinds, blocks)
            alpha = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise _damaged(path) from error
    if image is None:
        raise _damaged(path)
    if alpha is None or alpha.shape != image.shape[:2]:
        return image
    share = alpha[..., None].astype(np.float32) / np.iinfo(alpha.dtype).max
    return np.round(image * share + 255 * (1 - share)).astype(np.uint8)


def write_still(path: str | Path, image: RGBImage) -> None:
    """Write an image completely or not at all; the suffix selects the format.

    Raises:
        OutputError: when it cannot be encoded or written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if suffix in (".jpg", ".jpeg") else []
    if suffix == ".webp":
        options = [cv2.IMWRITE_WEBP_QUALITY, _JPEG_QUALITY]
    if max(image.shape[:2]) > _MAX_SIDE:
        raise OutputError(
            f"An image of {image.shape[1]}x{image.shape[0]} is too large for {suffix}."
        )
    try:
        done, data = cv2.imencode(suffix, image[..., ::-1], options)
    except cv2.error as error:
        raise OutputError(f"{path} could not be encoded ({error.err}).") from error
    if not done:
        raise OutputError(f"{path} could not be encoded as {suffix}.")
    with whole_file(path) as temporary:
        temporary.write_bytes(data.tobytes())


def _damaged(path: Path) -> InputError:
    return InputError(f"{path} is damaged: it cannot be decoded as an image.")
