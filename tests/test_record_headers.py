"""The one header that the pipeline carries on is found wherever it stands."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.record_headers import _find, find_header
from schemas.recordbatch import read
from tests.record_batches import Headers, Rec, batch, ours

names = st.sampled_from(["traceparent", "traceparen", "traceparent2", "", "\u00e9"])
headers = st.lists(st.tuples(names, st.one_of(st.none(), st.binary(max_size=70))), max_size=5)


@settings(max_examples=100, deadline=None)
@given(st.lists(headers, min_size=1, max_size=8))
def test_the_last_header_of_a_name_is_found(all_headers: list[Headers]) -> None:
    data = batch([Rec(i, 1, b"k", b"v", found) for i, found in enumerate(all_headers)])
    (columns,) = read(data, topic="topic", partition=0, start=0)
    starts, lengths = find_header(columns.buf, columns.hs, columns.hl, b"traceparent")
    for i, expected in enumerate(all_headers):
        value = dict(expected).get("traceparent")
        assert lengths[i] == (-1 if value is None else len(value))
        assert value is None or columns.buf[starts[i] : starts[i] + lengths[i]].tobytes() == value
    assert [record.headers for record in ours([columns])] == all_headers


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_a_damaged_span_gives_no_header_or_one_inside_it(junk: bytes) -> None:
    buf = np.frombuffer(bytearray(junk), np.uint8)
    span = np.array([0], np.int64), np.array([len(junk)], np.int64)
    name = np.frombuffer(bytearray(junk[2:3]), np.uint8)
    compiled, plain = _find(buf, *span, name), _find.py_func(buf, *span, name)
    assert (compiled[0][0], compiled[1][0]) == (plain[0][0], plain[1][0])
    start, length = int(compiled[0][0]), int(compiled[1][0])
    assert length == -1 or 0 <= start <= start + length <= len(junk)
