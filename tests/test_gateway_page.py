"""What docs/gateway.md shows of publishing works as it stands there: its curl commands run against a gateway."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from agents.serving import serving
from agents.settings import Settings

from .publishing_gateway import Shelf, shelf

pytestmark = pytest.mark.kafka

PAGE = (Path(__file__).parents[1] / "docs" / "gateway.md").read_text()
ONE, CLOUDEVENTS, STREAM, AGAIN = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def topics(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    with shelf(kafka, f"t-{uuid.uuid4().hex[:8]}", tmp_path_factory.mktemp("turns")) as made:
        yield made


async def shown(topics: Shelf, commands: str) -> list[Any]:
    """What the commands print, each a line of JSON or several."""
    with socket.create_server(("127.0.0.1", 0)) as where:
        server = uvicorn.Server(serving(Settings(), topics.gateway()))
        task = asyncio.create_task(server.serve(sockets=[where]))
        address = f"127.0.0.1:{where.getsockname()[1]}"
        program = await asyncio.create_subprocess_exec(
            "bash", "-euo", "pipefail", "-c", commands.replace("127.0.0.1:8464", address),
            env={"PATH": os.environ["PATH"], "KEY": topics.all}, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        told, _ = await program.communicate()
        server.should_exit = True
        await task
    assert program.returncode == 0
    return [json.loads(text) for text in told.decode().replace("}{", "}\n{").splitlines()]


async def test_one_event(topics: Shelf) -> None:
    ends = topics.ends()
    ((answer),) = await shown(topics, ONE)
    (written,) = topics.since(ends)
    assert (written.event["event_id"], written.event["risk"]) == (answer["events"][0]["event_id"], "low")


async def test_cloudevents(topics: Shelf) -> None:
    ends = topics.ends()
    await shown(topics, CLOUDEVENTS)
    written = topics.since(ends)
    assert [one.event["event_id"] for one in written] == ["run-7", "run-8"]
    assert {one.headers["ce_source"] for one in written} == {b"/services/planner"}


async def test_a_stream(topics: Shelf) -> None:
    ends = topics.ends()
    told = await shown(topics, STREAM)
    assert [(one["line"], one["status"]) for one in told] == [(0, 202), (1, 422)]
    assert len(topics.since(ends)) == 1


async def test_sending_again(topics: Shelf) -> None:
    ends = topics.ends()
    first, second = await shown(topics, AGAIN)
    assert first == second
    assert len(topics.since(ends)) == 1
