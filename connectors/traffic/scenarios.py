"""What agents do: each scenario is a short story of events across the three sources, told once here as a table.

A step names its source by its first letter (k Kaizen, n AgentAnchor, u Aurais), its event type, the mean wait before
it in seconds, and what its fields say. What varies from task to task (risk, model, durations) is drawn by the
generator. `compile_steps` turns the table into arrays, so that a block of tasks becomes events by indexing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.columns import Doubles, Longs

from .stretch import SOURCES, index_of


@dataclass(frozen=True, slots=True)
class Step:
    """One event of a scenario; None means null, "drawn" means that the generator draws it.

    Waits are exponential around their mean, those of `regular` steps within a tenth of it.
    """

    source: str
    event: str
    wait: float = 0.5
    decision: str | None = None
    severity: str | None = None
    component: str | None = None
    kind: str | None = None
    escalation: str | None = None
    weight: float | None = None
    rating: int | None = None
    regular: bool = False


def _k(
    event: str, wait: float, component: str = "planner", *, decision: str | None = None, severity: str | None = None
) -> Step:
    return Step("k", event, wait, decision, severity, component)


_ASK = Step("u", "request.submitted", 0.0)
_INTENT = _k("intent.declared", 0.4)
_ALLOW = _k("policy.decision", 0.05, "policy", decision="ALLOW")
_START = _k("execution.started", 0.1, "executor")
_DONE = _k("execution.completed", 6.0, "executor")
_FAILED = _k("execution.failed", 9.0, "executor")
_WATCHED = Step("k", "policy.evaluated", 2.0, component="watch", regular=True)
_HURT = _k("security.violation", 1.0, "sentinel", severity="drawn")

SCENARIOS: dict[str, tuple[Step, ...]] = {
    "asked": (_ASK, _INTENT, _ALLOW, _START, _DONE),
    "asked_failed": (_ASK, _INTENT, _ALLOW, _START, _FAILED),
    "routine": (_INTENT, _START, _DONE),
    "routine_failed": (_INTENT, _START, _FAILED),
    "praised": (_ASK, _INTENT, _START, _DONE, Step("u", "feedback.positive", 40.0, rating=5)),
    "blamed": (_ASK, _INTENT, _START, _FAILED, Step("u", "feedback.negative", 30.0, rating=1)),
    "refused": (
        _ASK,
        _INTENT,
        _k("policy.evaluated", 0.05, "policy"),
        _k("policy.decision", 0.05, "policy", decision="DENY"),
        _k("access.denied", 0.05, "gate"),
    ),
    "escalated": (
        _ASK,
        _INTENT,
        _k("policy.decision", 0.05, "policy", decision="ESCALATE"),
        _k("policy.escalated", 0.05, "policy"),
        Step("u", "approval.granted", 90.0, escalation="right"),
        _k("access.granted", 0.1, "gate"),
        _START,
        _DONE,
    ),
    "needless": (
        _ASK,
        _k("policy.escalated", 0.2, "policy", decision="DEGRADE"),
        Step("u", "approval.denied", 120.0, escalation="needless"),
        Step("u", "request.cancelled", 5.0),
    ),
    "chat": (
        Step("u", "session.started", 0.0),
        _ASK,
        Step("u", "request.submitted", 25.0),
        Step("u", "session.ended", 60.0),
    ),
    "burst": (_ASK, *(_k("intent.declared", 0.06) for _ in range(24)), _START, _DONE),
    "watch": (_WATCHED,) * 80,
    "anomaly": (_k("security.anomaly", 0.0, "sentinel"),),
    "violation": (_INTENT, _k("access.denied", 0.05, "gate"), _HURT),
    "attack": (
        _INTENT,
        _k("security.anomaly", 0.5, "sentinel"),
        _HURT,
        _k("security.incident", 20.0, "sentinel", severity="critical"),
        _k("security.remediation", 300.0, "sentinel"),
    ),
    "good_word": (Step("n", "trust.signal", kind="peer-review", weight=0.4),),
    "bad_word": (Step("n", "trust.signal", kind="peer-review", weight=-0.3),),
    "attested": (Step("n", "attestation.added", kind="build-provenance"), Step("n", "observability.changed", 2.0)),
    "revoked": (Step("n", "attestation.revoked", kind="build-provenance"),),
    "certified": (Step("n", "certification.granted"),),
    "expired": (Step("n", "certification.expired"),),
    "updated": (Step("n", "agent.updated"),),
    "registered": (Step("n", "agent.registered", 0.0),),
    "suspended": (Step("n", "agent.suspended"), Step("n", "agent.reinstated", 7200.0)),
    "reinstated": (Step("n", "agent.reinstated"), Step("n", "agent.updated", 30.0)),
    "retired": (Step("n", "agent.retired"),),
}
"""Every event type of the three sources happens in at least one of them."""

NAMES = tuple(SCENARIOS)
"""Scenarios by number."""

WORSE = {
    "asked": "asked_failed",
    "routine": "routine_failed",
    "praised": "blamed",
    "chat": "anomaly",
    "burst": "blamed",
}
"""What a scenario turns into while an incident holds the model that the agent runs on."""

SEVERITY_DRAWN = -2
_LETTERS = dict(zip("knu", SOURCES, strict=True))


@dataclass(frozen=True, slots=True)
class Steps:
    """The table as arrays. Of shape (scenarios,): `first` step and `count`; the rest of shape (steps,), -1 for null.

    `asked` is 1 where a person waits for the task.
    """

    first: Longs
    count: Longs
    source: Longs
    wait_ms: Doubles
    regular: NDArray[np.bool_]
    event: Longs
    asked: Longs
    decision: Longs
    severity: Longs
    escalation: Longs
    rating: Longs
    weight: Doubles
    component: tuple[str | None, ...]
    kind: tuple[str | None, ...]
    label: tuple[str, ...]


def compile_steps() -> Steps:
    """The arrays of `SCENARIOS`; weight is NaN for null."""
    steps = [step for scenario in SCENARIOS.values() for step in scenario]
    count = _longs(len(scenario) for scenario in SCENARIOS.values())
    topics = [_LETTERS[step.source] for step in steps]
    return Steps(
        first=np.cumsum(count) - count,
        count=count,
        source=_longs(SOURCES.index(topic) for topic in topics),
        wait_ms=np.array([step.wait * 1000 for step in steps]),
        regular=np.array([step.regular for step in steps]),
        event=_longs(index_of(topic, "event_type", step.event) for topic, step in zip(topics, steps, strict=True)),
        asked=_longs(_ASK in scenario for scenario in SCENARIOS.values() for _ in scenario),
        decision=_longs(_symbol("kaizen.events", "decision", step.decision) for step in steps),
        severity=_longs(_symbol("kaizen.events", "severity", step.severity) for step in steps),
        escalation=_longs(_symbol("aurais.events", "escalation", step.escalation) for step in steps),
        rating=_longs(-1 if step.rating is None else step.rating for step in steps),
        weight=np.array([np.nan if step.weight is None else step.weight for step in steps]),
        component=tuple(step.component for step in steps),
        kind=tuple(step.kind for step in steps),
        label=tuple(step.event for step in steps),
    )


def _longs(values: Iterable[int]) -> Longs:
    return np.array(list(values), np.int64)


def _symbol(topic: str, field: str, symbol: str | None) -> int:
    if symbol == "drawn":
        return SEVERITY_DRAWN
    return -1 if symbol is None else index_of(topic, field, symbol)
