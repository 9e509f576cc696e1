"""What the derived topics say, taken in as columns: the account of every event, and what a person likes to see.

Counting is exact and covers every record; the few things shown by name (urgent events, denials, changes of tier) are
taken from the newest records of each batch only. Nothing here reads a clock: the caller says when a batch arrived.
"""

from __future__ import annotations

import io
from array import array
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import fastavro
import numpy as np

from connectors.traffic.batches import probed_at
from schemas import wire
from schemas.avro_decode import decode
from schemas.avro_layout import layout
from schemas.avro_plan import compile_plan
from schemas.catalog import SchemaIds, schema_of
from schemas.columns import ColumnBatch, Frame
from schemas.errors import CognistreamError
from schemas.record_headers import NO_HEADERS
from schemas.topics import SOURCE_TOPICS, TOPICS

from .tally import Tally

TIERS = 6
RECENT = 24
"""Records of a kind that are kept to be shown."""
LATEST = 2000
"""Newest latencies that the figures on the screen are of."""
POOLS = ("priority.urgent", "priority.normal", "priority.background")
OBSERVED = tuple(topic.name for topic in TOPICS if topic.role == "derived")
"""The topics that are read."""

_SOURCES = [topic.name for topic in SOURCE_TOPICS]
_STEP, _TIER_CHANGED = 0, 1


class OutputUnreadable(CognistreamError):
    """A derived record that its own schema does not decode."""


class Reading:
    """Decodes some fields of one derived topic in columns."""

    def __init__(self, topic: str, fields: Sequence[str]) -> None:
        schema = schema_of(topic)
        self._topic, self._layout = topic, layout(schema, fields)
        self._plan = compile_plan(schema, schema, self._layout)

    def frame(self, batch: ColumnBatch) -> Frame:
        """The fields of all records of `batch`; OutputUnreadable when one does not decode."""
        frame = self._layout.frame(batch.n, batch.buf)
        error = np.zeros(batch.n, np.int64)
        decode(self._plan, batch.buf, batch.vs, batch.vl, np.arange(batch.n), frame, error)
        if error.any():
            offset = int(batch.off[np.flatnonzero(error)[0]])
            raise OutputUnreadable(
                f"{self._topic}[{batch.partition}]: the record at offset {offset} is not of its schema: was it written "
                "by another version? Use a fresh prefix"
            )
        return frame


def symbols(topic: str, field: str) -> list[str]:
    """Symbols of an enum field of a derived topic, dotted as people write event types."""
    (found,) = (one["type"] for one in schema_of(topic)["fields"] if one["name"] == field)
    branches = found if isinstance(found, list) else [found]
    (enum,) = (branch for branch in branches if isinstance(branch, dict))
    return [str(symbol).replace("_", ".", 1) for symbol in enum["symbols"]]


@dataclass(frozen=True, slots=True)
class Shown:
    """One line of what scrolls by: an agent, what happened, and a number that says how much."""

    agent: str
    what: str
    number: float
    more: str = ""


class Observations:
    """Everything seen so far."""

    def __init__(self, ids: SchemaIds) -> None:
        self.tally = Tally()
        self.written: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.repeats = 0
        self.latencies_ms = array("d")
        self.limits: Counter[str] = Counter()
        self.urgent: deque[Shown] = deque(maxlen=RECENT)
        self.denied: deque[Shown] = deque(maxlen=RECENT)
        self.moved: deque[Shown] = deque(maxlen=RECENT)
        self.rose = self.fell = 0
        self.policy_version = ""
        self.last_ns = 0
        """Wall clock of the last batch that decided something."""
        self._ids = ids
        self._moved_in = np.zeros(TIERS, np.int64)
        self._pool = Reading(POOLS[0], ["source", "offset", "event_type", "score"])
        self._limit = Reading("ratelimit.decisions", ["decision", "limit", "event_type"])
        self._change = Reading("trust.changes", ["kind", "tier_before", "tier_after", "after", "cause"])
        self._audit = Reading("audit.log", ["kind", "step.reads", "step.policy_version"])
        self._reads = _reads_schema()
        self._types = symbols(POOLS[0], "event_type")
        self._decisions = symbols("ratelimit.decisions", "decision")
        self._causes = symbols("trust.changes", "cause")

    @property
    def decided(self) -> int:
        """Events that came out in a pool."""
        return sum(self.written[pool] for pool in POOLS)

    def tiers(self, agents: int) -> list[int]:
        """How many of `agents` agents stand in each tier: all begin in the lowest, and every change is told."""
        counts = self._moved_in.copy()
        counts[0] += agents
        return [max(0, int(count)) for count in counts]

    def latency_ms(self) -> tuple[float, float]:
        """Median and 99th percentile of the newest latencies; NaN without any."""
        return percentiles(self.latencies_ms[-LATEST:])

    def take(self, batch: ColumnBatch, now_ns: int) -> None:
        """Take in a batch of a derived topic (name without prefix) that arrived at `now_ns` (wall clock)."""
        if not batch.n:
            return
        self.written[batch.topic] += batch.n
        if batch.topic in POOLS:
            self._take_pool(batch, now_ns)
        elif batch.topic == "ratelimit.decisions":
            self._take_limits(batch)
        elif batch.topic == "trust.changes":
            self._take_changes(batch)
        elif batch.topic == "audit.log":
            self._take_audit(batch)
        elif batch.topic == "dead.letters":
            self._take_dead(batch)

    def _take_pool(self, batch: ColumnBatch, now_ns: int) -> None:
        frame = self._pool.frame(batch)
        self.last_ns = now_ns
        for source in np.unique(frame["source"]):
            self.tally.mark((int(source), batch.partition), frame["offset"][frame["source"] == source])
        for i in np.flatnonzero(batch.hl > NO_HEADERS).tolist():
            start = int(batch.hs[i])
            published = probed_at(batch.buf[start : start + int(batch.hl[i])].tobytes())
            if published is not None:
                self.latencies_ms.append((now_ns - published) / 1e6)
        if batch.topic == POOLS[0]:
            scores = frame.doubles("score")
            for i in range(max(0, batch.n - RECENT), batch.n):
                self.urgent.append(Shown(_agent(batch, i), self._types[frame["event_type"][i]], float(scores[i])))

    def _take_limits(self, batch: ColumnBatch) -> None:
        frame = self._limit.frame(batch)
        decision = frame["decision"]
        for number, count in enumerate(np.bincount(decision, minlength=len(self._decisions))):
            self.limits[self._decisions[number]] += int(count)
        for i in np.flatnonzero(decision)[-RECENT:].tolist():
            what = self._types[frame["event_type"][i]]
            self.denied.append(Shown(_agent(batch, i), what, 0, self._decisions[decision[i]]))

    def _take_changes(self, batch: ColumnBatch) -> None:
        frame = self._change.frame(batch)
        moves = np.flatnonzero(frame["kind"] == _TIER_CHANGED)
        before, after = frame["tier_before"][moves], frame["tier_after"][moves]
        self._moved_in += np.bincount(after, minlength=TIERS) - np.bincount(before, minlength=TIERS)
        self.rose += int((after > before).sum())
        self.fell += int((after < before).sum())
        for i in moves[-RECENT:].tolist():
            steps = f"T{frame['tier_before'][i]} -> T{frame['tier_after'][i]}"
            points = frame["after"][i] / 1000
            self.moved.append(Shown(_agent(batch, i), steps, float(points), self._causes[frame["cause"][i]]))

    def _take_audit(self, batch: ColumnBatch) -> None:
        frame = self._audit.frame(batch)
        for i in np.flatnonzero(frame["kind"] == _STEP):
            version = frame.bytes("step.policy_version", int(i)) or b""
            self.policy_version = version.decode()
            reads: Any = fastavro.schemaless_reader(io.BytesIO(frame.bytes("step.reads", int(i)) or b""), self._reads)
            for one in reads:
                place = (_number(one["source"]), batch.partition)
                self.tally.read(place, one["first"], one["next"])
                self.repeats += len(one["repeats"])
                if one["repeats"]:
                    self.tally.mark(place, np.array(one["repeats"], np.int64))

    def _take_dead(self, batch: ColumnBatch) -> None:
        for i in range(batch.n):
            _, letter = wire.decode(batch.value(i), self._ids)
            offsets = np.arange(letter["offset"], letter["last_offset"] + 1)
            self.tally.mark((_SOURCES.index(letter["source"]), letter["partition"]), offsets)
            self.reasons[letter["reason"]] += 1


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """Median and 99th percentile; NaN without values."""
    if not len(values):
        return float("nan"), float("nan")
    found = np.percentile(np.array(values), (50, 99))
    return float(found[0]), float(found[1])


def _agent(batch: ColumnBatch, i: int) -> str:
    """The agent that record `i` is of, as it may be shown: without control characters."""
    name = (batch.key(int(i)) or b"").decode(errors="replace")
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def _number(symbol: str) -> int:
    """Number of a source by its symbol in the journal."""
    return next(i for i, name in enumerate(_SOURCES) if name.split(".")[0] == symbol)


def _reads_schema() -> Any:
    """The schema of a step's reads, which the columns hold encoded."""
    fields = {field["name"]: field["type"] for field in schema_of("audit.log")["fields"]}
    (step,) = (branch for branch in fields["step"] if branch != "null")
    (reads,) = (field["type"] for field in step["fields"] if field["name"] == "reads")
    return fastavro.parse_schema(reads)
