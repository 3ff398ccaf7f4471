"""Which published weights mien can use, and where they come from."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Final

from mien.errors import InputError


@dataclass(frozen=True, slots=True)
class Entry:
    """One set of weights.

    Attributes:
        name: ``group/part``, how commands call it.
        about: one line.
        repository: on the Hugging Face hub; empty where a user must bring the file.
        file: in the repository.
        revision: commit, tag or branch.
        sha256: of the published file; None where nobody has confirmed one yet.
        size: bytes of the published file; None where not confirmed.
        licence: as its authors state it.
        source: page to read about it.
    """

    name: str
    about: str
    repository: str
    file: str
    licence: str
    source: str
    revision: str = "main"
    sha256: str | None = None
    size: int | None = None

    @property
    def group(self) -> str:
        """The engine it belongs to."""
        return self.name.partition("/")[0]

    @property
    def page(self) -> str:
        """Where the file can be had by hand."""
        if not self.repository:
            return self.source
        return f"https://huggingface.co/{self.repository}/blob/{self.revision}/{self.file}"


_CMET: Final = "https://arxiv.org/abs/2604.07786"
_EDTALK: Final = "Apache-2.0 (code); the weights name no licence of their own: research"

GENERATOR: Final = "edtalk/generator"
AUDIO2LIP: Final = "edtalk/audio2lip"
CONNECTOR: Final = "edtalk/connector"
EMOTION2VEC: Final = "edtalk/emotion2vec"
LABELS: Final = "edtalk/labels"

_DICE: Final = "https://arxiv.org/abs/2504.18087"
_NON_COMMERCIAL: Final = "CC BY-NC-SA 4.0: not for commercial use"
_STABILITY: Final = "Stability AI Community Licence; ask for access on its page first"

UNET: Final = "svd/unet"
VAE: Final = "svd/vae"
EYE: Final = "svd/eye"
EAR: Final = "svd/ear"
ADAPTERS: Final = "svd/adapters"
AUDIO: Final = "svd/audio"
BANK: Final = "svd/bank"
GUIDER: Final = "svd/guider"
FLOW: Final = "svd/flow"
PRIORS: Final = "svd/priors"

SVD_NEEDED: Final = (UNET, ADAPTERS, VAE, EYE, EAR, AUDIO, BANK, GUIDER)
"""Without which the engine svd cannot run; the priors besides."""

ENTRIES: Final = (
    Entry(
        GENERATOR,
        "EDTalk: pictures to motion and back",
        "coldhyuk/C-MET",
        "pretrained_weights/EDTalk.pt",
        _EDTALK,
        _CMET,
    ),
    Entry(
        AUDIO2LIP,
        "Audio2Lip: speech to EDTalk's lips",
        "coldhyuk/C-MET",
        "pretrained_weights/Audio2Lip.pt",
        _EDTALK,
        _CMET,
    ),
    Entry(
        CONNECTOR,
        "C-MET: emotion of a voice to EDTalk's expression",
        "coldhyuk/C-MET",
        "checkpoints/_epoch_2105_checkpoint_step000200000.pth",
        _EDTALK,
        _CMET,
    ),
    Entry(
        EMOTION2VEC,
        "emotion2vec+ large: speech to an emotion embedding",
        "emotion2vec/emotion2vec_plus_large",
        "model.pt",
        "model licence of its page (FunASR); read it before commercial use",
        "https://arxiv.org/abs/2312.15185",
    ),
    Entry(
        LABELS,
        "EDTalk's own expression coefficients per emotion (optional; bring a folder of .npy)",
        "",
        "",
        _EDTALK,
        "https://huggingface.co/tanhshuai0219/EDTalk",
    ),
    Entry(
        ADAPTERS,
        "DICE-Talk: the video UNet's two streams, audio and emotion",
        "EEEELY/DICE-Talk",
        "DICE-Talk/unet.pth",
        _NON_COMMERCIAL,
        _DICE,
    ),
    Entry(
        AUDIO,
        "DICE-Talk: what is heard, as tokens",
        "EEEELY/DICE-Talk",
        "DICE-Talk/audio_linear.pth",
        _NON_COMMERCIAL,
        _DICE,
    ),
    Entry(
        BANK,
        "DICE-Talk: the emotion bank",
        "EEEELY/DICE-Talk",
        "DICE-Talk/emo_model.pth",
        _NON_COMMERCIAL,
        _DICE,
    ),
    Entry(
        GUIDER,
        "DICE-Talk: where the face is",
        "EEEELY/DICE-Talk",
        "DICE-Talk/pose_guider.pth",
        _NON_COMMERCIAL,
        _DICE,
    ),
    Entry(
        FLOW,
        "RIFE: frames between frames",
        "EEEELY/DICE-Talk",
        "RIFE/flownet.pkl",
        "MIT (RIFE), as shipped with DICE-Talk",
        _DICE,
    ),
    Entry(
        PRIORS,
        "DICE-Talk's emotion priors: a folder of EMOTION.npy from its authors' code",
        "",
        "",
        _NON_COMMERCIAL,
        _DICE,
    ),
    Entry(
        UNET,
        "Stable Video Diffusion XT: the video UNet",
        "stabilityai/stable-video-diffusion-img2vid-xt",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        _STABILITY,
        "https://huggingface.co/stabilityai/stable-video-diffusion-img2vid-xt",
    ),
    Entry(
        VAE,
        "Stable Video Diffusion XT: pictures to latents and back",
        "stabilityai/stable-video-diffusion-img2vid-xt",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        _STABILITY,
        "https://huggingface.co/stabilityai/stable-video-diffusion-img2vid-xt",
    ),
    Entry(
        EYE,
        "Stable Video Diffusion XT: CLIP's picture encoder",
        "stabilityai/stable-video-diffusion-img2vid-xt",
        "image_encoder/model.fp16.safetensors",
        _STABILITY,
        "https://huggingface.co/stabilityai/stable-video-diffusion-img2vid-xt",
    ),
    Entry(
        EAR,
        "Whisper tiny: what a voice says",
        "openai/whisper-tiny",
        "model.safetensors",
        "Apache-2.0",
        "https://huggingface.co/openai/whisper-tiny",
    ),
)


def entry(name: str) -> Entry:
    """The entry called ``name``.

    Raises:
        InputError: when there is none.
    """
    return entries([name])[0]


def entries(names: list[str]) -> list[Entry]:
    """The entries of names and groups, each once.

    Raises:
        InputError: for a name that is neither.
    """
    out: dict[str, Entry] = {}
    valid = [e.name for e in ENTRIES]
    groups = sorted({e.group for e in ENTRIES})
    for name in names:
        found = [e for e in ENTRIES if name in (e.name, e.group)]
        if not found:
            near = difflib.get_close_matches(name, [*valid, *groups], 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise InputError(
                f"There are no weights {name!r}.{hint} Valid: {', '.join([*groups, *valid])}."
            )
        out.update((e.name, e) for e in found)
    return list(out.values())
