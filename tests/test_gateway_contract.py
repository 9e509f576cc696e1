"""The gateway keeps to its OpenAPI document: whatever is sent, every answer is one that the document names.

Streams never end, so a key may have none here: all that is refused before one begins is asked for, and what a stream
tells is held to its own statements in test_gateway_streams.py.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case

from connectors.gateway.access import Gateway
from connectors.gateway.app import app_of
from connectors.gateway.keys import make
from connectors.gateway.rules import StreamLimits
from connectors.gateway.streams import Streams

from .publishing_gateway import SOURCES, shelf
from .test_gateway_view import IDS, NOW

pytestmark = pytest.mark.kafka

IN_BYTES = {"event_id": 128, "agent_id": 128, "correlation_id": 1024, "action": 1024, "request_kind": 1024, "id": 128}
"""Limits of texts are in bytes of UTF-8, of which JSON Schema knows nothing."""


class Served:
    """The application, and a key for all of it."""

    def __init__(self, gateway: Gateway) -> None:
        self.app = app_of(gateway)
        self.key, kept = make("test", "acme", ("check", "read", "publish"), SOURCES, NOW)
        gateway.keys.take(kept)


@pytest.fixture(scope="module")
def served(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with shelf(kafka, f"t-{uuid.uuid4().hex[:8]}", tmp_path_factory.mktemp("turns")) as topics:
        none = Streams({}, str, IDS, StreamLimits(per_key=0), lambda _: True)
        yield Served(replace(topics.gateway(), streams=none))


@pytest.fixture(scope="module")
def document(served: Served) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", served.app)


SCHEMA = schemathesis.pytest.from_fixture("document")


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


@SCHEMA.parametrize()
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_one_that_the_document_names(case: Case, served: Served) -> None:
    case.call_and_validate(headers={"Authorization": f"Bearer {served.key}"})


def test_the_document_is_whole(document: Any) -> None:
    paths = {operation.ok().path for operation in document.get_all_operations()}
    assert paths >= {"/v1/check", "/v1/events", "/v1/agents", "/v1/streams/{topic}"}
