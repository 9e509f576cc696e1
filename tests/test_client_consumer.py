"""A service reads what was decided, typed, and only what was committed."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from confluent_kafka import Producer

from cognistream_client import ClientError, Consumer, NotDecodable, PriorityEvent, TrustLevel
from cognistream_client.events import AgentAnchorEvent, AuraisEvent, KaizenEvent
from cognistream_client.records import BY_SCHEMA
from connectors.admin import TopicAdmin
from connectors.client_generator import CARRIED
from schemas.catalog import schema_of
from schemas.examples import examples
from schemas.topics import full_name

DERIVED = [row.name for row in CARRIED if row.role == "derived"]


@pytest.fixture(scope="module")
def written(kafka: str) -> Iterator[str]:
    """A prefix under which the golden examples of all derived topics are committed, behind aborted ones."""
    prefix = "t-client-consumer"
    TopicAdmin({"bootstrap.servers": kafka}, prefix).create(DERIVED, partitions=1)
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": prefix})
    producer.init_transactions()
    for committed in (False, True):
        producer.begin_transaction()
        for name in DERIVED:
            for example in examples(name):
                value = example.framed if committed else b"aborted"
                producer.produce(full_name(prefix, name), value, example.key, headers={"traceparent": b"00-1-2-01"})
        producer.flush()
        producer.commit_transaction() if committed else producer.abort_transaction()
    yield prefix
    del producer


@pytest.mark.kafka
@pytest.mark.parametrize("name", DERIVED)
def test_every_derived_record_is_decoded_and_typed(kafka: str, written: str, name: str) -> None:
    with Consumer(kafka, [name], f"{written}.{name}", prefix=written) as consumer:
        found = [received for _, received in zip(examples(name), consumer, strict=False)]
    assert [vars(received.record) for received in found] == [example.value for example in examples(name)]
    assert [received.key for received in found] == [example.key for example in examples(name)]
    assert {received.headers["traceparent"] for received in found} == {b"00-1-2-01"}


@pytest.mark.kafka
def test_a_group_goes_on_behind_what_it_has_read(kafka: str, written: str) -> None:
    read: list[Any] = []
    for _ in range(2):
        with Consumer(kafka, ["trust.levels", "priority.urgent"], f"{written}.twice", prefix=written) as consumer:
            read += [received.record for received in consumer.records(timeout=5)]
    assert len(read) == len(examples("trust.levels")) + len(examples("priority.urgent"))
    assert {type(record) for record in read} == {TrustLevel, PriorityEvent}


@pytest.mark.kafka
def test_foreign_bytes_are_named_by_their_place(kafka: str, prefix: str) -> None:
    TopicAdmin({"bootstrap.servers": kafka}, prefix).create(["trust.levels"], partitions=1)
    producer = Producer({"bootstrap.servers": kafka})
    producer.produce(full_name(prefix, "trust.levels"), b"{}", b"acme/a")
    producer.flush()
    with (
        Consumer(kafka, ["trust.levels"], prefix, prefix=prefix) as consumer,
        pytest.raises(NotDecodable, match=r"trust.levels, partition 0, offset 0: the value has no frame"),
    ):
        next(iter(consumer))


@pytest.mark.parametrize("topic", ["kaizen.events", "agent.state", "nonsense"])
def test_what_is_not_for_clients_is_refused(topic: str) -> None:
    with pytest.raises(ClientError):
        Consumer("127.0.0.1:9", [topic], "group")


def fits(kind: Any, avro: Any) -> bool:
    """Whether a field's annotation says what its Avro type says."""
    if isinstance(avro, list):
        told = get_args(kind) if isinstance(kind, types.UnionType) or get_origin(kind) is not None else ()
        return type(None) in told and len(avro) == 2
    if isinstance(avro, dict) and avro["type"] == "enum":
        return get_origin(kind) is Literal and set(get_args(kind)) | {"unknown"} == set(avro["symbols"]) | {"unknown"}
    plain = avro["type"] if isinstance(avro, dict) else avro
    return plain == "map" or kind is {"string": str, "double": float, "boolean": bool, "int": int, "long": int}.get(
        plain
    )


@pytest.mark.parametrize(
    ("kind", "topic"),
    [(kind, kind.TOPIC) for kind in (KaizenEvent, AgentAnchorEvent, AuraisEvent)]
    + [(BY_SCHEMA[row.schema], row.name) for row in CARRIED if row.role == "derived"],
)
def test_classes_say_what_the_schemas_say(kind: type[Any], topic: str) -> None:
    rows = {row["name"]: row["type"] for row in schema_of(topic)["fields"]}
    hints = {name: hint for name, hint in get_type_hints(kind).items() if name in rows}
    assert [field.name for field in dataclasses.fields(kind)] == list(rows)
    named = {name: avro for name, avro in rows.items() if not (isinstance(avro, str) and avro[0].isupper())}
    assert all(fits(hints[name], avro) for name, avro in named.items())
