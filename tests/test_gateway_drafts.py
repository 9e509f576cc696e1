"""What callers send becomes exactly the events that the client takes, and nothing that anybody sends is a fault."""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Callable
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognistream_client import Event, faults
from cognistream_client.catalog import id_of, schema_of
from cognistream_client.cloudevents import type_of
from connectors.gateway.drafts import KIND_OF, Filling, authorise, events_of
from connectors.gateway.envelopes import AVRO, BATCH, CLOUDEVENT, TYPES, drafts_of, line
from connectors.gateway.keys import make
from connectors.gateway.problems import Problem
from schemas.event_types import SOURCE_TYPES

from .test_client_events import events

FILLING = Filling(lambda index: f"filled-{index}", 7)
KEY = make("test", "acme", ("publish",), ("kaizen", "agentanchor", "aurais"), 0)[1]
CE = {"ce-specversion": "1.0", "ce-id": "e", "ce-source": "/s", "ce-subject": "acme/bot"}
MEDIA = ("application/json", CLOUDEVENT, BATCH, AVRO, "text/plain", "")

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
nested = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))
names = st.sampled_from(
    ["event_id", "tenant_id", "agent_id", "event_type", "occurred_at", "risk", "attributes", "tokens_in", "data",
     "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "traceparent"]
)  # fmt: skip
likely = st.sampled_from(["1.0", "acme/bot", "acme", "intent_declared", "cognistream.kaizen.intent.declared", "low", 7])
objects = st.dictionaries(names, likely | nested, max_size=8)
bodies = st.binary(max_size=60) | st.one_of(objects, st.lists(objects, max_size=3), nested).map(
    lambda told: json.dumps(told).encode()
)


def taken(media: str, headers: dict[str, str], body: bytes) -> list[Event]:
    drafts = drafts_of(media, headers, body)
    authorise(drafts, KEY)
    return events_of(drafts, KEY.tenant_id, FILLING)


def outcome(take: Callable[[], list[Event]]) -> list[Event] | Problem:
    try:
        return take()
    except Problem as problem:
        return problem


def fair(found: list[Event] | Problem) -> bool:
    """Whether it is events that are taken, or a mistake of the caller's that is told in few words."""
    if isinstance(found, Problem):
        return 400 <= found.status < 500 and len(found.response().body) < 300_000
    return not any(map(faults, found))


@given(st.sampled_from(MEDIA), st.dictionaries(st.sampled_from([*CE, "ce-type", "ce-time"]), st.text()), bodies)
@settings(max_examples=300)
def test_whatever_is_sent_is_an_event_or_a_problem_of_the_caller_s(
    media: str, headers: dict[str, str], body: bytes
) -> None:
    assert fair(outcome(lambda: taken(media, headers, body)))


@given(bodies)
def test_whatever_a_line_says_is_an_event_or_a_problem_of_the_caller_s(body: bytes) -> None:
    assert fair(outcome(lambda: events_of([line(body, None)], KEY.tenant_id, FILLING)))


def as_json(event: Event) -> bytes:
    return json.dumps(vars(event)).encode()


@given(events())
@settings(max_examples=300)
def test_json_is_taken_where_the_client_takes_the_event_and_is_the_same_event(event: Event) -> None:
    wrong = {fault.field for fault in faults(event)} | {
        name for name, value in vars(event).items() if isinstance(value, float) and not math.isfinite(value)
    }
    sent = as_json(event)
    found = outcome(lambda: events_of(drafts_of("application/json", {}, sent), event.tenant_id, FILLING))
    if isinstance(found, Problem):
        assert wrong
        assert found.status == 400 or {error.path[1:] for error in found.errors} == wrong
    else:
        assert (found, wrong) == ([event], set())


@given(events().filter(lambda event: not faults(event)))
def test_a_cloudevent_is_the_same_event_in_all_its_forms(event: Event) -> None:
    told = vars(event)
    subject = f"{event.tenant_id}/{event.agent_id}"
    kind = type_of(event.SOURCE, event.event_type)
    attributes: dict[str, Any] = {"specversion": "1.0", "id": event.event_id, "source": "/s", "type": kind}
    envelope = {**attributes, "subject": subject, "data": told}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema_of(event.TOPIC)), told)
    avro = struct.pack(">bi", 0, id_of(event.TOPIC)) + out.getvalue()
    drafts = [
        *drafts_of(CLOUDEVENT, {}, json.dumps(envelope).encode()),
        *drafts_of(BATCH, {}, json.dumps([envelope]).encode()),
    ]
    assert [events_of([draft], event.tenant_id, FILLING) for draft in drafts] == [[event]] * 2
    headers = {f"ce-{name}": percent(value) for name, value in {**attributes, "subject": subject}.items()}
    for media, body in (("application/json", as_json(event)), (AVRO, avro)):
        assert events_of(drafts_of(media, headers, body), event.tenant_id, FILLING) == [event]


def percent(text: str) -> str:
    """As the HTTP binding of CloudEvents encodes what a header cannot hold."""
    return "".join(f"%{byte:02X}" for byte in text.encode())


def test_every_event_type_has_one_source_and_one_name_as_a_cloudevent() -> None:
    assert {kind.label.replace(".", "_") for kinds in SOURCE_TYPES.values() for kind in kinds} - {"unknown"} == set(
        KIND_OF
    )
    assert set(TYPES.values()) == set(KIND_OF)


@pytest.mark.parametrize("missing", ["agent_id", "event_type"])
def test_what_nobody_can_fill_in_is_asked_for(missing: str) -> None:
    told = {"agent_id": "bot", "event_type": "intent_declared"}
    del told[missing]
    with pytest.raises(Problem) as refused:
        taken("application/json", {}, json.dumps(told).encode())
    assert [error.path for error in refused.value.errors] == [f"/{missing}"]
