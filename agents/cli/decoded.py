"""A record made readable: its Avro value as a dictionary, for the terminal as one line, for a machine as JSON.

What agents and producers call themselves may hold anything, so that everything a terminal could take for a command is
shown escaped.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Any, Final

from connectors.topic_reader import Record
from schemas.catalog import RegistryUnreachable, SchemaIds
from schemas.errors import FormatError
from schemas.wire import decode

_IN_KEY: Final = ("tenant_id", "agent_id")
"""Fields that the key says already."""


def readable(topic: str, record: Record, ids: SchemaIds) -> dict[str, Any]:
    """`record` of `topic` with its value decoded; `error` in place of a value that does not decode."""
    shown: dict[str, Any] = {
        "topic": topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": text(record.key),
        "headers": {name: text(content) for name, content in record.headers},
    }
    try:
        schema_id, value = decode(record.value, ids)
    except (FormatError, RegistryUnreachable) as error:
        return {**shown, "value": None, "error": str(error), "raw": (record.value or b"").hex()}
    return {**shown, "schema_id": schema_id, "value": plain(value)}


def plain(value: Any) -> Any:
    """`value` in JSON's types: bytes as hexadecimal digits."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list) else value


def field(value: Any, path: str) -> Any:
    """The part of `value` that a dotted `path` names; None when there is none."""
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def line(shown: Mapping[str, Any]) -> str:
    """A record in one line: time, place, key, and the fields that are not null."""
    place = f"{shown['partition']}:{shown['offset']}"
    told = f"error={shown['error']}" if "error" in shown else " ".join(_fields(shown["value"], ""))
    return f"{clock(shown['timestamp'])}  {place:<12} {printable(shown['key'] or '-')}  {told}"


def clock(timestamp: int) -> str:
    """`timestamp` (ms) as date and time in UTC, to the millisecond; as it is where no calendar reaches."""
    try:
        moment = datetime.datetime.fromtimestamp(timestamp // 1000, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return f"{timestamp} ms"
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{timestamp % 1000:03d}"


def text(content: bytes | None) -> str | None:
    """`content` as text, bytes that are no UTF-8 escaped."""
    return None if content is None else content.decode(errors="backslashreplace")


def printable(content: str) -> str:
    """`content` without anything that a terminal would obey."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in content)


def _fields(value: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, part in value.items():
        if part is None or (not path and name in _IN_KEY):
            continue
        if isinstance(part, Mapping) and part:
            yield from _fields(part, f"{path}{name}.")
        else:
            yield f"{path}{name}={_short(part)}"


def _short(part: Any) -> str:
    shown = f"{part:g}" if isinstance(part, float) else str(part)
    return printable(shown if len(shown) <= 100 else f"{shown[:97]}...")
