"""The connector against recorded outputs of the published network, on deterministic weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mien.cmet.connector import Connector, ConnectorSpec  # noqa: E402
from mien.cmet.losses import contrastive, directional, focal  # noqa: E402
from mien.cmet.training.objective import both_ways  # noqa: E402
from mien.cmet.transfer import transfer  # noqa: E402

from ..reference.reference_weights import fill, state_dict  # noqa: E402

HERE = Path(__file__).parent.parent / "reference"
GOLDEN = np.load(HERE / "connector.npz")


def tensor(name: str, shape: tuple[int, ...], scale: float = 1.0) -> torch.Tensor:
    return torch.from_numpy(fill(name, shape, 0, scale)).double()


def near(mine: torch.Tensor | np.ndarray, name: str, tolerance: float = 1e-6) -> bool:
    values = np.asarray(mine.detach() if isinstance(mine, torch.Tensor) else mine, np.float64)
    step = int(GOLDEN[f"{name}__step"]) if f"{name}__step" in GOLDEN else 1
    want = GOLDEN[name]
    return np.abs(values.reshape(-1)[::step] - want.reshape(-1)).max() < tolerance


@pytest.fixture
def connector() -> Connector:
    weights = state_dict(HERE / "connector_exp.json", 0)
    net = Connector(ConnectorSpec())
    net.load_state_dict({k: torch.from_numpy(np.asarray(v)) for k, v in weights.items()})
    return net.double().eval()


def test_forward(connector: Connector) -> None:
    out = connector(
        tensor("connector.reference", (3, 5, 10), 0.5),
        tensor("connector.speech", (3, 1, 1024), 0.3),
        tensor("connector.expression", (3, 5, 10)),
    )
    assert near(out.delta, "delta")
    assert near(out.reference, "reference_tokens")
    assert near(out.speech, "speech_token")
    assert near(out.expression, "expression_tokens")


def test_in_single_precision(connector: Connector) -> None:
    out = connector.float()(
        tensor("connector.reference", (3, 5, 10), 0.5).float(),
        tensor("connector.speech", (3, 1, 1024), 0.3).float(),
        tensor("connector.expression", (3, 5, 10)).float(),
    )
    assert near(out.delta, "delta_fp32", 5e-5)


def test_window_after_window(connector: Connector) -> None:
    def run(reference: np.ndarray, speech: np.ndarray, code: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            parts = (torch.from_numpy(v)[None] for v in (reference, speech[None], code))
            return connector(*parts).delta[0].numpy()

    vector = fill("connector.emotion_vector", (1, 1, 1024), 0, 0.3).reshape(-1).astype(np.float64)
    for length in (23, 48):
        code = fill(f"connector.sequence{length}", (length, 10), 0, 0.6).astype(np.float64)
        delta = transfer(run, vector, code)
        whole = length - length % 5
        assert delta.shape == code.shape
        assert near(delta[:whole], f"sequence{length}_delta")
        if length == 23:
            assert near(code[:whole] + delta[:whole], "sequence23_result")


def test_losses_alone() -> None:
    prediction = tensor("connector.loss.prediction", (40, 10))
    target = tensor("connector.loss.target", (40, 10))
    assert near(focal(prediction, target), "focal_alone")
    assert near(directional(prediction, target), "directional_alone")
    visual = tensor("connector.loss.visual", (9, 64))
    speech = tensor("connector.loss.speech", (9, 64))
    labels = torch.tensor([0, 1, 1, 2, 3, 3, 3, 4, 7])
    assert near(contrastive(visual, speech, labels), "contrastive_alone")
    assert near(contrastive(visual, speech, torch.arange(9)), "contrastive_all_different")


def test_a_training_step(connector: Connector) -> None:
    """Losses, gradients and one AdamW step, batch norm in training mode, dropout off."""
    connector.train()
    for module in connector.modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.MultiheadAttention):
            module.dropout = 0.0
            module.p = 0.0
    for layer in connector.fusion_transformer_encoder.transformer_encoder.layers:
        layer.self_attn.dropout = 0.0
    labels = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 0])
    optimiser = torch.optim.AdamW(connector.parameters(), lr=1e-4, weight_decay=1e-5)
    losses = both_ways(
        connector,
        reference=tensor("connector.train.reference", (12, 5, 10), 0.5),
        speech=tensor("connector.train.speech", (12, 1, 1024), 0.3),
        first=tensor("connector.train.exp1", (12, 5, 10)),
        second=tensor("connector.train.exp2", (12, 5, 10)),
        target=tensor("connector.train.direction", (12, 1, 10), 0.7).expand(12, 5, 10),
        label=labels,
        published_pairing=True,
    )
    for name in ("focal_forward", "focal_backward", "contrastive", "directional", "total"):
        want = float(GOLDEN[f"loss_{name}"])
        assert abs(float(getattr(losses, name)) - want) < 1e-6 * max(1, abs(want))
    losses.total.backward()
    optimiser.step()
    after = connector.state_dict()
    names = [k for k in GOLDEN.files if k.startswith("after_step/") and "__" not in k]
    assert len(names) >= 5
    for name in names:
        assert near(after[name.removeprefix("after_step/")], name, 2.5e-4), name
