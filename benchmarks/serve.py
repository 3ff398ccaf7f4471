"""Measure the server: bursts, load over time, kills, previews, the studio's start.

python benchmarks/serve.py [burst] [soak MINUTES] [kills ROUNDS] [preview] [start] [live]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import av
import cv2
import numpy as np
from record import table, write_section

DEMO = Path(str(files("mien") / "assets" / "demo"))
REQUESTS = 200
BOUNDARY = "----mien"


class Server:
    """A server in a process of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        command = [sys.executable, "-m", "mien", *options]
        environment = {**os.environ, "XDG_STATE_HOME": str(folder)}
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        stream = self.process.stdout if options[0] == "studio" else self.process.stderr
        line = stream.readline()
        self.address = next(word for word in line.replace('"', " ").split() if "http:" in word)
        for other in (self.process.stdout, self.process.stderr):
            threading.Thread(target=other.read, daemon=True).start()

    def ask(self, path: str, body: object = None, method: str | None = None) -> tuple[int, bytes]:
        """Send a request; return status and body."""
        data, kind = body, "application/json"
        if isinstance(body, dict) and any(isinstance(v, Path) for v in body.values()):
            data, kind = form(body), f"multipart/form-data; boundary={BOUNDARY}"
        elif isinstance(body, dict):
            data = json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - a server of ours
            self.address + path, data, {"Content-Type": kind}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:  # noqa: S310
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def json(self, path: str, body: object = None) -> dict:
        """Send a request that must succeed; return its JSON."""
        status, answer = self.ask(path, body)
        check(status < 300, status, answer)
        return json.loads(answer)

    def memory_mb(self) -> float:
        """Resident memory of the server and all its children."""
        return sum(resident(pid) for pid in family(self.process.pid)) / 1e6

    def end(self, number: int = signal.SIGTERM) -> None:
        """End the server."""
        self.process.send_signal(number)
        self.process.wait()


def check(good: object, *seen: object) -> None:
    """Stop where the server did something that it must not."""
    if not good:
        raise SystemExit(f"The server failed: {seen}")


def form(fields: dict) -> bytes:
    """A form with files."""
    out = b""
    for name, value in fields.items():
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'
        if isinstance(value, Path):
            head += f'; filename="{value.name}"'
        content = value.read_bytes() if isinstance(value, Path) else str(value).encode()
        out += f"{head}\r\n\r\n".encode() + content + b"\r\n"
    return out + f"--{BOUNDARY}--\r\n".encode()


def family(pid: int) -> Iterator[int]:
    """A process and its descendants."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from family(int(child))


def resident(pid: int) -> int:
    """Resident memory of a process that it shares with nobody, bytes."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return 1000 * sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


@contextmanager
def server(*options: str) -> Iterator[Server]:
    """A server on a folder of its own."""
    with TemporaryDirectory() as folder:
        running = Server(Path(folder), *options)
        try:
            yield running
        finally:
            running.end()


def wait_for_all(running: Server, most: int = 3600) -> Counter:
    """Wait until no job waits or runs; return the jobs by state."""
    pattern = 'mien_jobs{state="'
    deadline = time.monotonic() + most
    while True:
        text = running.ask("/metrics")[1].decode()
        lines = [line.removeprefix(pattern) for line in text.splitlines() if pattern in line]
        counts = {line.split('"')[0]: int(float(line.split()[-1])) for line in lines}
        if not counts["queued"] and not counts["running"]:
            return Counter(counts)
        check(time.monotonic() < deadline, counts)
        time.sleep(0.5)


def burst() -> list[list[object]]:
    """200 requests at once."""
    with server("serve", "--port", "0") as running:
        statuses: Counter = Counter()

        def send() -> None:
            status, _ = running.ask("/v1/edit", {"input": small, "emotion": "sad"})
            statuses[status] += 1

        with TemporaryDirectory() as folder:
            small = Path(folder) / "face.jpg"
            face = cv2.imread(str(DEMO / "woman.jpg"))
            cv2.imwrite(str(small), cv2.resize(face, (256, 256), interpolation=cv2.INTER_AREA))
            threads = [threading.Thread(target=send) for _ in range(REQUESTS)]
            begun = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            answered = time.perf_counter() - begun
        ended = wait_for_all(running)
        return [
            ["requests at once, by status", dict(statuses)],
            ["all answered after", f"{answered:.1f} s"],
            ["jobs by state", {state: n for state, n in ended.items() if n}],
            ["all jobs done after", f"{time.perf_counter() - begun:.0f} s"],
        ]


def soak(minutes: float) -> list[list[object]]:
    """Load over time."""
    with server("serve", "--port", "0", "--keep", "60") as running:
        statuses: Counter = Counter()
        memory = []
        end = time.monotonic() + 60 * minutes

        def load(verb: int) -> None:
            while time.monotonic() < end:
                body = [
                    ("/v1/edit", {"input": DEMO / "man.jpg", "emotion": "happy"}),
                    ("/v1/feel", {"input": DEMO / "speech.ogg"}),
                    ("/v1/preview", {"input": DEMO / "woman.jpg", "emotion": "sad"}),
                    ("/v1/edit", {"input": Path(__file__), "emotion": "sad"}),
                ][verb]
                statuses[running.ask(*body)[0]] += 1
                time.sleep(1)

        threads = [threading.Thread(target=load, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        while time.monotonic() < end:
            time.sleep(10)
            memory.append(running.memory_mb())
        for thread in threads:
            thread.join()
        text = running.ask("/metrics")[1].decode()
        lines = [
            line for line in text.splitlines() if 'mien_jobs_ended_total{state="failed"' in line
        ]
        failed = sum(int(float(line.split()[-1])) for line in lines)
    third = max(1, len(memory) // 3)
    return [
        [f"{minutes:g} minutes of load, answers by status", dict(statuses)],
        ["jobs that failed", failed],
        [
            "memory, median of the first, second and last third",
            ", ".join(f"{median(memory[i:][:third]):.0f} MB" for i in (0, third, 2 * third)),
        ],
    ]


def kills(rounds: int) -> list[list[object]]:
    """``kill -9`` of the server or a job at random times."""
    numbers = random.Random(3)  # noqa: S311 - the same moments every time
    entered: set[str] = set()
    unreadable = 0
    with TemporaryDirectory() as folder:
        for number in range(rounds + 1):
            running = Server(Path(folder), "serve", "--port", "0")
            for _ in range(2 if number < rounds else 0):
                body = {"input": DEMO / "woman.jpg", "emotion": "sad"}
                entered.add(running.json("/v1/edit", body)["id"])
            if number < rounds:
                time.sleep(numbers.uniform(0, 4))
                victims = list(family(running.process.pid))[1:]
                if numbers.random() < 0.5 and victims:
                    with suppress(ProcessLookupError):
                        os.kill(numbers.choice(victims), signal.SIGKILL)
                    time.sleep(numbers.uniform(0, 2))
            else:
                wait_for_all(running)
            states = Counter()
            for job in entered:
                status, answer = running.ask(f"/v1/jobs/{job}")
                check(status == 200, status, job)
                state = json.loads(answer)
                states[state["state"]] += 1
                check(state["state"] != "failed" or state["error"]["message"], state)
                status, picture = running.ask(f"/v1/jobs/{job}/result")
                check(status == 200 or (status == 409 and state["state"] != "done"), status, state)
                if status == 200:
                    whole = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
                    unreadable += whole is None or whole.shape != (512, 512, 3)
            running.end(signal.SIGKILL if number < rounds else signal.SIGTERM)
    return [
        [f"{rounds} rounds of kill -9 with 2 jobs each: jobs by state at the end", dict(states)],
        ["results that were visible and not whole", unreadable],
    ]


def film(path: Path) -> None:
    """A clip of 720p with a face of half the height."""
    face = cv2.resize(cv2.imread(str(DEMO / "woman.jpg")), (720, 720))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for i in range(100):
            image = np.full((720, 1280, 3), 90, np.uint8)
            image[:, 200 + i : 920 + i] = face
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))


def preview() -> list[list[object]]:
    """Previews of 720p, from the request to the last byte of the picture."""
    with server("serve", "--port", "0") as running, TemporaryDirectory() as folder:
        film(Path(folder) / "film.mp4")
        clip = running.json("/v1/uploads", {"file": Path(folder) / "film.mp4"})["id"]

        def times(bodies: list[dict]) -> str:
            out = []
            for body in bodies:
                begun = time.perf_counter()
                status, _ = running.ask("/v1/preview", {"input": clip, "side": 960, **body})
                check(status == 200, status)
                out.append(time.perf_counter() - begun)
            return f"{median(out):.3f} s, {sorted(out)[int(0.95 * len(out))]:.3f} s"

        begun = time.perf_counter()
        running.ask("/v1/preview", {"input": clip, "emotion": "sad"})
        first = time.perf_counter() - begun
        sliding = [{"emotion": f"happy:{i / 100:.2f}", "seconds": 1} for i in range(10, 110)]
        scrubbing = [{"emotion": "sad", "seconds": i / 25} for i in range(0, 100, 4)]
        return [
            ["first preview of a clip of 720p", f"{first:.2f} s"],
            ["another emotion on the same frame of 720p: median, 95 %", times(sliding)],
            ["another frame of 720p: median, 95 %", times(scrubbing)],
        ]


def start() -> list[list[object]]:
    """Seconds until the studio's page is there."""
    out = []
    for _ in range(5):
        with TemporaryDirectory() as folder:
            begun = time.perf_counter()
            running = Server(Path(folder), "studio", "--no-browser", "--port", "0")
            while True:
                try:
                    running.ask("/")
                    break
                except OSError:
                    time.sleep(0.01)
            out.append(time.perf_counter() - begun)
            running.end()
    return [["start of the studio until its page is there, median of 5", f"{median(out):.2f} s"]]


def live() -> list[list[object]]:
    """Camera pictures of 640 x 480 through the studio, two at a time as its page sends them."""
    face = cv2.resize(cv2.imread(str(DEMO / "woman.jpg")), (480, 480))
    image = np.full((480, 640, 3), 90, np.uint8)
    image[:, 80:560] = face
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    with server("studio", "--no-browser", "--port", "0") as running:
        running.ask("/studio/live?emotion=happy", jpeg)

        def send() -> None:
            for _ in range(50):
                check(running.ask("/studio/live?emotion=happy:0.8", jpeg)[0] == 200)

        threads = [threading.Thread(target=send) for _ in range(2)]
        begun = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rate = 100 / (time.perf_counter() - begun)
    return [["live pictures of 640 x 480 in the studio", f"{rate:.1f} a second"]]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["burst", "preview", "start", "live"])
    parts = iter(parser.parse_args().parts)
    rows: list[list[object]] = []
    for part in parts:
        if part == "soak":
            rows += soak(float(next(parts)))
        elif part == "kills":
            rows += kills(int(next(parts)))
        else:
            rows += {"burst": burst, "preview": preview, "start": start, "live": live}[part]()
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    rows.append(["processes that wanted each core meanwhile", f"{load:.1f}"])
    write_section("Server", table(["what", "measured"], rows))


if __name__ == "__main__":
    main()
