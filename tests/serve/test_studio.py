"""The studio: what its page asks, and the page itself in a browser where there is one."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.emotion.project import Project
from mien.emotion.request import Emotion, Timeline
from mien.errors import InputError
from mien.media.still import read_still

from ..command import mien
from ..conftest import DEMO

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

from mien.serve.app import create_app
from mien.serve.limits import Limits
from mien.serve.service import Service
from mien.serve.studio_app import EXAMPLES, add_studio

BROWSER = shutil.which("chromium")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    service = Service(tmp_path_factory.mktemp("studio") / "store", Limits(running=1), keep=False)
    app = create_app(service)
    add_studio(app, service)
    with TestClient(app, base_url="http://localhost") as client:
        yield client
    assert not list((service.store.folder / "jobs").iterdir())
    assert not list((service.store.folder / "uploads").iterdir())


def test_the_page_needs_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    folder = Path(sys.modules["mien.serve"].__path__[0]) / "studio"
    for path in folder.iterdir():
        assert client.get(f"/studio/{path.name}").status_code == 200
        assert "//" not in path.read_text("utf-8").replace("// ", "").replace("///", "")
    assert client.get("/studio/../app.py").status_code == 404


def test_the_page_asks_about_clips(client: TestClient) -> None:
    clip = client.post("/studio/examples/clip.mp4", json={}).json()
    assert clip["kind"] == "video"
    (box,) = client.post("/studio/faces", json={"input": clip["id"]}).json()["faces"]
    assert 0 < box[0] < 0.5 < box[2] < 1
    silent = client.post("/studio/waveform", json={"input": clip["id"]}).json()
    assert silent["peaks"] == []
    voice = client.post("/studio/examples/speech.ogg", json={}).json()
    wave = client.post("/studio/waveform", json={"input": voice["id"]}).json()
    assert len(wave["peaks"]) == pytest.approx(voice["seconds"] * wave["peaks_per_second"], abs=3)
    assert max(wave["peaks"]) > 0.05
    assert client.post("/studio/examples/secret.mp4", json={}).status_code == 404
    assert client.post("/studio/faces", json={"input": "/etc/passwd"}).status_code == 422
    emotions = client.get("/v1/emotions").json()
    assert emotions["emotions"]["happy"]["valence"] > 0
    assert emotions["action_units"]["12"] == "lip corner puller"
    for name in EXAMPLES:
        assert (DEMO / name).is_file()


def test_live_pictures_are_edited(client: TestClient) -> None:
    picture = (DEMO / "woman.jpg").read_bytes()
    shown = []
    for emotion in ("happy:0", "happy"):
        for _ in range(3):
            answer = client.post(f"/studio/live?emotion={emotion}", content=picture)
            assert answer.headers["content-type"] == "image/jpeg"
            time.sleep(0.05)
        shown.append(answer.content)
    assert shown[0] != shown[1]
    assert client.post("/studio/live?emotion=happy", content=b"none").status_code == 422
    assert client.post("/studio/live?emotion=glum", content=picture).status_code == 422


def test_the_original_is_put_beside_an_edit(client: TestClient, tmp_path: Path) -> None:
    face = client.post("/studio/examples/woman.jpg", json={}).json()
    body = {"input": face["id"], "emotion": "sad", "beside": True, "format": "png"}
    job = client.post("/v1/edit", json=body).json()
    client.get(job["links"]["events"])
    result = client.get(f"/v1/jobs/{job['id']}/result")
    (tmp_path / "both.png").write_bytes(result.content)
    both, face_alone = read_still(tmp_path / "both.png"), read_still(DEMO / "woman.jpg")
    assert both.shape == (512, 1024, 3)
    assert (both[:, :512] == face_alone).all()
    assert np.abs(both[:, 512:].astype(int) - face_alone).max() > 20


def project(folder: Path, **fields: object) -> Path:
    path = folder / "project.json"
    path.write_text(json.dumps({"mien": 1, "input": "face.jpg", **fields}))
    return path


def test_a_project_is_a_request(tmp_path: Path) -> None:
    shutil.copy(DEMO / "woman.jpg", tmp_path / "face.jpg")
    simple = Project.load(project(tmp_path, emotion="sad:0.5", au="12=0.2", intensity=0.8))
    assert simple.request == Emotion((("sad", 0.5),), (("12", 0.2),), intensity=0.8)
    assert simple.input == tmp_path / "face.jpg"
    over = Project.load(project(tmp_path, timeline=[{"at": 1, "emotion": "sad"}], studio={}))
    assert isinstance(over.request, Timeline)
    for wrong in (
        {"mien": 2}, {"input": 3}, {"feeling": 1}, {"emotion": "glum"}, {"timeline": 3},
        {"intensity": "x"}, {"like": "none.wav", "emotion": "sad"},
    ):  # fmt: skip
        with pytest.raises(InputError):
            Project.load(project(tmp_path, **wrong))


def test_the_command_edits_a_project(tmp_path: Path) -> None:
    shutil.copy(DEMO / "woman.jpg", tmp_path / "face.jpg")
    path, out = project(tmp_path, emotion="happy"), tmp_path / "out.png"
    done = mien("edit", "--project", path, "-o", out, cache=tmp_path)
    assert done.returncode == 0, done.stderr
    assert np.abs(read_still(out).astype(int) - read_still(tmp_path / "face.jpg")).max() > 20
    assert mien("edit", "-o", out, cache=tmp_path).returncode == 2
    both = mien("edit", "--project", path, "-o", out, "--emotion", "sad", cache=tmp_path)
    assert "--project says" in both.stderr


class Page:
    """The studio in a browser."""

    def __init__(self, address: str, downloads: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service as Driver

        options = webdriver.ChromeOptions()
        options.binary_location = BROWSER or ""
        for argument in (
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--window-size=1200,1000", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
            "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
        ):  # fmt: skip
            options.add_argument(argument)
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options, Driver(shutil.which("chromedriver")))
        self.driver.get(address)
        self.until("document.body.dataset.ready")

    def run(self, script: str) -> Any:
        return self.driver.execute_script(f"return {script}")

    def until(self, script: str) -> None:
        deadline = time.monotonic() + 120
        while not self.run(script):
            message = self.run("document.getElementById('message').textContent")
            assert time.monotonic() < deadline, (script, message)
            time.sleep(0.05)

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def focus_by_tab(self, script: str) -> None:
        """Press Tab until the element that is focused fits."""
        from selenium.webdriver.common.keys import Keys

        for _ in range(120):
            if self.run(f"(e => {script})(document.activeElement)"):
                return
            self.press(Keys.TAB)
        raise AssertionError(f"Tab does not reach {script}")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, Path]]:
    if BROWSER is None or shutil.which("chromedriver") is None:
        pytest.skip("no Chromium with its driver is installed")
    if importlib.util.find_spec("selenium") is None:
        pytest.skip("selenium is not installed")
    folder = tmp_path_factory.mktemp("browser")
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    command = [sys.executable, "-m", "mien", "studio", "--no-browser", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as studio:
        assert studio.stdout is not None
        address = studio.stdout.readline().split()[4]
        shown = Page(address, folder)
        try:
            yield shown, folder
        finally:
            shown.driver.quit()
            studio.terminate()
            studio.communicate(timeout=30)


@pytest.mark.slow
def test_a_picture_is_edited_by_keyboard_alone(page: tuple[Page, Path]) -> None:
    from selenium.webdriver.common.keys import Keys

    shown, folder = page
    shown.focus_by_tab("e.textContent === 'Example: woman.jpg'")
    shown.press(Keys.ENTER)
    shown.until("document.getElementById('after').naturalWidth === 512")
    before = shown.run("document.getElementById('after').src")
    shown.focus_by_tab("e.textContent === 'happy'")
    shown.press(Keys.ENTER)
    shown.until("(document.getElementById('after').dataset.shown || '').includes('happy')")
    assert shown.run("document.getElementById('after').src") != before
    shown.focus_by_tab("e.parentElement.textContent.startsWith('Intensity') && e.type === 'range'")
    shown.press(Keys.ARROW_LEFT * 4)
    shown.until("document.getElementById('after').dataset.shown.includes('0.8')")
    shown.focus_by_tab("e.id === 'render'")
    shown.press(Keys.ENTER)
    shown.until("document.querySelector('#edit-job img')?.naturalWidth === 512")
    shown.focus_by_tab("e.textContent === 'Download the result'")
    shown.press(Keys.ENTER)
    deadline = time.monotonic() + 30
    while not (folder / "result.jpg").is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    edited = read_still(folder / "result.jpg").astype(int)
    assert np.abs(edited - read_still(DEMO / "woman.jpg")).max() > 20


@pytest.mark.slow
def test_spans_are_drawn_and_saved_as_a_project(page: tuple[Page, Path]) -> None:
    from selenium.webdriver.common.keys import Keys

    shown, folder = page
    shown.driver.refresh()
    shown.until("document.body.dataset.ready")
    shown.run("[...document.querySelectorAll('#edit-source button')]"
              ".find(b => b.textContent.endsWith('clip.mp4')).click()")  # fmt: skip
    shown.until("!document.getElementById('timeline').hidden")
    shown.until("document.getElementById('after').naturalWidth > 0")
    shown.run("document.getElementById('add-span').click()")
    shown.run("document.querySelector('.span').focus()")
    shown.press(Keys.ARROW_RIGHT * 3)
    shown.run("document.getElementById('save-project').click()")
    path = folder / "project.json"
    deadline = time.monotonic() + 30
    while not path.is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    shutil.copy(DEMO / "clip.mp4", folder / "clip.mp4")
    request = Project.load(path).request
    assert isinstance(request, Timeline)
    assert request.keys[0].at == pytest.approx(0.3)
    assert request.keys[0].emotion.labels == (("happy", 1.0),)
    shown.driver.set_window_size(390, 844)
    assert shown.run("document.documentElement.scrollWidth <= innerWidth")
    errors = [line for line in shown.driver.get_log("browser") if line["level"] == "SEVERE"]
    assert not errors
