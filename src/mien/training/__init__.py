"""Training of the nets: one trainer, one package per net, and the table of all trainings."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class Training(NamedTuple):
    """One training of ``mien train``.

    Attributes:
        help: what it trains, from which data; shown by ``mien train NAME --help``.
        config: ``module:class`` of its settings, a :class:`mien.training.config.TrainingConfig`.
        run: ``module:function``, called with the settings and a trainer, in whose folder it writes;
            returns scores, and raises ``InputError`` for settings or data that cannot be used.
    """

    help: str
    config: str
    run: str


TRAININGS: Final[Mapping[str, Training]] = MappingProxyType(
    {
        "listener": Training(
            "The listener: a voice to an embedding, emotion labels and an intensity. Needs a "
            "manifest of labelled speech or the folders of corpora.",
            "mien.training.listener:ListenerConfig",
            "mien.training.listener.task:train_listener",
        ),
        "articulator": Training(
            "The articulator: a voice to the movement of a mouth. Needs clips of talking faces "
            "with landmarks, and speech labelled with phones.",
            "mien.training.articulator:ArticulatorConfig",
            "mien.training.articulator.task:train_articulator",
        ),
        "tracker": Training(
            "One net of the face tracker: detector, face, mouth or eye. Needs labelled faces, "
            "pictures without faces, and clips with landmarks.",
            "mien.training.tracker:TrackerConfig",
            "mien.training.tracker:train_tracker",
        ),
        "appearance": Training(
            "The net that draws the inside of a mouth. Needs sharp faces and labelled faces.",
            "mien.training.appearance:AppearanceConfig",
            "mien.training.appearance:train_appearance",
        ),
        "expression": Training(
            "The expression net: a face to emotions. Needs labelled faces.",
            "mien.training.expression:ExpressionConfig",
            "mien.training.expression:train_expression",
        ),
        "sync": Training(
            "The sync net of the evaluation: whether lips and sound belong together. Needs clips "
            "of talking faces with landmarks.",
            "mien.training.sync:SyncConfig",
            "mien.training.sync:train_sync",
        ),
        "connector": Training(
            "The mesh engine's connector (C-MET): a voice's emotion to action units. Needs "
            "RAVDESS with action units; other speech helps.",
            "mien.training.connector.mesh:ConnectorConfig",
            "mien.training.connector.mesh:train_connector",
        ),
        "connector-edtalk": Training(
            "The published connector of C-MET for EDTalk. Needs MEAD's features (mien features).",
            "mien.training.connector.edtalk:EDTalkConnectorConfig",
            "mien.training.connector.edtalk:train_edtalk_connector",
        ),
        "dice-mesh": Training(
            "The mesh engine's emotion embedder, emotion bank and decoder (DICE-Talk). Needs "
            "RAVDESS with action units.",
            "mien.training.emotion_prior.mesh:EmotionPriorConfig",
            "mien.training.emotion_prior.mesh:train_emotion_prior",
        ),
        "dice-face": Training(
            "The reader of faces that speak, which the mesh engine uses beside the listener. Needs "
            "RAVDESS with action units, and labelled faces.",
            "mien.training.emotion_prior.face:SpeakingFaceConfig",
            "mien.training.emotion_prior.face:train_speaking_face",
        ),
        "dice-embedder": Training(
            "Stage 1 of DICE-Talk: the emotion embedder. Needs MEAD's cached clips (mien features "
            "--engine svd).",
            "mien.training.emotion_prior.embedder:EmbedderConfig",
            "mien.training.emotion_prior.embedder:train_embedder",
        ),
        "dice": Training(
            "Stage 2 of DICE-Talk: adapters, emotion bank and guider of the svd engine. Needs "
            "cached clips and what stage 1 wrote.",
            "mien.training.svd.data:DiffusionConfig",
            "mien.training.svd.diffusion:train_diffusion",
        ),
    }
)
"""All trainings, by the name that ``mien train`` knows."""
