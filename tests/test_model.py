"""The compiled pipeline decides what the dictionary model decides, to the bit, however the records are cut."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import fastavro
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.pipeline import Effects, Lane
from streams.policy import Policy

from .lanes import IDS, READERS, WRITERS, Record, batch_of, records_of
from .model.model import Model, Outcome
from .model.numbers import SOURCES, TYPES

WINDOW, STRANGERS, PARTITIONS = 8, 3, 2
START = 1_700_000_000_000
GAPS = [0, 1, 700, 1000, 61_000, 3_600_000, 5 * 86_400_000, 30 * 86_400_000, 200 * 86_400_000, -90_000]
AGENTS = ["ada", "bob", "cyd", "dot", "eve/1", "fay", "gil", "hal", "日本"]
OWN = {
    "kaizen.events": TYPES[:14],
    "agentanchor.events": [TYPES[0], *TYPES[14:25]],
    "aurais.events": [TYPES[0], *TYPES[25:]],
}
LIKELY = ["agent_registered", "execution_completed", "execution_failed", "execution_started", "security_violation"]
POISON = [
    None, b"", b"\x01\0\0\0\0", b"\0\0\0", b"\0\0\0\0\x07abc", b"\0" + next(iter(WRITERS)).to_bytes(4) + b"\xff\xff",
]  # fmt: skip

money = st.one_of(
    st.none(), st.sampled_from([0.5, 1.5, 299_999.5, 1e9, -1.0, float("nan")]), st.floats(0, 5e5, allow_nan=False)
)


def maybe(*choices: Any) -> st.SearchStrategy[Any]:
    """One of `choices`, or null."""
    return st.sampled_from([None, *choices])


KAIZEN = {
    "intent": st.none(), "action": maybe("read", "x" * 1025), "risk": maybe("low", "medium", "high", "critical"),
    "decision": st.none(), "component": st.none(), "model": st.none(), "duration_ms": maybe(1.5, -1.0),
    "tokens_in": maybe(0, 7, -1), "tokens_out": st.none(), "cost_usd": maybe(0.1, float("inf")),
    "user_facing": st.booleans(), "security_relevant": st.booleans(), "revenue_usd": money,
    "severity": maybe("minor", "major", "critical"), "error": st.none(), "attributes": st.just({"a": "b"}),
}  # fmt: skip
ANCHOR = {
    "creation": maybe("fresh", "cloned", "evolved", "promoted", "imported"),
    "observability": maybe("black_box", "gray_box", "white_box", "attested", "verified"),
    "signal_kind": st.none(), "signal_weight": maybe(0.00005, 0.7, -0.33335, 3.0, -9.0, float("nan")),
    "certification": st.none(), "attributes": st.just({}),
}  # fmt: skip
AURAIS = {
    "user": st.none(), "session": st.none(), "rating": maybe(3), "request_kind": maybe("draft"),
    "required_tier": st.none(), "prefer": st.none(), "budget_usd": maybe(1.0, -2.0),
    "escalation": maybe("right", "needless"), "attributes": st.just({}),
}  # fmt: skip
FIELDS = {"kaizen.events": KAIZEN, "agentanchor.events": ANCHOR, "aurais.events": AURAIS}


def value_of(topic: str, event: dict[str, Any]) -> bytes:
    """The event as fastavro writes it, in a Confluent frame."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, READERS[topic], event)
    return b"\0" + IDS.id_of(topic).to_bytes(4) + out.getvalue()


@st.composite
def traffic(draw: st.DrawFn) -> list[Record]:
    """Records of a few agents: mostly sound events, some repeats, reused ids, strays and poison."""
    now, sent = START, list[Record]()
    for number in range(draw(st.integers(1, 60))):
        now += draw(st.sampled_from(GAPS))
        kind = draw(st.integers(0, 19))
        if kind == 0 and sent:
            sent.append(draw(st.sampled_from(sent))._replace(timestamp=now))
        else:
            sent.append(draw(record(number, now, kind)))
    return sent


@st.composite
def record(draw: st.DrawFn, number: int, now: int, kind: int) -> Record:
    """One event; `kind` makes some of them unusual."""
    topic = draw(st.sampled_from(list(SOURCES)))
    agent = draw(st.sampled_from(AGENTS[:5] if kind < 15 else AGENTS))
    wanted = [name for name in OWN[topic] if kind > 10 or name in LIKELY] or OWN[topic]
    event = {
        "event_id": f"e{number - 1 if kind == 1 else number}", "tenant_id": "acme", "agent_id": agent,
        "event_type": draw(st.sampled_from(wanted)), "occurred_at": now - 5, "correlation_id": draw(maybe("c")),
        **{name: draw(values) for name, values in FIELDS[topic].items()},
    }  # fmt: skip
    key: bytes | None = f"acme/{agent}".encode()
    if kind == 2:
        key = draw(st.sampled_from([None, b"", b"acme", b"ACME/x", b"acme/a\nb", b"acme/\xff", b"acme/other"]))
    if kind == 3:
        now = draw(st.sampled_from([0, 946_684_799_999, 3_786_912_000_000, 2**62]))
    value = draw(st.sampled_from(POISON)) if kind == 4 else value_of(topic, event)
    return Record(topic, now, key, value)


def lane() -> Lane:
    """A lane with a window and an admission small enough to matter."""
    policy = Policy.model_validate({"admission": {"max_unregistered": STRANGERS}})
    return Lane(0, PARTITIONS, policy=policy, ids=IDS, build="test", window=WINDOW)


def run(subject: Lane, records: Sequence[Record], cuts: Sequence[int]) -> list[Effects]:
    """Feed `records` in steps of the sizes `cuts`, neighbours of one source as one batch; effects are decoded later,
    so a fresh lane answers each step into its own buffers.
    """
    effects, at = list[Effects](), 0
    for size in cuts:
        batches, here = [], records[at : at + size]
        at += size
        while here:
            same = next((i for i, r in enumerate(here) if r.topic != here[0].topic), len(here))
            start = subject.positions.get(here[0].topic, 0) + sum(b.n for b in batches if b.topic == here[0].topic)
            batches.append(batch_of(here[0].topic, 0, start, here[:same]))
            here = here[same:]
        effects.append(subject.step(batches))
    return effects


def modelled(records: Sequence[Record]) -> tuple[Model, list[Outcome]]:
    """What the dictionary model makes of the records."""
    model = Model(0, PARTITIONS, WRITERS, READERS, window=WINDOW, most_unregistered=STRANGERS)
    offsets = dict.fromkeys(SOURCES, 0)
    outcomes = []
    for r in records:
        outcomes.append(model.feed(r.topic, offsets[r.topic], r.timestamp, r.key, r.value))
        offsets[r.topic] += 1
    return model, outcomes


def identity(done: Outcome) -> dict[str, Any]:
    """The fields by which every derived record names its event."""
    names = ("tenant_id", "agent_id", "event_id")
    return {"source": SOURCES[done.source], "offset": done.offset, **{name: done.event[name] for name in names}}


def expected_priority(done: Outcome) -> dict[str, Any]:
    """The record of a priority topic."""
    about = {name: done.priority[name] / 1e6 for name in ("score", "surprise", "impact")}
    told = {name: done.event[name] for name in ("event_type", "occurred_at", "correlation_id")}
    subject = done.event.get("action") if done.source == "kaizen.events" else done.event.get("request_kind")
    standing = {"points": done.points, "tier": f"T{done.tier}", "status": done.status}
    limit = done.limit["decision"] if done.limit else None
    return {**identity(done), **told, "subject": subject, **about, **standing, "limit_decision": limit}


def expected_limit(done: Outcome) -> dict[str, Any]:
    """The record of `ratelimit.decisions`."""
    assert done.limit is not None
    told = {name: done.event[name] for name in ("event_type", "occurred_at", "correlation_id")}
    limit = {name: value for name, value in done.limit.items() if name != "throttle_started"}
    return {**identity(done), **told, **limit, "tier": f"T{done.tier}"}


def expected_changes(done: Outcome) -> list[dict[str, Any]]:
    """The records of `trust.changes`."""
    tiers = ("tier_before", "tier_after")
    return [{**identity(done), **change, **{t: f"T{change[t]}" for t in tiers}} for change in done.changes]


def expected(outcomes: Sequence[Outcome]) -> dict[str, list[Any]]:
    """What each derived topic must hold, in order."""
    decided = [done for done in outcomes if done.reason is None and not done.repeat]
    pools: dict[str, list[Any]] = {f"priority.{pool}": [] for pool in ("urgent", "normal", "background")}
    for done in decided:
        pools[f"priority.{done.priority['pool']}"].append((done.now, expected_priority(done)))
    return {
        **pools,
        "ratelimit.decisions": [(done.now, expected_limit(done)) for done in decided if done.limit],
        "trust.changes": [(done.now, change) for done in decided for change in expected_changes(done)],
        "dead.letters": [(done.source, done.offset, done.reason) for done in outcomes if done.reason],
    }


def told(effects: Sequence[Effects]) -> dict[str, list[Any]]:
    """What the lane wrote, in the same shape."""
    topics = ("priority.urgent", "priority.normal", "priority.background", "ratelimit.decisions", "trust.changes")
    found: dict[str, list[Any]] = {
        topic: [(ts, value) for step in effects for _, ts, value in records_of(step, topic)] for topic in topics
    }
    letters = [value for step in effects for _, _, value in records_of(step, "dead.letters")]
    found["dead.letters"] = [(v["source"], v["offset"], v["reason"]) for v in letters]
    return found


@settings(max_examples=150, deadline=None)
@given(traffic(), st.data())
def test_the_compiled_pipeline_and_the_model_tell_the_same(records: list[Record], data: st.DataObject) -> None:
    model, outcomes = modelled(records)
    subject, at, steps = lane(), 0, dict[str, list[Any]]()
    while at < len(records):
        size = data.draw(st.integers(1, len(records) - at))
        for topic, values in told(run(subject, records[at : at + size], [size])).items():
            steps.setdefault(topic, []).extend(values)
        at += size
    assert steps == expected(outcomes)
    assert subject.rows == len(model.rows)
    assert_rows_equal(subject, model)


def assert_rows_equal(subject: Lane, model: Model) -> None:
    """The rows of both sides hold the same numbers."""
    table = subject.table
    for number, (key, row) in enumerate(model.rows.items()):
        assert table.key(number) == key
        names = ("points", "told", "last", "since", "tier", "losses")
        assert [int(table.trust[number][name]) for name in names] == [row["trust"][name] for name in names]
        limit, mine = table.limit[number], row["limit"]
        assert int(limit["tat_us"]) == mine["tat"]
        assert int(limit["violations"]) == mine["violations"]
        assert int(limit["throttled_until_us"]) == mine["throttled_until"]
        habit, slots = table.habit[number], row["habits"]["types"]
        kept = int(habit["kept"])
        assert [TYPES[k] for k in habit["type"][:kept]] == [slot["type"] for slot in slots]
        assert habit["weight"][:kept].tolist() == [slot["weight"] for slot in slots]
        assert habit["mean"][:kept].tolist() == [slot["mean"] for slot in slots]
