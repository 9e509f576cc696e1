"""The route by which a service follows what is decided of its agents, as server-sent events (HTML standard, 9.2)."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Path, Query
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from connectors.gateway.access import Gateway, allow, problems
from connectors.gateway.keys import ApiKey
from connectors.gateway.messages import AGENT
from connectors.gateway.problems import Problem, wrong
from connectors.gateway.streaming import Wanted, types_of
from connectors.gateway.streams import PUBLIC, OpenStream, Start, Streams

EVENTS: Final = "text/event-stream"
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

TYPES: Final = tuple(dict.fromkeys(name for topic in PUBLIC for name in types_of(topic)))

Topic = Annotated[str, Path(description="a topic of decisions", json_schema_extra={"enum": list(PUBLIC)})]
From = Annotated[
    str,
    Query(
        alias="from",
        pattern=r"^(latest|earliest|[0-9]{1,15})$",
        description="where to begin without Last-Event-ID: `latest`, `earliest`, or a time in ms since 1970",
    ),
]
Agent = Annotated[str | None, Query(pattern=AGENT, description="tenant/agent: its records only")]
Type = Annotated[
    str | None,
    Query(
        alias="type",
        description="only records whose `event_type` this is, or `kind` of trust.changes",
        json_schema_extra={"anyOf": [{"enum": list(TYPES)}, {"type": "null"}]},
    ),
]
LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", description="the id of the last event that was read: go on behind it"),
]


class EventStream(StreamingResponse):
    """Sends an open stream, and closes it however that ends."""

    media_type = EVENTS

    def __init__(self, stream: OpenStream) -> None:
        super().__init__(stream.events(), headers=_HEADERS)
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Until the stream or its client ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.close()


_ANSWER: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "events, as long as both sides like", "content": {EVENTS: {"schema": {"type": "string"}}}}
}


def router_of(gateway: Gateway, streams: Streams) -> APIRouter:
    """GET /v1/streams/TOPIC."""
    router, caller = APIRouter(), Depends(gateway.caller)
    answers = _ANSWER | problems(400, 401, 403, 404, 422, 429, 503)

    @router.get("/v1/streams/{topic}", response_class=StreamingResponse, responses=answers)
    async def stream(
        topic: Topic,
        start: From = "latest",
        agent: Agent = None,
        kind: Type = None,
        last: LastEventId = None,
        key: ApiKey = caller,
    ) -> EventStream:
        """The records of a topic of decisions that are of the key's tenant, as they are committed."""
        allow(key, "read", agent)
        if topic not in PUBLIC:
            raise Problem(404, "no-such-stream", f"there are streams of {', '.join(PUBLIC)}")
        if kind not in (None, *TYPES):
            raise wrong([("/type", f"there are the types {', '.join(TYPES)}")])
        wanted = Wanted(topic, key.tenant_id, agent, kind)
        return EventStream(await streams.open(key, wanted, Start(last or None, _since(start))))

    return router


def _since(start: str) -> int | None:
    return {"latest": None, "earliest": 0}[start] if start.isalpha() else int(start)
