"""Nets in the form of the Hugging Face hub; the hub itself is played."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
hub = pytest.importorskip("huggingface_hub")
pytest.importorskip("safetensors")

from mien.cmet.connector import Connector, ConnectorSpec
from mien.dicetalk.bank import BankSpec, EmotionBank
from mien.dicetalk.embedder import EmbedderSpec, EmotionEmbedder
from mien.errors import InputError, WeightsError
from mien.weights.hub import HubNet


def nets() -> list[HubNet]:
    torch.manual_seed(0)
    return [
        Connector(ConnectorSpec(expression=17, speech=32, width=64, layers=1, feed_forward=32)),
        EmotionBank(BankSpec(prior=8, width=16, tokens=4, entries=6, heads=2, feature=0)),
        EmotionEmbedder(EmbedderSpec(audio=8, face=17, width=16, heads=2, layers=1)),
    ]


@pytest.mark.parametrize("net", nets(), ids=lambda net: type(net).__name__)
def test_a_saved_net_comes_back(net: Any, tmp_path: Path) -> None:
    folder = net.save_pretrained(tmp_path / "net", licence="apache-2.0", card="Made of nothing.")
    back = type(net).from_pretrained(folder)
    assert back.spec == net.spec
    assert not back.training
    for name, value in net.state_dict().items():
        assert torch.equal(back.state_dict()[name], value), name
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert f"- arxiv:{net.paper}\n" in card
    assert "Made of nothing." in card
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == [type(net).__name__]


def test_pushed_and_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, shelf = nets()[0], tmp_path / "shelf"

    class PlayedHub:
        def __init__(self, token: str | None) -> None:
            assert token == "secret"  # noqa: S105

        def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> Any:
            assert private
            assert exist_ok
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, *, repo_id: str, folder_path: str, **how: object) -> Any:
            assert how["create_pr"]
            Path(folder_path).rename(shelf)
            Path(folder_path).mkdir()
            return SimpleNamespace(commit_url=f"hub/{repo_id}")

    def download(repo_id: str, name: str, **how: object) -> str:
        assert (repo_id, how["revision"], how["local_files_only"]) == ("me/net", "v1", True)
        return str(shelf / name)

    monkeypatch.setattr(hub, "HfApi", PlayedHub)
    monkeypatch.setattr(hub, "hf_hub_download", download)
    where = net.push_to_hub(
        "me/net", licence="other", private=True, token="secret", create_pr=True  # noqa: S106
    )  # fmt: skip
    assert where == "hub/me/net"
    back = Connector.from_pretrained("me/net", revision="v1", local_files_only=True)
    assert back.spec == net.spec


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no folder"):
        Connector.from_pretrained("no/such-net", local_files_only=True, cache_dir=tmp_path)
    with pytest.raises(WeightsError, match="no folder"):
        Connector.from_pretrained("a/b/c/d", local_files_only=True)
    connector, bank, _ = nets()
    folder = bank.save_pretrained(tmp_path / "bank", licence="other")
    with pytest.raises(WeightsError, match="another net"):
        Connector.from_pretrained(folder)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match="is a file"):
        connector.save_pretrained(file, licence="other")
