"""The route by which services without the client publish events: POST /v1/events.

Either all events of a request are stored, or none: one that is wrong, or another tenant's, keeps all of them out. A
stream (NDJSON) is of any length, so there each line stands for itself.
"""

from __future__ import annotations

import hashlib
import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Request, Response
from pydantic import BaseModel, Field
from pydantic_core import to_json

from cognistream_client.identity import new_id, now_ms
from connectors import metrics
from connectors.gateway.access import Gateway, allow, problems
from connectors.gateway.bodies import JSON, media_of, read_body
from connectors.gateway.drafts import Draft, Filling, authorise, events_of
from connectors.gateway.envelopes import drafts_of
from connectors.gateway.event_schemas import NDJSON, request_body
from connectors.gateway.event_stream import publish_lines
from connectors.gateway.idempotency import Answer, Turn, event_id, name_of, once
from connectors.gateway.keys import ApiKey
from connectors.gateway.problems import Problem
from connectors.gateway.publishing import Publishing

EVENTS_BYTES: Final = 4 << 20
"""Largest body that is not a stream."""
BODY_S: Final = 30.0
"""Seconds within which a body must have come."""

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]([ -~]{0,253}[!-~])?$",
        description="the same key with the same body is answered alike for a day, and stored once; not for streams",
    ),
]


class Stored(BaseModel):
    """An event that Kafka has on all replicas."""

    event_id: str
    topic: str
    partition: int = Field(ge=0)
    offset: int = Field(ge=0)


class Accepted(BaseModel):
    """The events of a request, in its order."""

    events: list[Stored]


_BODY: Final = {"requestBody": request_body()}
_LINES: Final = {NDJSON: {"schema": {"type": "string", "description": "a result for each line"}}}
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    202: {"content": _LINES, "description": "Kafka has acknowledged all events"},
    207: {"content": _LINES, "description": "lines of a stream were refused"},
    **problems(400, 401, 403, 408, 409, 413, 415, 422, 429, 503),
}


def router_of(gateway: Gateway, publishing: Publishing) -> APIRouter:
    """POST /v1/events."""
    router, caller = APIRouter(), Depends(gateway.caller)

    @router.post("/v1/events", status_code=202, response_model=Accepted, responses=_RESPONSES, openapi_extra=_BODY)
    async def events(request: Request, key: ApiKey = caller, idempotency_key: IdempotencyKey = None) -> Response:
        """Publish one event or many; answered when Kafka has acknowledged all of them."""
        allow(key, "publish")
        begun = time.perf_counter()
        with publishing.entered(key):
            media = media_of(request)
            if media == NDJSON:
                return await _streamed(publishing, request, key, idempotency_key)
            body = await read_body(request, EVENTS_BYTES, BODY_S)
            answer = await _taken(publishing, request, key, idempotency_key, media, body)
        metrics.PUBLISH_SECONDS.observe(time.perf_counter() - begun)
        return answer

    return router


async def _taken(
    publishing: Publishing, request: Request, key: ApiKey, idempotency_key: str | None, media: str, body: bytes
) -> Response:
    drafts = drafts_of(media, request.headers, body)
    authorise(drafts, key)
    headers: dict[str, str] = {}

    async def work(filling: Filling) -> Answer:
        headers.update(await publishing.charge(key, len(drafts)))
        return await _published(publishing, key, drafts, filling)

    if idempotency_key is None:
        answer = await work(Filling(lambda _: new_id(), now_ms()))
        return Response(answer.body, answer.status, headers, JSON)
    name = name_of(key.number, idempotency_key)

    async def again(turn: Turn) -> Answer:
        return await work(Filling(lambda index: event_id(name, turn.begun, index), turn.begun))

    answer, replayed = await once(publishing.turns, name, _fingerprint(media, request, body), again)
    headers |= {"Idempotency-Replayed": "true"} if replayed else {}
    return Response(answer.body, answer.status, headers, JSON)


async def _published(publishing: Publishing, key: ApiKey, drafts: list[Draft], filling: Filling) -> Answer:
    events = events_of(drafts, key.tenant_id, filling)
    places = await publishing.send(events, drafts)
    return Answer(202, to_json({"events": [place._asdict() for place in places]}))


async def _streamed(publishing: Publishing, request: Request, key: ApiKey, idempotency_key: str | None) -> Response:
    if idempotency_key is not None:
        told = "a stream has no Idempotency-Key: give each event an event_id of its own, and send the same again"
        raise Problem(400, "key-on-stream", told)
    return await publish_lines(publishing, request, key)


def _fingerprint(media: str, request: Request, body: bytes) -> bytes:
    """What makes a request the same as another: its type, what its headers say of the event, and its body."""
    told = sorted((name, value) for name, value in request.headers.items() if name.startswith("ce-"))
    return hashlib.sha256(repr((media, told)).encode() + body).digest()
