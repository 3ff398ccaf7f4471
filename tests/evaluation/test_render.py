"""Films made in several processes are those of one; nets and voices are read once."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from mien.errors import InputError
from mien.evaluation.pairs import Pair
from mien.evaluation.render import Engine, _maker, render, timing_of
from mien.media.read import VideoReader

from ..conftest import DEMO, MakeClip
from ..speech.voices import buzz, write_sound


@pytest.fixture
def pairs(tmp_path: Path, make_clip: MakeClip) -> list[Pair]:
    """Three edits of a short film, by voices of two emotions."""
    with VideoReader(DEMO / "clip.mp4") as reader:
        images = [frame.image for frame in islice(reader, 8)]
    size = (images[0].shape[1], images[0].shape[0])
    film = make_clip("film.mp4", size=size, stamps=range(0, 8 * 512, 512), images=images)
    voices = [
        write_sound(tmp_path / f"{name}.wav", buzz(1.0, pitch))
        for name, pitch in (("angry", 240), ("sad", 110), ("neutral", 160))
    ]
    return [
        Pair(name, film, emotion, film, (voices[voice],), (voices[2],))
        for name, emotion, voice in (("a", "angry", 0), ("b", "sad", 1), ("c", "sad", 1))
    ]


def pictures(film: Path) -> Iterator[np.ndarray]:
    """The pictures of a film; its credentials name the time it was made."""
    with VideoReader(film) as reader:
        for frame in reader:
            yield frame.image


def test_a_killed_worker_changes_no_film(pairs: list[Pair], tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film")
    every = [*pairs[:2], Pair("d", broken, "sad", broken, pairs[0].voices)]
    killed: list[int] = []

    def kill_once(done: int, total: int | None) -> None:
        for child in multiprocessing.active_children()[: 0 if killed else 1]:
            os.kill(child.pid or 0, signal.SIGKILL)
            killed.append(child.pid or 0)

    one = render(every, tmp_path / "one", Engine("mesh"))
    two = render(every, tmp_path / "two", Engine("mesh"), workers=2, progress=kill_once)
    assert killed
    assert (one.films, list(one.failed)) == (two.films, list(two.failed)) == (2, ["d"])
    for pair in pairs[:2]:
        films = [tmp_path / folder / f"{pair.name}.mp4" for folder in ("one", "two")]
        one_film, other = (list(pictures(film)) for film in films)
        assert len(one_film) == len(other) == 8
        assert all(np.array_equal(*both) for both in zip(one_film, other, strict=True))
    timing = timing_of(tmp_path / "two", pairs[:2])
    assert timing is not None
    assert timing.workers == 2
    assert timing_of(tmp_path / "two", pairs) is None
    with pytest.raises(InputError, match="No film could be made"):
        render(every[2:], tmp_path / "none", Engine("mesh"))


def test_edtalk_opens_its_nets_once_and_hears_every_voice_once(
    pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    from mien.engines.edtalk.settings import EDTalkSettings
    from mien.pipelines.cmet_models import CmetModels
    from mien.speech import emotion2vec
    from mien.weights.store import CACHE_VARIABLE

    from ..published import tiny_store

    store = tiny_store(tmp_path / "weights", speech=64)
    monkeypatch.setenv(CACHE_VARIABLE, str(store.folder))
    opened, heard = [], []
    open_models, embed = CmetModels.open, emotion2vec.embed

    def counted_open(*given: object, **named: object) -> CmetModels:
        opened.append(given)
        return open_models(*given, **named)  # type: ignore[arg-type]

    def counted_embed(net: emotion2vec.Emotion2vec, samples: object) -> object:
        heard.append(samples)
        return embed(net, samples)  # type: ignore[arg-type]

    monkeypatch.setattr(CmetModels, "open", counted_open)
    monkeypatch.setattr(emotion2vec, "embed", counted_embed)
    _maker.cache_clear()
    out = tmp_path / "out"
    done = render(pairs, out, Engine("edtalk", EDTalkSettings("cpu")))
    assert done.films == 3
    assert len(opened) == 1
    assert len(heard) == 3, "angry, sad, neutral"
    logs = [json.loads((out / f"{pair.name}.json").read_text()) for pair in pairs]
    assert sorted(log["warm"] for log in logs) == [False, True, True]
    warm = [log["seconds"] for log in logs if log["warm"]]
    assert done.seconds == pytest.approx(sum(warm) / 2)

    def times() -> list[int]:
        return [(out / f"{pair.name}.mp4").stat().st_mtime_ns for pair in pairs]

    before = times()
    again = render(pairs, out, Engine("edtalk", EDTalkSettings("auto")))
    assert again.seconds == done.seconds, "finished films are kept, on whatever device"
    assert times() == before
    render(pairs, out, Engine("edtalk", EDTalkSettings("cpu", "bf16")))
    changed = times()
    assert not set(changed) & set(before), "films of other options are made again"
    net = next(path for path in store.folder.rglob("*.safetensors") if "connector" in path.name)
    net.touch()
    render(pairs, out, Engine("edtalk", EDTalkSettings("cpu", "bf16")))
    assert not set(times()) & set(changed), "and those of other weights"
    _maker.cache_clear()
