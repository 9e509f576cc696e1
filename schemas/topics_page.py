"""docs/topics.md, made from the table of topics, the Avro files and the golden examples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, get_args

from .catalog import Schema, local_table, schema_named
from .event_types import SOURCE_TYPES, SOURCES, EventType
from .examples import Example, examples, to_json
from .topics import DAY_MS, DEFAULT_PARTITIONS, GROUP, MIB, PREFIXED_BYTES, PRESSURE, TOPICS, Role, Topic, configs

_KEYS: Final = {
    "agent": "`tenant_id/agent_id`",
    "partition": "none; the partition says whose it is",
    "original": "as in the source",
    "source": "`source/partition`, like `kaizen.events/3`",
    "number": "number of the key",
    "concern": "what it concerns: a source partition like `kaizen.events/3`, or a pool like `priority.urgent`",
}

_INTRO: Final = f"""# Topics

Made by `make docs` from `schemas/topics.py`, `schemas/avro/` and `schemas/golden/`; change those, not this page.

Every topic has the same number of partitions (by default {DEFAULT_PARTITIONS}): partition p of each belongs to lane p.
Records with an agent's key lie in partition murmur2(key) mod partitions, as Java's clients do it; with librdkafka set
`partitioner=murmur2_random`. Values are Avro in the Confluent frame: a zero byte, the schema id in four bytes
(big-endian), the value. Derived topics are written in transactions: **read them with
`isolation.level=read_committed`**. `traceparent` headers of source records are copied to what follows from them.

Under a prefix (`demo-1.kaizen.events`; 3 to 32 of a-z, 0-9, `-`) topics belong to a demo, a replay or a test: record
timestamps are not bounded, nothing expires by time, and a partition keeps {PREFIXED_BYTES // MIB} MiB (the journal
all of it).
"""

_ACLS: Final = """## Access
What each program needs on a cluster that asks, with names of yours for the principals:

```sh
alias acl="kafka-acls --bootstrap-server $BOOTSTRAP_SERVERS --add"
"""
_PREFIXED: Final = "--resource-pattern-type prefixed"


def page() -> str:
    """The whole page."""
    return "\n".join([_INTRO, *_overview(), *_ids(), *_event_types(), *_acls(), *_sections()]).rstrip() + "\n"


def _overview() -> Iterator[str]:
    yield "| topic | kind | key | schema | kept | largest batch | carries |"
    yield "|---|---|---|---|---|---|---|"
    for row in TOPICS:
        kept = "newest of each key" if row.retention_ms is None else f"{row.retention_ms // DAY_MS} days"
        yield (
            f"| [`{row.name}`](#{row.schema}) | {row.role} | {_KEYS[row.key]} | `{row.schema}.avsc` | {kept} "
            f"| {row.max_message_bytes / MIB:.4g} MiB | {row.purpose} |"
        )
    yield ""


def _ids() -> Iterator[str]:
    yield "## Schema ids"
    yield "Without a registry, frames bear these ids; with one (`SCHEMA_REGISTRY_URL`) those that it gave the subjects"
    yield "`TOPIC-value`. The ids of this table are understood in both cases and never change their meaning.\n"
    yield "| id | bytes | schema |\n|---|---|---|"
    for number, stem in local_table().items():
        yield f"| {number} | `{number.to_bytes(4, 'big').hex(' ')}` | `{stem}.avsc` |"
    yield ""


def _event_types() -> Iterator[str]:
    yield "## Event types"
    yield "In Avro `_` stands for the dot. A type that a reader does not know reads as `unknown`.\n"
    yield "| source | types and their unified numbers |\n|---|---|"
    for source in SOURCES:
        kinds = (f"{kind.label} {kind.value}" for kind in SOURCE_TYPES[source] if kind is not EventType.UNKNOWN)
        yield f"| {source} | {', '.join(kinds)} |"
    yield ""


def _acls() -> Iterator[str]:
    names = {role: [f"--topic {row.name}" for row in TOPICS if row.role == role] for role in get_args(Role)}
    yield _ACLS.rstrip("\n")
    for source, name in zip(SOURCES, names["source"], strict=True):
        yield _allow(source, ["Write", "Describe"], [name])
        yield _allow(source, ["Read", "Describe"], [f"--topic {PRESSURE}"])
    yield _allow("cognistream", ["Read", "Describe", "DescribeConfigs"], names["source"])
    yield _allow("cognistream", ["Write", "Describe", "DescribeConfigs"], names["derived"])
    yield _allow("cognistream", ["Read", "Write", "Describe", "DescribeConfigs"], names["internal"])
    yield _allow("cognistream", ["Read"], [f"--group {GROUP}"])
    yield _allow("cognistream", ["Write", "Describe"], [f"--transactional-id {GROUP}.", _PREFIXED])
    yield _allow("reader", ["Read", "Describe"], ["--topic priority.", _PREFIXED])
    yield _allow("reader", ["Read"], ["--group reader"])
    yield "```\n"


def _allow(who: str, operations: list[str], resources: list[str]) -> str:
    asked = " ".join(f"--operation {operation}" for operation in operations)
    return " \\\n    ".join([f"acl --allow-principal User:{who} {asked}", *resources])


def _sections() -> Iterator[str]:
    by_schema: dict[str, list[Topic]] = {}
    for row in TOPICS:
        by_schema.setdefault(row.schema, []).append(row)
    for stem, rows in by_schema.items():
        yield from _section(stem, rows)


def _section(stem: str, rows: list[Topic]) -> Iterator[str]:
    schema = schema_named(stem)
    yield f'## <a id="{stem}"></a>{schema["name"]}: {", ".join(row.name for row in rows)}'
    yield f"{schema['doc']}\n"
    yield "| field | type | default | |\n|---|---|---|---|"
    yield from _fields(schema, "")
    yield ""
    settings = configs(rows[0], live=True)
    yield f"Settings (live): {', '.join(f'`{name}={value}`' for name, value in settings.items())}\n"
    for row in rows:
        yield from _example(row, examples(row.name)[0])


def _example(row: Topic, example: Example) -> Iterator[str]:
    key = "null" if example.key is None else json.dumps(to_json(_text(example.key)), ensure_ascii=False)
    yield f"`{row.name}`, {example.about} (more in `schemas/golden/{row.name}.json`); key `{key}`:"
    yield f"```json\n{json.dumps(to_json(example.value), ensure_ascii=False, indent=1)}\n```"


def _text(key: bytes) -> str | bytes:
    try:
        return key.decode()
    except UnicodeDecodeError:
        return key


def _fields(record: Schema, above: str) -> Iterator[str]:
    for part in record["fields"]:
        name = f"{above}{part['name']}"
        default = f"`{json.dumps(part['default'])}`" if "default" in part else ""
        yield f"| `{name}` | {_type(part['type'])} | {default} | {part.get('doc', '')} |"
        inner, path = _record_in(part["type"], name)
        if inner is not None:
            yield from _fields(inner, f"{path}.")


def _record_in(kind: Any, path: str) -> tuple[Schema | None, str]:
    """The record that a type holds, and the path to its fields."""
    if isinstance(kind, list):
        return _record_in(kind[-1], path)
    if isinstance(kind, dict) and kind["type"] == "array":
        return _record_in(kind["items"], f"{path}[]")
    return (kind, path) if isinstance(kind, dict) and kind["type"] == "record" else (None, path)


def _type(kind: Any) -> str:
    if isinstance(kind, str):
        return kind
    if isinstance(kind, list):
        return f"{_type(kind[-1])} or null"
    match kind["type"]:
        case "enum":
            few = len(kind["symbols"]) <= 8
            return f"{kind['name']}: {', '.join(kind['symbols'])}" if few else f"enum {kind['name']}"
        case "array":
            return f"array of {_type(kind['items'])}"
        case "map":
            return f"map of {_type(kind['values'])}"
        case "fixed":
            return f"{kind['size']} bytes ({kind['name']})"
        case "record":
            return f"record {kind['name']}"
        case plain:
            return "ms since 1970" if kind.get("logicalType") == "timestamp-millis" else str(plain)
