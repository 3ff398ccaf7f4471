"""Training of the articulator on clips made on the spot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mien.cli.app import app
from mien.errors import InputError
from mien.face.topology import canonical_face
from mien.speech.articulation import LOOK_AHEAD
from mien.speech.features import FEATURES, MELS
from mien.training.articulator import ArticulatorConfig
from mien.training.articulator.data import (
    PHONE_CLASSES,
    TalkingClip,
    codes_of,
    from_arpabet,
    from_ipa,
)
from mien.training.articulator.net import (
    ArticulatorNet,
    ArticulatorSpec,
    export_articulator,
    load_net,
)
from mien.training.articulator.task import (
    PhoneTask,
    best_lag,
    closures,
    correlation,
    measure,
    person,
    train_articulator,
)
from mien.training.trainer import Trainer
from mien.weights.bundled import open_net

from .voices import buzz, write_sound


def clip(name: str, split: str, *, lag: int = 0, seed: int = 0) -> TalkingClip:
    """A mouth that opens as loud as the voice is, a little before the sound."""
    rng = np.random.default_rng(seed)
    time = np.arange(300) / 50
    loud = np.clip(np.sin(2 * np.pi * 2.3 * time + rng.uniform(0, 6)), 0, 1)
    code = np.zeros((300, 7), np.float32)
    code[:, 0] = 0.15 * loud
    code[:, 1] = 0.05 * np.sin(2 * np.pi * 0.9 * time)
    rows = rng.normal(0, 0.05, (600, FEATURES)).astype(np.float32)
    rows[:, :MELS] += np.roll(np.repeat(loud, 2), lag)[:, None]
    rows[:, MELS] = np.roll(np.repeat(code[:, 1] * 10, 2), lag)
    rows[:, MELS + 1] = 1.0
    spread = np.maximum(code.std(0), 0.01).astype(np.float32)
    return TalkingClip(name, "real", split, rows, code, spread, lag)


def config(**more: object) -> ArticulatorConfig:
    settings = {"width": 16, "batch": 8, "seconds": 2.0, "steps": 60, "measure_every": 30,
                "learning_rate": 5e-3, "device": "cpu",
                "dropout": 0.2, "correlation": 0.3, **more}  # fmt: skip
    return ArticulatorConfig(manifest=Path("m"), labels=Path("l"), **settings)  # type: ignore[arg-type]


CLIPS = [clip(f"person{i}_clip{i}", "train", seed=i) for i in range(5)] + [
    clip("held_out", "val", lag=12, seed=9)
]


def test_the_code_is_computed_from_landmarks() -> None:
    face = canonical_face().points.astype(np.float32)[None]
    opened = face.copy()
    opened[:, [14, 17, 152], 1] += 0.1
    change = (codes_of(opened) - codes_of(face))[0]
    assert change == pytest.approx([0.1, 0, 0.1, 0, 0.1, 0, 0], abs=1e-5)


def test_the_net_looks_ahead_by_look_ahead() -> None:
    torch.manual_seed(0)
    net = ArticulatorNet(ArticulatorSpec(8)).eval()
    rows = torch.randn(1, 200, FEATURES)
    with torch.no_grad():
        before = net(rows)
        changed = rows.clone()
        changed[:, 100:] += 1
        after = net(changed)
    assert before.shape == (1, 100, 7)
    same = (before - after).abs().amax(2)[0] < 1e-6
    assert same[:50].all(), "a code depends on nothing beyond its own rows, which begin late"
    assert not same[51:].any()


def test_sound_that_lags_is_moved() -> None:
    late = clip("x", "train", lag=12)
    rows = late.rows_at(50, 20)
    assert np.array_equal(rows, late.rows[100 + LOOK_AHEAD + 12 :][:40])
    outside = late.rows_at(290, 10)
    assert (outside[-LOOK_AHEAD:, MELS:] == 0).all()


def test_measures() -> None:
    one = np.sin(np.arange(200) / 7).astype(np.float32)
    assert correlation(one, 2 * one + 1) == pytest.approx(1)
    assert best_lag(np.roll(one, 4), one)[0] == 4
    true = np.clip(0.15 * np.sin(np.arange(200) / 5), 0.001, 1).astype(np.float32)
    true += np.arange(200, dtype=np.float32) * 1e-6
    assert closures(true, true) == 1.0
    assert closures(np.full(200, 0.1, np.float32), true) == 0.0
    mouth = clip("x", "val")
    perfect = measure(lambda rows: mouth.code, mouth)
    assert perfect.opening == pytest.approx(1)
    assert perfect.lag == 0


def test_training_follows_the_voice_and_resumes_exactly(tmp_path: Path) -> None:
    scores = train_articulator(config(), Trainer(tmp_path / "whole"), CLIPS)
    assert scores["opening"] > 0.7
    assert scores["opening"] > scores["opening, uncorrected"] + 0.2

    class Stop(Exception):  # noqa: N818
        pass

    def interrupt(done: int, _: int) -> None:
        if done == 45:
            raise Stop

    with pytest.raises(Stop):
        train_articulator(config(), Trainer(tmp_path / "parts", progress=interrupt), CLIPS)
    train_articulator(config(), Trainer(tmp_path / "parts", resume=True), CLIPS)
    states = [
        torch.load(tmp_path / name / "articulator.pt", weights_only=True)["weights"]
        for name in ("whole", "parts")
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    pytest.importorskip("onnx")
    net = load_net(tmp_path / "whole" / "articulator.pt")
    export_articulator([net, net], tmp_path)
    rows = CLIPS[0].rows[None, :240]
    mine = open_net("articulator.onnx", folder=tmp_path).run(None, {"rows": rows})[0]
    with torch.no_grad():
        assert np.abs(mine - net(torch.from_numpy(rows)).numpy()).max() < 0.01


def labelled_speech(path: Path, seed: int = 0) -> Path:
    """Two minutes in which every phone raises bands of its own."""
    rng = np.random.default_rng(seed)
    phones = np.repeat(rng.integers(0, len(PHONE_CLASSES), 600), 10).astype(np.uint8)
    rows = rng.normal(0, 0.05, (2 * len(phones), FEATURES)).astype(np.float32)
    for band in range(len(PHONE_CLASSES)):
        rows[:, 5 * band : 5 * band + 5] += 2.0 * np.repeat(phones == band, 2)[:, None]
    np.savez(path, rows=rows.astype(np.float16), phones=phones, starts=[0])
    return path


def test_phones_that_look_alike_share_a_class() -> None:
    assert from_ipa(from_arpabet("P")) == from_ipa("m") == from_ipa("b")
    assert from_ipa("aɪ") == from_ipa("a")
    assert from_ipa("tʃ") == from_ipa("ʃ") != from_ipa("t")
    assert from_ipa("") == from_ipa(from_arpabet("SIL")) == from_ipa("ˈ") == 0
    assert from_ipa("uː") == from_ipa("y") != from_ipa("i")
    assert len("".join(PHONE_CLASSES)) == len(set("".join(PHONE_CLASSES))), (
        "a letter is in one class"
    )


def test_phones_are_learned_first_and_resumed_exactly(tmp_path: Path) -> None:
    settings = config(phones=labelled_speech(tmp_path / "p.npz"), phone_steps=60, steps=30)
    lines: list[str] = []
    net, _ = Trainer(tmp_path, log=lines.append).fit(PhoneTask(settings), "phones")
    right = float(lines[-1].split("right ")[1])
    assert right > 2 / len(PHONE_CLASSES), lines
    again, _ = Trainer(tmp_path, resume=True).fit(PhoneTask(settings), "phones")
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    later: list[str] = []
    train_articulator(settings, Trainer(tmp_path, resume=True, log=later.append), CLIPS)
    assert (tmp_path / "articulator.pt").is_file()
    assert later, "the second stage is trained"
    assert not any("phones" in line for line in later), "a finished stage is not trained again"
    with pytest.raises(InputError, match="holds no phones"):
        PhoneTask(config(phones=tmp_path / "none.npz"))
    with pytest.raises(InputError, match="less than"):
        PhoneTask(replace(settings, seconds=500.0))


def test_folds_measure_everybody(tmp_path: Path) -> None:
    train_articulator(config(folds=2, steps=10, measure_every=10), Trainer(tmp_path), CLIPS)
    table = json.loads((tmp_path / "scores.json").read_text())
    assert set(table["clips"]) == {c.name for c in CLIPS}
    assert not (tmp_path / "articulator.pt").exists()


def test_people_and_settings(tmp_path: Path) -> None:
    people = ("obama",)
    assert person("styletalk_video_Obama_clip3", people) == "obama"
    assert person("edtalk_uncrop_Obama", people) == "obama"
    assert person("somebody_clip1") == person("somebody_clip2")
    assert person("grid_GRID_bbaf2n") != person("grid_GRID_lbbc2a")
    path = tmp_path / "a.toml"
    path.write_text('manifest = "m"\nlabels = "l"\nexcluded = ["x"]\n[lags]\ny = 6\n')
    settings = ArticulatorConfig.load(path)
    assert settings.excluded == ("x",)
    assert settings.lags == {"y": 6}
    path.write_text('labels = "l"\n')
    with pytest.raises(InputError, match="manifest"):
        ArticulatorConfig.load(path)
    with pytest.raises(InputError, match="no clip to train"):
        train_articulator(config(), Trainer(tmp_path / "run"), [clip("x", "val")])


def write_data(folder: Path) -> Path:
    """Two talking clips with landmarks, tracks and sound, speech with phones, and settings."""
    face = canonical_face().points.astype(np.float32)
    (folder / "audio").mkdir()
    (folder / "tracks").mkdir()
    (folder / "labels").mkdir()
    for name in ("one", "two"):
        marks = np.repeat(face[None] * 60 + np.float32([112, 112, 0]), 50, 0)
        marks[:, [14, 17, 152], 1] += 8 * np.clip(np.sin(np.arange(50)), 0, 1)[:, None]
        missing = np.arange(50) == 7
        np.savez(folder / "labels" / name, landmarks=marks.astype(np.float16), missing=missing)
        np.savez(folder / "tracks" / name, seconds=np.arange(50) / 25)
        write_sound(folder / "audio" / f"{name}.ogg", buzz(2))
    rows = "one,real,train,1\ntwo,real,val,1\n"
    (folder / "manifest.csv").write_text("clip,kind,split,audio\n" + rows)
    labelled_speech(folder / "phones.npz")
    (folder / "a.toml").write_text(
        'manifest = "manifest.csv"\nlabels = "labels"\nphones = "phones.npz"\nwidth = 8\n'
        "batch = 2\nseconds = 1.0\nsteps = 2\nphone_steps = 2\n"
    )
    return folder / "a.toml"


def test_the_command_trains_from_files_and_names_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = write_data(tmp_path)
    command = ["train", "articulator", "--config", str(settings), "-o", str(tmp_path / "run")]
    app(command, standalone_mode=False)
    captured = capsys.readouterr()
    assert "opening:" in captured.out
    assert "phones step 2: loss" in captured.err
    assert load_net(tmp_path / "run" / "articulator.pt").spec.width == 8
    with pytest.raises(InputError, match="--resume"):
        app(command, standalone_mode=False)
    (tmp_path / "audio" / "two.ogg").unlink()
    with pytest.raises(InputError, match=r"The clip two lacks .*two\.ogg"):
        app([*command, "--overwrite"], standalone_mode=False)
    (tmp_path / "phones.npz").unlink()
    with pytest.raises(InputError, match=r"missing: phones \(.*phones\.npz\)"):
        app([*command, "--overwrite"], standalone_mode=False)
