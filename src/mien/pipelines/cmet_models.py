"""The models of C-MET, opened out of a store of converted weights: backbone, connector, voices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mien.cmet.semantic import Codes, Connect
from mien.emotion.references import faces_of
from mien.emotion.request import Request
from mien.emotion.resolve_edtalk import EDTalkResolver
from mien.errors import InputError, WeightsError, needs_extra
from mien.media.audio import Samples, read_speech
from mien.pipelines.job import TRACKER_ASSETS
from mien.speech.analysis import VoiceAnalysis
from mien.weights.manifest import AUDIO2LIP, CONNECTOR, EMOTION2VEC, GENERATOR, LABELS
from mien.weights.store import Store, Weights, own_weights, weights_used

if TYPE_CHECKING:
    import torch

    from mien.cmet.connector import Connector
    from mien.engines.backbone import Backbone
    from mien.engines.edtalk.audio2lip import Audio2Lip
    from mien.engines.edtalk.settings import EDTalkSettings
    from mien.speech.emotion2vec import Emotion2vec

Array = npt.NDArray[np.float32]


@dataclass(slots=True)
class CmetModels:
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
    ) -> CmetModels:
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
