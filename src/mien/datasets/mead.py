"""How the published data are laid out: emotions, people, files."""

from __future__ import annotations

from typing import Final

EMOTIONS: Final = (
    "angry", "contempt", "disgusted", "fear", "happy", "neutral", "sad", "surprised",
)  # fmt: skip
"""MEAD's, in the order of their labels."""

TRAIN_PEOPLE: Final = (
    "M005", "M007", "M009", "M011", "M012", "M013", "M019", "M022", "M023", "M024", "M025",
    "M026-2", "M027", "M028", "M029", "M031", "M032-2", "M033", "M034", "M035", "M037", "M039",
    "M040", "M041", "M042-1", "W011", "W014", "W016", "W018", "W019", "W021-1", "W023", "W024",
    "W025", "W026", "W028", "W029", "W033", "W035", "W036", "W037", "W038", "W040",
)  # fmt: skip
TEST_PEOPLE: Final = ("M003", "M030", "W009", "W015")

EXPRESSION_SUFFIX: Final = "_ED_exp.npy"
"""Of a video's expression coefficients, ``(L, 10)`` at 25 frames per second."""

SPEECH_FOLDER: Final = "emotion2vec+large_features"
"""Beside the videos: speech embeddings ``NNN.npy``, ``(1024,)``."""
