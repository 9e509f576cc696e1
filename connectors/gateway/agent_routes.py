"""Routes by which a service learns what is known of its agents."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from connectors.gateway.access import Agent, Gateway, allow, problems
from connectors.gateway.bodies import JSON
from connectors.gateway.keys import ApiKey
from connectors.gateway.messages import AgentAnswer, AgentsPage, Tier
from connectors.gateway.problems import Problem, wrong
from connectors.gateway.view import TIER_NAMES
from connectors.publisher import PublishError, agent_key

LOOKED_AT: Final = 1_000
"""Agents that one request looks at, so that no other waits long for it."""


class Asked(BaseModel):
    """What may stand behind the question mark."""

    model_config = ConfigDict(extra="forbid")

    tier: Tier | None = Field(default=None, description="only agents with this tier in force")
    limit: int = Field(default=100, ge=1, le=500, description="agents of a page at most")
    cursor: str = Field(
        default="",
        max_length=1024,
        pattern=r"^([A-Za-z0-9_-]{4})*([A-Za-z0-9_-]{2,3})?$",
        description="`next` of the page before; without it, the first page",
    )


def router_of(gateway: Gateway) -> APIRouter:
    """GET /v1/agents and GET /v1/agents/TENANT/AGENT."""
    router, caller = APIRouter(), Depends(gateway.caller)

    @router.get("/v1/agents", response_model=AgentsPage, responses=problems(401, 403, 422))
    async def agents(asked: Annotated[Asked, Query()], key: ApiKey = caller) -> Response:
        """What is known now of the agents of the key's tenant, in the order of their names."""
        allow(key, "read")
        keys = gateway.checker.view.keys(key.tenant_id, _after(asked.cursor), LOOKED_AT)
        found, last = _chosen(gateway, keys, asked)
        more = len(keys) == LOOKED_AT or (last is not None and last != keys[-1])
        page = AgentsPage.model_construct(agents=found, next=_cursor(last) if more and last is not None else None)
        return Response(page.model_dump_json(), media_type=JSON)

    @router.get("/v1/agents/{agent:path}", response_model=AgentAnswer, responses=problems(401, 403, 404, 422))
    async def agent_known(agent: Agent, key: ApiKey = caller) -> Response:
        """What is known of an agent now."""
        allow(key, "read", agent)
        tenant, _, name = agent.partition("/")
        try:
            answer = _known(gateway, agent_key(tenant, name))
        except PublishError as error:
            raise wrong([("/agent", str(error))]) from None
        if answer is None:
            raise Problem(404, "unknown-agent", "no event of this agent was decided yet")
        return Response(answer.model_dump_json(), media_type=JSON)

    return router


def _known(gateway: Gateway, key: bytes, tier: Tier | None = None) -> AgentAnswer | None:
    """What is known now of an agent; None when nothing is, or it has another `tier`."""
    now, view = gateway.clock(), gateway.checker.view
    known = view.of(key, now)
    if known is None or tier not in (None, TIER_NAMES[known.tier]):
        return None
    return AgentAnswer.of(key.decode(errors="backslashreplace"), known, view.age_ms(now, known.partition))


def _chosen(gateway: Gateway, keys: Iterable[bytes], asked: Asked) -> tuple[list[AgentAnswer], bytes | None]:
    """The first agents of `keys` that were asked for, and the last key that was looked at."""
    found: list[AgentAnswer] = []
    last = None
    for last in keys:
        answer = _known(gateway, last, asked.tier)
        if answer is not None:
            found.append(answer)
            if len(found) == asked.limit:
                break
    return found, last


def _cursor(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).decode().rstrip("=")


def _after(cursor: str) -> bytes:
    """The key behind which a page begins."""
    return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
