"""The training loop, its settings and its command, on a task that fits a line."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch.nn import functional as F  # noqa: N812

from mien.cli.train import _found
from mien.errors import InputError, OutputError
from mien.training import TRAININGS
from mien.training.config import TrainingConfig
from mien.training.run import Run
from mien.training.trainer import Losses, Task, Trainer, warmed_cosine
from mien.weights.convert import save

from .command import mien


@dataclass(frozen=True, kw_only=True)
class LineConfig(TrainingConfig):
    table: Path | None = None
    sizes: tuple[int, ...] = (1,)
    steps: int = 30
    measure_every: int = 10
    learning_rate: float = 0.1
    device: str = "cpu"


class LineTask(Task[LineConfig, Any, Any]):
    """Fits y = 2 x; the state of its helper depends on every step."""

    average = 0.9
    broken_at = -1

    def build(self) -> Any:
        self.counter = torch.nn.BatchNorm1d(1)
        self.frozen = torch.nn.Linear(1, 1)
        net = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Dropout(0.2), self.frozen)
        self.frozen.requires_grad_(False)
        return net

    def helpers(self) -> dict[str, Any]:
        return {"counter": self.counter}

    def batch(self, step: int) -> Any:
        return {"x": torch.from_numpy(self.rng(step).normal(size=(8, 1)).astype(np.float32))}

    def losses(self, net: Any, batch: Any, step: int) -> Losses:
        self.counter(batch["x"])
        error = F.mse_loss(net(batch["x"]), 2 * batch["x"])
        return Losses(error * (np.inf if step == self.broken_at else 1), {"error": error})

    def measure(self, net: Any) -> dict[str, float]:
        assert not net.training
        x = torch.linspace(-1, 1, 9)[:, None]
        return {"error": float(F.mse_loss(net(x), 2 * x))}

    def export(self, net: Any, folder: Path) -> None:
        torch.save(net.state_dict(), folder / "line.pt")


class Interrupted(Exception):  # noqa: N818
    pass


def interrupt(at: int) -> Any:
    def progress(done: int, _: int) -> None:
        if done == at:
            raise Interrupted

    return progress


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("at", [5, 15, 25])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, at: int, workers: int) -> None:
    whole, halves = LineTask(LineConfig(save_every=4)), LineTask(LineConfig(save_every=4))
    halves.workers = workers
    _, scores = Trainer(tmp_path / "whole").fit(whole)
    with pytest.raises(Interrupted):
        Trainer(tmp_path / "halves", progress=interrupt(at)).fit(halves)
    _, again = Trainer(tmp_path / "halves", resume=True).fit(halves)
    assert scores == again == json.loads((tmp_path / "halves" / "scores.json").read_text())
    one, two = (torch.load(tmp_path / name / "line.pt") for name in ("whole", "halves"))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert torch.equal(whole.counter.running_mean, halves.counter.running_mean)


def test_a_finished_run_is_kept_until_it_may_be_overwritten(tmp_path: Path) -> None:
    task = LineTask(LineConfig())
    _, scores = Trainer(tmp_path).fit(task)
    assert Trainer(tmp_path, resume=True).fit(task)[1] == scores
    with pytest.raises(InputError, match="--resume to continue or --overwrite"):
        Trainer(tmp_path)
    with pytest.raises(InputError, match="exclude each other"):
        Trainer(tmp_path, resume=True, overwrite=True)
    other = LineTask(LineConfig(seed=3))
    with pytest.raises(InputError, match=r"other settings: seed \(0, now 3\)"):
        Trainer(tmp_path, resume=True).fit(other)
    assert Trainer(tmp_path, overwrite=True).fit(other)[1] != scores


def test_stages_have_checkpoints_of_their_own(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path)
    trainer.fit(LineTask(LineConfig()), "first")
    with pytest.raises(InputError, match="holds a checkpoint"):
        Trainer(tmp_path)
    steps: list[int] = []
    resumed = Trainer(tmp_path, resume=True, progress=lambda done, _: steps.append(done))
    resumed.fit(LineTask(LineConfig()), "first")
    assert not steps, "a finished stage is not trained again"
    resumed.fit(LineTask(LineConfig(), steps=12), "second")
    assert steps == list(range(1, 13))


def test_a_finished_run_is_made_longer(tmp_path: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Constant(LineConfig):
        harmless = (*LineConfig.harmless, "steps")

    class ConstantTask(LineTask):
        def rate(self, step: int) -> float:
            return 1.0

    Trainer(tmp_path / "whole").fit(ConstantTask(Constant(steps=9)))
    Trainer(tmp_path / "parts").fit(ConstantTask(Constant(steps=6, measure_every=2)))
    Trainer(tmp_path / "parts", resume=True).fit(ConstantTask(Constant(steps=9)))
    one, two = (torch.load(tmp_path / name / "line.pt") for name in ("whole", "parts"))
    assert all(torch.equal(one[key], two[key]) for key in one)
    with pytest.raises(InputError, match="other settings: steps"):
        Trainer(tmp_path / "line").fit(LineTask(LineConfig(steps=6)))
        Trainer(tmp_path / "line", resume=True).fit(LineTask(LineConfig(steps=9)))


def test_the_last_checkpoints_are_kept(tmp_path: Path) -> None:
    config = LineConfig(save_every=4, checkpoints=3)
    Trainer(tmp_path).fit(LineTask(config))
    names = sorted(path.name for path in tmp_path.glob("*.pt"))
    assert names == ["checkpoint-00000024.pt", "checkpoint-00000028.pt", "checkpoint.pt", "line.pt"]
    (tmp_path / "checkpoint.pt").write_bytes(b"half a file")
    with pytest.raises(InputError, match="damaged.*Older ones"):
        Trainer(tmp_path, resume=True).fit(LineTask(config))
    (tmp_path / "checkpoint-00000028.pt").replace(tmp_path / "checkpoint.pt")
    steps: list[int] = []
    again = Trainer(tmp_path, resume=True, progress=lambda done, _: steps.append(done))
    again.fit(LineTask(config))
    assert steps == [29, 30]
    Trainer(tmp_path, overwrite=True).fit(LineTask(LineConfig(checkpoints=1)))
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["checkpoint.pt", "line.pt"]


def test_a_full_disk_loses_no_checkpoint(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    task = LineTask(LineConfig(steps=10))
    Trainer(tmp_path).fit(task)
    kept = (tmp_path / "checkpoint.pt").read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for write in (
        lambda: Run(task, tmp_path / "checkpoint.pt").save(),
        lambda: save({"x": torch.zeros(999)}, tmp_path / "x.safetensors", {}, {}),
    ):
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
            with pytest.raises(OutputError, match="The disk is full"):
                write()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)
    assert (tmp_path / "checkpoint.pt").read_bytes() == kept
    assert not list(tmp_path.glob(".mien-*"))
    with pytest.raises(InputError, match="scores.json.* cannot be made"):
        Trainer(tmp_path / "scores.json" / "run")


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    """The second one is refused and removes nothing, whatever it was asked to do."""
    config = LineConfig(save_every=2)

    for at, overwrite in ((1, False), (3, True)):

        def second(done: int, _: int, at: int = at, overwrite: bool = overwrite) -> None:
            if done == at:
                Trainer(tmp_path, overwrite=overwrite).fit(LineTask(config))

        with pytest.raises(InputError, match="Another run is training in"):
            Trainer(tmp_path, progress=second).fit(LineTask(config))
        assert (tmp_path / "checkpoint.pt").exists() == overwrite
    Trainer(tmp_path, overwrite=True).fit(LineTask(config))


def test_a_checkpoint_of_another_net_is_refused(tmp_path: Path) -> None:
    class Wide(LineTask):
        def build(self) -> Any:
            net = super().build()
            net[0] = torch.nn.Linear(1, 2)
            return net

    class Long(LineTask):
        def build(self) -> Any:
            return super().build().append(torch.nn.Linear(1, 1))

    Trainer(tmp_path).fit(LineTask(LineConfig()))
    with pytest.raises(InputError, match="a net of other sizes .0.weight"):
        Trainer(tmp_path, resume=True).fit(Wide(LineConfig()))
    with pytest.raises(InputError, match="a net of other sizes .3.weight"):
        Trainer(tmp_path, resume=True).fit(Long(LineConfig()))


def test_one_process_alone_trains_most_nets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="one process"):
        Trainer(tmp_path).fit(LineTask(LineConfig()))


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    task = LineTask(LineConfig())
    task.broken_at = 7
    with pytest.raises(InputError, match="The loss is inf at step 7; lower learning_rate"):
        Trainer(tmp_path).fit(task)


def test_frozen_weights_are_neither_trained_nor_stored(tmp_path: Path) -> None:
    task = LineTask(LineConfig())
    lines: list[str] = []
    task.measure_first = True
    net, _ = Trainer(tmp_path, log=lines.append).fit(task)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert set(state["net"]) == set(state["average"]) == {"0.weight", "0.bias"}
    assert not torch.equal(state["net"]["0.weight"], state["average"]["0.weight"])
    assert torch.equal(net[0].weight, state["average"]["0.weight"]), "the averages are the result"
    assert lines[0].startswith("before: error ")
    assert [line.split(":")[0] for line in lines[1:]] == ["step 10", "step 20", "step 30"]
    assert any((tmp_path / "log").iterdir())


def test_nothing_is_kept_of_a_run_that_only_measures(tmp_path: Path) -> None:
    Trainer(tmp_path).fit(LineTask(LineConfig()), keep=False)
    assert not any(tmp_path.iterdir())


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [warmed_cosine(step, 100, 10, 0.01) for step in range(101)]
    assert rates[0] == pytest.approx(0.101)
    assert max(rates) == max(rates[8:11])
    assert rates[100] == pytest.approx(0.01)


def test_settings_are_read_from_files_and_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "line.toml"
    path.write_text('table = "a.csv"\nlearning_rate = 1\nsizes = [2, 3]\n')
    config = LineConfig.load(path)
    assert config == LineConfig(table=tmp_path / "a.csv", learning_rate=1.0, sizes=(2, 3))
    with pytest.raises(InputError, match=r"missing: table \(.*a.csv\).*--data"):
        config.check_files()
    changes = ("seed=4", "table=b.csv", "sizes=[1]")
    config = LineConfig.load(path, data=tmp_path / "data", changes=changes)
    assert (config.seed, config.table, config.sizes) == (4, Path("b.csv"), (1,))
    assert LineConfig.load(path, data=tmp_path / "data").table == tmp_path / "data" / "a.csv"
    for change, words in (("sede=4", "unknown entry 'sede'; valid: steps"), ("seed", "NAME=VALUE"),
                          ("seed=x", "seed must be of type int; got 'x'")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            LineConfig.load(path, changes=(change,))


@pytest.mark.parametrize("name", TRAININGS)
def test_every_training_has_settings_and_a_function(name: str) -> None:
    training = TRAININGS[name]
    assert isinstance(_found(training.config), type)
    assert callable(_found(training.run))
    shown = mien("train", name, "--help", cache=Path("none"))
    assert shown.returncode == 0
    assert training.help.split(":")[0] in " ".join(shown.stdout.split())
