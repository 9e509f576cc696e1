"""The events that services publish, one class for each source.

Made by `make docs` from schemas/avro; edit those files instead. Times are milliseconds since 1970. An event is checked
when it is published: InvalidEvent names the field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from .identity import new_id, now_ms

KaizenEventType = Literal[
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
]
Risk = Literal[
    "low",
    "medium",
    "high",
    "critical",
]
PolicyDecision = Literal[
    "ALLOW",
    "DENY",
    "ESCALATE",
    "DEGRADE",
]
Severity = Literal[
    "minor",
    "major",
    "critical",
]
AgentAnchorEventType = Literal[
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
]
Creation = Literal[
    "fresh",
    "cloned",
    "evolved",
    "promoted",
    "imported",
]
Observability = Literal[
    "black_box",
    "gray_box",
    "white_box",
    "attested",
    "verified",
]
AuraisEventType = Literal[
    "request_submitted",
    "request_cancelled",
    "feedback_positive",
    "feedback_negative",
    "approval_granted",
    "approval_denied",
    "session_started",
    "session_ended",
]
Tier = Literal[
    "T0",
    "T1",
    "T2",
    "T3",
    "T4",
    "T5",
]
Preference = Literal[
    "cost",
    "quality",
]
Escalation = Literal[
    "right",
    "needless",
]


@dataclass(kw_only=True)
class KaizenEvent:
    """What Kaizen did: intents, executions, policy, security and access."""

    SOURCE: ClassVar[str] = "kaizen"
    TOPIC: ClassVar[str] = "kaizen.events"

    event_id: str = field(default_factory=new_id)
    """1-128 bytes, chosen by the producer; the same id again with the same value is a repeat."""
    tenant_id: str
    """[a-z0-9-]{1,64}; first part of the key."""
    agent_id: str
    """1-128 bytes without control characters; second part of the key."""
    event_type: KaizenEventType
    occurred_at: int = field(default_factory=now_ms)
    """The producer's word; decisions use the record's timestamp."""
    correlation_id: str | None = None
    """At most 1,024 bytes; copied to derived records."""
    intent: str | None = None
    """What the agent set out to do."""
    action: str | None = None
    """The capability used, such as data:read/public; at most 1,024 bytes; subject of the priority record."""
    risk: Risk | None = None
    """Null counts as medium."""
    decision: PolicyDecision | None = None
    """Outcome of a policy."""
    component: str | None = None
    """Part of Kaizen that speaks."""
    model: str | None = None
    """Language model used."""
    duration_ms: float | None = None
    """Not negative."""
    tokens_in: int | None = None
    """Not negative."""
    tokens_out: int | None = None
    """Not negative."""
    cost_usd: float | None = None
    """Not negative."""
    user_facing: bool = False
    """A person waits for it."""
    security_relevant: bool = False
    revenue_usd: float | None = None
    """Money at stake; may be negative."""
    severity: Severity | None = None
    """Of a violation; null counts as minor."""
    error: str | None = None
    """Message of a failure."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Free for the producer; no decision reads it."""


@dataclass(kw_only=True)
class AgentAnchorEvent:
    """What AgentAnchor knows: identity, attestations, certificates and trust signals."""

    SOURCE: ClassVar[str] = "agentanchor"
    TOPIC: ClassVar[str] = "agentanchor.events"

    event_id: str = field(default_factory=new_id)
    """1-128 bytes, chosen by the producer; the same id again with the same value is a repeat."""
    tenant_id: str
    """[a-z0-9-]{1,64}; first part of the key."""
    agent_id: str
    """1-128 bytes without control characters; second part of the key."""
    event_type: AgentAnchorEventType
    occurred_at: int = field(default_factory=now_ms)
    """The producer's word; decisions use the record's timestamp."""
    correlation_id: str | None = None
    """At most 1,024 bytes; copied to derived records."""
    creation: Creation | None = None
    """How the agent came to be; null counts as fresh."""
    observability: Observability | None = None
    """How far one can look inside; sets the ceiling of trust; null leaves it."""
    signal_kind: str | None = None
    """What a trust.signal is about."""
    signal_weight: float | None = None
    """Of a trust.signal, clipped to -1..1; null counts as 0."""
    certification: str | None = None
    """Name of a certificate."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Free for the producer; no decision reads it."""


@dataclass(kw_only=True)
class AuraisEvent:
    """What people ask of agents and how they judge it."""

    SOURCE: ClassVar[str] = "aurais"
    TOPIC: ClassVar[str] = "aurais.events"

    event_id: str = field(default_factory=new_id)
    """1-128 bytes, chosen by the producer; the same id again with the same value is a repeat."""
    tenant_id: str
    """[a-z0-9-]{1,64}; first part of the key."""
    agent_id: str
    """1-128 bytes without control characters; second part of the key."""
    event_type: AuraisEventType
    occurred_at: int = field(default_factory=now_ms)
    """The producer's word; decisions use the record's timestamp."""
    correlation_id: str | None = None
    """At most 1,024 bytes; copied to derived records."""
    user: str | None = None
    """Pseudonym; stays out of derived topics."""
    session: str | None = None
    rating: int | None = None
    """Stars or points of a feedback, as shown to the person."""
    request_kind: str | None = None
    """At most 1,024 bytes; subject of the priority record."""
    required_tier: Tier | None = None
    """Lowest tier that may take the request."""
    prefer: Preference | None = None
    budget_usd: float | None = None
    """Not negative."""
    escalation: Escalation | None = None
    """Of an approval: whether asking a person was right."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Free for the producer; no decision reads it."""


Event = KaizenEvent | AgentAnchorEvent | AuraisEvent
