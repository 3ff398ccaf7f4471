"""Show a picture and its edit together: side by side, or as the halves of one picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.errors import InputError
from mien.media.frame import ArrayPicture, Frame, Picture, RGBWindow
from mien.media.planes import layout_of
from mien.media.read import VideoInfo
from mien.media.still import Still
from mien.utils.text import shown

COMPARISONS: Final = ("side", "split")
"""Side by side; or one picture, left of a line the original, right of it the edit."""

_LINE: Final = 1 / 400
"""Width of the line, widths of the picture."""


def check_comparison(kind: str | None) -> None:
    """Raise InputError for a comparison that does not exist."""
    if kind is not None and (not isinstance(kind, str) or kind not in COMPARISONS):
        raise InputError(f"A comparison is one of {', '.join(COMPARISONS)}; got {shown(kind)}.")


class Comparison:
    """Joins the frames of an edit with their originals.

    The line of a split picture goes through the middle of what changes in the first frame that
    changes, and stays there.

    Attributes:
        warnings: what a joined clip does not keep.

    Args:
        kind: one of ``COMPARISONS``.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.warnings: tuple[str, ...] = ()
        self._column: int | None = None

    def info(self, info: VideoInfo) -> VideoInfo:
        """Return the properties of the joined clip; it is progressive and has no transparency."""
        layout = info.layout
        if layout.alpha:
            self.warnings += ("Transparency is not kept in a comparison.",)
            layout = layout_of(layout.name.replace("yuva", "yuv").replace("gbrap", "gbrp"))
        width = info.width * (2 if self._kind == "side" else 1)
        return replace(info, width=width, layout=layout, interlaced=False)

    def of(self, frame: Frame) -> Picture:
        """Return what is shown of a frame."""
        edited, original = frame.picture, frame.original or frame.picture
        joined = self._joined(original.read(original.box), edited.read(edited.box))
        if not isinstance(edited, Still):
            return ArrayPicture(joined)
        alpha = edited.alpha
        if alpha is not None and self._kind == "side":
            alpha = np.hstack((alpha, alpha))
        return replace(edited, array=joined, alpha=alpha)

    def _joined(self, before: RGBWindow, after: RGBWindow) -> RGBWindow:
        if self._kind == "side":
            return side_by_side(before, after)
        if self._column is None:
            changed = np.flatnonzero((before != after).any(axis=(0, 2)))
            if not changed.size:
                return after
            self._column = int(changed[0] + changed[-1] + 1) // 2
        return _split(before, after, self._column)


def side_by_side(before: RGBWindow, after: RGBWindow) -> RGBWindow:
    """Return two pictures of one height beside each other."""
    return np.ascontiguousarray(np.hstack((before, after)))


def _split(before: RGBWindow, after: RGBWindow, column: int) -> npt.NDArray[np.uint8]:
    """Return ``before`` left of a white line at ``column`` and ``after`` right of it."""
    out = after.copy()
    out[:, :column] = before[:, :column]
    half = max(1, round(_LINE * out.shape[1])) / 2
    out[:, max(0, round(column - half)) : round(column + half)] = np.iinfo(out.dtype).max
    return out
