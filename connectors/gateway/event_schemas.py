"""What the OpenAPI document says of events: JSON schemas made from the Avro ones that the client carries."""

from __future__ import annotations

from typing import Any, Final

from cognistream_client import Event
from cognistream_client.catalog import schema_of
from cognistream_client.cloudevents import type_of
from cognistream_client.forms import FORMS
from connectors.gateway.bodies import JSON
from connectors.gateway.drafts import KINDS
from connectors.gateway.envelopes import AVRO, BATCH, CLOUDEVENT, MOST
from connectors.gateway.messages import AGENT

NDJSON: Final = "application/x-ndjson"

_NAMED: Final[dict[str, dict[str, Any]]] = {
    "event_id": {"type": "string", "minLength": 1, "maxLength": 128},
    "tenant_id": {"type": "string", "pattern": "^[a-z0-9-]{1,64}$"},
    "agent_id": {"type": "string", "pattern": r"^[^\x00-\x1f\x7f-\x9f]{1,128}$"},
    "occurred_at": {"type": "integer", "minimum": 0, "exclusiveMaximum": 253_402_300_800_000},
}
_ENVELOPE: Final = ("event_id", "tenant_id", "agent_id", "event_type")


def request_body() -> dict[str, Any]:
    """The body of POST /v1/events, in all its forms."""
    event = {"oneOf": [_event(kind) for kind in KINDS]}
    cloudevent = {"oneOf": [_cloudevent(kind) for kind in KINDS]}
    forms = {
        JSON: {"oneOf": [*event["oneOf"], _array(event)]},
        CLOUDEVENT: cloudevent,
        BATCH: _array(cloudevent),
        NDJSON: {"type": "string", "description": "an event on each line, plain or a CloudEvent"},
        AVRO: {"type": "string", "format": "binary", "description": "with ce- headers; framed with its schema id"},
    }
    return {"required": True, "content": {media: {"schema": schema} for media, schema in forms.items()}}


def _array(one: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": one, "minItems": 1, "maxItems": MOST}


def _event(kind: type[Event]) -> dict[str, Any]:
    """An event as an object of its fields; id, time and tenant are filled in."""
    fields = {row["name"]: _field(row, kind) for row in schema_of(kind.TOPIC)["fields"]}
    return {
        "type": "object",
        "title": kind.__name__,
        "description": kind.__doc__,
        "properties": fields,
        "required": ["agent_id", "event_type"],
        "additionalProperties": False,
    }


def _cloudevent(kind: type[Event]) -> dict[str, Any]:
    """An event in the JSON format of CloudEvents; other attributes are its extensions, and left out of account."""
    event = _event(kind)
    types = [type_of(kind.SOURCE, name) for name in event["properties"]["event_type"]["enum"]]
    data = {name: schema for name, schema in event["properties"].items() if name not in _ENVELOPE}
    return {
        "type": "object",
        "properties": {
            "specversion": {"const": "1.0"},
            "id": _NAMED["event_id"],
            "source": {"type": "string", "pattern": r"^[!-~]{1,1024}$", "description": "a URI reference"},
            "type": {"enum": types},
            "subject": {"type": "string", "pattern": AGENT, "description": "tenant/agent"},
            "time": {"type": "string", "format": "date-time"},
            "datacontenttype": {"const": JSON},
            "data": {"type": "object", "properties": data, "additionalProperties": False},
        },
        "required": ["specversion", "id", "source", "type", "subject"],
    }


def _field(row: dict[str, Any], kind: type[Event]) -> dict[str, Any]:
    made = dict(_NAMED.get(row["name"]) or _schema(row["type"], FORMS[kind].expected(row["name"])))
    return made | ({"description": row["doc"]} if "doc" in row else {})


def _schema(avro: Any, expected: str) -> dict[str, Any]:
    if isinstance(avro, list):
        return {"anyOf": [{"type": "null"}, _schema(avro[1], expected)]}
    if isinstance(avro, dict) and avro["type"] == "enum":
        return {"enum": [symbol for symbol in avro["symbols"] if symbol != "unknown"]}
    if isinstance(avro, dict) and avro["type"] == "map":
        return {"type": "object", "additionalProperties": {"type": "string"}}
    return _scalar(avro["type"] if isinstance(avro, dict) else avro, expected)


def _scalar(avro: str, expected: str) -> dict[str, Any]:
    least = {"minimum": 0} if "not negative" in expected else {}
    if avro == "string":
        return {"type": "string"} | ({"maxLength": 1024} if "1,024" in expected else {})
    if avro == "boolean":
        return {"type": "boolean"}
    if avro == "double":
        return {"type": "number"} | least
    bits = 32 if avro == "int" else 64
    return {"type": "integer", "minimum": -(1 << bits - 1), "maximum": (1 << bits - 1) - 1} | least
