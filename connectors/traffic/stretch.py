"""The shape of traffic: a fleet of agents, and stretches of time-ordered events as columns, one part a source topic.

A stretch has the same form whether it was invented or read from a trace, so that one publisher serves both. Texts
that repeat (keys, words) lie in one constant bank, `Frame.buf`; ids that are new with every event lie in `Frame.aux`.
The layouts are taken from the source schemas: a field more there is a column more here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol

import numpy as np
from numba import types

from schemas.avro_layout import layout
from schemas.catalog import schema_of
from schemas.columns import Bytes, Frame, Layout, Longs
from schemas.kernels import kernel
from schemas.murmur import murmur2
from schemas.topics import SOURCE_TOPICS

SOURCES = tuple(topic.name for topic in SOURCE_TOPICS)
"""The source topics, in the order of a stretch's parts."""

FRESH = frozenset({"event_id", "correlation_id", "session"})
"""Texts that are new with every event or task: they lie in the second bank."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Agents by number: keys `tenant/agent` as spans of `bank`; `tenant` is the length of the tenant's part.

    All arrays have shape (agents,).
    """

    bank: Bytes
    start: Longs
    length: Longs
    tenant: Longs

    @classmethod
    def of(cls, names: Sequence[tuple[str, str]]) -> Fleet:
        """A fleet of (tenant, agent) names."""
        keys = [f"{tenant}/{agent}".encode() for tenant, agent in names]
        length = np.fromiter((len(key) for key in keys), np.int64, len(keys))
        tenant = np.fromiter((len(tenant.encode()) for tenant, _ in names), np.int64, len(keys))
        return cls(np.frombuffer(b"".join(keys), np.uint8), np.cumsum(length) - length, length, tenant)

    def __len__(self) -> int:
        return len(self.start)

    def key(self, agent: int) -> bytes:
        """Kafka key of an agent."""
        start = int(self.start[agent])
        return self.bank[start : start + int(self.length[agent])].tobytes()

    def partitions(self, count: int) -> Longs:
        """Partition of each agent, shape (agents,), among `count`."""
        out = np.empty(len(self), np.int64)
        _partitions(self.bank, self.start, self.length, count, out)
        return out


@kernel(
    types.void(types.Array(types.uint8, 1, "C", readonly=True), *[types.int64[::1]] * 2, types.int64, types.int64[::1])
)
def _partitions(bank, start, length, count, out):  # type: ignore[no-untyped-def]
    for i in range(start.shape[0]):
        out[i] = murmur2(bank, start[i], length[i]) % count


@dataclass(frozen=True, slots=True)
class Part:
    """The events of one source in a stretch, in time order. Arrays have shape (n of the part,).

    `ts` record timestamp in ms, `agent` number in the fleet, `place` position among all events of the stretch.
    """

    topic: str
    frame: Frame
    ts: Longs
    agent: Longs
    place: Longs


@dataclass(frozen=True, slots=True)
class Stretch:
    """`n` events, the first of them number `first` of the traffic; `parts` in the order of `SOURCES`."""

    first: int
    n: int
    parts: tuple[Part, ...]


class Traffic(Protocol):
    """Whatever the publisher can publish."""

    @property
    def fleet(self) -> Fleet:
        """The agents that the events speak of."""

    def stretches(self) -> Iterator[Stretch]:
        """The events, in time order; may never end."""


@cache
def layout_of(topic: str) -> Layout:
    """The columns of a source: one a field, named as the field."""
    schema = schema_of(topic)
    plain = layout(schema, [field["name"] for field in schema["fields"]])
    return Layout(replace(column, bank=1) if column.name in FRESH else column for column in plain.columns)


@cache
def symbols_of(topic: str, field: str) -> tuple[str, ...]:
    """Symbols of an enum field of a source, by index."""
    (avro,) = (one["type"] for one in schema_of(topic)["fields"] if one["name"] == field)
    branches = avro if isinstance(avro, list) else [avro]
    (enum,) = (branch for branch in branches if isinstance(branch, dict) and branch["type"] == "enum")
    return tuple(enum["symbols"])


def index_of(topic: str, field: str, symbol: str) -> int:
    """Index of an enum symbol; dots of event types are underscores in Avro."""
    return symbols_of(topic, field).index(symbol.replace(".", "_"))
