"""The client refuses what a worker would refuse, takes what it takes, and writes the bytes that fastavro writes."""

from __future__ import annotations

import math
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognistream_client import AgentAnchorEvent, AuraisEvent, Event, InvalidEvent, KaizenEvent
from cognistream_client.forms import MAX_BYTES, Form
from cognistream_client.identity import agent_key, new_id
from schemas.catalog import LocalIds, schema_of
from schemas.event_types import SOURCE_TYPES
from schemas.wire import FRAME, MAGIC, encode

from .lanes import Record
from .test_admission import NOW, lane, outcome

IDS = LocalIds()
FORMS: dict[type[Event], Form] = {kind: Form(kind) for kind in (KaizenEvent, AgentAnchorEvent, AuraisEvent)}
SOUND: dict[type[Event], dict[str, Any]] = {
    KaizenEvent: {"event_type": "execution_completed"},
    AgentAnchorEvent: {"event_type": "agent_registered"},
    AuraisEvent: {"event_type": "feedback_positive"},
}

names = st.one_of(
    st.sampled_from(["", "a", "a/b", "é" * 64, "é" * 65, "x" * 128, "x" * 129, "a\nb", "a\x7f", "a\x85", "\xa0", "🤖"]),
    st.text(max_size=6),
)
texts = st.sampled_from(["", "x", "é" * 512, "é" * 512 + "x", "y" * 2048, "\x00"]) | st.text(max_size=6)
longs = st.sampled_from([0, 1, -1, 63, 64, (1 << 31) - 1, 1 << 31, -(1 << 31), (1 << 63) - 1]) | st.integers(
    -(1 << 63), (1 << 63) - 1
)
doubles = st.sampled_from([0.0, -0.0, 812, -1, 1e308, math.inf, -math.inf, math.nan]) | st.floats()
by_name = {
    "event_id": names,
    "tenant_id": st.sampled_from(["acme", "a-1", "", "Acme", "x" * 64, "x" * 65, "a b", "é"]),
    "agent_id": names,
    "occurred_at": st.integers(0, 253_402_300_799_999),
}


def values(name: str, kind: Any) -> st.SearchStrategy[Any]:
    """What a careless service might say in a field, of the right type."""
    if name in by_name:
        return by_name[name]
    if isinstance(kind, list):
        return st.none() | values(name, kind[1])
    if isinstance(kind, dict) and kind["type"] == "enum":
        return st.sampled_from([symbol for symbol in kind["symbols"] if symbol != "unknown"])
    if kind == "int":
        return st.integers(-(1 << 31), (1 << 31) - 1)
    plain = {"string": texts, "long": longs, "double": doubles, "boolean": st.booleans()}
    return st.dictionaries(texts, texts, max_size=3) if isinstance(kind, dict) else plain[kind]


@st.composite
def events(draw: st.DrawFn) -> Event:
    """A sound event in which some fields say anything."""
    kind = draw(st.sampled_from(list(FORMS)))
    rows = {row["name"]: row["type"] for row in schema_of(kind.TOPIC)["fields"]}
    changed = draw(st.lists(st.sampled_from(sorted(rows)), max_size=4, unique=True))
    says = {name: draw(values(name, rows[name])) for name in changed}
    return kind(**{"tenant_id": "acme", "agent_id": "bot", "occurred_at": NOW} | SOUND[kind] | says)


def framed(event: Event) -> bytes:
    """The value of the event as the client writes it."""
    return FORMS[type(event)].encode(event, FRAME.pack(MAGIC, IDS.id_of(event.TOPIC)))


def decided(event: Event) -> bool:
    """Whether a worker would decide the event, written by fastavro."""
    key = agent_key(event.tenant_id, event.agent_id)
    return outcome(lane(), Record(event.TOPIC, NOW, key, encode(event.TOPIC, vars(event), IDS))) == ["decided"]


@given(event=events())
@settings(deadline=None, max_examples=150)
def test_sender_and_worker_agree_on_what_is_an_event(event: Event) -> None:
    if decided(event):
        assert framed(event) == encode(event.TOPIC, vars(event), IDS)
    else:
        with pytest.raises(InvalidEvent):
            framed(event)


@given(many=st.lists(events(), max_size=6))
@settings(deadline=None, max_examples=100)
def test_many_events_are_written_as_each_of_them(many: list[Event]) -> None:
    for kind, form in FORMS.items():
        same = [event for event in many if type(event) is kind]
        first_wrong = next((index for index, event in enumerate(same) if not sound(event)), None)
        if first_wrong is None:
            assert form.encode_many(same, b"frame") == [form.encode(event, b"frame") for event in same]
        else:
            with pytest.raises(InvalidEvent) as refused:
                form.encode_many(same, b"frame", 10)
            assert refused.value.index == 10 + first_wrong


def sound(event: Event) -> bool:
    """Whether the client takes it by itself."""
    try:
        framed(event)
    except InvalidEvent:
        return False
    return True


WRONG: dict[str, tuple[Any, str]] = {
    "event_id": ("", "event_id: '' is not text of 1 to 128 bytes"),
    "tenant_id": ("Acme", "tenant_id: 'Acme' is not 1 to 64 of a-z, 0-9 and '-'"),
    "agent_id": (None, "agent_id: None is not text of 1 to 128 bytes without control characters"),
    "event_type": ("execution.done", "event_type: 'execution.done' is not one of intent_declared, "),
    "occurred_at": (1.5, "occurred_at: 1.5 is not a whole number of milliseconds since 1970"),
    "action": ("a" * 1025, "is not text of at most 1,024 bytes, or None"),
    "risk": ("LOW", "risk: 'LOW' is not one of low, medium, high, critical, or None"),
    "intent": (b"bytes", "intent: b'bytes' is not text of UTF-8, or None"),
    "error": ("\ud800", r"is not text of UTF-8, or None"),
    "duration_ms": (math.nan, "duration_ms: nan is not a finite number that is not negative, or None"),
    "cost_usd": ("1", "cost_usd: '1' is not a finite number"),
    "tokens_in": (-1, "tokens_in: -1 is not a whole number of 64 bits that is not negative, or None"),
    "tokens_out": (True, "tokens_out: True is not a whole number"),
    "user_facing": (None, "user_facing: None is not True or False"),
    "attributes": ({"a": 1}, r"attributes: {'a': 1} is not a mapping of text to text"),
}


@pytest.mark.parametrize("field", WRONG)
def test_a_wrong_field_is_named_with_what_was_expected(field: str) -> None:
    says: Any = {"tenant_id": "acme", "agent_id": "bot", "event_type": "intent_declared"} | {field: WRONG[field][0]}
    with pytest.raises(InvalidEvent) as refused:
        framed(KaizenEvent(**says))
    assert refused.value.field == field
    assert WRONG[field][1] in str(refused.value)


def test_an_event_beyond_what_kafka_takes_is_refused() -> None:
    event = KaizenEvent(tenant_id="acme", agent_id="a", event_type="execution_failed", error="x" * MAX_BYTES)
    with pytest.raises(InvalidEvent, match=r"event: .* is not at most 1,000,000 bytes; it has 1,000,"):
        framed(event)


@pytest.mark.parametrize("kind", FORMS, ids=lambda kind: kind.SOURCE)
def test_a_service_may_say_every_type_but_unknown(kind: type[Event]) -> None:
    for event_type in SOURCE_TYPES[kind.SOURCE]:
        said: Any = kind(tenant_id="acme", agent_id="a", event_type=event_type.symbol)  # type: ignore[arg-type]
        if event_type.symbol == "unknown":
            with pytest.raises(InvalidEvent, match="event_type"):
                framed(said)
        else:
            assert framed(said)


def test_ids_are_version_7_and_sort_by_their_making() -> None:
    made = [new_id() for _ in range(10_000)]
    assert made == sorted(set(made))
    assert all(len(name) == 36 and name[14] == "7" and name[19] in "89ab" for name in made)


def test_a_child_process_makes_ids_of_its_own() -> None:
    new_id()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, " ".join(new_id() for _ in range(100)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs, ours = os.read(reader, 1 << 16).decode().split(), [new_id() for _ in range(100)]
    assert len({name[24:] for name in theirs + ours}) == 200  # also their random ends differ
