"""Edit or dub a file with the published C-MET: EDTalk moved by the connector."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mien.cmet.transfer import Codes, Connect
from mien.emotion.request import Request
from mien.emotion.resolve_edtalk import Voices
from mien.engines.edtalk.settings import FRAMES_PER_SECOND
from mien.errors import FaceNotFoundError, InputError, MissingExtraError, WeightsError
from mien.face.follow import Face, follow
from mien.face.select import FaceChoice
from mien.face.tracker import FaceTracker
from mien.media.audio import read_speech
from mien.media.frame import Frame, RGBImage
from mien.media.read import VideoInfo, VideoReader
from mien.media.still import is_still, read_still, write_still
from mien.media.write import VideoWriter
from mien.pipelines.edtalk_motion import Anchors, Mover, Shot
from mien.pipelines.people import Tally, nobody, people_in, selector_for
from mien.pipelines.prefetch import ahead
from mien.pipelines.report import Progress, Report, tracker_weights
from mien.weights.manifest import AUDIO2LIP, CONNECTOR, EMOTION2VEC, GENERATOR, LABELS
from mien.weights.store import Store, Weights, weights_used

if TYPE_CHECKING:
    from mien.cmet.connector import Connector
    from mien.engines.edtalk.engine import EDTalkEngine
    from mien.engines.edtalk.settings import EDTalkSettings
    from mien.speech.emotion2vec import Emotion2vec


@dataclass(slots=True)
class Published:
    """The published nets, out of a store.

    Attributes:
        engine: reads and draws faces.
        connect: the connector.
        store: where they come from.
        used: names of the weights that were opened.
    """

    engine: EDTalkEngine
    connect: Connect
    store: Store
    used: list[str]
    _ears: Emotion2vec | None = None

    @classmethod
    def open(cls, settings: EDTalkSettings, store: Store | None = None) -> Published:
        """Load generator and connector.

        Raises:
            MissingExtraError: without PyTorch or safetensors.
            WeightsError: when weights are missing or damaged.
            InputError: for settings this machine cannot follow.
        """
        store = store or Store()
        try:
            import safetensors  # noqa: F401
            import torch  # noqa: F401
        except ImportError as error:
            raise MissingExtraError(
                f"The engine edtalk needs more than the core ({error.name}): "
                "pip install 'mien[edtalk]'."
            ) from error
        from mien.engines.edtalk.engine import EDTalkEngine

        paths = [store.locate(name) for name in (GENERATOR, CONNECTOR)]
        engine = EDTalkEngine.load(paths[0], settings)
        connect = _connect(_connector(paths[1]), engine.expression_dim)
        return cls(engine, connect, store, [GENERATOR, CONNECTOR])

    def listener(self) -> Emotion2vec:
        """emotion2vec+ large; opened at the first need."""
        if self._ears is None:
            self._ears = open_ears(self.store).to(self.engine.device)
            self.used.append(EMOTION2VEC)
        return self._ears

    def lips(self, speech: Path) -> npt.NDArray[np.float32]:
        """Lip coefficients of a voice at 25 frames per second, ``float32 (T, lip)``."""
        from mien.engines.edtalk.audio2lip import Audio2Lip, Audio2LipConfig, lip_coefficients
        from mien.weights.convert import load

        tensors, spec = load(self.store.locate(AUDIO2LIP))
        self.used.append(AUDIO2LIP)
        net = Audio2Lip(Audio2LipConfig(**spec))
        net.load_state_dict(tensors)
        return lip_coefficients(net.to(self.engine.device).eval(), read_speech(speech))

    def labels(self) -> dict[str, npt.NDArray[np.float32]]:
        """EDTalk's own coefficients per emotion, where the user has them."""
        if not self.store.has(LABELS):
            return {}
        from mien.weights.convert import load

        tensors, _ = load(self.store.locate(LABELS))
        self.used.append(LABELS)
        return {name: value.numpy() for name, value in tensors.items()}

    def expression_of(self, path: Path) -> npt.NDArray[np.float32]:
        """Expression coefficients of a face in a picture, or the median over a clip."""
        found: list[npt.NDArray[np.float32]] = []
        with closing(FaceTracker(still=is_still(path))) as tracker:
            for image in _pictures(path):
                marked = tracker(image)
                if marked:
                    from mien.engines.edtalk.framing import training_crop

                    crop = training_crop(marked[0])
                    face = crop.cut(image, self.engine.pixels, replicate_edges=True)
                    found.append(self.engine.motion(face[None])[0].expression)
        if not found:
            raise FaceNotFoundError(f"No usable face was found in {path}.")
        return np.median(found, axis=0).astype(np.float32)

    def voices(self, clip: Path) -> Voices:
        """What names, voices and faces mean to these nets."""
        return Voices(self.listener, clip, self.labels(), self.expression_of)

    def weights(self) -> tuple[Weights, ...]:
        """Everything that was used, with hashes and licences."""
        return (*tracker_weights(), *weights_used(self.used, self.store))


def open_ears(store: Store) -> Emotion2vec:
    """emotion2vec+ large out of a store, on the CPU.

    Raises:
        WeightsError: when it is missing or damaged.
    """
    from mien.speech.emotion2vec import Emotion2vec, Emotion2vecSpec
    from mien.weights.convert import load

    tensors, spec = load(store.locate(EMOTION2VEC))
    net = Emotion2vec(Emotion2vecSpec(**spec))
    net.load_state_dict(tensors)
    return net.eval()


def _connector(path: Path) -> Connector:
    from mien.cmet.connector import Connector, ConnectorSpec
    from mien.weights.convert import load

    tensors, spec = load(path)
    net = Connector(ConnectorSpec(**spec))
    net.load_state_dict(tensors)
    return net.eval()


def _connect(net: Connector, size: int) -> Connect:
    if net.spec.expression != size:
        raise InputError(
            f"The connector moves {net.spec.expression} coefficients, the generator has {size}: "
            "they do not belong together."
        )
    import torch

    def connect(reference: Codes, vector: Codes, expression: Codes) -> Codes:
        if len(vector) != net.spec.speech:
            raise WeightsError(
                f"The connector reads voices of {net.spec.speech} numbers; these have "
                f"{len(vector)}: the nets do not belong together."
            )
        parts = (np.asarray(v, np.float32)[None] for v in (reference, vector[None], expression))
        with torch.inference_mode():
            delta: Codes = net(*map(torch.from_numpy, parts)).delta[0].numpy()
        return delta

    return connect


def _pictures(path: Path) -> Iterator[RGBImage]:
    if is_still(path):
        yield read_still(path)
        return
    with VideoReader(path) as reader:
        yield from reader.first_look(40, 60.0)


def edit_published(
    source: Path,
    output: Path,
    request: Request,
    choice: FaceChoice,
    settings: EDTalkSettings,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    warnings: tuple[str, ...] = (),
    store: Store | None = None,
) -> Report:
    """Write ``source`` with another feeling to ``output``; lips, head and everything else stay.

    Raises:
        InputError, FaceNotFoundError, OutputError: as :func:`mien.pipelines.mesh_edit.edit_file`.
        MissingExtraError, WeightsError: see :meth:`Published.open`.
    """
    nets = Published.open(settings, store)
    voices = nets.voices(source)
    voices.check(request)
    wish = partial(voices.at, request)
    job = _Job(source, output, choice, overwrite, progress, request, warnings)
    if is_still(source):
        return job.still(nets, Mover(nets.engine, nets.connect, wish, Anchors(nets.engine)))
    anchors = Anchors(nets.engine)
    return job.video(nets, Mover(nets.engine, nets.connect, wish, anchors), anchors, source)


def talk_published(
    portrait: Path,
    speech: Path,
    output: Path,
    request: Request,
    choice: FaceChoice,
    settings: EDTalkSettings,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    warnings: tuple[str, ...] = (),
    store: Store | None = None,
) -> Report:
    """Let the face in a picture, or in a video (a dub), say ``speech``.

    A picture becomes a clip of the speech's length at 25 frames per second. A video keeps its own
    length and rate; where the speech is longer, its last picture is held and goes on speaking.

    Raises:
        As :func:`edit_published`.
    """
    nets = Published.open(settings, store)
    voices = nets.voices(speech)
    voices.check(request)
    wish = partial(voices.at, request)
    anchors = Anchors(nets.engine)
    lips = nets.lips(speech)
    mover = Mover(nets.engine, nets.connect, wish, anchors, lips)
    job = _Job(portrait, output, choice, overwrite, progress, request, warnings)
    if is_still(portrait):
        return job.portrait(nets, mover, speech, len(lips))
    return job.video(nets, mover, anchors, speech, seconds=len(lips) / FRAMES_PER_SECOND)


@dataclass(slots=True)
class _Job:
    source: Path
    output: Path
    choice: FaceChoice
    overwrite: bool
    progress: Progress | None
    request: Request
    warnings: tuple[str, ...]

    def still(self, nets: Published, mover: Mover) -> Report:
        """One picture in, one out."""
        start = perf_counter()
        image, chosen = self._people()
        frame = next(mover.move([Shot(Frame(image, Fraction(0), 0), chosen)]))
        write_still(self.output, frame.image)
        if self.progress is not None:
            self.progress(1, 1)
        return self._report(nets, start, frames=1, faces=len(chosen), seconds=0.0, rate=0.0)

    def portrait(self, nets: Published, mover: Mover, speech: Path, count: int) -> Report:
        """One picture and a voice in, a clip out."""
        start = perf_counter()
        image, chosen = self._people()
        info = VideoInfo.new(self.source, image, Fraction(FRAMES_PER_SECOND), count)
        shots = (
            Shot(Frame(image, Fraction(i, FRAMES_PER_SECOND), i), chosen) for i in range(count)
        )
        done = self._write(info, mover.move(shots), speech, count)
        return self._report(
            nets,
            start,
            frames=done,
            faces=len(chosen),
            seconds=done / FRAMES_PER_SECOND,
            rate=float(FRAMES_PER_SECOND),
        )

    def video(
        self,
        nets: Published,
        mover: Mover,
        anchors: Anchors,
        sound: Path,
        seconds: float = 0.0,
    ) -> Report:
        """A clip in, a clip of the same times out; held at its end for up to ``seconds``."""
        start, tally = perf_counter(), Tally()
        with VideoReader(self.source) as reader, closing(FaceTracker()) as tracker:
            anchors.look(reader, tracker)
            shots = self._shots(reader, tracker, tally, seconds)
            total = reader.info.frames
            if total is not None:
                total = max(total, round(seconds * reader.info.rate))
            with closing(ahead(mover.move(shots))) as moved:
                frames = self._write(reader.info, moved, sound, total, tally)
            rate, damaged = float(reader.info.rate), reader.damaged
            length = reader.info.duration
        warnings = self.warnings
        if damaged:
            warnings += (f"{self.source}: {damaged}",)
        if length is not None and seconds > float(length) + 1 / rate:
            warnings += (
                f"The speech is {seconds - float(length):.1f} s longer than {self.source}: its "
                "last picture was held.",
            )
        return self._report(
            nets,
            start,
            frames=frames,
            faces=len(tally.people),
            seconds=frames / rate,
            rate=rate,
            spans=tuple((float(a), float(b)) for a, b in tally.spans),
            warnings=warnings,
        )

    def _shots(
        self, reader: VideoReader, tracker: FaceTracker, tally: Tally, seconds: float
    ) -> Iterator[Shot]:
        selector, step = selector_for(self.choice), 1 / reader.info.rate
        last: Shot | None = None
        for item in ahead(follow(reader, tracker)):
            chosen = selector.pick(item.faces)
            tally.count(item.frame.time, chosen, len(item.faces), step)
            last = Shot(item.frame, chosen)
            yield last
        while last is not None and float(last.frame.time + step) < seconds:
            frame = Frame(last.frame.image, last.frame.time + step, last.frame.index + 1)
            last = Shot(frame, last.faces)
            yield last

    def _write(
        self,
        info: VideoInfo,
        frames: Iterable[Frame] | Generator[Frame],
        sound: Path,
        total: int | None,
        tally: Tally | None = None,
    ) -> int:
        done = 0
        with VideoWriter(self.output, info, audio_from=sound, overwrite=self.overwrite) as writer:
            for frame in frames:
                writer.write(frame.image, frame.time)
                done += 1
                if self.progress is not None:
                    self.progress(done, total)
            if tally is not None and not tally.people:
                raise nobody(self.source, self.choice, tally.most_faces)
        return done

    def _people(self) -> tuple[RGBImage, tuple[Face, ...]]:
        """The picture, and the chosen faces in it."""
        image = read_still(self.source)
        return image, people_in(image, self.source, self.choice)

    def _report(
        self,
        nets: Published,
        start: float,
        *,
        frames: int,
        faces: int,
        seconds: float,
        rate: float,
        spans: tuple[tuple[float, float], ...] = (),
        warnings: tuple[str, ...] | None = None,
    ) -> Report:
        said: dict[str, Any] = self.request.describe()
        return Report(
            output=self.output,
            frames=frames,
            seconds=seconds,
            rate=rate,
            faces=faces,
            spans_without_face=spans,
            emotion=said,
            engine=nets.engine.name,
            weights=nets.weights(),
            frames_per_second=frames / (perf_counter() - start),
            warnings=self.warnings if warnings is None else warnings,
        )
