"""A connector trained for real on made-up people whose faces follow their voices."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from mien.cmet.connector import Connector, ConnectorSpec
from mien.cmet.losses import directional, focal
from mien.cmet.mesh import PROTOTYPES, MeshConnector
from mien.cmet.semantic import transfer
from mien.errors import InputError, WeightsError
from mien.face.facs import OPENFACE_UNITS
from mien.training.connector.export import export_connector, load_connector
from mien.training.connector.mesh import ConnectorConfig, PairSampler, train_connector
from mien.training.connector.objective import FaceSpace, cases, correlations, rank, typical_of
from mien.training.trainer import Trainer
from mien.training.voice_faces import VoiceFaces, read_faces

EMOTIONS = ("neutral", "happy", "sad", "angry", "surprised", "fear", "disgusted")
SIZE = 12


def made_up(people: int = 6, clips: int = 4) -> VoiceFaces:
    """Voices are points, one per emotion and person; faces are a fixed turn of them."""
    rng = np.random.default_rng(0)
    places = rng.normal(0, 1, (len(EMOTIONS), SIZE + 3)) * 0.3
    places[0] = 0
    turn = rng.normal(0, 4, (SIZE + 3, len(OPENFACE_UNITS)))
    rows = []
    for person in range(people):
        own, plain = rng.normal(0, 0.1, SIZE + 3), rng.uniform(2, 5, len(OPENFACE_UNITS))
        for e, emotion in enumerate(EMOTIONS):
            for _ in range(clips):
                voice = places[e] + own + rng.normal(0, 0.03, (3, SIZE + 3))
                face = plain + places[e] @ turn + rng.normal(0, 0.3, len(OPENFACE_UNITS))
                rows.append((voice, face, f"p{person}", emotion, person < people - 2))
    voices, faces, speaker, emotion, train = zip(*rows, strict=True)
    return VoiceFaces(
        np.float32(voices),
        np.float32(faces),
        np.array(speaker),
        np.array(emotion),
        np.array(["toy"] * len(rows)),
        np.array(train),
    )


PAIRS = made_up()
CONFIG = ConnectorConfig(
    manifest=Path("none"),
    action_units=Path("none"),
    width=64,
    layers=1,
    feed_forward=64,
    batch=24,
    steps=60,
    measure_every=30,
    learning_rate=2e-3,
    ridge_penalty=10.0,
    noise=0.1,
    recipes=0.0,
)


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[str, float], list[str]]:
    """The folder of a run, its scores and its log."""
    out, lines = tmp_path_factory.mktemp("run"), list[str]()
    return out, train_connector(CONFIG, Trainer(out, log=lines.append), PAIRS), lines


@pytest.fixture(scope="module")
def run(trained: tuple[Path, dict[str, float], list[str]]) -> Path:
    return trained[0]


def test_held_out_people_are_predicted(
    trained: tuple[Path, dict[str, float], list[str]],
) -> None:
    _, scores, lines = trained
    assert scores["per unit"] > 0.8
    assert scores["per clip"] > 0.8
    assert len(lines) == 2


def test_the_published_network_learns_too(tmp_path: Path) -> None:
    plain = replace(CONFIG, direct=False, steps=100, measure_every=50)
    lines: list[str] = []
    scores = train_connector(plain, Trainer(tmp_path, log=lines.append), PAIRS)
    assert scores["per clip"] > 0.5

    def total(line: str) -> float:
        return float(line.split("total ")[1].split(" ")[0].rstrip(","))

    assert total(lines[-1]) < total(lines[0])


def test_resuming_continues_exactly(run: Path, tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(done: int, _: int) -> None:
        if done == 45:
            raise StopError

    with pytest.raises(StopError):
        train_connector(CONFIG, Trainer(tmp_path, progress=stop), PAIRS)
    train_connector(CONFIG, Trainer(tmp_path, resume=True), PAIRS)
    one, two = (
        torch.load(p / "connector.pt", weights_only=True)["weights"] for p in (tmp_path, run)
    )
    assert all(torch.equal(one[name], two[name]) for name in two)


def test_the_exported_net_equals_the_trained_one(run: Path, tmp_path: Path) -> None:
    net = load_connector(run / "connector.pt")
    export_connector(net, PAIRS, tmp_path)
    expresser = MeshConnector(tmp_path)
    vector = PAIRS.vector(np.array([5]), np.array([0]), 0)
    face = PAIRS.faces[0]

    def connect(reference: np.ndarray, speech: np.ndarray, code: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            parts = [torch.from_numpy(np.float32(v))[None] for v in (reference, speech[None], code)]
            return net(*parts).delta[0].numpy()

    want = transfer(connect, vector, np.repeat(face[None], 10, 0)).mean(0)
    assert np.allclose(expresser.difference(vector, face), want, atol=0.15)
    silent = np.zeros_like(vector)
    assert np.abs(expresser.decode(silent)).max() < 1e-3


def test_typical_faces_decode_to_their_recipes(run: Path, tmp_path: Path) -> None:
    net = load_connector(run / "connector.pt")
    export_connector(net, PAIRS, tmp_path)
    expresser = MeshConnector(tmp_path)
    typical = PAIRS.typical()
    for name in ("happy", "angry"):
        index = np.flatnonzero(PAIRS.train & (PAIRS.emotion == name))
        plain = np.flatnonzero(PAIRS.train & (PAIRS.emotion == "neutral"))
        expression = expresser.decode(PAIRS.vector(index, plain, 0))
        recipe = {n: r for n, r in PROTOTYPES.items() if n in typical and n != "neutral"}
        near = {n: np.corrcoef(expression, r)[0, 1] for n, r in recipe.items()}
        assert max(near, key=near.__getitem__) == name


def test_missing_nets_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"connector\.onnx"):
        MeshConnector(tmp_path)


def test_save_and_load_and_batches() -> None:
    torch.manual_seed(0)
    for size, direct in ((10, False), (17, True), (30, False)):
        spec = ConnectorSpec(size, 20, 64, 1, 4, 64, direct=direct)
        net = Connector(spec).eval()
        again = Connector(ConnectorSpec(**asdict(spec))).eval()
        again.load_state_dict(net.state_dict())
        parts = (torch.randn(3, 5, size), torch.randn(3, 1, 20), torch.randn(3, 5, size))
        out = net(*parts).delta
        assert out.shape == (3, 5, size)
        assert torch.equal(out, again(*parts).delta)
        single = torch.cat([net(*(p[i : i + 1] for p in parts)).delta for i in range(3)])
        assert torch.allclose(out, single, atol=1e-5)


@pytest.mark.parametrize("length", [1, 4, 5, 6, 11, 23])
def test_any_length_keeps_its_frames(length: int) -> None:
    seen = []

    def connect(reference: np.ndarray, vector: np.ndarray, code: np.ndarray) -> np.ndarray:
        seen.append(reference.copy())
        return code + 1

    codes = np.arange(length * 2, dtype=np.float64).reshape(length, 2)
    assert np.array_equal(transfer(connect, np.zeros(3), codes), codes + 1)
    assert not seen[0].any()
    if length > 5:
        assert np.array_equal(seen[1], codes[:5] + 1)


def test_a_held_out_emotion_is_never_drawn() -> None:
    sampler = PairSampler(PAIRS, replace(CONFIG, held_out_emotion="happy", batch=200))
    names = sorted(PAIRS.typical())
    batch = sampler.draw(np.random.default_rng(0))
    labels = {names[i] for i in batch["label"].tolist()}
    assert "happy" not in labels
    assert len(labels) >= 4


def test_pairs_are_consistent() -> None:
    sampler = PairSampler(PAIRS, replace(CONFIG, no_reference=0.0))
    batch = sampler.draw(np.random.default_rng(1))
    assert torch.equal(batch["reference"], batch["target"])
    moved = (batch["second"] - batch["first"]).mean(1)
    target = batch["target"].mean(1)
    assert (moved - target).abs().mean() < 1.5, "no more than the noise of both faces"
    assert torch.corrcoef(torch.stack([moved.flatten(), target.flatten()]))[0, 1] > 0.9
    none = PairSampler(PAIRS, replace(CONFIG, no_reference=1.0)).draw(np.random.default_rng(1))
    assert not none["reference"].any()


def test_losses_depend_on_direction() -> None:
    a = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    assert float(directional(a, -2 * a)) == pytest.approx(0, abs=1e-6)
    assert float(directional(a, a)) == pytest.approx(4, abs=1e-5)
    assert float(focal(a, a)) == 0
    assert float(focal(a, a + 2)) > 2 * float(focal(a, a + 1)) > 0


def test_measures() -> None:
    some = cases(PAIRS)
    assert {case.emotion for case in some} == set(EMOTIONS) - {"neutral"}
    true = np.stack([case.difference for case in some])
    assert correlations(true, true) == pytest.approx((1, 1))
    assert correlations(-true, true) == pytest.approx((-1, -1))
    typical = typical_of(some)
    assert all(rank(face, name, typical) == 1 for name, face in typical.items())
    space = FaceSpace.of(PAIRS)
    assert all(rank(face, name, typical, space) == 1 for name, face in typical.items())
    assert rank(typical["sad"], "happy", typical, space) > 1
    assert len(cases(PAIRS, 4)) == len(some) // 4


def test_tables_of_faces_are_checked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table"):
        read_faces(tmp_path / "none.csv", [])
    (tmp_path / "a.csv").write_text("file,AU01_r\nx/y.wav,1\n")
    with pytest.raises(InputError, match="AU02_r"):
        read_faces(tmp_path / "a.csv", [])
