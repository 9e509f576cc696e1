"""A partition decided anew along its journal is what its topics hold; whatever was changed in them is named."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.catalog import LocalIds, Schema, SchemaIds, schema_of
from schemas.columns import ColumnBatch
from schemas.wire import encode
from streams.compare import Cursor, Differs, as_read
from streams.journal import STEP, Entry, columns, entries
from streams.outputs import Outbox
from streams.pipeline import Lane
from streams.policy import Policy
from streams.repeats import REPEAT, Window, recall, remember
from streams.replay import OutOfReach, Replay, Report, UnknownPolicy
from streams.standing import compare_state, until_entry
from streams.state_codec import StateCodec

from .lanes import IDS, Record
from .test_admission import ANCHOR, KAIZEN, event, lane
from .test_audit import Log, batch_from, change, run, step_entries, swap_last_byte
from .test_pipeline import traffic

STRICT = Policy.model_validate({"trust": {"penalty": 4}})


def in_pieces(log: Log, size: int) -> dict[str, list[ColumnBatch]]:
    """The topics as a reader gets them whose fetches hold `size` records."""
    return {
        name: [b for at in range(0, len(rows), size) for b in batch_from(name, rows[at : at + size], at)]
        for name, rows in log.items()
    }


def again(log: Log, size: int = 1 << 20, window: int = 65_536, ids: SchemaIds = IDS) -> Report:
    return Replay(in_pieces(log, size), 0, 0, policies=[Policy(), STRICT], ids=ids, window=window).whole()


def history() -> Log:
    """Steps of several sources with repeats, garbage, many agents, and a tick."""
    records = traffic()
    return run(lane(), [records[:60], records[60:61], records[61:200], [], records[200:]], tick=1_767_225_605_000)


def test_an_untouched_partition_is_decided_alike() -> None:
    log = history()
    report = again(log)
    assert report.difference is None
    assert (report.entries, report.records) == (5, len(log[KAIZEN]) + len(log[ANCHOR]))
    compared = ("trust.changes", "ratelimit.decisions", "audit.log", "dead.letters", "priority.urgent")
    assert report.outputs >= sum(len(log[name]) for name in compared)
    assert (report.policies, report.builds, report.not_compared) == ([Policy().version], ["test"], [])
    assert report.rows == 12


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 300))
def test_how_the_topics_are_fetched_makes_no_difference(size: int) -> None:
    assert again(history(), size).ok


FORGERIES: dict[str, tuple[str, Callable[[Log], object]]] = {
    "a record read was changed": ("records_hash", change(KAIZEN, 20, swap_last_byte)),
    "an output's value": ("value", change("priority.normal", 1, swap_last_byte)),
    "an output's time": (
        "timestamp",
        lambda log: log["priority.normal"].__setitem__(3, (*log["priority.normal"][3][:2], 7)),
    ),
    "an output's key": (
        "key",
        lambda log: log["priority.normal"].__setitem__(3, (b"acme/else", *log["priority.normal"][3][1:])),
    ),
    "an output is missing": ("record", lambda log: log["dead.letters"].pop()),
    "an output is there twice": (
        "record",
        lambda log: log["dead.letters"].append(log["dead.letters"][-1]),
    ),
    "a level": ("newest record of b'acme/a", lambda log: log["trust.levels"].append(log["trust.levels"][0])),
    "a row": ("trust", lambda log: log["agent.state"].insert(-1, log["agent.state"][0])),
    "a row is missing": ("row of b'acme/a3'", lambda log: forget_key(log, b"acme/a3")),
    "a row of somebody else": (
        "key",
        lambda log: log["agent.state"].insert(-1, (b"acme/zoe", *log["agent.state"][0][1:])),
    ),
    "no position": ("position", lambda log: forget_key(log, b"\xff")),
    "an older position": (
        "position.sources",
        lambda log: log["agent.state"].append(next(row for row in log["agent.state"] if row[0] == b"\xff")),
    ),
}


def forget_key(log: Log, key: bytes) -> None:
    log["agent.state"] = [row for row in log["agent.state"] if row[0] != key]


@pytest.mark.parametrize("forgery", FORGERIES)
def test_whatever_was_changed_is_named(forgery: str) -> None:
    log = history()
    field, forge = FORGERIES[forgery]
    forge(log)
    difference = again(log, 50).difference
    assert difference is not None
    assert field in difference.field, str(difference)


def test_a_difference_says_where_it_is_and_what_was_expected() -> None:
    log = history()
    key, value, ts = log["trust.changes"][2]
    name = (key or b"").removeprefix(b"acme/")
    log["trust.changes"][2] = key, (value or b"").replace(name, b"zz"), ts
    told = str(again(log).difference)
    assert told.startswith("entry 1, trust.changes at offset 2, "), told
    assert f"agent_id: there is 'zz', decided anew it is '{name.decode()}'" in told, told


def test_an_entry_that_names_another_policy_is_found_out() -> None:
    log = run(lane(), [traffic()[:100], traffic()[100:]])
    first = step_entries(log)[0]
    at = log["audit.log"].index(first)
    forged = (first[1] or b"").replace(Policy().version.encode(), STRICT.version.encode())
    log["audit.log"][at] = None, forged, first[2]
    difference = again(log).difference
    assert difference is not None
    assert difference.entry in (1, 2)


def test_a_policy_that_changed_at_a_step_is_followed() -> None:
    subject, records = lane(), traffic()
    log = run(subject, [records[:150]])
    run(subject, [records[150:]], log, policy=STRICT)
    report = again(log)
    assert report.difference is None
    assert report.policies == [Policy().version, STRICT.version]
    with pytest.raises(UnknownPolicy, match=rf"entry 2 .*{STRICT.version}.*--policy"):
        Replay(in_pieces(log, 99), 0, 0, policies=[Policy()], ids=IDS).whole()


def test_a_build_that_changed_is_followed() -> None:
    subject = lane()
    log = run(subject, [traffic()[:99]])
    subject.build = "later"
    assert again(run(subject, [traffic()[99:]], log)).builds == ["test", "later"]


class Registry(LocalIds):
    """Local ids, and the source's schema under id 7 from the moment on that it is registered."""

    registered = False

    def writer_schema(self, schema_id: int) -> Schema | None:
        return schema_of(KAIZEN) if schema_id == 7 and self.registered else super().writer_schema(schema_id)


def test_a_schema_that_nobody_knew_then_is_unknown_in_the_replay() -> None:
    ids = Registry()
    log = run(Lane(0, 0, policy=Policy(), ids=ids, build="test"), [[early := under_seven("a")]])
    assert len(log["dead.letters"]) == 1
    ids.registered = True
    assert again(log, ids=ids).ok
    log = run(Lane(0, 0, policy=Policy(), ids=ids, build="test"), [[early]])
    assert log["dead.letters"] == []
    assert again(log, ids=ids).ok


def test_what_a_worker_writes_meanwhile_is_no_difference() -> None:
    subject, records = lane(), traffic()
    journal = (log := run(subject, [records[:90]]))["audit.log"].copy()
    run(subject, [records[90:]], log)
    topics = in_pieces(log | {"audit.log": journal}, 30)
    again = Replay({name: topics[name] for name in topics if name != "agent.state"}, 0, 0, policies=[Policy()], ids=IDS)
    assert len(list(again.entries())) == 1
    then = until_entry(topics["agent.state"], again.lane.entry, IDS)
    assert compare_state(again.lane, then, IDS) == again.lane.rows
    with pytest.raises(Differs, match="position"):
        compare_state(again.lane, topics["agent.state"], IDS)


def under_seven(event_id: str) -> Record:
    sound = event(event_id=event_id)
    return sound._replace(value=b"\0\0\0\0\x07" + (sound.value or b"")[5:])


def test_windows_that_a_restart_shortened_are_short_in_the_replay() -> None:
    first, second = lane(), lane()
    twice = event(event_id="twice")
    log = run(first, [[event(ANCHOR), event(event_id="a"), twice]])
    restored(first, second)
    run(second, [[twice, event(event_id="b")], [twice]], log)
    assert [len(read["repeats"]) for entry in said(log) for read in entry.says["reads"]] == [0, 0, 0, 1]
    assert again(log).difference is None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 25), st.sampled_from(["on", "on", "restart"])), min_size=1, max_size=12))
def test_the_replay_is_alike_wherever_workers_restarted(steps: list[tuple[int, str]]) -> None:
    """Without windows, as after the retention of all sources; a window of 16 is often full."""
    subject, log, records = lane(window=16), None, traffic()
    for count, then in steps:
        mine, records = records[:count], records[count:]
        log = run(subject, [mine], log)
        if then == "restart":
            subject = restored(subject, lane(window=16))
    assert again(log or {}, 7, window=16).difference is None


def restored(subject: Lane, heir: Lane) -> Lane:
    """`heir` with the rows and the position of `subject`, and empty windows."""
    out = Outbox()
    StateCodec(IDS).write(out, subject.table, np.arange(subject.rows))
    out.add("agent.state", b"\xff", encode("agent.state", subject.position.as_value(), IDS), 0)
    for batch in as_read("agent.state", 0, out.bodies["agent.state"]):
        heir.restore(batch)
    return heir


def said(log: Log) -> list[Entry]:
    return list(entries(batch_from("audit.log", log["audit.log"]), IDS))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=40), st.integers(0, 45))
def test_a_window_that_forgot_is_one_that_never_knew(names: list[int], offset: int) -> None:
    forgot, never = Window(16), Window(16)
    for at, name in enumerate(names):
        put(forgot, name, at)
        if at >= max(offset, len(names) - 16):
            put(never, name, at)
    forgot.forget_before(offset)
    if offset > 0 and forgot.oldest is not None:
        assert forgot.oldest >= min(offset, len(names))
    for name in range(10):
        assert known(forgot, name) == known(never, name)
    assert forgot.oldest == never.oldest


def put(window: Window, name: int, at: int) -> None:
    remember.py_func(window.ring, window.heads, window.seen, np.uint64(name), np.uint64(at), at)


def known(window: Window, name: int) -> int:
    """The offset at which `name` was seen last, -1: not known."""
    for at in range(50):
        if recall.py_func(window.ring, window.heads, window.seen, np.uint64(name), np.uint64(at)) == REPEAT:
            return at
    return -1


@pytest.mark.parametrize("size", [1, 5, 300])
def test_a_journal_or_source_that_lost_its_beginning_is_refused_by_name(size: int) -> None:
    topics = in_pieces(history(), size)
    for name, told in (
        (KAIZEN, r"entry 1 read kaizen\.events\[0\] from offset 0"),
        ("audit.log", "begins with entry 2"),
    ):
        less = topics | {name: without_head(topics[name])}
        with pytest.raises(OutOfReach, match=told):
            Replay(less, 0, 0, policies=[Policy()], ids=IDS).whole()


def without_head(batches: list[ColumnBatch]) -> list[ColumnBatch]:
    """Without the first record of a source, or the first entry of the journal."""
    numbers = [entry.number for entry in entries(batches, IDS)] if batches[0].topic == "audit.log" else []
    head = 1 if not numbers else next(at for at, kind in enumerate(kinds(batches)) if kind == STEP) + 1
    cursor = Cursor(batches)
    list(cursor.cut(head))
    rest = []
    while (batch := cursor.head) is not None:
        rest += cursor.cut(batch.next)
    return rest


def kinds(batches: list[ColumnBatch]) -> list[int]:
    return [kind for batch in batches for kind in columns(batch, ("kind",), IDS)["kind"].tolist()]


def test_outputs_whose_beginning_expired_are_left_to_their_hash() -> None:
    topics = in_pieces(history(), 10)
    headless = topics | {"trust.changes": without_head(topics["trust.changes"])}
    report = Replay(headless, 0, 0, policies=[Policy()], ids=IDS).whole()
    assert report.ok
    assert report.not_compared == ["trust.changes: begins at offset 1, older records were deleted"]
