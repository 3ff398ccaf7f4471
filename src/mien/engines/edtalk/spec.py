"""Sizes of the EDTalk generator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from mien.errors import WeightsError

PIXELS_AT_START: Final = 4
"""Side of the feature map in which encoder ends and synthesis begins."""


@dataclass(frozen=True, slots=True)
class EDTalkSpec:
    """Sizes; the defaults are the published ones.

    Attributes:
        widths: channels of the feature maps, from the picture's full size down to 4 x 4, each half
            the size of the one before: seven entries make 256 pixels.
        style: size S of the style space that the directions span.
        lip, pose, expression: how many directions each part of the motion has.
        shared_layers, head_layers: linear layers of the motion heads.
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
        return PIXELS_AT_START * 2 ** (len(self.widths) - 1)

    @property
    def directions(self) -> int:
        """Number of directions of all parts."""
        return self.lip + self.pose + self.expression

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]]) -> Self:
        """Read the sizes from the shapes of a published checkpoint's tensors.

        Raises:
            WeightsError: when these are no such tensors.
        """
        base = "enc.net_app.convs"
        try:
            widths = [shapes[f"{base}.0.0.weight"][0]]
            while (name := f"{base}.{len(widths)}.conv2.1.weight") in shapes:
                widths.append(shapes[name][0])
            lip_pose = shapes["direction_lipnonlip.weight"][1]
            expression = shapes["direction_exp.weight"][1]
            layers = [_count(shapes, head) for head in ("fc", "lip_fc")]
            pose = shapes[f"pose_fc.{layers[1] - 1}.weight"][0]
            return cls(
                widths=tuple(widths),
                style=shapes["direction_exp.weight"][0],
                lip=lip_pose - pose,
                pose=pose,
                expression=expression,
                shared_layers=layers[0],
                head_layers=layers[1],
                affine=shapes["dec.fineadainresblock.0.norm2.mlp_shared.0.weight"][0],
            )
        except (KeyError, IndexError) as error:
            some = ", ".join(list(shapes)[:3])
            raise WeightsError(
                f"{error} is missing among its {len(shapes)} tensors, such as {some}."
            ) from error

    def to_dict(self) -> dict[str, Any]:
        """The sizes in plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The way back from :meth:`to_dict`.

        Raises:
            WeightsError: for sizes that no generator has.
        """
        try:
            return cls(**{**data, "widths": tuple(map(int, data["widths"]))})
        except (TypeError, KeyError, ValueError) as error:
            raise WeightsError(
                f"These are not the sizes of an EDTalk generator: {data}."
            ) from error


def _count(shapes: Mapping[str, tuple[int, ...]], head: str) -> int:
    count = 0
    while f"{head}.{count}.weight" in shapes:
        count += 1
    return count
