"""What a lane writes of its rows is what it reads back, and what others read of an agent's trust."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.catalog import local_table, schema_named
from schemas.columns import ColumnBatch
from schemas.errors import FormatError
from schemas.recordbatch import read
from schemas.recordbatch_write import frame_batch
from schemas.wire import FRAME, decode, encode
from streams import outputs, repeats, state_codec
from streams.outputs import Outbox
from streams.priority import KEPT_TYPES
from streams.repeats import Window
from streams.state_codec import LEVELS, STATE, Position, StateCodec
from streams.table import StateTable

from .lanes import IDS, Record, batch_of
from .test_admission import KAIZEN, event
from .test_table import spans

longs = st.integers(-(2**62), 2**62)
times = st.integers(0, 2**42)
habits = st.lists(
    st.tuples(st.integers(0, 32), st.integers(0, 2**38), times, times),
    max_size=KEPT_TYPES,
    unique_by=lambda habit: habit[0],
)


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """Everything that a row may say."""
    return {
        "trust": {
            "last": draw(times), "since": draw(times), "losses": -draw(times),
            "points": draw(st.integers(0, 1_000_000)), "told": draw(st.integers(0, 1_000_000)),
            "tier": draw(st.integers(0, 5)), "observability": draw(st.integers(0, 4)), "flags": draw(st.integers(0, 7)),
            "why": draw(st.integers(0, 35)),
        },
        "limit": {
            "tat_us": draw(longs), "throttled_until_us": draw(longs), "opened": draw(times),
            "violations": draw(st.integers(0, 2**31 - 1)), "tier": draw(st.integers(0, 5)),
        },
        "ref": draw(times),
        "habits": draw(habits),
    }  # fmt: skip


def table_of(said: list[dict[str, Any]]) -> StateTable:
    """A table with a row per item."""
    table = StateTable(room=2)
    table.rows_of(*spans([f"acme/agent/{number}".encode() for number in range(len(said))]))
    for number, row in enumerate(said):
        for stage in ("trust", "limit"):
            for name, value in row[stage].items():
                getattr(table, stage)[number][name] = value
        habit = table.habit[number]
        habit["ref"], habit["kept"] = row["ref"], len(row["habits"])
        for slot, values in enumerate(row["habits"]):
            for name, value in zip(("type", "weight", "last", "mean"), values, strict=True):
                habit[name][slot] = value
    return table


def written(table: StateTable, name: str) -> list[ColumnBatch]:
    """What the codec writes of all rows to a topic, as it is read back."""
    out = Outbox()
    StateCodec(IDS).write(out, table, np.arange(table.rows))
    return [part for body in out.bodies[name] for part in read(frame_batch(body), topic=name, partition=0, start=0)]


@settings(max_examples=60, deadline=None)
@given(st.lists(rows(), min_size=1, max_size=5))
def test_rows_come_back_as_they_were(said: list[dict[str, Any]]) -> None:
    table, again = table_of(said), StateTable()
    for batch in written(table, STATE):
        assert StateCodec(IDS).read(batch, again) is None
    assert [again.key(row) for row in range(again.rows)] == [table.key(row) for row in range(table.rows)]
    for name in ("trust", "limit", "habit"):
        assert np.array_equal(getattr(again, name)[: table.rows], getattr(table, name)[: table.rows])
    assert again.unregistered == sum(not row["trust"]["flags"] & 1 for row in said)


@settings(max_examples=40, deadline=None)
@given(rows())
def test_levels_say_what_the_row_says(said: dict[str, Any]) -> None:
    (batch,) = written(table_of([said]), LEVELS)
    level, trust = decode(batch.value(0), IDS)[1], said["trust"]
    assert batch.key(0) == b"acme/agent/0"
    assert (level["tenant_id"], level["agent_id"]) == ("acme", "agent/0")
    assert (level["points"], level["last_activity"], level["since"]) == (trust["points"], trust["last"], trust["since"])
    assert level["tier"] == f"T{trust['tier']}"
    status = ["active", "unregistered", "suspended", "retired"]
    flags = trust["flags"]
    assert level["status"] == status[3 if flags & 4 else 2 if flags & 2 else 0 if flags & 1 else 1]


def test_a_row_at_its_largest_stays_within_256_bytes_beside_its_key() -> None:
    big = {
        "trust": {"last": 2**42, "since": 2**42, "losses": -(2**40), "points": 10**6, "told": 10**6, "why": 35},
        "limit": {"tat_us": 2**52, "throttled_until_us": 2**52, "opened": 2**42, "violations": 2**20},
        "ref": 2**42,
        "habits": [(32, 2**38, 2**42 - 2**36, 2**36)] * KEPT_TYPES,
    }
    (batch,) = written(table_of([big]), STATE)
    assert batch.vl[0] <= 256


def test_the_position_comes_back_and_the_newest_counts() -> None:
    older, newer = (
        Position({"kaizen": next_}, entry, bytes([entry]) * 32, "p-1", "b") for next_, entry in ((3, 1), (9, 2))
    )
    records = [Record("", 1, b"\xff", encode(STATE, position.as_value(), IDS)) for position in (older, newer)]
    assert StateCodec(IDS).read(batch_of(STATE, 0, 0, records), StateTable()) == newer


FIRST = next(number for number, stem in local_table().items() if stem == "agent_state.v1")


def under_the_first_schema(value: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema_named("agent_state.v1"), value)
    return FRAME.pack(0, FIRST) + out.getvalue()


def test_rows_and_positions_under_the_first_schema_are_read_in_one_fetch_with_todays() -> None:
    said = [{"trust": {"points": 7}, "limit": {}, "ref": 1, "habits": [(3, 1, 1, 0)]}]
    (today,) = written(table_of(said), STATE)
    old = Position({"kaizen": 9}, 2, bytes(32), "p-1", "b").as_value()
    del old["position"]["rows"]
    records = [
        Record("", 1, b"acme/agent/1", under_the_first_schema(decode(today.value(0), IDS)[1])),
        Record("", 2, b"acme/agent/0", today.value(0)),
        Record("", 3, b"\xff", under_the_first_schema(old)),
    ]
    again = StateTable()
    position = StateCodec(IDS).read(batch_of(STATE, 0, 0, records), again)
    assert position == Position({"kaizen": 9}, 2, bytes(32), "p-1", "b", rows=-1)
    assert [again.key(row) for row in range(again.rows)] == [b"acme/agent/1", b"acme/agent/0"]
    assert again.trust["points"][:2].tolist() == [7, 7]


def changed(**says: Any) -> bytes:
    """The value of a row with another part, e.g. trust={"tier": 9}; None for a part that is missing."""
    (sound,) = written(table_of([{"trust": {}, "limit": {}, "ref": 1, "habits": [(3, 1, 1, 0)]}]), STATE)
    value = decode(sound.value(0), IDS)[1]
    for part, new in says.items():
        value[part] = None if new is None else value[part] | new
    return encode(STATE, value, IDS)


@pytest.mark.parametrize(
    "said",
    [
        {"trust": {"tier": 6}}, {"trust": {"tier": -1}}, {"trust": {"observability": 5}}, {"trust": {"flags": 8}},
        {"trust": {"points": 1_000_001}}, {"trust": {"why": 36}}, {"trust": {"last": -1}}, {"limit": {"tier": 6}},
        {"limit": {"violations": -1}}, {"trust": None}, {"limit": None}, {"habits": None},
        {"habits": {"types": [{"type": 33, "weight": 1, "gap_since": 0, "mean": 0}]}},
        {"habits": {"types": [{"type": 3, "weight": -1, "gap_since": 0, "mean": 0}]}},
    ],
    ids=str,
)  # fmt: skip
def test_a_row_that_no_lane_wrote_is_refused_however_well_it_decodes(said: dict[str, Any]) -> None:
    """Tiers and classes are looked up in tables without asking: such a row would read what lies beside them."""
    assert StateCodec(IDS).read(batch_of(STATE, 0, 0, [Record("", 1, b"acme/bot", changed())]), StateTable()) is None
    batch = batch_of(STATE, 3, 70, [Record("", 1, b"acme/bot", changed(**said))])
    with pytest.raises(FormatError, match=r"agent\.state\[3\]: the record at offset 70 is no row of the state"):
        StateCodec(IDS).read(batch, StateTable())


@pytest.mark.parametrize("says", [({"kaizen": -1}, 0, 0), ({}, -1, 0), ({}, 0, -2)], ids=str)
def test_a_position_that_no_lane_wrote_is_refused(says: tuple[dict[str, int], int, int]) -> None:
    sources, entry, rows = says
    value = encode(STATE, Position(sources, entry, bytes(32), rows=rows).as_value(), IDS)
    with pytest.raises(FormatError, match="the record at offset 70 is no row of the state"):
        StateCodec(IDS).read(batch_of(STATE, 3, 70, [Record("", 1, b"\xff", value)]), StateTable())


def test_a_value_of_another_topic_is_refused_with_its_place() -> None:
    value = encode(STATE, Position({}, 0, bytes(32)).as_value(), IDS)
    other = value[:1] + IDS.id_of(LEVELS).to_bytes(4) + value[5:]
    with pytest.raises(FormatError, match=r"agent\.state\[3\]: rows have schema id"):
        StateCodec(IDS).read(batch_of(STATE, 3, 70, [Record("", 1, b"acme/bot", other)]), StateTable())


@settings(max_examples=20, deadline=None)
@given(st.lists(rows(), min_size=1, max_size=4))
def test_the_compiled_loops_are_the_plain_ones(said: list[dict[str, Any]]) -> None:
    table, found = table_of(said), []
    n = table.rows
    for unload, load in (
        (state_codec.unload, state_codec.load),
        (state_codec.unload.py_func, state_codec.load.py_func),
    ):
        m, aux, again = np.zeros((40, n), np.int64), np.zeros(n * state_codec.HABIT_BYTES, np.uint8), table_of(said)
        used = unload(table.trust, table.limit, table.habit, table.ends, table.arena, np.arange(n), m, aux)
        for stage in (again.trust, again.limit, again.habit):
            stage[:] = np.zeros(1, stage.dtype)
        columns = np.ascontiguousarray(m[[*range(15), 15, 16]])
        assert load(again.trust, again.limit, again.habit, np.arange(n), aux, columns) == -1
        found.append((m.tobytes(), aux[:used].tobytes(), again.trust.tobytes(), again.habit.tobytes()))
    assert found[0] == found[1]
    assert found[0][2] == table.trust.tobytes()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(-2, 3), st.integers(0, 2), st.booleans(), st.integers(0, 4)), max_size=30))
def test_events_are_sorted_out_as_the_plain_loop_does(events: list[tuple[int, int, bool, int]]) -> None:
    columns = [np.array(column, np.int64) for column in zip(*events, strict=True)] or [np.zeros(0, np.int64)] * 4
    found = []
    for kernel in (outputs.sort_out, outputs.sort_out.py_func):
        groups, counts = np.zeros((5, len(events)), np.int64), np.zeros(5, np.int64)
        kernel(*columns, groups, counts)
        found.append([group[:count].tolist() for group, count in zip(groups, counts.tolist(), strict=True)])
    assert found[0] == found[1]
    assert sorted(found[0][0] + found[0][1] + found[0][2]) == [i for i, (row, *_) in enumerate(events) if row >= 0]


def test_the_window_is_filled_again_as_the_plain_loop_does() -> None:
    batch = batch_of(KAIZEN, 0, 0, [event(event_id=f"e{number}") for number in range(6)])
    m = np.zeros((4, 6), np.int64)
    m[2], m[3] = batch.vs, 9
    found = []
    for kernel in (repeats.refill, repeats.refill.py_func):
        window, error = Window(4), np.array([0, 0, 7, 0, 0, 0])
        kernel(
            batch.buf, batch.off, batch.ks, batch.kl, batch.vs, batch.vl, m, np.array([0, 0, 2]), error, window.ring,
            window.heads, window.seen,
        )  # fmt: skip
        found.append((window.ring.tobytes(), window.heads.tobytes(), window.oldest))
    assert found[0] == found[1]
    assert found[0][2] == 1
