"""Read and write still images with their depth, transparency and metadata."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.errors import InputError, OutputError
from mien.media import tiff
from mien.media.container import MAX_PIXELS, existing_file, open_container
from mien.media.frame import ArrayPicture, Picture, RGBImage, RGBWindow, to_8_bits
from mien.media.heif import BROKEN, Items, read_heic
from mien.media.kinds import image_kind, png_xmp, with_png_xmp
from mien.media.output import IMAGE_SUFFIXES, Finish, whole_file
from mien.media.planes import Orientation
from mien.media.size import check_size
from mien.utils.text import shown

Samples = npt.NDArray[Any]

_QUALITY: Final = 95
_BAND_ROWS: Final = 256
_LARGEST_SIDE: Final = {".webp": 16_383, ".jpg": 65_500, ".jpeg": 65_500}
_ORIENTATIONS: Final = {
    2: Orientation(0, True),
    3: Orientation(2),
    4: Orientation(2, True),
    5: Orientation(3, True),
    6: Orientation(1),
    7: Orientation(1, True),
    8: Orientation(3),
}
"""How to turn a picture upright, by EXIF's number."""

_TIFF_ALPHA: Final = {"rgba": "rgba", "ya8": "rgba", "ya16le": "rgba64le", "ya16be": "rgba64le"}
"""FFmpeg's formats that OpenCV does not read exactly, and how they are read."""

_XMP_HEADER: Final = b"http://ns.adobe.com/xap/1.0/\0"
_EXIF, _XMP, _PROFILE = cv2.IMAGE_METADATA_EXIF, cv2.IMAGE_METADATA_XMP, cv2.IMAGE_METADATA_ICCP


@dataclass(frozen=True, slots=True)
class Metadata:
    """What describes a picture, as bytes; empty where it is not there.

    Attributes:
        exif: EXIF block.
        xmp: XMP packet.
        profile: ICC colour profile.
    """

    exif: bytes = b""
    xmp: bytes = b""
    profile: bytes = b""


@dataclass(frozen=True, slots=True)
class Still(ArrayPicture):
    """A picture out of a file.

    Attributes:
        alpha: opacity ``(H, W)`` of the type of ``array``, whose colours are not multiplied by it;
            None where the file has none.
        gray: whether the file holds no colours.
        lossless: whether the file stores its pixels exactly.
        metadata: what describes it, made for an upright picture.
        notes: what of the file was not read.
    """

    alpha: Samples | None = None
    gray: bool = False
    lossless: bool = True
    metadata: Metadata = Metadata()
    notes: tuple[str, ...] = ()

    @property
    def lost_in_clips(self) -> tuple[str, ...]:
        """What a clip made from the picture does not have, as warnings."""
        blended = "Transparency was blended over white: clips made from pictures have none."
        return (*self.notes, *((blended,) if self.translucent else ()))

    @property
    def translucent(self) -> bool:
        """Whether any pixel is not opaque."""
        return self.alpha is not None and int(self.alpha.min()) < np.iinfo(self.alpha.dtype).max


@dataclass(frozen=True, slots=True)
class _Format:
    """What a kind of output holds: transparency, grey, bits per sample, metadata."""

    alpha: bool = True
    gray: bool = True
    bits: int = 8
    metadata: tuple[str, ...] = ("exif", "xmp", "profile")


_FORMATS: Final = {
    ".png": _Format(bits=16),
    ".jpg": _Format(alpha=False),
    ".jpeg": _Format(alpha=False),
    ".webp": _Format(gray=False),
    ".bmp": _Format(alpha=False, metadata=()),
    ".tif": _Format(bits=16, metadata=("xmp", "profile")),
    ".tiff": _Format(bits=16, metadata=("xmp", "profile")),
    ".avif": _Format(bits=12, metadata=("exif",)),
}
_NAMES: Final = {"exif": "EXIF", "xmp": "XMP", "profile": "colour profile"}


def is_still(path: Path) -> bool:
    """Return whether a file is a single image, by its content.

    Animations and raw Motion JPEG are videos.

    Raises:
        InputError: when the file cannot be opened, or is named like an image and has neither an
            image nor a video in it.
    """
    kind = image_kind(existing_file(path))
    if kind is not None:
        return kind.still
    if path.suffix.lower() in IMAGE_SUFFIXES:
        with open_container(path) as container:
            if container.format.name.endswith("_pipe"):  # an image, by its first bytes
                raise _damaged(path)
    return False


def read_still(path: str | Path, max_pixels: int = MAX_PIXELS) -> RGBImage:
    """Read an image as RGB ``uint8 (H, W, 3)``, upright, transparency blended over white.

    Raises:
        InputError: as :func:`open_still`.
    """
    return opaque(open_still(path, max_pixels))


def open_still(path: str | Path, max_pixels: int = MAX_PIXELS) -> Still:
    """Read an image, upright; the first picture of an animation. Corrupt metadata are ignored.

    Raises:
        InputError: when there is no such file, it cannot be decoded or has more than
            ``max_pixels`` pixels.
    """
    kind = image_kind(existing_file(path))
    path, name = Path(path), "" if kind is None else kind.name
    if name == "BigTIFF":
        raise InputError(
            f"{shown(path)} is a BigTIFF, which is not read; convert it to TIFF or PNG."
        )
    check_size(path, max_pixels)
    if name == "HEIC":
        heic = read_heic(path, max_pixels)
        metadata = Metadata(tiff.upright_exif(heic.exif), heic.xmp, heic.profile)
        return Still(heic.array, lossless=False, metadata=metadata)
    data = path.read_bytes()
    try:
        image, kinds, blocks = cv2.imdecodeWithMetadata(
            np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED
        )
    except cv2.error as error:
        raise _damaged(path) from error
    if image is None:
        raise _damaged(path)
    found = {
        int(kind): np.ravel(block).tobytes() for kind, block in zip(kinds, blocks, strict=True)
    }
    exif, xmp = found.get(_EXIF, b""), found.get(_XMP, b"").removeprefix(_XMP_HEADER)
    profile = found.get(_PROFILE, b"")
    turn = tiff.number_tag(exif, tiff.ORIENTATION, 1)
    notes: tuple[str, ...] = ()
    if name == "PNG":
        xmp = png_xmp(data)
    if name == "TIFF":
        if tiff.number_tag(data, tiff.SUBFILE, 0) & 1:
            raise InputError(
                f"{shown(path)} is a camera's raw file; convert it to a 16-bit TIFF or PNG."
            )
        if tiff.has_more_pages(data):
            notes = (f"{shown(path)} has several pages; only the first one is used.",)
        if tiff.number_tag(data, tiff.SAMPLES, 1) in (2, 4):
            image = _tiff_with_alpha(path, image)
        tags = tiff.read_tags(data)
        xmp, profile = (tags.get(tag, (0, b""))[1] for tag in (tiff.XMP, tiff.PROFILE))
        turn = 1  # OpenCV has done it
    if name == "AVIF":
        try:
            items = Items(data)
            image, profile, xmp = items.upright(_deepened(image, data)), items.profile, items.xmp
        except BROKEN as error:
            raise _damaged(path) from error
        turn = 1
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"{shown(path)} holds numbers of {image.dtype}; convert it to 16-bit integers."
        )
    lossless = name in ("PNG", "BMP", "TIFF", "GIF") or (name == "WebP" and b"VP8L" in data[:64])
    image = _ORIENTATIONS.get(turn, Orientation()).upright(image)
    metadata = Metadata(tiff.upright_exif(exif), xmp, profile)
    return replace(_still(np.ascontiguousarray(image), lossless, metadata), notes=notes)


def opaque(still: Still) -> RGBImage:
    """Return the picture over white in 8 bits."""
    return to_8_bits(_over_white(still) if still.translucent else still.array)


def holds_xmp(suffix: str) -> bool:
    """Return whether a written image of this kind holds an XMP packet."""
    return "xmp" in _FORMATS[suffix.lower()].metadata


def write_still(
    path: str | Path,
    image: Picture | RGBWindow,
    *,
    add_xmp: Callable[[bytes], bytes] | None = None,
    finish: Finish | None = None,
) -> tuple[str, ...]:
    """Write an image completely or not at all; the suffix selects the format.

    Args:
        path: output.
        image: what it shows.
        add_xmp: makes the XMP packet, where the format holds one, out of the picture's own.
        finish: as in :func:`mien.media.output.whole_file`.

    Returns:
        What the format cannot hold, as warnings.

    Raises:
        OutputError: when it cannot be encoded or written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    still = image if isinstance(image, Still) else Still(_array(image))
    if max(still.width, still.height) > _LARGEST_SIDE.get(suffix, 2**31):
        raise OutputError(f"An image of {still.width}x{still.height} is too large for {suffix}.")
    fitted, warnings = _fitted(still, suffix)
    if add_xmp is not None and holds_xmp(suffix):
        xmp = add_xmp(fitted.metadata.xmp)
        fitted = replace(fitted, metadata=replace(fitted.metadata, xmp=xmp))
    data = _encoded(fitted, suffix)
    if data is None and fitted.metadata.profile:
        fitted = replace(fitted, metadata=replace(fitted.metadata, profile=b""))
        data, warnings = (
            _encoded(fitted, suffix),
            [*warnings, _not_kept([_NAMES["profile"]], suffix)],
        )
    if data is None:
        raise OutputError(f"{path} could not be encoded as {suffix}.")
    with whole_file(path, finish) as temporary:
        temporary.write_bytes(data)
    return (*still.notes, *warnings)


def _still(image: Samples, lossless: bool, metadata: Metadata) -> Still:
    """Return what OpenCV has decoded: grey, or blue, green, red and perhaps alpha."""
    if image.ndim == 2 or image.shape[2] == 1:
        gray = image.reshape(image.shape[:2])
        array = cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)
        return Still(array, gray=True, lossless=lossless, metadata=metadata)
    alpha = np.ascontiguousarray(image[..., 3]) if image.shape[2] == 4 else None
    array = cv2.cvtColor(np.ascontiguousarray(image[..., :3]), cv2.COLOR_BGR2RGB)
    return Still(array, alpha=alpha, lossless=lossless, metadata=metadata)


def _tiff_with_alpha(path: Path, image: Samples) -> Samples:
    """Decode a TIFF file with FFmpeg: OpenCV multiplies colours by alpha, or drops alpha."""
    import av

    try:
        with open_container(path) as container:
            frame = next(container.decode(video=0))
            if frame.format.name not in _TIFF_ALPHA:
                return image
            rgba = frame.to_ndarray(format=_TIFF_ALPHA[frame.format.name])
            stored = cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA)
    except (av.FFmpegError, StopIteration, InputError):
        return image
    turn = tiff.number_tag(path.read_bytes(), tiff.ORIENTATION, 1)
    return _ORIENTATIONS.get(turn, Orientation()).upright(stored)


def _deepened(image: Samples, data: bytes) -> Samples:
    """Scale the 10 or 12 bits of an AVIF picture to 16."""
    if image.dtype != np.uint16:
        return image
    at = data.find(b"av1C")
    peak = 4095 if at >= 0 and data[at + 6] & 0x20 else 1023
    return ((image.astype(np.uint32) * 65535 + peak // 2) // peak).astype(np.uint16)


def _array(image: Picture | RGBWindow) -> RGBWindow:
    return image.read(image.box) if isinstance(image, Picture) else image


def _fitted(still: Still, suffix: str) -> tuple[Still, list[str]]:
    """Return what the format of ``suffix`` holds of a picture, and what is lost."""
    form, warnings = _FORMATS[suffix], []
    if still.alpha is not None and not form.alpha:
        if still.translucent:
            warnings.append(f"Transparency was blended over white: {suffix} cannot hold it.")
            still = replace(still, array=_over_white(still))
        still = replace(still, alpha=None)
    if still.array.dtype == np.uint16 and form.bits < 16:
        warnings.append(f"{suffix} takes {form.bits} bits per sample; the input has 16.")
        if form.bits == 8:
            alpha = None if still.alpha is None else to_8_bits(still.alpha)
            still = replace(still, array=to_8_bits(still.array), alpha=alpha)
    kept = {}
    space = b"GRAY" if still.gray and form.gray and still.alpha is None else b"RGB "
    for name in _NAMES:
        value = getattr(still.metadata, name)
        fits = name in form.metadata and (name != "profile" or value[16:20] == space)
        kept[name] = value if fits else b""
    lost = [title for name, title in _NAMES.items() if getattr(still.metadata, name) != kept[name]]
    if lost:
        warnings.append(_not_kept(lost, suffix))
    return replace(still, metadata=Metadata(**kept)), warnings


def _not_kept(names: list[str], suffix: str) -> str:
    return f"{suffix} cannot hold the input's {', '.join(names)}."


def _over_white(still: Still) -> RGBWindow:
    alpha, array = still.alpha, still.array
    if alpha is None:
        return array
    peak, out = np.iinfo(array.dtype).max, np.empty_like(array)
    for top in range(0, len(array), _BAND_ROWS):  # in bands: floats take four times the memory
        band = slice(top, top + _BAND_ROWS)
        share = alpha[band, :, None].astype(np.float32) / peak
        out[band] = np.rint(array[band] * share + peak * (1 - share))
    return out


def _encoded(still: Still, suffix: str) -> bytes | None:
    """Return the bytes of a file; None where the encoder refuses the picture."""
    image = still.array
    if still.gray:  # what was drawn must not be coloured
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        image = gray if still.alpha is None else cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)
    if still.alpha is not None:
        image = np.dstack([image, still.alpha])
    meta = still.metadata
    if suffix in (".tif", ".tiff"):
        tags = {tiff.XMP: meta.xmp, tiff.PROFILE: meta.profile}
        return tiff.encode_tiff(image, {tag: value for tag, value in tags.items() if value})
    options = {
        ".webp": [
            cv2.IMWRITE_WEBP_LOSSLESS_MODE, cv2.IMWRITE_WEBP_LOSSLESS_PRESERVE_COLOR,
        ] if still.lossless else [cv2.IMWRITE_WEBP_QUALITY, _QUALITY],
        ".jpg": [cv2.IMWRITE_JPEG_QUALITY, _QUALITY],
        ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, _QUALITY],
        ".avif": [cv2.IMWRITE_AVIF_QUALITY, _QUALITY],
    }.get(suffix, [])  # fmt: skip
    if suffix == ".avif" and image.dtype == np.uint16:
        image = image >> 4
        options += [cv2.IMWRITE_AVIF_DEPTH, 12]
    xmp = (_XMP_HEADER if suffix in (".jpg", ".jpeg") else b"") + meta.xmp if meta.xmp else b""
    if suffix == ".png":  # OpenCV's own way is read by few others
        xmp = b""
    blocks = {_EXIF: meta.exif, _XMP: xmp, _PROFILE: meta.profile}
    found = {kind: np.frombuffer(block, np.uint8) for kind, block in blocks.items() if block}
    if image.ndim == 3:
        swap = cv2.COLOR_RGB2BGR if image.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        image = cv2.cvtColor(image, swap)
    try:
        done, data = cv2.imencodeWithMetadata(
            suffix, image, list(found), list(found.values()), options
        )
    except cv2.error:
        return None
    if not done:
        return None
    out = data.tobytes()
    return with_png_xmp(out, meta.xmp) if suffix == ".png" and meta.xmp else out


def _damaged(path: Path) -> InputError:
    return InputError(f"{shown(path)} is damaged: it cannot be decoded as an image.")
