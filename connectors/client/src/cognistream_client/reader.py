"""Decodes the values of derived topics, whichever of the release's schemas wrote them."""

from __future__ import annotations

import io
import struct
from typing import Any, Final

import fastavro

from .catalog import schema_of, schema_with, stem_of
from .errors import ClientError, NotDecodable
from .records import BY_SCHEMA, Record
from .registry import Registry

_FRAME: Final = struct.Struct(">bi")


class Reader:
    """Of one topic (without prefix)."""

    def __init__(self, topic: str, registry: Registry | None) -> None:
        kind = BY_SCHEMA.get(stem_of(topic))
        if kind is None:
            raise ClientError(f"{topic} is a source: read what was decided of it, such as priority.urgent")
        self._kind = kind
        self._registry = registry
        self._schema = fastavro.parse_schema(schema_of(topic))

    def decode(self, value: bytes | None, place: str) -> Record:
        """The record in `value`; NotDecodable tells `place` when it is none of the topic's."""
        if value is None or len(value) < _FRAME.size or value[0] != 0:
            raise NotDecodable(f"{place}: the value has no frame of a schema id; was it written by cognistream?")
        number = _FRAME.unpack_from(value)[1]
        writer = schema_with(number)
        if writer is None and self._registry is not None:
            writer = self._registry.schema_with(number)
        if writer is None:
            raise NotDecodable(
                f"{place}: schema {number} is not of this release; give the registry, or install a newer client"
            )
        stream = io.BytesIO(value)
        stream.seek(_FRAME.size)
        try:
            read: Any = fastavro.schemaless_reader(stream, writer, self._schema)
        except (ValueError, TypeError, IndexError, KeyError, EOFError) as error:
            raise NotDecodable(f"{place}: {type(error).__name__}: {error}") from error
        return self._kind(**read)
