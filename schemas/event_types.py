"""The kinds of events there are, numbered once for all sources.

Each source has its own Avro enum (a producer sees only what it may say), and derived records, state and policy use one
numbering over all of them: this one. Numbers are written into `agent.state`, so they never change; a new type takes the
next free number. A type that this release does not know decodes to `unknown`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray


class EventType(IntEnum):
    """Unified number of an event type; `.label` is the name that people read, `.symbol` the Avro symbol."""

    UNKNOWN = 0
    INTENT_DECLARED = 1
    EXECUTION_STARTED = 2
    EXECUTION_COMPLETED = 3
    EXECUTION_FAILED = 4
    POLICY_EVALUATED = 5
    POLICY_DECISION = 6
    POLICY_ESCALATED = 7
    SECURITY_VIOLATION = 8
    SECURITY_ANOMALY = 9
    SECURITY_INCIDENT = 10
    SECURITY_REMEDIATION = 11
    ACCESS_GRANTED = 12
    ACCESS_DENIED = 13
    TRUST_SIGNAL = 14
    ATTESTATION_ADDED = 15
    ATTESTATION_REVOKED = 16
    CERTIFICATION_GRANTED = 17
    CERTIFICATION_EXPIRED = 18
    OBSERVABILITY_CHANGED = 19
    AGENT_REGISTERED = 20
    AGENT_UPDATED = 21
    AGENT_SUSPENDED = 22
    AGENT_REINSTATED = 23
    AGENT_RETIRED = 24
    REQUEST_SUBMITTED = 25
    REQUEST_CANCELLED = 26
    FEEDBACK_POSITIVE = 27
    FEEDBACK_NEGATIVE = 28
    APPROVAL_GRANTED = 29
    APPROVAL_DENIED = 30
    SESSION_STARTED = 31
    SESSION_ENDED = 32

    @property
    def symbol(self) -> str:
        """Name in Avro enums: `execution_completed`."""
        return self.name.lower()

    @property
    def label(self) -> str:
        """Name that people read: `execution.completed`."""
        return self.symbol.replace("_", ".")


SOURCES: Final = ("kaizen", "agentanchor", "aurais")
"""The sources in the order of their numbers (the Avro enum `Source`); the topic of each is `{source}.events`."""

_FIRST_AND_LAST: Final = {
    "kaizen": (EventType.INTENT_DECLARED, EventType.ACCESS_DENIED),
    "agentanchor": (EventType.TRUST_SIGNAL, EventType.AGENT_RETIRED),
    "aurais": (EventType.REQUEST_SUBMITTED, EventType.SESSION_ENDED),
}


def _types(source: str) -> tuple[EventType, ...]:
    first, last = _FIRST_AND_LAST[source]
    return (EventType.UNKNOWN, *(kind for kind in EventType if first <= kind <= last))


SOURCE_TYPES: Final[dict[str, tuple[EventType, ...]]] = {source: _types(source) for source in SOURCES}
"""Per source its types in the order of its Avro enum: `unknown` first, then its own."""

UNIFIED: Final[dict[str, NDArray[np.int64]]] = {
    source: np.array(kinds, dtype=np.int64) for source, kinds in SOURCE_TYPES.items()
}
"""Per source: index in its Avro enum -> unified number."""

CAUSES: Final = ("none", "decay", "ceiling", *(kind.symbol for kind in EventType))
"""Symbols of the Avro enum `Cause`: why points changed. An event as cause has number `CAUSE_OF_EVENT` + its type."""

CAUSE_NONE: Final = 0
CAUSE_DECAY: Final = 1
CAUSE_CEILING: Final = 2
CAUSE_OF_EVENT: Final = 3
