"""Routes by which a service asks before it acts, and tells that a run has ended.

A check is asked before every action, so its route does for itself what the framework would do for it in more time than
the check takes: it finds the key in the header, and writes the answer. The framework only documents it; requests take
the short way.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Annotated, Final

from fastapi import APIRouter, Depends, FastAPI, Path, Request, Response
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from connectors import metrics
from connectors.gateway.access import Agent, Gateway, allow, bearer, problems
from connectors.gateway.bodies import JSON, body_of
from connectors.gateway.capabilities import ActionError
from connectors.gateway.checking import Verdict
from connectors.gateway.keys import ApiKey
from connectors.gateway.limits import LimitsAway
from connectors.gateway.messages import CheckAnswer, CheckRequest, Run
from connectors.gateway.problems import Problem, fault, wrong, wrong_fields
from connectors.publisher import PublishError

log = logging.getLogger(__name__)

PATH: Final = "/v1/check"
CHECK_BYTES: Final = 8 << 10
"""Largest body of a check."""
BODY_S: Final = 10.0
"""Seconds within which a body must have come."""

RunName = Annotated[Run, Path()]

_ASKED: Final = {
    "security": [{"HTTPBearer": []}],
    "requestBody": {"required": True, "content": {JSON: {"schema": CheckRequest.model_json_schema()}}},
}


def check_of(gateway: Gateway) -> Callable[[Request], Awaitable[Response]]:
    """POST /v1/check."""

    async def check(request: Request) -> Response:
        """May this agent take this action now?"""
        begun = time.perf_counter()
        key = gateway.holder(bearer(request))
        allow(key, "check")
        body = await body_of(request, CHECK_BYTES, BODY_S)
        try:
            asked = CheckRequest.model_validate_json(body)
        except ValidationError as error:
            raise wrong_fields(error) from None
        allow(key, "check", asked.agent)
        verdict = await _checked(gateway, asked)
        _counter(verdict.decision, verdict.reason).inc()
        metrics.CHECK_SECONDS.observe(time.perf_counter() - begun)
        return Response(CheckAnswer.json_of(verdict), media_type=JSON)

    return check


class ShortWay(FastAPI):
    """The application, but a check does not pass through what the framework does for routes in general."""

    check: Callable[[Request], Awaitable[Response]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As any ASGI application."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await super().__call__(scope, receive, send)
            return
        try:
            answer = await self.check(Request(scope, receive))
        except Problem as problem:
            answer = problem.response()
        except Exception:  # as for every other route: told in the log, not to the caller
            log.exception("a check failed")
            answer = fault().response()
        await answer(scope, receive, send)


def router_of(gateway: Gateway) -> APIRouter:
    """POST /v1/check, for the document, and the end of a run."""
    router, caller = APIRouter(), Depends(gateway.caller)
    refusals = problems(400, 401, 403, 408, 413, 415, 422)
    router.post(PATH, response_model=CheckAnswer, responses=refusals, openapi_extra=_ASKED)(check_of(gateway))

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


_counter: Final = cache(metrics.CHECKS.labels)


async def _checked(gateway: Gateway, asked: CheckRequest) -> Verdict:
    try:
        return await gateway.checker.check(asked.question())
    except ActionError as error:
        raise wrong([("/action", str(error))]) from None
    except PublishError as error:
        raise wrong([("/agent", str(error))]) from None
