"""Training of the articulator on clips made on the spot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tensorboard")

from mien.errors import InputError
from mien.face.topology import canonical_face
from mien.speech.articulation import LOOK_AHEAD
from mien.speech.features import FEATURES, MELS
from mien.training.articulator.classes import CLASSES, from_arpa, from_ipa
from mien.training.articulator.config import ArticulatorConfig
from mien.training.articulator.loop import person, train_articulator
from mien.training.articulator.material import TalkingClip, codes_of
from mien.training.articulator.measure import best_lag, closures, correlation, measure
from mien.training.articulator.net import ArticulatorNet, ArticulatorSpec
from mien.training.articulator.phones_loop import learn_phones
from mien.training.articulator.sampling import heard
from mien.weights.bundled import open_net


def clip(name: str, split: str, *, late: int = 0, seed: int = 0) -> TalkingClip:
    """A mouth that opens as loud as the voice is, a little before the sound."""
    rng = np.random.default_rng(seed)
    time = np.arange(300) / 50
    loud = np.clip(np.sin(2 * np.pi * 2.3 * time + rng.uniform(0, 6)), 0, 1)
    code = np.zeros((300, 7), np.float32)
    code[:, 0] = 0.15 * loud
    code[:, 1] = 0.05 * np.sin(2 * np.pi * 0.9 * time)
    rows = rng.normal(0, 0.05, (600, FEATURES)).astype(np.float32)
    rows[:, :MELS] += np.roll(np.repeat(loud, 2), late)[:, None]
    rows[:, MELS] = np.roll(np.repeat(code[:, 1] * 10, 2), late)
    rows[:, MELS + 1] = 1.0
    spread = np.maximum(code.std(0), 0.01).astype(np.float32)
    return TalkingClip(name, "real", split, rows, code, spread, late)


def config(**more: object) -> ArticulatorConfig:
    settings = {"width": 16, "batch": 8, "seconds": 2.0, "steps": 60, "measure_every": 30,
                "learning_rate": 5e-3, "device": "cpu",
                "dropout": 0.2, "correlation": 0.3, **more}  # fmt: skip
    return ArticulatorConfig("m", "l", **settings)  # type: ignore[arg-type]


CLIPS = [clip(f"person{i}_clip{i}", "train", seed=i) for i in range(5)] + [
    clip("held_out", "val", late=12, seed=9)
]


def test_the_code_is_read_off_landmarks() -> None:
    face = canonical_face().points.astype(np.float32)[None]
    opened = face.copy()
    opened[:, [14, 17, 152], 1] += 0.1
    change = (codes_of(opened) - codes_of(face))[0]
    assert change == pytest.approx([0.1, 0, 0.1, 0, 0.1, 0, 0], abs=1e-5)


def test_the_net_looks_ahead_as_far_as_it_says() -> None:
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
    assert same[:50].all(), "a code sees nothing beyond its own rows, which begin late"
    assert not same[51:].any()


def test_sound_that_lags_is_moved() -> None:
    late = clip("x", "train", late=12)
    rows = heard(late, 50, 20)
    assert np.array_equal(rows, late.rows[100 + LOOK_AHEAD + 12 :][:40])
    outside = heard(late, 290, 10)
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
    scores = train_articulator(config(), tmp_path / "whole", clips=CLIPS)
    assert scores["opening"] > 0.7
    assert scores["opening"] > scores["opening, uncorrected"] + 0.2

    class Stop(Exception):  # noqa: N818
        pass

    def interrupt(done: int, _: int) -> None:
        if done == 45:
            raise Stop

    with pytest.raises(Stop):
        train_articulator(config(), tmp_path / "parts", clips=CLIPS, progress=interrupt)
    train_articulator(config(), tmp_path / "parts", clips=CLIPS, resume=True)
    states = [
        torch.load(tmp_path / name / "articulator.pt", weights_only=True)["weights"]
        for name in ("whole", "parts")
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    pytest.importorskip("onnx")
    from mien.training.articulator.export import export_articulator, load_net

    net = load_net(tmp_path / "whole" / "articulator.pt")
    export_articulator([net, net], tmp_path)
    rows = CLIPS[0].rows[None, :240]
    mine = open_net("articulator.onnx", folder=tmp_path).run(None, {"rows": rows})[0]
    with torch.no_grad():
        assert np.abs(mine - net(torch.from_numpy(rows)).numpy()).max() < 0.01


def spoken(path: Path, seed: int = 0) -> Path:
    """Two minutes in which the lowest band says which phone it is."""
    rng = np.random.default_rng(seed)
    phones = np.repeat(rng.integers(0, len(CLASSES), 600), 10).astype(np.uint8)
    rows = rng.normal(0, 0.05, (2 * len(phones), FEATURES)).astype(np.float32)
    for band in range(len(CLASSES)):
        rows[:, 5 * band : 5 * band + 5] += 2.0 * np.repeat(phones == band, 2)[:, None]
    np.savez(path, rows=rows.astype(np.float16), phones=phones, starts=[0])
    return path


def test_phones_are_classes_of_looks() -> None:
    assert from_ipa(from_arpa("P")) == from_ipa("m") == from_ipa("b")
    assert from_ipa("aɪ") == from_ipa("a")
    assert from_ipa("tʃ") == from_ipa("ʃ") != from_ipa("t")
    assert from_ipa("") == from_ipa(from_arpa("SIL")) == from_ipa("ˈ") == 0
    assert from_ipa("uː") == from_ipa("y") != from_ipa("i")
    assert len("".join(CLASSES)) == len(set("".join(CLASSES))), "a letter is in one class"


def test_phones_are_learned_first_and_go_on_exactly(tmp_path: Path) -> None:
    settings = config(phones=str(spoken(tmp_path / "p.npz")), phone_steps=60, steps=30)
    lines: list[str] = []
    net = learn_phones(settings, tmp_path / "phones", say=lines.append)
    right = float(lines[-1].split(", ")[-1].split()[0])
    assert right > 2 / len(CLASSES), lines
    again = learn_phones(settings, tmp_path / "phones", say=lines.append)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    said: list[str] = []
    train_articulator(settings, tmp_path, clips=CLIPS, say=said.append)
    assert (tmp_path / "articulator.pt").is_file()
    assert not any("phones" in line for line in said), "what was learned is not learned again"
    with pytest.raises(InputError, match="holds no phones"):
        learn_phones(config(phones=str(tmp_path / "none.npz")), tmp_path / "x", say=said.append)
    with pytest.raises(InputError, match="less than"):
        learn_phones(replace(settings, seconds=500.0), tmp_path / "y", say=said.append)


def test_folds_measure_everybody(tmp_path: Path) -> None:
    train_articulator(config(folds=2, steps=10, measure_every=10), tmp_path, clips=CLIPS)
    import json

    table = json.loads((tmp_path / "scores.json").read_text())
    assert set(table["clips"]) == {c.name for c in CLIPS}
    assert not (tmp_path / "articulator.pt").exists()


def test_people_and_settings(tmp_path: Path) -> None:
    assert person("styletalk_video_Obama_clip3") == person("edtalk_uncrop_Obama") == "obama"
    assert person("grid_GRID_bbaf2n") != person("grid_GRID_lbbc2a")
    path = tmp_path / "a.toml"
    path.write_text('manifest = "m"\nlabels = "l"\nleft_out = ["x"]\n[late]\ny = 6\n')
    settings = ArticulatorConfig.load(path)
    assert settings.left_out == ("x",)
    assert settings.late == {"y": 6}
    path.write_text('labels = "l"\n')
    with pytest.raises(InputError, match="manifest"):
        ArticulatorConfig.load(path)
    with pytest.raises(InputError, match="no clip to train"):
        train_articulator(config(), tmp_path, clips=[clip("x", "val")])
