"""Reports and results as notebooks show them: before and after, and what was done.

The HTML needs no network and no script; the line between the pictures is dragged by the corner of
the left one, which browsers offer for any box with ``resize``.
"""

from __future__ import annotations

from base64 import b64encode
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2

from mien.errors import MienError
from mien.media.frame import RGBImage, to_8_bits

if TYPE_CHECKING:
    from mien.pipelines.report import Report

_LONGEST_SIDE: Final = 512
_QUALITY: Final = 88
_CAPTION: Final = (
    "position:absolute;top:6px;font:12px sans-serif;color:#fff;background:#0008;padding:1px 6px"
)
_AFTER_SECONDS: Final = 1.5
"""Time of the frame that stands for a clip: the emotion shows fully there."""


def report_html(report: Report) -> str:
    """Return a report as HTML: before and after where both files are there, and a table."""
    return before_and_after(_picture_of(report.input), _picture_of(report.output)) + _table(report)


def result_html(before: RGBImage | None, after: RGBImage, report: Report | None) -> str:
    """Return a result in memory as HTML; ``report`` is None while the work is not over."""
    return before_and_after(before, after) + ("" if report is None else _table(report))


def before_and_after(before: RGBImage | None, after: RGBImage | None) -> str:
    """Return two pictures of one size over each other, with a line that can be dragged.

    Where the sizes differ they stand side by side; where one is missing the other stands alone.
    """
    if before is None or after is None:
        only = after if after is not None else before
        return "" if only is None else f"<p>{_image(only, 'after')}</p>"
    if before.shape != after.shape:
        return f"<p>{_image(before, 'before')} {_image(after, 'after')}</p>"
    height, width = _shown_size(after)
    cover = f"position:absolute;top:0;left:0;height:{height}px;"
    return (
        f'<div style="position:relative;width:{width}px;height:{height}px">'
        f'<div style="{cover}width:{width}px">{_image(after, "after")}'
        f'<span style="{_CAPTION};right:6px">after</span></div>'
        f'<div style="{cover}width:{width // 2}px;max-width:{width}px;overflow:hidden;'
        f'resize:horizontal;border-right:2px solid #fff">{_image(before, "before")}'
        f'<span style="{_CAPTION};left:6px">before</span></div></div>'
    )


def _table(report: Report) -> str:
    """Return what a report says, one row per fact."""
    rows: dict[str, Any] = {
        "file": report.output,
        "emotion": _emotion(report.emotion),
        "people": report.faces,
        "length": f"{report.frames} frames, {report.seconds:.2f} s" if report.seconds else None,
        "engine": report.engine,
        "encoding": report.encoding,
        "speed": report.speed if report.seconds else None,
        "marked as edited": "yes" if report.provenance.wanted else "no",
        "warnings": "; ".join(report.warnings),
    }
    cells = "".join(
        f'<tr><th style="text-align:left">{name}</th><td style="text-align:left">'
        f"{escape(str(value))}</td></tr>"
        for name, value in rows.items()
        if value not in (None, "")
    )
    return f"<table>{cells}</table>"


def _emotion(described: Any) -> str:  # noqa: ANN401 - a description, nested
    if "timeline" in described:
        entries = (f"{key['at']:g} s: {_emotion(key)}" for key in described["timeline"])
        return "; ".join(entries)
    named = [f"{name} {strength:g}" for name, strength in described["labels"].items()]
    named += [f"AU{name} {strength:g}" for name, strength in described["action_units"].items()]
    named += [f"{look['name']} {look['strength']:g}" for look in described["looks"]]
    factor = described["intensity"]
    return ", ".join(named) + ("" if factor == 1 else f" (x {factor:g})")


def _picture_of(path: Path | None) -> RGBImage | None:
    """Return the picture in a file, or a frame of a clip; None where it is gone."""
    from mien.media.read import VideoReader
    from mien.media.still import is_still, read_still

    if path is None:
        return None
    try:
        if is_still(path):
            return read_still(path)
        with VideoReader(path) as reader:
            return reader.frame_at(_AFTER_SECONDS).image
    except (MienError, OSError):  # moved or removed since
        return None


def _shown_size(image: RGBImage) -> tuple[int, int]:
    height, width = image.shape[:2]
    scale = min(1.0, _LONGEST_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _image(image: RGBImage, name: str) -> str:
    height, width = _shown_size(image)
    small = cv2.resize(to_8_bits(image), (width, height), interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return (
        f'<img alt="{name}" width="{width}" height="{height}" style="max-width:none" '
        f'src="data:image/jpeg;base64,{b64encode(data.tobytes()).decode()}">'
    )
