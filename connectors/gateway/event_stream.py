"""Events as a stream of lines (NDJSON): published while they come, in bounded memory, each line for itself.

What has come is published and acknowledged before more is read, so a caller is never faster than Kafka. The answer has
a line for each line that was read: 202 and the place of its event, or the problem of that line. What ends the reading
(the limit of the key, Kafka away, a body that stops) is the last of them; lines behind it were not read.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from fastapi import Request, Response

from cognistream_client import Event
from cognistream_client.identity import new_id, now_ms
from connectors.gateway.bodies import parts_of
from connectors.gateway.drafts import Draft, Filling, authorise, events_of
from connectors.gateway.envelopes import line, trace_of
from connectors.gateway.event_schemas import NDJSON
from connectors.gateway.keys import ApiKey
from connectors.gateway.problems import Problem, wrong
from connectors.gateway.publishing import Publishing

STREAM_S: Final = 60.0
"""Seconds that a stream may keep us waiting, all its pauses together."""
MOST_LINES: Final = 50_000
LINE_BYTES: Final = 2 << 20
"""Longest line: the largest event, however it is escaped."""

MOST_REFUSED: Final = 200
"""Lines that may be wrong before the rest is not read any more."""

_MIXED: Final = 207
_CLOSE: Final = {"Connection": "close"}


class _Ended(Exception):
    """No more is read; why was told already."""


class _Row(NamedTuple):
    number: int
    draft: Draft
    event: Event


@dataclass(slots=True)
class _Results:
    """What became of the lines so far, as lines themselves."""

    lines: list[tuple[int, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    refused: int = 0

    def tell(self, number: int, **told: Any) -> None:
        self.lines.append((number, json.dumps({"line": number, **told})))

    def refuse(self, number: int, problem: Problem) -> None:
        self.refused += 1
        self.headers |= problem.headers
        self.tell(number, **problem.details())

    def response(self) -> Response:
        text = "".join(f"{told}\n" for _, told in sorted(self.lines))
        return Response(text, _MIXED if self.refused else 202, self.headers, NDJSON)


async def publish_lines(publishing: Publishing, request: Request, key: ApiKey) -> Response:
    """Publish the lines of a request. Raises Problem when there is nothing to tell of any line."""
    results, number, trace = _Results(), 0, trace_of(request.headers.get("traceparent"))
    try:
        async for lines in _lines(request):
            numbered = list(enumerate(lines, number))
            number += len(lines)
            if number > MOST_LINES:
                raise Problem(413, "too-many", f"a stream has at most {MOST_LINES} lines; go on in another one")
            await _publish(publishing, key, _rows(numbered, key, trace, results), results)
            if results.refused > MOST_REFUSED:
                raise Problem(422, "too-many-wrong", f"more than {MOST_REFUSED} lines are wrong", headers=_CLOSE)
    except _Ended:
        pass
    except Problem as problem:
        if not results.lines:
            raise
        results.refuse(number, problem)
    if not results.lines:
        raise wrong([("", "has no line with an event")])
    return results.response()


async def _lines(request: Request) -> AsyncIterator[list[bytes]]:
    """Whole lines, as many as have come."""
    rest: list[bytes] = []
    size = 0
    async for part in parts_of(request, STREAM_S):
        size += len(part)
        if b"\n" in part:
            *lines, last = b"".join([*rest, part]).split(b"\n")
            rest, size = [last], len(last)
            yield lines
        else:
            rest.append(part)
        if size > LINE_BYTES:
            raise Problem(413, "too-large", f"a line is longer than {LINE_BYTES} bytes", headers=_CLOSE)
    yield [b"".join(rest)]


def _rows(lines: Sequence[tuple[int, bytes]], key: ApiKey, trace: bytes | None, results: _Results) -> list[_Row]:
    """The events of lines that are right; of the others the problem is told."""
    filling, rows = Filling(lambda _: new_id(), now_ms()), []
    for number, data in lines:
        if not data.strip():
            continue
        try:
            draft = line(data, trace)
            authorise([draft], key)
            rows.append(_Row(number, draft, *events_of([draft], key.tenant_id, filling)))
        except Problem as problem:
            results.refuse(number, problem)
            if results.refused > MOST_REFUSED:
                break
    return rows


async def _publish(publishing: Publishing, key: ApiKey, rows: list[_Row], results: _Results) -> None:
    if not rows:
        return
    try:
        results.headers |= await publishing.charge(key, len(rows))
        places = await publishing.send([row.event for row in rows], [row.draft for row in rows])
    except Problem as problem:
        for row in rows:
            results.refuse(row.number, problem)
        raise _Ended from None
    for row, place in zip(rows, places, strict=True):
        results.tell(row.number, status=202, **place._asdict())
