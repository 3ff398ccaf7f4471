"""The reader of faces that speak, the mesh engine's half of mode V (arXiv 2504.18087).

Its examples are OpenFace's action units of people who speak (RAVDESS), and mien's readings of
labelled stills. The two instruments differ in scale; each unit is divided by its size in emotional
faces, after the neutral face is subtracted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mien.dicetalk.speaking_face import FACE_EMOTIONS, FACE_UNITS, both_sides, with_face
from mien.errors import InputError
from mien.face.facs import OPENFACE_UNITS, read_landmarks
from mien.media.output import whole_file
from mien.speech.listener import VOICE_EMOTIONS, Listener
from mien.training.emotion_prior import balanced
from mien.training.listener.task import recall
from mien.training.onnx_export import write_onnx
from mien.training.trainer import Losses, Task, Trainer, read_net
from mien.training.voice_faces import (
    Array,
    VoiceFaces,
    VoiceFacesConfig,
    load_voice_faces,
    minus_own_neutral,
)

_CLIP: Final = "video/"
"""Beginning of the sources of frames from clips of people who speak."""

_NEUTRAL: Final = FACE_EMOTIONS.index("neutral")
_SIZES: Final = (0.7, 1.3)
"""Range of the factors that examples are multiplied by."""


@dataclass(frozen=True, kw_only=True)
class SpeakingFaceConfig(VoiceFacesConfig):
    """Settings of the training.

    Attributes:
        faces: folder with ``labels.npz``: landmarks of labelled stills and of frames of clips.
        excluded: parts of the names of clips that the typical speaking face leaves out.
        stills: share of the stills in a batch; the rest are people who speak.
        hidden, members, dropout: of the net, whose members are averaged.
        noise: spread of what is added to the scaled units.
        smoothing: share of a label that is spread over all emotions.
        batch: faces per step.
    """

    faces: Path
    excluded: tuple[str, ...] = ()
    stills: float = 0.25
    hidden: int = 48
    members: int = 3
    dropout: float = 0.3
    noise: float = 0.25
    smoothing: float = 0.05
    batch: int = 128
    steps: int = 600
    learning_rate: float = 3e-3


@dataclass(frozen=True, slots=True)
class SpeakingFaceSpec:
    """Sizes of the net."""

    hidden: int = 48
    members: int = 3
    dropout: float = 0.3


class SpeakingFaceNet(nn.Module):
    """Changes of action units ``(N, 14)`` from neutral to probabilities of emotions ``(N, 7)``."""

    scale: Tensor

    def __init__(self, spec: SpeakingFaceSpec) -> None:
        super().__init__()
        self.spec = spec
        self.members = nn.ModuleList(
            nn.Sequential(
                nn.Linear(len(FACE_UNITS), spec.hidden),
                nn.GELU(),
                nn.Dropout(spec.dropout),
                nn.Linear(spec.hidden, len(FACE_EMOTIONS)),
            )
            for _ in range(spec.members)
        )
        self.register_buffer("scale", torch.ones(len(FACE_UNITS)))

    def forward(self, change: Tensor) -> Tensor:
        """Return the probabilities for mien's readings."""
        scores = self.scores(change / self.scale).log_softmax(2).mean(0)
        return scores.softmax(1)

    def scores(self, scaled: Tensor) -> Tensor:
        """Return the scores ``(members, N, 7)`` of changes in their typical size."""
        return torch.stack([member(scaled) for member in self.members])


class Examples(NamedTuple):
    """Faces: scaled changes from neutral ``(N, 14)`` and indices of ``FACE_EMOTIONS`` ``(N,)``."""

    change: Array
    label: npt.NDArray[np.int64]

    def part(self, chosen: npt.NDArray[Any]) -> Examples:
        """Return the chosen faces."""
        return Examples(self.change[chosen], self.label[chosen])


@dataclass(frozen=True)
class SpeakingFaces:
    """What the net is trained and measured on.

    Attributes:
        stills: labelled pictures to train on.
        spoken: recordings to train on, beside the speaker's own neutral ones and beside the
            average of all people's.
        held_out: recordings of other people in both ways, by name, in the same order.
        voices: the listener's probabilities of these, ``(N, 16)``.
        neutral: typical units of faces that speak, ``(14,)``.
        scale, size: sizes of the changes of mien's readings and of OpenFace's, ``(14,)``.
    """

    stills: Examples
    spoken: tuple[Examples, Examples]
    held_out: dict[str, Examples]
    voices: Array
    neutral: Array
    scale: Array
    size: Array


def train_speaking_face(config: SpeakingFaceConfig, trainer: Trainer) -> dict[str, float]:
    """Train the net and write ``speaking_face.pt`` and ``neutral.npy``."""
    found = load_voice_faces(config, trainer.folder, trainer.progress, trainer.log)
    data = load_speaking_faces(config, found)
    with whole_file(trainer.folder / "neutral.npy") as part, part.open("wb") as file:
        np.save(file, data.neutral)
    return trainer.fit(SpeakingFaceTask(config, data))[1]


def load_speaking_faces(config: SpeakingFaceConfig, found: VoiceFaces) -> SpeakingFaces:
    """Read the faces, and scale each instrument's changes.

    Raises:
        InputError: when the table of faces is missing or has no labelled face or no clip.
    """
    units, labels, clips = _read_faces(config)
    known = labels >= 0
    if not known.any() or known.all():
        raise InputError(
            f"{config.faces / 'labels.npz'} must have labelled pictures and frames of clips."
        )
    neutral = np.mean([np.median(units[clips == one], 0) for one in np.unique(clips[~known])], 0)
    still = Examples(units[known] - units[labels == _NEUTRAL].mean(0), labels[known])
    scale = _sizes(still)
    rows = np.flatnonzero(found.seen & np.isin(found.emotion, FACE_EMOTIONS))
    spoken = np.array([FACE_EMOTIONS.index(name) for name in found.emotion[rows]])
    own, average = changes_of(found, rows)
    size = _sizes(Examples(own, spoken).part(found.train[rows]))
    ways = {
        "own neutral": Examples(own / size, spoken),
        "average neutral": Examples(average / size, spoken),
    }
    test = ~found.train[rows]
    voices = np.ascontiguousarray(found.voices[rows[test], 0, :-3])
    first, second = (way.part(~test) for way in ways.values())
    return SpeakingFaces(
        stills=Examples(still.change / scale, still.label),
        spoken=(first, second),
        held_out={name: way.part(test) for name, way in ways.items()},
        voices=Listener(config.listener).classify(voices)[0],
        neutral=neutral.astype(np.float32),
        scale=scale,
        size=size,
    )


class SpeakingFaceTask(Task[SpeakingFaceConfig, SpeakingFaceNet, dict[str, Tensor]]):
    """Trains the net; every emotion has the same share of the batches."""

    weights_file = "speaking_face.pt"

    def __init__(self, config: SpeakingFaceConfig, data: SpeakingFaces) -> None:
        super().__init__(config)
        self._data = data

    def build(self) -> SpeakingFaceNet:
        """Create the net, with the scale of mien's readings in it."""
        net = SpeakingFaceNet(SpeakingFaceSpec(**self.config.sizes(SpeakingFaceSpec)))
        net.scale.copy_(torch.from_numpy(self._data.scale))
        return net

    def batch(self, step: int) -> dict[str, Tensor]:
        """Draw stills and people who speak, larger and smaller and with noise."""
        config, rng = self.config, self.rng(step)
        stills = round(config.stills * config.batch)
        own = (config.batch - stills) // 2
        counts = (stills, own, config.batch - stills - own)
        drawn = [
            examples.part(rng.choice(len(examples.label), count, p=balanced(examples.label)))
            for examples, count in zip((self._data.stills, *self._data.spoken), counts, strict=True)
        ]
        change = np.concatenate([one.change for one in drawn])
        change = change * rng.uniform(*_SIZES, (len(change), 1))
        change = change + rng.normal(0, config.noise, change.shape)
        return {
            "change": torch.from_numpy(change.astype(np.float32)),
            "label": torch.from_numpy(np.concatenate([one.label for one in drawn])),
        }

    def losses(self, net: SpeakingFaceNet, batch: dict[str, Tensor], step: int) -> Losses:
        """Compute the cross entropy of every member."""
        scores = net.scores(batch["change"])
        labels = batch["label"].expand(len(scores), -1).flatten()
        loss = F.cross_entropy(scores.flatten(0, 1), labels, label_smoothing=self.config.smoothing)
        return Losses(loss, {"emotion": loss})

    def measure(self, net: SpeakingFaceNet) -> dict[str, float]:
        """Return recalls, averaged over the emotions, of people held out: face, voice and both."""
        data, out = self._data, {}
        scale = net.scale.cpu().numpy()
        labels = next(iter(data.held_out.values())).label
        wanted = np.array([VOICE_EMOTIONS.index(FACE_EMOTIONS[label]) for label in labels])
        columns = [VOICE_EMOTIONS.index(name) for name in FACE_EMOTIONS]
        out["voice"] = recall(data.voices[:, columns].argmax(1), labels)
        for name, examples in data.held_out.items():
            change = torch.from_numpy(examples.change * scale).to(self.device)
            face = net(change).cpu().numpy()
            both = with_face(data.voices, face)
            out[f"face, {name}"] = recall(face.argmax(1), labels)
            out[f"both, {name}"] = recall(both[:, columns].argmax(1), labels)
            out[f"both, {name}, all labels"] = float((both.argmax(1) == wanted).mean())
        return out


def load_net(path: Path) -> SpeakingFaceNet:
    """Read the ``speaking_face.pt`` of a training."""
    return read_net(path, lambda spec: SpeakingFaceNet(SpeakingFaceSpec(**spec)))


def export_speaking_face(run: Path, folder: Path) -> None:
    """Write a run's ``dice_face.onnx`` and ``dice_face.npz``."""
    net = load_net(run / SpeakingFaceTask.weights_file)
    example = (torch.zeros(2, len(FACE_UNITS)),)
    write_onnx(net.eval(), example, folder / "dice_face.onnx", ["change"], ["odds"])
    with whole_file(folder / "dice_face.npz") as part, part.open("wb") as file:
        np.savez(file, neutral=np.load(run / "neutral.npy", allow_pickle=False))


def _read_faces(
    config: SpeakingFaceConfig,
) -> tuple[Array, npt.NDArray[np.int64], npt.NDArray[np.str_]]:
    """Read units, labels (-1: a frame of a clip) and the names of the clips."""
    path = config.faces / "labels.npz"
    if not path.is_file():
        raise InputError(f"The folder of faces lacks labels.npz: {config.faces}.")
    with np.load(path, allow_pickle=False) as stored:
        landmarks, emotions = stored["landmarks"], stored["emotion"].astype(str)
        sources = stored["source"].astype(str)
    clips = np.array([source.partition("#")[0] for source in sources])
    labels = np.array(
        [FACE_EMOTIONS.index(name) if name in FACE_EMOTIONS else -1 for name in emotions]
    )
    filmed = np.array(
        [
            clip.startswith(_CLIP) and not any(part in clip for part in config.excluded)
            for clip in clips
        ]
    )
    rows = np.flatnonzero((labels >= 0) | filmed)
    readings = [read_landmarks(points) for points in landmarks[rows].astype(np.float32)]
    return both_sides(np.stack(readings)), labels[rows], clips[rows]


def changes_of(found: VoiceFaces, rows: npt.NDArray[np.int64]) -> tuple[Array, Array]:
    """Compute how the faces of recordings differ from neutral ones, in OpenFace's code units.

    Returns:
        Differences ``(N, 14)`` from the speaker's own neutral face (the average one where there is
        none), and from the average one of the people trained on.
    """
    faces = found.faces[rows][:, [OPENFACE_UNITS.index(unit) for unit in FACE_UNITS]]
    calm, speakers = found.emotion[rows] == "neutral", found.speaker[rows]
    average = faces[calm & found.train[rows]].mean(0)
    return minus_own_neutral(faces, speakers, calm, average), faces - average


def _sizes(examples: Examples) -> Array:
    """Root mean squares of the changes, every emotion weighing the same, ``(14,)``."""
    squares = [
        (examples.change[examples.label == one] ** 2).mean(0) for one in np.unique(examples.label)
    ]
    return np.sqrt(np.mean(squares, 0)).astype(np.float32)
