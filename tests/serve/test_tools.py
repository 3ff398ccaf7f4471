"""The verbs as tools for assistants."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mien.media.still import read_still

from ..conftest import DEMO

pytest.importorskip("mcp")
from mcp import Client

from mien.serve.limits import Limits
from mien.serve.service import Service
from mien.serve.tools import tools


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    work = tmp_path / "work"
    work.mkdir()
    (work / "face.jpg").write_bytes((DEMO / "woman.jpg").read_bytes())
    service = Service(tmp_path / "store", Limits(running=1), roots=(work,))
    service.start()
    yield service
    service.close()


def test_an_assistant_edits_a_picture(service: Service) -> None:
    work = service.roots[0]

    async def use() -> None:
        async with Client(tools(service)) as client:
            listed = (await client.list_tools()).tools
            assert {tool.name for tool in listed} == {"edit", "talk", "feel", "emotions"}
            done = await client.call_tool(
                "edit", {"input": "face.jpg", "output": "out.png", "emotion": "happy"}
            )
            assert not done.is_error, done
            assert json.loads(done.content[0].text)["faces"] == 1  # type: ignore[union-attr]
            for wrong in (
                {"input": "../store/jobs.sqlite", "output": "a.png", "emotion": "sad"},
                {"input": "face.jpg", "output": "../a.png", "emotion": "sad"},
                {"input": "face.jpg", "output": "out.png", "emotion": "sad"},
                {"input": "face.jpg", "output": "a.png", "emotion": "glum"},
            ):
                answer = await client.call_tool("edit", wrong)
                assert answer.is_error, wrong

    asyncio.run(use())
    assert read_still(work / "out.png").shape == (512, 512, 3)
    assert sorted(path.name for path in work.iterdir()) == ["face.jpg", "out.png"]
    assert service.store.jobs("local") == []


@pytest.mark.slow
def test_the_command_speaks_the_protocol(tmp_path: Path) -> None:
    hello = {
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "mien", "serve", "--mcp", "--root", str(tmp_path)],
        input=json.dumps(hello) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    answer = json.loads(done.stdout.splitlines()[0])
    assert answer["result"]["serverInfo"]["name"] == "mien"
    assert done.returncode == 0, done.stderr
