"""What became of every record of a partition, read back from its topics: in a pool, a dead letter, or a repeat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from schemas.catalog import SchemaIds
from schemas.columns import Longs
from schemas.event_types import SOURCES
from streams.dead_letters import TOPIC as LETTERS
from streams.journal import JOURNAL, columns, entries
from streams.outputs import POOLS
from streams.verify import Batches

TOLD_IN_ORDER = (*POOLS, "trust.changes", "ratelimit.decisions")
"""Topics whose records name the source and the offset that they were decided from."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: why, and the original bytes."""

    reason: str
    key: bytes | None
    value: bytes | None


@dataclass(slots=True)
class Books:
    """Of one source in one partition: offsets in pools and of repeats, dead letters by offset."""

    pooled: Longs
    repeated: Longs
    letters: dict[int, list[Letter]]


def books(batches: Batches, source: int, ids: SchemaIds) -> Books:
    """The books of the source of that number."""
    pooled = [offset for pool in POOLS for offset in _offsets(batches, pool, source, ids)]
    return Books(_joined(pooled), _repeats(batches, source, ids), _letters(batches, source, ids))


def disorder(batches: Batches, ids: SchemaIds) -> Iterator[str]:
    """Where an output does not follow the order of its source; per source and partition, so per agent as well."""
    for topic in TOLD_IN_ORDER:
        for number, name in enumerate(SOURCES):
            found = _joined(_offsets(batches, topic, number, ids))
            back = int((np.diff(found) < (topic in POOLS)).sum())
            if back:
                yield f"{topic}: {back} records of {name} are out of order or there twice"


def _offsets(batches: Batches, topic: str, source: int, ids: SchemaIds) -> list[Longs]:
    found = []
    for batch in batches.get(topic, ()):
        frame = columns(batch, ("source", "offset"), ids)
        found.append(frame["offset"][frame["source"] == source])
    return found


def _repeats(batches: Batches, source: int, ids: SchemaIds) -> Longs:
    name = SOURCES[source]
    said = entries(batches.get(JOURNAL, ()), ids)
    reads = (read for entry in said for read in entry.says["reads"] if read["source"] == name)
    return _joined([np.array(read["repeats"], np.int64) for read in reads])


def _letters(batches: Batches, source: int, ids: SchemaIds) -> dict[int, list[Letter]]:
    found: dict[int, list[Letter]] = {}
    name = f"{SOURCES[source]}.events".encode()
    for batch in batches.get(LETTERS, ()):
        frame = columns(batch, ("source", "offset", "reason", "key", "value"), ids)
        for i in range(batch.n):
            if frame.bytes("source", i) == name:
                reason = (frame.bytes("reason", i) or b"").decode()
                letter = Letter(reason, frame.bytes("key", i), frame.bytes("value", i))
                found.setdefault(int(frame["offset"][i]), []).append(letter)
    return found


def _joined(parts: Sequence[Longs]) -> Longs:
    return np.concatenate([np.zeros(0, np.int64), *parts])
