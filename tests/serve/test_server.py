"""A real server: slow clients, malformed requests, ends that come without warning."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from ..conftest import DEMO

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
import uvicorn

from mien.serve import guard
from mien.serve.app import create_app
from mien.serve.limits import Limits
from mien.serve.service import Service

posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


class SlowServer:
    """A server in this process that loses patience soon."""

    def __init__(self, folder: Path) -> None:
        service = Service(folder, Limits(running=1))
        app = create_app(service)
        protocol = type("Prompt", (guard.PromptProtocol,), {"header_seconds": 0.5})
        config = uvicorn.Config(app, port=0, http=protocol, ws="none", log_config=None)  # type: ignore[arg-type]
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run)

    def __enter__(self) -> int:
        self.thread.start()
        while not self.server.started:
            time.sleep(0.05)
        return int(self.server.servers[0].sockets[0].getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with (
        mock.patch.object(guard, "SILENCE_SECONDS", 0.5),
        SlowServer(tmp_path_factory.mktemp("slow") / "store") as port,
    ):
        yield port


def talk(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send bytes as they are; return what comes back until the server hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        for part in parts:
            line.sendall(part)
            time.sleep(pause)
        answer = b""
        while block := line.recv(65536):
            answer += block
        return answer


HEAD = b"POST /v1/edit HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def test_slow_clients_are_hung_up_on(port: int) -> None:
    for silent in ((), (b"GET /health HTT",), (HEAD,)):
        begun = time.monotonic()
        assert talk(port, *silent) == b""
        assert time.monotonic() - begun < 15
    answer = talk(port, HEAD + b"Content-Length: 10\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"too_slow" in answer
    ok = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert talk(port, ok, pause=0.1).startswith(b"HTTP/1.1 200")


def malformed(random: random.Random) -> tuple[str, str, dict[str, str], bytes]:
    """Return a request with something wrong in it."""
    ids = ["0" * 32, "../../etc/passwd", "%2e%2e%2f", "%00", "a" * 300, "file-" + "0" * 32]
    path = random.choice(
        [
            "/v1/edit", "/v1/talk", "/v1/feel", "/v1/preview", "/v1/uploads", "/v1/nothing",
            f"/v1/jobs/{random.choice(ids)}", f"/v1/jobs/{random.choice(ids)}/result",
            f"/v1/jobs/{random.choice(ids)}/events", f"/v1/uploads/{random.choice(ids)}",
            "/v1/%ff", "//v1//edit", "/..%2f..%2fetc/passwd",
        ]
    )  # fmt: skip
    wild: list[object] = [
        None, True, -1, 1e308, "sad", "glum:9", "", "\0", "\ud800", [], [[]], {}, {"a": {}},
        "x" * 3000, "happy:" + "9" * 500, ["../x"] * 30, [{"at": -1}], [{"at": 0, "emotion": 5}],
        float("nan"),
    ]  # fmt: skip
    names = [
        "input", "portrait", "speech", "emotion", "au", "timeline", "like", "neutral", "face",
        "intensity", "format", "codec", "seconds", "side", "rate", "seed", "what", "\u20ac",
    ]  # fmt: skip
    fields = {name: random.choice(wild) for name in random.sample(names, random.randint(0, 9))}
    body = json.dumps(fields).encode("utf-8", "surrogatepass")
    boundary = "xyz"
    form = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'
        + random.choice(["", '; filename="../../a.mp4"', "; filename="])
        + f"\r\n\r\n{value!r}\r\n"
        for name, value in fields.items()
    ).encode("utf-8", "surrogatepass")
    kind, content = random.choice(
        [
            ("application/json", body),
            ("application/json", body[: random.randint(0, len(body))]),
            ("application/json", b"[" * 5000),
            ("application/json", random.randbytes(200)),
            (f"multipart/form-data; boundary={boundary}", form + f"--{boundary}--\r\n".encode()),
            (f"multipart/form-data; boundary={boundary}", form[: len(form) // 2]),
            ("multipart/form-data", form),
            (f"multipart/form-data; boundary={'y' * 300}", form),
            ("application/x-www-form-urlencoded", b"input=%ff&input=a&emotion=sad"),
            ("text/plain", body),
            ("", body),
        ]
    )
    headers = {"Host": "localhost", "Content-Type": kind, "Content-Length": str(len(content))}
    extra = [
        {"Authorization": "Bearer x"}, {"Content-Encoding": "gzip"}, {"Origin": "null"},
        {"Idempotency-Key": "k" * 300}, {"Range": "bytes=9-1"}, {"Host": "elsewhere"},
        {"Expect": "nothing"}, {"Content-Length": "-1"}, {"Accept": "x" * 5000}, {}, {}, {},
    ]  # fmt: skip
    headers |= random.choice(extra)
    method = random.choice(["POST", "POST", "POST", "POST", "GET", "DELETE", "PUT", "PATCH", "FOO"])
    return method, path, headers, content


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_malformed_requests_are_the_clients_fault(port: int) -> None:
    numbers = random.Random(7)  # noqa: S311 - the same requests every time
    seen = set()
    for _ in range(500):
        method, path, headers, content = malformed(numbers)
        head = f"{method} {path} HTTP/1.1\r\nConnection: close\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
        answer = talk(port, head.encode("utf-8", "replace") + content)
        status = int(answer[9:12] or 0)
        assert 400 <= status < 500 or (method, status) == ("GET", 200), (head, content, answer)
        seen.add(status)
    assert {400, 403, 404, 405, 415, 421, 422} <= seen
    assert talk(port, b"GET /ready HTTP/1.0\r\nHost: localhost\r\n\r\n").endswith(b'"ready"}')


def ask(address: str, body: dict[str, object] | None = None, method: str = "GET") -> object:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310 - a server of ours
        address, data, {"Content-Type": "application/json"}, method="POST" if data else method
    )
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return json.loads(answer.read() or "null")
        except urllib.error.HTTPError:
            raise
        except urllib.error.URLError:  # it listens, but does not answer yet
            assert time.monotonic() < deadline
            time.sleep(0.1)


@posix
@pytest.mark.slow
def test_a_killed_server_loses_no_job(tmp_path: Path) -> None:
    face = tmp_path / "face.jpg"
    face.write_bytes((DEMO / "woman.jpg").read_bytes())
    arguments = [sys.executable, "-m", "mien", "serve", "--port", "0", "--jobs", "1",
                 "--folder", str(tmp_path / "store"), "--root", str(tmp_path)]  # fmt: skip
    jobs: list[str] = []
    for end in (signal.SIGKILL, signal.SIGTERM, None):
        with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            address = json.loads(process.stderr.readline())["message"].split()[-1]
            if end is not None:
                for emotion in ("sad", "happy"):
                    body = {"input": "face.jpg", "emotion": emotion}
                    jobs.append(ask(f"{address}/v1/edit", body)["id"])  # type: ignore[index]
                time.sleep(0.3)
                process.send_signal(end)
                process.communicate(timeout=30)
                assert process.returncode == (-9 if end == signal.SIGKILL else 143)
                continue
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                states = {one["id"]: one for one in ask(f"{address}/v1/jobs")}  # type: ignore[union-attr]
                if all(states[job]["state"] == "done" for job in jobs):
                    break
                time.sleep(0.2)
            else:
                raise AssertionError(states)
            process.terminate()
            process.communicate(timeout=30)
    left = sorted(path.name for path in (tmp_path / "store" / "jobs" / jobs[0]).iterdir())
    assert left == ["inputs", "report.json", "result.jpg"]


def test_the_server_says_what_keeps_it_from_starting(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mien", "serve", "--folder", str(tmp_path), *arguments],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    open_to_all = run("--host", "0.0.0.0")  # noqa: S104 - it is refused
    assert open_to_all.returncode == 2
    assert "MIEN_TOKENS" in open_to_all.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = run("--port", str(taken.getsockname()[1]))
    assert port.returncode == 2
    assert "cannot listen" in port.stderr
