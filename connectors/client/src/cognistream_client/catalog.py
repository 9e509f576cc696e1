"""The Avro files that this package carries, and the ids that stand for them in a record's frame.

The numbers come with the release, far above those that registries hand out: without a registry both sides agree by
them, with one they still mean what they meant.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any, Final

from .errors import ClientError

Schema = dict[str, Any]

_DATA: Final = files(__package__) / "schemas"
_TABLE: Final[dict[str, Any]] = json.loads((_DATA / "catalog.json").read_text(encoding="utf-8"))

TOPICS: Final[tuple[str, ...]] = tuple(_TABLE["topics"])
"""Topics that the package writes or reads, without prefix."""


@cache
def schema_of(topic: str) -> Schema:
    """The schema of `topic` (without prefix), times as plain numbers; ClientError when the package carries none."""
    return _schema(_row(topic)["schema"])


def source_of(topic: str) -> str:
    """The schema of `topic` as text, as the registry has it."""
    return json.dumps(json.loads((_DATA / f"{stem_of(topic)}.avsc").read_text(encoding="utf-8")))


def stem_of(topic: str) -> str:
    """Name of the Avro file of `topic`."""
    return str(_row(topic)["schema"])


def id_of(topic: str) -> int:
    """The release's id for the schema of `topic`."""
    return int(_row(topic)["id"])


@cache
def schema_with(number: int) -> Schema | None:
    """The schema that the release numbers so, None when it is not one of the release's."""
    stem = _TABLE["schemas"].get(str(number))
    return None if stem is None else _schema(stem)


def plain(schema: Any) -> Any:
    """`schema` without logical types: a time is its number of milliseconds."""
    if isinstance(schema, list):
        return [plain(part) for part in schema]
    if isinstance(schema, dict):
        return {name: plain(part) for name, part in schema.items() if name != "logicalType"}
    return schema


def _row(topic: str) -> dict[str, Any]:
    if topic not in _TABLE["topics"]:
        raise ClientError(f"there is no topic {topic!r} for clients; choose one of {', '.join(TOPICS)}")
    row: dict[str, Any] = _TABLE["topics"][topic]
    return row


@cache
def _schema(stem: str) -> Schema:
    schema: Schema = plain(json.loads((_DATA / f"{stem}.avsc").read_text(encoding="utf-8")))
    return schema
