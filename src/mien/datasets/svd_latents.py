"""Cached clips for the training of the SVD engine: latents, what is heard, seen and felt."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from mien.datasets.videos import each_video
from mien.errors import FaceNotFoundError, InputError, MienError
from mien.face.pose import head_pose
from mien.face.readers import read_expression
from mien.face.tracker import FaceTracker
from mien.media.audio import Samples, has_sound, read_speech
from mien.media.frame import RGBImage
from mien.media.output import whole_file
from mien.media.read import VideoReader
from mien.weights.store import Store

if TYPE_CHECKING:
    import torch

    from mien.engines.svd.nets import Nets
    from mien.speech.emotion2vec import Emotion2vec

_GROW: Final = 0.5
"""Of the face's box on every side: the published crop."""

_REFERENCES: Final = 4
_AT_ONCE: Final = 8
_POOLED: Final = 10
_LONGEST: Final = 60.0
"""Seconds of a video that are kept."""

Array = npt.NDArray[Any]


class ClipReader:
    """Reads faces, voices and latents of videos.

    Args:
        nets: of the SVD engine; VAE, CLIP and Whisper are asked.
        ears: emotion2vec.
        side: pixels of the square crop, a multiple of 64.
        device: where the nets are.

    Raises:
        InputError: for a side that cannot be.
    """

    def __init__(self, nets: Nets, ears: Emotion2vec, side: int, device: torch.device) -> None:
        if side < 64 or side % 64:
            raise InputError(f"The side must be a multiple of 64; got {side}.")
        self._nets, self._ears, self._side, self._device = nets, ears, side, device

    @classmethod
    def open(cls, store: Store, side: int, device: torch.device) -> ClipReader:
        """Open what is needed out of a store.

        Raises:
            WeightsError, MissingExtraError: when something is missing.
        """
        from mien.engines.svd.load import fresh_nets
        from mien.pipelines.edtalk import open_ears

        nets = fresh_nets(store, prior=2)
        for net in (nets.vae, nets.eye, nets.ear):
            net.eval().requires_grad_(False).to(device).float()
        return cls(nets, open_ears(store).to(device).eval(), side, device)

    def read(self, path: Path) -> dict[str, Array]:
        """Everything of a cached clip (:mod:`mien.datasets.clip_cache`).

        Raises:
            MienError: when there is no face or no sound in it.
        """
        if not has_sound(path):
            raise MienError(f"There is no sound in {path}.")
        frames, marks = followed(path)
        samples = read_speech(path)[: round(_LONGEST * 16_000)]
        crops, mask = self._cropped(frames, marks)
        latents, clips, at = self._seen(crops)
        return {
            "latents": latents.astype(np.float16),
            "clips": clips.astype(np.float16),
            "at": at,
            "heard": self._heard(samples).astype(np.float16),
            "mask": mask,
            "face": seen_frames(marks),
            "voice": self._felt(samples).astype(np.float32),
        }

    def _cropped(self, frames: list[RGBImage], marks: list[Array]) -> tuple[list[RGBImage], Array]:
        """Square crops round all of the clip's faces, and the mask of the face in them."""
        from mien.engines.svd.picture import crop_box, mask_box

        points = np.concatenate([one[:, :2] for one in marks])
        (x0, y0), (x1, y1) = points.min(0).tolist(), points.max(0).tolist()
        height, width = frames[0].shape[:2]
        left, top, right, bottom = crop_box((x0, y0, x1, y1), width, height, _GROW)
        size = (self._side, self._side)
        crops = [
            cv2.resize(frame[top:bottom, left:right], size, interpolation=cv2.INTER_AREA)
            for frame in frames
        ]
        mask = np.zeros((height, width), np.uint8)
        a, b, c, d = mask_box((x0, y0, x1 - x0, y1 - y0), width, height)
        mask[b:d, a:c] = 255
        small = cv2.resize(mask[top:bottom, left:right], size, interpolation=cv2.INTER_AREA)
        return crops, small

    def _seen(self, crops: list[RGBImage]) -> tuple[Array, Array, Array]:
        import torch

        from mien.engines.svd.nets import SCALING
        from mien.engines.svd.picture import portrayed

        latents = []
        with torch.no_grad():
            for start in range(0, len(crops), _AT_ONCE):
                some = np.stack(crops[start : start + _AT_ONCE]).transpose(0, 3, 1, 2)
                given = torch.from_numpy(some.astype(np.float32) / 127.5 - 1).to(self._device)
                mode = self._nets.vae.encode(given).latent_dist.mode()
                latents.append((mode * SCALING).cpu().numpy())
            at = np.unique(np.linspace(0, len(crops) - 1, _REFERENCES).round().astype(np.int64))
            box = (0.0, 0.0, float(self._side), float(self._side))
            shown = np.stack([portrayed(crops[i], box, shortest=self._side).clip for i in at])
            clips = self._nets.eye(torch.from_numpy(shown).to(self._device)).image_embeds
        return np.concatenate(latents), clips.cpu().numpy(), at

    def _heard(self, samples: Samples) -> Array:
        from mien.engines.svd.voice import hidden_states, whisper_encoder

        states = hidden_states(samples, whisper_encoder(self._nets.ear, self._device))
        return states.cpu().numpy()

    def _felt(self, samples: Samples) -> Array:
        return felt_frames(self._ears, samples)


def felt_frames(ears: Emotion2vec, samples: Samples) -> Array:
    """Means of emotion2vec's frames over a fifth of a second, ``float32 (V, E)``."""
    from mien.speech.emotion2vec import frames_of

    frames = frames_of(ears, samples)
    whole = np.array_split(frames, max(1, len(frames) // _POOLED))
    return np.stack([one.mean(0) for one in whole])


def seen_frames(marks: list[Array]) -> Array:
    """Action units of faces, ``float32 (T, D)``."""
    read = [read_expression(head_pose(one).to_head(one)) for one in marks]
    return np.stack(read).astype(np.float32)


def followed(path: Path) -> tuple[list[RGBImage], list[Array]]:
    """Pictures at 12.5 a second, and the face in each; the last known where none is found."""
    from mien.engines.svd.voice import FRAME_RATE

    frames: list[RGBImage] = []
    marks: list[Array | None] = []
    with VideoReader(path) as reader, closing(FaceTracker(max_faces=1)) as tracker:
        for frame in reader:
            found = tracker(frame.image)
            if frame.time > _LONGEST:
                break
            if float(frame.time) + 1e-3 >= len(frames) / FRAME_RATE:
                frames.append(frame.image)
                marks.append(found[0] if found else None)
    known = next((one for one in marks if one is not None), None)
    if known is None:
        raise FaceNotFoundError(f"No usable face was found in {path}.")
    out = []
    for one in marks:
        known = one if one is not None else known
        out.append(known)
    return frames, out


def cache_clips(
    root: Path,
    output: Path,
    reader: ClipReader,
    *,
    say: Callable[[str], None],
    progress: Callable[[int, int | None], None] | None = None,
) -> int:
    """Write ``OUTPUT/<same path>/NAME.npz`` for every video under ``root``; how many there are.

    What is there already is left: an interrupted run goes on.

    Args:
        root: folder of videos; MEAD's says who feels what, others are taken as they are.
        output: folder to write.
        reader: opened.
        say: told of videos without a face or sound.
        progress: called with (videos done, videos).

    Raises:
        InputError: when there is no video under ``root``.
    """

    def cache(path: Path) -> bool:
        target = output / path.relative_to(root).with_suffix(".npz")
        if not target.exists():
            parts = reader.read(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(target) as part, part.open("wb") as file:
                np.savez_compressed(file, **parts)  # type: ignore[arg-type]
        return True

    return each_video(root, cache, say=say, progress=progress)
