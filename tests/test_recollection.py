"""A lane that was restored and remembers is the lane that never stopped, to the bit; and it knows when it cannot be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.columns import ColumnBatch
from schemas.errors import FormatError
from schemas.event_types import SOURCES
from streams.intake import part_from, part_until
from streams.journal import JOURNAL
from streams.pipeline import Lane
from streams.recollection import Recollection, StateApart

from .lanes import Record, batch_of
from .test_admission import ANCHOR, KAIZEN, NOW, REFUSED, event, lane
from .test_pipeline import feed, state_of, values

WINDOW = 8
POOL = [
    *(event(agent_id=f"a{number % 3}", event_id=f"e{number}", timestamp=NOW + number) for number in range(12)),
    *(event(agent_id="a0", event_id=f"e{number}", action="other") for number in range(0, 12, 3)),
    *(event(ANCHOR, agent_id=f"a{number}", event_id=f"r{number}") for number in range(3)),
    *(REFUSED[name] for name in ("undecodable", "unknown_schema", "no_key", "bad_number", "truncated")),
]
records = st.lists(st.sampled_from(POOL), max_size=50)
EVERYTHING = dict.fromkeys((JOURNAL, *(f"{name}.events" for name in SOURCES)), 0)


@dataclass
class Topics:
    """All that a lane read and wrote up to some moment."""

    steps: list[dict[str, list[bytes]]]
    read: Sequence[Record]
    begins: dict[str, int] = field(default_factory=lambda: dict(EVERYTHING))
    """First offset that each topic still holds."""

    def between(self, topic: str, first: int, until: int) -> ColumnBatch:
        """The records of `topic` at these offsets."""
        if topic == JOURNAL:
            every = [Record("", ts, key, value) for key, ts, value in values(self.steps, JOURNAL)]
        else:
            every = [record for record in self.read if record.topic == topic]
        return part_until(part_from(batch_of(topic, 0, 0, every), first), until)

    @property
    def end(self) -> int:
        """The offset after the last one of the journal."""
        return len(values(self.steps, JOURNAL))


def restored(topics: Topics, **options: int) -> Lane:
    """A lane with the rows and the position that were written, and nothing else."""
    subject = lane(**options)
    for batch in state_of(topics.steps):
        subject.restore(batch)
    return subject


def recall(subject: Lane, topics: Topics, look: int = 1000) -> dict[str, tuple[int, int]]:
    """Fill the windows as a worker does, looking back `look` offsets of the journal at a time; what was read again."""
    recollection = Recollection(subject)
    begin = topics.end
    while begin > topics.begins[JOURNAL] and recollection.wants_more(topics.begins):
        until, begin = begin, max(topics.begins[JOURNAL], begin - look)
        recollection.hear([topics.between(JOURNAL, begin, until)])
    spans = recollection.spans(topics.begins)
    for topic, (first, until) in spans.items():
        for at in range(first, until, 3):
            recollection.remember(topics.between(topic, at, min(at + 3, until)))
    return spans


@settings(max_examples=60, deadline=None)
@given(records, records, st.integers(1, 9), st.integers(1, 9))
def test_a_lane_that_remembers_is_the_lane_that_never_stopped(
    before: list[Record], after: list[Record], size: int, look: int
) -> None:
    subject, at = lane(window=WINDOW), Counter[str]()
    topics = Topics(feed(subject, before, size, at), before)
    again = restored(topics, window=WINDOW)
    recall(again, topics, look)
    assert feed(again, after, size, Counter(at)) == feed(subject, after, size, at)


@settings(max_examples=60, deadline=None)
@given(records, records, st.integers(1, 9), st.data())
def test_a_window_that_cannot_be_filled_is_shorter_and_never_wrong(
    before: list[Record], after: list[Record], size: int, data: st.DataObject
) -> None:
    subject, at = lane(window=WINDOW), Counter[str]()
    topics = Topics(feed(subject, before, size, at), before)
    for name in (KAIZEN, ANCHOR):
        topics.begins[name] = data.draw(st.integers(0, at[name]))
    topics.begins[JOURNAL] = data.draw(st.integers(0, topics.end))
    again = restored(topics, window=WINDOW)
    spans = recall(again, topics, 2)
    subject.forget({name.removesuffix(".events"): first for name, (first, _) in spans.items()})
    assert feed(again, after, size, Counter(at)) == feed(subject, after, size, at)


def test_a_source_that_was_cut_shortens_its_own_window_only() -> None:
    before = [event(ANCHOR, event_id="r"), *(event(event_id=f"e{number}") for number in range(6))]
    topics = Topics(feed(lane(), before, 3, Counter()), before)
    topics.begins[KAIZEN] = 4
    assert recall(restored(topics), topics) == {KAIZEN: (4, 6), ANCHOR: (0, 1)}


def test_entries_that_are_gone_shorten_the_window_to_what_they_tell_of() -> None:
    before = [event(event_id=f"e{number}") for number in range(6)]
    topics = Topics(feed(lane(), before, 2, Counter()), before)
    topics.begins[JOURNAL] = topics.end - 1
    assert recall(restored(topics), topics) == {KAIZEN: (4, 6)}


def test_a_journal_of_which_nothing_is_left_leaves_the_windows_empty() -> None:
    before = [event()]
    topics = Topics(feed(lane(), before, 1, Counter()), before)
    topics.begins[JOURNAL] = topics.end
    assert recall(restored(topics), topics) == {}


def apart(said: str) -> Topics:
    """Topics whose state and journal do not belong together, by what is said of them."""
    before = [event(event_id=f"e{number}") for number in range(4)]
    steps, alien = (
        feed(lane(), part, 2, Counter()) for part in (before, [event(event_id=f"x{number}") for number in range(4)])
    )
    journals: dict[str, tuple[list[dict[str, list[bytes]]], list[dict[str, list[bytes]]]]] = {
        "ends with entry 1": (steps, steps[:1]),
        "ends with entry 2": (steps, alien),
        "ends with entry 0": (steps, []),
        "stands after entry 0": ([], steps),
    }
    state, journal = journals[said]
    only = [{"agent.state": step["agent.state"], JOURNAL: []} for step in state]
    return Topics([*only, *({"agent.state": [], JOURNAL: step[JOURNAL]} for step in journal)], before)


@pytest.mark.parametrize(
    "said", ["ends with entry 1", "ends with entry 2", "ends with entry 0", "stands after entry 0"]
)
def test_a_state_that_its_journal_does_not_know_is_refused(said: str) -> None:
    topics = apart(said)
    with pytest.raises(StateApart, match=said) as refusal:
        recall(restored(topics), topics)
    assert "cognistream state rebuild --partition 0" in str(refusal.value)


def test_a_state_of_which_rows_are_missing_is_refused() -> None:
    before = [event(agent_id=f"a{number}", event_id=f"e{number}") for number in range(4)]
    topics = Topics(feed(lane(), before, 2, Counter()), before)
    topics.steps[0]["agent.state"] = []
    with pytest.raises(StateApart, match=r"agent\.state\[0\] holds the rows of 2 agents, its position says 4"):
        Recollection(restored(topics))


def test_a_row_without_a_position_is_no_state() -> None:
    topics = Topics(feed(lane(), [event()], 1, Counter()), [])
    (state,) = state_of(topics.steps)
    subject = lane()
    subject.restore(part_until(state, 1))
    with pytest.raises(StateApart, match="holds the rows of 1 agents, its position says 0"):
        Recollection(subject)


def test_a_record_that_was_decided_and_cannot_be_read_any_more_is_named() -> None:
    before = [event(), event(value=b"\0\0\0\0\x07abc")]
    topics = Topics(feed(lane(), before, 2, Counter()), before)
    topics.read = [before[1], before[1]]
    with pytest.raises(FormatError, match=r"kaizen\.events\[0\]: the record at offset 0 was decided once"):
        recall(restored(topics), topics)


def test_rows_that_come_later_empty_the_windows() -> None:
    before = [event(event_id=f"e{number}") for number in range(4)]
    topics = Topics(feed(lane(), before, 2, Counter()), before)
    standby = restored(topics)
    recall(standby, topics)
    for batch in state_of(topics.steps):
        standby.restore(batch)
    assert standby._oldest() == []
