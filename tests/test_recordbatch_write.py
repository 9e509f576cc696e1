"""Record batches that we write are read by aiokafka, and say what was put in."""

from __future__ import annotations

import struct

import pytest
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.recordbatch_write import HEADER, RecordsBody, frame_batch
from tests.record_batches import Rec, batch, theirs
from tests.test_recordbatch import headers, texts, timestamps

law = settings(max_examples=60, deadline=None)
rows = st.lists(st.builds(Rec, st.just(0), timestamps, texts, texts, headers), min_size=1, max_size=30)


def body_of(records: list[Rec]) -> RecordsBody:
    body = RecordsBody(16)
    for record in records:
        body.append(record.key, record.value, record.timestamp, record.headers)
    return body


@law
@given(rows, st.sampled_from(range(5)))
def test_what_is_appended_is_what_aiokafka_reads(records: list[Rec], codec: int) -> None:
    numbered = [record._replace(offset=number) for number, record in enumerate(records)]
    assert theirs(frame_batch(body_of(records), codec=codec), 0)[0] == numbered


@law
@given(rows)
def test_it_is_what_aiokafka_writes_to_the_byte(records: list[Rec]) -> None:
    numbered = [record._replace(offset=number) for number, record in enumerate(records)]
    assert frame_batch(body_of(records), producer=(-1, 0, 0)) == batch(numbered)


def test_the_header_names_the_producer_and_the_transaction() -> None:
    body = body_of([Rec(0, 70, b"k", b"v"), Rec(0, 90, b"k", b"v"), Rec(0, 80, b"k", b"v")])
    read = MemoryRecords(frame_batch(body, transactional=True, producer=(7, 8, 9))).next_batch()
    assert (read.producer_id, read.producer_epoch, read.base_sequence) == (7, 8, 9)
    assert (read.is_transactional, read.is_control_batch) == (True, False)
    assert (read.first_timestamp, read.max_timestamp) == (70, 90)
    assert (read.base_offset, read.next_offset) == (0, 3)


def test_a_body_stays_usable_and_may_be_finished_again() -> None:
    body = body_of([Rec(0, 1, b"k", b"v")])
    once = frame_batch(body, producer=(1, 0, 0))
    assert frame_batch(body, producer=(1, 0, 0)) == once
    body.append(b"k", b"w", 2)
    assert [record.value for record in theirs(frame_batch(body), 0)[0]] == [b"v", b"w"]


def test_a_cleared_body_is_an_empty_one_that_keeps_its_room() -> None:
    body = body_of([Rec(0, 1, b"k", bytes(10_000))])
    room = len(body.out)
    body.clear()
    body.append(b"k", b"v", 5)
    assert len(body.out) == room
    assert frame_batch(body) == frame_batch(body_of([Rec(0, 5, b"k", b"v")]))


def test_a_kernel_may_write_records_itself() -> None:
    record = bytes([2 * 8, 0, 0, 0, 2, ord("k"), 2, ord("v"), 0])
    body = RecordsBody(1)
    body.open(50)
    body.reserve(len(record))
    body.out[body.used : body.used + len(record)] = list(record)
    body.advance(body.used + len(record), 1, 50)
    assert theirs(frame_batch(body), 0)[0] == [Rec(0, 50, b"k", b"v", [])]
    assert body.size == HEADER.size + len(record) == len(frame_batch(body))


@pytest.mark.parametrize("codec", range(5))
def test_the_attributes_name_the_codec(codec: int) -> None:
    framed = frame_batch(body_of([Rec(0, 1, b"k", bytes(500))]), codec=codec)
    assert struct.unpack_from(">h", framed, 21) == (codec,)
    assert (len(framed) < 300) == bool(codec)
