"""The records that cognistream publishes about agents, one class for each kind.

Made by `make docs` from schemas/avro; edit those files instead. Times are milliseconds since 1970, trust is told in
points: thousandths of a score.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tier = Literal[
    "T0",
    "T1",
    "T2",
    "T3",
    "T4",
    "T5",
]
Status = Literal[
    "active",
    "unregistered",
    "suspended",
    "retired",
]
Observability = Literal[
    "black_box",
    "gray_box",
    "white_box",
    "attested",
    "verified",
]
Cause = Literal[
    "none",
    "decay",
    "ceiling",
    "unknown",
    "intent_declared",
    "execution_started",
    "execution_completed",
    "execution_failed",
    "policy_evaluated",
    "policy_decision",
    "policy_escalated",
    "security_violation",
    "security_anomaly",
    "security_incident",
    "security_remediation",
    "access_granted",
    "access_denied",
    "trust_signal",
    "attestation_added",
    "attestation_revoked",
    "certification_granted",
    "certification_expired",
    "observability_changed",
    "agent_registered",
    "agent_updated",
    "agent_suspended",
    "agent_reinstated",
    "agent_retired",
    "request_submitted",
    "request_cancelled",
    "feedback_positive",
    "feedback_negative",
    "approval_granted",
    "approval_denied",
    "session_started",
    "session_ended",
]
TrustChangeKind = Literal[
    "score_changed",
    "tier_changed",
]
Source = Literal[
    "kaizen",
    "agentanchor",
    "aurais",
]
EventType = Literal[
    "unknown",
    "intent_declared",
    "execution_started",
    "execution_completed",
    "execution_failed",
    "policy_evaluated",
    "policy_decision",
    "policy_escalated",
    "security_violation",
    "security_anomaly",
    "security_incident",
    "security_remediation",
    "access_granted",
    "access_denied",
    "trust_signal",
    "attestation_added",
    "attestation_revoked",
    "certification_granted",
    "certification_expired",
    "observability_changed",
    "agent_registered",
    "agent_updated",
    "agent_suspended",
    "agent_reinstated",
    "agent_retired",
    "request_submitted",
    "request_cancelled",
    "feedback_positive",
    "feedback_negative",
    "approval_granted",
    "approval_denied",
    "session_started",
    "session_ended",
]
LimitDecision = Literal[
    "allow",
    "deny",
    "throttle",
]
Limit = Literal[
    "bucket",
    "throttle",
    "suspension",
]
PressureLevel = Literal[
    "none",
    "soft",
    "hard",
    "stop",
]


@dataclass(frozen=True, kw_only=True)
class TrustLevel:
    """Base of an agent's trust after a commit; a reader applies the decay since last_activity."""

    tenant_id: str
    agent_id: str
    points: int
    """Thousandths of a score, 0..1,000,000, before decay since last_activity."""
    last_activity: int
    """Decision time of the agent's last event."""
    tier: Tier
    since: int
    """When the tier began."""
    status: Status
    observability: Observability
    why: Cause
    """Cause of the last change of points."""


@dataclass(frozen=True, kw_only=True)
class TrustChange:
    """A change of trust worth telling: of the score by 5 or more since the last one told, or of the tier."""

    kind: TrustChangeKind
    tenant_id: str
    agent_id: str
    source: Source
    """With partition and offset the place of the event that brought it."""
    offset: int
    event_id: str
    before: int
    """Points, thousandths."""
    after: int
    """Points, thousandths."""
    tier_before: Tier
    tier_after: Tier
    cause: Cause


@dataclass(frozen=True, kw_only=True)
class RateLimitDecision:
    """Answer to one event that asks for capacity."""

    tenant_id: str
    agent_id: str
    event_id: str
    event_type: EventType
    source: Source
    """With partition and offset the place of the event."""
    offset: int
    occurred_at: int
    correlation_id: str | None
    decision: LimitDecision
    limit: Limit
    """The limit that bound."""
    tier: Tier
    remaining: int
    """Requests that would be allowed now."""
    retry_after_us: int | None
    """Microseconds; 0 when allowed, null when waiting does not help."""
    reset_us: int
    """Microseconds until the bucket is full."""


@dataclass(frozen=True, kw_only=True)
class PriorityEvent:
    """One event in the pool it belongs to, with all that a worker needs to decide what to do."""

    event_id: str
    tenant_id: str
    agent_id: str
    event_type: EventType
    source: Source
    """With partition and offset the place of the event."""
    offset: int
    occurred_at: int
    correlation_id: str | None
    subject: str | None
    """Kaizen's action or Aurais' request_kind."""
    score: float
    """0..1: 0.6 surprise + 0.4 impact."""
    surprise: float
    """0..1."""
    impact: float
    """0..1."""
    points: int
    """Trust, thousandths."""
    tier: Tier
    status: Status
    limit_decision: LimitDecision | None
    """Null when the event asks for no capacity."""


@dataclass(frozen=True, kw_only=True)
class Pressure:
    """How far a source partition or a pool is behind, and what those who feed it shall do. Kafka key: the concern."""

    concern: str
    """A source partition like kaizen.events/3, or a pool like priority.urgent."""
    level: PressureLevel
    reason: str
    """For people."""
    since: int
    """When the level began."""
    expires_at: int
    """From then on the level counts as none."""
    lag: int
    """Records that wait."""
    drain_ms: int | None
    """How long they take at the present rate; null: they are not worked on."""
    accepts: float
    """0..1: the part of what comes that can be taken, less the more waits."""
    said_by: str
    """The controller."""


Record = TrustLevel | TrustChange | RateLimitDecision | PriorityEvent | Pressure

BY_SCHEMA: dict[str, type[Record]] = {
    "trust_level": TrustLevel,
    "trust_change": TrustChange,
    "ratelimit_decision": RateLimitDecision,
    "priority_event": PriorityEvent,
    "pressure": Pressure,
}
"""By the stem of the Avro file."""
