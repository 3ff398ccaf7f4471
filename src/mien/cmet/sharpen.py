"""Make a predicted expression one that people make.

A connector's prediction is a mean over what a voice may have meant. Means of expressions are faint
and show bits of several; faces do not do that, they are near one of a few prototypes. What is
clearly near a prototype moves towards it; what is near none stays what it is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.face.facs import INDEX, RECIPES, Expression

_SHARPNESS: Final = 14.0
"""How fast the second nearest prototype loses its share, per unit of cosine."""

_UNCLEAR, _CLEAR = 0.35, 0.7
"""Cosines to the nearest prototype between which an expression begins to move and moves most."""

_MOST: Final = 0.8
"""Share of the prototypes in a clear expression."""

_FAINT, _STRONG = 0.75, 1.15
"""Lengths of a clear expression, in lengths of its prototype, that stronger predictions reach."""

_NOTHING, _SOMETHING = 0.45, 1.2
"""Lengths up to which a prediction is what neutral voices give too, and from which it is not."""

_FAINT_SNEER, _TO_CLEAR_SNEER = 0.3, 0.5
"""Upper lips are raised for a clear sneer only: a faint one bares teeth for no visible reason."""

_REACH: Final = 1.2
"""Length of a prediction, in lengths of its prototype, that counts as strong."""


def clarify(expression: Expression) -> Expression:
    """Move an expression ``float32 (D,)`` towards the basic emotion it is near."""
    length = float(np.linalg.norm(expression))
    if length < 1e-6:
        return expression
    prototypes, lengths = _prototypes()
    near = prototypes @ expression / length
    clear = float(np.clip((near.max() - _UNCLEAR) / (_CLEAR - _UNCLEAR), 0, 1))
    shares = np.exp(_SHARPNESS * (near - near.max()))
    shares = shares / shares.sum()
    usual = float(shares @ lengths)
    strength = float(np.clip(length / usual / _REACH, 0, 1))
    size = usual * (_FAINT + (_STRONG - _FAINT) * strength)
    ideal = shares @ prototypes * size
    share = _MOST * clear
    there = float(np.clip((length - _NOTHING) / (_SOMETHING - _NOTHING), 0, 1))
    there *= there * (3 - 2 * there)
    out = (there * ((1 - share) * expression + share * ideal)).astype(np.float32)
    for name in ("10L", "10R"):
        raised = float(out[INDEX[name]])
        out[INDEX[name]] *= np.clip((raised - _FAINT_SNEER) / _TO_CLEAR_SNEER, 0, 1)
    return out


@lru_cache(maxsize=1)
def _prototypes() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Recipes as directions ``(N, D)``, and their lengths ``(N,)``."""
    faces = np.stack([r.expression() for name, r in RECIPES.items() if name != "neutral"])
    lengths = np.linalg.norm(faces, axis=1)
    return faces / lengths[:, None], lengths
