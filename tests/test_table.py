"""The table knows every key it ever met by one row, however it grew, and never takes one key for another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.columns import Bytes, Longs
from streams import table as module
from streams.table import MAX_KEY, StateTable
from streams.trust import REGISTERED

keys = st.lists(
    st.one_of(
        st.integers(0, 60).map(lambda number: f"acme/agent-{number}".encode()),
        st.binary(min_size=3, max_size=MAX_KEY),
    ),
    max_size=120,
)


def spans(names: Sequence[bytes]) -> tuple[Bytes, Longs, Longs]:
    """Keys side by side, with their starts and lengths."""
    lengths = np.array([len(name) for name in names], np.int64)
    return np.frombuffer(b"".join(names) or b"\0", np.uint8), np.cumsum(lengths) - lengths, lengths


@settings(max_examples=100, deadline=None)
@given(keys, keys)
def test_rows_are_numbered_in_the_order_of_arrival_and_stay(first: list[bytes], second: list[bytes]) -> None:
    known: dict[bytes, int] = {}
    subject = StateTable(room=4)
    for names in (first, second):
        expected = [known.setdefault(name, len(known)) for name in names]
        assert subject.rows_of(*spans(names)).tolist() == expected
    assert subject.rows == len(known)
    assert [subject.key(row) for row in range(subject.rows)] == list(known)
    assert all(subject.row(name) == row for name, row in known.items())


def test_a_key_never_met_has_no_row() -> None:
    subject = StateTable()
    subject.rows_of(*spans([b"acme/a"]))
    assert subject.row(b"acme/b") == -1
    assert subject.rows == 1


def test_what_no_agent_can_be_called_gets_no_row() -> None:
    subject = StateTable()
    assert subject.rows_of(*spans([b"", b"\xff", b"a" * (MAX_KEY + 1)])).tolist() == [-1, -1, -1]


def test_growth_keeps_what_the_rows_say() -> None:
    subject = StateTable(room=2)
    names = [f"acme/{number}".encode() for number in range(1000)]
    for at in range(0, 1000, 50):
        rows = subject.rows_of(*spans(names[at : at + 50]))
        subject.trust["points"][rows] = rows * 7
    assert subject.trust["points"][:1000].tolist() == [row * 7 for row in range(1000)]


def test_keys_with_equal_hashes_keep_their_own_rows() -> None:
    subject = StateTable(room=8)
    buf = np.frombuffer(b"acme/xacme/y", np.uint8)
    same = np.uint64(0xABCDEF)
    for start in (0, 6):
        module.add(subject.slots, subject.ends, subject.arena, subject.meta, same, buf, start, 6)
    found = [module.find(subject.slots, subject.ends, subject.arena, same, buf, start, 6) for start in (0, 6)]
    assert found == [0, 1]


def test_the_registered_are_counted_from_the_rows() -> None:
    subject = StateTable()
    subject.rows_of(*spans([b"acme/a", b"acme/b", b"acme/c"]))
    assert subject.unregistered == 3
    subject.trust["flags"][1] = REGISTERED
    subject.recount(np.arange(3))
    assert subject.unregistered == 2
    assert subject.registered[:3].tolist() == [0, 1, 0]


def test_an_agent_costs_less_than_its_share_of_the_memory() -> None:
    per_row = sum(
        getattr(StateTable(), name).itemsize
        for name in ("trust", "limit", "habit", "ends", "registered", "mark", "touched")
    )
    index = 4 * np.dtype(np.uint64).itemsize  # at worst a quarter of the slots is in use
    assert per_row + index + 40 < 450


@settings(max_examples=25, deadline=None)
@given(keys)
def test_the_compiled_index_is_the_plain_one(names: list[bytes]) -> None:
    compiled, plain = StateTable(room=256), StateTable(room=256)
    buf, ks, kl = spans(names)
    rows: Longs = np.empty(len(names), np.int64)
    module.rows_of.py_func(buf, ks, kl, 0, plain.slots, plain.ends, plain.arena, plain.meta, rows)
    assert compiled.rows_of(buf, ks, kl).tolist() == rows.tolist()
    assert np.array_equal(compiled.slots, plain.slots)
    assert np.array_equal(compiled.ends, plain.ends)
