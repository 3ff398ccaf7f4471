"""A process that keeps nets loaded and answers questions at once: checks, previews, waveforms."""

from __future__ import annotations

import json
import threading
import time
from base64 import b64decode, b64encode
from collections import OrderedDict
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mien.errors import InputError
from mien.serve.inspect import check_limits
from mien.serve.process import Child, Resources, WorkError
from mien.serve.work import check, failure, request_of

if TYPE_CHECKING:
    from mien.media.frame import RGBImage
    from mien.pipelines.mesh_live import Editor
    from mien.pipelines.mesh_preview import MeshPreview

_KEPT_CLIPS: Final = 3
_JPEG_QUALITY: Final = 90
_PEAKS_PER_SECOND: Final = 20
_MOST_PEAKS: Final = 4000


class Desk:
    """Answers questions one after the other in a process, which is replaced when it dies.

    Args:
        folder: the store's folder; its name is left out of messages.
        resources: what the process may use.
        seconds: how long a question may wait and take.
    """

    def __init__(self, folder: Path, resources: Resources, seconds: float) -> None:
        self._folder, self._resources, self._seconds = folder, resources, seconds
        self._guard = threading.Lock()
        self._child: Child | None = None

    def start(self) -> None:
        """Start the process, which takes a moment, before the first question."""
        threading.Thread(target=self.ask, args=({"do": "wake"},), daemon=True).start()

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a question of :func:`answer`.

        Raises:
            WorkError: with the code ``busy`` when others wait too long already, otherwise when
                the answer is an error.
        """
        until = time.monotonic() + self._seconds
        if not self._guard.acquire(timeout=self._seconds):
            raise WorkError("busy", "Too many questions at once; try again in a moment.")
        try:
            if self._child is None:
                self._child = Child(serve_desk, str(self._folder), resources=self._resources)
            answer: dict[str, Any] = self._child.ask(question, max(1.0, until - time.monotonic()))
        except WorkError:
            self._drop()
            raise
        finally:
            self._guard.release()
        if "code" in answer:
            raise WorkError(answer["code"], answer["message"])
        return answer

    def close(self) -> None:
        """End the process."""
        with self._guard:
            self._drop()

    def _drop(self) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None


def serve_desk(pipe: Connection, place: str) -> None:
    """Answer questions until the server is gone."""
    cache = Cache()
    folder = Path(place) / "jobs" / "any"
    while True:
        try:
            question = json.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            return
        try:
            reply = answer(question, cache)
        except Exception as error:  # noqa: BLE001 - said to the server
            reply = dict(failure(error, folder))
        pipe.send_bytes(json.dumps(reply).encode())


@dataclass(slots=True)
class Cache:
    """What a desk keeps between questions.

    Attributes:
        clips: the clips that are open, the last used one last.
        editor: the editor of the camera's pictures.
    """

    clips: OrderedDict[str, MeshPreview] = field(default_factory=OrderedDict)
    editor: Editor | None = None


def answer(question: dict[str, Any], cache: Cache) -> dict[str, Any]:
    """Answer one question.

    Args:
        question: its ``do`` says which: ``check`` an order, ``inspect`` a file, draw a
            ``preview`` (``arguments``, ``seconds``, ``face``, ``side``, ``original``), find the
            ``faces`` of a frame (as shares of its width and height), edit a ``live`` picture
            (``jpeg``, ``emotion``, ``time``), or give the ``waveform`` of a file.
        cache: what is kept for the next question.

    Raises:
        InputError, FaceNotFoundError: when that is impossible.
    """
    kind = question["do"]
    if kind == "wake":
        return {}
    if kind == "live":
        return {"jpeg": b64encode(_live(question, cache)).decode()}
    if kind == "check":
        check(question["order"], question["limits"])
        return {}
    path = Path(question["path"])
    if kind == "inspect":
        return asdict(
            check_limits(path, question["limits"]["seconds"], question["limits"]["pixels"])
        )
    if kind == "waveform":
        return {"peaks_per_second": _PEAKS_PER_SECOND, "peaks": _peaks(path)}
    clip = _clip(path, question["limits"]["pixels"], cache.clips)
    if kind == "faces":
        height, width = clip.original(question["seconds"]).shape[:2]
        size = (width, height, width, height)
        boxes = clip.faces(question["seconds"])
        return {"faces": [[at / of for at, of in zip(box, size, strict=True)] for box in boxes]}
    if question.get("original"):
        image = clip.original(question["seconds"])
    else:
        request = request_of(question["arguments"])
        image = clip(request, question["seconds"], question["face"])
    return {"jpeg": b64encode(_jpeg(image, question["side"])).decode()}


def _live(question: dict[str, Any], cache: Cache) -> bytes:
    """Return the next picture of a camera with an emotion, as a JPEG."""
    import cv2
    import numpy as np

    from mien.pipelines.mesh_live import Editor

    data = np.frombuffer(b64decode(question["jpeg"]), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise InputError("The camera's picture is no JPEG that can be decoded.")
    if cache.editor is None:
        cache.editor = Editor(question["emotion"])
    else:
        cache.editor.emotion = question["emotion"]
    return _jpeg(cache.editor(image, question["time"]), None)


def _clip(path: Path, pixels: int, clips: OrderedDict[str, MeshPreview]) -> MeshPreview:
    """Return an open clip; a file that was replaced is opened again."""
    from mien.pipelines.mesh_preview import MeshPreview

    found = path.stat()
    key = f"{path}:{found.st_ino}:{found.st_mtime_ns}:{found.st_size}"
    if key not in clips:
        clips[key] = MeshPreview(path, pixels)
        if len(clips) > _KEPT_CLIPS:
            clips.popitem(last=False)[1].close()
    clips.move_to_end(key)
    return clips[key]


def _jpeg(image: RGBImage, side: int | None) -> bytes:
    import cv2

    height, width = image.shape[:2]
    scale = 1.0 if side is None else min(1.0, side / max(height, width))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not done:
        raise InputError("The frame is too large for a preview; ask for a smaller side.")
    return bytes(data)


def _peaks(path: Path) -> list[float]:
    """Return the loudest sample of every twentieth of a second, 0..1."""
    from contextlib import closing

    import numpy as np

    from mien.media.audio import SAMPLE_RATE_HZ, has_sound, stream_speech

    if not has_sound(path):
        return []
    step = SAMPLE_RATE_HZ // _PEAKS_PER_SECOND
    out: list[float] = []
    rest = np.zeros(0, np.float32)
    with closing(stream_speech(path)) as blocks:
        for block in blocks:
            rest = np.concatenate((rest, block))
            whole = len(rest) // step * step
            out += np.abs(rest[:whole]).reshape(-1, step).max(1).round(3).tolist()
            rest = rest[whole:]
            if len(out) >= _MOST_PEAKS:
                break
    return out[:_MOST_PEAKS]
