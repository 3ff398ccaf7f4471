"""A vector to a sequence of tokens: the projection that audio, priors and the bank share."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


class TokenNet(nn.Module):
    """``(..., inputs)`` to ``(..., tokens, width)``; attribute names are the published ones."""

    def __init__(self, inputs: int, width: int = 1024, tokens: int = 32) -> None:
        super().__init__()
        self.proj1 = nn.Linear(inputs, width)
        self.proj2 = nn.Linear(width, width)
        self.proj3 = nn.Linear(width, tokens * width)
        self.norm = nn.LayerNorm(width)
        self.tokens = tokens

    def forward(self, x: Tensor) -> Tensor:
        """Tokens of vectors."""
        y = self.proj3(F.relu(self.proj2(F.relu(self.proj1(x)))))
        out: Tensor = self.norm(y.reshape(*x.shape[:-1], self.tokens, -1))
        return out
