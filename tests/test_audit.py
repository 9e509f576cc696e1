"""The journal of a partition can be checked by its topics alone, and whoever changes a byte of them is found out."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.columns import ColumnBatch, RefusedBatch
from schemas.recordbatch import read
from schemas.recordbatch_write import RecordsBody, frame_batch
from schemas.topics import TOPICS
from schemas.wire import encode
from streams import audit
from streams.audit import OutputsHash, Reads, RecordsHash
from streams.journal import entries, left_out
from streams.pipeline import Lane
from streams.verify import Report, verify

from .lanes import IDS, Record, batch_of
from .test_admission import ANCHOR, KAIZEN, REFUSED, event, lane

Log = dict[str, list[tuple[bytes | None, bytes | None, int]]]
"""Per topic its records: key, value, timestamp."""

records = st.lists(
    st.tuples(st.none() | st.binary(max_size=40), st.none() | st.binary(max_size=300), st.integers(0, 2**41)),
    max_size=30,
)


def batch_from(topic: str, log: Sequence[tuple[bytes | None, bytes | None, int]], start: int = 0) -> list[ColumnBatch]:
    """The records of a topic as a reader gets them."""
    return [batch_of(topic, 0, start, [Record(topic, ts, key, value) for key, value, ts in log])] if log else []


def plain_records_hash(log: Sequence[tuple[bytes | None, bytes | None, int]], start: int) -> bytes:
    """`records_hash` as the module's docstring says it."""
    found = hashlib.sha256()
    for offset, (key, value, ts) in enumerate(log, start):
        found.update(struct.pack("<qq", offset, ts))
        for part in (key, value):
            found.update(struct.pack("<i", -1) if part is None else struct.pack("<i", len(part)) + part)
    return found.digest()


@settings(max_examples=60, deadline=None)
@given(records, st.integers(0, 30))
def test_the_hash_of_records_is_what_its_description_says(log: Any, cut: int) -> None:
    found = RecordsHash()
    for batch in batch_from(KAIZEN, log[:cut]) + batch_from(KAIZEN, log[cut:], len(log[:cut])):
        found.add(batch)
    assert found.digest() == plain_records_hash(log, 0)


def test_records_larger_than_the_scratch_are_hashed_too() -> None:
    log = [(b"k", bytes(3 * audit.SCRATCH), 1), (b"k", b"small", 2)]
    found = RecordsHash()
    found.add(batch_from(KAIZEN, log)[0])
    assert found.digest() == plain_records_hash(log, 0)


def test_a_refused_batch_counts_as_one_record_at_its_first_offset() -> None:
    log = [(b"a", b"1", 1), (b"b", b"2", 2), (b"c", b"3", 3)]
    batch = batch_from(KAIZEN, [log[0], log[2]])[0]
    batch.off[:] = 0, 7
    batch.refused.append(RefusedBatch(first=1, last=6, timestamp=2, reason="unparsable_batch", raw=b"raw"))
    found = RecordsHash()
    found.add(batch)
    parts = [plain_part(0, 1, b"a", b"1"), plain_part(1, 2, None, b"raw"), plain_part(7, 3, b"c", b"3")]
    assert found.digest() == hashlib.sha256(b"".join(parts)).digest()


def plain_part(offset: int, ts: int, key: bytes | None, value: bytes) -> bytes:
    key_part = struct.pack("<i", -1) if key is None else struct.pack("<i", len(key)) + key
    return struct.pack("<qq", offset, ts) + key_part + struct.pack("<i", len(value)) + value


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.none() | st.binary(max_size=9), st.binary(max_size=300)), min_size=1, max_size=30))
def test_the_hash_of_outputs_is_the_same_for_writer_and_reader(values: list[tuple[bytes | None, bytes]]) -> None:
    body = RecordsBody()
    for key, value in values:
        body.append(key, value, 5, [("traceparent", b"t")])
    name = b"priority.normal"
    plain = hashlib.sha256(struct.pack("<i", len(name)) + name + struct.pack("<q", len(values)))
    for _, value in values:
        plain.update(struct.pack("<i", len(value)) + value)
    written, seen = OutputsHash(), OutputsHash()
    written.add(name.decode(), [body])
    (batch,) = read(frame_batch(body), topic=name.decode(), partition=0, start=0)
    seen.begin(name.decode(), batch.n)
    seen.spans(batch.buf, batch.vs, batch.vl)
    assert written.digest() == seen.digest() == plain.digest()


@settings(max_examples=20, deadline=None)
@given(records.filter(bool))
def test_the_compiled_packers_are_the_plain_ones(log: Any) -> None:
    (b,) = batch_from(KAIZEN, log)
    found = []
    for records_packer, spans_packer in (
        (audit.pack_records, audit.pack_spans),
        (audit.pack_records.py_func, audit.pack_spans.py_func),
    ):
        out, values = np.zeros(1 << 14, np.uint8), np.zeros(1 << 14, np.uint8)
        stopped, used = records_packer(b.buf, b.off, b.ts, b.ks, b.kl, b.vs, b.vl, 0, b.n, out)
        ended, size = spans_packer(b.buf, b.vs, b.vl, 0, values)
        found.append((stopped, out[:used].tobytes(), ended, values[:size].tobytes()))
    assert found[0] == found[1]


def test_touching_spans_of_one_source_are_one_read() -> None:
    reads, log = Reads(), [(b"k", b"v", 1)] * 2
    for source, start in (("kaizen", 0), ("kaizen", 2), ("aurais", 5), ("kaizen", 4)):
        reads.add(source, batch_from(KAIZEN, log, start)[0])
    assert [(r.source, r.first, r.next, r.records) for r in reads.spans] == [
        ("kaizen", 0, 4, 4),
        ("aurais", 5, 7, 2),
        ("kaizen", 4, 6, 2),
    ]


# A partition's topics, and what is found when they were changed


def run(subject: Lane, steps: Sequence[Sequence[Record]], log: Log | None = None, **told: Any) -> Log:
    """What the topics hold after `steps`, sources included; `log`: what they held before; `told` goes to each step."""
    log = {row.name: [] for row in TOPICS} if log is None else log
    for step in steps:
        batches = []
        for topic in dict.fromkeys(record.topic for record in step):
            mine = [record for record in step if record.topic == topic]
            batches.append(batch_of(topic, 0, len(log[topic]), mine))
            log[topic] += [(record.key, record.value, record.timestamp) for record in mine]
        for name, bodies in subject.step(batches, **told).outputs.items():
            for body in bodies:
                (batch,) = read(frame_batch(body), topic=name, partition=0, start=0)
                log[name] += [(batch.key(i), batch.value(i), int(batch.ts[i])) for i in range(batch.n)]
    return log


def history() -> Log:
    """Three steps of two sources, with everything that can become of a record."""
    first = [event(ANCHOR, agent_id=name, event_id=name) for name in ("bot", "cat")]
    second = [event(event_id=f"e{number}", risk="critical") for number in range(9)]
    third = [
        event(event_id="v", event_type="security_violation", severity="critical", agent_id="cat"),
        event(event_id="e3", risk="critical"),
    ]
    return run(lane(), [[*first, *second], [*REFUSED.values(), event(event_id="late")], third])


def checked(log: Log) -> Report:
    return verify({name: batch_from(name, rows) for name, rows in log.items()}, IDS)


def test_an_untouched_partition_checks() -> None:
    log = history()
    report = checked(log)
    assert report.problems == []
    assert (report.entries, report.out_of_reach) == (3, 0)
    assert report.spans == {"kaizen": (0, len(log[KAIZEN])), "agentanchor": (0, len(log[ANCHOR]))}
    assert report.records == len(log[KAIZEN]) + len(log[ANCHOR])


def change(topic: str, at: int, new: Callable[[bytes], bytes]) -> Callable[[Log], object]:
    def apply(log: Log) -> None:
        key, value, ts = log[topic][at]
        log[topic][at] = key, new(value or b""), ts

    return apply


def swap_last_byte(value: bytes) -> bytes:
    return value[:-1] + bytes([value[-1] ^ 1])


FORGERIES: dict[str, Callable[[Log], object]] = {
    "a record read was changed": change(KAIZEN, 2, swap_last_byte),
    "a timestamp was changed": lambda log: log[KAIZEN].__setitem__(1, (*log[KAIZEN][1][:2], 7)),
    "a record read is missing": lambda log: log[KAIZEN].pop(),
    "an output was changed": change("priority.normal", 1, swap_last_byte),
    "an output is missing": lambda log: log["priority.normal"].pop(3),
    "an output is there twice": lambda log: log["priority.normal"].append(log["priority.normal"][-1]),
    "outputs changed places": lambda log: log["priority.normal"].reverse(),
    "a dead letter is missing": lambda log: log["dead.letters"].pop(0),
    "a decision of the journal is missing": lambda log: log["audit.log"].pop(0),
    "an entry is missing": lambda log: log["audit.log"].pop(),
    "a change of trust is missing": lambda log: log["trust.changes"].pop(),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_whoever_changes_a_topic_is_found_out(forgery: str) -> None:
    log = history()
    if forgery == "an entry is missing":
        log["audit.log"] = [row for row in log["audit.log"] if row != step_entries(log)[1]]
    else:
        FORGERIES[forgery](log)
    assert not checked(log).ok


def step_entries(log: Log) -> list[tuple[bytes | None, bytes | None, int]]:
    """The records of `audit.log` that are entries of steps."""
    hashes = {entry.hash for entry in entries(batch_from("audit.log", log["audit.log"]), IDS)}
    return [row for row in log["audit.log"] if hashlib.sha256(row[1] or b"").digest() in hashes]


def test_an_entry_forged_with_its_own_hash_breaks_the_chain() -> None:
    log = history()
    rows = log["audit.log"]
    at = rows.index(step_entries(log)[1])
    (original,) = [entry for entry in entries(batch_from("audit.log", rows), IDS) if entry.number == 2]
    forged = {"kind": "step", "entry": 2, "decision": None, "step": original.says | {"build": "other"}}
    rows[at] = None, encode("audit.log", forged, IDS), rows[at][2]
    assert any("entry 3 does not bear the hash" in problem for problem in checked(log).problems)


def test_entries_whose_records_expired_are_out_of_reach_and_the_rest_is_checked() -> None:
    log = history()
    batches = {name: batch_from(name, rows) for name, rows in log.items()}
    trimmed = batches | {KAIZEN: batch_from(KAIZEN, log[KAIZEN][9:], 9)}
    report = verify(trimmed, IDS)
    assert report.problems == []
    assert report.out_of_reach == 1


def test_a_tick_is_an_entry_too() -> None:
    log = run(lane(), [[]], tick=1_767_225_605_000)
    (entry,) = entries(batch_from("audit.log", log["audit.log"]), IDS)
    assert (entry.number, entry.says["tick"], entry.says["reads"]) == (1, 1_767_225_605_000, [])
    assert checked(log).ok


def test_the_journal_says_what_was_left_out() -> None:
    log = history()
    said = list(entries(batch_from("audit.log", log["audit.log"]), IDS))
    assert left_out(said, "kaizen").tolist() == list(range(9, 9 + len(REFUSED)))
    assert left_out(said, "agentanchor").tolist() == []
