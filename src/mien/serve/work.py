"""What a job does, in a process of its own: one of the verbs of :mod:`mien.api`.

An order is what a job is asked for, as plain values: ``verb``, ``output`` (the name of the result),
``arguments`` of the verb, ``talk`` and ``encoding`` with the fields of ``TalkSettings`` and
``EncodingSettings``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mien.errors import (
    CancelledError,
    FaceNotFoundError,
    InputError,
    MienError,
    MissingExtraError,
    OutputError,
    WeightsError,
)
from mien.serve.inspect import Media, check_limits
from mien.serve.process import memory_ran_out

if TYPE_CHECKING:
    from mien.emotion.request import Request

_FILES: Final = ("input", "portrait", "speech", "voices", "like", "neutral")
"""Arguments of the verbs that name files."""

REPORT: Final = "report.json"
"""Name of the report in a job's folder."""

CODES: Final = {
    FaceNotFoundError: "no_face",
    InputError: "bad_input",
    CancelledError: "cancelled",
    WeightsError: "missing_part",
    MissingExtraError: "missing_part",
    OutputError: "not_written",
}
"""Error of the package to the code in answers."""


def perform(
    order: dict[str, Any],
    folder: Path,
    limits: dict[str, Any],
    progress: Callable[[int, int | None], None],
    cancel: Callable[[], bool],
) -> str:
    """Do what an order says; the result and its report appear in ``folder``.

    Args:
        order: see the module's docstring.
        folder: the job's folder.
        limits: ``seconds`` and ``pixels`` of inputs.
        progress: called with frames done and frames in all, if known.
        cancel: stops the work when it returns True.

    Returns:
        The name of the result.

    Raises:
        As the verbs of :mod:`mien.api`.
    """
    from mien import api
    from mien.media.encode import EncodingSettings
    from mien.pipelines.mesh_talk import TalkSettings

    check_inputs(order, limits)
    arguments: dict[str, Any] = order["arguments"]
    output: str = order["output"]
    if order["verb"] == "feel":
        feelings = api.feel(arguments["voices"], neutral=arguments.get("neutral"))
        report: dict[str, Any] = next(feelings).to_dict()
        _write_json(folder / output, report)
    else:
        run = api.talk if order["verb"] == "talk" else api.edit
        more: dict[str, Any] = (
            {"settings": TalkSettings(**order["talk"])} if "talk" in order else {}
        )
        report = run(
            **arguments,
            **more,
            output=folder / output,
            encoding=EncodingSettings(**order.get("encoding", {})),
            overwrite=True,
            max_pixels=limits["pixels"],
            progress=progress,
            cancel=cancel,
        ).to_dict()
    _write_json(folder / REPORT, _without_folders(report, folder))
    return output


def check(order: dict[str, Any], limits: dict[str, Any]) -> None:
    """Check an order as far as that is possible before any work.

    Raises:
        InputError: when it cannot be carried out as it is.
    """
    from mien.emotion.request import AUTO
    from mien.face.select import FaceChoice
    from mien.media.encode import EncodingSettings
    from mien.media.output import ANIMATION_SUFFIXES, STILL_SUFFIXES, VIDEO_SUFFIXES
    from mien.pipelines.mesh_talk import TalkSettings

    found = check_inputs(order, limits)
    arguments: dict[str, Any] = order["arguments"]
    TalkSettings(**order.get("talk", {})).check()
    encoding = EncodingSettings(**order.get("encoding", {}))
    if order["verb"] == "feel":
        return
    FaceChoice.parse(arguments.get("face", "largest"))
    talks = order["verb"] == "talk"
    if talks and arguments.keys().isdisjoint({"emotion", "timeline", "like", "au"}):
        arguments = {**arguments, "emotion": AUTO}
    request_of(arguments)
    still = found["portrait" if talks else "input"].kind == "picture" and not talks
    allowed = STILL_SUFFIXES if still else (*VIDEO_SUFFIXES, *ANIMATION_SUFFIXES)
    if Path(order["output"]).suffix not in allowed:
        raise InputError(f"The format must be one of {' '.join(allowed)} for this input.")
    if still and encoding != EncodingSettings():
        raise InputError("Codec, quality, preset and lossless are for videos; this is a picture.")


def check_inputs(order: dict[str, Any], limits: dict[str, Any]) -> dict[str, Media]:
    """Return what the inputs of an order are, if they are within the limits.

    Raises:
        InputError: for a file that cannot be read or is too large or too long.
    """
    found = {}
    for name in _FILES:
        given = order["arguments"].get(name) or []
        for path in given if isinstance(given, list) else [given]:
            found[name] = check_limits(Path(path), limits["seconds"], limits["pixels"])
    return found


def request_of(arguments: dict[str, Any]) -> Request:
    """Return the request that is among the arguments of a verb.

    Raises:
        InputError: when it cannot be used.
    """
    from mien.emotion.request import build_request

    names = ("emotion", "au", "timeline", "like", "neutral", "intensity")
    return build_request(**{name: arguments[name] for name in names if name in arguments})


def failure(error: BaseException, folder: Path) -> dict[str, str]:
    """Return ``code`` and ``message`` of an error, without the folders of this machine.

    Args:
        error: raised in this process.
        folder: the job's folder.
    """
    if isinstance(error, MemoryError) or memory_ran_out():
        message = "It needs more memory than a job may use; try a smaller picture or clip."
        return {"code": "out_of_memory", "message": message}
    codes = (code for kind, code in CODES.items() if isinstance(error, kind))
    if isinstance(error, MienError):
        message = str(_without_folders(str(error), folder))
        return {"code": next(codes, "failed"), "message": message}
    message = f"Unexpected {type(error).__name__}; please report it."
    return {"code": "internal", "message": message}


def _without_folders(value: Any, folder: Path) -> Any:  # noqa: ANN401 - any plain value
    """Replace paths in the job's folder and among the uploads by their names."""
    text = json.dumps(value)
    for place in (folder / "inputs", folder, folder.parent.parent / "uploads"):
        text = text.replace(json.dumps(f"{place}/")[1:-1], "")
    return json.loads(text)


def _write_json(path: Path, value: object) -> None:
    from mien.media.output import whole_file

    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1), encoding="utf-8")
