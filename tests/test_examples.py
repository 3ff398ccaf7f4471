"""Every program in examples/ runs."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

import mien
from mien.media.read import VideoReader

from .conftest import DEMO

EXAMPLES = Path(__file__).parents[1] / "examples"
RUN = {
    "arrays", "folder", "webcam", "subtitles", "stream_talker", "compare_voices", "many_files",
    "fastapi_app", "gradio_app", "notebook",
}  # fmt: skip

Load = Callable[[str], ModuleType]


@pytest.fixture(scope="module")
def face(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small picture of a face."""
    path = tmp_path_factory.mktemp("faces") / "face.png"
    cv2.imwrite(str(path), cv2.resize(cv2.imread(str(DEMO / "woman.jpg")), (192, 192)))
    return path


@pytest.fixture(scope="module")
def clip(face: Path) -> Path:
    """A small clip of it, eight frames long."""
    image = cv2.imread(str(face))[..., ::-1]
    path = face.with_name("clip.mp4")
    mien.edit([image] * 8, path, "neutral", rate=8, provenance=False)
    return path


@pytest.fixture
def load() -> Iterator[Load]:
    def loaded(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module

    yield loaded
    for name in [name for name in sys.modules if name.startswith("example_")]:
        del sys.modules[name]


Printed = pytest.CaptureFixture[str]


def test_every_example_is_run_here_and_listed() -> None:
    programs = {path.stem for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    assert programs == RUN
    listed = (EXAMPLES / "README.md").read_text()
    assert all(f"`{name}." in listed for name in programs)


def test_arrays(load: Load, face: Path, clip: Path, capsys: Printed) -> None:
    load("arrays").main(str(face), str(clip))
    printed = capsys.readouterr().out
    assert "8 frames, 1 people" in printed
    assert " 0% of the pixels" not in printed


def test_folder(load: Load, face: Path, tmp_path: Path, capsys: Printed) -> None:
    shutil.copy(face, tmp_path)
    cv2.imwrite(str(tmp_path / "empty.png"), np.full((64, 64, 3), 90, np.uint8))
    load("folder").main(str(tmp_path), str(tmp_path / "page.html"), "happy", "sad:0.6")
    assert "2 edits" in capsys.readouterr().out
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/jpeg") == 4
    assert "empty" not in page


def test_webcam(load: Load, clip: Path, tmp_path: Path, capsys: Printed) -> None:
    load("webcam").main(str(clip), "happy", str(tmp_path / "last.png"))
    assert "8 pictures" in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "last.png")).shape == (192, 192, 3)
    with pytest.raises(SystemExit):
        load("webcam").main("none.mp4", "happy", str(tmp_path / "none.png"))


def test_subtitles(load: Load, clip: Path, tmp_path: Path, capsys: Printed) -> None:
    output = tmp_path / "out.mp4"
    load("subtitles").main(str(clip), str(EXAMPLES / "film.srt"), str(output))
    assert "0.40 s  sad 1" in capsys.readouterr().out
    with VideoReader(output) as reader, VideoReader(clip) as source:
        images = [frame.image.astype(int) for frame in reader]
        before = [frame.image.astype(int) for frame in source]
    assert np.abs(images[0] - before[0]).mean() < np.abs(images[7] - before[7]).mean()


def test_stream_talker(load: Load, face: Path, tmp_path: Path, capsys: Printed) -> None:
    import soundfile

    speech = tmp_path / "speech.wav"
    soundfile.write(speech, np.sin(np.arange(12_000) * 0.05) * 0.2, 24_000)
    load("stream_talker").main(str(face), str(speech))
    printed = capsys.readouterr().out
    assert "piece 5:" in printed
    assert "13 pictures, 25 per second" in printed


def test_compare_voices(load: Load, face: Path, tmp_path: Path, capsys: Printed) -> None:
    import soundfile

    voice, output = DEMO / "speech.ogg", tmp_path / "faces.png"
    samples, rate = soundfile.read(voice)
    excited = tmp_path / "excited.wav"
    soundfile.write(excited, samples, int(1.4 * rate))  # faster and higher
    load("compare_voices").main(str(face), str(output), str(voice), str(excited))
    assert capsys.readouterr().out.count("intensity") == 2
    image = cv2.imread(str(output)).astype(int)
    assert image.shape == (192, 3 * 192, 3)
    for one in (image[:, :192], image[:, 192:384]):
        assert np.abs(one - image[:, 384:]).max() > 30


def test_many_files(load: Load, face: Path, tmp_path: Path, capsys: Printed) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(face, tmp_path / "in")
    for state in ("1 done, 0 failed, 0 done before", "0 failed, 1 done before"):
        load("many_files").main(str(tmp_path / "in"), str(tmp_path / "out"), "happy")
        assert state in capsys.readouterr().out
    assert (tmp_path / "out" / "face.png").is_file()


def test_fastapi_app(load: Load, face: Path) -> None:
    pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    client = TestClient(load("fastapi_app").app)
    done = client.post("/edit?emotion=happy&intensity=0.8", content=face.read_bytes())
    assert done.status_code == 200, done.text
    assert done.headers["x-faces"] == "1"
    image = cv2.imdecode(np.frombuffer(done.content, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (192, 192, 3)
    assert client.post("/edit?emotion=hapy", content=face.read_bytes()).status_code == 422
    assert client.post("/edit?emotion=happy", content=b"no picture").status_code == 415
    assert client.post("/edit?emotion=happy").status_code == 415


def test_gradio_app(load: Load, face: Path) -> None:
    gradio = pytest.importorskip("gradio")
    module = load("gradio_app")
    image = cv2.imread(str(face))[..., ::-1]
    assert module.edit(image, "happy", 1.0).shape == image.shape
    assert module.edit(None, "happy", 1.0) is None
    with pytest.raises(gradio.Error):
        module.edit(image[:64, :64], "happy", 1.0)


def test_the_cells_of_the_notebook(
    face: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run its code; with nbclient, in a kernel of its own."""
    monkeypatch.chdir(tmp_path)
    if all(importlib.util.find_spec(name) for name in ("nbclient", "ipykernel")):
        import nbformat
        from nbclient import NotebookClient

        notebook = nbformat.read(EXAMPLES / "notebook.ipynb", 4)
        NotebookClient(notebook).execute()
        shown = [out for cell in notebook.cells for out in cell.get("outputs", ())]
        assert sum("text/html" in out.get("data", {}) for out in shown) >= 2
        return
    names: dict[str, object] = {}
    cells = json.loads((EXAMPLES / "notebook.ipynb").read_text())["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)  # noqa: S102 - the project's own
    assert "data:image" in names["report"]._repr_html_()  # type: ignore[attr-defined]
