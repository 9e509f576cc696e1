"""A fetch read into columns says what aiokafka's reader says, whoever wrote it and wherever it is cut."""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import compress
from schemas.recordbatch import AbortedTransactions, BadCrc, Limits, read
from tests.record_batches import Rec, batch, marker, ours, theirs

law = settings(max_examples=50, deadline=None)
CODECS = range(5)

texts = st.one_of(st.none(), st.binary(max_size=40), st.binary(min_size=120, max_size=300))
headers = st.lists(st.tuples(st.text(max_size=8), texts), max_size=3)
timestamps = st.integers(0, 4 * 10**12)


@st.composite
def records(draw: st.DrawFn, least: int = 1) -> list[Rec]:
    """Records of a batch, with holes between their offsets as compaction leaves them."""
    steps = draw(st.lists(st.sampled_from([1, 1, 1, 2, 100]), min_size=least, max_size=7))
    offsets = [sum(steps[: i + 1]) - steps[0] for i in range(len(steps))]
    return [Rec(o, draw(timestamps), draw(texts), draw(texts), draw(headers)) for o in offsets]


@st.composite
def fetches(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    """Some batches one behind the other, and the offset at which each ends."""
    made, ends, base = [], [], draw(st.integers(0, 10**12))
    for _ in range(draw(st.integers(1, 5))):
        base += draw(st.sampled_from([0, 0, 3]))
        rows = draw(records())
        made.append(batch(rows, base=base, codec=draw(st.sampled_from(CODECS)), producer=draw(st.integers(-1, 5))))
        base += rows[-1].offset + 1
        ends.append(base)
    return b"".join(made), ends


def first_offset(data: bytes) -> int:
    return int.from_bytes(data[:8])


def all_of(data: bytes, start: int | None = None, **options: object) -> list[Rec]:
    start = first_offset(data) if start is None else start
    return ours(read(data, topic="topic", partition=0, start=start, **options))  # type: ignore[arg-type]


@law
@given(fetches())
def test_columns_are_what_aiokafka_reads(fetch: tuple[bytes, list[int]]) -> None:
    data, ends = fetch
    (columns,) = read(data, topic="topic", partition=3, start=first_offset(data))
    assert (ours([columns]), columns.next) == theirs(data, first_offset(data))
    assert (columns.topic, columns.partition, columns.start, columns.next) == ("topic", 3, first_offset(data), ends[-1])
    assert columns.refused == []


@law
@given(fetches(), st.integers(-5, 600))
def test_records_before_the_position_asked_for_are_left_out(fetch: tuple[bytes, list[int]], skip: int) -> None:
    data, ends = fetch
    start = max(0, first_offset(data) + skip)
    (columns,) = read(data, topic="topic", partition=0, start=start)
    assert ours([columns]) == [record for record in theirs(data, 0)[0] if record.offset >= start]
    assert columns.start == start
    assert columns.next == max(start, ends[-1])


@law
@given(fetches(), st.integers(1, 500), st.integers(1, 8))
def test_pieces_of_a_large_fetch_touch_and_hold_all_of_it(
    fetch: tuple[bytes, list[int]], chunk: int, count: int
) -> None:
    data, ends = fetch
    pieces = list(
        read(data, topic="topic", partition=0, start=7, limits=Limits(batch=1 << 20, chunk=chunk, records=7 * count))
    )
    assert ours(pieces) == [record for record in theirs(data, 0)[0] if record.offset >= 7]
    assert (pieces[0].start, pieces[-1].next) == (7, max(7, ends[-1]))
    assert all(before.next == after.start for before, after in pairwise(pieces))


@law
@given(fetches(), st.floats(0, 1))
def test_a_batch_that_the_fetch_cut_off_is_left_out(fetch: tuple[bytes, list[int]], cut: float) -> None:
    data, ends = fetch
    kept = data[: int(len(data) * cut)]
    pieces = list(read(kept, topic="topic", partition=0, start=0))
    assert [r for r in theirs(data, 0)[0] if pieces and r.offset < pieces[-1].next] == ours(pieces)
    assert not pieces or pieces[-1].next in ends


def test_nothing_fetched_is_nothing_yielded() -> None:
    whole = batch([Rec(0, 1, b"k", b"v")])
    for data in (b"", whole[:11], whole[:16], whole[:17], whole[:-1]):
        assert list(read(data, topic="topic", partition=0, start=0)) == []


@pytest.mark.parametrize("codec", CODECS)
def test_log_append_time_is_every_records_timestamp(codec: int) -> None:
    def stamped_by_the_broker(built: bytearray) -> None:
        struct.pack_into(">h", built, 21, codec | 0x08)
        struct.pack_into(">q", built, 35, 123_456)

    data = batch([Rec(i, 1000 + i, b"k", b"v") for i in range(5)], codec=codec, change=stamped_by_the_broker)
    assert [record.timestamp for record in all_of(data)] == [123_456] * 5
    assert all_of(data) == theirs(data, 0)[0]


def test_a_batch_that_compaction_emptied_moves_the_position() -> None:
    def emptied(built: bytearray) -> None:
        del built[61:]
        struct.pack_into(">i", built, 57, 0)

    data = batch([Rec(i, 1, b"k", b"v") for i in range(9)], base=40, change=emptied)
    (columns,) = read(data, topic="topic", partition=0, start=40)
    assert (columns.n, columns.start, columns.next, columns.refused) == (0, 40, 49, [])


# ---------------------------------------------------------------- transactions


@st.composite
def transactions(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, int]], int]:
    """Interleaved transactions of three producers, some aborted, some still open, beside plain batches."""
    made, aborted, base, first = [], [], 0, dict[int, int]()
    for _ in range(draw(st.integers(1, 15))):
        producer = draw(st.integers(0, 2))
        if producer in first and draw(st.booleans()):
            commit = draw(st.booleans())
            if not commit:
                aborted.append((producer, first[producer]))
            del first[producer]
            made.append(marker(base, producer, commit=commit))
            base += 1
        else:
            inside = draw(st.integers(0, 3)) > 0
            if inside:
                first.setdefault(producer, base)
            rows = draw(records())
            owner = producer if inside else 100
            made.append(
                batch(rows, base=base, producer=owner, transactional=inside, codec=draw(st.sampled_from(CODECS)))
            )
            base += rows[-1].offset + 1
    return b"".join(made), draw(st.permutations(aborted)), base


@law
@given(transactions())
def test_aborted_transactions_and_markers_are_not_seen(log: tuple[bytes, list[tuple[int, int]], int]) -> None:
    data, aborted, end = log
    (columns,) = read(data, topic="topic", partition=0, start=0, aborted=AbortedTransactions(aborted))
    assert (ours([columns]), columns.next) == theirs(data, 0, aborted=aborted)
    assert columns.next == end


@law
@given(transactions())
def test_who_reads_uncommitted_sees_all_but_the_markers(log: tuple[bytes, list[tuple[int, int]], int]) -> None:
    data, _, end = log
    (columns,) = read(data, topic="topic", partition=0, start=0)
    assert (ours([columns]), columns.next) == theirs(data, 0)
    assert columns.next == end


# ---------------------------------------------------------------- damage on the way


@law
@given(fetches(), st.data())
def test_a_wrong_checksum_stops_behind_what_stands_before_it(
    fetch: tuple[bytes, list[int]], data: st.DataObject
) -> None:
    whole, ends = fetch
    starts, at = [], 0
    while at < len(whole):
        starts.append(at)
        at += 12 + int.from_bytes(whole[at + 8 : at + 12])
    number = data.draw(st.integers(0, len(starts) - 1))
    stop = (*starts[1:], len(whole))[number]
    damaged = bytearray(whole)
    damaged[data.draw(st.integers(starts[number] + 21, stop - 1))] ^= data.draw(st.integers(1, 255))
    pieces = read(bytes(damaged), topic="kaizen.events", partition=3, start=0)
    if number:
        before = next(pieces)
        assert before.next == ends[number - 1]
        assert ours([before]) == theirs(whole[: starts[number]], 0)[0]
    with pytest.raises(BadCrc, match=r"kaizen.events\[3\]: .* offset") as caught:
        next(pieces)
    assert caught.value.offset == int.from_bytes(whole[starts[number] :][:8])


@pytest.mark.parametrize(("place", "value"), [(8, 48), (8, -1), (8, 13), (16, 3), (16, -1), (4, 0), (0, -1)])
def test_a_length_version_or_offset_that_cannot_be_is_damage_too(place: int, value: int) -> None:
    good = batch([Rec(0, 1, b"k", b"v")])
    bad = bytearray(batch([Rec(0, 1, b"k", b"v")], base=1))
    struct.pack_into(">b" if place == 16 else ">i", bad, place, value)
    pieces = read(good + bytes(bad), topic="topic", partition=0, start=0)
    assert next(pieces).next == 1
    with pytest.raises(BadCrc):
        next(pieces)


def test_checksums_are_not_looked_at_when_not_asked_for() -> None:
    data = bytearray(batch([Rec(0, 1, b"k", b"value")]))
    data[-3] ^= 1
    assert len(all_of(bytes(data), check_crc=False)) == 1


# ---------------------------------------------------------------- damage at the source


def body(change: Callable[[bytearray], None]) -> Callable[[bytearray], None]:
    """A change of the records behind the header."""

    def changed(built: bytearray) -> None:
        records = built[61:]
        change(records)
        built[61:] = records

    return changed


def put(place: int, value: int) -> Callable[[bytearray], None]:
    def changed(records: bytearray) -> None:
        records[place] = value

    return body(changed)


def count_of(count: int) -> Callable[[bytearray], None]:
    return lambda built: struct.pack_into(">i", built, 57, count)


# One record `k` -> `v` is: length, attributes, time 0, offset 0, 2 (1 byte), k, 2, v, no headers.
BROKEN = {
    "record longer than the batch": put(0, 2 * 9),
    "record shorter than its fields": put(0, 2 * 7),
    "record of negative length": put(0, 1),
    "offset before the batch": put(3, 1),
    "offset behind the batch": put(3, 2),
    "key longer than the record": put(4, 2 * 6),
    "value longer than the record": put(6, 2 * 3),
    "header that is not there": put(8, 2),
    "negative number of headers": put(8, 1),
    "length without an end": put(0, 0x80),
    "bytes left over": body(lambda records: records.append(0)),
    "a record too few": count_of(2),
    "a record too many": count_of(0x7FFFFFFF),
    "negative number of records": count_of(-1),
    "no record, but bytes": body(lambda records: records.clear()),
}
"""Ways to be wrong inside with a right checksum."""


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_a_batch_that_does_not_parse_is_refused_alone(codec: int, change: Callable[[bytearray], None]) -> None:
    def broken(built: bytearray) -> None:
        change(built)
        built[61:] = compress(codec, bytes(built[61:]))
        struct.pack_into(">h", built, 21, codec)

    good = [batch([Rec(0, 5, b"k", b"v")], base=base, codec=codec) for base in (10, 12)]
    bad = batch([Rec(0, 5, b"k", b"v")], base=11, change=broken)
    (columns,) = read(good[0] + bad + good[1], topic="topic", partition=0, start=10)
    assert [record.offset for record in ours([columns])] == [10, 12]
    (refused,) = columns.refused
    assert (refused.first, refused.last, refused.timestamp) == (11, 11, 5)
    assert refused.raw == bad
    too_many = change is BROKEN["a record too many"]
    assert refused.reason == ("batch_too_large" if too_many else "unparsable_batch")


@pytest.mark.parametrize("codec", [5, 6, 7])
def test_an_unknown_codec_is_refused(codec: int) -> None:
    data = batch([Rec(0, 5, b"k", b"v")], change=lambda built: struct.pack_into(">h", built, 21, codec))
    (columns,) = read(data, topic="topic", partition=0, start=0)
    assert [refused.reason for refused in columns.refused] == ["unparsable_batch"]


def test_offsets_that_do_not_rise_are_refused() -> None:
    data = batch([Rec(0, 5, b"k", b"v"), Rec(1, 5, b"k", b"v"), Rec(1, 5, b"k", b"v")])
    (columns,) = read(data, topic="topic", partition=0, start=0)
    assert columns.n == 0
    assert [refused.reason for refused in columns.refused] == ["unparsable_batch"]


def test_messages_of_the_time_before_record_batches_are_refused_one_by_one() -> None:
    message = struct.pack(">IBBq", 0, 1, 0, 99) + struct.pack(">i1si1s", 1, b"k", 1, b"v")
    old = b"".join(struct.pack(">qi", offset, len(message)) + message for offset in (4, 5))
    (columns,) = read(old + batch([Rec(0, 5, b"k", b"v")], base=6), topic="topic", partition=0, start=4)
    assert [(r.first, r.last, r.reason) for r in columns.refused] == [
        (4, 4, "unparsable_batch"),
        (5, 5, "unparsable_batch"),
    ]
    assert [record.offset for record in ours([columns])] == [6]
    assert columns.next == 7


@pytest.mark.parametrize("codec", CODECS)
def test_a_batch_with_a_record_over_the_limit_is_refused(codec: int) -> None:
    rows = [Rec(0, 5, b"k", b"v"), Rec(1, 5, b"k", bytes(2000)), Rec(2, 5, b"k", b"v")]
    data = batch(rows, codec=codec) + batch([Rec(0, 5, b"k", bytes(900))], base=3, codec=codec)
    (columns,) = read(data, topic="topic", partition=0, start=0, limits=Limits(record=1000))
    assert [(r.first, r.last, r.reason) for r in columns.refused] == [(0, 2, "record_too_large")]
    assert [record.offset for record in ours([columns])] == [3]


@pytest.mark.parametrize("codec", CODECS[1:])
def test_a_batch_that_decompresses_over_the_limit_is_refused(codec: int) -> None:
    big = batch([Rec(i, 5, b"k", bytes(1000)) for i in range(100)], codec=codec)
    data = big + batch([Rec(0, 5, b"k", bytes(900))], base=100, codec=codec)
    (columns,) = read(data, topic="topic", partition=0, start=0, limits=Limits(batch=50_000))
    assert [(r.first, r.last, r.reason, r.raw) for r in columns.refused] == [(0, 99, "batch_too_large", big)]
    assert [record.offset for record in ours([columns])] == [100]


@pytest.mark.parametrize("codec", CODECS)
def test_a_batch_of_too_many_records_is_refused(codec: int) -> None:
    data = batch([Rec(i, 5, None, None) for i in range(100)], codec=codec)
    data += batch([Rec(i, 5, None, None) for i in range(99)], base=100, codec=codec)
    (columns,) = read(data, topic="topic", partition=0, start=0, limits=Limits(records=99))
    assert [(r.first, r.last, r.reason) for r in columns.refused] == [(0, 99, "batch_too_large")]
    assert (columns.n, columns.next) == (99, 199)


def test_a_refused_batch_that_is_wholly_before_the_position_is_not_told_again() -> None:
    data = batch([Rec(0, 5, b"k", b"v")], change=put(0, 1)) + batch([Rec(0, 5, b"k", b"v")], base=1)
    (columns,) = read(data, topic="topic", partition=0, start=1)
    assert columns.refused == []


def test_a_fetch_is_unpacked_only_as_it_is_asked_for() -> None:
    data = b"".join(batch([Rec(0, 5, b"k", bytes(100_000))], base=base, codec=3) for base in range(50))
    pieces = read(data, topic="topic", partition=0, start=0, limits=Limits(chunk=300_000))
    sizes = [piece.buf.nbytes for piece in pieces]
    assert len(sizes) > 10
    assert max(sizes) < 500_000
