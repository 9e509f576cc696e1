"""A bad deploy stops its partition before it drains into the dead letters, a bad tenant does not; a word resumes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.columns import ColumnBatch, Longs
from schemas.reasons import Reason
from schemas.recordbatch_write import frame_batch
from streams.breaker import LAST, REASONS, TRIPPED_BY, Breaker, split
from streams.intake import PIECE
from streams.pipeline import Effects

from .lanes import IDS, Record, batch_of, records_of
from .test_admission import ANCHOR, KAIZEN, NOW, REFUSED, event, lane
from .test_pipeline import batches, state_of

BAD = REFUSED["unknown_schema"]
FOREIGN = event(value=b"\0" + IDS.id_of("trust.levels").to_bytes(4) + b"abc", timestamp=NOW + 10**6)
"""Of a schema that is known and no event's."""
OTHERS = [reason for reason in Reason if reason not in REASONS]

stretches = st.lists(
    st.tuples(st.sampled_from([Reason.OK, *REASONS, Reason.BAD_KEY]), st.integers(1, 700)), min_size=1, max_size=12
)


def errors(drawn: list[tuple[Reason, int]]) -> Longs:
    return np.repeat(*np.array(drawn, np.int64).T)


def at(offset: int, n: int) -> ColumnBatch:
    """`n` records from an offset on, of which a breaker sees nothing else."""
    nothing, off = np.zeros(n, np.int64), np.arange(offset, offset + n)
    return ColumnBatch(KAIZEN, 0, offset, offset + n, np.zeros(0, np.uint8), off, *[nothing] * 7)


def taken(breaker: Breaker, error: Longs, size: int, start: int = 0) -> int:
    """How many records get through, `size` at a time."""
    for begin in range(0, len(error), size):
        piece = error[begin : begin + size]
        if breaker.trips(at(start + begin, len(piece)), piece) is not None:
            return begin
    return len(error)


@settings(max_examples=100, deadline=None)
@given(stretches, st.integers(1, 900))
def test_it_stops_before_the_first_record_behind_which_too_many_were_refused(
    drawn: list[tuple[Reason, int]], size: int
) -> None:
    error = errors(drawn)
    bad = np.isin(error, REASONS)
    too_many = [i for i in range(len(bad)) if np.count_nonzero(bad[max(0, i + 1 - LAST) : i + 1]) > TRIPPED_BY]
    expected = too_many[0] // size * size if too_many else len(error)
    assert taken(Breaker(), error, size) == expected


@settings(max_examples=50, deadline=None)
@given(stretches, st.integers(1, 900))
def test_no_cut_lets_more_through_than_half_of_the_last_records(drawn: list[tuple[Reason, int]], size: int) -> None:
    error = errors(drawn)
    through = np.isin(error[: taken(Breaker(), error, size)], REASONS)
    sums = np.concatenate(([0], np.cumsum(through)))
    assert all(sums[i] - sums[max(0, i - LAST)] <= TRIPPED_BY for i in range(len(sums)))


@pytest.mark.parametrize("reason", OTHERS, ids=lambda reason: reason.label)
def test_what_one_tenant_can_do_by_itself_never_stops_a_partition(reason: Reason) -> None:
    assert taken(Breaker(), np.full(5 * LAST, reason, np.int64), 300) == 5 * LAST


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 3000), st.integers(1, 900))
def test_what_somebody_let_through_is_not_counted(until: int, size: int) -> None:
    breaker, error = Breaker(), np.full(3000, Reason.UNDECODABLE, np.int64)
    taken(breaker, error[:600], size)
    breaker.resume(until)
    through = taken(breaker, error, size)
    assert through + size > until
    assert through <= until + TRIPPED_BY


def test_a_word_said_twice_lets_nothing_more_through() -> None:
    breaker, error = Breaker(), np.full(600, Reason.TRUNCATED, np.int64)
    breaker.resume(600)
    assert taken(breaker, error, 100) == 600
    breaker.resume(600)
    assert taken(breaker, error, 100, 600) == TRIPPED_BY


def good(count: int, first: int = 0) -> list[Record]:
    return [event(event_id=f"e{first + i}", timestamp=NOW + first + i) for i in range(count)]


def bytes_of(effects: Effects) -> dict[str, list[bytes]]:
    return {name: [frame_batch(body) for body in bodies] for name, bodies in effects.outputs.items()}


def fetched(records: Sequence[Record], size: int = 100) -> list[ColumnBatch]:
    """`records` as they come in fetches of `size`."""
    offsets = Counter[str]()
    return [batch for at in range(0, len(records), size) for batch in batches(records[at : at + size], offsets)]


def test_a_bad_deploy_stops_the_lane_where_it_begins_and_the_rest_waits() -> None:
    later = event(ANCHOR, event_id="r", timestamp=NOW + 10**6)
    given_ = fetched([*good(250), *[BAD] * 2000, later])
    effects = lane(breaks=True).step(given_)
    decided, held = split(given_, effects.positions)
    assert effects.tripped is not None
    assert (effects.tripped.source, effects.tripped.offset) == (KAIZEN, 700)
    assert effects.counts.refused == {"unknown_schema": 450}
    assert effects.positions == {KAIZEN: 700}
    assert sum(batch.n for batch in decided) == 700
    assert (held[0].start, held[-1].topic, sum(batch.n for batch in held)) == (700, ANCHOR, 1551)


@pytest.mark.parametrize(("sound", "size"), [(0, 100), (250, 100), (730, 400), (PIECE + 10, 1 << 20)])
def test_a_step_that_was_cut_short_is_the_step_that_was_given_no_more(sound: int, size: int) -> None:
    first = [event(ANCHOR, event_id="r", timestamp=NOW - 7), *good(sound), *[BAD] * 300, *good(5, 50_000)]
    late = event(ANCHOR, event_id="r", timestamp=NOW + 10**6)
    given_ = fetched([*first, *[FOREIGN] * 2000, *good(40, 90_000), late], size)
    effects = lane(breaks=True).step(given_)
    decided, _ = split(given_, effects.positions)
    assert effects.tripped is not None
    assert bytes_of(lane().step(decided)) == bytes_of(effects)


def test_a_lane_that_decides_nothing_writes_nothing() -> None:
    subject, held = lane(breaks=True), fetched([BAD] * 2000, 2000)
    effects = subject.step(held)
    assert (effects.outputs, effects.counts.read, subject.entry) == ({}, 0, 0)
    again = subject.step(held)
    assert again.tripped == effects.tripped
    subject.resume(KAIZEN, 2000)
    assert subject.step(held).counts.refused == {"unknown_schema": 2000}
    assert subject.entry == 1


def test_a_lane_goes_on_to_where_it_was_told_and_counts_from_there() -> None:
    subject = lane(breaks=True)
    subject.resume(KAIZEN, 1234)
    effects = subject.step(fetched([BAD] * 3000, 3000))
    assert effects.tripped is not None
    assert effects.positions == {KAIZEN: 1234}
    assert effects.counts.refused == {"unknown_schema": 1234}


def test_without_a_bad_deploy_a_lane_with_a_breaker_is_one_without() -> None:
    records = [*good(300), *[BAD] * 400, *[REFUSED["bad_key"]] * 900, *good(300, 1000)]
    one, other = ([bytes_of(subject.step(batches(records, Counter())))] for subject in (lane(), lane(breaks=True)))
    assert one == other


def test_a_restored_lane_remembers_what_was_refused_before() -> None:
    records = [*good(300), *[BAD] * 450]
    before = lane(breaks=True)
    written = bytes_of(before.step(batches(records, Counter())))
    after = lane(breaks=True)
    for batch in state_of([written]):
        after.restore(batch)
    after.remember(batch_of(KAIZEN, 0, 0, records), np.arange(300, 750))
    more = batch_of(KAIZEN, 0, 750, [BAD] * 60)
    assert after.step([more]).tripped == before.step([more]).tripped is not None


def test_a_letter_bears_the_latest_time_known_when_it_was_refused() -> None:
    records = [*good(1), BAD._replace(timestamp=NOW - 50), event(event_id="z", timestamp=NOW + 70), BAD]
    letters = records_of(lane().step(batches(records, Counter())), "dead.letters")
    assert [time for _, time, _ in letters] == [NOW, NOW + 70]


def test_what_a_restart_counts_again_is_released_by_the_word_that_was_given() -> None:
    """Records that were let through on somebody's word are counted by a breaker that does not know of it yet."""
    anew, bad = Breaker(), np.full(2 * LAST, Reason.UNKNOWN_SCHEMA, np.int64)
    anew.recall(at(0, 2 * LAST), bad)
    good = at(2 * LAST, 1), np.zeros(1, np.int64)
    assert anew.trips(*good) is not None
    assert anew.resume(2 * LAST)
    assert not anew.resume(2 * LAST)
    assert anew.trips(*good) is None
