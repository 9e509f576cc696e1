"""Who gets decided: the reasons of docs/rules.md in their order, repeats within the window, rows for whoever may."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.murmur import partition_of
from schemas.reasons import Reason
from schemas.wire import encode
from streams import admission, repeats
from streams.intake import Room, Source
from streams.pipeline import Lane
from streams.policy import Policy
from streams.repeats import Window
from streams.table import StateTable

from .lanes import IDS, Record, batch_of, records_of
from .model.model import Window as PlainWindow

NOW = 1_767_225_600_000
KAIZEN = "kaizen.events"
ANCHOR = "agentanchor.events"

NULLS: dict[str, dict[str, Any]] = {
    KAIZEN: dict.fromkeys(
        (
            "correlation_id", "intent", "action", "risk", "decision", "component", "model", "duration_ms", "tokens_in",
            "tokens_out", "cost_usd", "revenue_usd", "severity", "error",
        )
    )
    | {"user_facing": False, "security_relevant": False},
    ANCHOR: dict.fromkeys(
        ("correlation_id", "creation", "observability", "signal_kind", "signal_weight", "certification")
    ),
}  # fmt: skip


def event(topic: str = KAIZEN, **says: Any) -> Record:
    """A sound record of acme/bot, changed by `says`; `key`, `value` and `timestamp` are the record's."""
    record = {name: says.pop(name) for name in ("key", "value", "timestamp") if name in says}
    fields: dict[str, Any] = {
        "event_id": "e-1",
        "tenant_id": "acme",
        "agent_id": "bot",
        "event_type": "execution_completed" if topic == KAIZEN else "agent_registered",
        "occurred_at": NOW,
        "attributes": {},
    }
    value = encode(topic, NULLS[topic] | fields | says, IDS)
    key = f"{(fields | says)['tenant_id']}/{(fields | says)['agent_id']}".encode()
    return Record(topic, record.get("timestamp", NOW), record.get("key", key), record.get("value", value))


def lane(partitions: int = 0, **options: Any) -> Lane:
    """A lane of partition 0; of 0 partitions: every key is at home."""
    return Lane(0, partitions, policy=Policy(), ids=IDS, build="test", **options)


def outcome(subject: Lane, *records: Record) -> list[str]:
    """Per record of one batch: the reason, `repeat`, or `decided`."""
    start = subject.positions.get(records[0].topic, 0)
    effects = subject.step([batch_of(records[0].topic, 0, start, records)])
    reasons = {value["offset"]: value["reason"] for _, _, value in records_of(effects, "dead.letters")}
    pools = ("priority.urgent", "priority.normal", "priority.background")
    decided = {value["offset"] for pool in pools for _, _, value in records_of(effects, pool)}
    offsets = range(start, start + len(records))
    return [reasons.get(at, "decided" if at in decided else "repeat") for at in offsets]


REFUSED = {
    "no_value": event(value=None),
    "empty_value": event(value=b""),
    "bad_magic": event(value=b"\x01abcdef"),
    "truncated": event(value=b"\0\0\0"),
    "unknown_schema": event(value=b"\0\0\0\0\x07abc"),
    "undecodable": event(value=(event().value or b"") + b"x"),
    "no_key": event(key=None),
    "bad_key": event(key=b"no-slash"),
    "bad_agent_id": event(key=b"acme/\n"),
    "key_mismatch": event(key=b"acme/other"),
    "bad_event_id": event(event_id=""),
    "bad_number": event(cost_usd=math.nan),
    "bad_timestamp": event(timestamp=5),
    "text_too_long": event(action="x" * 1025),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_malformed_is_refused_for_its_reason_and_the_rest_goes_on(reason: str) -> None:
    found = outcome(lane(), event(event_id="a"), REFUSED[reason], event(event_id="b"))
    assert found == ["decided", reason, "decided"]


def test_a_tenant_of_the_event_that_is_not_the_keys_is_refused_though_both_make_one_text() -> None:
    assert outcome(lane(), event(tenant_id="acme/bot", agent_id="x")) == ["key_mismatch"]
    assert outcome(lane(), event(tenant_id="acme", agent_id="bot/x")) == ["decided"]


def test_the_first_check_that_fails_names_the_reason() -> None:
    everything: dict[str, Any] = {"event_id": "x" * 129, "cost_usd": -1.0, "action": "x" * 2000, "timestamp": 5}
    assert outcome(lane(), event(key=b"ACME/bot", **everything)) == ["bad_key"]
    assert outcome(lane(), event(key=b"acme/else", **everything)) == ["key_mismatch"]
    assert outcome(lane(), event(**everything)) == ["bad_event_id"]
    assert outcome(lane(), event(**everything | {"event_id": "x"})) == ["bad_number"]
    assert outcome(lane(), event(**everything | {"event_id": "x", "cost_usd": 1.0})) == ["bad_timestamp"]


@pytest.mark.parametrize(
    ("says", "found"),
    [
        ({"duration_ms": -0.0}, "decided"),
        ({"duration_ms": -5e-324}, "bad_number"),
        ({"revenue_usd": -5.0}, "decided"),
        ({"revenue_usd": -math.inf}, "bad_number"),
        ({"tokens_in": -1}, "bad_number"),
        ({"tokens_out": 0}, "decided"),
        ({"action": "é" * 512}, "decided"),
        ({"action": "é" * 513}, "text_too_long"),
        ({"intent": "x" * 5000}, "decided"),
        ({"event_id": "é" * 64}, "decided"),
        ({"event_id": "é" * 65}, "bad_event_id"),
        ({"timestamp": 946_684_800_000}, "decided"),
        ({"timestamp": 946_684_799_999}, "bad_timestamp"),
        ({"timestamp": 3_786_912_000_000}, "bad_timestamp"),
        ({"timestamp": -1}, "bad_timestamp"),
    ],
)
def test_the_bounds_of_the_form(says: dict[str, Any], found: str) -> None:
    assert outcome(lane(), event(**says)) == [found]


@pytest.mark.parametrize("agent", ["a/b/c", '"quoted"', "émile", "🤖", " ", "x" * 128, "'; drop table --"])
def test_agents_may_be_called_nearly_anything(agent: str) -> None:
    assert outcome(lane(), event(agent_id=agent)) == ["decided"]


@pytest.mark.parametrize("agent", ["a\nb", "\0", "\x7f", "\x80", "\x9f", "", "x" * 129, "é" * 65])
def test_but_not_by_control_characters_and_not_too_long(agent: str) -> None:
    assert outcome(lane(), event(agent_id=agent)) == ["bad_agent_id"]


TENANT = re.compile(rb"[a-z0-9-]{1,64}", re.ASCII)


def plain_syntax(key: bytes) -> Reason:
    """The rule of the key, as a person would write it."""
    tenant, slash, agent = key.partition(b"/")
    if not slash or not TENANT.fullmatch(tenant):
        return Reason.BAD_KEY
    try:
        text = agent.decode()
    except UnicodeDecodeError:
        return Reason.BAD_AGENT_ID
    bad = any(ord(letter) < 0x20 or 0x7F <= ord(letter) <= 0x9F for letter in text)
    return Reason.BAD_AGENT_ID if bad or not 1 <= len(agent) <= 128 else Reason.OK


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(min_size=1, max_size=200),
        st.text(max_size=140).map(lambda agent: b"acme/" + agent.encode(errors="surrogatepass")),
        st.binary(max_size=6).map(lambda agent: b"t/" + agent),
        st.integers(60, 70).map(lambda length: b"t" * length + b"/a"),
    )
)
def test_the_syntax_of_keys_is_the_plain_one(key: bytes) -> None:
    assert admission.key_syntax(np.frombuffer(key, np.uint8), 0, len(key)) == plain_syntax(key)


def test_a_record_sent_again_is_a_repeat_in_the_next_step_too() -> None:
    subject, other = lane(), event(event_id="other")
    assert outcome(subject, event(), event(), other) == ["decided", "repeat", "decided"]
    assert outcome(subject, event()) == ["repeat"]


def test_an_id_with_other_bytes_is_refused_and_never_remembered() -> None:
    subject = lane()
    assert outcome(subject, event(), event(cost_usd=1.0)) == ["decided", "event_id_reused"]
    assert outcome(subject, event(cost_usd=1.0), event()) == ["event_id_reused", "repeat"]


def test_ids_belong_to_their_agent_and_their_source() -> None:
    subject = lane()
    assert outcome(subject, event(), event(agent_id="twin")) == ["decided", "decided"]
    assert outcome(subject, event(ANCHOR)) == ["decided"]


def test_what_left_the_window_is_new_again() -> None:
    subject = lane(window=4)
    fill = [event(event_id=f"f-{number}") for number in range(4)]
    assert outcome(subject, event(), *fill, event()) == ["decided"] * 6
    assert outcome(subject, fill[0], event()) == ["decided", "repeat"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1)), max_size=120))
def test_the_window_is_the_plain_one(records: list[tuple[int, int]]) -> None:
    subject, plain = Window(8), PlainWindow(8)
    for offset, (number, content) in enumerate(records):
        identity, value = (b"key", str(number)), str(content).encode()
        hashed = np.uint64(number * 16), np.uint64(content)  # all in one chain
        known = plain.value_of(identity)
        expected = repeats.NEW if known is None else repeats.REPEAT if known == value else repeats.REUSED
        assert repeats.recall(subject.ring, subject.heads, subject.seen, *hashed) == expected
        if expected != repeats.REUSED:
            plain.remember(identity, value)
            repeats.remember(subject.ring, subject.heads, subject.seen, *hashed, offset)


def test_the_window_says_where_reading_must_begin_to_fill_it_again() -> None:
    subject = Window(4)
    assert subject.oldest is None
    for offset in range(10, 20):
        repeats.remember(subject.ring, subject.heads, subject.seen, np.uint64(offset), np.uint64(0), offset)
    assert subject.oldest == 16


def test_a_new_agent_of_another_partition_is_refused_and_a_known_one_never() -> None:
    at_home = partition_of(b"acme/bot", 8)
    strange = Lane((at_home + 1) % 8, 8, policy=Policy(), ids=IDS, build="test")
    assert outcome(strange, event()) == ["wrong_partition"]
    assert outcome(Lane(at_home, 8, policy=Policy(), ids=IDS, build="test"), event()) == ["decided"]


def test_strangers_are_bounded_and_registering_is_always_possible() -> None:
    policy = Policy.model_validate({"admission": {"max_unregistered": 2}})
    subject = Lane(0, 0, policy=policy, ids=IDS, build="test")
    strangers = [event(agent_id=f"a{number}") for number in range(3)]
    assert outcome(subject, *strangers) == ["decided", "decided", "too_many_unregistered"]
    registered = [event(ANCHOR, agent_id=f"a{number}") for number in (0, 2)]
    assert outcome(subject, *registered) == ["decided", "decided"]
    assert outcome(subject, event(agent_id="a2"), event(agent_id="a3")) == ["decided", "decided"]
    assert subject.table.unregistered == 2


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from([*REFUSED.values(), event(), event(event_id="b"), event(agent_id="c")]), max_size=25))
def test_the_compiled_loops_are_the_plain_ones(records: list[Record]) -> None:
    batch, source = batch_of(KAIZEN, 0, 0, records) if records else None, Source("kaizen")
    if batch is None:
        return
    found = []
    for digest, check, admit in (
        (admission.digest, admission.check, admission.admit),
        (admission.digest.py_func, admission.check.py_func, admission.admit.py_func),
    ):
        done, table, window = source.decode(source.resolve(batch, IDS), Room()), StateTable(), Window(4)
        m = done.frame.matrix
        hashes = digest(batch.buf, batch.ks, batch.kl, batch.vs, batch.vl, m, source.spans, done.error)
        check(
            batch.buf, batch.ts, batch.ks, batch.kl, m, source.spans, source.checks, source.texts,
            admission.times_of(Policy()), hashes, table.slots, table.ends, table.arena, done.error, done.row,
        )  # fmt: skip
        admit(
            batch.buf, batch.off, batch.ks, batch.kl, done.frame["kind"], hashes, 0, 0, 2, window.ring, window.heads,
            window.seen, table.slots, table.ends, table.arena, table.meta, table.registered, table.mark, table.touched,
            0, done.error, done.row,
        )  # fmt: skip
        found.append((done.row.tolist(), done.error.tolist(), table.take_touched().tolist(), window.ring.tobytes()))
    assert found[0] == found[1]
