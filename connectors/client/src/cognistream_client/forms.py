"""The form of each source's events: what every field may hold, and the bytes of a whole event.

Limits are the pipeline's own (docs/rules.md): ids, lengths, finite, not negative. A test asks the worker's admission
about the same events, so that neither refuses what the other takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any, Final

from . import fields
from .catalog import schema_of
from .errors import InvalidEvent
from .events import AgentAnchorEvent, AuraisEvent, Event, KaizenEvent
from .fields import NULL, SOME, Write

MAX_BYTES: Final = 1_000_000
"""Largest event, as bytes on the wire: Kafka's own default for one message."""

_UNFIT: Final = (ValueError, TypeError, KeyError, AttributeError, OverflowError)
_NOT_NEGATIVE: Final = {"duration_ms", "tokens_in", "tokens_out", "cost_usd", "budget_usd"}
_SHORT: Final = {"correlation_id", "action", "request_kind"}
_SHORT_BYTES: Final = 1024
_BRIEF: Final = "text of at most 1,024 bytes"
_OPEN: Final = "text of UTF-8"
_REPEATING: Final = {"action", "component", "model", "request_kind", "signal_kind", "certification"}
"""Texts of which a service says the same few over and over."""
_FEW: Final = 256
_NAMED: Final[dict[str, tuple[Write, str]]] = {
    "event_id": (fields.text(1, 128), "text of 1 to 128 bytes"),
    "tenant_id": (fields.remembered(fields.tenant), "1 to 64 of a-z, 0-9 and '-'"),
    "agent_id": (fields.remembered(fields.agent), "text of 1 to 128 bytes without control characters"),
    "occurred_at": (
        fields.remembered(fields.moment, 256),
        "a whole number of milliseconds since 1970, before the year 10000",
    ),
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
        self._repeating = tuple(row["name"] != "event_id" and _is_text(row["type"]) for row in rows)
        self._expected = tuple(expected for _, _, expected in rules)
        self._write = _compiled(self._names, self._writes, self._nulls)

    def expected(self, field: str) -> str:
        """What a field takes, in words."""
        return self._expected[self._names.index(field)]

    def encode(self, event: Event, frame: bytes) -> bytes:
        """`frame` and the event's Avro value; InvalidEvent when it is none that cognistream takes."""
        try:
            data = self._write(event, frame)
        except _UNFIT as error:
            raise next(self.faults(event)) from error
        if len(data) > MAX_BYTES:
            raise InvalidEvent("event", event, f"at most {MAX_BYTES:,} bytes; it has {len(data):,}")
        return data

    def encode_many(self, events: Sequence[Event], frame: bytes, first: int = 0) -> list[bytes]:
        """The same for many events, column by column: most columns say one thing over and over, or nothing.

        Errors count events from `first` on.
        """
        try:
            columns = zip(*map(self._values, events), strict=True)
            rules = zip(columns, self._writes, self._nulls, self._repeating, strict=True)
            written = [_column(*rule) for rule in rules]
            values = list(map(b"".join, zip(repeat(frame), *written, strict=False)))
        except _UNFIT:
            values = []
        if not values or max(map(len, values)) > MAX_BYTES:
            return [self._encode_at(index, event, frame) for index, event in enumerate(events, first)]
        return values

    def _encode_at(self, index: int, event: Event, frame: bytes) -> bytes:
        try:
            return self.encode(event, frame)
        except InvalidEvent as error:
            raise InvalidEvent(error.field, error.found, error.expected, index) from error.__cause__

    def faults(self, event: Event) -> Iterator[InvalidEvent]:
        """Every field that does not fit."""
        for name, write, null, expected in zip(self._names, self._writes, self._nulls, self._expected, strict=True):
            value = getattr(event, name)
            try:
                fits = value is not None or null is not None
                fits and value is not None and write(value)
            except _UNFIT:
                fits = False
            if not fits:
                yield InvalidEvent(name, value, expected)


def _compiled(names: Sequence[str], writes: Sequence[Write], nulls: Sequence[Any]) -> Callable[[Event, bytes], bytes]:
    """A function that writes an event of these fields, in one expression: a loop over them costs as much as they do."""
    parts = [
        f"w{i}(event.{name})" if null is None else f"(null if (v := event.{name}) is None else w{i}(v))"
        for i, (name, null) in enumerate(zip(names, nulls, strict=True))
    ]
    scope: dict[str, Any] = {"null": NULL, **{f"w{i}": write for i, write in enumerate(writes)}}
    exec(f"def write(event, frame):\n    return b''.join((frame, {', '.join(parts)}))", scope)  # noqa: S102 - from the package's own schema
    write: Callable[[Event, bytes], bytes] = scope["write"]
    return write


def _column(values: tuple[Any, ...], write: Write, null: Any, repeating: bool) -> list[Any]:
    """What is written for the values of one field."""
    if repeating:
        known = {value: null if value is None else write(value) for value in set(values)}
        return [known[value] for value in values]
    if values.count(None) == len(values):
        return [null] * len(values)
    return [null if value is None else write(value) for value in values]


def _is_text(kind: Any) -> bool:
    """Whether a field holds texts or symbols, of which there are few different ones among many events."""
    parts = kind if isinstance(kind, list) else [kind]
    return any(part == "string" or (isinstance(part, dict) and part["type"] == "enum") for part in parts)


def _rule(name: str, kind: Any) -> tuple[Write, Any, str]:
    """What writes a field, what stands for None in it, and what it takes, in words."""
    if isinstance(kind, list):
        write, expected = _typed(name, kind[1], SOME)
        return write, NULL, f"{expected}, or None"
    write, expected = _typed(name, kind, b"")
    return write, None, expected  # no bytes: joining fails, as it should


def _typed(name: str, kind: Any, before: bytes) -> tuple[Write, str]:
    if name in _NAMED:
        return _NAMED[name]
    if isinstance(kind, dict) and kind["type"] == "enum":
        told = [symbol for symbol in kind["symbols"] if symbol != "unknown"]
        return fields.symbols(kind["symbols"], before, unknown=False), f"one of {', '.join(told)}"
    if isinstance(kind, dict) and kind["type"] == "map":
        return fields.texts, "a mapping of text to text"
    return _scalar(name, kind["type"] if isinstance(kind, dict) else kind, before)


def _scalar(name: str, kind: str, before: bytes) -> tuple[Write, str]:
    negative = name not in _NOT_NEGATIVE
    sign = "" if negative else " that is not negative"
    match kind:
        case "string":
            most, told = (_SHORT_BYTES, _BRIEF) if name in _SHORT else (fields.MAX_TEXT, _OPEN)
            write = fields.text(0, most, before)
            return fields.remembered(write, _FEW) if name in _REPEATING else write, told
        case "boolean":
            return fields.boolean, "True or False"
        case "double":
            return fields.double(before, negative=negative), f"a finite number{sign}"
        case _:
            bits = 32 if kind == "int" else 64
            return fields.integer(bits, before, negative=negative), f"a whole number of {bits} bits{sign}"


FORMS: Final[dict[type[Event], Form]] = {kind: Form(kind) for kind in (KaizenEvent, AgentAnchorEvent, AuraisEvent)}
"""Of each class of events."""


def faults(event: Event) -> list[InvalidEvent]:
    """All that keeps cognistream from taking `event`, field by field; nothing when it takes it."""
    form = FORMS[type(event)]
    try:
        form.encode(event, b"")
    except InvalidEvent as error:
        return list(form.faults(event)) or [error]
    return []
