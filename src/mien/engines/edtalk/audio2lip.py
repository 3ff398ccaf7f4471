"""Audio2Lip: sound to the lip coefficients of EDTalk (cmet.md section 3)."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from mien.engines.edtalk.mel import mel_windows
from mien.media.audio import Samples

_TAPS: Final = (0.27406862, 0.45186276, 0.27406862)
_BATCH: Final = 64


class _Block(nn.Module):
    """Convolution, batch norm, optional residual, ReLU; names are the published ones."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 3,
        stride: int | tuple[int, int] = 1,
        padding: int = 1,
    ) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.BatchNorm2d(outputs)
        )
        self.residual = inputs == outputs and stride == 1 and kernel == 3

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_block(x)
        return F.relu(y + x if self.residual else y)


class Audio2Lip(nn.Module):
    """Mel windows ``(T, 1, 80, 16)`` to lip coefficients ``(T, lip)``.

    Args:
        lip: number of lip coefficients.
        width: channels of the first block; the last ones have 16 times as many.
    """

    def __init__(self, lip: int = 20, width: int = 32) -> None:
        super().__init__()
        w = width
        self.audio_encoder = nn.Sequential(
            _Block(1, w),
            _Block(w, w),
            _Block(w, w),
            _Block(w, 2 * w, stride=(3, 1)),
            _Block(2 * w, 2 * w),
            _Block(2 * w, 2 * w),
            _Block(2 * w, 4 * w, stride=3),
            _Block(4 * w, 4 * w),
            _Block(4 * w, 4 * w),
            _Block(4 * w, 8 * w, stride=(3, 2)),
            _Block(8 * w, 8 * w),
            _Block(8 * w, 16 * w, padding=0),
            _Block(16 * w, 16 * w, kernel=1, padding=0),
        )
        self.mapping = nn.Linear(16 * w, lip)

    def forward(self, windows: Tensor) -> Tensor:
        """Coefficients of every window."""
        out: Tensor = self.mapping(self.audio_encoder(windows).flatten(1))
        return out


def lip_coefficients(net: Audio2Lip, samples: Samples) -> npt.NDArray[np.float32]:
    """Lip coefficients of a voice at 25 frames per second, smoothed, ``float32 (T, lip)``.

    Args:
        net: in evaluation mode.
        samples: ``float32 (samples,)``, 16 kHz mono. A last piece shorter than a frame is heard as
            a whole one, so that nothing is lost.
    """
    from mien.engines.edtalk.mel import FRAME

    windows = mel_windows(np.pad(samples, (0, -len(samples) % FRAME)))
    weight = net.mapping.weight
    parts = []
    with torch.no_grad():
        for start in range(0, len(windows), _BATCH):
            some = torch.from_numpy(windows[start : start + _BATCH]).to(weight)
            parts.append(net(some).float().cpu().numpy())
    if not parts:
        return np.zeros((0, net.mapping.out_features), np.float32)
    return smooth(np.concatenate(parts))


def smooth(lip: npt.NDArray[np.float32], *, published: bool = False) -> npt.NDArray[np.float32]:
    """Three taps over time, ``(T, lip)`` to the same.

    Args:
        lip: coefficients.
        published: zeros beyond the ends, which takes a quarter off the first and the last frame;
            by default the ends are repeated.
    """
    if not len(lip):
        return lip
    padded = np.pad(lip, ((1, 1), (0, 0)), mode="constant" if published else "edge")
    out = sum(tap * padded[i : i + len(lip)] for i, tap in enumerate(_TAPS))
    return np.asarray(out, np.float32)
