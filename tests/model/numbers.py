"""The defaults of the domain, as its text gives them."""

from decimal import Decimal, getcontext
from fractions import Fraction

getcontext().prec = 60

DAY_MS = 86_400_000
LOWER = [0, 100, 300, 500, 700, 900]
REGISTRATION = 100
CREATION = {"fresh": 0, "cloned": -50, "evolved": 25, "promoted": 50, "imported": -100}
COMPLETED = {"low": 5, "medium": 10, "high": 20, "critical": 30}
FAILED = {"low": -15, "medium": -30, "high": -60, "critical": -100}
VIOLATION = {"minor": -50, "major": -150, "critical": -300}
CEILING = {"black_box": 600, "gray_box": 750, "white_box": 900, "attested": 950, "verified": 1000}
DECAY = [
    (0, Fraction(1)),
    *(
        (day, Fraction(hundredths, 100))
        for day, hundredths in (
            (7, 94),
            (14, 88),
            (28, 82),
            (42, 76),
            (56, 70),
            (84, 65),
            (112, 60),
            (140, 55),
            (182, 50),
        )
    ),
]
REFILL = [1, 2, 5, 10, 20, 50]
CAPACITY = [2, 5, 10, 20, 50, 100]
ASKS = {"intent_declared", "execution_started", "request_submitted"}
WINDOW = 65_536
MOST_UNREGISTERED = 100_000
YEAR_2000 = 946_684_800_000
YEAR_2090 = 3_786_912_000_000
HALF_LIFE = [int((Decimal(2) ** 24 * Decimal(2) ** (-Decimal(i) / 3600)).quantize(Decimal(1))) for i in range(3600)]

SOURCES = {"kaizen.events": "kaizen", "agentanchor.events": "agentanchor", "aurais.events": "aurais"}
TYPES = [
    "unknown",
    "intent_declared", "execution_started", "execution_completed", "execution_failed",
    "policy_evaluated", "policy_decision", "policy_escalated",
    "security_violation", "security_anomaly", "security_incident", "security_remediation",
    "access_granted", "access_denied",
    "trust_signal", "attestation_added", "attestation_revoked", "certification_granted", "certification_expired",
    "observability_changed", "agent_registered", "agent_updated", "agent_suspended",
    "agent_reinstated", "agent_retired",
    "request_submitted", "request_cancelled", "feedback_positive", "feedback_negative",
    "approval_granted", "approval_denied", "session_started", "session_ended",
]  # fmt: skip
"""Event types in the order of their numbers, which break ties."""
