"""Damaged and odd weights, and a damaged index of the store: plain errors, nothing stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from mien.engines.published_checkpoints import convert_file
from mien.errors import MienError, WeightsError
from mien.pipelines.cmet_models import load_connector
from mien.weights.manifest import CONNECTOR, LABELS, PRIORS, entry
from mien.weights.store import Store

from .published import CONNECTOR_SIZES, write_connector

NAME = "projector.projector.0.weight"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_connector(tmp_path_factory.mktemp("published") / "connector.pth")


def _replaced(change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
    def damage(data: dict[str, Any]) -> None:
        data["state_dict"][NAME] = change(data["state_dict"][NAME])

    return damage


def _sized(**sizes: object) -> Callable[[dict[str, Any]], None]:
    def damage(data: dict[str, Any]) -> None:
        data["mien"] = {"config": {**CONNECTOR_SIZES, "speech": 1024, **sizes}}

    return damage


def _twice(data: dict[str, Any]) -> None:
    data["state_dict"][f"module.{NAME}"] = data["state_dict"][NAME]


def _nested(data: dict[str, Any]) -> None:
    parts = [torch.zeros(2), torch.zeros(3)]
    data["state_dict"][NAME] = torch.nested.nested_tensor(parts)


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (_replaced(lambda v: v.to_sparse()), "is sparse"),
        (_replaced(lambda v: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8)), "is sparse or"),
        (_replaced(lambda v: v.to("meta")), "has no values"),
        (_replaced(lambda v: v.int()), "int32 instead of fractions"),
        (_replaced(lambda v: v.to(torch.complex64)), "complex64 instead of fractions"),
        (_replaced(lambda v: v * float("nan")), "no numbers"),
        (_replaced(lambda v: (v * float("nan")).to(torch.float8_e4m3fn)), "no numbers"),
        (_replaced(lambda v: v[:1].expand(10**9, v.shape[1])), "of another shape"),
        (_replaced(lambda v: v.tolist()), "1 missing"),
        (_twice, "1 tensors twice"),
        (_nested, "tensors of tensors"),
        (_sized(width="wide"), "impossible size: width 'wide'"),
        (_sized(width=-64), "impossible size: width -64"),
        (_sized(width=10**15), "impossible size"),
        (_sized(layers=10**6), "impossible size: layers"),
        (_sized(heads=0), "no net has its sizes"),
        (_sized(heads=7), "no net has its sizes"),
        (lambda data: data.update(mien=[3]), "of another shape"),
        (lambda data: data.update(state_dict={"x\0" + "y" * 999: torch.zeros(1)}), "1 unknown"),
    ],
)
def test_odd_checkpoints(
    damage: Callable[[dict[str, Any]], None], word: str, published: Path, tmp_path: Path
) -> None:
    data = torch.load(published, weights_only=True)
    data["state_dict"] = dict(data["state_dict"])
    damage(data)
    path, store = tmp_path / "odd.pth", Store(tmp_path / "cache")
    torch.save(data, path)
    with pytest.raises(WeightsError, match=word) as caught:
        convert_file(entry(CONNECTOR), path, store)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1500
    assert "\0" not in str(caught.value)
    assert not store.has(CONNECTOR)


def test_mutated_files_give_plain_errors(published: Path, tmp_path: Path) -> None:
    """Bytes are changed, cut and inserted; what loads nevertheless has all of its values."""
    rng, store = np.random.default_rng(3), Store(tmp_path / "cache")
    convert_file(entry(CONNECTOR), published, store)
    whole, good = published.read_bytes(), store.locate(CONNECTOR).read_bytes()
    refused = 0
    for _ in range(12):
        path = tmp_path / "changed.pth"
        path.write_bytes(_mutated(whole, rng))
        safe = tmp_path / "changed.safetensors"
        safe.write_bytes(good[:8] + _mutated(good[8:2000], rng) + good[2000:])
        for use in (
            lambda path=path: convert_file(entry(CONNECTOR), path, Store(tmp_path / "other")),
            lambda safe=safe: load_connector(safe, store),
        ):
            try:
                use()
            except MienError:
                refused += 1
    assert refused > 12


def _mutated(content: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(content)
    at = int(rng.integers(min(len(data), 4000)))
    kind = rng.integers(3)
    if kind == 0:
        data[at] ^= int(rng.integers(1, 256))
    elif kind == 1:
        del data[at:]
    else:
        data[at : at + int(rng.integers(50))] = rng.bytes(int(rng.integers(50)))
    return bytes(data)


@pytest.mark.parametrize(
    "change",
    [
        {"file": 5}, {"file": "../../outside.safetensors"}, {"file": "/etc/hostname"},
        {"file": "a\0b"}, {"sha256": None}, {"size": "large"}, {"size": True}, {"more": 1},
    ],
)  # fmt: skip
def test_a_damaged_entry_of_the_index(
    change: dict[str, object], published: Path, tmp_path: Path
) -> None:
    store = Store(tmp_path / "cache")
    convert_file(entry(CONNECTOR), published, store)
    path = store.folder / "weights.json"
    index = json.loads(path.read_text())
    index[CONNECTOR].update(change)
    path.write_text(json.dumps(index))
    for use in (store.records, lambda: store.has(CONNECTOR), lambda: load_connector(None, store)):
        with pytest.raises(WeightsError, match=r"weights\.json is damaged.*remove it"):
            use()


@pytest.mark.parametrize("content", ["[]", "5", "null", "{", "[" * 99_999, '{"a": []}', '{"a": 5}'])
def test_a_damaged_index(content: str, tmp_path: Path) -> None:
    (tmp_path / "weights.json").write_text(content)
    with pytest.raises(WeightsError, match=r"weights\.json.*remove it"):
        Store(tmp_path).records()


def _header(shape: int) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape},), }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + b"123"


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (_header(10**15), "claims to be"),
        (_header(-1), "cannot be read"),
        (_header(8), "cannot be read"),
        (np.zeros((0, 10)), "rows of 10|one vector"),
        (np.zeros((3, 2, 5)), "rows of 10|one vector"),
        (np.float32(1), "rows of 10|one vector"),
        (np.full(10, np.inf), "no numbers"),
        (np.array(["a"] * 10), "array of numbers"),
        (np.zeros(10, [("a", "f4")]), "array of numbers"),
        (np.array({"mu": [1, 2]}, object), "array of numbers"),
        (np.array({5: 1}, object), "holds 5; expected mu"),
        (b"\x93NUMPY\x01\x00\xff\xff", "cannot be read"),
    ],
)
@pytest.mark.parametrize("name", [LABELS, PRIORS])
def test_arrays_of_absurd_shapes(name: str, content: Any, word: str, tmp_path: Path) -> None:
    folder, store = tmp_path / "arrays", Store(tmp_path / "cache")
    folder.mkdir()
    np.save(folder / "neutral.npy", np.zeros(10, np.float32))
    path = folder / "happy.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(WeightsError, match=word):
        convert_file(entry(name), folder, store)
    assert not store.has(name)


@pytest.mark.parametrize("other", ["__metadata__.npy", "Neutral.npy", "1.npy"])
def test_names_that_are_no_emotions(other: str, tmp_path: Path) -> None:
    for name in ("neutral.npy", other):
        np.save(tmp_path / name, np.zeros(10, np.float32))
    with pytest.raises(WeightsError, match="one EMOTION.npy per emotion"):
        convert_file(entry(LABELS), tmp_path, Store(tmp_path / "cache"))
