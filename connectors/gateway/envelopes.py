"""The ways in which events travel over HTTP, each read into drafts.

Plain JSON is an object of an event's fields, or an array of them. CloudEvents 1.0 (HTTP binding, JSON format) come one
in a body (`application/cloudevents+json`), many in an array (`application/cloudevents-batch+json`), or as `ce-` headers
about a body that is the data. Of a CloudEvent, `id` is the event's id, `type` names source and event type, `subject` is
`tenant/agent`, `time` when it occurred, and the data is the other fields; what stands in the data too must be the same.
Data may also be Avro, framed with the release's schema id, as the client writes it.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final
from urllib.parse import unquote

import fastavro
from pydantic_core import from_json

from cognistream_client import Origin
from cognistream_client.catalog import Schema, id_of, schema_of
from cognistream_client.cloudevents import type_of
from connectors.gateway.bodies import JSON
from connectors.gateway.drafts import KIND_OF, Draft
from connectors.gateway.problems import Problem, wrong

CLOUDEVENT: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
AVRO: Final = "application/avro"
MOST: Final = 1_000
"""Events of one request; a stream may have more."""

TYPES: Final = {type_of(kind.SOURCE, name): name for name, kind in KIND_OF.items()}
"""`ce_type` -> event type."""

_NO_TYPE: Final = "not the type of an event, like cognistream.kaizen.access.granted"
_TRACE: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_SOURCE: Final = re.compile(r"[^\s\x00-\x1f\x7f-\x9f]{1,1024}")
_ELSEWHERE: Final = {"event_id": "id", "event_type": "type", "tenant_id": "subject", "agent_id": "subject"}
_FRAME: Final = struct.Struct(">bi")
_BAD_AVRO: Final = (ValueError, TypeError, IndexError, KeyError, EOFError, OverflowError, MemoryError)

Attributes = Mapping[str, Any]


def drafts_of(media: str, headers: Mapping[str, str], body: bytes) -> list[Draft]:
    """The drafts of a request. Raises Problem: 400, 415, 422."""
    trace = trace_of(headers.get("traceparent"))
    if media == CLOUDEVENT:
        return [_structured(_parsed(body), "", trace)]
    if media == BATCH:
        return _each(_parsed(body), lambda one, place: _structured(one, place, trace))
    if "ce-specversion" in headers and media in (JSON, AVRO):
        return [_binary(media, headers, body, trace)]
    if media == JSON:
        told = _parsed(body)
        read: Callable[[Any, str], Draft] = lambda one, place: plain(one, place, trace)  # noqa: E731
        return _each(told, read) if isinstance(told, list) else [read(told, "")]
    raise Problem(415, "not-events", f"send {JSON}, {CLOUDEVENT}, {BATCH} or application/x-ndjson")


def plain(told: Any, place: str, trace: bytes | None) -> Draft:
    """An event told as an object of its fields. Raises Problem 422."""
    return Draft(_object(told, place), place, place, origin=Origin(traceparent=trace))


def line(data: bytes, trace: bytes | None) -> Draft:
    """An event on a line of its own, plain or a CloudEvent. Raises Problem: 400, 422."""
    told = _parsed(data)
    if isinstance(told, dict) and "specversion" in told:
        return _structured(told, "", trace)
    return plain(told, "", trace)


def trace_of(told: object) -> bytes | None:
    """A `traceparent` (W3C Trace Context) that is valid, else None: a wrong one is to be ignored."""
    return told.encode() if isinstance(told, str) and _TRACE.fullmatch(told) else None


def _parsed(body: bytes) -> Any:
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Problem(400, "not-json", f"the body is no JSON: {error}") from None


def _each(told: Any, read: Callable[[Any, str], Draft]) -> list[Draft]:
    if not isinstance(told, list) or not told:
        raise wrong([("", "not an array of events")])
    if len(told) > MOST:
        raise wrong([("", f"more than {MOST} events; send so many as a stream")])
    return [read(one, f"/{index}") for index, one in enumerate(told)]


def _object(told: Any, place: str) -> dict[str, Any]:
    if not isinstance(told, dict):
        raise wrong([(place, "not an object")])
    return told


def _structured(told: Any, place: str, trace: bytes | None) -> Draft:
    attributes = dict(_object(told, place))
    data = attributes.pop("data", {})
    if "data_base64" in attributes or attributes.get("datacontenttype", JSON) != JSON:
        raise wrong([(f"{place}/datacontenttype", f"data is {JSON}, in `data`")])
    trace = trace_of(attributes.get("traceparent")) or trace
    return _cloudevent(attributes, _object(data, f"{place}/data"), place, lambda name: f"{place}/{name}", trace)


def _binary(media: str, headers: Mapping[str, str], body: bytes, trace: bytes | None) -> Draft:
    """Header values are percent-encoded UTF-8 (HTTP binding, 3.1.3.2)."""
    attributes = {name[3:]: unquote(value) for name, value in headers.items() if name.startswith("ce-")}
    data = _object(_parsed(body), "") if media == JSON else _avro(attributes, body)
    return _cloudevent(attributes, data, None, lambda name: f"ce-{name}", trace)


def _cloudevent(
    attributes: Attributes, data: dict[str, Any], place: str | None, path: Callable[[str], str], trace: bytes | None
) -> Draft:
    """`place` is None when the data is the body and the attributes are headers."""
    inside = "" if place is None else f"{place}/data"
    found = [(path(name), expected) for name, expected in _missing(attributes)]
    if found:
        raise wrong(found)
    told = {"event_id": attributes["id"], "event_type": TYPES[attributes["type"]]}
    if "subject" in attributes:
        told["tenant_id"], _, told["agent_id"] = attributes["subject"].partition("/")
    different = [name for name, value in told.items() if name in data and data[name] != value]
    if different:
        raise wrong([(f"{inside}/{name}", f"not what {_ELSEWHERE[name]} says") for name in different])
    if "time" in attributes and "occurred_at" not in data:
        data = {**data, "occurred_at": _moment(attributes["time"], path("time"))}
    elsewhere = {name: path(_ELSEWHERE[name]) for name in told}
    origin = Origin(attributes["source"], trace)
    return Draft({**data, **told}, place or "", inside, {**elsewhere, "occurred_at": path("time")}, origin)


def _missing(attributes: Attributes) -> list[tuple[str, str]]:
    """Attributes that a CloudEvent must have, and what they must be."""
    rules: Sequence[tuple[str, bool, str]] = (
        ("specversion", attributes.get("specversion") == "1.0", 'not "1.0"'),
        ("id", isinstance(attributes.get("id"), str), "not text"),
        ("source", _is_source(attributes.get("source")), "not a URI reference of at most 1,024 characters"),
        ("type", _event_type(attributes) is not None, _NO_TYPE),
        ("subject", _is_subject(attributes), "not tenant/agent"),
        ("time", isinstance(attributes.get("time", ""), str), "not a time as in RFC 3339"),
    )
    return [(name, expected) for name, fits, expected in rules if not fits]


def _event_type(attributes: Attributes) -> str | None:
    told = attributes.get("type")
    return TYPES.get(told) if isinstance(told, str) else None


def _is_source(told: object) -> bool:
    return isinstance(told, str) and _SOURCE.fullmatch(told) is not None


def _is_subject(attributes: Attributes) -> bool:
    told = attributes.get("subject", "/")
    return isinstance(told, str) and "/" in told


def _moment(told: str, path: str) -> int:
    """Milliseconds since 1970 of a time as in RFC 3339."""
    try:
        at = datetime.fromisoformat(told)
        since = at - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, TypeError, OverflowError):
        raise wrong([(path, "not a time as in RFC 3339, with its offset")]) from None
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def _avro(attributes: Attributes, body: bytes) -> dict[str, Any]:
    name = _event_type(attributes)
    if name is None:
        raise wrong([("ce-type", _NO_TYPE)])
    topic = KIND_OF[name].TOPIC
    if len(body) < _FRAME.size or _FRAME.unpack_from(body) != (0, id_of(topic)):
        raise Problem(400, "not-avro", "the body has no frame of a schema id that this release knows")
    stream = io.BytesIO(body)
    stream.seek(_FRAME.size)
    try:
        told: Any = fastavro.schemaless_reader(stream, _reader(topic), None)
    except _BAD_AVRO:
        told = None
    if not isinstance(told, dict) or stream.read(1):
        raise Problem(400, "not-avro", "the body is not of the schema that it names")
    return told


@cache
def _reader(topic: str) -> Schema:
    schema: Any = fastavro.parse_schema(schema_of(topic))
    return dict(schema)
