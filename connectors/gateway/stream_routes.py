"""The route by which a service follows what is decided of its agents, as server-sent events (HTML standard, 9.2)."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Header, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from connectors.gateway.access import Gateway, allow, problems
from connectors.gateway.keys import ApiKey
from connectors.gateway.messages import AGENT
from connectors.gateway.problems import Problem
from connectors.gateway.streaming import Wanted, types_of
from connectors.gateway.streams import PUBLIC, OpenStream, Start, Streams

EVENTS: Final = "text/event-stream"
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

TYPES: Final = tuple(dict.fromkeys(name for topic in PUBLIC for name in types_of(topic)))

Topic = Annotated[str, Path(description="a topic of decisions", json_schema_extra={"enum": list(PUBLIC)})]
LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", description="the id of the last event that was read: go on behind it"),
]


class Asked(BaseModel):
    """What may stand behind the question mark."""

    model_config = ConfigDict(extra="forbid")

    start: str = Field(
        default="latest",
        alias="from",
        pattern=r"^(latest|earliest|[0-9]{1,15})$",
        description="where to begin without Last-Event-ID: `latest`, `earliest`, or a time in ms since 1970",
    )
    agent: str | None = Field(default=None, pattern=AGENT, description="tenant/agent: its records only")
    kind: Literal[TYPES] | None = Field(  # type: ignore[valid-type]
        default=None, alias="type", description="only records whose `event_type` this is, or `kind` of trust.changes"
    )

    def after(self, last: str | None) -> Start:
        """Where the stream begins."""
        since = {"latest": None, "earliest": 0}[self.start] if self.start.isalpha() else int(self.start)
        return Start(last or None, since)


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
        topic: Topic, asked: Annotated[Asked, Query()], last: LastEventId = None, key: ApiKey = caller
    ) -> EventStream:
        """The records of a topic of decisions that are of the key's tenant, as they are committed."""
        allow(key, "read", asked.agent)
        if topic not in PUBLIC:
            raise Problem(404, "no-such-stream", f"there are streams of {', '.join(PUBLIC)}")
        wanted = Wanted(topic, key.tenant_id, asked.agent, asked.kind)
        return EventStream(await streams.open(key, wanted, asked.after(last)))

    return router
