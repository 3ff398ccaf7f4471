"""The HTTP API: its verbs, who may use them, and what it refuses."""

from __future__ import annotations

import io
import json
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mien.errors import InputError
from mien.media.audio import SAMPLE_RATE_HZ, read_speech
from mien.media.still import read_still

from ..conftest import DEMO

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

from mien.serve.app import create_app
from mien.serve.limits import Limits
from mien.serve.service import Service
from mien.serve.tokens import Tokens

ANNA, BEN = "anna-0123456789abcdef", "ben-0123456789abcdef"
FACE = DEMO / "woman.jpg"
LIMITS = Limits(running=1, upload_mb=20, seconds=60, pixels=4_000_000, queue=5)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    (root / "face.jpg").write_bytes(FACE.read_bytes())
    (root / "out.jpg").symlink_to(DEMO / "man.jpg")
    (root.parent / "secret.jpg").write_bytes(FACE.read_bytes())
    return root


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[TestClient]:
    """A server with two tokens."""
    folder = tmp_path_factory.mktemp("serve") / "store"
    service = Service(folder, LIMITS, Tokens((ANNA, BEN)), (root,))
    with TestClient(create_app(service), headers=bearer(ANNA)) as client:
        yield client


def wait(client: TestClient, job: str) -> dict[str, object]:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        state = client.get(f"/v1/jobs/{job}").json()
        if state["state"] in ("done", "failed", "cancelled"):
            return state
        time.sleep(0.1)
    raise AssertionError("the job did not end")


def code(answer: object) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]  # type: ignore[attr-defined]


def form(path: Path, name: str = "input") -> dict[str, object]:
    return {name: (path.name, path.read_bytes())}


def test_a_picture_is_edited(client: TestClient, tmp_path: Path) -> None:
    answer = client.post("/v1/edit", files=form(FACE), data={"emotion": "happy", "format": "png"})
    assert answer.status_code == 202, answer.text
    job = answer.json()["id"]
    assert answer.headers["location"] == f"/v1/jobs/{job}"
    events = client.get(f"/v1/jobs/{job}/events").text
    assert "event: done" in events
    state = wait(client, job)
    assert state["links"]["report"] == f"/v1/jobs/{job}/report"  # type: ignore[index]
    result = client.get(f"/v1/jobs/{job}/result")
    assert result.headers["content-type"] == "image/png"
    (tmp_path / "out.png").write_bytes(result.content)
    before, after = read_still(FACE).astype(int), read_still(tmp_path / "out.png").astype(int)
    assert np.abs(before - after).max() > 20
    report = client.get(f"/v1/jobs/{job}/report").json()
    assert report["emotion"]["labels"] == {"happy": 1.0}
    assert report["output"] == "result.png"
    assert job in [one["id"] for one in client.get("/v1/jobs").json()]

    for path in ("", "/events", "/result", "/report"):
        assert code(client.get(f"/v1/jobs/{job}{path}", headers=bearer(BEN))) == (404, "no_job")
    assert client.get("/v1/jobs", headers=bearer(BEN)).json() == []
    assert code(client.delete(f"/v1/jobs/{job}", headers=bearer(BEN))) == (404, "no_job")
    assert client.delete(f"/v1/jobs/{job}").status_code == 204
    assert code(client.get(f"/v1/jobs/{job}")) == (404, "no_job")


def test_a_voice_is_felt_and_speaks(client: TestClient, tmp_path: Path) -> None:
    voice = tmp_path / "voice.wav"
    soundfile.write(voice, read_speech(DEMO / "speech.ogg", 1.5), SAMPLE_RATE_HZ)
    speech = client.post("/v1/uploads", files=form(voice, "file")).json()
    assert speech["kind"] == "sound"
    felt = client.post("/v1/feel", json={"input": speech["id"]})
    said = client.post(
        "/v1/talk",
        files=form(FACE, "portrait"),
        data={"speech": speech["id"], "side": "96", "liveliness": "0.5"},
    )
    assert (felt.status_code, said.status_code) == (202, 202), said.text
    assert wait(client, felt.json()["id"])["state"] == "done"
    reading = client.get(f"/v1/jobs/{felt.json()['id']}/result").json()
    assert abs(sum(reading["emotion"].values()) - 1) < 0.01
    assert wait(client, said.json()["id"])["state"] == "done"
    clip = client.get(f"/v1/jobs/{said.json()['id']}/result")
    assert clip.headers["content-type"] == "video/mp4"
    assert clip.content[4:8] == b"ftyp"
    assert client.delete(f"/v1/uploads/{speech['id']}").status_code == 204
    assert code(client.post("/v1/feel", json={"input": speech["id"]})) == (404, "no_upload")


def test_a_preview_is_one_frame(client: TestClient) -> None:
    upload = client.post("/v1/uploads", files=form(DEMO / "clip.mp4", "file")).json()
    request = {"input": upload["id"], "seconds": 1.0, "side": 256}
    plain = client.post("/v1/preview", json={**request, "original": True})
    timeline = [{"at": 0, "emotion": "angry", "fade": 0}]
    shown = client.post("/v1/preview", json={**request, "timeline": timeline})
    assert plain.headers["content-type"] == shown.headers["content-type"] == "image/jpeg"
    assert shown.content != plain.content
    assert shown.content[:2] == b"\xff\xd8"
    assert code(client.post("/v1/preview", json={**request, "emotion": "glum"})) == (
        422,
        "bad_input",
    )
    other = client.post("/v1/preview", json=request | {"emotion": "sad"}, headers=bearer(BEN))
    assert code(other) == (404, "no_upload")


def test_paths_stay_inside_the_allowed_folders(client: TestClient, root: Path) -> None:
    good = client.post("/v1/preview", json={"input": "face.jpg", "emotion": "sad"})
    assert good.status_code == 200, good.text
    assert client.post("/v1/preview", json={"input": str(root / "face.jpg"), "emotion": "sad"})
    for path in (
        "../secret.jpg", str(root.parent / "secret.jpg"), "/etc/passwd", "out.jpg", ".", "",
        "face.jpg\0", "part:0.jpg", "file:///etc/passwd", "x" * 999, "a/../../secret.jpg",
    ):  # fmt: skip
        answer = client.post("/v1/edit", json={"input": path, "emotion": "sad"})
        assert answer.status_code == 422, path
        assert "secret" not in answer.text


def test_an_idempotency_key_gives_one_job(client: TestClient) -> None:
    key = {"Idempotency-Key": "once"}
    body = {"input": "face.jpg", "emotion": "sad"}
    first = client.post("/v1/edit", json=body, headers=key)
    again = client.post("/v1/edit", json=body, headers=key)
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json()["id"] == first.json()["id"]
    other = client.post("/v1/edit", json={**body, "emotion": "happy"}, headers=key)
    assert code(other) == (422, "key_reused")
    assert code(client.post("/v1/edit", json=body, headers={"Idempotency-Key": "a b"})) == (
        422,
        "bad_key",
    )
    wait(client, first.json()["id"])


def test_wrong_tokens_see_nothing(client: TestClient) -> None:
    for header in ("", "Bearer", "Bearer wrong-0123456789abcdef", f"Basic {ANNA}", ANNA):
        headers = {"Authorization": header}
        assert code(client.get("/v1/jobs", headers=headers)) == (401, "no_token")
        assert code(client.get("/metrics", headers=headers)) == (401, "no_token")
        answer = client.post("/v1/edit", files=form(FACE), headers=headers)
        assert code(answer) == (401, "no_token")
    assert client.get("/health", headers={"Authorization": ""}).json()["status"] == "ok"
    with pytest.raises(InputError, match="fewer than"):
        Tokens(("short",))


def bomb(width: int, height: int) -> bytes:
    """A PNG file whose header promises many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(10_000_000))
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_hostile_files_are_refused(client: TestClient) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(10_000_000))
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"
    files = {
        "zip.mp4": archive.getvalue(),
        "bomb.png": bomb(60_000, 60_000),
        "picture.svg": svg,
        "list.m3u8": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        "program.jpg": b"MZ" + bytes(1000),
        "empty.mp4": b"",
        "noise.mp4": np.random.default_rng(1).bytes(5000),
    }
    for name, content in files.items():
        answer = client.post("/v1/edit", files={"input": (name, content)}, data={"emotion": "sad"})
        assert answer.status_code == 422, (name, answer.text)
        assert code(client.post("/v1/uploads", files={"file": (name, content)}))[0] == 422
    assert client.get("/ready").status_code == 200


def test_what_is_too_large_is_refused(client: TestClient) -> None:
    large = {"input": ("a.mp4", bytes(21_000_000))}
    assert code(client.post("/v1/edit", files=large)) == (413, "too_large")
    assert code(client.post("/v1/edit", content=b"{}" + bytes(21_000_000))) == (413, "too_large")
    huge = {"input": ("a.png", bomb(3000, 2000))}
    wide = client.post("/v1/edit", files=huge, data={"emotion": "sad"})
    assert wide.status_code == 422
    assert "4000000 pixels" in wide.text


def test_a_compressed_body_is_refused(client: TestClient) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    answer = client.post("/v1/edit", content=b"\x1f\x8b", headers=headers)
    assert code(answer) == (415, "bad_encoding")


def test_mistakes_are_named(client: TestClient) -> None:
    cases = {
        "emotion: ": {"input": "face.jpg", "emotion": 3},
        "Extra": {"input": "face.jpg", "feeling": "sad"},
        "There is no emotion 'glum'": {"input": "face.jpg", "emotion": "glum"},
        "No emotion was named": {"input": "face.jpg"},
        "format must be one of": {"input": "face.jpg", "emotion": "sad", "format": "mp4"},
        "are for videos": {"input": "face.jpg", "emotion": "sad", "codec": "hevc"},
        "intensity": {"input": "face.jpg", "emotion": "sad", "intensity": 9},
        "face": {"input": "face.jpg", "emotion": "sad", "face": "/etc/passwd"},
    }
    for message, body in cases.items():
        answer = client.post("/v1/edit", json=body)
        assert answer.status_code == 422
        assert message in answer.json()["error"]["message"]
    twice = client.post("/v1/edit", files=[("input", ("a", b"1")), ("input", ("b", b"2"))])
    assert code(twice) == (422, "bad_field")
    assert code(client.post("/v1/edit", content=b"{", headers={"Content-Type": "application/json"}))
    assert code(client.post("/v1/edit", content=b"emotion")) == (415, "bad_type")
    assert code(client.get("/v1/nothing")) == (404, "not_found")
    assert code(client.put("/v1/edit")) == (405, "bad_method")


def test_the_queue_is_limited(tmp_path: Path) -> None:
    service = Service(tmp_path / "store", Limits(running=1, queue=1))
    app = create_app(service)
    service.runner.start = lambda: None  # type: ignore[method-assign] # nothing is ever begun
    service.runner._threads = []
    with TestClient(app, base_url="http://localhost") as client:
        data = {"emotion": "sad"}
        assert client.post("/v1/edit", files=form(FACE), data=data).status_code == 202
        full = client.post("/v1/edit", files=form(FACE), data=data)
        assert code(full) == (429, "queue_full")
        assert int(full.headers["retry-after"]) > 0
        (job,) = client.get("/v1/jobs").json()
        assert job["waiting"] == 0
        assert client.delete(f"/v1/jobs/{job['id']}").status_code == 204
        assert client.get(f"/v1/jobs/{job['id']}").json()["state"] == "cancelled"
        assert code(client.get(f"/v1/jobs/{job['id']}/result")) == (409, "not_done")

        elsewhere = {"Origin": "http://elsewhere.example"}
        assert code(client.post("/v1/edit", headers=elsewhere)) == (403, "bad_origin")
        rebound = {"Host": "elsewhere.example"}
        assert code(client.get("/v1/jobs", headers=rebound)) == (421, "bad_host")


def test_state_and_metrics(client: TestClient) -> None:
    assert client.get("/ready").json() == {"status": "ready"}
    text = client.get("/metrics").text
    assert 'mien_jobs{state="done"}' in text
    assert 'route="/v1/edit"' in text
    document = client.get("/openapi.json").json()
    body = document["paths"]["/v1/edit"]["post"]["requestBody"]["content"]
    assert body["application/json"]["example"]["emotion"]
    assert body["multipart/form-data"]["schema"]["properties"]["input"]["format"] == "binary"
    assert json.dumps(document).count("$ref") > 0
