"""Action units of the Facial Action Coding System (FACS), and emotions in terms of them.

An *expression* is a vector of action-unit strengths, one entry per name in ``ACTION_UNITS``;
1.0 is a clear, natural activation. Recipes follow EMFACS (Friesen & Ekman 1983) for the basic
emotions and Du, Tao & Martinez (PNAS 2014) for compound ones; the strengths were tuned by eye and
with two expression classifiers on portraits.

The connector and the emotion prior work on OpenFace's action units: 17 intensities from 0 to 5,
both sides of the face together. Both use tenths of an intensity as the unit, so that the focal
loss, which is flat below errors of about one, works at the scale of real differences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.face.pose import head_pose
from mien.face.topology import Landmarks, canonical_face
from mien.weights.bundled import open_arrays

PAIRED: Final = ("1", "2", "4", "5", "6", "7", "9", "10", "12", "14", "15", "16", "20", "43")
"""Action units whose sides move independently (45, a blink, is a short 43)."""

MIDLINE: Final = ("17", "18", "23", "24", "25", "26")

ACTION_UNITS: Final = tuple(f"{unit}{side}" for unit in PAIRED for side in "LR") + MIDLINE
"""Names of an expression's entries: ``12L`` is the person's left mouth corner."""

UNIT_AND_SIDE: Final = tuple(
    (name, "") if name in MIDLINE else (name[:-1], name[-1]) for name in ACTION_UNITS
)
"""Unit and side (``"L"``, ``"R"`` or ``""``) of every entry of ``ACTION_UNITS``."""

INDEX: Final = MappingProxyType({name: i for i, name in enumerate(ACTION_UNITS)})

MEANINGS: Final = MappingProxyType(
    {
        "1": "inner brow raiser",
        "2": "outer brow raiser",
        "4": "brow lowerer",
        "5": "upper lid raiser",
        "6": "cheek raiser",
        "7": "lid tightener",
        "9": "nose wrinkler",
        "10": "upper lip raiser",
        "12": "lip corner puller",
        "14": "dimpler",
        "15": "lip corner depressor",
        "16": "lower lip depressor",
        "17": "chin raiser",
        "18": "lip pucker",
        "20": "lip stretcher",
        "23": "lip tightener",
        "24": "lip pressor",
        "25": "lips part",
        "26": "jaw drop",
        "43": "eyes closed (45: blink)",
    }
)

Expression = npt.NDArray[np.float32]


def expression(units: Mapping[str, float]) -> Expression:
    """Return the expression ``float32 (D,)`` with the given action units.

    A paired unit without a side (``"12"``) means both sides.

    Raises:
        KeyError: for a name that is not an action unit.
    """
    out = np.zeros(len(ACTION_UNITS), np.float32)
    for name, strength in units.items():
        for key in (f"{name}L", f"{name}R") if name in PAIRED else (name,):
            out[INDEX[key]] += strength
    return out


@dataclass(frozen=True, slots=True)
class Recipe:
    """An emotion in action units.

    Attributes:
        units: strengths at intensity 1.
        source: publication that the set of units comes from.
        speaking: strengths for a mouth that speaks, which an emotion may neither open nor close;
            None where they are the same.
    """

    units: Mapping[str, float]
    source: str
    speaking: Mapping[str, float] | None = None

    def expression(self, *, speaking: bool = False) -> Expression:
        """Return the recipe as a vector ``float32 (D,)``."""
        return expression(self.speaking if speaking and self.speaking else self.units)


_EMFACS = "EMFACS (Friesen & Ekman 1983)"

RECIPES: Final[Mapping[str, Recipe]] = MappingProxyType(
    {
        "neutral": Recipe({}, "no action unit"),
        "happy": Recipe(
            {"6": 1.1, "7": 0.4, "10": 0.2, "12": 1.3, "16": 0.3, "20": 0.1, "25": 0.5, "26": 0.1},
            _EMFACS,
        ),
        "sad": Recipe(
            {"1": 1.75, "4": 0.3, "7": 0.15, "15": 0.95, "17": 0.4, "43": 0.1},
            _EMFACS,
            {"1": 1.9, "4": 0.4, "7": 0.2, "15": 0.7, "17": 0.5, "43": 0.15},
        ),
        "angry": Recipe(
            {"4": 1.3, "5": 0.35, "7": 1.1, "9": 0.95, "10": 0.95, "15": 0.3, "16": 0.35, "23": 0.5,
             "25": 0.25, "26": 0.15},
            _EMFACS,
            {"4": 1.6, "5": 0.1, "7": 0.9, "9": 1.0, "10": 0.7, "15": 0.2, "16": 0.5, "23": 0.5,
             "24": 0.3, "25": 0.2},
        ),
        "surprised": Recipe(
            {"1": 1.3, "2": 1.2, "5": 1.0, "18": 0.2, "25": 0.3, "26": 1.15},
            _EMFACS,
            {"1": 1.4, "2": 1.3, "5": 1.05, "24": 0.25, "25": 0.2, "26": 0.9},
        ),
        "fear": Recipe(
            {"1": 1.55, "2": 0.2, "4": 0.35, "5": 1.2, "7": 0.05, "15": 0.3, "16": 0.3, "20": 0.3,
             "25": 0.25, "26": 0.58},
            _EMFACS,
            {"1": 1.85, "2": 0.2, "4": 0.6, "5": 1.1, "10": 0.3, "15": 0.5, "16": 0.45, "20": 0.65,
             "25": 0.3, "26": 0.5},
        ),
        "disgusted": Recipe(
            {"4": 0.3, "6": 0.6, "7": 0.45, "9": 1.4, "10": 1.25, "15": 0.15, "17": 1.0},
            _EMFACS,
            {"4": 0.5, "6": 0.6, "7": 0.6, "9": 1.7, "10": 1.3, "15": 0.3, "17": 1.0},
        ),
        "contempt": Recipe(
            {"12L": 0.45, "14L": 0.6, "14R": 0.15, "7": 0.3, "4": 0.15, "24": 0.2}, _EMFACS
        ),
    }
)  # fmt: skip
"""The basic emotions."""

BASIC_EMOTIONS: Final = tuple(RECIPES)

_CORDARO = "Cordaro et al. (Emotion, 2018)"
_GONZAGA = "Gonzaga et al. (Emotion, 2006)"

EXTENDED: Final[Mapping[str, Recipe]] = MappingProxyType(
    {
        "amused": Recipe(
            {"6": 1.1, "7": 0.7, "12": 1.0, "2": 0.3, "25": 0.35, "26": 0.3}, _CORDARO
        ),
        "bored": Recipe({"43": 0.5, "1": 0.25, "15": 0.35, "17": 0.2}, _CORDARO),
        "charismatic": Recipe(
            {
                "12": 1.15,
                "6": 0.75,
                "10": 0.15,
                "1": 0.45,
                "2": 0.75,
                "5": 0.25,
                "25": 0.45,
                "26": 0.1,
            },
            "smile and lively brows: Awamleh & Gardner (Leadership Quarterly, 1999)",
        ),
        "desirous": Recipe({"43": 0.4, "25": 0.3, "26": 0.12, "7": 0.25, "12": 0.2}, _CORDARO),
        "doubtful": Recipe(
            {"4R": 0.7, "1L": 0.5, "2L": 0.9, "7R": 0.4, "15": 0.35, "17": 0.5},
            "confusion: Cordaro et al. (Emotion, 2018); mouth shrug: Debras (Gesture, 2017)",
        ),
        "embarrassed": Recipe(
            {"12": 0.5, "24": 0.45, "17": 0.2, "7": 0.25, "43": 0.3, "1": 0.25},
            "Keltner (Journal of Personality and Social Psychology, 1995)",
        ),
        "empathetic": Recipe(
            {"1": 1.0, "4": 0.3, "17": 0.35, "24": 0.35},
            "sympathy: Cordaro et al. (Emotion, 2018)",
        ),
        "envious": Recipe(
            {"4": 0.7, "7": 0.7, "14L": 0.6, "15": 0.4, "24": 0.5},
            "this project's estimate: envy has no display of its own (Crusius et al. 2020)",
        ),
        "interested": Recipe({"1": 0.8, "2": 0.8, "5": 0.35, "12": 0.3}, _CORDARO),
        "pain": Recipe(
            {"4": 1.1, "6": 0.8, "7": 1.0, "9": 0.7, "10": 0.5, "20": 0.3, "25": 0.2, "43": 0.5},
            "Prkachin (Pain, 1992)",
        ),
        "proud": Recipe(
            {"12": 0.75, "17": 0.45, "24": 0.3, "43": 0.3, "2": 0.45},
            "Tracy & Robins (Emotion, 2007), without posture",
        ),
        "romantic": Recipe({"6": 0.9, "12": 1.0, "43": 0.3, "1": 0.4, "25": 0.1}, _GONZAGA),
        "sarcastic": Recipe(
            {"12L": 0.75, "14L": 0.6, "2L": 0.8, "1L": 0.3, "43": 0.2, "7R": 0.3},
            "Attardo et al. (Humor, 2003)",
        ),
    }
)
"""Further emotions. Unlike the basic ones nobody has agreed on them: the sources name units that
people show, the choice among them and the strengths are this project's."""

NAMED: Final[Mapping[str, Recipe]] = MappingProxyType({**RECIPES, **EXTENDED})
"""All emotions that have a name."""

OPENFACE_UNITS: Final = (
    "1", "2", "4", "5", "6", "7", "9", "10", "12", "14", "15", "17", "20", "23", "25", "26", "45",
)  # fmt: skip
"""OpenFace's action units, in the order of its tables."""

OPENFACE_COLUMNS: Final = tuple(f"AU{int(unit):02d}_r" for unit in OPENFACE_UNITS)
"""Columns of the intensities in OpenFace's tables."""

CODE_UNITS_PER_INTENSITY: Final = 10.0
"""Units of the expression code per step of OpenFace's scale."""


@lru_cache(maxsize=1)
def openface_to_rig() -> npt.NDArray[np.float32]:
    """Return the linear map from OpenFace code units to rig action units, ``float32 (17, D)``.

    Raises:
        WeightsError: when the file is missing or damaged.
    """
    out: npt.NDArray[np.float32] = open_arrays("connector.npz")["decoder"]
    out.setflags(write=False)
    return out


def read_expression(head: npt.NDArray[np.float64]) -> Expression:
    """Estimate the action units of a face from its landmarks, by a linear map.

    The map was fitted to labelled faces and follows differences between expressions, but part of a
    person's own shape leaks into it: compare readings of one person (see
    :func:`mien.engines.mesh.engine.removal`), not of several. Units that landmarks do not show (6,
    9, 25) read 0.

    Args:
        head: landmarks ``(478, 3)`` in the head frame, eye distances.

    Returns:
        ``float32 (D,)``, 0..1.
    """
    weights = _reader()
    reading = weights[0] + (head - canonical_face().points).ravel() @ weights[1:]
    return np.clip(reading, 0, 1).astype(np.float32)


def read_landmarks(landmarks: Landmarks) -> Expression:
    """Estimate the action units of a face from landmarks ``(478, 3)`` in an image, pixels.

    As :func:`read_expression`, whatever the pose of the head.
    """
    return read_expression(head_pose(landmarks).to_head(landmarks))


@lru_cache(maxsize=1)
def _reader() -> npt.NDArray[np.float64]:
    out: npt.NDArray[np.float64] = open_arrays("rig.npz")["reader"].astype(np.float64)
    return out
