"""Sizes and settings of the EDTalk engine; needs no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

FRAMES_PER_SECOND: Final = 25
"""Rate of the videos that EDTalk was trained on."""

START_PIXELS: Final = 4
"""Side of the feature map in which the encoder ends and the synthesis begins."""


@dataclass(frozen=True, slots=True)
class EDTalkConfig:
    """Sizes of the generator; the defaults are the published ones.

    Attributes:
        widths: channels of the feature maps, from the full picture down to 4 x 4 pixels, each map
            half the size of the one before: seven entries make 256 pixels.
        style: size S of the style space that the directions span.
        lip: number of directions of the lips.
        pose: number of directions of the head.
        expression: number of directions of the expression.
        shared_layers: linear layers that the motion heads share.
        head_layers: linear layers of each motion head.
        affine: hidden size of the expression modules.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512, 512, 512, 512)
    style: int = 512
    lip: int = 20
    pose: int = 6
    expression: int = 10
    shared_layers: int = 4
    head_layers: int = 3
    affine: int = 128

    @property
    def pixels(self) -> int:
        """Side of the pictures."""
        return START_PIXELS * 2 ** (len(self.widths) - 1)


@dataclass(frozen=True, slots=True)
class EDTalkSettings:
    """How the engine runs.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda[:N]`` or ``mps``.
        dtype: precision of the large convolutions: ``auto``, ``fp32``, ``bf16``, ``fp16``.
        compile: compile the nets with PyTorch; takes about a minute and pays off for long clips.
        restorer: ONNX net that sharpens drawn faces (see
            :class:`mien.engines.edtalk.engine.Restorer`).
        connector: ``connector.safetensors`` of a training of one's own; the converted published
            one by default.
    """

    device: str = "auto"
    dtype: str = "auto"
    compile: bool = False
    restorer: str | Path | None = None
    connector: str | Path | None = None
