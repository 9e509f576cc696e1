"""The gateway keeps to its OpenAPI document: whatever is sent, every answer is one that the document names.

Streams never end, so a key may have none here: all that is refused before one begins is asked for, and what a stream
tells is held to its own statements in test_gateway_streams.py.
"""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case

from connectors.gateway.access import Gateway
from connectors.gateway.app import app_of
from connectors.gateway.rules import StreamLimits
from connectors.gateway.streams import Streams

from .test_gateway_checking import checker
from .test_gateway_http import Keys
from .test_gateway_view import IDS, NOW

KEYS = Keys()
STREAMS = Streams({}, str, IDS, StreamLimits(per_key=0), lambda _: True)
GATEWAY = Gateway(checker(), KEYS.ring, lambda: NOW, streams=STREAMS)
SCHEMA = schemathesis.openapi.from_asgi("/openapi.json", app_of(GATEWAY))


@SCHEMA.parametrize()
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_one_that_the_document_names(case: Case) -> None:
    case.call_and_validate(headers={"Authorization": f"Bearer {KEYS.all}"})


@pytest.mark.parametrize("path", ["/v1/check", "/v1/agents", "/v1/streams/{topic}"])
def test_the_document_is_whole(path: str) -> None:
    assert path in {operation.ok().path for operation in SCHEMA.get_all_operations()}
