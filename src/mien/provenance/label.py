"""The visible label: the letters AI and what was done, in a corner of every picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np

from mien.errors import InputError
from mien.media.frame import Box, Picture, RGBImage
from mien.utils.text import shown

LANGUAGES: Final = {
    "en": ("AI edited", "AI generated"),
    "de": ("AI · mit KI bearbeitet", "AI · mit KI erzeugt"),
    "es": ("AI · editado con IA", "AI · generado con IA"),
    "fr": ("AI · modifié par IA", "AI · généré par IA"),
    "it": ("AI · modificato con IA", "AI · generato con IA"),
    "nl": ("AI · bewerkt met AI", "AI · gemaakt met AI"),
    "pl": ("AI · zmienione przez AI", "AI · stworzone przez AI"),
    "pt": ("AI · editado com IA", "AI · gerado com IA"),
}
"""Texts of an edit and of a talking portrait, by language."""

_SIZE: Final = 1 / 22
"""Height of the letters, shorter sides of the picture."""

_LEAST_PIXELS: Final = 10
_OPACITY: Final = 0.55
_WEIGHT: Final = 400
"""Of the font: 400 is regular."""


@dataclass(frozen=True, slots=True)
class Label:
    """A label for pictures of one size.

    Attributes:
        text: what it says.
        box: where it is.
        shade: share of the letters at every pixel of the box, ``float32 (h, w, 1)``.
    """

    text: str
    box: Box
    shade: np.ndarray[tuple[int, ...], np.dtype[np.float32]]

    @classmethod
    def of(cls, text: str, width: int, height: int) -> Label:
        """Lay a text out for pictures of ``width`` x ``height`` pixels, at the top left."""
        font = cv2.FontFace("sans")
        size = max(_LEAST_PIXELS, round(min(width, height) * _SIZE))
        length = cv2.getTextSize((0, 0), text, (0, 0), font, size, _WEIGHT)[2]
        size = max(1, min(size, size * (width - 2 * size) // max(1, length)))
        length = cv2.getTextSize((0, 0), text, (0, 0), font, size, _WEIGHT)[2]
        pad = max(1, round(size * 0.45))
        drawn: RGBImage = np.zeros((size + 2 * pad, length + 2 * pad, 3), np.uint8)
        baseline = (pad, pad + round(size * 0.86))
        cv2.putText(drawn, text, baseline, (255, 255, 255), font, size, _WEIGHT)
        box = Box(pad, pad, pad + drawn.shape[1], pad + drawn.shape[0])
        box = box.within(Box(0, 0, width, height))
        shade = (drawn[: box.height, : box.width, :1] / np.float32(255)).astype(np.float32)
        return cls(text, box, shade)

    def drawn_on(self, picture: Picture) -> Picture:
        """Return a picture with the label: white on a darkened field."""
        window = picture.read(self.box)
        peak = np.iinfo(window.dtype).max
        dark = window * np.float32(1 - _OPACITY)
        mixed = dark + self.shade * (np.float32(peak) - dark)
        return picture.replaced(self.box, np.rint(mixed).astype(window.dtype))


class LiveLabel:
    """A label for pictures whose sizes are not known before.

    Args:
        language: of the label; None for no label.
        created: whether the pictures were made rather than edited.

    Raises:
        InputError: for a language without a text.
    """

    def __init__(self, language: str | None, *, created: bool) -> None:
        self._text = None if language is None else label_text(language, created=created)
        self._laid_out = lru_cache(maxsize=1)(Label.of)

    def drawn_on(self, picture: Picture) -> Picture:
        """Return a picture with the label, where there is one."""
        if self._text is None:
            return picture
        return self._laid_out(self._text, picture.width, picture.height).drawn_on(picture)


def label_text(language: str, *, created: bool) -> str:
    """Return what a label says.

    Raises:
        InputError: for a language without a text.
    """
    if not isinstance(language, str) or language not in LANGUAGES:
        raise InputError(
            f"There is no label in {shown(language)}. Valid: {', '.join(sorted(LANGUAGES))}."
        )
    return LANGUAGES[language][created]
