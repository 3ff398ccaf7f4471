"""How the EDTalk engine runs; needs no PyTorch to be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class EDTalkSettings:
    """How the engine runs.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda[:N]`` or ``mps``.
        dtype: precision of the large convolutions: ``auto``, ``fp32``, ``bf16``, ``fp16``.
        compile: let PyTorch compile the nets; takes a minute, pays for long clips.
        restorer: ONNX net that sharpens drawn faces (see :mod:`mien.engines.edtalk.restorer`).
    """

    device: str = "auto"
    dtype: str = "auto"
    compile: bool = False
    restorer: str | Path | None = None
