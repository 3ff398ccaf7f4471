"""Render pairs with an engine and score the videos."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

import numpy as np

from mien.api import edit
from mien.engines.edtalk.framing import training_crop
from mien.engines.edtalk.settings import EDTalkSettings
from mien.errors import InputError
from mien.evaluation.metrics import (
    FRAMES_PER_SECOND,
    MetricNet,
    Moments,
    Sync,
    frechet_distance,
    lip_sync,
    stack_images,
)
from mien.evaluation.pairs import Pair
from mien.face.tracker import FaceTracker
from mien.media.audio import has_sound, read_speech
from mien.media.frame import RGBImage
from mien.media.output import whole_file
from mien.media.read import VideoReader
from mien.pipelines.job import Progress

_CROP_SIDE: Final = 256
_CLIP_FRAMES: Final = 16
"""Frames that a video network takes at once."""

_TIMES_FILE: Final = "seconds.json"


def render(
    pairs: list[Pair],
    folder: Path,
    engine: str,
    options: EDTalkSettings | None = None,
    progress: Progress | None = None,
) -> float:
    """Render the video of every pair into ``folder``; finished videos are kept.

    Returns:
        Mean seconds per video (AITV), everything included.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / _TIMES_FILE
    times = json.loads(log.read_text(encoding="utf-8")) if log.is_file() else {}
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
            with whole_file(log) as part:
                part.write_text(json.dumps(times, indent=1), encoding="utf-8")
        if progress is not None:
            progress(i, len(pairs))
    return float(np.mean([times[pair.name] for pair in pairs]))


@dataclass(frozen=True, slots=True)
class Networks:
    """Files of the metric networks; a metric without its network is not measured.

    Attributes:
        classifier: ``(N, 3, S, S)`` RGB in 0..1 to ``(N, classes)``.
        classes: names of the classifier's outputs.
        inception: ``(N, 3, S, S)`` RGB in -1..1 to features ``(N, D)``, for FID.
        video: ``(N, 3, 16, S, S)`` RGB in -1..1 to features ``(N, D)``, for FVD.
        sync_video, sync_audio: see :func:`mien.evaluation.metrics.lip_sync`.
    """

    classifier: Path | None = None
    classes: tuple[str, ...] = ()
    inception: Path | None = None
    video: Path | None = None
    sync_video: Path | None = None
    sync_audio: Path | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores over all pairs; None where no network was given.

    Attributes:
        videos: number of videos.
        accuracy: share of videos whose mean output is largest for the requested emotion.
        fid: Fréchet distance of frames of rendered and real videos.
        fvd: Fréchet distance of their clips.
        sync_distance: LSE-D.
        sync_confidence: LSE-C.
    """

    videos: int
    accuracy: float | None
    fid: float | None
    fvd: float | None
    sync_distance: float | None
    sync_confidence: float | None


class _Scorer:
    def __init__(self, networks: Networks) -> None:
        n = networks
        self.classes = n.classes
        self.classifier = MetricNet(n.classifier, "classifier", 4) if n.classifier else None
        self.inception = MetricNet(n.inception, "inception net", 4) if n.inception else None
        self.video = MetricNet(n.video, "video net", 5) if n.video else None
        self.sync: tuple[MetricNet, MetricNet] | None = None
        if n.sync_video and n.sync_audio:
            video = MetricNet(n.sync_video, "sync net for pictures", 5)
            self.sync = video, MetricNet(n.sync_audio, "sync net for sound", 4)
        elif n.sync_video or n.sync_audio:
            raise InputError("Sync needs both nets, for pictures and for sound.")
        if self.classifier is not None and not self.classes:
            raise InputError("A classifier needs the names of its outputs (--classes).")
        self.frames = Moments(), Moments()
        self.clips = Moments(), Moments()
        self.correct: list[bool] = []
        self.synced: list[Sync] = []

    def add(self, pair: Pair, rendered: Path) -> None:
        """Measure a rendered video and the real one."""
        for i, path in enumerate((rendered, pair.truth)):
            images = face_crops(path)
            if not images:
                continue
            if self.inception is not None:
                side = self.inception.side(299)
                features = self.inception(stack_images(images, side, -1, 1))
                self.frames[i].add(features.reshape(len(images), -1))
            if self.video is not None and len(images) >= _CLIP_FRAMES:
                stack = stack_images(images, self.video.side(224), -1, 1)
                starts = range(0, len(stack) - _CLIP_FRAMES + 1, _CLIP_FRAMES)
                clips = [stack[k : k + _CLIP_FRAMES].transpose(1, 0, 2, 3) for k in starts]
                self.clips[i].add(self.video(np.stack(clips)).reshape(len(clips), -1))
            if i == 0:
                self._add_accuracy_and_sync(pair, rendered, images)

    def _add_accuracy_and_sync(self, pair: Pair, video: Path, images: list[RGBImage]) -> None:
        if self.classifier is not None:
            stack = stack_images(images, self.classifier.side(224), 0, 1)
            best = int(self.classifier(stack).mean(0).argmax())
            self.correct.append(self.classes[best] == pair.emotion)
        if self.sync is not None and has_sound(video):
            with VideoReader(video) as reader:
                voice = read_speech(video, start=reader.info.start)
            self.synced.append(lip_sync(images, voice, *self.sync))

    def scores(self, count: int) -> Scores:
        """Return what was measured over ``count`` videos."""
        synced = np.array([(s.distance, s.confidence) for s in self.synced]).reshape(-1, 2)
        means = np.nanmean(synced, 0).tolist() if len(synced) else [None, None]
        return Scores(
            count,
            float(np.mean(self.correct)) if self.correct else None,
            frechet_distance(*self.frames) if self.inception is not None else None,
            frechet_distance(*self.clips) if self.video is not None else None,
            *means,
        )


def score(
    pairs: list[Pair], folder: Path, networks: Networks, progress: Progress | None = None
) -> Scores:
    """Measure the videos that :func:`render` or another system made.

    Raises:
        InputError: when videos or networks are missing.
    """
    missing = [pair.name for pair in pairs if not (folder / f"{pair.name}.mp4").is_file()]
    if missing:
        raise InputError(
            f"{folder} lacks {len(missing)} of {len(pairs)} videos, such as {missing[0]}.mp4; "
            "make them with mien evaluate render."
        )
    if networks == Networks(classes=networks.classes):
        raise InputError("No metric network was given; see docs/published.md for what they are.")
    scorer = _Scorer(networks)
    for i, pair in enumerate(pairs, 1):
        scorer.add(pair, folder / f"{pair.name}.mp4")
        if progress is not None:
            progress(i, len(pairs))
    return scorer.scores(len(pairs))


def face_crops(path: Path) -> list[RGBImage]:
    """Return the largest face of a clip at 25 frames per second, in EDTalk's training framing.

    Frames without a face are left out.
    """
    out: list[RGBImage] = []
    shown = 0
    with VideoReader(path) as reader, closing(FaceTracker(max_faces=1)) as tracker:
        step = 1 / reader.info.rate
        for frame in reader:
            found = tracker(frame.picture)
            until = int((frame.time + step) * FRAMES_PER_SECOND + step / 1000)
            if found and until > shown:
                crop = training_crop(found[0]).cut(frame.picture, _CROP_SIDE, replicate_edges=True)
                out += [crop] * (until - shown)
            shown = max(shown, until)
    return out
