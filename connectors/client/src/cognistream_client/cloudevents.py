"""The headers that make a record a CloudEvent in binary mode, so that whoever knows CloudEvents 1.0 can read it.

Names and meaning: CloudEvents 1.0.2 and its Kafka protocol binding, section 3.2. `ce_id` is the event's id, `ce_type`
names source and event type, `ce_subject` the agent. `traceparent` (W3C Trace Context) joins the trace of the request
that is served: it is copied on to what cognistream derives.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple

from .events import Event
from .handles import Headers
from .tracing import traceparent

CONTENT_TYPE: Final = b"application/avro"


class Origin(NamedTuple):
    """Where an event comes from, for a service that publishes what others told it: a URI reference, and their trace."""

    source: str | None = None
    traceparent: bytes | None = None


HERE: Final = Origin()
"""The service's own events."""


def headers(event: Event, key: bytes, source: bytes, origin: Origin = HERE) -> Headers:
    """The headers of `event`, whose `ce_source` is `source` (a URI reference) unless its `origin` is another; what
    repeats is written once.
    """
    found: Headers = {
        "ce_specversion": b"1.0",
        "ce_id": event.event_id.encode(),
        "ce_source": source if origin.source is None else origin.source.encode(),
        "ce_type": _type(event.SOURCE, event.event_type),
        "ce_time": _time(event.occurred_at),
        "ce_subject": key,
        "content-type": CONTENT_TYPE,
    }
    trace = origin.traceparent or traceparent()
    if trace is not None:
        found["traceparent"] = trace
    return found


def type_of(source: str, event_type: str) -> str:
    """The `ce_type` of an event: `cognistream.kaizen.execution.completed`."""
    return f"cognistream.{source}.{event_type.replace('_', '.')}"


@lru_cache(1024)
def _type(source: str, event_type: str) -> bytes:
    return type_of(source, event_type).encode()


@lru_cache(256)
def _time(ms: int) -> bytes:
    second = datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{second}.{ms % 1000:03}Z".encode()
