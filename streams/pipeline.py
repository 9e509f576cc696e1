"""The decisions of one partition, strung together: columns of the three sources in, records of the derived topics out.

A `Lane` is the same object in the worker, in a replay and in a test. `step` decides a list of batches in the order of
their arrival and answers with everything that must become durable together: outputs, changed rows, the position and
the journal entry that makes the step repeatable. Nothing here knows a clock, a socket or a random number: the same
state and the same batches give the same bytes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.avro_encode import Spans
from schemas.catalog import SchemaIds
from schemas.columns import ColumnBatch, Longs
from schemas.errors import CognistreamError, FormatError
from schemas.event_types import SOURCES
from schemas.reasons import Reason
from schemas.record_headers import NO_HEADERS, find_header
from schemas.recordbatch_write import RecordsBody
from schemas.topics import POSITION_KEY, TOPICS
from schemas.wire import encode

from . import priority, ratelimit, trust
from .admission import REPEATED, admit, check, digest, times_of
from .audit import NO_HASH, OutputsHash, Reads, RecordsHash
from .breaker import Breaker, Tripped
from .dead_letters import DeadLetters
from .intake import PIECE, Decoded, Resolved, Room, Source, pieces
from .outputs import Outbox, Voice
from .policy import Policy
from .repeats import WINDOW, Window, refill
from .state_codec import STATE, Position, StateCodec
from .table import StateTable

JOURNAL = "audit.log"
NEVER = (1 << 63) - 1
"""No offset comes after it."""


class OutOfOrder(CognistreamError):
    """A batch that does not begin where the last one of its source ended: decided, it would lose or repeat records."""


class Trace(Protocol):
    """Whoever measures: a context manager around each part of a step."""

    def __call__(self, name: str) -> AbstractContextManager[object]:
        """Measure the part called `name`."""
        ...


@dataclass(slots=True)
class Counts:
    """What a step did: `read` = `decided` + `repeats` + sum of `refused`."""

    read: int = 0
    """Records of the sources; a record batch refused whole counts once, here and in `refused`."""
    decided: int = 0
    repeats: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Dead letters by reason."""
    written: Counter[str] = field(default_factory=Counter)
    """Records per topic, `agent.state` and `audit.log` included."""


@dataclass(slots=True)
class Effects:
    """What a step wants written, all of it in one transaction, and where the lane stands afterwards."""

    outputs: dict[str, list[RecordsBody]]
    """Topic without prefix -> record batches to write in this order, each small enough for the topic; all go to the
    lane's partition. The last record of `agent.state` is the position."""
    counts: Counts
    positions: dict[str, int]
    """Source topic without prefix -> offset to read next."""
    tripped: Tripped | None = None
    """Why the step ended before records that it was given; the positions say where. Nothing is written if it decided
    nothing."""


class Lane:
    """State and decisions of partition `partition` of `partitions`.

    `ids` resolves schema ids, `build` names the program in the journal, `window` is how many records repeats are looked
    for in; with `reuse` a step writes its outputs into the memory of the step before; with `breaks` it ends before
    records that look like a bad deploy (`breaker`). One call at a time. A step that raises anything but
    `RegistryUnreachable` or `OutOfOrder` leaves the lane half way: drop it, and restore another.
    """

    def __init__(
        self,
        partition: int,
        partitions: int,
        *,
        policy: Policy,
        ids: SchemaIds,
        build: str,
        window: int = WINDOW,
        reuse: bool = False,
        breaks: bool = False,
    ) -> None:
        self.partition, self.partitions = partition, partitions
        self.ids, self.build = ids, build
        self.table = StateTable()
        self.position = Position({}, 0, NO_HASH, rows=0)
        self.trace: Trace = lambda name: nullcontext()  # noqa: ARG005  measures nothing
        self._sources = {source.topic: source for source in map(Source, SOURCES)}
        self._voices = {source.name: Voice(source, ids) for source in self._sources.values()}
        self._letters = {source.name: DeadLetters(source, partition, ids) for source in self._sources.values()}
        self._windows = {source.name: Window(window) for source in self._sources.values()}
        self._breakers = {topic: Breaker() for topic in self._sources if breaks}
        self._codec = StateCodec(ids)
        self._out, self._room, self._changes = Outbox(), Room(), Room()
        self._reuse = reuse
        self._moment = -1
        """The latest decision time, ms; -1: ask the rows."""
        self._govern(policy)

    @property
    def rows(self) -> int:
        """Agents known."""
        return self.table.rows

    @property
    def entry(self) -> int:
        """Number of the last step entry of the journal; 0 before the first."""
        return self.position.entry

    @property
    def positions(self) -> dict[str, int]:
        """Source topic without prefix -> offset to read next; a source never read is missing."""
        return {f"{name}.events": offset for name, offset in self.position.sources.items()}

    def restore(self, batch: ColumnBatch) -> None:
        """Take rows and position from a batch of `agent.state`, in the order of the topic. The windows of repeats are
        empty afterwards: a `Recollection` fills them.

        FormatError for records that are no rows; RegistryUnreachable when their schema cannot be fetched.
        """
        self.forget({})
        for _, piece in pieces(batch, PIECE):
            self.position = self._codec.read(piece, self.table) or self.position
        self._moment = -1

    def remember(self, batch: ColumnBatch, left_out: Longs) -> None:
        """Fill the window of repeats from records of a source decided before, those at the offsets `left_out` (the
        `refused` of the journal's reads) excepted. Call it after `restore`, oldest record first.

        RegistryUnreachable before anything was entered; FormatError for a record that could be read when it was decided
        and now cannot.
        """
        source = self._sources[batch.topic]
        window = self._windows[source.name]
        for piece in source.resolve(batch, self.ids).pieces():
            done = source.decode(piece, self._room)
            b, m = done.batch, done.frame.matrix
            if batch.topic in self._breakers:
                self._breakers[batch.topic].recall(b, done.error)
            refused = np.isin(b.off, left_out)
            _refuse_unreadable(b, done.error, ~refused)
            done.error[refused] = Reason.EVENT_ID_REUSED
            refill(
                b.buf, b.off, b.ks, b.kl, b.vs, b.vl, m, source.spans, done.error,
                window.ring, window.heads, window.seen,
            )  # fmt: skip

    def forget(self, oldest: Mapping[str, int]) -> None:
        """Let the windows of repeats begin no earlier than `oldest` (source -> offset) says; a source that is missing
        there forgets all: a replay's way to meet a restart that found older records gone.
        """
        for name, window in self._windows.items():
            window.forget_before(oldest.get(name, NEVER))

    def step(self, batches: Sequence[ColumnBatch], *, tick: int | None = None, policy: Policy | None = None) -> Effects:
        """Decide `batches` (topics without prefix) in this order, under `policy` from now on if one is given.

        Before anything changed it raises `RegistryUnreachable` when a writer's schema cannot be fetched, `OutOfOrder`
        when a batch does not follow.
        """
        self._expect(batches)
        with self.trace("resolve"):
            resolved = [self._sources[batch.topic].resolve(batch, self.ids) for batch in batches]
        if policy is not None:
            self._govern(policy)
        self._out = self._out.emptied() if self._reuse else Outbox()
        step = _Step(self.position.entry + 1, max(self._latest(), tick or 0), self._out, self._oldest())
        tripped = next(filter(None, (self._batch(step, batch) for batch in resolved)), None)
        if tripped is not None and not step.reads.spans:
            return Effects({}, step.counts, self.positions, tripped)
        return self._close(step, tick, tripped)

    def resume(self, topic: str, until: int) -> bool:
        """Let no breaker stop the records of source `topic` before offset `until`; before the next step. Whether that
        is news.
        """
        return topic in self._breakers and self._breakers[topic].resume(until)

    def _expect(self, batches: Sequence[ColumnBatch]) -> None:
        wanted = self.positions
        for batch in batches:
            if wanted.get(batch.topic, batch.start) != batch.start:
                raise OutOfOrder(
                    f"{batch.topic}[{self.partition}]: got offsets from {batch.start}, expected {wanted[batch.topic]}; "
                    "seek to the expected one"
                )
            wanted[batch.topic] = batch.next

    def _govern(self, policy: Policy) -> None:
        self.policy = policy
        self._times = times_of(policy)
        self._rules = trust.compile_policy(policy), ratelimit.compile_policy(policy), priority.compile_policy(policy)

    def _latest(self) -> int:
        """The latest decision time that the state knows, in ms."""
        if self._moment < 0:
            self._moment = int(self.table.trust["last"][: self.rows].max(initial=0))
        return self._moment

    def _oldest(self) -> list[dict[str, Any]]:
        """How far back repeats can be told: for a replay, and for a restored lane that fills its windows again."""
        known = ((name, window.oldest) for name, window in self._windows.items())
        return [{"source": name, "offset": offset} for name, offset in known if offset is not None]

    # One piece of a batch

    def _batch(self, step: _Step, resolved: Resolved) -> Tripped | None:
        """Decide a batch, up to where the breaker stops it."""
        source = self._sources[resolved.batch.topic]
        breaker, tripped = self._breakers.get(source.topic), None
        for piece in resolved.pieces() if breaker is None else breaker.cut(resolved.pieces()):
            with self.trace("decode"):
                done = source.decode(piece, self._room)
            if breaker is not None and (tripped := breaker.trips(done.batch, done.error)) is not None:
                break
            self._decide(step, done)
        known = resolved.known_before(self.position.sources.get(source.name, resolved.batch.start))
        step.fingerprints.update(dict.fromkeys(mark for mark, _ in known))
        return tripped

    def _decide(self, step: _Step, done: Decoded) -> None:
        source, moments = done.source, step.moments(done.batch.ts, *self._times)
        with self.trace("admission"):
            self._admit(done)
        changes = self._stages(done)
        with self.trace("records hash"):
            self._account(step, done)
        with self.trace("outputs"):
            self._voices[source.name].speak(step.out, done, changes, _traceparent(done.batch), step.entry)
            self._letters[source.name].write(step.out, done, moments)

    def _admit(self, done: Decoded) -> None:
        batch, source, table, m = done.batch, done.source, self.table, done.frame.matrix
        window, begin = self._windows[source.name], 0
        hashes = digest(batch.buf, batch.ks, batch.kl, batch.vs, batch.vl, m, source.spans, done.error)
        check(
            batch.buf, batch.ts, batch.ks, batch.kl, m, source.spans, source.checks, source.texts, self._times,
            hashes, table.slots, table.ends, table.arena, done.error, done.row,
        )  # fmt: skip
        while True:
            begin = admit(
                batch.buf, batch.off, batch.ks, batch.kl, m[source.layout.row("kind")], hashes,
                self.partition, self.partitions, self.policy.admission.max_unregistered,
                window.ring, window.heads, window.seen, table.slots, table.ends, table.arena, table.meta,
                table.registered, table.mark, table.touched, begin, done.error, done.row,
            )  # fmt: skip
            if begin == batch.n:
                return
            table.grow()

    def _stages(self, done: Decoded) -> Longs:
        """Trust, limit, priority: each sees what the one before decided. Answers the changes of trust."""
        f, batch, source, row, table = done.frame, done.batch, done.source, done.row, self.table
        earned, limits, attention = self._rules
        changes = self._changes.matrix(7, trust.CHANGES_PER_EVENT * batch.n)
        with self.trace("trust"):
            used = trust.decide(
                table.trust, row, batch.ts, f["kind"], f.matrix, source.trust_where, earned,
                f["time"], f["points"], f["tier"], f["status"], changes,
            )  # fmt: skip
        with self.trace("limit"):
            ratelimit.decide(
                table.limit, row, f["time"], f["kind"], f["tier"], f["status"], limits, f["limit_decision"],
                f.second("limit_decision"), f["limit"], f["remaining"], f["retry_after_us"],
                f.second("retry_after_us"), f["reset_us"], f["throttle_started"],
            )  # fmt: skip
        with self.trace("priority"):
            priority.decide(
                table.habit, row, f["time"], f["kind"], f.matrix, source.priority_where, attention,
                f.doubles("score"), f.doubles("surprise"), f.doubles("impact"), f["pool"],
            )  # fmt: skip
        return changes[:, :used]

    def _account(self, step: _Step, done: Decoded) -> None:
        """What was read, for the journal and the counts."""
        batch, counts = done.batch, step.counts
        read = step.reads.add(done.source.name, batch)
        repeats, refused = done.row == REPEATED, done.error != Reason.OK
        read.repeats += batch.off[repeats].tolist()
        read.refused += sorted([*batch.off[refused].tolist(), *(whole.first for whole in batch.refused)])
        step.records.add(batch)
        counts.read += batch.n + len(batch.refused)
        counts.repeats += int(np.count_nonzero(repeats))
        for number, count in enumerate(np.bincount(done.error[refused]).tolist()):
            if count:
                counts.refused[Reason(number).label] += count
        counts.refused.update(whole.reason for whole in batch.refused)
        decided = np.flatnonzero(done.row >= 0)
        counts.decided += len(decided)
        self._moment = max(self._moment, int(done.frame["time"][decided].max(initial=0)))
        self.position.sources[done.source.name] = batch.next

    # The end of a step

    def _close(self, step: _Step, tick: int | None, tripped: Tripped | None) -> Effects:
        with self.trace("state"):
            self._codec.write(step.out, self.table, self.table.take_touched())
        with self.trace("outputs hash"):
            written = OutputsHash()
            for row in TOPICS:
                if row.role == "derived" and not row.compacted and row.name in step.out.bodies:
                    written.add(row.name, step.out.bodies[row.name])
        with self.trace("journal"):
            value = encode(JOURNAL, self._journal(step, tick, written.digest()), self.ids)
            step.out.add(JOURNAL, None, value, step.moment)
            self.position.entry, self.position.entry_hash = step.entry, hashlib.sha256(value).digest()
            self.position.policy_version, self.position.build = self.policy.version, self.build
            self.position.rows = self.rows
            step.out.add(STATE, POSITION_KEY, encode(STATE, self.position.as_value(), self.ids), step.moment)
        outputs = step.out.in_order()
        for name, bodies in outputs.items():
            step.counts.written[name] = sum(body.count for body in bodies)
        return Effects(outputs, step.counts, self.positions, tripped)

    def _journal(self, step: _Step, tick: int | None, outputs_hash: bytes) -> dict[str, Any]:
        """The entry of a step, as its schema has it."""
        content = {
            "previous_hash": self.position.entry_hash,
            "reads": step.reads.as_values(),
            "tick": tick,
            "policy_version": self.policy.version,
            "build": self.build,
            "schemas": list(step.fingerprints),
            "records_hash": step.records.digest(),
            "outputs_hash": outputs_hash,
            "window_oldest": step.oldest,
        }
        return {"kind": "step", "entry": step.entry, "step": content, "decision": None}


class _Step:
    """What gathers while a step is decided."""

    def __init__(self, entry: int, moment: int, out: Outbox, oldest: list[dict[str, Any]]) -> None:
        self.entry, self.moment, self.out, self.oldest = entry, moment, out, oldest
        self.counts = Counts()
        self.reads = Reads()
        self.records = RecordsHash()
        self.fingerprints: dict[bytes, None] = {}

    def moments(self, ts: Longs, first: int, last: int) -> Longs:
        """Shape (n + 1,): the latest time known before each record of these timestamps and after the last of them, for
        what has no decision time of its own. Those outside `first` <= ts < `last` say nothing.
        """
        known = np.where((ts >= first) & (ts < last), ts, 0)
        moments = np.maximum.accumulate(np.concatenate(([self.moment], known)))
        self.moment = int(moments[-1])
        return moments


def _refuse_unreadable(batch: ColumnBatch, error: Longs, decided: NDArray[np.bool_]) -> None:
    """A window with a hole would decide its next repeat a second time."""
    bad = np.flatnonzero(decided & (error != Reason.OK))
    if len(bad):
        raise FormatError(
            f"{batch.topic}[{batch.partition}]: the record at offset {int(batch.off[bad[0]])} was decided once and "
            f"cannot be read now ({Reason(int(error[bad[0]])).label}). Is the schema registry the one that it was "
            "decided with? Give the worker that one (SCHEMA_REGISTRY_URL), or register the schema again."
        )


def _traceparent(batch: ColumnBatch) -> Spans | None:
    """Spans of the trace context, None when no record has headers."""
    if not (batch.hl > NO_HEADERS).any():
        return None
    return find_header(batch.buf, batch.hs, batch.hl, b"traceparent")
