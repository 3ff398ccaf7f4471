"""Let a portrait speak while its voice arrives, piece by piece."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from mien.emotion.request import Request
from mien.emotion.resolve_mesh import EmotionTarget
from mien.errors import InputError
from mien.face.follow import Face
from mien.face.select import FaceChoice
from mien.media.arrays import PICTURE, as_image
from mien.media.audio import SAMPLE_RATE_HZ, Samples
from mien.media.frame import ArrayPicture, Picture, RGBImage
from mien.media.still import read_still
from mien.pipelines.footage import people_in
from mien.pipelines.mesh_live import eased, live_request
from mien.pipelines.mesh_talk import TalkSettings, resized
from mien.pipelines.speakers import Moment, Speakers
from mien.pipelines.start import checked_provenance
from mien.provenance.label import LiveLabel
from mien.provenance.mark import marked
from mien.speech.articulation import CODES_PER_SECOND, NAMES, code_at
from mien.speech.articulation_stream import ArticulationStream
from mien.speech.features import FEATURES_PER_SECOND
from mien.utils.closing import Closing
from mien.utils.text import shown

if TYPE_CHECKING:
    import soxr

    from mien.media.arrays import ImageInput

_HELD_CODES: Final = 4
"""Codes that are kept for the interpolation between two pieces."""

_ROWS_PER_CODE: Final = FEATURES_PER_SECOND // CODES_PER_SECOND

_SAMPLE_RATES: Final = (8_000, 192_000)


class Talker(Closing):
    """A portrait that speaks while its voice arrives, for example from a text-to-speech program.

        with mien.Talker("portrait.jpg", "happy:0.6") as talker:
            for piece in voice:  # float32 samples, or int16
                for image in talker.speak(piece, sample_rate=24_000):
                    show(image)  # talker.rate pictures per second
            for image in talker.finish():
                show(image)

    Picture ``i`` belongs to second ``i / rate`` of the voice; it is ready a quarter of a second of
    voice later. Silence keeps the portrait alive: it blinks and looks around. ``emotion`` may be
    set at any time; the face eases into it. One thread at a time may use it.

    Args:
        portrait: the path of a picture, RGB ``uint8 (H, W, 3)`` or a PIL image.
        emotion: an ``Emotion``, ``Timeline`` or text such as ``"sad:0.6"``; ``"auto"`` needs the
            whole voice and is refused.
        face: as in :func:`mien.edit`.
        settings: ``TalkSettings`` (rate, size, liveliness, seed …).
        provenance: whether the portrait carries the imperceptible mark.
        label: language of a visible label ("AI generated"): ``"en"``, ``"de"`` …; None for none.

    Attributes:
        rate: pictures per second.

    Raises:
        InputError: for a portrait, request or setting that cannot be used.
        FaceNotFoundError: when the picture shows nobody.
    """

    def __init__(
        self,
        portrait: str | Path | ImageInput,
        emotion: Request | str = "neutral",
        *,
        face: str = "largest",
        settings: TalkSettings | None = None,
        provenance: bool = True,
        label: str | None = None,
    ) -> None:
        settings = TalkSettings() if settings is None else settings
        if not isinstance(settings, TalkSettings):
            raise InputError(f"settings must be TalkSettings; got {type(settings).__name__}.")
        settings.check()
        self.emotion = emotion
        self._label = LiveLabel(label, created=True)
        with_mark = checked_provenance(provenance)
        image, faces = _opened(portrait, face, settings.side)
        picture: Picture = ArrayPicture(image)
        for one in faces if with_mark else ():
            picture = marked(picture, one.landmarks, one.weight)
        self._speakers = Speakers(picture.image(), faces, settings)
        self.rate = settings.rate
        self._stream: ArticulationStream | None = ArticulationStream()
        self._resampler: soxr.ResampleStream | None = None
        self._sample_rate = 0
        self._received, self._shown = 0, 0
        self._codes = np.zeros((0, len(NAMES)), np.float32)
        self._stress = np.zeros(0, np.float32)
        self._first = 0  # number of the first code in memory
        self._target: EmotionTarget | None = None

    @property
    def emotion(self) -> Request:
        """The emotion that is asked for now."""
        return self._emotion

    @emotion.setter
    def emotion(self, request: Request | str) -> None:
        self._emotion, self._resolver = live_request(request)

    def speak(
        self, samples: npt.NDArray[Any], sample_rate: int = SAMPLE_RATE_HZ
    ) -> Iterator[RGBImage]:
        """Take the next piece of the voice; return the pictures that it completes.

        Args:
            samples: mono ``(N,)``, or ``(N, channels)``; ``float`` -1..1 or ``int16``. Any number.
            sample_rate: samples per second, the same for all pieces.

        Returns:
            An iterator over RGB ``uint8 (H, W, 3)``, drawn as they are taken.

        Raises:
            InputError: for other samples, another rate than before, or after the end.
        """
        stream = self._open_stream()
        voice = self._resampled(_mono(samples), sample_rate)
        return self._pictures(stream, voice, last=False)

    def finish(self) -> Iterator[RGBImage]:
        """End the voice; return the pictures of its last quarter of a second.

        Raises:
            InputError: after the end.
        """
        stream = self._open_stream()
        rest = np.zeros(0, np.float32)
        if self._resampler is not None:
            rest = self._resampler.resample_chunk(rest, last=True)
        self._stream = None
        return self._pictures(stream, rest, last=True)

    def close(self) -> None:
        """End the voice without its last pictures."""
        self._stream = None

    def _open_stream(self) -> ArticulationStream:
        if self._stream is None:
            raise InputError("This Talker has ended; open another one.")
        return self._stream

    def _resampled(self, samples: Samples, rate: int) -> Samples:
        low, high = _SAMPLE_RATES
        if isinstance(rate, bool) or not isinstance(rate, int) or not low <= rate <= high:
            raise InputError(
                f"sample_rate must be a whole number from {low} to {high}; got {shown(rate)}."
            )
        if self._sample_rate not in (0, rate):
            raise InputError(
                f"All pieces must have one sample_rate; got {rate} after {self._sample_rate}."
            )
        if rate != SAMPLE_RATE_HZ and self._resampler is None:
            import soxr

            self._resampler = soxr.ResampleStream(rate, SAMPLE_RATE_HZ, 1, dtype="float32")
        self._sample_rate = rate
        if self._resampler is None:
            return samples
        resampled: Samples = self._resampler.resample_chunk(samples)
        return resampled

    def _pictures(
        self, stream: ArticulationStream, voice: Samples, *, last: bool
    ) -> Iterator[RGBImage]:
        new = stream.feed(voice, last=last)
        self._received += len(voice)
        self._codes = np.concatenate([self._codes, new.codes])
        self._stress = np.concatenate([self._stress, new.stress])
        moments = []
        while self._is_ready(last):
            moments.append(self._moment(self._shown / self.rate))
            self._shown += 1
        self._forget()
        return self._drawn(moments)

    def _is_ready(self, last: bool) -> bool:
        """Whether the voice is known for the next picture."""
        if last:
            return self._shown * SAMPLE_RATE_HZ < self._received * self.rate
        known = self._first + len(self._codes) - 0.5
        return self._shown * CODES_PER_SECOND <= known * self.rate

    def _moment(self, time: float) -> Moment:
        code = code_at(self._codes, [time - self._first / CODES_PER_SECOND])[0]
        row = int(time * FEATURES_PER_SECOND) - self._first * _ROWS_PER_CODE
        stress = float(self._stress[min(row, len(self._stress) - 1)]) if len(self._stress) else 0.0
        target = self._resolver.at(time)
        if self._target is not None:
            before, share = self._target, eased(1 / self.rate)
            target = EmotionTarget(
                before.expression + share * (target.expression - before.expression),
                before.presence + float(share) * (target.presence - before.presence),
            )
        self._target = target
        return self._speakers.at(time, code, stress, target)

    def _forget(self) -> None:
        """Drop the codes that no later picture needs."""
        needed = int(self._shown * CODES_PER_SECOND / self.rate) - _HELD_CODES
        drop = max(0, needed - self._first)
        self._codes = self._codes[drop:]
        self._stress = self._stress[_ROWS_PER_CODE * drop :]
        self._first += drop

    def _drawn(self, moments: list[Moment]) -> Generator[RGBImage]:
        for image in self._speakers.drawn(moments):
            yield self._label.drawn_on(ArrayPicture(image)).image()


def _opened(
    portrait: str | Path | ImageInput, face: str, side: int | None
) -> tuple[RGBImage, tuple[Face, ...]]:
    """Return a portrait at the size it is drawn at, and the chosen faces in it."""
    if isinstance(portrait, str | PathLike):
        path = Path(portrait)
        image = read_still(path)
    else:
        path, image = PICTURE, as_image(portrait, "The portrait")
    image = resized(image, side)
    return image, people_in(image, path, FaceChoice.parse(face))


def _mono(samples: object) -> Samples:
    """Return samples of a voice as ``float32 (N,)``."""
    if not isinstance(samples, np.ndarray) or samples.ndim not in (1, 2):
        what = f"{samples.dtype} {samples.shape}" if isinstance(samples, np.ndarray) else ""
        raise InputError(
            "samples must be an array (N,) or (N, channels), float -1..1 or int16; got "
            f"{what or type(samples).__name__}."
        )
    if samples.dtype == np.int16:
        samples = samples.astype(np.float32) / 32768
    if not np.issubdtype(samples.dtype, np.floating) or not np.isfinite(samples).all():
        raise InputError(
            f"samples must be finite numbers, float -1..1 or int16; got {samples.dtype}."
        )
    mono = samples if samples.ndim == 1 else samples.mean(1)
    return np.ascontiguousarray(mono, np.float32)
