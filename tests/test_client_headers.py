"""What the client sends is a CloudEvent to whoever knows CloudEvents, and part of the trace it was sent in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, cast

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, to_binary
from cloudevents.core.v1.event import CloudEvent
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cognistream_client import AuraisEvent, KaizenEvent
from cognistream_client.cloudevents import headers, type_of
from cognistream_client.tracing import traceparent
from schemas.catalog import LocalIds
from schemas.wire import encode

from .lanes import Record
from .test_admission import NOW, lane, outcome

EVENT = KaizenEvent(
    event_id="e-1", tenant_id="acme", agent_id="é", event_type="execution_completed", occurred_at=1_767_225_600_007
)


class Bytes:
    """The content as it is: the library's own formats know JSON only."""

    def read_data(self, value: bytes, _: str | None) -> bytes:
        return value

    def write_data(self, value: bytes, _: str | None) -> bytes:
        return value


def test_headers_tell_what_the_event_is() -> None:
    assert dict(headers(EVENT, b"acme/\xc3\xa9", b"/services/planner")) == {
        "ce_specversion": b"1.0",
        "ce_id": b"e-1",
        "ce_source": b"/services/planner",
        "ce_type": b"cognistream.kaizen.execution.completed",
        "ce_time": b"2026-01-01T00:00:00.007Z",
        "ce_subject": b"acme/\xc3\xa9",
        "content-type": b"application/avro",
    }


def test_the_cloudevents_library_reads_them() -> None:
    sent: Any = dict(headers(EVENT, b"acme/\xc3\xa9", b"/kaizen"))
    unread: Any = Bytes()
    event = from_binary(KafkaMessage(sent, b"acme/\xc3\xa9", b"avro"), unread)
    assert (event.get_id(), event.get_type()) == ("e-1", "cognistream.kaizen.execution.completed")
    assert (event.get_source(), event.get_subject()) == ("/kaizen", "acme/é")
    assert event.get_time() == datetime(2026, 1, 1, 0, 0, 0, 7000, UTC)
    assert (event.get_datacontenttype(), event.get_data()) == ("application/avro", b"avro")


def test_what_the_cloudevents_library_sends_is_as_if_we_had_sent_it() -> None:
    attributes = {
        "specversion": "1.0",
        "id": EVENT.event_id,
        "source": "/kaizen",
        "type": type_of("kaizen", EVENT.event_type),
        "subject": "acme/é",
        "time": datetime(2026, 1, 1, 0, 0, 0, 7000, UTC),
        "datacontenttype": "application/avro",
    }
    value, unwritten = encode("kaizen.events", vars(EVENT), LocalIds()), cast("Any", Bytes())
    sent = to_binary(CloudEvent(attributes, value), unwritten, key_mapper=lambda event: event.get_subject())
    read: Any = dict(headers(EVENT, b"acme/\xc3\xa9", b"/kaizen"))
    again = from_binary(KafkaMessage(read, sent.key, sent.value), unwritten)
    assert from_binary(sent, unwritten).get_attributes() == again.get_attributes()
    assert str(sent.key).encode() == b"acme/\xc3\xa9"
    assert outcome(lane(), Record("kaizen.events", NOW, str(sent.key).encode(), sent.value)) == ["decided"]


@pytest.mark.parametrize("at", [0, 253_402_300_799_999])
def test_the_first_and_the_last_time_can_be_told(at: int) -> None:
    event = AuraisEvent(tenant_id="acme", agent_id="a", event_type="session_ended", occurred_at=at)
    time = dict(headers(event, b"acme/a", b"/aurais"))["ce_time"]
    assert isinstance(time, bytes)
    assert datetime.fromisoformat(time.decode()) == datetime.fromtimestamp(at // 1000, UTC).replace(
        microsecond=at % 1000 * 1000
    )


def test_outside_of_a_span_there_is_no_trace() -> None:
    assert traceparent() is None
    assert "traceparent" not in dict(headers(EVENT, b"k", b"/kaizen"))


def test_the_current_span_is_told_as_opentelemetry_tells_it() -> None:
    with TracerProvider().get_tracer("test").start_as_current_span("request"):
        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier)
        assert dict(headers(EVENT, b"k", b"/kaizen"))["traceparent"] == carrier["traceparent"].encode()
