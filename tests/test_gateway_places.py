"""Where a stream stands, as text, and the ring that all streams of a topic read: what holds of them whatever came."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.gateway import places
from connectors.gateway.places import PlacesError
from connectors.gateway.tail import Ring
from connectors.gateway.topic_log import End, Entry

OFFSETS = st.lists(st.integers(0, (1 << 63) - 1), min_size=1, max_size=64)


@given(OFFSETS)
def test_a_place_is_read_as_it_was_told(offsets: list[int]) -> None:
    assert places.read(places.told(offsets), len(offsets)) == offsets


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0:1", "1 of 2 partitions"),
        ("0:1,1:2,2:3", "there are 2"),
        ("0:1,0:2", "twice"),
        ("0:1,1:-1", "not a list"),
        ("0:1,1:01", "not a list"),
        ("0:1, 1:2", "not a list"),
        ("0:1,1:٣", "not a list"),
        ("0:1,1:9223372036854775808", "no offset"),
        ("", "not a list"),
        ("x" * 81, "longer"),
    ],
)
def test_what_is_no_place_is_told_why(text: str, reason: str) -> None:
    with pytest.raises(PlacesError, match=reason):
        places.read(text, 2)


@given(st.text(max_size=60), st.integers(1, 4))
def test_no_text_is_taken_for_another_place(text: str, partitions: int) -> None:
    try:
        found = places.read(text, partitions)
    except PlacesError:
        return
    assert sorted(text.split(",")) == sorted(places.told(found).split(","))


@st.composite
def logs(draw: st.DrawFn) -> list[Entry | End]:
    """What is read of two partitions: records with holes between them, and ends."""
    ends, steps = [draw(st.integers(0, 5)), draw(st.integers(0, 5))], []
    for _ in range(draw(st.integers(0, 30))):
        part = draw(st.integers(0, 1))
        ends[part] += draw(st.integers(0, 3))
        if draw(st.booleans()):
            steps.append(End(part, ends[part]))
        else:
            steps.append(Entry(part, ends[part], 0, b"k", bytes(draw(st.integers(0, 9)))))
            ends[part] += 1
    return steps


@given(logs(), st.tuples(st.integers(0, 40), st.integers(0, 40)), st.integers(1, 8), st.integers(5, 60))
def test_who_may_join_the_ring_misses_nothing(
    steps: list[Entry | End], start: tuple[int, int], records: int, most_bytes: int
) -> None:
    ring = Ring(2, records, most_bytes)
    ring.add(steps)
    number = ring.join(start)
    if number is None:
        return
    found = ring.read(number, 100) or []
    expected = [one for one in steps if isinstance(one, Entry) and one.offset >= start[one.partition]]
    assert [one for one in found if one.offset >= start[one.partition]] == expected


@given(logs(), st.integers(1, 8), st.integers(5, 60))
def test_a_ring_holds_no_more_than_it_may(steps: list[Entry | End], records: int, most_bytes: int) -> None:
    ring = Ring(2, records, most_bytes)
    for step in steps:
        ring.add([step])
        held = ring.read(ring._oldest, 100) or []
        assert len(held) <= records
        assert len(held) == 1 or sum(1 + len(one.value or b"") for one in held) <= most_bytes


def test_who_was_left_behind_is_told_so() -> None:
    ring = Ring(1, records=2)
    ring.add([Entry(0, offset, 0, b"", b"") for offset in (3, 5, 8)])
    assert ring.read(0, 10) is None
    assert ring.join([4]) == 1
    assert ring.join([3]) is None
    assert ring.places() == [9]
