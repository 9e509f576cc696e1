"""The client's copy of what it must know: Avro files, ids and typed classes, made from the tables of `schemas/`.

The client is installed alone and imports nothing of this repository, so it carries copies. `make docs` writes them; a
test fails when a committed one is not current. Source topics become events that a service makes, with the checks' words
as their docstrings; derived topics that are keyed by agent become records that a service reads, and so does what it is
told of pressure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from schemas.catalog import LocalIds, local_table, schema_named, schema_of
from schemas.event_types import SOURCES
from schemas.topics import PRESSURE, TOPICS

FOLDER: Final = "connectors/client/src/cognistream_client"

CARRIED: Final = tuple(row for row in TOPICS if (row.key == "agent" and row.role != "internal") or row.name == PRESSURE)
"""Topics that the client writes or reads."""

_AVRO: Final = Path(__file__).parents[1] / "schemas" / "avro"
_SCALARS: Final = {"string": "str", "long": "int", "int": "int", "double": "float", "boolean": "bool", "bytes": "bytes"}

_EVENTS_HEAD: Final = '''"""The events that services publish, one class for each source.

Made by `make docs` from schemas/avro; edit those files instead. Times are milliseconds since 1970. An event is checked
when it is published: InvalidEvent names the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from .identity import new_id, now_ms
'''

_RECORDS_HEAD: Final = '''"""The records that cognistream publishes about agents, one class for each kind.

Made by `make docs` from schemas/avro; edit those files instead. Times are milliseconds since 1970, trust is told in
points: thousandths of a score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
'''


def catalog() -> str:
    """Topics with the ids of their schemas, and every id that such a topic ever had."""
    ids = LocalIds()
    stems = {row.schema for row in CARRIED}
    known = {number: stem for number, stem in local_table().items() if stem.split(".")[0] in stems}
    topics = {row.name: {"schema": row.schema, "id": ids.id_of(row.name)} for row in CARRIED}
    return json.dumps({"topics": topics, "schemas": known}, indent=2) + "\n"


def events() -> str:
    """`events.py`."""
    rows = [row for row in CARRIED if row.role == "source"]
    schemas = [schema_of(row.name) for row in rows]
    names = [schema["name"] for schema in schemas]
    classes = [_event(schema, source) for schema, source in zip(schemas, SOURCES, strict=True)]
    return "\n".join([_EVENTS_HEAD, *_literals(schemas, told={"unknown"}), *classes, _union("Event", names)])


def records() -> str:
    """`records.py`."""
    stems = dict.fromkeys(row.schema for row in CARRIED if row.role != "source")
    schemas = [schema_named(stem) for stem in stems]
    classes = [_record(schema) for schema in schemas]
    by_stem = [f'    "{stem}": {schema["name"]},' for stem, schema in zip(stems, schemas, strict=True)]
    table = "\n".join(["BY_SCHEMA: dict[str, type[Record]] = {", *by_stem, "}", '"""By the stem of the Avro file."""'])
    return (
        "\n".join(
            [
                _RECORDS_HEAD,
                *_literals(schemas, told=set()),
                *classes,
                _union("Record", [s["name"] for s in schemas]),
                table,
            ]
        )
        + "\n"
    )


def _union(name: str, of: list[str]) -> str:
    return f"{name} = {' | '.join(of)}\n"


def _literals(schemas: list[dict[str, Any]], told: set[str]) -> Iterator[str]:
    """A `Literal` for every enum, once; symbols in `told` are left out: only a reader may meet them."""
    enums = {enum["name"]: enum for schema in schemas for enum in _enums(schema)}
    for name, enum in enums.items():
        symbols = "".join(f'    "{symbol}",\n' for symbol in enum["symbols"] if symbol not in told)
        yield f"{name} = Literal[\n{symbols}]"
    yield "\n"


def _enums(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for field in schema["fields"]:
        for kind in field["type"] if isinstance(field["type"], list) else [field["type"]]:
            if isinstance(kind, dict) and kind["type"] == "enum":
                yield kind


def _event(schema: dict[str, Any], source: str) -> str:
    head = [
        "@dataclass(kw_only=True)",
        f'class {schema["name"]}:\n    """{schema["doc"]}"""\n',
        f'    SOURCE: ClassVar[str] = "{source}"',
        f'    TOPIC: ClassVar[str] = "{source}.events"\n',
    ]
    return "\n".join([*head, *(_field(field, _event_default(field)) for field in schema["fields"])]) + "\n\n"


def _record(schema: dict[str, Any]) -> str:
    head = ["@dataclass(frozen=True, kw_only=True)", f'class {schema["name"]}:\n    """{schema["doc"]}"""\n']
    return "\n".join([*head, *(_field(field, "") for field in schema["fields"])]) + "\n\n"


def _field(field: dict[str, Any], default: str) -> str:
    line = f"    {field['name']}: {_type(field['type'])}{default}"
    return f'{line}\n    """{_sentence(field["doc"])}"""' if "doc" in field else line


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "." if text[0].isalpha() else text + "."


def _event_default(field: dict[str, Any]) -> str:
    made = {"event_id": "field(default_factory=new_id)", "occurred_at": "field(default_factory=now_ms)"}
    if field["name"] in made:
        return f" = {made[field['name']]}"
    if "default" not in field or field["name"] == "event_type":
        return ""
    return " = field(default_factory=dict)" if field["default"] == {} else f" = {field['default']!r}"


def _type(kind: Any) -> str:
    if isinstance(kind, list):
        return " | ".join([_type(part) for part in kind if part != "null"] + ["None"])
    if isinstance(kind, str):
        return _SCALARS.get(kind, kind)
    if kind["type"] == "map":
        return f"Mapping[str, {_type(kind['values'])}]"
    return str(kind["name"]) if kind["type"] == "enum" else _SCALARS[kind["type"]]


def _copies() -> dict[str, Callable[[], str]]:
    stems = {stem for stem in local_table().values() if stem.split(".")[0] in {row.schema for row in CARRIED}}
    return {f"{FOLDER}/schemas/{stem}.avsc": (_AVRO / f"{stem}.avsc").read_text for stem in sorted(stems)}


FILES: Final[dict[str, Callable[[], str]]] = {
    f"{FOLDER}/schemas/catalog.json": catalog,
    f"{FOLDER}/events.py": events,
    f"{FOLDER}/records.py": records,
    **_copies(),
}
"""Path in the repository -> what makes its text."""
