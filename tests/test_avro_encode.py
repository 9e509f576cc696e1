"""Columns become the bytes that fastavro writes, in records that Kafka's own reader takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from aiokafka.record.default_records import DefaultRecordBatch
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import avro_write
from schemas.avro_decode import decode
from schemas.avro_encode import Constant, Encoder
from schemas.avro_plan import PlanError, compile_plan, layout
from schemas.avro_schema import Schema
from schemas.catalog import schema_of
from schemas.columns import Column, Frame, Layout, Longs
from schemas.examples import examples
from schemas.recordbatch_write import RecordsBody, frame_batch
from schemas.topics import TOPICS
from tests import avro_cases as cases
from tests.avro_cases import Json, leaves, record, spans, values, write

HEADER = b"\0\0\0\0\7"
NO_LONGS = np.empty(0, np.int64)


def frame_of(schema: Json, items: list[Any]) -> Frame:
    """All fields of the items as columns, decoded from what fastavro writes."""
    plan = compile_plan(schema, schema, layout(schema, leaves(schema)))
    buf, starts, lengths = spans([HEADER + write(schema, item) for item in items])
    frame = plan.layout.frame(len(items), buf)
    error = np.zeros(len(items), np.int64)
    decode(plan, buf, starts, lengths, np.arange(len(items)), frame, error)
    assert not error.any()
    return frame


def records_of(body: RecordsBody) -> list[Any]:
    """The records of a body, by aiokafka."""
    return list(DefaultRecordBatch(frame_batch(body)))


def keys_of(keys: list[bytes | None]) -> tuple[Longs, Longs, Any]:
    """Keys in a bank of their own."""
    bank, starts, lengths = spans([key or b"" for key in keys])
    return starts, np.where([key is None for key in keys], -1, lengths), bank


@st.composite
def schema_and_values(draw: st.DrawFn) -> tuple[Json, list[Any]]:
    """A record schema and some of its values."""
    schema = draw(cases.records(cases.Names()))
    return schema, draw(st.lists(values(schema), min_size=1, max_size=4))


@settings(max_examples=80, deadline=None)
@given(schema_and_values(), st.data())
def test_values_are_the_bytes_that_fastavro_writes(case: tuple[Json, list[Any]], data: st.DataObject) -> None:
    schema, items = case
    frame = frame_of(schema, items)
    select = np.array(data.draw(st.permutations(range(len(items)))), np.int64)
    out, starts, lengths = Encoder(schema, 7, frame.layout).append_values(frame, select)
    got = [out[start : start + length].tobytes() for start, length in zip(starts, lengths, strict=True)]
    assert got == [HEADER + write(schema, items[i]) for i in select]


@settings(max_examples=60, deadline=None)
@given(schema_and_values(), st.data())
def test_records_are_read_back_by_kafkas_reader(case: tuple[Json, list[Any]], data: st.DataObject) -> None:
    schema, items = case
    n = len(items)
    frame = frame_of(schema, items)
    keys = data.draw(st.lists(st.one_of(st.none(), st.binary(max_size=200)), min_size=n, max_size=n))
    ts = np.array(data.draw(st.lists(st.integers(0, 1 << 44), min_size=n, max_size=n)), np.int64)
    body = RecordsBody(capacity=1)
    encoder = Encoder(schema, 7, frame.layout)
    encoder.append(body, frame, np.arange(n), ts, keys_of(keys))
    encoder.append(body, frame, np.array([n - 1]), ts, keys_of(keys))
    records = records_of(body)
    assert body.max_ts == ts.max()
    assert [entry.offset for entry in records] == list(range(n + 1))
    for entry, i in zip(records, [*range(n), n - 1], strict=True):
        assert (entry.key, entry.timestamp, entry.headers) == (keys[i], ts[i], [])
        assert entry.value == HEADER + write(schema, items[i])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.none(), st.binary(max_size=10_000)), min_size=1, max_size=6))
def test_lengths_of_one_to_three_bytes_and_growing_buffers_fit(texts: list[bytes | None]) -> None:
    schema = record(("t", ["null", "bytes"]))
    n = len(texts)
    frame = frame_of(schema, [{"t": text} for text in texts])
    trace = (frame["t"].copy(), frame.second("t").copy())
    body = RecordsBody(capacity=1)
    Encoder(schema, 7, frame.layout).append(body, frame, np.arange(n), np.zeros(n, np.int64), keys_of(texts), trace)
    for entry, text in zip(records_of(body), texts, strict=True):
        assert entry.value == HEADER + write(schema, {"t": text})
        assert entry.key == text
        assert entry.headers == ([] if text is None else [("traceparent", text)])


@settings(max_examples=30, deadline=None)
@given(schema_and_values())
def test_the_compiled_loops_equal_the_plain_ones(case: tuple[Json, list[Any]]) -> None:
    schema, items = case
    frame = frame_of(schema, items)
    encoder = Encoder(schema, 7, frame.layout)
    n = len(items)
    starts, lengths, bank = keys_of([b"key"] * n)
    results = []
    for loop in (avro_write.append, avro_write.append.py_func):
        out = np.zeros(20_000, np.uint8)
        end = loop(
            encoder.code, encoder.constants, frame.matrix, frame.buf, frame.aux, np.arange(n), np.arange(n), starts,
            lengths, bank, NO_LONGS, NO_LONGS, avro_write.TRACEPARENT, out, 61, 0, 0, 0, encoder.bound,
        )  # fmt: skip
        results.append((tuple(map(int, end)), out[: end[1]].tolist()))
    assert results[0] == results[1]


SYMBOLS: Json = {"type": "enum", "name": "E", "symbols": ["A", "B"]}


def small(**columns: list[int]) -> Frame:
    """A frame of long columns."""
    frame = Layout(Column(name, "long") for name in columns).frame(
        len(next(iter(columns.values()))), np.empty(0, np.uint8)
    )
    for name, numbers in columns.items():
        frame[name][:] = numbers
    return frame


def only_value(encoder: Encoder, frame: Frame) -> bytes:
    """The value of a frame's single record, without its Confluent frame."""
    return encoder.append_values(frame, np.arange(1))[0].tobytes()[5:]


def test_columns_of_other_names_and_constants() -> None:
    inner = record(("x", "int"), name="S")
    schema = record(
        ("a", "long"), ("e", SYMBOLS), ("n", ["null", "string"]), ("s", ["null", inner]), ("t", ["null", inner])
    )
    schema["fields"][4]["type"] = ["null", "S"]
    columns: dict[str, str | Constant] = {
        "a": "other",
        "e": Constant("B"),
        "n": Constant(None),
        "s?": "there",
        "t": Constant(None),
    }
    frame = small(other=[5], there=[1], x=[9])
    encoder = Encoder(schema, 1, frame.layout, {**columns, "s.x": "x"})
    assert only_value(encoder, frame) == write(schema, {"a": 5, "e": "B", "n": None, "s": {"x": 9}, "t": None})
    frame["there"][:] = 0
    assert only_value(encoder, frame) == write(schema, {"a": 5, "e": "B", "n": None, "s": None, "t": None})


def test_a_record_that_is_always_there_needs_no_column_for_it() -> None:
    schema = record(("s", ["null", record(("x", "int"), name="S")]))
    frame = small(x=[3])
    encoder = Encoder(schema, 1, frame.layout, {"s?": Constant(True), "s.x": "x"})
    assert only_value(encoder, frame) == write(schema, {"s": {"x": 3}})
    encoder = Encoder(schema, 1, frame.layout, {"s?": Constant(False), "s.x": "x"})
    assert only_value(encoder, frame) == write(schema, {"s": None})


def test_what_is_null_is_nothing_where_the_field_has_no_null() -> None:
    schema = record(("a", "long"), ("t", "string"))
    frame = Layout([Column("a", "long", True), Column("t", "span", True)]).frame(1, np.empty(0, np.uint8))
    frame.matrix[:] = 0
    frame.second("t")[:] = -1
    assert only_value(Encoder(schema, 1, frame.layout), frame) == write(schema, {"a": 0, "t": ""})


def test_texts_come_from_both_banks() -> None:
    schema = record(("t", "string"), ("u", "string"))
    made = Layout([Column("t", "span"), Column("u", "span", bank=1)])
    frame = made.frame(1, np.frombuffer(b"abc", np.uint8), np.frombuffer(b"xyz", np.uint8))
    frame.matrix[:] = np.array([[1], [2], [0], [1]])
    encoder = Encoder(schema, 1, made)
    assert only_value(encoder, frame) == write(schema, {"t": "bc", "u": "x"})
    body = RecordsBody()
    one = np.array([1], np.int64)
    encoder.append(body, frame, np.arange(1), one, (one, one, 1))
    assert records_of(body)[0].key == b"y"


@pytest.mark.parametrize(
    ("start", "length"), [(-1, 1), (0, 4), (3, 1), (1 << 62, 1), (0, (1 << 63) - 1), (1 << 62, 1 << 62)]
)
def test_spans_outside_their_bytes_are_refused_and_leave_the_body_as_it_was(start: int, length: int) -> None:
    schema = record(("t", "string"))
    frame = Layout([Column("t", "span")]).frame(2, np.frombuffer(b"abc", np.uint8))
    frame.matrix[:] = np.array([[0, start], [1, length]])
    encoder = Encoder(schema, 1, frame.layout)
    body = RecordsBody()
    zeros = np.zeros(2, np.int64)
    with pytest.raises(ValueError, match="record 1"):
        encoder.append(body, frame, np.arange(2), zeros, (zeros, zeros, 0))
    assert (body.used, body.count) == (61, 0)
    with pytest.raises(ValueError, match="record 1"):
        encoder.append_values(frame, np.arange(2))
    frame.matrix[:, 1] = 0
    bad = np.array([0, start]), np.array([0, length])
    with pytest.raises(ValueError, match="record 1"):
        encoder.append(body, frame, np.arange(2), zeros, (*bad, 0))
    with pytest.raises(ValueError, match="record 1"):
        encoder.append(body, frame, np.arange(2), zeros, (zeros, zeros, 0), bad)


@pytest.mark.parametrize("select", [[5], [-1]])
def test_records_that_the_frame_has_not_are_refused(select: list[int]) -> None:
    frame = small(a=[1])
    zeros = np.zeros(1, np.int64)
    encoder = Encoder(record(("a", "long")), 1, frame.layout)
    with pytest.raises(ValueError, match="none of the frame's"):
        encoder.append_values(frame, np.array(select))
    with pytest.raises(ValueError, match="none of the frame's"):
        encoder.append(RecordsBody(), frame, np.array(select), zeros, (zeros, zeros, 0))


def test_frames_of_another_layout_are_refused_and_wider_ones_taken() -> None:
    encoder = Encoder(record(("a", "long")), 1, small(a=[1]).layout)
    assert only_value(encoder, small(a=[1], b=[2])) == b"\2"
    with pytest.raises(ValueError, match="another layout"):
        encoder.append_values(small(b=[1]), np.arange(1))


@pytest.mark.parametrize(
    ("schema", "columns", "words"),
    [
        (record(("b", "long")), {}, "field b: the layout has no column b"),
        (record(("a", "string")), {}, "field a: column a is a long, but string needs a span"),
        (record(("a", "long")), {"none": "a"}, "field none: there is no none in R"),
        (record(("e", SYMBOLS)), {"e": Constant("C")}, "field e: the constant 'C'"),
        (record(("s", ["null", record(("a", "long"), name="S")])), {}, "no column s?"),
    ],
)
def test_fields_without_a_fitting_column_are_named(schema: Json, columns: dict[str, Any], words: str) -> None:
    with pytest.raises(PlanError, match=words.replace("?", r"\?")):
        Encoder(schema, 1, small(a=[1]).layout, columns)


@pytest.mark.parametrize("traced", [False, True])
def test_a_record_of_several_texts_finds_room_wherever_the_buffer_ends(traced: bool) -> None:
    """Room that is asked for counts what the record has written before the text that did not fit."""
    texts = [b"x" * 100] * 4
    schema = record(*((f"f{i}", "string") for i in range(len(texts))))
    bank = np.frombuffer(b"".join(texts), np.uint8)
    columns = Layout(Column(f"f{i}", "span") for i in range(len(texts)))
    frame = Frame(columns, np.array([[n] for i in range(len(texts)) for n in (100 * i, 100)]), bank, bank[:0])
    encoder, zero = Encoder(schema, 7, columns), np.zeros(1, np.int64)
    trace = (zero, np.full(1, 55)) if traced else None
    for room in range(1200):
        body = RecordsBody()
        body.out = np.empty(body.used + room, np.uint8)
        encoder.append(body, frame, zero, zero, (zero, np.full(1, 100), bank), trace)
        assert body.count == 1


def every_field(schema: Json) -> list[str]:
    """Dotted names of all fields of a schema of ours, whose types may be names."""
    parsed = Schema(schema)

    def below(node: Json, prefix: str) -> list[str]:
        found = []
        for field in node["fields"]:
            name, optional = prefix + field["name"], parsed.optional(field["type"])
            inner = optional[1] if optional else parsed.node(field["type"])
            if inner["type"] != "record":
                found.append(name)
                continue
            found += ([name + "?"] if optional else []) + below(inner, name + ".")
        return found

    return below(parsed.root, "")


@pytest.mark.parametrize("topic", [topic.name for topic in TOPICS])
def test_golden_examples_come_out_of_columns_as_they_went_in(topic: str) -> None:
    schema, framed = schema_of(topic), [example.framed for example in examples(topic)]
    plan = compile_plan(schema, schema, layout(schema, every_field(schema)))
    buf, starts, lengths = spans(framed)
    frame, error = plan.layout.frame(len(framed), buf), np.zeros(len(framed), np.int64)
    decode(plan, buf, starts, lengths, np.arange(len(framed)), frame, error)
    assert not error.any()
    schema_id = int.from_bytes(framed[0][1:5], "big")
    out, begin, size = Encoder(schema, schema_id, plan.layout).append_values(frame, np.arange(len(framed)))
    assert [out[a : a + n].tobytes() for a, n in zip(begin, size, strict=True)] == framed
