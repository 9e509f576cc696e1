"""Producers that move to another version of their schema while others stay: several ids in one fetch.

Beside the schema of the table there are two writers' schemas, registered as a producer's serializer would do it: one
with a field more, that has a default, and one without a field that has a default.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import fastavro

from connectors.registry import Registry, subject
from schemas import wire
from schemas.catalog import LocalIds, Schema, schema_of
from schemas.recordbatch import read
from schemas.recordbatch_write import RecordsBody, frame_batch
from schemas.topics import SOURCE_TOPICS

ADDED = {"name": "region", "type": "string", "default": "none"}
REMOVED = {"kaizen.events": "model", "agentanchor.events": "certification", "aurais.events": "user"}


def with_field(schema: Schema) -> Schema:
    """The schema with one field more."""
    more = copy.deepcopy(schema)
    more["fields"].insert(3, ADDED)
    return more


def without_field(schema: Schema, name: str) -> Schema:
    """The schema without the field `name`."""
    less = copy.deepcopy(schema)
    less["fields"] = [field for field in less["fields"] if field["name"] != name]
    return less


@dataclass(frozen=True, slots=True)
class _Version:
    schema_id: int
    schema: Any

    def encode(self, value: Mapping[str, Any]) -> bytes:
        out = io.BytesIO()
        out.write(wire.FRAME.pack(wire.MAGIC, self.schema_id))
        fastavro.schemaless_writer(out, self.schema, value)
        return out.getvalue()


class Evolving:
    """Writes good events anew, in turns under the table's schema and the two others of `url`'s registry.

    `prefix` is that of the topics, so that the subjects are those that workers and serializers name.
    """

    def __init__(self, url: str, prefix: str) -> None:
        registry, self._ids = Registry(url), LocalIds()
        self._versions: dict[str, list[_Version | None]] = {}
        for row in SOURCE_TOPICS:
            schema = schema_of(row.name)
            others = (with_field(schema), without_field(schema, REMOVED[row.name]))
            name = subject(row.name, prefix)
            found = [_Version(registry.register(name, one), fastavro.parse_schema(one)) for one in others]
            self._versions[row.name] = [None, *found]

    def evolved(self, topic: str, body: RecordsBody, good: int) -> RecordsBody:
        """The records of `body`, the first `good` of them under the versions in turn."""
        versions, made = self._versions[topic], RecordsBody(body.size)
        (batch,) = read(frame_batch(body), topic=topic, partition=0, start=0)
        for i in range(batch.n):
            value = batch.value(i)
            version = versions[crc32(value or b"") % len(versions)]  # a repeat must have the same bytes
            if version is not None and i < good:
                value = version.encode(wire.decode(value, self._ids)[1])
            made.append(batch.key(i), value, int(batch.ts[i]))
        return made
