"""What the listener hears of every recording, in several views, kept in a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch

from mien.cmet.semantic import Voice, voice_of
from mien.cmet.training.config import ConnectorConfig
from mien.cmet.training.data import Array, Pairs, read_faces
from mien.errors import InputError
from mien.media.output import whole_file
from mien.speech.listener import Listener
from mien.speech.training.augment import augment
from mien.speech.training.cache import SPEEDS, FeatureCache, build_cache
from mien.speech.training.corpora import Utterance, present, read_manifest
from mien.speech.training.sampling import Excerpts, stack

_BATCH: Final = 48
_LONGEST: Final = 1000
_VERSION: Final = 1


def load_pairs(
    config: ConnectorConfig, folder: Path, progress: Callable[[int, int], None] | None = None
) -> tuple[Pairs, list[Path]]:
    """Listen to every recording, or open what was heard before; the second result is missing files.

    View 0 is the recording as it is. The others are played at other speeds, in other rooms, with
    noise and shorter, which makes the listener about as unsure of its own training voices as it is
    of new ones.
    """
    utterances, missing = present(read_manifest(config.manifest))
    if not utterances:
        raise InputError(f"None of the recordings in {config.manifest} is there.")
    cache = build_cache(utterances, folder / "features", progress=progress)
    missing += [u.path for u, good in zip(utterances, cache.usable, strict=True) if not good]
    key = json.dumps(
        [_VERSION, config.views, _listener_id(config), [str(u.path) for u in utterances]]
    )
    path = folder / f"voices-{hashlib.sha256(key.encode()).hexdigest()[:12]}.npy"
    if not path.exists():
        voices = _listen(utterances, cache, config, progress)
        with whole_file(path) as part, part.open("wb") as file:
            np.save(file, voices)
    usable = cache.usable
    voices = np.load(path, allow_pickle=False)
    pairs = Pairs(
        voices=voices[usable],
        faces=read_faces(config.action_units, utterances)[usable],
        speaker=np.array([u.speaker for u in utterances])[usable],
        emotion=np.array([u.emotion for u in utterances])[usable],
        corpus=np.array([u.corpus for u in utterances])[usable],
        train=np.array([u.split == "train" for u in utterances])[usable],
    )
    return pairs, missing


def _listener_id(config: ConnectorConfig) -> str:
    from importlib.resources import files

    place = files("mien") / "assets" if config.listener is None else Path(config.listener)
    return hashlib.sha256((place / "listener.onnx").read_bytes()).hexdigest()


def _listen(
    utterances: list[Utterance],
    cache: FeatureCache,
    config: ConnectorConfig,
    progress: Callable[[int, int], None] | None,
) -> Array:
    listener = Listener(config.listener)
    excerpts = Excerpts(cache)
    out = np.zeros((len(utterances), config.views, listener.size + 3), np.float32)
    usable = np.flatnonzero(cache.usable)
    order = sorted(usable.tolist(), key=lambda i: len(excerpts.get(i)))
    done = 0
    for view in range(config.views):
        for start in range(0, len(order), _BATCH):
            some = order[start : start + _BATCH]
            rng = np.random.default_rng([config.seed, view, start])
            heard = listener.embed(_pieces(excerpts, some, view, rng))
            out[some, view, :-3] = heard
            for i, embedding in zip(some, heard, strict=True):
                voice: Voice = voice_of(listener, embedding[None])
                out[i, view, -3:] = voice.affect
            done += len(some)
            if progress is not None:
                progress(done, len(order) * config.views)
    return out


def _pieces(
    excerpts: Excerpts, some: list[int], view: int, rng: np.random.Generator
) -> list[Array]:
    """Features of some recordings in one view."""
    if view == 0:
        return [excerpts.get(i)[:_LONGEST].astype(np.float32) for i in some]
    speed = view % len(SPEEDS)
    rows, lengths = stack([excerpts.varied(i, speed, _LONGEST, rng) for i in some])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    voice = torch.arange(len(some))
    varied = augment(torch.from_numpy(rows), torch.from_numpy(lengths), voice, generator)
    return [row[:length].numpy() for row, length in zip(varied, lengths, strict=True)]
