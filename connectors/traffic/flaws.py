"""What goes wrong on the way in: producers that send a record again, and records that are damaged.

A damaged record is a spoiled copy beside the event it was made of, never in its place: so the decisions about a fleet
are the same with flaws and without, and every kind has a known reason for which it must become a dead letter. Which
events are repeated or copied depends on their number and the seed alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas import wire
from schemas.catalog import SchemaIds
from schemas.columns import Longs
from schemas.murmur import partition_of
from schemas.reasons import Reason

from .words import scrambled

REPEATS, POISON = 0.002, 0.0005
"""Default shares of events that are sent twice, and that get a spoiled copy."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it is produced, and where."""

    topic: str
    partition: int
    partitions: int
    key: bytes | None
    value: bytes | None
    ms: int


@dataclass(frozen=True, slots=True)
class Flaws:
    """Shares of repeats and of poison in 0..1, and the seed that chooses them."""

    repeats: float = REPEATS
    poison: float = POISON
    seed: int = 1

    def copies(self, numbers: Longs) -> Longs:
        """How often each event is sent: 1 or 2; `numbers` of shape (n,) are the events' in the traffic."""
        return 1 + (self._draw(numbers, 1) < self.repeats).astype(np.int64)

    def spoiled(self, numbers: Longs) -> NDArray[np.bool_]:
        """Which events get a spoiled copy."""
        chosen: NDArray[np.bool_] = self._draw(numbers, 2) < self.poison
        return chosen

    def _draw(self, numbers: Longs, stream: int) -> NDArray[np.float64]:
        first = np.uint64((self.seed * 4 + stream) << 40 & (1 << 64) - 1)
        return scrambled(scrambled(numbers.astype(np.uint64)) ^ first) / 2.0**64


def spoil(record: Record, number: int, ids: SchemaIds) -> tuple[Record, Reason]:
    """A spoiled copy of `record`, of a kind that its number chooses, and the reason that it must be refused for."""
    names = [name for name in KINDS if record.partitions > 1 or name != "wrong_partition"]
    name = names[number % len(names)]
    return KINDS[name](record, ids), Reason[name.split(".")[0].upper()]


Kind = Callable[[Record, SchemaIds], Record]


def _value(change: Callable[[bytes], bytes | None]) -> Kind:
    return lambda record, _ids: replace(record, value=change(record.value or b""))


def _says(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Kind:
    """The value of a record with other fields, encoded anew."""

    def made(record: Record, ids: SchemaIds) -> Record:
        _, value = wire.decode(record.value, ids)
        return replace(record, value=wire.encode(record.topic, value | change(value), ids))

    return made


_NUMBERS = {"kaizen.events": "duration_ms", "agentanchor.events": "signal_weight", "aurais.events": "budget_usd"}
_LONG_TEXT = "x" * 1025


def _not_a_number(value: dict[str, Any]) -> dict[str, Any]:
    return {name: math.nan for name in _NUMBERS.values() if name in value}


def _named(agent: str) -> Kind:
    """The event of another agent of the same tenant, key and value agreeing; it stays in its partition."""

    def made(record: Record, ids: SchemaIds) -> Record:
        _, value = wire.decode(record.value, ids)
        other = {"agent_id": agent, "event_id": f"stray-{value['event_id']}"[:128]}
        encoded = wire.encode(record.topic, value | other, ids)
        return replace(record, key=f"{value['tenant_id']}/{agent}".encode(), value=encoded)

    return made


def _stray(record: Record, ids: SchemaIds) -> Record:
    """The event of an agent whose key belongs in another partition."""
    others = (_named(f"stray-{number}")(record, ids) for number in itertools.count())
    return next(other for other in others if partition_of(other.key or b"", record.partitions) != record.partition)


KINDS: dict[str, Kind] = {
    "no_value": _value(lambda _: None),
    "empty_value": _value(lambda _: b""),
    "bad_magic": _value(lambda value: b"{" + value[1:]),
    "truncated": _value(lambda value: value[:3]),
    "unknown_schema": _value(lambda value: value[:1] + b"\x7f\xff\xff\xff" + value[5:]),
    "undecodable.garbage": _value(lambda value: value[:5] + b"\xff" * 40),
    "undecodable.cut": _value(lambda value: value[:-1]),
    "undecodable.left_over": _value(lambda value: value + b"\0"),
    "no_key": lambda record, _ids: replace(record, key=None),
    "bad_key": lambda record, _ids: replace(record, key=b"no-slash"),
    "bad_agent_id": _named("line\nbreak"),
    "key_mismatch": lambda record, _ids: replace(record, key=b"someone/else"),
    "bad_event_id": _says(lambda _: {"event_id": "x" * 129}),
    "bad_number": _says(_not_a_number),
    "bad_timestamp": lambda record, _ids: replace(record, ms=0),
    "event_id_reused": _says(lambda value: {"occurred_at": value["occurred_at"] + 1}),
    "wrong_partition": _stray,
    "text_too_long": _says(lambda _: {"correlation_id": _LONG_TEXT}),
}
"""Ways to spoil a record: the reason, and after a dot what varies."""
