"""Which Avro schema belongs to what: by topic, by fingerprint, and by the number in a Confluent frame.

The number in the frame is a schema id. Without a registry it comes from the committed table `ids.json`, whose numbers
lie far above those that registries hand out: so both may occur in one topic, and one resolver asks the table first and
a registry (when there is one) second. An id of the table never changes its meaning: when a schema changes, its old text
is kept beside it as `NAME.vN.avsc` for the old id, and the new one takes the next id.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol

from fastavro.schema import SchemaParseException, UnknownType, to_parsing_canonical_form
from fastavro.schema import fingerprint as avro_fingerprint

from .errors import CognistreamError
from .topics import TOPICS, topic

Schema = dict[str, Any]

FIRST_LOCAL_ID: Final = 0x4353_0001
"""First id of `ids.json` ("CS" and a number); registries count up from 1."""

_HERE: Final = Path(__file__).parent


class RegistryUnreachable(CognistreamError):
    """The schema registry gives no answer. Whoever needs it waits: nothing was decided."""


class SchemaIds(Protocol):
    """Answers what a schema id means and which id a topic's records get."""

    def writer_schema(self, schema_id: int) -> Schema | None:
        """The schema of an id, None when nobody knows it; RegistryUnreachable when that cannot be told now."""
        ...

    def id_of(self, name: str) -> int:
        """The id for new records of topic `name` (without prefix)."""
        ...


@cache
def schema_named(stem: str) -> Schema:
    """The schema in `avro/STEM.avsc`; shared, do not change it."""
    schema: Schema = json.loads((_HERE / "avro" / f"{stem}.avsc").read_text(encoding="utf-8"))
    return schema


def schema_of(name: str) -> Schema:
    """The current schema of topic `name` (without prefix); TopicError when there is no such topic."""
    return schema_named(topic(name).schema)


def fingerprint(schema: Schema) -> bytes:
    """SHA-256 of the parsing canonical form (Avro 1.12 specification): equal for schemas that write equal bytes.

    A registry holds what was registered: of what has no such form, a schema that names another one for instance, it is
    the SHA-256 of the JSON.
    """
    try:
        return bytes.fromhex(avro_fingerprint(to_parsing_canonical_form(schema), "SHA-256"))
    except (SchemaParseException, UnknownType, KeyError, TypeError, ValueError, RecursionError):
        return hashlib.sha256(json.dumps(schema, sort_keys=True).encode()).digest()


@cache
def local_table() -> dict[int, str]:
    """Id -> stem of its Avro file, from `ids.json`."""
    rows = json.loads((_HERE / "ids.json").read_text(encoding="utf-8"))
    return {int(number): row["schema"] for number, row in rows.items()}


class LocalIds:
    """`SchemaIds` from the committed table alone: no registry, no waiting."""

    def __init__(self) -> None:
        self._stems = local_table()
        numbers = {stem: number for number, stem in self._stems.items()}
        self._ids = {row.name: numbers[row.schema] for row in TOPICS}

    def writer_schema(self, schema_id: int) -> Schema | None:
        """The schema of an id of the table, else None."""
        stem = self._stems.get(schema_id)
        return None if stem is None else schema_named(stem)

    def id_of(self, name: str) -> int:
        """The table's id for the schema of topic `name`; TopicError when there is no such topic."""
        return self._ids[topic(name).name]
