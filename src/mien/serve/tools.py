"""The verbs as tools of the Model Context Protocol, so that assistants can call them."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Annotated, Any, Final

from mcp.server.mcpserver import Context, MCPServer
from pydantic import Field

from mien import __version__
from mien.emotion.named import NamedEmotion, named_emotions
from mien.errors import InputError, MienError
from mien.media.output import check_output, whole_file
from mien.provenance.credential import sidecar_of
from mien.serve.intake import Files, Parts
from mien.serve.requests import EditRequest, FeelRequest, Keyframe, Reference, TalkRequest
from mien.serve.service import Service
from mien.serve.store import DONE, QUEUED, RUNNING
from mien.serve.tokens import LOCAL
from mien.serve.work import REPORT
from mien.utils.text import shown

_POLL_SECONDS: Final = 0.2

_INSTRUCTIONS: Final = """\
Change what a face feels in a video or picture (edit), make a portrait speak (talk), recognise the
emotion of a voice (feel). Files are named by paths inside the folders that the server was given.
Make or change faces of real people only with their consent, and say that the result is synthetic.
"""

Output = Annotated[str, Field(description="File to write; its folder must exist.")]
Emotion = Annotated[
    str | None, Field(description="sad, sad:0.6, happy:0.7,surprised:0.4 or auto (the own voice).")
]
Units = Annotated[str | None, Field(description="Action units on top: 12L=0.8,4=0.5")]
Like = Annotated[
    list[Reference] | None, Field(description="Voices, or one face, whose emotion to use.")
]
Neutral = Annotated[
    list[Reference] | None, Field(description="The same speaker, speaking neutrally.")
]
Over = Annotated[list[Keyframe] | None, Field(description="Emotions over time, instead.")]
Intensity = Annotated[float, Field(ge=0, le=1.5, description="0 changes nothing; 1 is natural.")]
Face = Annotated[str, Field(description="largest, all, or a number from 1 (leftmost).")]


def run_tools(service: Service) -> None:
    """Answer an assistant on standard input and output until it is gone."""
    service.start()
    try:
        tools(service).run("stdio")
    finally:
        service.close()


def tools(service: Service) -> MCPServer:
    """Return the server of the tools; ``service`` must have been started."""
    server = MCPServer("mien", version=__version__, instructions=_INSTRUCTIONS)

    @server.tool(title="Edit a face")
    async def edit(
        context: Context,
        input: str,
        output: Output,
        emotion: Emotion = None,
        au: Units = None,
        timeline: Over = None,
        like: Like = None,
        neutral: Neutral = None,
        intensity: Intensity = 1.0,
        face: Face = "largest",
    ) -> dict[str, Any]:
        """Change what a face feels in a video or picture; returns a report."""
        request = EditRequest(
            input=input, emotion=emotion, au=au, timeline=timeline, like=like, neutral=neutral,
            intensity=intensity, face=face, format=Path(output).suffix[1:].lower(),
        )  # fmt: skip
        return await _run(service, context, request, output)

    @server.tool(title="Make a portrait speak")
    async def talk(
        context: Context,
        portrait: str,
        speech: str,
        output: Output,
        emotion: Emotion = None,
        au: Units = None,
        timeline: Over = None,
        like: Like = None,
        neutral: Neutral = None,
        intensity: Intensity = 1.0,
        face: Face = "largest",
        seed: int = 0,
    ) -> dict[str, Any]:
        """Make the face of a picture speak a recording, in a video; returns a report.

        Without a requested emotion the face shows that of the voice.
        """
        request = TalkRequest(
            portrait=portrait, speech=speech, emotion=emotion, au=au, timeline=timeline, like=like,
            neutral=neutral, intensity=intensity, face=face, seed=seed,
            format=Path(output).suffix[1:].lower(),
        )  # fmt: skip
        return await _run(service, context, request, output)

    @server.tool(title="Recognise the emotion of a voice")
    async def feel(context: Context, input: str, neutral: str | None = None) -> dict[str, Any]:
        """Return probabilities of emotions, valence, arousal, intensity, and a curve over time."""
        return await _run(service, context, FeelRequest(input=input, neutral=neutral))

    @server.tool(title="List the emotions")
    def emotions() -> dict[str, NamedEmotion]:
        """Return the emotions that have a name: action units, valence, arousal, source."""
        return named_emotions()

    return server


async def _run(
    service: Service,
    context: Context,
    request: Any,  # noqa: ANN401 - any of the requests
    output: str | None = None,
) -> dict[str, Any]:
    """Do a job, tell how far it is, and copy its result to ``output``.

    Raises:
        MienError: when it cannot be done, or fails.
    """
    job, folder = service.store.new_job_folder()
    (folder / "inputs").mkdir()
    files = Files(service.store, LOCAL, service.roots, Parts())
    record = None
    try:
        target = None if output is None else _target(output, service.roots)
        order = await asyncio.to_thread(request.order, files, folder / "inputs")
        question = {"do": "check", "order": order, "limits": service.input_limits}
        await asyncio.to_thread(service.checks.ask, question)
        record, _ = service.runner.submit(job, LOCAL, order, None, "")
        while record is not None and record.state in (QUEUED, RUNNING):
            await asyncio.sleep(_POLL_SECONDS)
            progress = service.runner.progress(job)
            if progress is not None:
                await context.report_progress(progress.done, progress.total)
            record = service.store.job(job, LOCAL)
        if record is None or record.state != DONE or record.result is None:
            raise MienError((record and record.message) or "The job was removed.")
        report: dict[str, Any] = json.loads((folder / REPORT).read_text("utf-8"))
        if target is not None:
            with whole_file(target) as temporary:
                await asyncio.to_thread(shutil.copyfile, folder / record.result, temporary)
            sidecar = sidecar_of(folder / record.result)
            if sidecar.is_file():
                shutil.copyfile(sidecar, sidecar_of(target))
            report["output"] = str(target)
        return report
    finally:
        if record is not None and record.state in (QUEUED, RUNNING):
            service.runner.cancel(record)
        else:
            service.store.remove(job)


def _target(text: str, roots: tuple[Path, ...]) -> Path:
    """Return where a result is to be written.

    Raises:
        InputError: for a place outside the folders of this server, or a file that exists.
    """
    path = roots[0] / text
    folder = path.parent.resolve()
    if not any(folder.is_relative_to(root) for root in roots):
        raise InputError(f"{shown(path)} is outside the folders of this server.")
    target = folder / path.name
    check_output(target, inputs=(), overwrite=False, suffixes=(target.suffix.lower(),))
    return target
