"""Figures of several systems, each with crop, size, net and hash, as Markdown, JSON and plots."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from mien.errors import needs_extra
from mien.evaluation.clips import CROP, CROP_PIXELS
from mien.evaluation.frechet import Moments, frechet_distance
from mien.evaluation.measure import Measured
from mien.evaluation.readers import Named
from mien.face.expression import EXPRESSIONS
from mien.media.output import whole_file

LOWER, HIGHER = "lower", "higher"

REAL: Final = "real"
"""Name of the real films beside the systems."""

_FEWEST_BARS: Final = 3
"""Room for bars in a panel, so that a single one does not fill it."""

_OWN: Final = Named("", "", CROP_PIXELS)


@dataclass(frozen=True, slots=True)
class Metric:
    """What is measured.

    Attributes:
        name: as papers write it.
        better: ``lower``, ``higher``, or empty.
        reader: what reads the films, in :class:`mien.evaluation.readers.Readers`; empty for none.
        measure: computes it from the films of a system and the real ones; None where it cannot.
        about: one line.
        compares: whether it says nothing about the real films themselves.
    """

    name: str
    better: str
    reader: str
    measure: Callable[[Sequence[Measured], Sequence[Measured]], float | None]
    about: str
    compares: bool = False


def _mean(name: str) -> Callable[[Sequence[Measured], Sequence[Measured]], float | None]:
    def measure(made: Sequence[Measured], real: Sequence[Measured]) -> float | None:
        found = [one.values[name] for one in made if np.isfinite(one.values.get(name, np.nan))]
        return float(np.mean(found)) if found else None

    return measure


def _frechet(slot: str) -> Callable[[Sequence[Measured], Sequence[Measured]], float | None]:
    def measure(made: Sequence[Measured], real: Sequence[Measured]) -> float | None:
        sides = [Moments(), Moments()]
        for side, films in zip(sides, (made, real), strict=True):
            for film in films:
                features = film.features.get(slot)
                if features is not None and features.size:
                    side.add(features)
        return frechet_distance(*sides) if min(side.count for side in sides) > 1 else None

    return measure


METRICS: Final[Mapping[str, Metric]] = MappingProxyType(
    {
        metric.name: metric
        for metric in (
            Metric("FID", LOWER, "inception", _frechet("inception"),
                   "Fréchet distance of pictures of made and real films", compares=True),
            Metric("FVD", LOWER, "i3d", _frechet("i3d"),
                   "Fréchet distance of clips of 16 frames", compares=True),
            Metric("E-FID", LOWER, "expression", _frechet("expression"),
                   "Fréchet distance of expressions", compares=True),
            Metric("FAD", LOWER, "identity", _frechet("identity"),
                   "Fréchet distance of identities (Fréchet ArcFace distance)", compares=True),
            Metric("CSIM", HIGHER, "identity", _mean("csim"),
                   "cosine similarity of identities with the real film"),
            Metric("LSE-D", LOWER, "sync", _mean("sync_distance"),
                   "distance of lips and sound at the best offset"),
            Metric("LSE-C", HIGHER, "sync", _mean("sync_confidence"),
                   "median distance minus best distance over the offsets"),
            Metric("offset", "", "sync", _mean("sync_offset"),
                   "best offset of picture and sound, frames"),
            Metric("LMD", LOWER, "", _mean("lips"), "distance of lip landmarks, pixels"),
            Metric("F-LMD", LOWER, "", _mean("face"), "distance of face landmarks, pixels"),
            Metric("M-LMD", LOWER, "", _mean("mouth"),
                   "distance of lip landmarks about their mean, pixels"),
            Metric("PSNR", HIGHER, "", _mean("psnr"), "peak signal-to-noise ratio, dB"),
            Metric("SSIM", HIGHER, "", _mean("ssim"), "structural similarity"),
            Metric("LPIPS", LOWER, "lpips", _mean("lpips"), "learned perceptual distance"),
            Metric("flicker", "", "", _mean("flicker"),
                   "second difference over time of the face's brightness, grey levels"),
        )
    }
)  # fmt: skip

ACCURACY: Final = "Acc_emo"
SECOND: Final = "Acc_emo (mien)"
"""Read by mien's own net, beside a net of the user."""

AITV: Final = "AITV"


@dataclass(frozen=True, slots=True)
class Figure:
    """One number.

    Attributes:
        metric: its name.
        value: the number.
        films: of how many films.
        better: ``lower``, ``higher``, or empty.
        about: what it is.
        crop: what of the films is looked at.
        pixels: side of the pictures that are looked at.
        net: what reads them; empty where nothing is learned.
        sha256: of its file.
    """

    metric: str
    value: float
    films: int
    better: str
    about: str
    crop: str = CROP
    pixels: int = CROP_PIXELS
    net: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class SystemFigures:
    """All figures of one system.

    Attributes:
        name: of the system; :data:`REAL` for the real films.
        figures: in the order of the table.
        confusion: per requested emotion, how often each emotion was read.
    """

    name: str
    figures: tuple[Figure, ...]
    confusion: dict[str, dict[str, int]]


def sum_up(
    name: str,
    made: Sequence[Measured],
    real: Sequence[Measured],
    named: Mapping[str, Named],
    classes: Sequence[str],
    seconds: float | None = None,
) -> SystemFigures:
    """Compute the figures of one system.

    Args:
        name: of the system.
        made: its films.
        real: the real ones.
        named: what read them.
        classes: names of the expressions.
        seconds: mean time per film, where it is known.
    """
    read = [(film.emotion, film.probabilities) for film in made if film.emotion]
    confusion = _confusion(read, classes)
    figures = _accuracy(ACCURACY, confusion, named.get("emotion", _OWN))
    again = [
        (film.emotion, film.second) for film in made if film.emotion and film.second is not None
    ]
    figures += _accuracy(SECOND, _confusion(again, EXPRESSIONS), named.get("second", _OWN))
    for metric in METRICS.values():
        value = None if name == REAL and metric.compares else metric.measure(made, real)
        if value is not None:
            net = named.get(metric.reader, _OWN) if metric.reader else _OWN
            figures.append(_figure(metric.name, value, len(made), metric.better, metric.about, net))
    if seconds is not None:
        figures.append(
            Figure(
                AITV, seconds, len(made), LOWER,
                "mean time per film with open nets and known voices, s", crop="", pixels=0,
            )
        )  # fmt: skip
    return SystemFigures(name, tuple(figures), confusion)


def _confusion(
    read: Sequence[tuple[str, npt.NDArray[np.float32]]], classes: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Count which class was likeliest in films of every requested emotion."""
    out: dict[str, dict[str, int]] = {}
    for emotion, probabilities in read:
        row = out.setdefault(emotion, dict.fromkeys(classes, 0))
        row[classes[int(probabilities.argmax())]] += 1
    return out


def _accuracy(metric: str, confusion: dict[str, dict[str, int]], net: Named) -> list[Figure]:
    total = sum(sum(row.values()) for row in confusion.values())
    if not total:
        return []
    correct = sum(row.get(emotion, 0) for emotion, row in confusion.items())
    about = "films whose mean probability is largest for the requested emotion, %"
    return [_figure(metric, 100 * correct / total, total, HIGHER, about, net)]


def _figure(metric: str, value: float, films: int, better: str, about: str, net: Named) -> Figure:
    return Figure(
        metric, value, films, better, about, pixels=net.pixels, net=net.name, sha256=net.sha256
    )


@dataclass(frozen=True, slots=True)
class Table:
    """Several systems on the same films.

    Attributes:
        protocol: what was made.
        about: in words.
        pairs: number of films per system.
        systems: their figures.
        notes: what the reader must know: films left out, metrics that lack their net.
        lost: number of films that could not be made or measured.
    """

    protocol: str
    about: str
    pairs: int
    systems: tuple[SystemFigures, ...]
    notes: tuple[str, ...] = ()
    lost: int = 0

    def markdown(self) -> str:
        """Return the table, what its columns are, and the notes."""
        every = {figure.metric: figure for one in self.systems for figure in one.figures}
        order = [name for name in (ACCURACY, SECOND, *METRICS, AITV) if name in every]
        arrows = {LOWER: " ↓", HIGHER: " ↑", "": ""}
        rows = []
        for one in self.systems:
            own = {figure.metric: figure.value for figure in one.figures}
            rows.append([one.name, *(_number(own.get(name)) for name in order)])
        head = ["", *(f"{name}{arrows[every[name].better]}" for name in order)]
        columns = [
            [f.metric, f.about, str(f.films), f"{f.pixels} px" if f.pixels else "", f.net or "none",
             ", ".join(f"`{one[:12]}`" for one in f.sha256.split(", ") if one)]
            for f in (every[name] for name in order)
        ]  # fmt: skip
        parts = [
            f"# {self.protocol}", f"{self.about}. {self.pairs} films per system.",
            _table(head, rows), f"Crop: {CROP}.",
            _table(["metric", "what", "films", "size", "net", "SHA-256"], columns),
        ]  # fmt: skip
        for one in self.systems:
            if one.confusion:
                classes = list(next(iter(one.confusion.values())))
                parts += [
                    f"Emotions requested (rows) and read (columns), {one.name}:",
                    _table(["", *classes], [
                        [emotion, *map(str, row.values())] for emotion, row in one.confusion.items()
                    ]),
                ]  # fmt: skip
        return "\n\n".join([*parts, *(f"- {note}" for note in self.notes)]) + "\n"

    def write(self, folder: Path) -> list[Path]:
        """Write ``table.md``, ``table.json`` and, where Matplotlib is installed, ``table.png``.

        Raises:
            OutputError: when writing fails.
        """
        texts = {
            "table.md": self.markdown(),
            "table.json": json.dumps(asdict(self), indent=1, ensure_ascii=False),
        }
        out = []
        for name, text in texts.items():
            with whole_file(folder / name) as part:
                part.write_text(text, encoding="utf-8")
            out.append(folder / name)
        return out

    def plot(self, path: Path) -> None:
        """Draw the figures of all systems as bars, and what was read of every emotion.

        Raises:
            MissingExtraError: without Matplotlib.
        """
        with needs_extra("metrics", "Plots"):
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure as Drawing

        every = {figure.metric: figure for one in self.systems for figure in one.figures}
        names = [name for name in (ACCURACY, SECOND, *METRICS, AITV) if name in every]
        matrices = [one for one in self.systems if one.confusion]
        panels, columns = len(names) + len(matrices), 4
        lines = -(-panels // columns)
        drawing = Drawing(figsize=(3.6 * columns, 3.0 * lines))
        FigureCanvasAgg(drawing)
        axes = np.atleast_1d(drawing.subplots(lines, columns)).ravel()
        for panel, name in zip(axes, names, strict=False):
            values = {
                one.name: figure.value
                for one in self.systems
                for figure in one.figures
                if figure.metric == name
            }
            panel.barh(list(values), list(values.values()), height=0.6, color="#00796b")
            panel.set_ylim(max(len(values), _FEWEST_BARS) - 0.5, -0.5)
            better = every[name].better
            panel.set_title(f"{name} ({better} is better)" if better else name, fontsize=9)
            panel.tick_params(labelsize=8)
        for panel, one in zip(axes[len(names) :], matrices, strict=False):
            classes = list(next(iter(one.confusion.values())))
            shares = np.array([list(row.values()) for row in one.confusion.values()], float)
            shares /= np.maximum(shares.sum(1, keepdims=True), 1)
            panel.imshow(shares, cmap="Greens", vmin=0, vmax=1, aspect="auto")
            panel.set_xticks(range(len(classes)), classes, rotation=90, fontsize=7)
            panel.set_yticks(range(len(one.confusion)), list(one.confusion), fontsize=7)
            panel.set_title(f"{one.name}: requested and read", fontsize=9)
        for panel in axes[panels:]:
            panel.axis("off")
        drawing.subplots_adjust(0.07, 0.1 / lines, 0.99, 1 - 0.1 / lines, wspace=0.4, hspace=0.5)
        with whole_file(path) as part:
            drawing.savefig(part, dpi=110, format="png")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
