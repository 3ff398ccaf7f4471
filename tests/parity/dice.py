"""Cases of DICE-Talk: the emotion model and the audio projection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from mien.dicetalk.bank import BankSpec, EmotionBank

from .compare import Case, Output, Seeded, Tolerance

Golden = Mapping[str, Any]
Outputs = Iterator[tuple[str, Output]]


def emotion(made: Seeded, golden: Golden) -> Outputs:
    bank = EmotionBank(BankSpec())
    bank.load_state_dict(made.weights("dice_emo_model"))
    bank.to(made.dtype).eval()
    assert bank.classifier is not None
    prior = made.fill("dice.mu", (2, 3, 1, 1, 256), 0.85)
    rows = prior[:, :, 0, 0]
    dropped = torch.from_numpy(golden["prompt_mask"]).bool()
    found = bank(rows, retrieval=True)
    yield "query_tokens", bank.emo_linear(rows)
    yield "tokens_retrieval", found.tokens
    yield "quantised", found.quantised.value
    yield "codes", found.quantised.codes
    yield "vq_loss", found.loss
    everything = bank(rows)
    yield "tokens_full_bank", everything.tokens
    yield "vq_loss_full_bank", everything.loss
    yield "tokens_retrieval_masked", bank(rows, retrieval=True, dropped=dropped).tokens
    yield "tokens_unconditional", bank(torch.zeros_like(rows[:1, :1])).tokens
    yield "classifier", bank.classifier(made.fill("dice.feature", (3, 1280, 8, 8)))


CASES = (
    Case("dice_emotion", "fp64", emotion, {"": Tolerance(1e-6)}),
    Case("dice_emotion", "fp32", emotion, {"": Tolerance(2e-5)}),
)
