"""Records in, decoded records out: a lane driven as a test sees it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import fastavro

from schemas.catalog import LocalIds, schema_of
from schemas.columns import ColumnBatch
from schemas.recordbatch import read
from schemas.recordbatch_write import RecordsBody, frame_batch
from schemas.wire import decode
from streams.pipeline import Effects

IDS = LocalIds()


class Record(NamedTuple):
    """A record of a source topic; its offset is its place in the list."""

    topic: str
    timestamp: int
    key: bytes | None
    value: bytes | None


def batch_of(topic: str, partition: int, start: int, records: Sequence[Record]) -> ColumnBatch:
    """One column batch of `records`, from offset `start` on, through the bytes of a record batch."""
    body = RecordsBody()
    for record in records:
        body.append(record.key, record.value, record.timestamp)
    raw = bytearray(frame_batch(body))
    raw[:8] = start.to_bytes(8)
    (batch,) = read(bytes(raw), topic=topic, partition=partition, start=start)
    return batch


def records_of(effects: Effects, topic: str) -> list[tuple[bytes | None, int, dict[str, Any]]]:
    """(key, timestamp, decoded value) of all that a step wrote to `topic`."""
    found = []
    for body in effects.outputs.get(topic, []):
        (batch,) = read(bytes(frame_batch(body)), topic=topic, partition=0, start=0)
        values = ((batch.key(i), int(batch.ts[i]), batch.value(i)) for i in range(batch.n))
        found += [(key, ts, decode(value, IDS)[1]) for key, ts, value in values]
    return found


def plain(schema: Any) -> Any:
    """The schema without logical types: times are numbers in tests."""
    if isinstance(schema, dict):
        return {name: plain(part) for name, part in schema.items() if name != "logicalType"}
    return [plain(part) for part in schema] if isinstance(schema, list) else schema


READERS = {topic: fastavro.parse_schema(copy.deepcopy(plain(schema_of(topic)))) for topic in (
    "kaizen.events", "agentanchor.events", "aurais.events",
)}  # fmt: skip
WRITERS = {IDS.id_of(topic): schema for topic, schema in READERS.items()}
