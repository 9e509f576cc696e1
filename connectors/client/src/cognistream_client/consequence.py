"""How much hangs on an event: what may be left out when nothing else helps, and what must always pass.

Background are events that move no trust, ask for no capacity and are of no security, when nobody waits for them either.
Vital is what security and audit rest on: violations, approvals, what ends an agent's rights. Both are the sender's own
estimate: what a worker makes of an event depends on the agent's history.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from .events import Event, KaizenEvent, PolicyDecision


class Consequence(Enum):
    """What hangs on an event."""

    BACKGROUND = "background"
    NORMAL = "normal"
    VITAL = "vital"


BACKGROUND: Final = {
    "policy_evaluated",
    "policy_decision",
    "access_granted",
    "agent_updated",
    "request_cancelled",
    "session_started",
    "session_ended",
}
VITAL: Final = {
    "policy_escalated",
    "security_violation",
    "security_anomaly",
    "security_incident",
    "security_remediation",
    "access_denied",
    "attestation_revoked",
    "agent_suspended",
    "agent_reinstated",
    "agent_retired",
    "approval_granted",
    "approval_denied",
}


REFUSALS: Final[set[PolicyDecision]] = {"DENY", "ESCALATE"}
"""Decisions of a policy that the audit must hear of."""


def consequence_of(event: Event) -> Consequence:
    """What hangs on `event`."""
    kind = event.event_type
    if kind in VITAL or (isinstance(event, KaizenEvent) and (event.security_relevant or event.decision in REFUSALS)):
        return Consequence.VITAL
    if kind in BACKGROUND and not (isinstance(event, KaizenEvent) and event.user_facing):
        return Consequence.BACKGROUND
    return Consequence.NORMAL
