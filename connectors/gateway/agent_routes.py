"""Routes by which a service learns what is known of an agent."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response

from connectors.gateway.access import Agent, Gateway, allow, problems
from connectors.gateway.bodies import JSON
from connectors.gateway.keys import ApiKey
from connectors.gateway.messages import AgentAnswer
from connectors.gateway.problems import Problem, wrong
from connectors.publisher import PublishError, agent_key


def router_of(gateway: Gateway) -> APIRouter:
    """GET /v1/agents/TENANT/AGENT."""
    router, caller = APIRouter(), Depends(gateway.caller)

    @router.get("/v1/agents/{agent:path}", response_model=AgentAnswer, responses=problems(401, 403, 404, 422))
    async def agent_known(agent: Agent, key: ApiKey = caller) -> Response:
        """What is known of an agent now."""
        allow(key, "read", agent)
        tenant, _, name = agent.partition("/")
        now, view = gateway.clock(), gateway.checker.view
        try:
            known = view.of(agent_key(tenant, name), now)
        except PublishError as error:
            raise wrong([("/agent", str(error))]) from None
        if known is None:
            raise Problem(404, "unknown-agent", "no event of this agent was decided yet")
        answer = AgentAnswer.of(agent, known, view.age_ms(now, known.partition))
        return Response(answer.model_dump_json(), media_type=JSON)

    return router
