"""The form of each source's events: what every field may hold, and the bytes of a whole event.

Limits are the pipeline's own (docs/rules.md): ids, lengths, finite, not negative. A test asks the worker's admission
about the same events, so that neither refuses what the other takes.
"""

from __future__ import annotations

import struct
from operator import attrgetter
from typing import Any, Final

from . import fields
from .catalog import schema_of
from .errors import InvalidEvent
from .events import Event
from .fields import NULL, Write

MAX_BYTES: Final = 1_000_000
"""Largest event, as bytes on the wire: Kafka's own default for one message."""

_FRAME: Final = struct.Struct(">bi")
_NOT_NEGATIVE: Final = {"duration_ms", "tokens_in", "tokens_out", "cost_usd", "budget_usd"}
_SHORT: Final = {"correlation_id", "action", "request_kind"}
_OPEN: Final = "text of UTF-8"
_NAMED: Final[dict[str, tuple[Write, str]]] = {
    "event_id": (fields.text(1, 128), "text of 1 to 128 bytes"),
    "tenant_id": (fields.remembered(fields.tenant), "1 to 64 of a-z, 0-9 and '-'"),
    "agent_id": (fields.remembered(fields.agent), "text of 1 to 128 bytes without control characters"),
    "occurred_at": (fields.moment, "a whole number of milliseconds since 1970, before the year 10000"),
}


class Form:
    """How events of one class are checked and written."""

    def __init__(self, kind: type[Event]) -> None:
        self.kind = kind
        self.topic = kind.TOPIC
        rows = schema_of(kind.TOPIC)["fields"]
        self._names = tuple(row["name"] for row in rows)
        self._values = attrgetter(*self._names)
        rules = [_rule(row["name"], row["type"]) for row in rows]
        self._writes = tuple(write for write, _, _ in rules)
        self._nulls = tuple(null for _, null, _ in rules)
        self._expected = tuple(expected for _, _, expected in rules)

    def encode(self, event: Event, frame: bytes) -> bytes:
        """`frame` and the event's Avro value; InvalidEvent when it is none that cognistream takes."""
        try:
            rows = zip(self._values(event), self._writes, self._nulls, strict=True)
            data = b"".join([frame, *[null if value is None else write(value) for value, write, null in rows]])
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise self._reason(event) from error
        if len(data) > MAX_BYTES:
            raise InvalidEvent("event", event, f"at most {MAX_BYTES:,} bytes; it has {len(data):,}")
        return data

    def _reason(self, event: Event) -> InvalidEvent:
        """The first field that does not fit."""
        for name, write, null, expected in zip(self._names, self._writes, self._nulls, self._expected, strict=True):
            value = getattr(event, name)
            try:
                fits = value is not None or null is not None
                fits and value is not None and write(value)
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
                fits = False
            if not fits:
                return InvalidEvent(name, value, expected)
        raise AssertionError(f"{event!r} fits field by field, and not as a whole")


def _rule(name: str, kind: Any) -> tuple[Write, Any, str]:
    """What writes a field, what stands for None in it, and what it takes, in words."""
    if isinstance(kind, list):
        write, expected = _typed(name, kind[1])
        return fields.optional(write), NULL, f"{expected}, or None"
    write, expected = _typed(name, kind)
    return write, None, expected  # no bytes: joining fails, as it should


def _typed(name: str, kind: Any) -> tuple[Write, str]:
    if name in _NAMED:
        return _NAMED[name]
    if isinstance(kind, dict) and kind["type"] == "enum":
        told = [symbol for symbol in kind["symbols"] if symbol != "unknown"]
        return fields.symbols(kind["symbols"], unknown=False), f"one of {', '.join(told)}"
    if isinstance(kind, dict) and kind["type"] == "map":
        return fields.texts, "a mapping of text to text"
    return _scalar(name, kind["type"] if isinstance(kind, dict) else kind)


def _scalar(name: str, kind: str) -> tuple[Write, str]:
    negative = name not in _NOT_NEGATIVE
    sign = "" if negative else " that is not negative"
    match kind:
        case "string":
            return (
                (fields.text(0, 1024), "text of at most 1,024 bytes")
                if name in _SHORT
                else (fields.text(0, None), _OPEN)
            )
        case "boolean":
            return fields.BOOLEANS.__getitem__, "True or False"
        case "double":
            return fields.double(negative=negative), f"a finite number{sign}"
        case _:
            bits = 32 if kind == "int" else 64
            return fields.integer(bits, negative=negative), f"a whole number of {bits} bits{sign}"
