"""A recorded trace as traffic: events written one by one as plain dictionaries, then put into columns.

Importers read files of some ten thousand lines, so that plain Python is fast enough here; what comes out has the same
form as invented traffic. A field that an event does not name is null, or the default of its schema: what a trace does
not say stays unsaid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from schemas.columns import NULL_LENGTH, Column, Frame, Longs
from schemas.errors import CognistreamError

from .stretch import FRESH, SOURCES, Fleet, Part, Stretch, index_of, layout_of

BLOCK = 16_384
"""Events of a stretch."""

_EMPTY_MAP = b"\x00"


class TraceError(CognistreamError):
    """A trace that cannot be read: the message names the file and the line or run, and says what was expected."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: topic, record timestamp in ms, agent, event type ("execution.failed"), further fields by name."""

    topic: str
    ms: int
    tenant: str
    agent: str
    event_type: str
    event_id: str
    says: Mapping[str, Any] = field(default_factory=dict)


class Trace:
    """Traffic of a list of events, sorted by time here; equal times keep their order."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.events: Sequence[Event] = sorted(events, key=lambda event: event.ms)
        names = dict.fromkeys((event.tenant, event.agent) for event in self.events)
        self.fleet = Fleet.of(list(names))
        self._number = {name: number for number, name in enumerate(names)}

    def stretches(self) -> Iterator[Stretch]:
        """All events, in time order; then it ends."""
        for first in range(0, len(self.events), BLOCK):
            events = self.events[first : first + BLOCK]
            yield Stretch(first, len(events), tuple(self._part(topic, events) for topic in SOURCES))

    def _part(self, topic: str, events: Sequence[Event]) -> Part:
        mine = [(place, event) for place, event in enumerate(events) if event.topic == topic]
        agents = _longs(self._number[event.tenant, event.agent] for _, event in mine)
        rows = [_fields(event) for _, event in mine]
        return Part(
            topic, _frame(topic, rows), _longs(event.ms for _, event in mine), agents, _longs(at for at, _ in mine)
        )


def text_of(path: Path) -> bytes:
    """Bytes of a trace file; TraceError when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise TraceError(
            f"cannot read the trace {path}: {error.strerror}; give a file after the source's colon"
        ) from error


def _fields(event: Event) -> dict[str, Any]:
    own = {"event_id": event.event_id, "tenant_id": event.tenant, "agent_id": event.agent}
    return own | {"event_type": event.event_type, "occurred_at": event.ms, "attributes": _EMPTY_MAP} | dict(event.says)


def _longs(values: Iterable[int]) -> Longs:
    return np.fromiter(values, np.int64)


def _frame(topic: str, rows: Sequence[Mapping[str, Any]]) -> Frame:
    """Columns of dictionaries; texts land in the bank that the layout names."""
    layout = layout_of(topic)
    banks = (bytearray(), bytearray())
    matrix = np.zeros((layout.rows, len(rows)), np.int64)
    for column in layout.columns:
        values = [row.get(column.name) for row in rows]
        at = layout.row(column.name)
        if column.kind == "span":
            matrix[at], matrix[at + 1] = _spans(banks[column.name in FRESH], values)
        else:
            matrix[at] = _numbers(topic, column, values)
            if column.nullable:
                matrix[at + 1] = [value is not None for value in values]
    return Frame(layout, matrix, *(np.frombuffer(bytes(bank), np.uint8) for bank in banks))


def _numbers(topic: str, column: Column, values: Sequence[Any]) -> Longs:
    """Values of a number column as its bits; text stands for a symbol of an enum."""
    if column.kind == "double":
        return np.array([value or 0.0 for value in values], np.float64).view(np.int64)
    return _longs(index_of(topic, column.name, v) if isinstance(v, str) else int(v or 0) for v in values)


def _spans(bank: bytearray, values: Sequence[str | bytes | None]) -> tuple[Longs, Longs]:
    """Append texts to `bank`, each distinct one once; their starts and lengths."""
    known: dict[str | bytes | None, tuple[int, int]] = {None: (0, NULL_LENGTH)}
    for value in values:
        if value not in known:
            data = value if isinstance(value, bytes) else str(value).encode()
            known[value] = (len(bank), len(data))
            bank += data
    spans = [known[value] for value in values]
    return _longs(start for start, _ in spans), _longs(length for _, length in spans)
