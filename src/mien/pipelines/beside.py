"""Put a clip or picture and its edit side by side, to compare them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mien.media.frame import ArrayPicture, RGBImage
from mien.media.read import VideoInfo, VideoReader
from mien.media.still import is_still, read_still, write_still
from mien.media.write import VideoWriter
from mien.provenance.claim import SourceType


def write_beside(original: Path, edited: Path, output: Path, max_pixels: int) -> None:
    """Write ``original`` left of ``edited``, with the sound of the edit, in 8 bits.

    The mark in the edited faces and the metadata say what it is; a Content Credential, which says
    what was made of which file, belongs to the edit alone.

    Args:
        original: the input of an edit.
        edited: its result, with the same frames.
        output: file to write; replaced if it exists.
        max_pixels: largest width x height of the inputs.

    Raises:
        InputError, OutputError: when one cannot be read or written.
    """
    if is_still(original):
        left, right = (read_still(path, max_pixels) for path in (original, edited))
        write_still(output, _joined(left, right), add_xmp=SourceType.EDITED.add_to_xmp)
        return
    with VideoReader(original, max_pixels) as before, VideoReader(edited, max_pixels) as after:
        first = after.frame_at(0).image
        info = VideoInfo.new(edited, _joined(first, first), after.info.rate, after.info.frames or 1)
        comment = SourceType.EDITED.add_to_comment
        with VideoWriter(
            output, info, audio_from=edited, overwrite=True, add_comment=comment
        ) as writer:
            for one, other in zip(before, after, strict=False):
                writer.write(ArrayPicture(_joined(one.image, other.image)), other.time)


def _joined(left: RGBImage, right: RGBImage) -> RGBImage:
    """Return two pictures of one size beside each other, with even sides."""
    height, width = min(left.shape[0], right.shape[0]), min(left.shape[1], right.shape[1])
    rows = slice(height // 2 * 2 or 1)
    return np.ascontiguousarray(np.hstack((left[rows, :width], right[rows, :width])))
