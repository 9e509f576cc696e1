"""Who may ask what: the key of a request, and what all routes have in common.

A group of routes is a module with a function that makes an APIRouter of a `Gateway`; `app` puts them together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from connectors import metrics
from connectors.gateway.checking import Checker, Clock
from connectors.gateway.keys import ApiKey, KeyRing, Verb
from connectors.gateway.limits import LimitsAway
from connectors.gateway.messages import AGENT, Health
from connectors.gateway.problems import MEDIA_TYPE, Problem, ProblemDetails
from connectors.gateway.publishing import Publishing
from connectors.gateway.streams import Streams

log = logging.getLogger(__name__)

Agent = Annotated[str, Path(pattern=AGENT, description="tenant/agent")]
Login = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False, description="csk_..."))]


@dataclass(frozen=True, slots=True)
class Gateway:
    """What the routes need. `waits_for` names what is not loaded yet; `clock` gives ms since 1970.

    Without `publishing` there is no route for events, without `streams` none for streams.
    """

    checker: Checker
    keys: KeyRing
    clock: Clock
    waits_for: Callable[[], list[str]] = list
    publishing: Publishing | None = None
    streams: Streams | None = None

    async def caller(self, login: Login) -> ApiKey:
        """The key that the caller sent. Raises Problem 401; it is asked before anything else of a request is read."""
        return self.holder(None if login is None else login.credentials)

    def holder(self, text: str | None) -> ApiKey:
        """The key that `text` is. Raises Problem 401."""
        key = None if text is None else self.keys.find(text, self.clock())
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


def bearer(request: Request) -> str | None:
    """The token of the header Authorization (RFC 6750), None when there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else None


def allow(key: ApiKey, verb: Verb, agent: str | None = None) -> None:
    """Raises Problem 403 unless the key may do this, to this agent."""
    if verb not in key.verbs:
        raise Problem(403, "not-your-verb", f"the key may not {verb}")
    if agent is not None and agent.partition("/")[0] != key.tenant_id:
        raise Problem(403, "not-your-tenant", "the agent is another tenant's")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Documents the problems that a route may answer with."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    return {status: {"model": ProblemDetails, "content": content} for status in statuses}
