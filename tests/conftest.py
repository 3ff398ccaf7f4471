"""Small clips and faces made on the spot."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from importlib.resources import files
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from mien.face.topology import canonical_face
from mien.weights.store import CACHE_VARIABLE

SHARED = Path(__file__).resolve().parents[2] / "shared"
DEMO = Path(str(files("mien") / "assets" / "demo"))

MakeClip = Callable[..., Path]


@pytest.fixture(scope="session", autouse=True)
def no_key_at_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the key that outputs are signed with out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        if CACHE_VARIABLE not in os.environ:
            patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the shared material is not here")
    return SHARED


@pytest.fixture
def demo_clip() -> Path:
    return DEMO / "clip.mp4"


@pytest.fixture(scope="session")
def short_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first second of the demo clip."""
    path = tmp_path_factory.mktemp("clips") / "short.mp4"
    with av.open(str(DEMO / "clip.mp4")) as source, av.open(str(path), "w") as target:
        clip = source.streams.video[0]
        picture = target.add_stream("libx264", rate=25)
        picture.width, picture.height, picture.pix_fmt = clip.width, clip.height, clip.pix_fmt
        for index, frame in enumerate(islice(source.decode(clip), 25)):
            frame.pts, frame.time_base, frame.pict_type = index, Fraction(1, 25), 0
            target.mux(picture.encode(frame))
        target.mux(picture.encode(None))
    return path


@pytest.fixture
def demo_face() -> Path:
    return DEMO / "woman.jpg"


@pytest.fixture
def make_clip(tmp_path: Path) -> MakeClip:
    """Write a small clip of moving colours."""

    def make(
        name: str = "clip.mp4",
        *,
        size: tuple[int, int] = (64, 48),
        stamps: Sequence[int] = tuple(range(0, 10 * 512, 512)),
        time_base: Fraction = Fraction(1, 12800),
        rate: Fraction = Fraction(25),
        pixel_format: str = "yuv420p",
        codec: str = "libx264",
        audio: str | None = None,
        images: Sequence[np.ndarray] | None = None,
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=rate)
            stream.width, stream.height = size
            stream.pix_fmt = pixel_format
            stream.codec_context.time_base = time_base
            sound = None
            if audio is not None:
                sound = container.add_stream(audio, rate=44_100)
            for i, stamp in enumerate(stamps):
                if images is not None:
                    image = images[i]
                else:
                    image = np.full((size[1], size[0], 3), (20 * i % 256, 128, 60), np.uint8)
                    image[:, : size[0] // 4] = (200, 40, 30)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = stamp, time_base
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
            if sound is not None:
                tone = np.sin(np.arange(44_100 // 2) * 0.05).astype(np.float32)[None] * 0.3
                block = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
                block.sample_rate = 44_100
                block.pts = 0
                container.mux(sound.encode(block))
                container.mux(sound.encode(None))
        return path

    return make


def canonical_landmarks(
    size: float = 60.0, center: tuple[float, float] = (128.0, 110.0)
) -> np.ndarray:
    """Landmarks of the canonical face placed in a picture, ``(478, 3)`` pixels."""
    points = canonical_face().points * size
    points[:, :2] += np.array(center) - points[[33, 263], :2].mean(0)
    return points.astype(np.float32)


@pytest.fixture
def landmarks() -> np.ndarray:
    return canonical_landmarks()


@pytest.fixture
def picture() -> np.ndarray:
    """A picture with texture everywhere, so that any motion shows."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(40, 220, (64, 64, 3)).astype(np.uint8)
    return np.kron(coarse, np.ones((4, 4, 1), np.uint8))
