"""Golden examples: for each topic some records as people read them and as the bytes that every version must give.

They are files (`golden/TOPIC.json`) so that programs in other languages can test against them too. In their values
bytes are written as `hex:` and hexadecimal digits; everything else is plain JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_GOLDEN: Final = Path(__file__).parent / "golden"
_HEX: Final = "hex:"


@dataclass(frozen=True, slots=True)
class Example:
    """One record of a topic; `framed` is its value with a frame of a local schema id."""

    about: str
    key: bytes | None
    value: dict[str, Any]
    framed: bytes


def examples(name: str) -> list[Example]:
    """The golden examples of topic `name` (without prefix), simplest first."""
    rows = json.loads((_GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    return [_example(row) for row in rows]


def _example(row: dict[str, Any]) -> Example:
    key = from_json(row["key"])
    return Example(
        row["about"],
        key.encode() if isinstance(key, str) else key,
        from_json(row["value"]),
        bytes.fromhex(row["framed"]),
    )


def to_json(value: Any) -> Any:
    """`value` with its bytes as `hex:` texts."""
    if isinstance(value, bytes):
        return _HEX + value.hex()
    if isinstance(value, dict):
        return {key: to_json(part) for key, part in value.items()}
    return [to_json(part) for part in value] if isinstance(value, list) else value


def from_json(value: Any) -> Any:
    """The opposite of `to_json`."""
    if isinstance(value, str) and value.startswith(_HEX):
        return bytes.fromhex(value.removeprefix(_HEX))
    if isinstance(value, dict):
        return {key: from_json(part) for key, part in value.items()}
    return [from_json(part) for part in value] if isinstance(value, list) else value
