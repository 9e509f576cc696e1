"""The gateway keeps to its OpenAPI document: whatever is sent, every answer is one that the document names.

Streams never end, so a key may have none here: all that is refused before one begins is asked for, and what a stream
tells is held to its own statements in test_gateway_streams.py.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from schemathesis import Case

from connectors.gateway.access import Gateway
from connectors.gateway.app import app_of
from connectors.gateway.idempotency import Turns, name_of
from connectors.gateway.publishing import Publishing
from connectors.gateway.rules import StreamLimits
from connectors.gateway.streams import Streams

from .publishing_gateway import SOURCES, Shelf, shelf
from .test_gateway_checking import checker
from .test_gateway_http import Keys
from .test_gateway_view import IDS, NOW

pytestmark = pytest.mark.kafka

IN_BYTES = {"event_id": 128, "agent_id": 128, "correlation_id": 1024, "action": 1024, "request_kind": 1024, "id": 128}
"""Limits of texts are in bytes of UTF-8, of which JSON Schema knows nothing."""


KEYS = Keys()
KEY = KEYS.new(verbs=("check", "read", "publish"), sources=SOURCES)
NOBODY: Any = None
STREAMS = Streams({}, str, IDS, StreamLimits(per_key=0), lambda _: True)
DOCUMENTED = Gateway(
    checker(), KEYS.ring, lambda: NOW, publishing=Publishing(NOBODY, NOBODY, NOBODY, NOBODY), streams=STREAMS
)
"""Its routes are looked at, never asked: cases are drawn before there is a Kafka."""
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", app_of(DOCUMENTED))


@pytest.fixture(scope="module")
def topics(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    with shelf(kafka, f"t-{uuid.uuid4().hex[:8]}", tmp_path_factory.mktemp("turns")) as made:
        yield made


@pytest.fixture(scope="module")
def app(topics: Shelf) -> FastAPI:
    return app_of(replace(DOCUMENTED, publishing=topics.gateway().publishing))


@pytest.fixture(scope="module")
def turns(topics: Shelf) -> Turns:
    return topics.turns


def fits(told: Any) -> bool:
    """Whether no text of a body is longer in bytes than its field takes, though it is not in characters."""
    if isinstance(told, list):
        return all(map(fits, told))
    if not isinstance(told, dict):
        return True
    return all(
        fits(value) and not (isinstance(value, str) and len(value.encode()) > IN_BYTES.get(name, 1 << 20) >= len(value))
        for name, value in told.items()
    )


@schemathesis.hook
def filter_body(context: Any, body: Any) -> bool:  # noqa: ARG001
    return fits(body)


# Lines and Avro have tests of their own: test_gateway_drafts.py.
@pytest.mark.filterwarnings("ignore:Skipped test cases with unsupported payload media types")
@SCHEMA.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_one_that_the_document_names(case: Case, app: FastAPI, turns: Turns) -> None:
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str):  # that it came with another body before is right to be refused, and no news here
        asyncio.run(turns.forget(name_of(KEY.split("_")[1], key)))
    case.call_and_validate(headers={"Authorization": f"Bearer {KEY}"}, app=app)


@pytest.mark.parametrize("path", ["/v1/check", "/v1/events", "/v1/agents", "/v1/streams/{topic}"])
def test_the_document_is_whole(path: str) -> None:
    assert path in {operation.ok().path for operation in SCHEMA.get_all_operations()}
