"""How the values of a source become columns: which fields decisions read, and by which schema they were written.

One `Source` per source topic, made once: the layout of its frames (fields of the event first, decisions after them),
where the form checks and the stages find their fields, and the plans by writer's schema. `resolve` may have to ask a
registry and changes nothing; a step resolves all its batches before it decides anything, so that a registry that does
not answer leaves the lane as it was. `decode` then fills the columns piece by piece, in memory that the next piece uses
again: what a step takes does not grow with what was fetched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from schemas.avro_decode import decode, frame_ids
from schemas.avro_plan import Plan, PlanError, compile_plan, layout
from schemas.catalog import Schema, SchemaIds, fingerprint, schema_of
from schemas.columns import Column, ColumnBatch, Frame, Layout, Longs
from schemas.event_types import SOURCES, UNIFIED
from schemas.reasons import Reason

from . import priority, trust
from .admission import FINITE, FINITE_NOT_NEGATIVE, NOT_NEGATIVE, REFUSED
from .facts import where

COMMON: Final = ("event_id", "tenant_id", "agent_id", "event_type", "occurred_at", "correlation_id")

FIELDS: Final = {
    "kaizen": (
        "action", "risk", "duration_ms", "tokens_in", "tokens_out", "cost_usd", "user_facing", "security_relevant",
        "revenue_usd", "severity",
    ),
    "agentanchor": ("creation", "observability", "signal_weight"),
    "aurais": ("request_kind", "budget_usd", "escalation"),
}  # fmt: skip
"""Per source what decisions, checks and derived records need beside the common fields."""

SUBJECT: Final = {"kaizen": "action", "agentanchor": None, "aurais": "request_kind"}
"""Per source the field that a priority record shows as its subject."""

CHECKS: Final = {
    "duration_ms": FINITE_NOT_NEGATIVE,
    "tokens_in": NOT_NEGATIVE,
    "tokens_out": NOT_NEGATIVE,
    "cost_usd": FINITE_NOT_NEGATIVE,
    "budget_usd": FINITE_NOT_NEGATIVE,
    "revenue_usd": FINITE,
    "signal_weight": FINITE,
}

DECISIONS: Final = (
    Column("kind", "long"),
    Column("offset", "long"),
    Column("time", "long"),
    Column("points", "long"),
    Column("tier", "long"),
    Column("status", "long"),
    Column("limit_decision", "long", nullable=True),
    Column("limit", "long"),
    Column("remaining", "long"),
    Column("retry_after_us", "long", nullable=True),
    Column("reset_us", "long"),
    Column("throttle_started", "long"),
    Column("score", "double"),
    Column("surprise", "double"),
    Column("impact", "double"),
    Column("pool", "long"),
)
"""What the stages add to a frame; `kind` is the unified event type."""


PIECE: Final = 16_384
"""Records decided at a time: their columns take about 6 MB."""

Known = tuple[bytes, Plan | None]
"""Fingerprint of a writer's schema, and its plan unless it does not resolve."""


@dataclass(slots=True)
class Resolved:
    """A batch whose schemas are known: `error` holds a `Reason` per record, `schema_ids` -1 where there is no frame."""

    batch: ColumnBatch
    schema_ids: Longs
    error: Longs
    known: dict[int, Known]
    """By schema id, in the order of the first record; ids that nobody knows are missing."""

    def known_before(self, offset: int) -> list[Known]:
        """What is known of the records before `offset`, in the order of the first record."""
        if offset >= self.batch.next:
            return list(self.known.values())
        met = set(self.schema_ids[self.batch.off < offset].tolist())
        return [known for number, known in self.known.items() if number in met]

    def pieces(self, most: int = PIECE) -> Iterator[Resolved]:
        """The same in pieces of at most `most` records."""
        for begin, piece in pieces(self.batch, most):
            cut = slice(begin, begin + piece.n)
            yield Resolved(piece, self.schema_ids[cut], self.error[cut], self.known)


@dataclass(slots=True)
class Decoded:
    """A piece as columns."""

    batch: ColumnBatch
    source: Source
    frame: Frame
    schema_ids: Longs
    error: Longs
    """`Reason` per record."""
    row: Longs
    """Row of the state, or why there is none (`REFUSED`, `REPEATED`): admission fills it."""


class Room:
    """Memory for columns; what is in it lasts until the next is asked for."""

    def __init__(self) -> None:
        self._longs: Longs = np.empty(0, np.int64)

    def matrix(self, rows: int, n: int) -> Longs:
        """An unfilled matrix of that shape."""
        if len(self._longs) < rows * n:
            self._longs = np.empty(rows * n, np.int64)
        return self._longs[: rows * n].reshape(rows, n)


class Source:
    """What the pipeline knows of one source topic."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.topic = f"{name}.events"
        self.number = SOURCES.index(name)
        self.reader = schema_of(self.topic)
        self.fields = layout(self.reader, (*COMMON, *FIELDS[name]))
        self.layout = self.fields.extend(DECISIONS)
        self.kinds = UNIFIED[name]
        self.subject = SUBJECT[name]
        self.trust_where = where(self.layout, trust.FIELDS)
        self.priority_where = where(self.layout, priority.FIELDS)
        self.spans = np.array([self.layout.row(part) for part in ("tenant_id", "agent_id", "event_id")], np.int64)
        texts = ["correlation_id", *([self.subject] if self.subject else [])]
        self.texts = np.array([self.layout.row(part) for part in texts], np.int64)
        self.checks = _checks(self.fields)
        self._plans: dict[bytes, Plan | None] = {}
        self._by_id: dict[int, Known] = {}

    def resolve(self, batch: ColumnBatch, ids: SchemaIds) -> Resolved:
        """Look up by which schemas `batch` was written; RegistryUnreachable when that must be asked for and cannot."""
        error: Longs = np.zeros(batch.n, np.int64)
        schema_ids = frame_ids(batch.buf, batch.vs, batch.vl, error)
        found = ((number, self._known(number, ids)) for number, _ in _groups(schema_ids))
        return Resolved(batch, schema_ids, error, {number: known for number, known in found if known is not None})

    def decode(self, resolved: Resolved, room: Room) -> Decoded:
        """The columns of a piece, its frame in `room`."""
        batch, error = resolved.batch, resolved.error
        frame = Frame(self.layout, room.matrix(self.layout.rows, batch.n), batch.buf, batch.buf[:0])
        for number, select in _groups(resolved.schema_ids):
            _, plan = resolved.known.get(number, (b"", None))
            if plan is not None:
                decode(plan, batch.buf, batch.vs, batch.vl, select, frame, error)
            else:
                error[select] = Reason.SCHEMA_UNRESOLVABLE if number in resolved.known else Reason.UNKNOWN_SCHEMA
        good = error == Reason.OK
        if good.all():
            np.take(self.kinds, frame["event_type"], out=frame["kind"])
        else:
            frame["kind"][:] = 0
            frame["kind"][good] = self.kinds[frame["event_type"][good]]
        frame["offset"][:] = batch.off
        return Decoded(batch, self, frame, resolved.schema_ids, error, np.full(batch.n, REFUSED, np.int64))

    def _known(self, number: int, ids: SchemaIds) -> Known | None:
        """Fingerprint and plan of a schema id; None for an id that nobody knows."""
        if number not in self._by_id:
            writer = ids.writer_schema(number)
            if writer is None:  # not remembered: it may be registered later
                return None
            mark = fingerprint(writer)
            if mark not in self._plans:
                self._plans[mark] = _compiled(writer, self.reader, self.fields)
            self._by_id[number] = mark, self._plans[mark]
        return self._by_id[number]


def _compiled(writer: Schema, reader: Schema, fields: Layout) -> Plan | None:
    try:
        return compile_plan(writer, reader, fields)
    except PlanError:
        return None


def _checks(fields: Layout) -> Longs:
    """Shape (k, 3): rows of value and presence (all these fields are nullable), kind of check."""
    rows = [
        (fields.row(column.name), fields.second(column.name), CHECKS[column.name])
        for column in fields.columns
        if column.name in CHECKS
    ]
    return np.array(rows, np.int64).reshape(-1, 3)


def _groups(schema_ids: Longs) -> list[tuple[int, Longs]]:
    """(id, indices of its records) for each id there is, in the order of the first record; -1 left out."""
    n = len(schema_ids)
    if n and schema_ids[0] >= 0 and (schema_ids == schema_ids[0]).all():
        return [(int(schema_ids[0]), np.arange(n))]
    order = np.argsort(schema_ids, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(schema_ids[order])) + 1)
    found = [(int(schema_ids[part[0]]), part) for part in parts if len(part) and schema_ids[part[0]] >= 0]
    return sorted(found, key=lambda group: int(group[1][0]))


def pieces(batch: ColumnBatch, most: int) -> Iterator[tuple[int, ColumnBatch]]:
    """`batch` in pieces of at most `most` records, whose spans touch; with the index at which each begins."""
    if batch.n <= most:
        yield 0, batch
        return
    for begin in range(0, batch.n, most):
        end = min(begin + most, batch.n)
        start = int(batch.off[begin]) if begin else batch.start
        until = int(batch.off[end]) if end < batch.n else batch.next
        yield begin, part_of(batch, slice(begin, end), start, until)


def part_until(batch: ColumnBatch, until: int) -> ColumnBatch:
    """The records before the offset `until`, where the batch may end too."""
    if batch.next <= until:
        return batch
    return part_of(batch, slice(0, int(np.searchsorted(batch.off, until))), batch.start, until)


def part_from(batch: ColumnBatch, start: int) -> ColumnBatch:
    """The records from the offset `start` on, which lies in the batch."""
    return part_of(batch, slice(int(np.searchsorted(batch.off, start)), batch.n), start, batch.next)


def part_of(batch: ColumnBatch, cut: slice, start: int, until: int) -> ColumnBatch:
    """The records `cut` of a batch and what it refused, as a batch of the offsets from `start` up to `until`."""
    columns = {name: getattr(batch, name)[cut] for name in ("off", "ts", "ks", "kl", "vs", "vl", "hs", "hl")}
    refused = [whole for whole in batch.refused if start <= whole.first < until]
    return replace(batch, start=start, next=until, refused=refused, **columns)
