"""What the listener hears of every recording, in several views, kept in a file."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from mien.cmet.semantic import voice_of
from mien.datasets.manifest import Utterance, present, read_manifest
from mien.errors import InputError
from mien.media.output import whole_file
from mien.speech.listener import Listener
from mien.training.connector.config import ConnectorConfig
from mien.training.connector.data import Array, Pairs, read_faces
from mien.training.listener.data import SPEEDS, FeatureCache, build_cache
from mien.training.listener.sampling import Excerpts, augment, stack

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
    faces = read_faces(config.action_units, utterances)
    chosen = _chosen(utterances, cache.usable, np.asarray(np.isfinite(faces).all(1)), config)
    heard_of = [str(utterances[i].path) for i in chosen]
    key = json.dumps([_VERSION, config.views, config.seed, _listener_id(config), heard_of])
    path = folder / f"voices-{hashlib.sha256(key.encode()).hexdigest()[:12]}.npy"
    if not path.exists():
        voices = _listen(chosen, cache, config, progress)
        with whole_file(path) as part, part.open("wb") as file:
            np.save(file, voices)
    some = [utterances[i] for i in chosen]
    pairs = Pairs(
        voices=np.load(path, allow_pickle=False),
        faces=faces[chosen],
        speaker=np.array([u.speaker for u in some]),
        emotion=np.array([u.emotion for u in some]),
        corpus=np.array([u.corpus for u in some]),
        train=np.array([u.split == "train" for u in some]),
    )
    return pairs, missing


def _chosen(
    utterances: list[Utterance],
    usable: npt.NDArray[np.bool_],
    seen: npt.NDArray[np.bool_],
    config: ConnectorConfig,
) -> list[int]:
    """Recordings to listen to: all with a face, some of every speaker's emotion otherwise."""
    counts: Counter[tuple[str, str]] = Counter()
    out = []
    for i in np.random.default_rng(config.seed).permutation(len(utterances)).tolist():
        item = utterances[i]
        if not usable[i]:
            continue
        if not seen[i]:
            counts[item.speaker, item.emotion] += 1
            if counts[item.speaker, item.emotion] > config.most:
                continue
        out.append(i)
    return sorted(out)


def _listener_id(config: ConnectorConfig) -> str:
    from importlib.resources import files

    place = files("mien") / "assets" if config.listener is None else Path(config.listener)
    return hashlib.sha256((place / "listener.onnx").read_bytes()).hexdigest()


def _listen(
    chosen: list[int],
    cache: FeatureCache,
    config: ConnectorConfig,
    progress: Callable[[int, int], None] | None,
) -> Array:
    listener = Listener(config.listener)
    excerpts = Excerpts(cache)
    out = np.zeros((len(chosen), config.views, listener.size + 3), np.float32)
    place = {index: row for row, index in enumerate(chosen)}
    order = sorted(chosen, key=lambda i: len(excerpts.get(i)))
    done = 0
    for view in range(config.views):
        for start in range(0, len(order), _BATCH):
            some = order[start : start + _BATCH]
            rng = np.random.default_rng([config.seed, view, start])
            heard = listener.embed(_pieces(excerpts, some, view, rng))
            for i, embedding in zip(some, heard, strict=True):
                out[place[i], view, :-3] = embedding
                out[place[i], view, -3:] = voice_of(listener, embedding[None]).affect
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
