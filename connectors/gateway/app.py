"""The gateway over HTTP: asking before acting, and what is known of an agent, for services in any language.

Every route under /v1 wants a key (`Authorization: Bearer csk_...`) of the tenant that it asks about. A check is
answered with 200 whatever the decision is: being told no is an answer. All else is problem details.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Path, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from connectors import metrics
from connectors.gateway.bodies import JSON, body_of
from connectors.gateway.capabilities import ActionError
from connectors.gateway.checking import Checker, Clock
from connectors.gateway.keys import ApiKey, KeyRing, Verb
from connectors.gateway.limits import LimitsAway
from connectors.gateway.messages import AGENT, AgentAnswer, CheckAnswer, CheckRequest, Health, Run
from connectors.gateway.problems import MEDIA_TYPE, Problem, ProblemDetails, wrong, wrong_fields
from connectors.publisher import PublishError, agent_key

log = logging.getLogger(__name__)

CHECK_BYTES: Final = 8 << 10
"""Largest body of a check."""
BODY_S: Final = 10.0
"""Seconds within which a body must have come."""

Agent = Annotated[str, Path(pattern=AGENT, description="tenant/agent")]
RunName = Annotated[Run, Path()]
Login = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False, description="csk_..."))]


@dataclass(frozen=True, slots=True)
class Gateway:
    """What the routes need. `waits_for` names what is not loaded yet; `clock` gives ms since 1970."""

    checker: Checker
    keys: KeyRing
    clock: Clock
    waits_for: Callable[[], list[str]] = list

    async def caller(self, login: Login) -> ApiKey:
        """The key that the caller sent. Raises Problem 401; it is asked before anything else of a request is read."""
        key = None if login is None else self.keys.find(login.credentials, self.clock())
        if key is None:
            headers = {"WWW-Authenticate": "Bearer"}
            raise Problem(401, "no-key", "send an active key: Authorization: Bearer csk_...", headers=headers)
        return key

    def measure(self) -> int | None:
        """Set the gauges; the age of the view in ms."""
        age = self.checker.view.age_ms(self.clock())
        metrics.VIEW_AGE_SECONDS.set(float("nan") if age is None else age / 1000)
        metrics.VIEW_AGENTS.set(len(self.checker.view))
        return age

    async def health(self) -> Health:
        """How the gateway stands."""
        view, limit, age = self.checker.view, self.checker.rules.freshness.oldest_s, self.measure()
        waits = self.waits_for()
        if age is None or age > limit * 1000:
            waits.append("a tick of every partition: do workers run, and have they caught up?")
        try:
            await self.checker.ping()
        except LimitsAway as error:
            log.error("%s", error)
            waits.append("the Redis of the limits")
        return Health(
            ready=not waits,
            waits_for=waits,
            view_age_s=None if age is None else age / 1000,
            agents=len(view),
            other_policies=sorted(view.other_policies()),
        )


def allow(key: ApiKey, verb: Verb, agent: str | None = None) -> None:
    """Raises Problem 403 unless the key may do this, to this agent."""
    if verb not in key.verbs:
        raise Problem(403, "not-your-verb", f"the key may not {verb}")
    if agent is not None and agent.partition("/")[0] != key.tenant_id:
        raise Problem(403, "not-your-tenant", "the agent is another tenant's")


def app_of(gateway: Gateway) -> FastAPI:
    """The ASGI application."""
    app = FastAPI(title="cognistream gateway", version="1", docs_url=None, redoc_url=None, redirect_slashes=False)
    _problems(app)
    _asking(app, gateway)
    _knowing(app, gateway)
    _standing(app, gateway)
    return app


def _problem(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Documents the problems that a route may answer with."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    return {status: {"model": ProblemDetails, "content": content} for status in statuses}


_CHECK_BODY: Final = {
    "requestBody": {"required": True, "content": {JSON: {"schema": CheckRequest.model_json_schema()}}}
}


def _asking(app: FastAPI, gateway: Gateway) -> None:
    refusals, caller = _problem(400, 401, 403, 408, 413, 415, 422), Depends(gateway.caller)

    @app.post("/v1/check", response_model=CheckAnswer, responses=refusals, openapi_extra=_CHECK_BODY)
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

    @app.delete("/v1/agents/{agent:path}/runs/{run}", status_code=204, responses=_problem(401, 403, 404, 422, 503))
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


async def _checked(gateway: Gateway, asked: CheckRequest) -> Any:
    try:
        return await gateway.checker.check(asked.question())
    except ActionError as error:
        raise wrong([("/action", str(error))]) from None
    except PublishError as error:
        raise wrong([("/agent", str(error))]) from None


def _knowing(app: FastAPI, gateway: Gateway) -> None:
    caller = Depends(gateway.caller)

    @app.get("/v1/agents/{agent:path}", response_model=AgentAnswer, responses=_problem(401, 403, 404, 422))
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


def _standing(app: FastAPI, gateway: Gateway) -> None:
    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether the process answers at all."""
        return {"status": "ok"}

    @app.get("/ready", response_model=Health, responses={503: {"model": Health}})
    async def ready() -> Response:
        """Whether checks can be answered with anything but a denial."""
        found = await gateway.health()
        return Response(found.model_dump_json(), 200 if found.ready else 503, media_type=JSON)

    @app.get("/metrics", response_class=Response)
    async def measured() -> Response:
        """For Prometheus."""
        gateway.measure()
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _problems(app: FastAPI) -> None:
    """Every way in which a request can fail ends in problem details."""
    from fastapi.exceptions import RequestValidationError

    def told(of: Callable[[Any], Problem]) -> Callable[[Request, Exception], Awaitable[Response]]:
        async def handler(_: Request, error: Exception) -> Response:
            return of(error).response()

        return handler

    def in_path(error: RequestValidationError) -> Problem:
        return wrong([("/" + "/".join(map(str, one["loc"][1:])), one["msg"]) for one in error.errors()])

    def of_status(error: HTTPException) -> Problem:
        return Problem(error.status_code, "http", error.detail, headers=error.headers)

    app.add_exception_handler(Problem, told(lambda error: error))
    app.add_exception_handler(RequestValidationError, told(in_path))
    app.add_exception_handler(HTTPException, told(of_status))
    app.add_exception_handler(
        Exception, told(lambda _: Problem(500, "fault", "a fault of the gateway; its log says which"))
    )
