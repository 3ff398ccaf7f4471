"""C-MET on another backbone: converted, read, trained, transferred and rendered end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
pytest.importorskip("tensorboard")

from mien.datasets.edtalk_features import (
    extract_features,
    read_expressions,
    read_features,
)
from mien.datasets.miniature import make_miniature
from mien.emotion.request import Emotion
from mien.engines.backbone import Backbone
from mien.errors import InputError, WeightsError
from mien.pipelines import edtalk
from mien.pipelines.cmet_models import CmetModels
from mien.pipelines.job import Job
from mien.speech.features import features
from mien.speech.listener import Listener
from mien.training.connector.edtalk import EDTalkConnectorConfig, train_edtalk_connector
from mien.training.trainer import Trainer
from mien.weights.store import Store

from ..eigenfaces import Eigenfaces, open_eigenfaces, train_eigenfaces
from ..published import write_connector

TRAIN, TEST = ("M005", "W011"), "M003"
NEUTRAL = "front/neutral/level_1/001.mp4"
SHOWN = {f"{name}.mp4": f"front/{name}/level_3/001.mp4" for name in ("angry", "surprised")}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("films")
    make_miniature(
        "mead", root, emotions=("neutral", "angry", "surprised"), sentences=1, seconds=0.2
    )
    return root


@pytest.fixture(scope="module")
def backbone(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Eigenfaces:
    folder = tmp_path_factory.mktemp("eigenfaces")
    return open_eigenfaces(train_eigenfaces(films, TRAIN, folder / "eigenfaces.pt"), folder)


def models(backbone: Backbone, folder: Path, connector: Path | None = None) -> CmetModels:
    return CmetModels(backbone, Store(folder), connector_file=connector, speech_encoder=listened)


def listened(samples: np.ndarray) -> np.ndarray:
    """What the listener that ships hears, instead of emotion2vec, and as loud."""
    return 10 * Listener().embed([features(samples)])[0]


def test_another_backbone_trains_transfers_and_renders(
    films: Path, backbone: Eigenfaces, tmp_path: Path
) -> None:
    folder = tmp_path / "features"
    nets = models(backbone, tmp_path / "cache")
    assert extract_features(films, folder, nets, log=print).videos == 9
    assert read_features(folder, TRAIN)[0].expression.shape[1] == backbone.expression_dim

    config = EDTalkConnectorConfig(
        features=folder, train=TRAIN, test=(TEST,), width=64, layers=1, feed_forward=64,
        batch=12, steps=80, learning_rate=2e-3, no_reference=0.5, measure_every=80, device="cpu",
    )  # fmt: skip
    scores = train_edtalk_connector(config, Trainer(tmp_path / "run"))
    assert scores["cosine"] > 0.3

    nets = models(backbone, tmp_path / "cache", tmp_path / "run" / "connector.safetensors")
    plain = [films / person / NEUTRAL for person in TRAIN]
    for name, film in SHOWN.items():
        like = [films / person / film for person in TRAIN]
        request = Emotion.parse(like=like, neutral=plain)
        report = edtalk.run_with(Job(films / TEST / NEUTRAL, tmp_path / name, request), nets)
        assert report.engine == "eigenfaces"
        assert report.frames == 5
        assert "connector.safetensors" in {weights.name for weights in report.weights}
    made, true = (
        np.subtract(*(read_expressions(path, nets).mean(0) for path in two))
        for two in (
            [tmp_path / name for name in SHOWN],
            [films / TEST / film for film in SHOWN.values()],
        )
    )
    cosine = made @ true / np.linalg.norm(made) / np.linalg.norm(true)
    assert cosine > 0.4, "a person never seen shows what the voices of others feel"
    assert np.linalg.norm(made) > 0.1 * np.linalg.norm(true)


def test_a_connector_of_another_code_is_refused(backbone: Eigenfaces, tmp_path: Path) -> None:
    from mien.engines.published_checkpoints import convert_file
    from mien.weights.manifest import CONNECTOR, entry

    nets = models(backbone, tmp_path / "cache")
    convert_file(entry(CONNECTOR), write_connector(tmp_path / "c.pth"), nets.store)
    with pytest.raises(InputError, match="10 and 6 expression"):
        nets.connector()


def test_its_converter_refuses_other_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="is not a set of eigenfaces"):
        open_eigenfaces(write_connector(tmp_path / "c.pth"), tmp_path)
