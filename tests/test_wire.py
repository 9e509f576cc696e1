"""Single records: golden bytes, the Confluent frame, and every way in which a value can be damaged."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import wire
from schemas.catalog import LocalIds, Schema, schema_of
from schemas.errors import FormatError
from schemas.examples import Example, examples, from_json, to_json
from schemas.reasons import Reason
from schemas.topics import TOPICS

IDS = LocalIds()
GOLDEN = [pytest.param(row.name, one, id=f"{row.name}: {one.about}") for row in TOPICS for one in examples(row.name)]
FRAMED = examples("kaizen.events")[0].framed


def reason_of(data: bytes | None, reader: Schema | None = None) -> Reason:
    with pytest.raises(wire.WireError) as caught:
        wire.decode(data, IDS, reader)
    assert str(caught.value).startswith(caught.value.reason.label)
    return caught.value.reason


@pytest.mark.parametrize(("name", "example"), GOLDEN)
def test_golden_values_give_golden_bytes_and_back(name: str, example: Example) -> None:
    assert wire.encode(name, example.value, IDS) == example.framed
    assert wire.decode(example.framed, IDS) == (IDS.id_of(name), example.value)
    assert from_json(to_json(example.value)) == example.value


@pytest.mark.parametrize(("name", "example"), GOLDEN)
def test_golden_keys_name_the_agent_of_the_value(name: str, example: Example) -> None:
    if "agent_id" in example.value:
        assert example.key == f"{example.value['tenant_id']}/{example.value['agent_id']}".encode()
    elif name == "audit.log":
        assert example.key is None


def test_the_frame_is_a_zero_and_the_id_in_four_bytes_big_endian() -> None:
    assert FRAMED[:5] == b"\0" + IDS.id_of("kaizen.events").to_bytes(4, "big")
    assert wire.frame_id(FRAMED) == IDS.id_of("kaizen.events")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, Reason.NO_VALUE),
        (b"", Reason.EMPTY_VALUE),
        (b"\1" + FRAMED[1:], Reason.BAD_MAGIC),
        (b"{", Reason.BAD_MAGIC),
        (b"\0\0\0\0", Reason.TRUNCATED),
        (b"\0\0\0\0\1" + FRAMED[5:], Reason.UNKNOWN_SCHEMA),
        (FRAMED[:5], Reason.UNDECODABLE),
        (FRAMED[:-1], Reason.UNDECODABLE),
        (FRAMED + b"\0", Reason.UNDECODABLE),
        (FRAMED[:6] + b"\xff\xff\xff" + FRAMED[9:], Reason.UNDECODABLE),
    ],
)
def test_damage_is_named(data: bytes | None, reason: Reason) -> None:
    assert reason_of(data) is reason


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_no_bytes_whatever_do_worse_than_be_refused(tail: bytes) -> None:
    for name in ("kaizen.events", "agent.state", "dead.letters"):
        try:
            wire.decode(b"\0" + IDS.id_of(name).to_bytes(4, "big") + tail, IDS)
        except wire.WireError as error:
            assert error.reason is Reason.UNDECODABLE  # noqa: PT017  most bytes are refused, some are a value


def with_field(schema: Schema, **field: Any) -> Schema:
    changed = copy.deepcopy(schema)
    changed["fields"].append(field)
    return changed


def test_a_reader_sees_an_older_writer_through_its_defaults() -> None:
    newer = with_field(schema_of("kaizen.events"), name="mood", type="string", default="calm")
    assert wire.decode(FRAMED, IDS, newer)[1]["mood"] == "calm"


def test_a_reader_that_needs_what_was_not_written_is_unresolvable() -> None:
    newer = with_field(schema_of("kaizen.events"), name="mood", type="string")
    assert reason_of(FRAMED, newer) is Reason.SCHEMA_UNRESOLVABLE


class Foreign(LocalIds):
    """Somebody's schema with one field more, under every id."""

    def __init__(self, kind: Any) -> None:
        self._schema = with_field(schema_of("kaizen.events"), name="more", type=kind)

    def writer_schema(self, schema_id: int) -> Schema | None:  # noqa: ARG002
        return self._schema


MOOD = {"type": "enum", "name": "Mood", "symbols": ["calm"]}
NESTED = {"type": "record", "name": "Nested", "fields": [{"name": "next", "type": ["null", "Nested"]}]}


@pytest.mark.parametrize(
    ("kind", "more"),
    [({"type": "array", "items": "null"}, b"\xfe\xff\xff\xff\xff\xff\xff\x7f\0"), (NESTED, b"\2" * 100_000 + b"\0")],
    ids=["an array of nothing", "a type in itself"],
)
def test_a_schema_whose_values_have_no_bounds_is_refused(kind: Any, more: bytes) -> None:
    with pytest.raises(wire.WireError, match="a value has no bounds") as caught:
        wire.decode(FRAMED + more, Foreign(kind))
    assert caught.value.reason is Reason.SCHEMA_UNRESOLVABLE


def test_a_type_that_is_used_twice_is_no_type_in_itself() -> None:
    pair = {"type": "record", "name": "Pair", "fields": [{"name": "a", "type": MOOD}, {"name": "b", "type": "Mood"}]}
    assert wire.decode(FRAMED + b"\0\0", Foreign(pair))[1]["more"] == {"a": "calm", "b": "calm"}


def test_what_is_no_schema_is_unresolvable() -> None:
    with pytest.raises(wire.WireError) as caught:
        wire.decode(FRAMED, Foreign("Unheard"))
    assert caught.value.reason is Reason.SCHEMA_UNRESOLVABLE


def test_an_event_type_of_a_later_release_reads_as_unknown() -> None:
    class Later(LocalIds):
        def writer_schema(self, schema_id: int) -> Schema | None:
            assert schema_id == self.id_of("aurais.events")
            schema = copy.deepcopy(schema_of("aurais.events"))
            schema["fields"][3]["type"]["symbols"].append("dream_started")
            return schema

    example = examples("aurais.events")[2]
    assert example.value["event_type"] == "feedback_positive"
    newest = bytes([2 * 9])  # zig-zag index of the appended symbol
    at = example.framed.index(b"billing-bot") + len(b"billing-bot")
    framed = example.framed[:at] + newest + example.framed[at + 1 :]
    assert wire.decode(framed, Later())[1]["event_type"] == "dream_started"
    assert wire.decode(framed, Later(), schema_of("aurais.events"))[1]["event_type"] == "unknown"


@pytest.mark.parametrize(
    "change", [{"tier": "T9"}, {"points": "many"}, {"mood": "calm"}, {"last_activity": 1 << 70}, {"tenant_id": None}]
)
def test_a_value_that_does_not_fit_is_refused_with_the_topic_named(change: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match=r"not a value for trust\.levels"):
        wire.encode("trust.levels", examples("trust.levels")[0].value | change, IDS)


def test_a_time_that_no_datetime_can_hold_is_a_number_like_any_other() -> None:
    value = examples("trust.levels")[0].value | {"last_activity": -(1 << 63)}
    assert wire.decode(wire.encode("trust.levels", value, IDS), IDS)[1] == value
