"""One record at a time: the Confluent frame around an Avro value, by fastavro.

The frame is a zero byte and the schema id, four bytes, big-endian (Confluent, "Wire format"). For everything that is
rare: `tail`, the position record, journal entries, dead letters, tests. The paths that carry every event use the
columnar codecs instead and have this one as their oracle.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from typing import Any, Final

import fastavro
from fastavro.read import SchemaResolutionError

from . import avro_schema
from .catalog import Schema, SchemaIds, schema_of
from .errors import FormatError
from .reasons import Reason

MAGIC: Final = 0
FRAME: Final = struct.Struct(">bi")


class WireError(FormatError):
    """A value that is not of its format; `reason` is the one that a dead letter would bear."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.label}: {detail}")
        self.reason = reason


def encode(name: str, value: Mapping[str, Any], ids: SchemaIds) -> bytes:
    """The framed value of a record for topic `name` (without prefix).

    Raises FormatError when `value` does not fit the topic's schema. Times are numbers of milliseconds.
    """
    out = io.BytesIO()
    out.write(FRAME.pack(MAGIC, ids.id_of(name)))
    try:
        fastavro.schemaless_writer(out, _parsed(schema_of(name)), value, strict_allow_default=True)
    except (ValueError, TypeError, KeyError, OverflowError, struct.error) as error:
        raise FormatError(f"not a value for {name}: {error}; its fields are listed in docs/topics.md") from error
    return out.getvalue()


def decode(data: bytes | None, ids: SchemaIds, reader: Schema | None = None) -> tuple[int, dict[str, Any]]:
    """Schema id and value of framed bytes, as the schema `reader` sees it (None: as it was written).

    Times are numbers of milliseconds. Raises WireError with the reason, RegistryUnreachable when a registry that is
    needed does not answer.
    """
    schema_id = frame_id(data)
    writer = ids.writer_schema(schema_id)
    if writer is None:
        raise WireError(Reason.UNKNOWN_SCHEMA, f"no schema has id {schema_id}")
    return schema_id, _read(data or b"", _parsed(writer), None if reader is None else _parsed(reader))


def frame_id(data: bytes | None) -> int:
    """The schema id of framed bytes; WireError when they have no frame."""
    if data is None:
        raise WireError(Reason.NO_VALUE, "the value is null")
    if not data:
        raise WireError(Reason.EMPTY_VALUE, "the value has no bytes")
    if data[0] != MAGIC:
        raise WireError(Reason.BAD_MAGIC, f"the first byte is {data[0]}, not 0")
    if len(data) < FRAME.size:
        raise WireError(Reason.TRUNCATED, f"the value has {len(data)} bytes, its frame alone needs {FRAME.size}")
    return int(FRAME.unpack_from(data)[1])


def _read(data: bytes, writer: Schema, reader: Schema | None) -> dict[str, Any]:
    stream = io.BytesIO(data)
    stream.seek(FRAME.size)
    try:
        value: Any = fastavro.schemaless_reader(stream, writer, reader)
    except SchemaResolutionError as error:
        raise WireError(Reason.SCHEMA_UNRESOLVABLE, str(error)) from error
    except (ValueError, TypeError, IndexError, KeyError, EOFError, OverflowError, MemoryError, struct.error) as error:
        raise WireError(Reason.UNDECODABLE, f"{type(error).__name__}: {error}") from error
    if stream.tell() != len(data):
        raise WireError(Reason.UNDECODABLE, f"{len(data) - stream.tell()} bytes are left over")
    record: dict[str, Any] = value
    return record


_parses: dict[int, tuple[Schema, Any]] = {}
"""id() of a schema -> the schema, kept so that its id() stays its own, and what fastavro made of it."""


def _parsed(schema: Schema) -> Any:
    """Without logical types: a time is its number, also one that no datetime can hold."""
    if id(schema) not in _parses:
        try:
            checked = avro_schema.Schema(schema)
        except FormatError as error:
            raise WireError(Reason.SCHEMA_UNRESOLVABLE, str(error)) from error
        if checked.endless() or checked.recursive():
            told = "its schema has a type that holds itself, or an array of what takes no bytes: a value has no bounds"
            raise WireError(Reason.SCHEMA_UNRESOLVABLE, told)
        _parses[id(schema)] = schema, checked.source
    return _parses[id(schema)][1]
