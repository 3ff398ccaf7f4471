"""The people of a picture while they speak."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from mien.dicetalk.prior_sampling import PriorSampler
from mien.emotion.resolve_mesh import EmotionTarget
from mien.engines.mesh import MeshEngine, MeshSettings
from mien.engines.mesh.driver import Driven
from mien.engines.mesh.idle_motion import HeadState, IdleMotion
from mien.engines.mesh.portrait import Portrait, Turn
from mien.face.facs import Expression
from mien.face.follow import Face
from mien.media.frame import RGBImage
from mien.pipelines.following import followed_head
from mien.pipelines.mesh_edit import OwnExpressions, expression_change

if TYPE_CHECKING:
    from mien.pipelines.mesh_talk import TalkSettings

_WORKERS: Final = 2
_PENDING: Final = 6


@dataclass(frozen=True, slots=True)
class Moment:
    """What everybody in a picture does at one time.

    Attributes:
        code: articulation ``float32 (7,)``.
        heads: state of head and eyes, by person.
        changes: change of the expression ``float32 (D,)``, by person.
    """

    code: npt.NDArray[np.float32]
    heads: tuple[HeadState, ...]
    changes: tuple[Expression, ...]


class Speakers:
    """The people of a picture, ready to be drawn while they speak.

    Args:
        image: the picture, RGB ``uint8``.
        faces: theirs.
        settings: liveliness, variety and seed.
    """

    def __init__(self, image: RGBImage, faces: tuple[Face, ...], settings: TalkSettings) -> None:
        self._image = image
        mesh = MeshSettings(portrait=True)
        self._portraits = [Portrait(image, face, mesh) for face in faces]
        own = OwnExpressions(MeshEngine(MeshSettings(still=True)))
        self._own = [own.of(face) for face in faces]
        seeds = [settings.seed * 1000 + i for i, _ in enumerate(faces)]
        self._idle = [IdleMotion(seed, settings.liveliness) for seed in seeds]
        self._varieties = [PriorSampler(settings.variety, seed) for seed in seeds]

    def at(
        self,
        time: float,
        code: npt.NDArray[np.float32],
        stress: float,
        target: EmotionTarget,
        driven: Driven | None = None,
    ) -> Moment:
        """Return what everybody does at ``time`` seconds; times must not fall.

        Args:
            time: seconds since the speech began.
            code: articulation ``float32 (7,)``.
            stress: of the syllable, 0..1.
            target: the emotion.
            driven: what somebody does whose head and blinks are followed; None: nobody.
        """
        changes = (
            expression_change(target, own) + variety.change(target.expression, time)
            for own, variety in zip(self._own, self._varieties, strict=True)
        )
        heads = (idle.at(time, stress) for idle in self._idle)
        if driven is not None:
            heads = (followed_head(head, driven) for head in heads)
        return Moment(code, tuple(heads), tuple(changes))

    def draw(self, moment: Moment) -> RGBImage:
        """Draw one moment; several threads may do so at a time."""
        image = self._image
        for portrait, head, change in zip(
            self._portraits, moment.heads, moment.changes, strict=True
        ):
            turn = Turn(head.yaw, head.pitch, head.roll, head.rise)
            image = portrait.draw(moment.code, change, turn, head.blink, head.gaze, onto=image)
        return image

    def drawn(self, moments: Iterable[Moment]) -> Generator[RGBImage]:
        """Draw moments in order, several at a time."""
        with ThreadPoolExecutor(_WORKERS, "mien-draw") as pool:
            pending: deque[Future[RGBImage]] = deque()
            try:
                for moment in moments:
                    pending.append(pool.submit(self.draw, moment))
                    if len(pending) > _PENDING:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()
