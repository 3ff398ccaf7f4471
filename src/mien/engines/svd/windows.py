"""Windows that shift from step to step, so that a clip of any length has no seams."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Windows:
    """How a clip is cut.

    Attributes:
        length: frames a call of the UNet sees.
        shift: frames by which the cuts move from step to step.
        pad: frames after the last one; made, then thrown away.
    """

    length: int = 25
    shift: int = 7
    pad: int = 25

    def total(self, frames: int) -> int:
        """Frames that are made for a clip of ``frames``."""
        return frames + self.pad

    def starts(self, frames: int, step: int) -> list[int]:
        """First frame of every window at a step; may be negative."""
        moved = self.shift * step % self.length
        return [start - moved for start in range(0, self.total(frames), self.length)]

    def indices(self, frames: int, step: int) -> npt.NDArray[np.int64]:
        """Frames of every window ``(windows, length)``, wrapped round the clip's end."""
        starts = np.array(self.starts(frames, step))
        return (starts[:, None] + np.arange(self.length)) % self.total(frames)

    def calls(self, frames: int, steps: int) -> int:
        """How often the UNet is called."""
        return steps * -(-self.total(frames) // self.length)


def even_pad(frames: int, length: int) -> int:
    """The fewest pad frames after which no frame is made twice."""
    return -frames % length
