"""A lane as the worker, a replay and a test see it: batches in, everything that must become durable together out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from schemas.catalog import LocalIds, RegistryUnreachable, Schema
from schemas.columns import ColumnBatch, RefusedBatch
from schemas.errors import FormatError
from schemas.recordbatch import read
from schemas.recordbatch_write import RecordsBody, frame_batch
from schemas.topics import POSITION_KEY, topic
from streams.journal import entries, left_out
from streams.outputs import POOLS, Outbox
from streams.pipeline import Effects, Lane, OutOfOrder
from streams.policy import Policy

from .lanes import IDS, Record, batch_of, records_of
from .test_admission import ANCHOR, KAIZEN, NOW, REFUSED, event, lane, outcome


def traffic(events: int = 200, agents: int = 12) -> list[Record]:
    """A few agents at work: registered one after the other, with some failures, repeats and garbage."""
    kinds = ("execution_started", "execution_completed", "execution_failed", "intent_declared", "security_violation")
    sent = [event(ANCHOR, agent_id=f"a{number}", event_id=f"r{number}") for number in range(agents)]
    for number in range(events):
        name, kind = f"a{number * 7 % (agents + 2)}", kinds[number * number % 5]
        when = NOW + number * 250
        sent.append(
            event(agent_id=name, event_id=f"e{number}", event_type=kind, timestamp=when, revenue_usd=number * 1e3)
        )
        if number % 50 == 49:
            sent += [sent[-3], *REFUSED.values()]
    return sent


def batches(records: Sequence[Record], at: Counter[str]) -> list[ColumnBatch]:
    """`records` as column batches, neighbours of a source together; `at` counts the offsets."""
    made: list[ColumnBatch] = []
    begin = 0
    for end in range(1, len(records) + 1):
        if end == len(records) or records[end].topic != records[begin].topic:
            name = records[begin].topic
            made.append(batch_of(name, 0, at[name], records[begin:end]))
            at[name] += end - begin
            begin = end
    return made


def feed(subject: Lane, records: Sequence[Record], size: int, at: Counter[str]) -> list[dict[str, list[bytes]]]:
    """Step after step of `size` records; per step and topic the finished record batches."""
    steps = []
    for begin in range(0, len(records), size):
        outputs = subject.step(batches(records[begin : begin + size], at)).outputs
        steps.append({name: [frame_batch(body) for body in bodies] for name, bodies in outputs.items()})
    return steps


def values(steps: Sequence[dict[str, list[bytes]]], name: str) -> list[tuple[bytes | None, int, bytes | None]]:
    """Key, timestamp and value of all that `steps` wrote to a topic."""
    parts = [
        part for step in steps for raw in step.get(name, []) for part in read(raw, topic=name, partition=0, start=0)
    ]
    return [(part.key(i), int(part.ts[i]), part.value(i)) for part in parts for i in range(part.n)]


def test_the_same_batches_give_the_same_bytes() -> None:
    first, second = (feed(lane(), traffic(), 40, Counter()) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_decisions_do_not_depend_on_how_the_records_are_cut_into_steps(size: int) -> None:
    whole, parts = (feed(lane(), traffic(), step, Counter()) for step in (40, size))
    for name in (*POOLS, "ratelimit.decisions", "trust.changes"):
        assert values(parts, name) == values(whole, name)


def state_of(steps: Sequence[dict[str, list[bytes]]]) -> list[ColumnBatch]:
    """What a restored lane reads: all of `agent.state`, one batch after the other."""
    return [
        part
        for step in steps
        for raw in step["agent.state"]
        for part in read(raw, topic="agent.state", partition=0, start=0)
    ]


def test_a_restored_lane_goes_on_as_if_it_had_never_stopped() -> None:
    records, at = traffic(), Counter[str]()
    before = lane()
    written = feed(before, records[:120], 30, at)
    after = lane()
    for batch in state_of(written):
        after.restore(batch)
    assert (after.positions, after.entry, after.rows) == (before.positions, before.entry, before.rows)
    assert after.table.unregistered == before.table.unregistered
    said = [
        entry
        for raw in values(written, "audit.log")
        for entry in entries([batch_of("audit.log", 0, 0, [Record("", raw[1], raw[0], raw[2])])], IDS)
    ]
    again = Counter[str]()
    for batch in batches(records[:120], again):
        after.remember(batch, left_out(said, batch.topic.removesuffix(".events")))
    twin = Counter(at)
    assert feed(after, records[120:], 30, at) == feed(before, records[120:], 30, twin)


def test_only_the_last_version_of_a_row_counts() -> None:
    subject, restored = lane(), lane()
    written = feed(subject, traffic(), 10, Counter())
    compacted = {key: (ts, value) for key, ts, value in values(written, "agent.state")}
    restored.restore(
        batch_of("agent.state", 0, 0, [Record("", ts, key, value) for key, (ts, value) in compacted.items()])
    )
    order = [restored.table.row(subject.table.key(row)) for row in range(subject.rows)]
    for name in ("trust", "limit", "habit"):
        assert np.array_equal(getattr(subject.table, name)[: subject.rows], getattr(restored.table, name)[order])


@pytest.mark.parametrize(
    ("key", "value"), [(b"acme/bot", b"garbage"), (b"acme/bot", None), (None, b"x"), (b"ab", b"x"), (b"\xfe", b"x")]
)
def test_what_no_lane_wrote_is_no_state(key: bytes | None, value: bytes | None) -> None:
    with pytest.raises(FormatError, match=r"agent\.state\[0\]: the record at offset 0 is no row"):
        lane().restore(batch_of("agent.state", 0, 0, [Record("", NOW, key, value)]))


def test_every_record_is_decided_a_repeat_or_a_dead_letter() -> None:
    subject, records = lane(), traffic()
    effects = subject.step(batches(records, Counter()))
    counts = effects.counts
    assert counts.read == len(records) == counts.decided + counts.repeats + sum(counts.refused.values())
    assert counts.decided == sum(counts.written[pool] for pool in POOLS)
    assert counts.written["dead.letters"] == sum(counts.refused.values()) == 4 * len(REFUSED)
    assert counts.repeats == 4
    assert counts.written == {name: sum(body.count for body in bodies) for name, bodies in effects.outputs.items()}


def test_a_step_writes_one_row_and_one_level_per_agent_and_the_position_last() -> None:
    effects = lane().step(batches(traffic(), Counter()))
    rows = [key for key, _, _ in records_of(effects, "agent.state")]
    levels = [key for key, _, _ in records_of(effects, "trust.levels")]
    assert rows == [*levels, POSITION_KEY]
    assert len(set(rows)) == len(rows)


def test_positions_move_over_what_holds_no_records() -> None:
    subject = lane()
    none: dict[str, Any] = dict.fromkeys(("off", "ts", "ks", "kl", "vs", "vl", "hs", "hl"), np.zeros(0, np.int64))
    empty = replace(batch_of(KAIZEN, 0, 0, [event()]), start=0, next=5, **none)
    effects = subject.step([empty])
    assert effects.positions == {KAIZEN: 5}
    assert effects.counts.read == 0
    assert set(effects.outputs) == {"audit.log", "agent.state"}


def test_a_batch_that_does_not_follow_is_not_decided() -> None:
    subject = lane()
    subject.step([batch_of(KAIZEN, 0, 0, [event()])])
    with pytest.raises(OutOfOrder, match=r"kaizen\.events\[0\]: got offsets from 3, expected 1"):
        subject.step([batch_of(KAIZEN, 0, 3, [event(event_id="b")])])
    assert outcome(subject, event(event_id="b")) == ["decided"]


class Away(LocalIds):
    """A registry that is asked for one id, and does not answer."""

    def writer_schema(self, schema_id: int) -> Schema | None:
        if schema_id == 7:
            raise RegistryUnreachable("gone")
        return super().writer_schema(schema_id)


def test_a_registry_that_does_not_answer_leaves_the_lane_as_it_was() -> None:
    subject, twin = (Lane(0, 0, policy=Policy(), ids=Away(), build="test") for _ in range(2))
    sound, asks = batch_of(KAIZEN, 0, 0, [event()]), batch_of(ANCHOR, 0, 0, [event(ANCHOR, value=b"\0\0\0\0\x07abc")])
    with pytest.raises(RegistryUnreachable):
        subject.step([sound, asks], policy=Policy.model_validate({"admission": {"max_unregistered": 0}}))
    assert (subject.rows, subject.entry, subject.positions) == (0, 0, {})
    first, second = (one.step([sound]) for one in (subject, twin))
    assert finished(first) == finished(second)


def finished(effects: Effects) -> dict[str, list[bytes]]:
    return {name: [frame_batch(body) for body in bodies] for name, bodies in effects.outputs.items()}


def test_another_policy_holds_from_its_step_on_and_the_journal_names_it() -> None:
    subject = lane()
    mild = Policy.model_validate({"trust": {"penalty": 1}})
    subject.step([batch_of(ANCHOR, 0, 0, [event(ANCHOR)])])
    effects = subject.step([batch_of(KAIZEN, 0, 0, [event(event_type="execution_failed", risk="low")])], policy=mild)
    assert next(value["after"] for _, _, value in records_of(effects, "trust.changes")) == 85_000
    assert journal(effects)["policy_version"] == mild.version


def journal(effects: Effects) -> dict[str, Any]:
    """What the entry of the step says."""
    (entry,) = [value for _, _, value in records_of(effects, "audit.log") if value["kind"] == "step"]
    said: dict[str, Any] = entry["step"]
    return said


def test_dead_letters_keep_the_original_and_its_place() -> None:
    subject = lane()
    bad = event(key=b"acme/other", event_id="bad", timestamp=NOW + 7)
    effects = subject.step([batch_of(KAIZEN, 0, 0, [event(), bad])])
    ((key, when, letter),) = records_of(effects, "dead.letters")
    assert (key, letter["key"], letter["value"]) == (bad.key, bad.key, bad.value)
    assert (letter["source"], letter["partition"], letter["offset"], letter["last_offset"]) == (KAIZEN, 0, 1, 1)
    assert (letter["reason"], letter["stage"], letter["timestamp"]) == ("key_mismatch", "form", NOW + 7)
    assert letter["schema_id"] == IDS.id_of(KAIZEN)
    assert when == NOW + 7


def test_a_timestamp_from_another_century_does_not_date_its_dead_letter() -> None:
    effects = lane().step([batch_of(KAIZEN, 0, 0, [event(), event(event_id="b", timestamp=5)])])
    ((_, when, letter),) = records_of(effects, "dead.letters")
    assert (when, letter["timestamp"]) == (NOW, 5)


def with_headers(record: Record, headers: list[tuple[str, bytes | None]]) -> ColumnBatch:
    """A batch of one record that has headers."""
    body = RecordsBody()
    body.append(record.key, record.value, record.timestamp, headers)
    (batch,) = read(frame_batch(body), topic=record.topic, partition=0, start=0)
    return batch


def test_the_trace_is_copied_to_outputs_and_all_headers_to_dead_letters() -> None:
    headers = [("traceparent", b"00-ab-cd-01"), ("other", None), ("ce_id", b"\xff")]
    effects = lane().step([with_headers(event(event_type="intent_declared"), headers)])
    for name in ("priority.normal", "ratelimit.decisions"):
        (batch,) = read(frame_batch(effects.outputs[name][0]), topic=name, partition=0, start=0)
        assert batch.buf[batch.hs[0] : batch.hs[0] + batch.hl[0]].tobytes() == b"\x02\x16traceparent\x1600-ab-cd-01"
    effects = lane().step([with_headers(event(value=b"x"), headers)])
    ((_, _, letter),) = records_of(effects, "dead.letters")
    assert letter["headers"] == [{"key": name, "value": value} for name, value in headers]


def test_a_record_batch_refused_whole_is_one_dead_letter_between_its_neighbours() -> None:
    batch = batch_of(KAIZEN, 0, 0, [event(event_id="a", key=b"x"), event(event_id="b"), event(event_id="c", key=b"y")])
    batch.off[:] = 0, 1, 9
    batch.next = 10
    batch.refused.append(RefusedBatch(first=2, last=8, timestamp=NOW, reason="unparsable_batch", raw=b"raw bytes"))
    subject = lane()
    effects = subject.step([batch])
    letters = [value for _, _, value in records_of(effects, "dead.letters")]
    assert [(value["offset"], value["last_offset"], value["reason"]) for value in letters] == [
        (0, 0, "bad_key"),
        (2, 8, "unparsable_batch"),
        (9, 9, "bad_key"),
    ]
    assert letters[1]["raw_batch"] == b"raw bytes"
    assert effects.counts.read == 4
    assert journal(effects)["reads"][0]["refused"] == [0, 2, 9]


def test_the_journal_names_what_was_read_and_by_which_schemas() -> None:
    subject = lane()
    effects = subject.step([batch_of(KAIZEN, 0, 0, [event(), event()]), batch_of(ANCHOR, 0, 0, [event(ANCHOR)])])
    said = journal(effects)
    assert [(r["source"], r["first"], r["next"], r["records"], r["repeats"]) for r in said["reads"]] == [
        ("kaizen", 0, 2, 2, [1]),
        ("agentanchor", 0, 1, 1, []),
    ]
    assert len(said["schemas"]) == 2
    assert said["window_oldest"] == []
    said = journal(subject.step([batch_of(KAIZEN, 0, 2, [event(event_id="b")])]))
    assert said["window_oldest"] == [{"source": "kaizen", "offset": 0}, {"source": "agentanchor", "offset": 0}]


def test_consequential_decisions_stand_in_the_journal() -> None:
    subject = lane()
    violation = event(event_id="v", event_type="security_violation", severity="critical")
    effects = subject.step([batch_of(ANCHOR, 0, 0, [event(ANCHOR)]), batch_of(KAIZEN, 0, 0, [violation])])
    decisions = [value["decision"] for _, _, value in records_of(effects, "audit.log") if value["kind"] == "decision"]
    assert [(d["what"], d["before"], d["after"], d["event_id"]) for d in decisions] == [
        ("tier_changed", 0, 1, "e-1"),
        ("tier_changed", 1, 0, "v"),
        ("suspended", 100_000, 0, "v"),
    ]


def test_the_start_of_a_throttle_stands_in_the_journal() -> None:
    asks = [event(event_id=f"i{number}", event_type="intent_declared") for number in range(8)]
    effects = lane().step([batch_of(KAIZEN, 0, 0, asks)])
    decisions = [value["decision"] for _, _, value in records_of(effects, "audit.log") if value["kind"] == "decision"]
    assert [(d["what"], d["before"], d["after"], d["cause"]) for d in decisions] == [
        ("throttle_started", 0, 3, "intent_declared")
    ]
    answers = [value["decision"] for _, _, value in records_of(effects, "ratelimit.decisions")]
    assert answers == ["allow", "allow", "deny", "deny", "deny", "throttle", "throttle", "throttle"]


def test_no_record_batch_is_larger_than_its_topic_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [event(event_id=f"e{number}", action="x" * 1000) for number in range(300)]
    whole = lane().step([batch_of(KAIZEN, 0, 0, records)])
    expected = [value for _, _, value in records_of(whole, "priority.normal")]
    small = replace(topic("priority.normal"), max_message_bytes=20_000)
    monkeypatch.setattr("streams.outputs.topic", lambda name: small if name == "priority.normal" else topic(name))
    effects = lane().step([batch_of(KAIZEN, 0, 0, records)])
    sizes = [len(frame_batch(body)) for body in effects.outputs["priority.normal"]]
    assert max(sizes) <= 20_000
    assert len(sizes) < 40
    assert [value for _, _, value in records_of(effects, "priority.normal")] == expected


def test_a_record_alone_is_written_however_large() -> None:
    out = Outbox()
    for _ in range(3):
        out.add("dead.letters", b"k", bytes(2 << 20), 1)
    assert [body.count for body in out.bodies["dead.letters"]] == [1, 1, 1]


def test_whoever_measures_sees_every_part_of_a_step() -> None:
    seen: list[str] = []

    class Span:
        def __init__(self, name: str) -> None:
            seen.append(name)

        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    subject = lane()
    subject.trace = Span
    subject.step([batch_of(KAIZEN, 0, 0, [event()])])
    assert {"decode", "admission", "trust", "limit", "priority", "outputs", "state", "journal"} <= set(seen)
