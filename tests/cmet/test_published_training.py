"""Training the connector on features in MEAD's published layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tensorboard")
pytest.importorskip("safetensors")

from mien.datasets.edtalk_features import Recording, extract_features, read_features
from mien.datasets.manifest import Processed
from mien.datasets.mead import EMOTIONS, TEST_PEOPLE, TRAIN_PEOPLE
from mien.engines.edtalk.settings import EDTalkSettings
from mien.engines.published_checkpoints import convert_file
from mien.errors import InputError
from mien.pipelines.cmet_models import CmetModels, load_connector
from mien.training.connector.edtalk import (
    EDTalkConnectorConfig,
    EDTalkConnectorTask,
    MeadSampler,
    train_edtalk_connector,
)
from mien.training.trainer import Trainer
from mien.weights.manifest import CONNECTOR, entry
from mien.weights.store import Store

from ..command import mien, trains_and_resumes
from ..conftest import MakeClip
from ..published import tiny_store
from ..speech.voices import buzz, write_sound

PEOPLE = ("M005", "M007", "M003")
SHIFT = {name: 0.3 * (i - 3) for i, name in enumerate(EMOTIONS)}


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people; an emotion adds the same to face and voice of each."""
    return write_features(tmp_path_factory.mktemp("mead"))


def write_features(root: Path) -> Path:
    rng = np.random.default_rng(0)
    for p, person in enumerate(PEOPLE):
        for emotion in EMOTIONS:
            for level in ("level_1",) if emotion == "neutral" else ("level_1", "level_2"):
                folder = root / person / "front" / emotion / level
                (folder / "emotion2vec+large_features").mkdir(parents=True)
                numbers = (1, 2, 5, 31, 32) if emotion == "neutral" else (1, 2, 5, 21, 22)
                for number in numbers:
                    length = int(rng.integers(4, 30))
                    code = p + SHIFT[emotion] + 0.05 * rng.normal(size=(length, 10))
                    np.save(folder / f"{number:03d}_ED_exp.npy", code)
                    voice = rng.normal(size=16) * 0.05
                    voice[EMOTIONS.index(emotion)] += 1
                    np.save(folder / "emotion2vec+large_features" / f"{number:03d}.npy", voice)
    return root


def config(features: Path, **more: object) -> EDTalkConnectorConfig:
    settings = {"width": 64, "layers": 1, "heads": 4, "feed_forward": 64, "batch": 24,
                "measure_every": 10, "device": "cpu", **more}  # fmt: skip
    return EDTalkConnectorConfig(features=features, **settings)  # type: ignore[arg-type]


def test_the_published_people() -> None:
    assert EDTalkConnectorConfig(features=Path("x")).train == TRAIN_PEOPLE
    assert EDTalkConnectorConfig(features=Path("x")).test == TEST_PEOPLE
    assert EDTalkConnectorConfig(features=Path("x")).steps == 200_000
    assert EDTalkConnectorConfig(features=Path("x")).batch == 128


def test_pairs_follow_the_paper(features: Path) -> None:
    recordings = read_features(features, TRAIN_PEOPLE)
    assert {r.person for r in recordings} == {"M005", "M007"}
    drawn = MeadSampler(recordings, 200).draw(np.random.default_rng(0))
    assert {k: tuple(v.shape) for k, v in drawn.items()} == {
        "reference": (200, 5, 10), "speech": (200, 1, 16), "first": (200, 5, 10),
        "second": (200, 5, 10), "target": (200, 5, 10), "label": (200,),
    }  # fmt: skip
    second = torch.tensor([SHIFT[EMOTIONS[i]] for i in drawn["label"].tolist()])
    gain = (drawn["second"] - drawn["first"]).mean((1, 2))
    assert (drawn["target"].mean((1, 2)) - gain).abs().max() < 0.1
    assert len(set(drawn["label"].tolist())) == 8
    assert torch.corrcoef(torch.stack([second, drawn["target"].mean((1, 2))]))[0, 1] > 0.5
    strongest = drawn["speech"][:, 0].argmax(1)
    assert (strongest == drawn["label"]).float().mean() > 0.95
    given = drawn["reference"].abs().sum((1, 2)) > 0
    assert given.any(), "late windows have a reference"
    assert not given.all(), "the first windows have none"
    rows = drawn["reference"].abs().sum(2) > 0
    assert (rows[:, 1:] >= rows[:, :-1]).all(), "what has not begun is zero, then it goes on"
    none = MeadSampler(recordings, 50, no_reference=1.0).draw(np.random.default_rng(0))
    assert not none["reference"].any()


def test_voices_do_not_depend_on_the_video_and_faces_are_drawn_with_replacement() -> None:
    """Every pair of emotions meets all voices; an average of ten can hold a clip twice."""
    voices = 40
    recordings = [
        Recording(person, emotion, 1, number, np.full((6, 2), number, np.float32),
                  np.eye(2 * voices, dtype=np.float32)[k + voices * (emotion == "sad")])
        for person in ("M005",)
        for emotion in ("happy", "sad")
        for k, number in enumerate([1, 2, 3, *range(100, 100 + voices - 3)])
    ]  # fmt: skip
    drawn = MeadSampler(recordings, 600).draw(np.random.default_rng(0))
    sad = drawn["label"] == EMOTIONS.index("sad")
    heard = drawn["speech"][sad][:, 0, voices:]
    assert (heard > 0).any(0).all(), "three videos start the pairs, and yet all voices are met"
    rows = [tuple(row.nonzero().flatten().tolist()) for row in heard]
    assert len(set(rows)) > voices // 2
    means = drawn["first"][:, 0, 0]
    distinct = {round(float(v), 4) for v in means}
    assert len(distinct) > 5, "three faces averaged without replacement always have one mean"


def test_emotions_can_be_left_out_and_people_mixed(features: Path, tmp_path: Path) -> None:
    settings = config(features, steps=4, measure_every=4, left_out=("happy", "fear"))
    task = EDTalkConnectorTask(settings)
    left_out = {EMOTIONS.index("happy"), EMOTIONS.index("fear")}
    assert not left_out & {int(i) for step in range(4) for i in task.batch(step)["label"]}
    scores = train_edtalk_connector(settings, Trainer(tmp_path / "run"))
    assert "cosine of unseen emotions" in scores
    recordings = read_features(features, TRAIN_PEOPLE)
    own, mixed = (
        MeadSampler(recordings, 200, other_people=mix).draw(np.random.default_rng(0))
        for mix in (False, True)
    )
    # Emotions differ by at most 2.1 in every coefficient, the two people by another 1.
    assert own["target"].abs().max() < 2.4
    assert mixed["target"].abs().max() > 2.4
    with pytest.raises(InputError, match="joyful"):
        config(features, left_out=("joyful",))


def test_one_direction_needs_no_way_back(features: Path) -> None:
    task = EDTalkConnectorTask(config(features, one_direction=True))
    net = task.build()
    parts = task.losses(net, task.batch(0), 0).parts
    assert set(parts) == {"focal_forward", "contrastive", "total"}
    both = EDTalkConnectorTask(config(features))
    assert {"focal_backward", "directional"} <= set(both.losses(net, both.batch(0), 0).parts)


def test_missing_features_are_named(features: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mien features"):
        read_features(tmp_path / "none", TRAIN_PEOPLE)
    with pytest.raises(InputError, match="1 people"):
        read_features(features, ["W011"])
    folder = tmp_path / "M005" / "front" / "happy" / "level_1"
    folder.mkdir(parents=True)
    np.save(folder / "001_ED_exp.npy", np.zeros((3, 10)))
    with pytest.raises(InputError, match=r"001\.npy"):
        read_features(tmp_path, ["M005"])


def test_training_learns_and_resumes_exactly(features: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    settings = config(features, steps=60, learning_rate=2e-3, no_reference=0.5)
    scores = train_edtalk_connector(settings, Trainer(tmp_path / "whole", log=lines.append))
    first, last = (
        float(line.split("focal_forward ")[1].split(",")[0]) for line in (lines[0], lines[-1])
    )
    assert last < 0.5 * first
    assert scores["cosine"] > 0.5

    class Stop(Exception):  # noqa: N818
        pass

    def interrupt(done: int, _: int) -> None:
        if done == 35:
            raise Stop

    with pytest.raises(Stop):
        train_edtalk_connector(settings, Trainer(tmp_path / "parts", progress=interrupt))
    train_edtalk_connector(settings, Trainer(tmp_path / "parts", resume=True))
    nets = [
        torch.load(tmp_path / name / "connector.pth", weights_only=True)["state_dict"]
        for name in ("whole", "parts")
    ]
    assert all(torch.equal(nets[0][key], nets[1][key]) for key in nets[0])
    store = Store(tmp_path / "cache")
    convert_file(entry(CONNECTOR), tmp_path / "whole" / "connector.pth", store)
    own = load_connector(tmp_path / "whole" / "connector.safetensors", store).state_dict()
    assert all(torch.equal(own[key], nets[0][key]) for key in nets[0])


@pytest.mark.slow
def test_the_command_trains_and_resumes(features: Path, tmp_path: Path) -> None:
    config = tmp_path / "settings.toml"
    config.write_text(
        f'features = "{features}"\nwidth = 64\nlayers = 1\nfeed_forward = 64\nbatch = 4\n'
        "steps = 3\nmeasure_every = 2\n"
    )
    command = ("train", "connector-edtalk", "--config", config, "-o", tmp_path / "run")
    assert "cosine: " in trains_and_resumes(*command, cache=tmp_path).stdout
    missing = mien(*command, "--set", "features=/none", "--overwrite", cache=tmp_path)
    assert missing.returncode == 2
    assert "features (/none)" in missing.stderr
    assert (tmp_path / "run" / "checkpoint.pt").is_file(), "nothing is removed before the checks"


def test_settings_are_read(features: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('features = "f"\ntrain = ["M005"]\n[loss]\ncontrastive = 0.2\n')
    settings = EDTalkConnectorConfig.load(path)
    assert settings.train == ("M005",)
    assert settings.loss.contrastive == 0.2
    path.write_text("batch = 2\n")
    with pytest.raises(InputError, match="features"):
        EDTalkConnectorConfig.load(path)
    path.write_text('features = "f"\nbatch = 0\n')
    with pytest.raises(InputError, match="batch must be at least 1; got 0"):
        EDTalkConnectorConfig.load(path)


def test_features_are_extracted_once(short_clip: Path, make_clip: MakeClip, tmp_path: Path) -> None:
    root = tmp_path / "videos"
    place = root / "M005" / "front" / "happy" / "level_1"
    place.mkdir(parents=True)
    shutil.copy(short_clip, place / "001.mp4")
    sound = root / "M005" / "audio" / "happy" / "level_1"
    sound.mkdir(parents=True)
    write_sound(sound / "001.wav", buzz(1.0, 200))
    make_clip(audio="aac").rename(place / "002.mp4")
    shutil.copy(short_clip, place / "003.mp4")
    store = tiny_store(tmp_path / "weights")
    store.locate(CONNECTOR).unlink()  # what the features are for
    nets = CmetModels.open(EDTalkSettings("cpu"), store)
    lines: list[str] = []
    out = tmp_path / "features"
    assert extract_features(root, out, nets, log=lines.append) == Processed(1, silent=1, failed=1)
    code = np.load(out / "M005/front/happy/level_1/001_ED_exp.npy")
    assert code.shape == (25, 10)
    assert np.isfinite(code).all()
    assert len(lines) == 2
    assert "002.mp4" in lines[0]
    assert "003.mp4 has no sound" in lines[1]
    before = (out / "M005/front/happy/level_1/001_ED_exp.npy").stat().st_mtime_ns
    extract_features(root, out, nets, log=lines.append)
    assert (out / "M005/front/happy/level_1/001_ED_exp.npy").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="no video"):
        extract_features(tmp_path / "none", out, nets, log=lines.append)
