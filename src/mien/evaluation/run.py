"""A whole protocol: from a corpus to a table, beside other systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mien.datasets.manifest import speech_of
from mien.datasets.prepare import prepared_track
from mien.errors import InputError
from mien.evaluation.clips import read_clip
from mien.evaluation.figures import METRICS, REAL, SystemFigures, Table, sum_up
from mien.evaluation.measure import FilmTask, Measured, measure_films
from mien.evaluation.pairs import Pair, protocol, spread, with_sound, write_pairs
from mien.evaluation.readers import open_readers
from mien.evaluation.render import Engine, render, spoken, timing_of
from mien.evaluation.slots import SLOTS, NetFiles
from mien.media.output import whole_file
from mien.pipelines.job import Progress

FILMS, MEASURED = "films", "measured"

_SHOWN_FILMS, _SHOWN_MOMENTS, _SHOWN_PIXELS = 4, 6, 128


@dataclass(frozen=True, slots=True)
class Plan:
    """What is evaluated.

    Attributes:
        protocol: one of :data:`mien.evaluation.pairs.PROTOCOLS`.
        corpus: folder of its corpus.
        engine: what makes the films.
        output: folder to write.
        files: nets of the user.
        compare: names of other systems and the folders of their films, called as ours.
        limit: number of films, spread over all; None for all.
        workers: processes that work at once.
        ray: as for :func:`mien.utils.workers.run_tasks`.
        prepared: what :mod:`mien.datasets.prepare` wrote of the corpus, if anything.
    """

    protocol: str
    corpus: Path
    engine: Engine
    output: Path
    files: NetFiles = field(default_factory=NetFiles)
    compare: tuple[tuple[str, Path], ...] = ()
    limit: int | None = None
    workers: int = 1
    ray: str | None = None
    prepared: Path | None = None


def run_protocol(plan: Plan, *, progress: Progress | None = None) -> Table:
    """Make the films, measure all systems and write the table; an interrupted run continues.

    Args:
        plan: what is evaluated.
        progress: called with (films done, films), first while they are made, then for each system
            while they are measured.

    Raises:
        InputError: for an unknown protocol, a corpus without its films or voices, an engine that
            cannot make them, or another system whose films are all missing.
    """
    chosen, corpus = protocol(plan.protocol), plan.corpus.resolve()
    every, silent = with_sound(chosen.pairs(corpus))
    notes = []
    if silent:
        notes.append(f"{len(silent)} recordings without sound were left out, such as {silent[0]}.")
    pairs = spread(every, plan.limit)
    if len(pairs) < len(every):
        notes.append(f"{len(pairs)} of {len(every)} pairs, spread evenly.")
    plan.engine.check(pairs)
    open_readers(plan.files)
    _check_systems(plan, pairs)
    plan.output.mkdir(parents=True, exist_ok=True)
    write_pairs(plan.output / "pairs.csv", pairs)
    films = plan.output / FILMS
    made = render(pairs, films, plan.engine, workers=plan.workers, ray=plan.ray, progress=progress)
    notes += _lost("could not be made", made.failed)
    return measure_systems(
        pairs,
        {plan.engine.name: films, **dict(plan.compare)},
        plan.output,
        plan.files,
        title=plan.protocol,
        about=chosen.about,
        notes=notes,
        lost=len(made.failed),
        workers=plan.workers,
        ray=plan.ray,
        tracks=_tracks(plan.prepared, corpus, pairs),
        progress=progress,
    )


def _tracks(prepared: Path | None, corpus: Path, pairs: Sequence[Pair]) -> dict[Path, Path]:
    """Return the prepared tracks of the real films.

    Raises:
        InputError: when nothing was prepared.
    """
    if prepared is None:
        return {}
    films = {film for pair in pairs for film in (pair.truth, pair.aligned)}
    found = {film: prepared_track(prepared, corpus, film) for film in films}
    tracks = {film: track for film, track in found.items() if track is not None}
    if not tracks:
        raise InputError(f"{prepared} holds no track of the films in {corpus}; see mien data.")
    return tracks


def _check_systems(plan: Plan, pairs: Sequence[Pair]) -> None:
    names = [REAL, plan.engine.name, *(name for name, _ in plan.compare)]
    if len(set(names)) < len(names):
        raise InputError(f"Every system needs a name of its own; got {', '.join(names[1:])}.")
    for name, folder in plan.compare:
        if not any((folder / f"{pair.name}.mp4").is_file() for pair in pairs):
            raise InputError(
                f"{folder} holds no film of {name} that is called like a pair, such as "
                f"{pairs[0].name}.mp4; mien evaluate pairs {plan.protocol} lists the names."
            )


def measure_systems(
    pairs: Sequence[Pair],
    systems: Mapping[str, Path],
    output: Path,
    files: NetFiles,
    *,
    title: str = "Films",
    about: str = "Films of the same pairs",
    notes: Sequence[str] = (),
    lost: int = 0,
    workers: int = 1,
    ray: str | None = None,
    tracks: Mapping[Path, Path] | None = None,
    progress: Progress | None = None,
) -> Table:
    """Measure films of several systems, and the real ones, and write the table to ``output``.

    All figures are of the pairs of which every system has a film that can be measured.

    Args:
        pairs: what was made.
        systems: folders of films ``NAME.mp4`` by the name of the system.
        output: folder to write.
        files: nets of the user.
        title: of the table.
        about: what was made, in words.
        notes: what the reader must know already.
        lost: number of films that could not be made.
        workers: processes that work at once.
        ray: as for :func:`mien.utils.workers.run_tasks`.
        tracks: faces of the real films that were tracked before, by film.
        progress: called with (films measured, films) for each system.

    Raises:
        InputError: when there is no pair of which every system has a film.
    """
    common = [
        pair
        for pair in pairs
        if all((folder / f"{pair.name}.mp4").is_file() for folder in systems.values())
    ]
    if not common:
        raise InputError(
            f"There is no pair of which all of {', '.join(systems)} have a film; they are called "
            f"like {pairs[0].name}.mp4."
        )
    said = list(notes)
    if len(common) < len(pairs):
        said.append(f"{len(pairs) - len(common)} pairs of which a system has no film: left out.")
    measured: dict[str, dict[str, Measured]] = {}
    for name, folder in ((REAL, None), *systems.items()):
        tasks = [_task(pair, name, folder, output, tracks or {}) for pair in common]
        found, failed = measure_films(tasks, files, workers=workers, ray=ray, progress=progress)
        measured[name] = {one.name: one for one in found}
        said += _lost(f"of {name} could not be measured", failed)
        lost += len(failed)
    usable = [p for p in common if all(p.name in found for found in measured.values())]
    if not usable:
        raise InputError("No film could be measured in all systems. " + " ".join(said))
    readers = open_readers(files)
    real = [measured[REAL][pair.name] for pair in usable]
    figures: list[SystemFigures] = []
    for system, films in measured.items():
        timing = None if system == REAL else timing_of(systems[system], usable)
        if timing is not None and timing.workers > 1:
            said.append(f"AITV of {system}: {timing.workers} processes shared the machine.")
        own = [films[pair.name] for pair in usable]
        seconds = None if timing is None else timing.seconds
        figures.append(sum_up(system, own, real, readers.named, readers.classes, seconds))
    said += _unmeasured(figures)
    table = Table(title, about, len(usable), tuple(figures), tuple(said), lost)
    table.write(output)
    write_sheet(output / "samples.jpg", spread(usable, _SHOWN_FILMS), systems)
    return table


def _task(
    pair: Pair, system: str, folder: Path | None, output: Path, tracks: Mapping[Path, Path]
) -> FilmTask:
    target = output / MEASURED / system / f"{pair.name}.npz"
    if folder is None:
        sound = speech_of(pair.truth)
        return FilmTask(pair, pair.truth, sound, None, target, tracks.get(pair.truth))
    return FilmTask(
        pair,
        folder / f"{pair.name}.mp4",
        spoken(pair, output / FILMS),
        pair.aligned,
        target,
        aligned_track=tracks.get(pair.aligned),
    )


def _lost(what: str, failed: Mapping[str, str]) -> list[str]:
    if not failed:
        return []
    name, why = next(iter(failed.items()))
    return [f"{len(failed)} films {what}: {name} ({why})"]


def _unmeasured(systems: Sequence[SystemFigures]) -> list[str]:
    """Say which metrics lack their net, and what file is wanted."""
    have = {figure.metric for one in systems for figure in one.figures}
    missing = [m.reader for m in METRICS.values() if m.name not in have and m.reader in SLOTS]
    return [f"Not measured: {SLOTS[name].wanted()}" for name in dict.fromkeys(missing)]


def write_sheet(path: Path, pairs: Sequence[Pair], systems: Mapping[str, Path]) -> None:
    """Write a picture of some films: per pair a row of moments of the real film and each system's.

    Films without a face are left out.
    """
    rows = []
    for pair in pairs:
        films = {name: folder / f"{pair.name}.mp4" for name, folder in systems.items()}
        for name, film in ((REAL, pair.truth), *films.items()):
            images = read_clip(film, pair.seconds).images
            at = np.linspace(0, len(images) - 1, _SHOWN_MOMENTS).round().astype(int)
            size = (_SHOWN_PIXELS, _SHOWN_PIXELS)
            strip = [cv2.resize(images[i], size, interpolation=cv2.INTER_AREA) for i in at.tolist()]
            rows.append(np.hstack([_label(name, pair.emotion), *strip]))
    sheet: Any = np.vstack(rows)
    with whole_file(path) as part:
        cv2.imwrite(str(part), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])


def _label(system: str, emotion: str) -> Any:  # noqa: ANN401 - a picture
    card = np.full((_SHOWN_PIXELS, _SHOWN_PIXELS, 3), 255, np.uint8)
    for line, text in enumerate((system, emotion)):
        place = (6, 28 + 24 * line)
        cv2.putText(
            card, text[:14], place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA
        )
    return card
