"""The models of the published engines, opened out of a store of converted weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from mien.cmet.semantic import Codes, Connect
from mien.emotion.references import faces_of
from mien.emotion.request import Request
from mien.emotion.resolve_edtalk import EDTalkResolver
from mien.emotion.resolve_svd import Embed, Prior, SvdResolver
from mien.errors import FaceNotFoundError, InputError, WeightsError, needs_extra
from mien.face.facs import read_expression
from mien.face.pose import head_pose
from mien.face.topology import Landmarks
from mien.face.tracker import FaceTracker
from mien.media.audio import Samples, has_sound, read_speech
from mien.media.frame import RGBImage
from mien.media.read import VideoReader
from mien.media.still import is_still
from mien.pipelines.job import TRACKER_ASSETS
from mien.speech.analysis import VoiceAnalysis
from mien.weights.manifest import (
    AUDIO2LIP,
    CONNECTOR,
    EMOTION2VEC,
    GENERATOR,
    INTERPOLATOR,
    LABELS,
    PRIORS,
    SVD_NEEDED,
)
from mien.weights.store import Store, Weights, own_weights, weights_used

if TYPE_CHECKING:
    import torch

    from mien.cmet.connector import Connector
    from mien.engines.backbone import Backbone
    from mien.engines.edtalk.audio2lip import Audio2Lip
    from mien.engines.edtalk.settings import EDTalkSettings
    from mien.engines.svd.engine import SvdEngine
    from mien.engines.svd.settings import SvdSettings
    from mien.speech.emotion2vec import Emotion2vec

Array = npt.NDArray[np.float32]

LONGEST_SECONDS: Final = 60.0
"""Start of a clip that is read as a reference or for training."""

_POOLED_FRAMES: Final = 10
"""Frames of emotion2vec (50 per second) in one row of the embedder's voice."""


@dataclass(slots=True)
class EDTalkModels:
    """The published models out of a store; those that are not always needed open at first use.

    Attributes:
        engine: the backbone, which reads and draws faces.
        store: where the others come from.
        used: names of the weights that were opened.
        connector_file: a connector of the user's own, instead of the one in the store.
        speech_encoder: embeds speech (16 kHz mono) as ``float32 (S,)``; emotion2vec+ large by
            default.
        voices: embeddings of the files that were read, kept for the next job.
    """

    engine: Backbone
    store: Store
    used: list[str] = field(default_factory=list)
    connector_file: Path | None = None
    speech_encoder: Callable[[Samples], Array] | None = None
    voices: dict[Path, Array] = field(default_factory=dict)
    _audio2lip: Audio2Lip | None = None
    _connector: Connector | None = None

    @classmethod
    def open(
        cls, settings: EDTalkSettings, store: Store | None = None, *, edits: bool = False
    ) -> EDTalkModels:
        """Load the generator.

        Args:
            settings: how it runs.
            store: where the weights are.
            edits: whether faces will be moved: then the connector is loaded first, as it is smaller
                than the generator and may be missing.

        Raises:
            MissingExtraError: without PyTorch or safetensors.
            WeightsError: when weights are missing or damaged.
            InputError: for settings that this machine cannot follow.
        """
        store = store or Store()
        with needs_extra("edtalk", "The engine edtalk"):
            import safetensors  # noqa: F401
            import torch  # noqa: F401
        from mien.engines.edtalk.engine import EDTalkEngine

        file = None if settings.connector is None else Path(settings.connector)
        connector = load_connector(file, store) if edits else None
        engine = EDTalkEngine.load(store.intact(GENERATOR), settings)
        return cls(engine, store, [GENERATOR], file, _connector=connector)

    @property
    def device(self) -> torch.device:
        """Where the nets run that the backbone does not bring: where it runs itself."""
        import torch

        return getattr(self.engine, "device", torch.device("cpu"))

    def connector(self) -> Connect:
        """Return the connector of C-MET.

        Raises:
            InputError: when it is for another expression code than the backbone's.
            WeightsError: when it is missing or damaged.
        """
        if self._connector is None:
            self._connector = load_connector(self.connector_file, self.store)
        if self.connector_file is None:
            self.used.append(CONNECTOR)
        return _connect(self._connector, self.engine.expression_dim)

    def embed(self, samples: Samples) -> Array:
        """Embed speech, ``float32 (S,)``; emotion2vec is loaded at the first need."""
        if self.speech_encoder is None:
            from mien.speech.emotion2vec import embed

            net = load_emotion2vec(self.store).to(self.device)
            self.used.append(EMOTION2VEC)
            self.speech_encoder = partial(embed, net)
        return self.speech_encoder(samples)

    def hear(self, path: Path) -> Array:
        """Return the embedding of a file's voice, ``float32 (S,)``."""
        if path not in self.voices:
            self.voices[path] = self.embed(read_speech(path))
        return self.voices[path]

    def lips(self, samples: Samples) -> Array:
        """Return the lip coefficients of a voice at 25 frames per second, ``float32 (T, lip)``."""
        from mien.engines.edtalk.audio2lip import Audio2Lip, Audio2LipConfig, lip_coefficients
        from mien.weights.convert import load_net

        if self._audio2lip is None:
            net = load_net(self.store.intact(AUDIO2LIP), Audio2Lip, Audio2LipConfig)
            self._audio2lip = net.to(self.device)
            self.used.append(AUDIO2LIP)
        return lip_coefficients(self._audio2lip, samples)

    def labels(self) -> dict[str, Array]:
        """Return EDTalk's own coefficients per emotion, where the user has them."""
        if not self.store.has(LABELS):
            return {}
        from mien.weights.convert import load

        tensors, _ = load(self.store.intact(LABELS))
        self.used.append(LABELS)
        return {name: value.numpy() for name, value in tensors.items()}

    def expression_of(self, path: Path) -> Array:
        """Return the expression coefficients ``(D,)`` of a picture's face, or a clip's median."""
        from mien.engines.edtalk.framing import training_crop

        found = []
        for image, face in faces_of(path):
            crop = training_crop(face).cut(image, self.engine.pixels, replicate_edges=True)
            found.append(self.engine.motion(crop[None])[0].expression)
        return np.median(found, axis=0).astype(np.float32)

    def resolver(self, request: Request, own_voice: VoiceAnalysis) -> EDTalkResolver:
        """Return what turns a request into targets of these nets."""
        labels = self.labels()
        return EDTalkResolver(
            request, own_voice, self.embed, labels, self.expression_of, self.voices
        )

    def weights(self) -> tuple[Weights, ...]:
        """Return everything that was used, with hashes and licences."""
        named = weights_used((*TRACKER_ASSETS, *self.used), self.store)
        return named if self.connector_file is None else (*named, own_weights(self.connector_file))


def load_connector(file: Path | None, store: Store) -> Connector:
    """Load a connector: the ``file`` of a training, or else the published one in the store."""
    from mien.cmet.connector import Connector, ConnectorSpec
    from mien.weights.convert import load_net

    if file is not None and not file.is_file():
        raise InputError(f"There is no connector {file}.")
    if file is not None and file.suffix != ".safetensors":
        raise InputError(
            f"{file} must be the connector.safetensors that mien train connector-edtalk writes; "
            "published connectors are converted first (mien weights convert edtalk/connector)."
        )
    return load_net(store.intact(CONNECTOR) if file is None else file, Connector, ConnectorSpec)


def load_emotion2vec(store: Store) -> Emotion2vec:
    """Load emotion2vec+ large onto the CPU."""
    from mien.speech.emotion2vec import Emotion2vec, Emotion2vecSpec
    from mien.weights.convert import load_net

    return load_net(store.intact(EMOTION2VEC), Emotion2vec, Emotion2vecSpec)


def _connect(net: Connector, size: int) -> Connect:
    """Return the connector as a function of arrays, for expression codes of ``size`` numbers."""
    if net.spec.expression != size:
        raise InputError(
            f"The connector and the generator are incompatible: {net.spec.expression} and {size} "
            "expression coefficients."
        )
    import torch

    def connect(reference: Codes, vector: Codes, expression: Codes) -> Codes:
        if len(vector) != net.spec.speech:
            raise WeightsError(
                "The connector and emotion2vec are incompatible: voices of "
                f"{net.spec.speech} and {len(vector)} numbers."
            )
        parts = (np.asarray(v, np.float32)[None] for v in (reference, vector[None], expression))
        with torch.inference_mode():
            delta: Codes = net(*map(torch.from_numpy, parts)).delta[0].numpy()
        return delta

    return connect


@dataclass(frozen=True, slots=True)
class SvdModels:
    """DICE-Talk's models out of a store.

    Attributes:
        engine: makes clips.
        settings: how it runs.
        store: where the models come from.
    """

    engine: SvdEngine
    settings: SvdSettings
    store: Store

    @classmethod
    def open(cls, settings: SvdSettings, store: Store | None = None) -> SvdModels:
        """Load the engine.

        Raises:
            MissingExtraError: without diffusers or transformers.
            WeightsError: when weights are missing or damaged.
            InputError: for settings that this machine cannot follow.
        """
        store = store or Store()
        with needs_extra("svd", "The engine svd"):
            from mien.engines.svd.engine import SvdEngine

        store.locate(PRIORS)  # a small file that is missing is reported before large ones load
        return cls(SvdEngine.load(store, settings), settings, store)

    def resolver(self, request: Request, own_voice: VoiceAnalysis) -> SvdResolver:
        """Return what turns a request into priors of the emotion bank.

        Raises:
            WeightsError: when the priors or the embedder are damaged.
            InputError: when they do not fit the bank.
        """
        from mien.weights.convert import load

        stored, size = load(self.store.intact(PRIORS))[0], self.engine.prior_size
        known = {name: value.numpy() for name, value in stored.items()}
        if {len(value) for value in known.values()} != {size}:
            raise InputError(
                f"The stored priors and the emotion bank are incompatible: the bank expects {size} "
                "numbers per prior."
            )
        embedder = self.settings.embedder
        embed = None if embedder is None else embedder_of(Path(embedder), self.store, size)
        return SvdResolver(request, own_voice, known, embed)

    def weights(self) -> tuple[Weights, ...]:
        """Return everything that was used, with hashes and licences."""
        interpolator = (INTERPOLATOR,) if self.settings.interpolate else ()
        names = (*TRACKER_ASSETS, *SVD_NEEDED, PRIORS, *interpolator)
        return weights_used(names, self.store)


def embedder_of(path: Path, store: Store, size: int) -> Embed:
    """Return a function from a clip, a sound or a picture to the mean of its prior (mode V).

    Args:
        path: ``embedder.safetensors`` of ``mien train dice-embedder``.
        store: where emotion2vec is; opened for the first file with sound.
        size: numbers of the bank's priors; the function returns ``float32 (size,)``.

    Raises:
        InputError: when there is no such file, or its priors do not fit the bank.
        WeightsError: when it is damaged.
    """
    import torch

    from mien.dicetalk.embedder import load_embedder

    net = load_embedder(path)
    if net.spec.width != size:
        raise InputError(
            f"{path} and the emotion bank are incompatible: priors of {net.spec.width} and {size} "
            "numbers."
        )
    listener = cache(lambda: load_emotion2vec(store))

    def embed(source: Path, samples: Samples | None) -> Prior:
        voice = None
        if not is_still(source) and has_sound(source):
            voice = voice_frames(listener(), read_speech(source) if samples is None else samples)
            if voice.shape[1] != net.spec.audio:
                raise InputError(f"{path} was trained with another emotion2vec than this one.")
        face = _face_frames_of(source, optional=voice is not None)
        given = (None if rows is None else torch.from_numpy(rows)[None] for rows in (voice, face))
        with torch.no_grad():
            mean: Prior = net(*given).mean[0].numpy()
            return mean

    return embed


def voice_frames(listener: Emotion2vec, samples: Samples) -> Array:
    """Return what the embedder reads of a voice: emotion2vec's frames, pooled, ``(T, S)``."""
    from mien.speech.emotion2vec import frames_of

    frames = frames_of(listener, samples)
    pooled = np.array_split(frames, max(1, len(frames) // _POOLED_FRAMES))
    return np.stack([part.mean(0) for part in pooled])


def face_frames(landmarks: Iterable[Landmarks]) -> Array:
    """Return what the embedder reads of a face: action units, ``float32 (T, D)``."""
    read = [read_expression(head_pose(one).to_head(one)) for one in landmarks]
    return np.stack(read).astype(np.float32)


def sampled_frames(path: Path) -> tuple[list[RGBImage], list[Landmarks]]:
    """Return the first minute of a clip at 12.5 frames per second, and the face in each.

    Where no face is found, the last known one stands in.

    Raises:
        FaceNotFoundError: when no frame shows a face.
    """
    from mien.engines.svd.settings import FRAMES_PER_SECOND

    frames: list[RGBImage] = []
    found: list[Landmarks | None] = []
    with VideoReader(path) as reader, closing(FaceTracker(max_faces=1)) as tracker:
        for frame in reader:
            faces = tracker(frame.picture)
            if frame.time > LONGEST_SECONDS:
                break
            if float(frame.time) + 1e-3 >= len(frames) / FRAMES_PER_SECOND:
                frames.append(frame.image)
                found.append(faces[0] if faces else None)
    known = next((one for one in found if one is not None), None)
    if known is None:
        raise FaceNotFoundError(f"No usable face was found in {path}.")
    filled = []
    for one in found:
        known = known if one is None else one
        filled.append(known)
    return frames, filled


def _face_frames_of(source: Path, *, optional: bool) -> Array | None:
    """Return the action units of a picture or clip; None where there is no face but may be none."""
    if is_still(source):
        return face_frames(face for _, face in faces_of(source))
    try:
        return face_frames(sampled_frames(source)[1])
    except (FaceNotFoundError, InputError):
        if optional:
            return None
        raise
