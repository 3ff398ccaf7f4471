"""The expression decoder of the mesh scale: emotion tokens to a change of the face."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from mien.dicetalk.bank import BankSpec, EmotionBank


@dataclass(frozen=True, slots=True)
class MeshDiceSpec:
    """Sizes of bank and decoder at mesh scale.

    Attributes:
        bank: the bank's; its ``feature`` is the decoder's hidden size.
        units: action units of OpenFace that come out.
    """

    bank: BankSpec
    units: int = 17

    def to_dict(self) -> dict[str, Any]:
        """The sizes in plain values."""
        return asdict(self)


class Decoded(NamedTuple):
    """What a prior makes of a face.

    ``face (B, units)`` change in code units; ``feature (B, hidden)`` for the discriminator; the
    quantiser's ``loss`` and ``codes``.
    """

    face: Tensor
    feature: Tensor
    loss: Tensor
    codes: Tensor


class MeshDice(nn.Module):
    """Priors ``(B, prior)`` to changes of the face."""

    def __init__(self, spec: MeshDiceSpec) -> None:
        super().__init__()
        self.spec = spec
        bank = spec.bank
        self.bank = EmotionBank(bank)
        self.hidden = nn.Sequential(
            nn.Linear(bank.tokens * bank.width, bank.feature), nn.GELU(), nn.Dropout(0.1)
        )
        self.face = nn.Linear(bank.feature, spec.units)

    def forward(self, prior: Tensor, *, retrieval: bool = False) -> Decoded:
        """Changes of the face."""
        told = self.bank(prior, retrieval=retrieval)
        feature = self.hidden(told.tokens.flatten(1))
        return Decoded(self.face(feature), feature, told.loss, told.quantised.codes)
