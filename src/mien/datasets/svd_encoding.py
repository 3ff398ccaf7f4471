"""Turn films into the cached clips of :mod:`mien.datasets.svd_clips`, on any number of workers.

A film is decoded twice, for its faces and then for their latents, and no more than a few frames of
it are held at once: of what grows with its length only the sound is in memory as a whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from mien.datasets.manifest import Processed, find_videos, needed_speech, process_videos
from mien.datasets.shards import Array, Arrays, ShardWriter, read_index
from mien.errors import InputError, OutputError
from mien.media.audio import read_speech
from mien.media.frame import Box, RGBImage, to_8_bits
from mien.media.read import VideoReader
from mien.media.resample import nearest_frames
from mien.pipelines.models import face_frames, sampled_faces, voice_frames
from mien.utils.device import torch_device, working_dtype
from mien.utils.workers import worker_number
from mien.weights.manifest import AUDIO_ENCODER, IMAGE_ENCODER, VAE
from mien.weights.store import Store

if TYPE_CHECKING:
    import torch

_MARGIN: Final = 0.5
"""Of the face's box on every side: the published crop."""

_REFERENCES: Final = 4
_BATCH, _CPU_BATCH = 8, 2
"""Frames that the VAE encodes at once."""


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """Settings of a :class:`ClipEncoder`.

    Attributes:
        store: folder of the weights: Stable Video Diffusion's VAE and image encoder, Whisper and
            emotion2vec.
        side: pixels of the square crop, a multiple of 64.
        device: ``auto``, ``cpu``, ``cuda[:N]`` or ``mps``. Of several GPUs, each worker takes one
            unless N is given.
        dtype: precision of the VAE: ``auto`` (half on a GPU), ``fp32``, ``bf16`` or ``fp16``.
        threads: processor threads of the nets; None for as many as PyTorch chooses.

    Raises:
        InputError: for another side.
    """

    store: Path
    side: int = 512
    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.side < 64 or self.side % 64:
            raise InputError(f"The side must be a multiple of 64; got {self.side}.")


@dataclass(frozen=True, slots=True)
class _Look:
    """What the first pass over a film finds.

    Attributes:
        units: action units of every sampled frame, ``float32 (T, D)``.
        box: square around all of its faces.
        mask: the face in it, ``uint8 (side, side)``.
    """

    units: Array
    box: Box
    mask: Array


class ClipEncoder:
    """Computes the arrays of cached clips from films.

    Raises:
        InputError: for a device or precision that is not there.
        WeightsError, MissingExtraError: when something is missing.
    """

    def __init__(self, settings: EncoderSettings) -> None:
        import torch
        from torch.nn import Module

        from mien.engines.svd.networks import load_network
        from mien.pipelines.cmet_models import load_emotion2vec

        device = _own_device(torch_device(settings.device))
        dtype = settings.dtype
        if dtype == "auto" and device.type == "cuda":
            dtype = "fp16"
        self._dtype = working_dtype(dtype, device)
        self._side, self._device, store = settings.side, device, Store(settings.store)
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        self._emotion2vec = load_emotion2vec(store).to(device).eval()
        self._vae, self._image_encoder, self._audio_encoder = (
            # Module's own method: diffusers' warns of layers that have a precision of their own.
            Module.to(load_network(store, name).eval().requires_grad_(False), device, dtype)
            for name, dtype in (
                (VAE, self._dtype), (IMAGE_ENCODER, torch.float32), (AUDIO_ENCODER, torch.float32)
            )
        )  # fmt: skip

    def encode(self, path: Path) -> Arrays:
        """Compute the arrays of a film, one after the other, parts at a time.

        Raises:
            MienError: when there is no face or no sound in it.
        """
        speech = needed_speech(path)
        look = self._look(path)
        last = len(look.units) - 1
        which = np.unique(np.linspace(0, last, _REFERENCES).round().astype(np.int64))
        references: list[RGBImage] = []
        yield "latents", self._latents(path, look, set(which.tolist()), references)
        yield "reference_frames", (which,)
        yield "clip_tokens", (self._clip_tokens(references),)
        yield "mask", (look.mask,)
        yield "face", (look.units,)
        samples = read_speech(speech)
        yield "whisper", self._whisper(samples)
        yield "voice", (voice_frames(self._emotion2vec, samples).astype(np.float32),)

    def _look(self, path: Path) -> _Look:
        """Follow the face through a film."""
        from mien.engines.svd.preprocess import crop_box, mask_box

        units: list[Array] = []
        low, high = np.full(2, np.inf), np.full(2, -np.inf)
        for face in sampled_faces(path):
            units.append(face_frames([face]))
            low, high = np.minimum(low, face[:, :2].min(0)), np.maximum(high, face[:, :2].max(0))
        with VideoReader(path) as reader:
            width, height = reader.info.width, reader.info.height
        (x0, y0), (x1, y1) = low.tolist(), high.tolist()
        box = Box(*crop_box((x0, y0, x1, y1), width, height, _MARGIN))
        mask = np.zeros((height, width), np.uint8)
        a, b, c, d = mask_box((x0, y0, x1 - x0, y1 - y0), width, height)
        mask[b:d, a:c] = 255
        return _Look(np.concatenate(units), box, self._shrunk(mask[box.slices]))

    def _shrunk(self, image: Array) -> Array:
        return cv2.resize(image, (self._side, self._side), interpolation=cv2.INTER_AREA)

    def _latents(
        self, path: Path, look: _Look, which: set[int], references: list[RGBImage]
    ) -> Iterator[Array]:
        """Yield the latents of some frames at a time, and keep crops of the frames ``which``."""
        from mien.engines.svd.settings import FRAMES_PER_SECOND

        with VideoReader(path) as reader:
            frames = nearest_frames(reader, FRAMES_PER_SECOND)
            crops = (self._shrunk(to_8_bits(frame.picture.read(look.box))) for frame in frames)
            count = _CPU_BATCH if self._device.type == "cpu" else _BATCH
            for start in range(0, len(look.units), count):
                some = list(islice(crops, min(count, len(look.units) - start)))
                references += [crop for i, crop in enumerate(some, start) if i in which]
                yield self._encoded(np.stack(some))

    def _encoded(self, crops: Array) -> Array:
        """Encode ``uint8 (N, side, side, 3)`` as ``float16 (N, 4, h, w)``."""
        import torch

        from mien.engines.svd.sampler import SCALING_FACTOR

        pictures = torch.from_numpy(crops.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1)
        with torch.no_grad():
            mode = self._vae.encode(pictures.to(self._device, self._dtype)).latent_dist.mode()
        if not bool(mode.isfinite().all()) and self._dtype != torch.float32:
            # Half precision overflows in some pictures; the rest of the run is done without it.
            self._dtype = torch.float32
            torch.nn.Module.float(self._vae)
            return self._encoded(crops)
        out: Array = (mode.float() * SCALING_FACTOR).cpu().numpy().astype(np.float16)
        return out

    def _clip_tokens(self, crops: Sequence[RGBImage]) -> Array:
        import torch

        from mien.engines.svd.preprocess import prepare_portrait

        box = (0.0, 0.0, float(self._side), float(self._side))
        shown = [prepare_portrait(crop, box, shorter_side=self._side).clip for crop in crops]
        with torch.no_grad():
            tokens = self._image_encoder(torch.from_numpy(np.stack(shown)).to(self._device))
        out: Array = tokens.image_embeds.cpu().numpy().astype(np.float16)
        return out

    def _whisper(self, samples: Array) -> Iterator[Array]:
        from mien.engines.svd.preprocess import hidden_states_by_piece, whisper_encoder

        encode = whisper_encoder(self._audio_encoder, self._device)
        for states in hidden_states_by_piece(samples, encode):
            yield states.cpu().numpy().astype(np.float16)


def _own_device(device: torch.device) -> torch.device:
    """Return this worker's GPU where there are several and none is named."""
    import torch

    if device.type != "cuda" or device.index is not None:
        return device
    return torch.device("cuda", worker_number() % torch.cuda.device_count())


def cache_clips(
    root: Path,
    output: Path,
    settings: EncoderSettings,
    *,
    views: Sequence[str] = (),
    workers: int = 1,
    ray: str | None = None,
    gpus: float = 0,
    log: Callable[[str], None],
    progress: Callable[[int, int | None], None] | None = None,
) -> Processed:
    """Cache every film under ``root`` in ``output`` and count them.

    What is there is kept, so that an interrupted run continues.

    Args:
        root: folder of films; those in MEAD's folders become labelled clips.
        output: folder to write.
        settings: of the encoder.
        views: of MEAD that are read; all by default.
        workers: processes; each loads the nets once.
        ray: as for :func:`mien.utils.workers.run_tasks`.
        gpus: GPUs of each worker on Ray, or a share of one.
        log: called with a line per film that is left out.
        progress: called with (films done, films).

    Raises:
        InputError: when there is no film under ``root``, not one could be used, or the clips in
            ``output`` have another side.
        OutputError: when the disk is full; what is cached remains.
        WeightsError, MissingExtraError: when something is missing.
    """
    if ray is None and workers > 1 and settings.threads is None:
        settings = replace(settings, threads=max(1, (os.cpu_count() or 1) // workers))
    films = find_videos(root, views, log=log)
    done = read_index(output)
    for name, arrays in done.items():
        side = arrays["mask"].shape[0]
        if side != settings.side:
            raise InputError(
                f"{output} holds clips of {side} pixels, such as {name}; got {settings.side}. "
                "Choose that side or another folder."
            )
    ready = {path for path in films if _name(root, path) in done}
    work = partial(_cache, root, output.absolute(), settings)
    try:
        return process_videos(
            root, films, work, ready=ready, workers=workers, ray=ray, gpus=gpus, log=log,
            progress=progress,
        )  # fmt: skip
    except OutputError as error:
        raise OutputError(f"{error} What is cached remains; the same command continues.") from error
    finally:
        _writer(output.absolute()).close()
        _encoder.cache_clear()


def _cache(root: Path, output: Path, settings: EncoderSettings, path: Path) -> None:
    _writer(output).add(_name(root, path), _encoder(settings).encode(path))


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).with_suffix("").as_posix()


_writer = lru_cache(maxsize=1)(ShardWriter)
_encoder = lru_cache(maxsize=1)(ClipEncoder)
