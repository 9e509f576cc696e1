"""How a policy looks as a file: printed as TOML with its meaning beside it, and searched for the line of a mistake."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

Place = tuple[str, ...]

_TABLE = re.compile(r"\s*\[\[?([^\[\]]+)\]")
_KEY = re.compile(r"\s*([\w\-.\"' ]+?)\s*=")


def toml(section: BaseModel, place: Place = ()) -> str:
    """`section` as TOML: numbers first, then a table per section, each with the comment that says what it is for."""
    fields = [(name, info, getattr(section, name)) for name, info in type(section).model_fields.items()]
    plain = [(name, info, value) for name, info, value in fields if not isinstance(value, BaseModel)]
    tables = [(name, value) for name, _, value in fields if isinstance(value, BaseModel)]
    parts = ["".join(f"# {info.description}\n{name} = {_written(value)}\n" for name, info, value in plain)]
    for name, value in tables:
        head = f"# {first_line(type(value))}\n[{'.'.join((*place, name))}]\n"
        parts.append(head + toml(value, (*place, name)))
    return "\n".join(part for part in parts if part)


def first_line(section: type[BaseModel]) -> str:
    """What a section is for."""
    return (section.__doc__ or "").split("\n", 1)[0]


def plain(value: Any) -> Any:
    """`value` in JSON's types, the same for equal numbers however they were written."""
    if isinstance(value, Decimal):
        return number(value)
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, tuple) else value


def number(value: Decimal) -> str:
    """A decimal without needless zeros: `3`, `0.94`."""
    if not value:
        return "0"
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _written(value: Any) -> str:
    if isinstance(value, Decimal):
        return number(value)
    if isinstance(value, BaseModel):
        return "{" + ", ".join(f"{name} = {_written(part)}" for name, part in value) + "}"
    if isinstance(value, tuple):
        lines = value and isinstance(value[0], BaseModel)
        items = [_written(part) for part in value]
        return "[\n" + "".join(f"    {item},\n" for item in items) + "]" if lines else f"[{', '.join(items)}]"
    return json.dumps(value)


def complaint(error: ErrorDetails, model: type[BaseModel], text: str, name: str) -> str:
    """One line for people: file, line, field, and what is wrong with it."""
    place = tuple(str(part) for part in error["loc"])
    line = line_of(text, place)
    where = f"{name}:{line}" if line else name
    field = ".".join(place) or "policy"
    if error["type"] == "extra_forbidden":
        return f"{where}: {field}: there is no such field{_meant(model, place)}"
    return f"{where}: {field}: {error['msg'].removeprefix('Value error, ')}"


def line_of(text: str, place: Place) -> int:
    """Line (from 1) of the deepest part of `place` that `text` names; 0 when it names none of it."""
    found, depth = 0, 0
    for line, names in _names(text):
        if len(names) > depth and names == place[: len(names)]:
            found, depth = line, len(names)
    return found


def _names(text: str) -> Iterator[tuple[int, Place]]:
    table: Place = ()
    for line, content in enumerate(text.splitlines(), 1):
        if head := _TABLE.match(content):
            table = _split(head[1])
            yield line, table
        elif key := _KEY.match(content):
            yield line, (*table, *_split(key[1]))


def _split(dotted: str) -> Place:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def _meant(model: type[BaseModel], place: Place) -> str:
    fields = model.model_fields
    for part in place[:-1]:
        section = fields[part].annotation if part in fields else None
        fields = section.model_fields if isinstance(section, type) and issubclass(section, BaseModel) else {}
    close = difflib.get_close_matches(place[-1], fields, 1)
    return f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(fields)}" if fields else ""
