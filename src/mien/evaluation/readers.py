"""The nets that metrics read films with: mien's own, or those in the user's slots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from mien.errors import MissingExtraError
from mien.evaluation.clips import CROP_PIXELS, FaceClip
from mien.evaluation.slots import SLOTS, MetricNet, NetFiles
from mien.evaluation.sync import SyncNet, mouths_of
from mien.evaluation.syncnet import lip_sync
from mien.face.expression import EXPRESSIONS, FACE_PIXELS, ExpressionReader
from mien.face.facs import read_landmarks
from mien.face.topology import LEFT_EYE, MOUTH_CORNERS, RIGHT_EYE, Landmarks
from mien.media.audio import Samples
from mien.media.frame import RGBImage
from mien.speech.lip_sync import MOUTH_PIXELS, Sync
from mien.weights.store import sha256_of, weights_used

Array = npt.NDArray[np.float32]

_CLIP_FRAMES: Final = 16
"""Frames that I3D takes at once."""

_EVERY: Final = 5
"""A person's identity is read in every fifth frame, an expression by a net in every second."""

_EVERY_EXPRESSION: Final = 2

_ARCFACE: Final = np.array(
    [[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]], np.float32
)
"""Eyes, tip of the nose and corners of the mouth in ArcFace's pictures of 112 pixels."""

_NOSE_TIP: Final = 4


class Named(NamedTuple):
    """What reads: its name, the SHA-256 of its file, and the pixels of the pictures it takes."""

    name: str
    sha256: str
    pixels: int


@dataclass(frozen=True, slots=True)
class Readers:
    """Everything that films are read with; None where there is no net for it.

    Attributes:
        inception: features of pictures ``(T, D)``, for FID.
        i3d: features of clips of 16 frames ``(K, D)``, for FVD.
        expression: expression codes of pictures ``(T, D)``, for E-FID.
        identity: identities of some pictures ``(K, D)``, for CSIM and FAD.
        emotion: mean probabilities ``(classes,)``, for Acc_emo.
        classes: their names.
        second: mean probabilities of mien's expressions where ``emotion`` is a net of the user.
        sync: agreement of lips and sound, for LSE-D, LSE-C and the offset.
        lpips: distances of pictures of two clips ``(T,)``.
        named: what each of these is.
    """

    inception: Callable[[FaceClip], Array] | None
    i3d: Callable[[FaceClip], Array] | None
    expression: Callable[[FaceClip], Array]
    identity: Callable[[FaceClip], Array] | None
    emotion: Callable[[FaceClip], Array]
    classes: tuple[str, ...]
    second: Callable[[FaceClip], Array] | None
    sync: Callable[[FaceClip, Samples], Sync]
    lpips: Callable[[Sequence[RGBImage], Sequence[RGBImage]], Array] | None
    named: dict[str, Named]


@lru_cache(maxsize=1)
def open_readers(files: NetFiles) -> Readers:
    """Open the nets in the user's slots, and mien's own where a slot is empty.

    Raises:
        WeightsError: when a net is damaged or has another form.
    """
    nets = {name: MetricNet(path, SLOTS[name]) for name, path in files.files}
    named = {name: Named(net.path.name, net.sha256, net.side) for name, net in nets.items()}
    named.setdefault("expression", Named("mien's action units", "", CROP_PIXELS))
    own, slot = _own_expressions(), nets.get("emotion")
    named["second" if slot else "emotion"] = _bundled("expression.onnx", FACE_PIXELS)
    inception, i3d, lpips = (nets.get(name) for name in ("inception", "i3d", "lpips"))
    coefficients = nets.get("expression")
    return Readers(
        inception=None if inception is None else lambda clip: _features(inception, clip),
        i3d=None if i3d is None else lambda clip: _clip_features(i3d, clip),
        expression=action_units
        if coefficients is None
        else lambda clip: _features(coefficients, clip, _EVERY_EXPRESSION),
        identity=_identity(nets.get("identity"), named),
        emotion=own if slot is None else lambda clip: _expressions(slot, clip),
        classes=EXPRESSIONS if slot is None else files.classes,
        second=None if slot is None else own,
        sync=_sync(nets, named),
        lpips=None
        if lpips is None
        else lambda a, b: lpips(lpips.stack(a), lpips.stack(b)).reshape(len(a), -1).mean(1),
        named=named,
    )


def _features(net: MetricNet, clip: FaceClip, every: int = 1) -> Array:
    images = [image for image, _ in clip.every(every)]
    return net(net.stack(images)).reshape(len(images), -1)


def _clip_features(net: MetricNet, clip: FaceClip) -> Array:
    starts = range(0, len(clip.images) - _CLIP_FRAMES + 1, _CLIP_FRAMES)
    if not starts:
        return np.zeros((0, 0), np.float32)
    stack = net.stack(list(clip.images))
    clips = [stack[k : k + _CLIP_FRAMES].transpose(1, 0, 2, 3) for k in starts]
    return net(np.stack(clips)).reshape(len(clips), -1)


def action_units(clip: FaceClip) -> Array:
    """Read mien's action units in every frame, ``float32 (T, D)``."""
    read = [read_landmarks(marks) for _, marks in clip.every(1)]
    return np.stack(read).astype(np.float32)


def _identity(net: MetricNet | None, named: dict[str, Named]) -> Callable[[FaceClip], Array] | None:
    if net is not None:

        def by_slot(clip: FaceClip) -> Array:
            aligned = [arcface_picture(*seen) for seen in clip.every(_EVERY)]
            return net(net.stack(aligned)).reshape(len(aligned), -1)

        return by_slot
    try:
        from mien.evaluation.identity import IdentityNet, weights_file

        dlib, file = IdentityNet(), weights_file()
    except MissingExtraError:
        return None
    named["identity"] = Named(file.name, _sha256(file), 150)
    return lambda clip: np.stack([dlib.embed(*seen) for seen in clip.every(_EVERY)])


def arcface_picture(image: RGBImage, landmarks: Landmarks) -> RGBImage:
    """Align a face as in ArcFace's training pictures, ``uint8 (112, 112, 3)``."""
    points = landmarks[:, :2]
    eyes = [points[list(eye.corners)].mean(0) for eye in (RIGHT_EYE, LEFT_EYE)]
    five = np.stack([*eyes, points[_NOSE_TIP], *points[list(MOUTH_CORNERS)]])
    matrix = similarity(five, _ARCFACE)
    out: RGBImage = cv2.warpAffine(image, matrix, (112, 112), borderMode=cv2.BORDER_REPLICATE)
    return out


def similarity(points: Array, targets: Array) -> npt.NDArray[np.float64]:
    """Return the similarity transform ``(2, 3)`` that fits points to targets ``(N, 2)`` best."""
    centre, goal = points.mean(0), targets.mean(0)
    a, b = points - centre, targets - goal
    # As complex numbers, scale and rotation are one factor.
    factor = np.vdot(a @ [1, 1j], b @ [1, 1j]) / max(float((a**2).sum()), 1e-9)
    turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.hstack([turn, (goal - turn @ centre)[:, None]])


def _expressions(net: MetricNet, clip: FaceClip) -> Array:
    """Return the mean probabilities of the net's classes."""
    return np.asarray(_features(net, clip, _EVERY_EXPRESSION).mean(0))


def _own_expressions() -> Callable[[FaceClip], Array]:
    """Return what reads the mean probabilities of mien's expressions."""
    own = ExpressionReader()

    def read(clip: FaceClip) -> Array:
        images, landmarks = zip(*clip.every(_EVERY_EXPRESSION), strict=True)
        return np.asarray(own.probabilities(images, landmarks).mean(0))

    return read


def _sync(
    nets: dict[str, MetricNet], named: dict[str, Named]
) -> Callable[[FaceClip, Samples], Sync]:
    if "syncnet_video" not in nets:
        own = SyncNet()
        named["sync"] = _bundled("sync.onnx", MOUTH_PIXELS)
        return lambda clip, sound: own.offset(
            mouths_of(list(clip.images), list(clip.landmarks)), sound
        )
    video, audio = nets["syncnet_video"], nets["syncnet_audio"]
    named["sync"] = Named(
        f"{video.path.name}, {audio.path.name}", f"{video.sha256}, {audio.sha256}", video.side
    )
    return lambda clip, sound: lip_sync(list(clip.images), sound, video, audio)


def _bundled(file: str, pixels: int) -> Named:
    (weights,) = weights_used([file])
    return Named(f"mien's {file}", weights.sha256, pixels)


@lru_cache(maxsize=4)
def _sha256(path: Path) -> str:
    return sha256_of(path)
