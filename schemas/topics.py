"""The one table of topics: what each carries, how it is keyed, kept and limited.

Creation, checks at start, registry subjects, Kubernetes manifests and docs/topics.md are all made from `TOPICS`; a name
or a setting stands nowhere else. Every topic has as many partitions as there are lanes: partition p of each belongs to
lane p. Outputs are hashed into the audit journal in the order of the table, so new topics are added before
`agent.state`.

A prefix isolates a demo, a replay or a test: it stands before every topic and before the group. Topics without prefix
are live. There the broker bounds the timestamps of the sources; under a prefix time may run faster than the clock, so
nothing is bounded and nothing expires by time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal

from .errors import CognistreamError

GROUP: Final = "cognistream"
"""Consumer group of the workers, without prefix."""

DEFAULT_PARTITIONS: Final = 4
"""Partitions of every topic unless its creator says otherwise."""

MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
KIB: Final = 1024
MIB: Final = 1024 * KIB
UNBOUNDED: Final = str((1 << 63) - 1)

EARLY_MS: Final = MINUTE_MS
"""How far ahead of the broker's clock a live source record may be."""
LATE_MS: Final = 7 * DAY_MS
"""How far behind the broker's clock a live source record may be."""

SOURCE_BYTES: Final = 2 * MIB
"""Largest record batch of a source, as stored."""
OUTPUT_BYTES: Final = 8 * MIB
"""Largest record batch that a lane writes."""
DEAD_LETTER_BYTES: Final = SOURCE_BYTES + 64 * KIB
"""Largest dead letter: a whole source batch and what is said about it."""

PREFIXED_BYTES: Final = 1024 * MIB
"""What a partition keeps under a prefix, where nothing expires by time."""

Key = Literal["agent", "partition", "original", "source", "number", "concern"]
Role = Literal["source", "derived", "internal"]


class TopicError(CognistreamError):
    """A topic or a prefix that does not exist or may not be named so."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A row of the table. `schema` is the Avro file's stem; `retention_ms` None means compacted, never expired."""

    name: str
    schema: str
    role: Role
    key: Key
    retention_ms: int | None
    max_message_bytes: int
    purpose: str
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def compacted(self) -> bool:
        """Whether the newest record of each key is kept for good."""
        return self.retention_ms is None


_COMPACTION: Final = {
    "segment.bytes": str(64 * MIB),
    "min.cleanable.dirty.ratio": "0.1",
    "max.compaction.lag.ms": str(10 * MINUTE_MS),
}


def _source(name: str, schema: str, purpose: str) -> Topic:
    return Topic(name, schema, "source", "agent", 7 * DAY_MS, SOURCE_BYTES, purpose)


def _pool(name: str, purpose: str) -> Topic:
    return Topic(name, "priority_event", "derived", "agent", 7 * DAY_MS, OUTPUT_BYTES, purpose)


TOPICS: Final[tuple[Topic, ...]] = (
    _source("kaizen.events", "kaizen_event", "what agents do: intents, executions, policy, security, access"),
    _source("agentanchor.events", "agentanchor_event", "who agents are: identity, attestations, trust signals"),
    _source("aurais.events", "aurais_event", "what people ask of agents and how they judge it"),
    Topic(
        "trust.levels", "trust_level", "derived", "agent", None, OUTPUT_BYTES,
        "newest trust of each agent: one record per touched agent and commit", _COMPACTION,
    ),
    Topic(
        "trust.changes", "trust_change", "derived", "agent", 30 * DAY_MS, OUTPUT_BYTES,
        "changes of score and tier worth telling, with their cause",
    ),
    Topic(
        "ratelimit.decisions", "ratelimit_decision", "derived", "agent", 7 * DAY_MS, OUTPUT_BYTES,
        "allow, deny or throttle for each event that asks for capacity",
    ),
    _pool("priority.urgent", "events of score 0.8 and above"),
    _pool("priority.normal", "events of score 0.4 to 0.8"),
    _pool("priority.background", "all other events"),
    Topic(
        "audit.log", "audit_entry", "derived", "partition", 90 * DAY_MS, OUTPUT_BYTES,
        "journal of every partition, chained by hash: what was read and decided, in order",
    ),
    Topic(
        "dead.letters", "dead_letter", "derived", "original", 30 * DAY_MS, DEAD_LETTER_BYTES,
        "what could not be decided: the original bytes, their place and the reason",
    ),
    Topic(
        "breaker.resumes", "breaker_resume", "internal", "source", None, MIB,
        "how far partitions that a breaker stopped are to be decided all the same", _COMPACTION,
    ),
    Topic(
        "gateway.keys", "api_key", "internal", "number", None, MIB,
        "keys of the gateway and what they may; of a secret only its hash", _COMPACTION,
    ),
    Topic(
        "pressure", "pressure", "internal", "concern", None, MIB,
        "how far source partitions and pools are behind, and what those who feed them shall do", _COMPACTION,
    ),
    Topic(
        "agent.state", "agent_state", "internal", "agent", None, OUTPUT_BYTES,
        "changelog of the workers' state and their positions; nobody else reads it", _COMPACTION,
    ),
)  # fmt: skip

PRESSURE: Final = "pressure"
"""What everybody who publishes reads too."""

SOURCE_TOPICS: Final = tuple(topic for topic in TOPICS if topic.role == "source")
"""In the order of the Avro enum `Source`."""

POSITION_KEY: Final = b"\xff"
"""Key of the position record in `agent.state`: no UTF-8 text can equal it."""

_BY_NAME: Final = {row.name: row for row in TOPICS}
_PREFIX: Final = re.compile(r"[a-z0-9-]{3,32}")


def topic(name: str) -> Topic:
    """The row of `name` (without prefix); TopicError when there is none."""
    if name not in _BY_NAME:
        raise TopicError(f"there is no topic {name!r}; choose one of {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def full_name(prefix: str, name: str) -> str:
    """`name` of a topic or group under `prefix`; an empty prefix is live. TopicError for an impossible prefix."""
    if not prefix:
        return name
    if not _PREFIX.fullmatch(prefix):
        raise TopicError(f"prefix {prefix!r} is not 3 to 32 of a-z, 0-9 and '-'; choose one like 'demo-1'")
    return f"{prefix}.{name}"


def bare_name(prefix: str, name: str) -> str:
    """`name` without `prefix`; TopicError when it does not begin with it."""
    bare = name if not prefix else name.removeprefix(f"{prefix}.")
    if bare == name and prefix:
        raise TopicError(f"topic {name!r} is not under the prefix {prefix!r}")
    return bare


def configs(row: Topic, *, live: bool) -> dict[str, str]:
    """Broker settings to create `row` with; `live` is False under a prefix."""
    return {
        "max.message.bytes": str(row.max_message_bytes),
        "message.timestamp.type": "CreateTime",
        **_timestamps(row, live),
        **_retention(row, live),
        **row.extra,
    }


def _timestamps(row: Topic, live: bool) -> dict[str, str]:
    bounded = live and row.role == "source"
    return {
        "message.timestamp.after.max.ms": str(EARLY_MS) if bounded else UNBOUNDED,
        "message.timestamp.before.max.ms": str(LATE_MS) if bounded else UNBOUNDED,
    }


def _retention(row: Topic, live: bool) -> dict[str, str]:
    if row.compacted:
        return {"cleanup.policy": "compact"}
    kept = {"cleanup.policy": "delete", "retention.ms": str(row.retention_ms) if live else "-1"}
    if live or row.name == "audit.log":  # the journal outlives what it tells of, also where bytes decide
        return kept
    return {**kept, "retention.bytes": str(PREFIXED_BYTES), "segment.bytes": str(256 * MIB)}
