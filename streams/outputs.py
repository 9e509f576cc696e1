"""What a step says: records of the derived topics, encoded from the frame of each batch.

`Outbox` gathers the record batches per topic and starts a new one before a topic would refuse it as too large. `Voice`
holds, per source, the encoders of everything that is told about its events; which column becomes which field is said
here and nowhere else.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from schemas.avro_encode import Constant, Encoder, Keys, Spans
from schemas.catalog import SchemaIds, schema_of
from schemas.columns import NULL_LENGTH, Column, Frame, Layout, Longs
from schemas.event_types import CAUSE_OF_EVENT
from schemas.kernels import kernel
from schemas.recordbatch_write import RecordsBody
from schemas.topics import TOPICS, topic

from .intake import Decoded, Source
from .trust import (
    AFTER,
    BECAME_SUSPENDED,
    BEFORE,
    CAUSE,
    EVENT,
    KIND,
    SCORE_CHANGED,
    TIER_AFTER,
    TIER_BEFORE,
    TIER_CHANGED,
)

POOLS: Final = ("priority.urgent", "priority.normal", "priority.background")
"""Topic per pool number of the priority stage."""

ASKED, THROTTLED = 3, 4
"""Groups of events after those of the pools."""

TIER_DECISION, SUSPENDED_DECISION, THROTTLE_DECISION = range(3)
"""Indices of the Avro enum `DecisionKind`."""

Columns = dict[str, str | Constant]
"""Which column of a layout, or which constant, a field is written from; fields of the same name are left out."""

_MARGIN: Final = 1024
_TYPICAL: Final = 256

_CHANGE = Layout(
    (
        Column("event_id", "span"),
        Column("tenant_id", "span"),
        Column("agent_id", "span"),
        Column("entry", "long"),
        Column("offset", "long"),
        Column("kind", "long"),
        Column("before", "long"),
        Column("after", "long"),
        Column("tier_before", "long"),
        Column("tier_after", "long"),
        Column("cause", "long"),
    )
)
"""A change of trust, or a decision of the journal: `kind` is the symbol of either."""


@kernel("void(int64[::1], int64[::1], int64[::1], int64[::1], int64[:, ::1], int64[::1])")
def sort_out(row, pool, asked, started, groups, counts):  # type: ignore[no-untyped-def]
    """Indices of the decided events per pool, of those that asked for capacity, and of those that began a throttle."""
    for i in range(len(row)):
        if row[i] < 0:
            continue
        groups[pool[i], counts[pool[i]]] = i
        counts[pool[i]] += 1
        if asked[i]:
            groups[ASKED, counts[ASKED]] = i
            counts[ASKED] += 1
        if started[i]:
            groups[THROTTLED, counts[THROTTLED]] = i
            counts[THROTTLED] += 1


def _groups(done: Decoded) -> list[Longs]:
    """What `sort_out` finds, by number of the group."""
    frame = done.frame
    groups, counts = np.empty((5, frame.n), np.int64), np.zeros(5, np.int64)
    sort_out(done.row, frame["pool"], frame.second("limit_decision"), frame["throttle_started"], groups, counts)
    return [group[:count] for group, count in zip(groups, counts.tolist(), strict=True)]


class Outbox:
    """Record batches per topic, none over the topic's limit."""

    def __init__(self) -> None:
        self.bodies: dict[str, list[RecordsBody]] = {}
        self._spare: dict[str, list[RecordsBody]] = {}

    def emptied(self) -> Outbox:
        """Begin anew, in the memory of the record batches of the last step: fresh memory costs as much as writing to
        it. What the last step did not need is let go.
        """
        self._spare, self.bodies = self.bodies, {}
        return self

    def append(
        self,
        name: str,
        encoder: Encoder,
        frame: Frame,
        select: Longs,
        ts: Longs,
        key: Keys,
        traceparent: Spans | None = None,
    ) -> None:
        """Append a record of topic `name` per index in `select`; arguments as of `Encoder.append`."""
        most = topic(name).max_message_bytes - _MARGIN
        done = 0
        while done < len(select):
            body = self._body(name)
            count = max(1, min(len(select) - done, (most - body.used) // self._record(body)))
            while not _fits(body, most, count, encoder, frame, select[done : done + count], ts, key, traceparent):
                if count == 1:
                    body = self._next(name)
                count = max(1, count // 2)
            done += count
            if done < len(select):
                self._next(name)

    def add(self, name: str, key: bytes | None, value: bytes, timestamp: int) -> None:
        """Append one record of topic `name`."""
        body = self._body(name)
        if body.count and body.used + len(value) + len(key or b"") > topic(name).max_message_bytes - _MARGIN:
            body = self._next(name)
        body.append(key, value, timestamp)

    def in_order(self) -> dict[str, list[RecordsBody]]:
        """What there is, topics in the order of the table."""
        return {row.name: self.bodies[row.name] for row in TOPICS if row.name in self.bodies}

    def _body(self, name: str) -> RecordsBody:
        bodies = self.bodies.get(name)
        return bodies[-1] if bodies else self._next(name)

    def _next(self, name: str) -> RecordsBody:
        spare = self._spare.get(name)
        body = spare.pop() if spare else RecordsBody()
        body.clear()
        self.bodies.setdefault(name, []).append(body)
        return body

    @staticmethod
    def _record(body: RecordsBody) -> int:
        """Bytes that a record is guessed to take."""
        return body.used // body.count + 1 if body.count else _TYPICAL


def _fits(
    body: RecordsBody,
    most: int,
    count: int,
    encoder: Encoder,
    frame: Frame,
    select: Longs,
    ts: Longs,
    key: Keys,
    traceparent: Spans | None,
) -> bool:
    """Append `select`; take it back and answer False when the body grew too large. A record alone always fits."""
    before = body.used, body.count, body.first_ts, body.max_ts
    encoder.append(body, frame, select, ts, key, traceparent)
    if body.used <= most or (count == 1 and before[1] == 0):
        return True
    body.used, body.count, body.first_ts, body.max_ts = before
    return False


class Voice:
    """The encoders of one source. Layouts: the source's frames, and `_CHANGE` for what few events bring about."""

    def __init__(self, source: Source, ids: SchemaIds) -> None:
        def encoder(name: str, layout: Layout, columns: Columns) -> Encoder:
            return Encoder(schema_of(name), ids.id_of(name), layout, columns)

        says = Constant(source.name)
        event: Columns = {"event_type": "kind", "source": says}
        self._pools = [
            encoder(pool, source.layout, {**event, "subject": source.subject or Constant(None)}) for pool in POOLS
        ]
        self._limits = encoder("ratelimit.decisions", source.layout, {**event, "decision": "limit_decision"})
        self._changes = encoder("trust.changes", _CHANGE, {"source": says})
        self._decisions = encoder("audit.log", _CHANGE, _journal_columns(says))

    def speak(self, out: Outbox, done: Decoded, changes: Longs, trace: Spans | None, entry: int) -> None:
        """Write what the stages decided about a batch. `changes` are those of the trust stage, `entry` the step's."""
        groups = _groups(done)
        self._events(out, done, groups, trace)
        told = changes[:, changes[KIND] != BECAME_SUSPENDED]
        if told.shape[1]:
            kind, before, after = told[KIND], told[BEFORE], told[AFTER]
            self._few(out, "trust.changes", self._changes, done, told, (kind, before, after), trace, entry)
        weighty = _weighty(done, changes, groups[THROTTLED])
        if weighty.shape[1]:
            self._few(out, "audit.log", self._decisions, done, weighty, tuple(weighty[KIND : AFTER + 1]), trace, entry)

    def _events(self, out: Outbox, done: Decoded, groups: list[Longs], trace: Spans | None) -> None:
        """The event in its pool, and the answer to a request for capacity."""
        frame, batch = done.frame, done.batch
        key, time = (batch.ks, batch.kl, batch.buf), frame["time"]
        out.append("ratelimit.decisions", self._limits, frame, groups[ASKED], time, key, trace)
        for number, name in enumerate(POOLS):
            out.append(name, self._pools[number], frame, groups[number], time, key, trace)

    def _few(
        self,
        out: Outbox,
        name: str,
        encoder: Encoder,
        done: Decoded,
        changes: Longs,
        says: tuple[Longs, ...],
        trace: Spans | None,
        entry: int,
    ) -> None:
        """A record per column of `changes`, whose kind, before and after are `says`."""
        frame, batch, event = done.frame, done.batch, changes[EVENT]
        few = _CHANGE.frame(len(event), frame.buf)
        for text in ("event_id", "tenant_id", "agent_id"):
            few[text][:] = frame[text][event]
            few.second(text)[:] = frame.second(text)[event]
        few["entry"][:] = entry
        few["offset"][:] = batch.off[event]
        few["kind"][:], few["before"][:], few["after"][:] = says
        few["tier_before"][:], few["tier_after"][:], few["cause"][:] = changes[TIER_BEFORE : CAUSE + 1]
        ks, kl = (batch.ks[event], batch.kl[event]) if name != "audit.log" else _no_keys(len(event))
        header = None if trace is None else (trace[0][event], trace[1][event])
        out.append(name, encoder, few, np.arange(len(event)), frame["time"][event], (ks, kl, batch.buf), header)


def _journal_columns(says: Constant) -> Columns:
    """Where a decision of the journal comes from."""
    parts = ("tenant_id", "agent_id", "offset", "event_id", "before", "after", "cause")
    return {
        **{f"decision.{part}": part for part in parts},
        "kind": Constant("decision"),
        "step": Constant(None),
        "decision?": Constant(True),
        "decision.source": says,
        "decision.what": "kind",
    }


def _weighty(done: Decoded, changes: Longs, started: Longs) -> Longs:
    """What belongs into the journal, as columns of changes: tiers, suspensions, and starts of throttles, by event."""
    kept = changes[:, changes[KIND] != SCORE_CHANGED]
    tiers = kept[KIND] == TIER_CHANGED
    kept[BEFORE, tiers], kept[AFTER, tiers] = kept[TIER_BEFORE, tiers], kept[TIER_AFTER, tiers]
    kept[KIND] = np.where(tiers, TIER_DECISION, SUSPENDED_DECISION)
    throttles: Longs = np.zeros((len(changes), len(started)), np.int64)
    throttles[EVENT] = started
    throttles[KIND] = THROTTLE_DECISION
    throttles[AFTER] = done.frame["throttle_started"][started]
    throttles[CAUSE] = CAUSE_OF_EVENT + done.frame["kind"][started]
    both: Longs = np.concatenate((kept, throttles), axis=1)
    return both[:, np.argsort(both[EVENT], kind="stable")]


def _no_keys(n: int) -> tuple[Longs, Longs]:
    return np.zeros(n, np.int64), np.full(n, NULL_LENGTH, np.int64)
