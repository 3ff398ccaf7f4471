"""Make the film of every pair with an engine, in one or several processes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mien.datasets.prepare import write_speech
from mien.emotion.request import AUTO, build_request
from mien.errors import InputError, OutputError
from mien.evaluation.pairs import Pair
from mien.media.audio import read_speech
from mien.media.output import whole_file
from mien.media.read import VideoReader
from mien.media.still import write_still
from mien.pipelines.job import Job, Progress
from mien.pipelines.start import EDITORS, TALKERS
from mien.utils.workers import run_tasks
from mien.weights.store import Store

if TYPE_CHECKING:
    from mien.engines.edtalk.settings import EDTalkSettings
    from mien.engines.svd.settings import SvdSettings
    from mien.pipelines.cmet_models import CmetModels
    from mien.pipelines.models import SvdModels

INPUTS = "inputs"
"""Folder of the portraits and of the beginnings of voices."""

_WITHOUT_EFFECT: Final = ("device", "allow_slow", "offload", "max_memory_gb")
"""Options that do not change a film."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What makes the films.

    Attributes:
        name: ``mesh``, ``edtalk`` or ``svd``.
        options: of a published engine; None for its defaults.
    """

    name: str
    options: EDTalkSettings | SvdSettings | None = None

    def check(self, pairs: Sequence[Pair]) -> None:
        """Refuse an engine that cannot make these films.

        Raises:
            InputError: naming those that can.
        """
        talks = any(pair.speech is not None for pair in pairs)
        able = TALKERS if talks else EDITORS
        if self.name not in able:
            what = "let portraits talk" if talks else "edit films"
            raise InputError(f"{self.name!r} cannot {what}. Valid: {', '.join(able)}.")

    def description(self) -> dict[str, Any]:
        """Return what its films depend on: its options, and sizes and times of its weights."""
        given = {} if self.options is None else asdict(self.options)
        options = {name: value for name, value in given.items() if name not in _WITHOUT_EFFECT}
        files = sorted((Store().folder / self.name).glob("*.safetensors"))
        files += [value for value in options.values() if isinstance(value, Path)]
        states = {str(path): path.stat() for path in files if path.is_file()}
        weights = {name: [state.st_size, state.st_mtime_ns] for name, state in states.items()}
        out = {"engine": self.name, "options": options, "weights": weights}
        return dict(json.loads(json.dumps(out, default=str)))


@dataclass(frozen=True, slots=True)
class Rendered:
    """Films that were made.

    Attributes:
        films: their number.
        seconds: mean time per film (AITV), see :class:`Timing`.
        failed: films that could not be made, by name, and why.
    """

    films: int
    seconds: float
    failed: dict[str, str]


def render(
    pairs: Sequence[Pair],
    folder: Path,
    engine: Engine,
    *,
    workers: int = 1,
    ray: str | None = None,
    progress: Progress | None = None,
) -> Rendered:
    """Make the film of every pair in ``folder``.

    Finished films are kept, unless they were made with other options or weights.

    Args:
        pairs: what to make.
        folder: receives ``NAME.mp4``, and ``NAME.json`` with the time it took.
        engine: what makes them.
        workers: processes that work at once, each with its own nets.
        ray: as for :func:`mien.utils.workers.run_tasks`.
        progress: called with (films done, films).

    Raises:
        InputError: for an engine that cannot make them, or when none could be made.
    """
    engine.check(pairs)
    folder.mkdir(parents=True, exist_ok=True)
    failed: dict[str, str] = {}
    # Films of one person and emotion follow each other: most of their voices are the same.
    ordered = sorted(pairs, key=lambda pair: (pair.voices[:1], pair.name))
    work = partial(render_pair, folder, engine, engine.description(), workers)
    for done, outcome in enumerate(run_tasks(work, ordered, workers=workers, ray=ray), 1):
        if outcome.error is not None:
            if isinstance(outcome.error, OutputError):
                raise outcome.error
            failed[outcome.task.name] = str(outcome.error)
        if progress is not None:
            progress(done, len(pairs))
    timing = timing_of(folder, [pair for pair in pairs if pair.name not in failed])
    if timing is None:
        raise InputError(f"No film could be made: {next(iter(failed.values()))}")
    return Rendered(len(pairs) - len(failed), timing.seconds, dict(sorted(failed.items())))


@dataclass(frozen=True, slots=True)
class Timing:
    """How long films took.

    Attributes:
        seconds: mean time per film, from open nets and known voices to the finished file (AITV).
        workers: processes that worked at once, which makes each of them slower.
    """

    seconds: float
    workers: int


def timing_of(folder: Path, pairs: Sequence[Pair]) -> Timing | None:
    """Return how long the films of ``folder`` took; None where :func:`render` did not make them.

    The first film of every process, which opened its nets, does not count unless there is no other.
    """
    logs = [folder / f"{pair.name}.json" for pair in pairs]
    records: list[dict[str, Any]] = [
        json.loads(log.read_text(encoding="utf-8")) for log in logs if log.is_file()
    ]
    if not records or len(records) < len(logs):
        return None
    warm = [one["seconds"] for one in records if one["warm"]] or [one["seconds"] for one in records]
    return Timing(float(np.mean(warm)), max(int(one["workers"]) for one in records))


def render_pair(
    folder: Path, engine: Engine, description: dict[str, Any], workers: int, pair: Pair
) -> None:
    """Make one film unless it is there; the time starts when nets are open and voices known.

    Args:
        folder: receives the film and its record.
        engine: what makes it.
        description: of the engine; a film with another one is made again.
        workers: processes that work at once.
        pair: what to make.

    Raises:
        MienError: when it cannot be made.
    """
    out, log = folder / f"{pair.name}.mp4", folder / f"{pair.name}.json"
    if out.exists() and log.exists():
        before = json.loads(log.read_text(encoding="utf-8"))
        if all(before.get(name) == value for name, value in description.items()):
            return
    maker = _maker(engine)
    job = _job(pair, folder, out)
    maker.hear((*pair.voices, *pair.neutral))
    start = perf_counter()
    maker.make(job)
    seconds = perf_counter() - start
    record = {"seconds": seconds, "warm": maker.warm, "workers": workers, **description}
    maker.warm = True
    with whole_file(log) as part:
        part.write_text(json.dumps(record), encoding="utf-8")


def _job(pair: Pair, folder: Path, out: Path) -> Job:
    if pair.speech is None:
        like, neutral = list(pair.voices), list(pair.neutral)
        return Job(pair.source, out, build_request(like=like, neutral=neutral), overwrite=True)
    portrait = folder / INPUTS / f"{pair.name}.png"
    if not portrait.exists():
        portrait.parent.mkdir(parents=True, exist_ok=True)
        with VideoReader(pair.source) as reader:
            first = next(islice(reader, 1), None)
        if first is None:
            raise InputError(f"{pair.source} holds no frame.")
        write_still(portrait, first.picture)
    request = build_request(pair.emotion or AUTO)
    return Job(portrait, out, request, speech=spoken(pair, folder), overwrite=True)


def spoken(pair: Pair, folder: Path) -> Path | None:
    """Return the file with what is said: the speech, or its beginning where only that is said."""
    if pair.speech is None or pair.seconds is None:
        return pair.sound
    beginning = folder / INPUTS / f"{pair.name}.ogg"
    if not beginning.exists():
        beginning.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(beginning) as part:
            write_speech(part, read_speech(pair.speech, pair.seconds))
    return beginning


class _Maker:
    """An engine whose nets stay open between films.

    Attributes:
        warm: whether it has made a film, and its nets are open.
    """

    def __init__(self, engine: Engine) -> None:
        self.warm = False
        self._engine = engine
        self._edtalk: CmetModels | None = None
        self._svd: SvdModels | None = None
        if engine.name == "edtalk":
            from mien.engines.edtalk.settings import EDTalkSettings
            from mien.pipelines.cmet_models import CmetModels

            chosen = engine.options or EDTalkSettings()
            if not isinstance(chosen, EDTalkSettings):
                raise InputError("The engine edtalk takes EDTalkSettings.")
            self._edtalk = CmetModels.open(chosen, edits=True)
        elif engine.name == "svd":
            from mien.engines.svd.settings import SvdSettings
            from mien.pipelines.models import SvdModels

            options = engine.options or SvdSettings()
            if not isinstance(options, SvdSettings):
                raise InputError("The engine svd takes SvdSettings.")
            options.check()
            self._svd = SvdModels.open(options)

    def hear(self, voices: Sequence[Path]) -> None:
        """Read voices, whose embeddings are kept."""
        from mien.speech.analysis import analyse_file

        for path in voices:
            if self._edtalk is not None:
                self._edtalk.hear(path)
            elif self._svd is None:
                analyse_file(path)

    def make(self, job: Job) -> None:
        """Write the film of a job."""
        if self._edtalk is not None:
            from mien.pipelines.edtalk import run_with

            run_with(job, self._edtalk)
        elif self._svd is not None:
            from mien.pipelines.svd import talk_with

            talk_with(job, self._svd)
        elif job.speech is None:
            from mien.pipelines.mesh_edit import edit

            edit(job)
        else:
            from mien.pipelines.mesh_talk import TalkSettings, talk

            talk(job, TalkSettings())


@lru_cache(maxsize=1)
def _maker(engine: Engine) -> _Maker:
    return _Maker(engine)
