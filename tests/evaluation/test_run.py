"""From a corpus to a table in one command, beside another system, with tiny nets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from mien.cli.app import app
from mien.datasets.prepare import prepare_corpus
from mien.errors import InputError, MienError
from mien.evaluation.pairs import read_pairs
from mien.evaluation.render import Engine
from mien.evaluation.run import Plan, run_protocol
from mien.evaluation.slots import NetFiles
from mien.media.read import VideoReader

from ..conftest import DEMO
from ..speech.voices import buzz, write_sound
from .nets import write_all

FRAMES = 20


def voiced_film(path: Path, images: list[np.ndarray], folder: Path) -> Path:
    """Write a film of 25 pictures per second with 0.8 s of sound."""
    sound = write_sound(folder / "sound.wav", buzz(0.8, 200))
    with av.open(str(path), "w") as target, av.open(str(sound)) as voice:
        picture = target.add_stream("libx264", rate=25)
        picture.height, picture.width = images[0].shape[:2]
        picture.pix_fmt = "yuv420p"
        track = target.add_stream("aac", rate=16_000)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            target.mux(picture.encode(frame))
        target.mux(picture.encode(None))
        for block in voice.decode(audio=0):
            block.pts = None
            target.mux(track.encode(block))
        target.mux(track.encode(None))
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first pictures of the demo clip, with sound."""
    folder = tmp_path_factory.mktemp("film")
    with VideoReader(DEMO / "clip.mp4") as reader:
        images = [frame.image for frame in islice(reader, FRAMES)]
    return voiced_film(folder / "film.mp4", images, folder)


def evaluate(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    if isinstance(result.exception, MienError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def mead(film: Path, root: Path) -> Path:
    for place in ("neutral/level_1/001", "neutral/level_1/002", "happy/level_1/001",
                  "sad/level_1/002"):  # fmt: skip
        path = root / "M003" / "front" / f"{place}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(film, path)
    return root


def test_a_protocol_in_one_command_beside_another_system(film: Path, tmp_path: Path) -> None:
    root, out, theirs = mead(film, tmp_path / "mead"), tmp_path / "out", tmp_path / "theirs"
    theirs.mkdir()
    for name in ("M003_happy_level_1_001", "M003_sad_level_1_002"):
        shutil.copy(film, theirs / f"{name}.mp4")
    options = write_all(tmp_path)
    nets = [part for net in options for part in ("--net", net)]
    command = [
        "run", "cmet-mead", root, "-o", out, "--engine", "mesh", "--compare", f"copy={theirs}",
        *nets, "--classes", "happy,sad,angry",
    ]  # fmt: skip
    said = evaluate(*command)
    assert "2 films per system" in said
    assert (out / "table.png").stat().st_size > 10_000
    assert (out / "samples.jpg").is_file()
    table = json.loads((out / "table.json").read_text())
    real, ours, copy = (
        {figure["metric"]: figure for figure in system["figures"]} for system in table["systems"]
    )
    assert [system["name"] for system in table["systems"]] == ["real", "mesh", "copy"]
    assert set(ours) == {
        "Acc_emo", "Acc_emo (mien)", "FID", "FVD", "E-FID", "FAD", "CSIM", "LSE-D", "LSE-C",
        "offset", "LMD", "F-LMD", "M-LMD", "PSNR", "SSIM", "LPIPS", "flicker", "AITV",
    }  # fmt: skip
    assert "AITV" not in copy
    assert "FID" not in real
    assert copy["FID"]["value"] == pytest.approx(0, abs=1e-3), "copies of the real films"
    assert copy["CSIM"]["value"] > 0.99
    assert (copy["PSNR"]["value"], copy["F-LMD"]["value"]) == (100, 0)
    assert ours["FID"]["value"] > copy["FID"]["value"]
    assert ours["PSNR"]["value"] < 60
    assert real["Acc_emo"]["value"] == 50, "skin is reddest, and the first class is happy"
    assert real["Acc_emo (mien)"]["net"] == "mien's expression.onnx"
    assert real["Acc_emo (mien)"]["films"] == 2
    assert table["lost"] == 0
    assert len(ours["FID"]["sha256"]) == 64
    assert (ours["FID"]["pixels"], ours["CSIM"]["pixels"], ours["PSNR"]["pixels"]) == (32, 112, 256)
    text = (out / "table.md").read_text()
    assert "| mesh |" in text
    assert "FID ↓" in text
    assert "Emotions requested (rows) and read (columns), mesh" in text
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.*4")} | {
        path: path.stat().st_mtime_ns for path in (out / "measured").rglob("*.npz")
    }
    assert len(stamps) == 2 + 3 * 2
    shutil.rmtree(out / "measured" / "copy")
    files = NetFiles.given(options, ("happy", "sad", "angry"))
    run_protocol(Plan("cmet-mead", root, Engine("mesh"), out, files, (("copy", theirs),)))
    assert all(
        path.stat().st_mtime_ns == was for path, was in stamps.items() if "copy" not in str(path)
    )
    assert json.loads((out / "table.json").read_text()) == table
    with pytest.raises(InputError, match="a name of its own"):
        evaluate(*command, "--compare", f"mesh={theirs}")
    with pytest.raises(InputError, match="holds no film of nothing"):
        evaluate("run", "cmet-mead", root, "-o", out, "--compare", f"nothing={tmp_path}")
    with pytest.raises(InputError, match="'svd' cannot edit films"):
        evaluate("run", "cmet-mead", root, "-o", out, "--engine", "svd")


def test_without_nets_of_the_user_and_step_by_step(film: Path, tmp_path: Path) -> None:
    root, table, films = mead(film, tmp_path / "mead"), tmp_path / "p.csv", tmp_path / "films"
    assert "2 pairs" in evaluate("pairs", "cmet-mead", root, "-o", table)
    assert len(read_pairs(table)) == 2
    said = evaluate("render", table, "-o", films, "--engine", "mesh", "--workers", 2)
    assert "2 films" in said
    with pytest.raises(InputError, match="--engine edtalk"):
        evaluate("render", table, "-o", films, "--engine", "mesh", "--dtype", "bf16")
    said = evaluate("score", table, f"ours={films}", "-o", tmp_path / "out")
    assert "For FID the net inception is needed" in said
    assert "AITV of ours: 2 processes shared the machine" in said
    table_ = json.loads((tmp_path / "out" / "table.json").read_text())
    ours = {figure["metric"]: figure for figure in table_["systems"][1]["figures"]}
    assert {"Acc_emo", "E-FID", "LSE-C", "PSNR", "SSIM", "F-LMD", "flicker", "AITV"} <= set(ours)
    assert ours["E-FID"]["net"] == "mien's action units"
    assert ours["LSE-C"]["net"] == "mien's sync.onnx"
    assert ours["Acc_emo"]["net"] == "mien's expression.onnx"
    with pytest.raises(InputError, match="no pair of which all of empty"):
        (tmp_path / "empty").mkdir()
        evaluate("score", table, tmp_path / "empty", "-o", tmp_path / "out")
    with pytest.raises(InputError, match="no folder"):
        evaluate("score", table, tmp_path / "none", "-o", tmp_path / "out")
    assert "cmet-mead" in evaluate("protocols")
    assert "MIEN_NET_I3D: empty" in evaluate("nets")


def silent_copy(film: Path, path: Path) -> Path:
    """Copy the pictures of a film."""
    with av.open(str(film)) as source, av.open(str(path), "w") as target:
        picture = source.streams.video[0]
        copy = target.add_stream_from_template(picture)
        for packet in source.demux(picture):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    return path


def test_the_engine_svd_reaches_a_table(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On MEAD as published: silent films, their sound beside them. Its tiny nets draw no face, so
    the portrait takes the place of what they draw."""
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    from mien.engines.svd.engine import ClipPlan, SvdEngine
    from mien.weights.store import CACHE_VARIABLE

    from ..svd import tiny_svd_store

    store = tiny_svd_store(tmp_path / "svd")
    monkeypatch.setenv(CACHE_VARIABLE, str(store.folder))
    for place in ("neutral/level_1/001", "happy/level_3/001"):
        picture = tmp_path / "MEAD" / "M003" / "video" / "front" / f"{place}.mp4"
        sound = tmp_path / "MEAD" / "M003" / "audio" / f"{place}.wav"
        for path in (picture, sound):
            path.parent.mkdir(parents=True)
        silent_copy(film, picture)
        write_sound(sound, buzz(0.8, 200))
    nets = [word for net in write_all(tmp_path) for word in ("--net", net)]
    asked: list[tuple[ClipPlan, np.ndarray]] = []

    def drawn(
        self: SvdEngine, image: np.ndarray, box: object, samples: object, priors: np.ndarray,
        plan: ClipPlan, progress: object,
    ) -> Iterator[np.ndarray]:  # fmt: skip
        asked.append((plan, priors))
        shown = cv2.resize(image, (plan.width, plan.height), interpolation=cv2.INTER_AREA)
        yield from [shown] * (plan.generated_frames * plan.frame_rate_factor)

    monkeypatch.setattr(SvdEngine, "frames", drawn)
    out = tmp_path / "out"
    evaluate(
        "run", "dicetalk-mead", tmp_path / "MEAD", "-o", out, "--engine", "svd", "--side", "256",
        "--svd-preset", "turbo", "--emotion-guidance", 4, "--device", "cpu", *nets,
        "--classes", "happy,sad,neutral",
    )  # fmt: skip
    table = json.loads((out / "table.json").read_text())
    real, ours = ({f["metric"]: f["value"] for f in s["figures"]} for s in table["systems"])
    assert {"LSE-D", "LSE-C", "Acc_emo", "Acc_emo (mien)"} <= real.keys()
    assert {"FVD", "FID", "CSIM", "LSE-D", "LSE-C", "Acc_emo", "Acc_emo (mien)"} <= ours.keys()
    assert table["pairs"] == 2
    assert {plan.settings.preset for plan, _ in asked} == {"turbo"}
    assert {plan.settings.emotion_guidance for plan, _ in asked} == {4}
    happy, neutral = (priors[0] for _, priors in asked)
    assert not np.allclose(happy, neutral), "each film has the emotion that was asked for"


def test_portraits_that_talk(film: Path, tmp_path: Path) -> None:
    root, out = tmp_path / "hdtf", tmp_path / "out"
    root.mkdir()
    shutil.copy(film, root / "WDA_PersonAX_000.mp4")  # of the test by the rule
    silent_copy(film, root / "WDA_PersonAX_001.mp4")
    nobody = np.full((96, 96, 3), 90, np.uint8)
    voiced_film(root / "WDA_PersonAX_002.mp4", [nobody] * FRAMES, tmp_path)
    prepare_corpus("hdtf", root, tmp_path / "prepared")
    command = ["run", "dicetalk-hdtf", root, "-o", out, "--engine", "mesh"]
    said = evaluate(*command, "--prepared", tmp_path / "prepared", code=1)
    assert "1 recordings without sound were left out" in said
    assert "1 films could not be made: WDA_PersonAX_002" in said
    assert "warning: 1 films could not be made or measured" in said
    assert "1 films per system" in said
    made = out / "films" / "WDA_PersonAX_000.mp4"
    with VideoReader(made) as reader:
        assert sum(1 for _ in reader) == pytest.approx(FRAMES, abs=4)
    assert (out / "films" / "inputs" / "WDA_PersonAX_000.png").is_file()
    (_, ours) = json.loads((out / "table.json").read_text())["systems"]
    figures = {figure["metric"]: figure["value"] for figure in ours["figures"]}
    assert figures["PSNR"] > 10
    assert "Acc_emo" not in figures, "HDTF has no labels"
    with pytest.raises(InputError, match="holds no track of the films"):
        evaluate(*command, "--prepared", tmp_path)
