"""The nodes for ComfyUI, against a stub of its node interface."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mien.errors import InputError
from mien.media.audio import read_speech
from mien.media.still import read_still

from ..conftest import DEMO

NODES = Path(__file__).parents[2] / "integrations" / "comfyui"


class Slot:
    """An input or output: it keeps what it was made with."""

    def __init__(self, name: str | None = None, **settings: Any) -> None:
        self.name, self.settings = name, settings


def kind() -> SimpleNamespace:
    return SimpleNamespace(Input=type("Input", (Slot,), {}), Output=type("Output", (Slot,), {}))


@pytest.fixture(scope="module")
def nodes() -> Iterator[ModuleType]:
    """The package, loaded as ComfyUI does it, from its folder."""
    io = SimpleNamespace(
        ComfyNode=type("ComfyNode", (), {}),
        Schema=SimpleNamespace,
        NodeOutput=lambda *values: values,
        **{name: kind() for name in ("Image", "Audio", "String", "Float", "Int", "Combo")},
    )
    latest = ModuleType("comfy_api.latest")
    latest.__dict__.update(ComfyExtension=type("ComfyExtension", (), {}), io=io)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "comfy_api", ModuleType("comfy_api"))
        patch.setitem(sys.modules, "comfy_api.latest", latest)
        spec = importlib.util.spec_from_file_location(
            "comfyui_mien", NODES / "__init__.py", submodule_search_locations=[str(NODES)]
        )
        assert spec is not None
        assert spec.loader is not None
        package = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "comfyui_mien", package)
        spec.loader.exec_module(package)
        yield package


@pytest.fixture(scope="module")
def listed(nodes: ModuleType) -> dict[str, Any]:
    """The nodes by name, as ComfyUI gets them."""
    extension = asyncio.run(nodes.comfy_entrypoint())
    found = asyncio.run(extension.get_node_list())
    return {node.define_schema().node_id: node for node in found}


@pytest.fixture(scope="module")
def face() -> Any:
    image = cv2.resize(read_still(DEMO / "woman.jpg"), (256, 256), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(image).float().div(255)[None]


@pytest.fixture(scope="module")
def voice() -> dict[str, Any]:
    samples = torch.from_numpy(read_speech(DEMO / "speech.ogg", 0.4).copy())
    return {"waveform": samples[None, None].repeat(1, 2, 1), "sample_rate": 16_000}


def defaults(node: Any, **given: Any) -> dict[str, Any]:
    """Arguments as ComfyUI passes them: one for every input that has a default."""
    slots = node.define_schema().inputs
    values = {s.name: s.settings["default"] for s in slots if "default" in s.settings}
    assert set(given) <= {slot.name for slot in slots}
    return values | given


def test_schemas(listed: dict[str, Any]) -> None:
    assert set(listed) == {"MienEdit", "MienTalk", "MienFeel"}
    for node in listed.values():
        schema = node.define_schema()
        assert schema.category == "mien"
        assert schema.description
        assert all(slot.name for slot in (*schema.inputs, *schema.outputs))


def test_edit(listed: dict[str, Any], face: Any, voice: dict[str, Any]) -> None:
    node = listed["MienEdit"]
    image, report = node.execute(**defaults(node, images=face))
    assert image.shape == face.shape
    assert (image - face).abs().max() > 0.1
    assert json.loads(report)["faces"] == 1
    film, report = node.execute(
        **defaults(node, images=face.repeat(3, 1, 1, 1), emotion="", like=voice)
    )
    assert film.shape == (3, 256, 256, 3)
    assert json.loads(report)["frames"] == 3
    with pytest.raises(InputError):
        node.execute(**defaults(node, images=face, emotion="glum"))


def test_talk(listed: dict[str, Any], face: Any, voice: dict[str, Any]) -> None:
    node = listed["MienTalk"]
    images, sound, rate, report = node.execute(**defaults(node, portrait=face, speech=voice))
    assert rate == 25.0
    assert images.shape == (10, 256, 256, 3)
    assert sound is voice
    assert json.loads(report)["frames"] == 10


def test_feel(listed: dict[str, Any], face: Any, voice: dict[str, Any]) -> None:
    pytest.importorskip("PIL")
    node = listed["MienFeel"]
    for given in ({"voice": voice}, {"picture": face}):
        name, details = node.execute(**given)
        odds = json.loads(details)["emotion"]
        assert np.isclose(sum(odds.values()), 1, atol=0.02)
        assert name == max(odds, key=odds.get)
    with pytest.raises(InputError):
        node.execute()
