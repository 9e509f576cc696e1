"""Rows of the state as records: of `agent.state`, from which a lane recovers, and of `trust.levels`, which others read.

Both are written from one frame, one column of it per number of the row, once per step for the rows that were touched.
Habits travel as an encoded Avro array, written and read here, because a row keeps up to eight of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from schemas import varint
from schemas.avro_decode import BYTES, decode, frame_ids
from schemas.avro_encode import Constant, Encoder
from schemas.avro_plan import Plan, PlanError, compile_plan, layout
from schemas.catalog import SchemaIds, schema_of
from schemas.columns import Column, ColumnBatch, Frame, Layout, Longs
from schemas.errors import FormatError
from schemas.event_types import CAUSES, EventType
from schemas.kernels import kernel
from schemas.reasons import Reason
from schemas.topics import POSITION_KEY
from schemas.wire import WireError
from schemas.wire import decode as decode_one

from .outputs import Outbox
from .policy_model import TIERS
from .priority import HABIT, KEPT_TYPES, MOST
from .ratelimit import LIMIT
from .table import StateTable
from .trust import CLASSES, REGISTERED, RETIRED, SUSPENDED, TOP, TRUST, status_of

STATE: Final = "agent.state"
LEVELS: Final = "trust.levels"

_TIMES = 0, 1 << 62
BOUNDS: Final = {
    "trust.points": (0, TOP),
    "trust.told": (0, TOP),
    "trust.last": _TIMES,
    "trust.since": _TIMES,
    "trust.tier": (0, TIERS - 1),
    "trust.flags": (0, REGISTERED | SUSPENDED | RETIRED),
    "trust.observability": (0, len(CLASSES) - 1),
    "trust.losses": (-(1 << 62), 0),
    "trust.why": (0, len(CAUSES) - 1),
    "limit.tat_us": (-(1 << 62), 1 << 62),
    "limit.violations": (0, (1 << 31) - 1),
    "limit.opened": _TIMES,
    "limit.throttled_until_us": (-(1 << 62), 1 << 62),
    "limit.tier": (0, TIERS - 1),
    "habits.ref": _TIMES,
}
"""Least and most of each number of a row. Stages look tables up by them: a row of others, right checksum or not, was
never written by a lane."""
FIELDS: Final = (*BOUNDS, "habits.types")
"""What a row says, in the order of the frame's columns."""

HABIT_BYTES: Final = 2 + KEPT_TYPES * 40
"""No encoded array of habits takes more."""
TYPES: Final = len(EventType)

_ROW = Layout(
    (
        *(Column(name, "long") for name in FIELDS[:-1]),
        Column("habits.types", "span", bank=1),
        Column("key", "span"),
        Column("tenant_id", "span"),
        Column("agent_id", "span"),
        Column("status", "long"),
    )
)
_FIRST_TEXT = _ROW.row("habits.types")
_STATUS = _ROW.row("status")
_SLASH = ord("/")

_M = types.int64[:, ::1]
_L = types.int64[::1]
_B = types.uint8[::1]
_T, _I, _H = (numba.from_dtype(dtype)[::1] for dtype in (TRUST, LIMIT, HABIT))


@kernel(types.int64(_T, _I, _H, _L, _B, _L, _M, _B))
def unload(trust, limit, habit, ends, arena, rows, m, aux):  # type: ignore[no-untyped-def]
    """Write `rows` into the columns of `_ROW`, their habits into `aux`; answers the bytes of `aux` used."""
    used = 0
    for j in range(len(rows)):
        r = rows[j]
        t = trust[r]
        m[0, j] = t["points"]
        m[1, j] = t["told"]
        m[2, j] = t["last"]
        m[3, j] = t["since"]
        m[4, j] = t["tier"]
        m[5, j] = t["flags"]
        m[6, j] = t["observability"]
        m[7, j] = t["losses"]
        m[8, j] = t["why"]
        g = limit[r]
        m[9, j] = g["tat_us"]
        m[10, j] = g["violations"]
        m[11, j] = g["opened"]
        m[12, j] = g["throttled_until_us"]
        m[13, j] = g["tier"]
        h = habit[r]
        m[14, j] = h["ref"]
        m[_FIRST_TEXT, j] = used
        p = used
        if h["kept"] > 0:
            p = varint.put(aux, p, h["kept"])
        for k in range(h["kept"]):
            p = varint.put(aux, p, h["type"][k])
            p = varint.put(aux, p, h["weight"][k])
            p = varint.put(aux, p, h["ref"] - h["last"][k])
            p = varint.put(aux, p, h["mean"][k])
        aux[p] = 0
        used = p + 1
        m[_FIRST_TEXT + 1, j] = used - m[_FIRST_TEXT, j]
        slash = ends[r]
        while arena[slash] != _SLASH:
            slash += 1
        m[_FIRST_TEXT + 2, j] = ends[r]
        m[_FIRST_TEXT + 3, j] = ends[r + 1] - ends[r]
        m[_FIRST_TEXT + 4, j] = ends[r]
        m[_FIRST_TEXT + 5, j] = slash - ends[r]
        m[_FIRST_TEXT + 6, j] = slash + 1
        m[_FIRST_TEXT + 7, j] = ends[r + 1] - slash - 1
        m[_STATUS, j] = status_of(t["flags"])
    return used


@kernel(types.int64(_T, _I, _H, _L, BYTES, _M))
def load(trust, limit, habit, rows, buf, m):  # type: ignore[no-untyped-def]
    """Read the columns of `FIELDS` into `rows`, negative ones left out. The habits' bytes were decoded once: they are
    sound. Answers the first record with more habits than a row keeps, or with one that no lane has; or -1.
    """
    for j in range(len(rows)):
        if rows[j] < 0:
            continue
        t = trust[rows[j]]
        t["points"] = m[0, j]
        t["told"] = m[1, j]
        t["last"] = m[2, j]
        t["since"] = m[3, j]
        t["tier"] = m[4, j]
        t["flags"] = m[5, j]
        t["observability"] = m[6, j]
        t["losses"] = m[7, j]
        t["why"] = m[8, j]
        g = limit[rows[j]]
        g["tat_us"] = m[9, j]
        g["violations"] = m[10, j]
        g["opened"] = m[11, j]
        g["throttled_until_us"] = m[12, j]
        g["tier"] = m[13, j]
        h = habit[rows[j]]
        h["ref"] = m[14, j]
        p = m[15, j]
        end = p + m[16, j]
        kept = 0
        while p < end:
            left, p = varint.get(buf, p, end)
            if left < 0:
                left = -left
                _, p = varint.get(buf, p, end)
            if left > KEPT_TYPES - kept:
                return j
            for _ in range(left):
                kind, p = varint.get(buf, p, end)
                weight, p = varint.get(buf, p, end)
                since, p = varint.get(buf, p, end)
                mean, p = varint.get(buf, p, end)
                if not 0 <= kind < TYPES or not 0 <= weight <= MOST:
                    return j
                h["type"][kept] = kind
                h["weight"][kept] = weight
                h["last"][kept] = h["ref"] - since
                h["mean"][kept] = mean
                kept += 1
        h["kept"] = kept
    return -1


@dataclass(slots=True)
class Position:
    """Where a lane stands: next offset per source, last journal entry and the hash of its value; and how many rows the
    state had then, -1 in records of builds that did not say.
    """

    sources: dict[str, int]
    entry: int
    entry_hash: bytes
    policy_version: str = ""
    build: str = ""
    rows: int = -1

    def as_value(self) -> dict[str, Any]:
        """The position record's value."""
        sources = [{"source": name, "next": offset} for name, offset in self.sources.items()]
        position = {
            "sources": sources,
            "entry": self.entry,
            "entry_hash": self.entry_hash,
            "policy_version": self.policy_version,
            "build": self.build,
            "rows": self.rows,
        }
        return {"position": position, "trust": None, "limit": None, "habits": None}


class StateCodec:
    """Writes and reads the rows of a `StateTable`."""

    def __init__(self, ids: SchemaIds) -> None:
        self._ids = ids
        self._reader = schema_of(STATE)
        self._layout = layout(self._reader, FIELDS)
        self._columns = np.array([self._layout.row(name) for name in FIELDS] + [self._layout.second(FIELDS[-1])])
        self._plans: dict[int, Plan] = {}
        row = {f"{name}?": Constant(True) for name in ("trust", "limit", "habits")}
        self._state = Encoder(self._reader, ids.id_of(STATE), _ROW, {"position": Constant(None), **row})
        level = {name: f"trust.{name}" for name in ("points", "tier", "since", "observability", "why")}
        self._level = Encoder(schema_of(LEVELS), ids.id_of(LEVELS), _ROW, {**level, "last_activity": "trust.last"})

    def write(self, out: Outbox, table: StateTable, rows: Longs) -> None:
        """Append a record of `agent.state` and one of `trust.levels` per row."""
        aux = np.empty(len(rows) * HABIT_BYTES, np.uint8)
        frame = _ROW.frame(len(rows), table.arena, aux)
        unload(table.trust, table.limit, table.habit, table.ends, table.arena, rows, frame.matrix, aux)
        every, key = np.arange(len(rows)), (frame["key"], frame.second("key"), frame.buf)
        out.append(LEVELS, self._level, frame, every, frame["trust.last"], key)
        out.append(STATE, self._state, frame, every, frame["trust.last"], key)

    def read(self, batch: ColumnBatch, table: StateTable) -> Position | None:
        """Take the rows of a batch of `agent.state`; the last position in it, or None. FormatError for what no lane
        ever wrote.
        """
        if batch.refused:
            raise _damaged(batch, batch.refused[0].first)
        positions = np.flatnonzero(batch.kl == 1)
        agents = np.flatnonzero(batch.kl != 1)
        frame = self._decoded(batch, agents)
        rows = table.rows_of(batch.buf, batch.ks, batch.kl)
        strange = agents[rows[agents] < 0]
        if len(strange):
            raise _no_row(batch, int(strange[0]))
        columns = np.ascontiguousarray(frame.matrix[self._columns])
        damaged = load(table.trust, table.limit, table.habit, rows, frame.buf, columns)
        if damaged >= 0:
            raise _no_row(batch, damaged)
        table.recount(rows[agents])
        return self._position(batch, int(positions[-1])) if len(positions) else None

    def _decoded(self, batch: ColumnBatch, agents: Longs) -> Frame:
        error: Longs = np.zeros(batch.n, np.int64)
        schema_ids = frame_ids(batch.buf, batch.vs, batch.vl, error)
        frame = self._layout.frame(batch.n, batch.buf)
        for number in np.unique(schema_ids[agents[error[agents] == 0]]):
            select = agents[schema_ids[agents] == number]
            decode(self._plan(batch, int(number)), batch.buf, batch.vs, batch.vl, select, frame, error)
        error[agents[~_possible(frame, agents)]] = Reason.UNDECODABLE
        bad = agents[error[agents] != 0]
        if len(bad):
            raise _no_row(batch, int(bad[0]))
        return frame

    def _plan(self, batch: ColumnBatch, number: int) -> Plan:
        if number not in self._plans:
            writer = self._ids.writer_schema(number)
            if writer is None:
                raise FormatError(
                    f"{batch.topic}[{batch.partition}]: rows have schema id {number}, which nobody knows. Was the "
                    "state written with another registry? Give the worker that one."
                )
            try:
                self._plans[number] = compile_plan(writer, self._reader, self._layout)
            except PlanError as error:
                where = f"{batch.topic}[{batch.partition}]"
                raise FormatError(f"{where}: rows have schema id {number}, which is none of rows: {error}") from error
        return self._plans[number]

    def _position(self, batch: ColumnBatch, i: int) -> Position:
        if batch.key(i) != POSITION_KEY:
            raise _no_row(batch, i)
        try:
            position = decode_one(batch.value(i), self._ids, self._reader)[1]["position"]
        except WireError:
            position = None
        if position is None:
            raise _no_row(batch, i)
        sources = {row["source"]: row["next"] for row in position.pop("sources")}
        if min(position["entry"], position["rows"] + 1, *sources.values(), 0) < 0:
            raise _no_row(batch, i)
        return Position(sources, **position)


def _possible(frame: Frame, agents: Longs) -> NDArray[np.bool_]:
    """Which of `agents` are rows that a lane may have written: nothing missing, every number within its bounds."""
    possible = np.ones(len(agents), np.bool_)
    for name, (least, most) in BOUNDS.items():
        said = frame[name][agents]
        possible &= (frame.second(name)[agents] != 0) & (said >= least) & (said <= most)
    return possible


def _no_row(batch: ColumnBatch, i: int) -> FormatError:
    return _damaged(batch, int(batch.off[i]))


def _damaged(batch: ColumnBatch, offset: int) -> FormatError:
    return FormatError(
        f"{batch.topic}[{batch.partition}]: the record at offset {offset} is no row of the state: its bytes are "
        "damaged, or something else writes to this topic. Nothing is decided on it. Make the state anew from sources "
        f"and journal: cognistream state rebuild --partition {batch.partition}"
    )
