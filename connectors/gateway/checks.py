"""Routes by which a service asks before it acts, and tells that a run has ended."""

from __future__ import annotations

import logging
import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import ValidationError

from connectors import metrics
from connectors.gateway.access import Agent, Gateway, allow, problems
from connectors.gateway.bodies import JSON, body_of
from connectors.gateway.capabilities import ActionError
from connectors.gateway.keys import ApiKey
from connectors.gateway.limits import LimitsAway
from connectors.gateway.messages import CheckAnswer, CheckRequest, Run
from connectors.gateway.problems import Problem, wrong, wrong_fields
from connectors.publisher import PublishError

log = logging.getLogger(__name__)

CHECK_BYTES: Final = 8 << 10
"""Largest body of a check."""
BODY_S: Final = 10.0
"""Seconds within which a body must have come."""

RunName = Annotated[Run, Path()]

_BODY: Final = {"requestBody": {"required": True, "content": {JSON: {"schema": CheckRequest.model_json_schema()}}}}


def router_of(gateway: Gateway) -> APIRouter:
    """POST /v1/check, and the end of a run."""
    router, caller = APIRouter(), Depends(gateway.caller)
    refusals = problems(400, 401, 403, 408, 413, 415, 422)

    @router.post("/v1/check", response_model=CheckAnswer, responses=refusals, openapi_extra=_BODY)
    async def check(request: Request, key: ApiKey = caller) -> Response:
        """May this agent take this action now?"""
        begun = time.perf_counter()
        allow(key, "check")
        body = await body_of(request, CHECK_BYTES, BODY_S)
        try:
            asked = CheckRequest.model_validate_json(body)
        except ValidationError as error:
            raise wrong_fields(error) from None
        allow(key, "check", asked.agent)
        answer = CheckAnswer.of(await _checked(gateway, asked))
        metrics.CHECKS.labels(answer.decision, answer.reason).inc()
        metrics.CHECK_SECONDS.observe(time.perf_counter() - begun)
        return Response(answer.model_dump_json(), media_type=JSON)

    @router.delete("/v1/agents/{agent:path}/runs/{run}", status_code=204, responses=problems(401, 403, 404, 422, 503))
    async def leave(agent: Agent, run: RunName, key: ApiKey = caller) -> Response:
        """A run of the agent has ended, or waits no longer."""
        allow(key, "check", agent)
        tenant, _, name = agent.partition("/")
        try:
            await gateway.checker.leave(tenant, name, run)
        except LimitsAway as error:
            log.error("%s", error)
            raise Problem(503, "limits-away", "the run could not be ended now; its lease will end it") from None
        return Response(status_code=204)

    return router


async def _checked(gateway: Gateway, asked: CheckRequest) -> Any:
    try:
        return await gateway.checker.check(asked.question())
    except ActionError as error:
        raise wrong([("/action", str(error))]) from None
    except PublishError as error:
        raise wrong([("/agent", str(error))]) from None
