"""The connector as a network: how it starts, and where it drops out."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from mien.cmet.connector import Connector, ConnectorSpec

SPEC = ConnectorSpec(expression=10, speech=32, width=128, layers=3, heads=4, feed_forward=256)


def test_layers_start_with_xavier_normal_draws_of_their_own_and_no_bias() -> None:
    torch.manual_seed(0)
    encoder = Connector(SPEC).fusion_transformer_encoder.transformer_encoder
    for layer in encoder.layers:
        for name, values in layer.named_parameters():
            if values.dim() > 1:
                spread = math.sqrt(2 / sum(values.shape))
                assert float(values.detach().std()) == pytest.approx(spread, rel=0.03), name
                assert abs(float(values.detach().mean())) < 0.1 * spread
            elif name.endswith("bias"):
                assert not values.any(), name
            else:
                assert (values == 1).all(), name  # layer norms
    first, second, third = (layer.linear1.weight for layer in encoder.layers)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_dropout_falls_on_all_eleven_tokens_after_positions_and_types() -> None:
    net = Connector(SPEC).train()
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    fusion = net.fusion_transformer_encoder
    fusion.dropout.register_forward_hook(lambda _, given, out: seen.append((given[0], out)))
    fusion.transformer_encoder.register_forward_pre_hook(
        lambda _, given: seen.append((given[0], given[0]))
    )
    net(torch.randn(4, 5, 10), torch.randn(4, 1, 32), torch.randn(4, 5, 10))
    (before, after), (entered, _) = seen
    assert before.shape == (4, 11, SPEC.width)
    assert torch.equal(after, entered), "nothing is added after the dropout"
    dropped = (after == 0) & (before != 0)
    share = dropped.float().mean((0, 2))
    assert ((share > 0.05) & (share < 0.16)).all(), "every token is dropped from, speech included"
    kept = ~dropped
    assert torch.allclose(after[kept], before[kept] / (1 - SPEC.dropout), atol=1e-5)
