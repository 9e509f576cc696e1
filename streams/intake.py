"""How the values of a source become columns: which fields decisions read, and by which schema they were written.

One `Source` per source topic, made once: the layout of its frames (fields of the event first, decisions after them),
where the form checks and the stages find their fields, and the plans by writer's schema. `decode` is pure but for the
resolver of schema ids, which may have to ask a registry; it changes no state, so a step decodes everything before it
decides anything, and a registry that does not answer leaves the lane as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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


@dataclass(slots=True)
class Decoded:
    """A batch as columns: `error` holds a `Reason` per record, `schema_ids` -1 where there is no frame."""

    batch: ColumnBatch
    source: Source
    frame: Frame
    error: Longs
    schema_ids: Longs
    row: Longs
    """Row of the state, or why there is none (`REFUSED`, `REPEATED`): admission fills it."""
    fingerprints: list[bytes] = field(default_factory=list)
    """Of the writers' schemas met, in the order of their first record."""


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
        self._by_id: dict[int, tuple[bytes, Plan | None]] = {}

    def decode(self, batch: ColumnBatch, ids: SchemaIds) -> Decoded:
        """The columns of `batch`; RegistryUnreachable when a schema id must be asked for and cannot."""
        n = batch.n
        error: Longs = np.zeros(n, np.int64)
        schema_ids = frame_ids(batch.buf, batch.vs, batch.vl, error)
        frame = self.layout.frame(n, batch.buf)
        done = Decoded(batch, self, frame, error, schema_ids, np.full(n, REFUSED, np.int64))
        for number, select in _groups(schema_ids):
            known = self._plan(number, ids)
            if known is None:
                error[select] = Reason.UNKNOWN_SCHEMA
                continue
            mark, plan = known
            done.fingerprints.append(mark)
            if plan is None:
                error[select] = Reason.SCHEMA_UNRESOLVABLE
            else:
                decode(plan, batch.buf, batch.vs, batch.vl, select, frame, error)
        good = error == Reason.OK
        if good.all():
            np.take(self.kinds, frame["event_type"], out=frame["kind"])
        else:
            frame["kind"][:] = 0
            frame["kind"][good] = self.kinds[frame["event_type"][good]]
        frame["offset"][:] = batch.off
        return done

    def _plan(self, number: int, ids: SchemaIds) -> tuple[bytes, Plan | None] | None:
        """Fingerprint and plan of a schema id; no plan when it does not resolve, None for an unknown id."""
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
    """Shape (k, 3): rows of value and presence (-1: none), kind of check."""
    rows = [
        (fields.row(column.name), fields.second(column.name) if column.nullable else -1, CHECKS[column.name])
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
