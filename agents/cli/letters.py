"""Dead letters for people: in one line, whole, and how a person says which are meant."""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import typer

from agents.cli.decoded import clock, plain, printable, text
from agents.letters import Letter
from agents.redriving import Fate
from schemas.catalog import RegistryUnreachable, SchemaIds
from schemas.errors import FormatError
from schemas.reasons import Reason
from schemas.topics import SOURCE_TOPICS
from schemas.wire import decode

FATES: Final = {
    Fate.SENT_BEFORE: "its mark stands in the source topic",
    Fate.REFUSED_AGAIN: "it was made of a letter, sent again and refused once more; --again sends it all the same",
    Fate.WHOLE_BATCH: "a record batch that was refused whole cannot be sent as a record; its producer has to",
    Fate.OUT_OF_TIME: "live sources take no records older than 7 days; publish it anew",
}
"""Why a letter is not sent."""

_AGO: Final = re.compile(r"(\d{1,9})([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_REASONS: Final = {reason.label for reason in Reason if reason is not Reason.OK}
_SOURCES: Final = [row.name for row in SOURCE_TOPICS]


def known_reasons(names: Iterable[str] | None) -> frozenset[str]:
    """Reasons that there are; BadParameter for another."""
    return _known(names, _REASONS, "reason", "--reason")


def known_sources(names: Iterable[str] | None) -> frozenset[str]:
    """Source topics that there are; BadParameter for another."""
    return _known(names, _SOURCES, "source", "--source")


def _known(names: Iterable[str] | None, known: Iterable[str], what: str, option: str) -> frozenset[str]:
    chosen = frozenset(names or ())
    if strange := chosen - set(known):
        raise typer.BadParameter(
            f"there is no {what} {min(strange)!r}; choose of {', '.join(sorted(known))}", param_hint=option
        )
    return chosen


def moment(said: str | None, option: str) -> int | None:
    """A time in ms since 1970: ISO 8601, UTC unless it says otherwise, or so long ago; BadParameter."""
    if said is None:
        return None
    if ago := _AGO.fullmatch(said):
        return int((time.time() - int(ago[1]) * _SECONDS[ago[2]]) * 1000)
    try:
        told = datetime.datetime.fromisoformat(said)
    except ValueError:
        raise typer.BadParameter(
            f"{said!r} is not a time like 2026-11-21T17:00, nor like 90m, 12h, 7d", param_hint=option
        ) from None
    return int(told.replace(tzinfo=told.tzinfo or datetime.UTC).timestamp() * 1000)


def brief(letter: Letter) -> dict[str, Any]:
    """What a letter says without its bytes."""
    bytes_of = ("key", "value", "headers", "raw_batch")
    says = {name: part for name, part in letter.says.items() if name not in bytes_of}
    size = letter.says["raw_batch"] if letter.whole_batch else letter.says["value"]
    key = {"key": text(letter.says["key"]), "bytes": None if size is None else len(size)}
    return {"letter": letter.place, "refused_at": letter.time, **says, **key, "redriven_from": letter.mark}


def line(letter: Letter) -> str:
    """A letter in one line: when, which, whose, from where, and why."""
    says = letter.says
    from_where = f"{says['source']} {says['partition']}:{says['offset']}"
    again = f"  redriven from {printable(letter.mark)}" if letter.mark is not None else ""
    key = printable(text(says["key"]) or "-")
    return f"{clock(letter.time)}  {letter.place:<12} {key}  {from_where}  {says['reason']}: {says['detail']}{again}"


def whole(letter: Letter, ids: SchemaIds) -> dict[str, Any]:
    """A letter with its bytes, as hexadecimal digits and as text, and its value decoded as far as it can be."""
    says = letter.says
    return {
        **brief(letter),
        "key_hex": _hex(says["key"]),
        "headers": [{"key": part["key"], "value": text(part["value"])} for part in says["headers"]],
        "headers_hex": [_hex(part["value"]) for part in says["headers"]],
        "value_hex": _hex(says["value"]),
        "value_text": text(says["value"]),
        "raw_batch_hex": _hex(says["raw_batch"]),
        **_decoded(says, ids),
    }


def lines(shown: Mapping[str, Any]) -> Iterator[str]:
    """`whole` for a terminal: a line for each thing that is there."""
    for name, part in shown.items():
        if name in ("refused_at", "timestamp"):
            yield f"{name:<14} {clock(part)}"
        elif part is not None and part != []:
            yield f"{name:<14} {printable(str(part))}"


def _hex(content: bytes | None) -> str | None:
    return None if content is None else content.hex()


def _decoded(says: Mapping[str, Any], ids: SchemaIds) -> dict[str, Any]:
    try:
        return {"decoded": plain(decode(says["value"], ids)[1]), "undecodable": None}
    except (FormatError, RegistryUnreachable) as error:
        return {"decoded": None, "undecodable": str(error)}
