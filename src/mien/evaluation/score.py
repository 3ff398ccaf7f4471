"""Render pairs with an engine and score the videos."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

import numpy as np

from mien.api import edit
from mien.engines.edtalk.framing import training_crop
from mien.engines.edtalk.settings import EDTalkSettings
from mien.errors import InputError
from mien.evaluation.frechet import Moments, frechet_distance
from mien.evaluation.networks import MetricNet, pictures
from mien.evaluation.pairs import Pair
from mien.evaluation.sync import RATE, Sync, lip_sync
from mien.face.tracker import FaceTracker
from mien.media.audio import has_sound, read_speech
from mien.media.frame import RGBImage
from mien.media.output import whole_file
from mien.media.read import VideoReader

_CROP: Final = 256
_CLIP: Final = 16
"""Frames that a video network sees at once."""

_TIMES: Final = "seconds.json"

Progress = Callable[[int, int | None], None]


def render(
    pairs: list[Pair],
    folder: Path,
    engine: str,
    options: EDTalkSettings | None = None,
    progress: Progress | None = None,
) -> float:
    """Make every pair's video in ``folder``; those that are there already are left.

    Returns:
        Mean seconds per video (AITV), everything included.
    """
    folder.mkdir(parents=True, exist_ok=True)
    notes = folder / _TIMES
    times = json.loads(notes.read_text(encoding="utf-8")) if notes.is_file() else {}
    for i, pair in enumerate(pairs, 1):
        out = folder / f"{pair.name}.mp4"
        if not out.exists() or pair.name not in times:
            start = perf_counter()
            edit(
                pair.source,
                out,
                like=list(pair.voices),
                neutral=list(pair.neutral),
                engine=engine,
                options=options,
                overwrite=True,
            )
            times[pair.name] = perf_counter() - start
            with whole_file(notes) as part:
                part.write_text(json.dumps(times, indent=1), encoding="utf-8")
        if progress is not None:
            progress(i, len(pairs))
    return float(np.mean([times[pair.name] for pair in pairs]))


@dataclass(frozen=True, slots=True)
class Networks:
    """Files of the metric networks; what is None is not measured.

    Attributes:
        classifier: ``(N, 3, S, S)`` RGB in 0..1 to ``(N, classes)``.
        classes: names of its outputs.
        inception: ``(N, 3, S, S)`` RGB in -1..1 to features ``(N, D)``: FID.
        video: ``(N, 3, 16, S, S)`` RGB in -1..1 to features ``(N, D)``: FVD.
        sync_video, sync_audio: see :func:`mien.evaluation.sync.lip_sync`.
    """

    classifier: Path | None = None
    classes: tuple[str, ...] = ()
    inception: Path | None = None
    video: Path | None = None
    sync_video: Path | None = None
    sync_audio: Path | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """Measures over all pairs; None where no network was given.

    ``accuracy`` share of videos whose mean output is largest for the emotion asked for; ``fid`` and
    ``fvd`` between made and true videos; ``sync_distance`` LSE-D, ``sync_confidence`` LSE-C.
    """

    videos: int
    accuracy: float | None
    fid: float | None
    fvd: float | None
    sync_distance: float | None
    sync_confidence: float | None

    def to_dict(self) -> dict[str, float | int | None]:
        """The record in plain values."""
        return asdict(self)


class _Scorer:
    def __init__(self, networks: Networks) -> None:
        n = networks
        self.classes = n.classes
        self.classifier = MetricNet(n.classifier, "classifier", 4) if n.classifier else None
        self.inception = MetricNet(n.inception, "inception net", 4) if n.inception else None
        self.video = MetricNet(n.video, "video net", 5) if n.video else None
        self.sync: tuple[MetricNet, MetricNet] | None = None
        if n.sync_video and n.sync_audio:
            eyes = MetricNet(n.sync_video, "sync net for pictures", 5)
            self.sync = eyes, MetricNet(n.sync_audio, "sync net for sound", 4)
        elif n.sync_video or n.sync_audio:
            raise InputError("Sync needs both nets, for pictures and for sound.")
        if self.classifier is not None and not self.classes:
            raise InputError("A classifier needs the names of its outputs (--classes).")
        self.frames = Moments(), Moments()
        self.clips = Moments(), Moments()
        self.right: list[bool] = []
        self.synced: list[Sync] = []

    def add(self, pair: Pair, made: Path) -> None:
        """Measure one video beside its truth."""
        for which, path in enumerate((made, pair.truth)):
            images = face_crops(path)
            if not images:
                continue
            if self.inception is not None:
                side = self.inception.side(299)
                values = self.inception(pictures(images, side, -1, 1))
                self.frames[which].add(values.reshape(len(images), -1))
            if self.video is not None and len(images) >= _CLIP:
                stack = pictures(images, self.video.side(224), -1, 1)
                starts = range(0, len(stack) - _CLIP + 1, _CLIP)
                clips = np.stack([stack[i : i + _CLIP].transpose(1, 0, 2, 3) for i in starts])
                self.clips[which].add(self.video(clips).reshape(len(clips), -1))
            if which == 0:
                self._judge(pair, made, images)

    def _judge(self, pair: Pair, made: Path, images: list[RGBImage]) -> None:
        if self.classifier is not None:
            said = self.classifier(pictures(images, self.classifier.side(224), 0, 1)).mean(0)
            self.right.append(self.classes[int(said.argmax())] == pair.emotion)
        if self.sync is not None and has_sound(made):
            self.synced.append(lip_sync(images, read_speech(made), *self.sync))

    def scores(self, count: int) -> Scores:
        """Everything that was measured."""
        synced = np.array([(s.distance, s.confidence) for s in self.synced]).reshape(-1, 2)
        means = np.nanmean(synced, 0).tolist() if len(synced) else [None, None]
        return Scores(
            count,
            float(np.mean(self.right)) if self.right else None,
            frechet_distance(*self.frames) if self.inception is not None else None,
            frechet_distance(*self.clips) if self.video is not None else None,
            means[0],
            means[1],
        )


def score(
    pairs: list[Pair], folder: Path, networks: Networks, progress: Progress | None = None
) -> Scores:
    """Measure the videos that :func:`render` (or another system) made.

    Raises:
        InputError: when videos or networks are missing.
    """
    missing = [pair.name for pair in pairs if not (folder / f"{pair.name}.mp4").is_file()]
    if missing:
        raise InputError(f"{folder} lacks {len(missing)} of {len(pairs)} videos, such as "
                         f"{missing[0]}.mp4; make them with mien evaluate render.")  # fmt: skip
    if not any((networks.classifier, networks.inception, networks.video, networks.sync_video,
                networks.sync_audio)):  # fmt: skip
        raise InputError("No metric network was given; see docs/published.md for what they are.")
    scorer = _Scorer(networks)
    for i, pair in enumerate(pairs, 1):
        scorer.add(pair, folder / f"{pair.name}.mp4")
        if progress is not None:
            progress(i, len(pairs))
    return scorer.scores(len(pairs))


def face_crops(path: Path) -> list[RGBImage]:
    """The largest face of a clip at 25 frames per second, in the training framing.

    Pictures without a face are left out.
    """
    out: list[RGBImage] = []
    shown = 0
    with VideoReader(path) as reader, closing(FaceTracker(max_faces=1)) as tracker:
        step = 1 / reader.info.rate
        for frame in reader:
            found = tracker(frame.image)
            until = int((frame.time + step) * RATE + step / 1000)
            if found and until > shown:
                crop = training_crop(found[0]).cut(frame.image, _CROP, stretched=True)
                out += [crop] * (until - shown)
            shown = max(shown, until)
    return out
