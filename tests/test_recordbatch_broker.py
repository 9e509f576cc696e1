"""What a real broker sends is read as aiokafka reads it: librdkafka's batches, all codecs, transactions, markers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher as fetching
from aiokafka.record.memory_records import MemoryRecords
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from schemas.recordbatch import AbortedTransactions, read
from tests.record_batches import Rec, ours

pytestmark = pytest.mark.kafka

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
TRANSACTIONS = 6
RECORDS = 200


def publish(servers: str, topic: str) -> None:
    """Per codec: single records, then transactions of which every other one is aborted."""
    for codec in CODECS:
        settings: dict[str, Any] = {"bootstrap.servers": servers, "compression.type": codec, "linger.ms": 20}
        plain = Producer(settings)
        for i in range(RECORDS):
            plain.produce(topic, key=f"k{i}", value=b"v" * (i % 90), headers=[("traceparent", b"00-%d" % i)])
        plain.produce(topic, key=b"tombstone")
        plain.flush()
        owner = Producer(settings | {"transactional.id": f"{topic}-{codec}"})
        owner.init_transactions()
        for number in range(TRANSACTIONS):
            owner.begin_transaction()
            for i in range(number * 20 + 1):
                owner.produce(topic, key=f"t{number}", value=b"w" * i)
            owner.flush()
            owner.commit_transaction() if number % 2 else owner.abort_transaction()


async def fetched(servers: str, topic: str, level: str, sent: list[Any]) -> list[Rec]:
    """All records as aiokafka's consumer gives them."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers, isolation_level=level, auto_offset_reset="earliest", max_partition_fetch_bytes=20_000
    )
    await consumer.start()
    try:
        place = TopicPartition(topic, 0)
        consumer.assign([place])
        end = (await consumer.end_offsets([place]))[place]
        records: list[Rec] = []
        while not sent or await consumer.position(place) < end:
            for found in (await consumer.getmany(timeout_ms=200)).values():
                records += [Rec(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in found]
        return records
    finally:
        await consumer.stop()


@pytest.mark.parametrize("level", ["read_committed", "read_uncommitted"])
async def test_a_brokers_bytes_are_read_as_aiokafka_reads_them(
    kafka: str, prefix: str, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = f"{prefix}.batches"
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    publish(kafka, topic)

    sent: list[tuple[bytes, list[tuple[int, int]], int]] = []

    class Kept(MemoryRecords):  # type: ignore[misc]
        """aiokafka's records, which remember their bytes."""

        def __init__(self, data: bytes) -> None:
            super().__init__(data)
            self.data = data

    class Listening(fetching.PartitionRecords):  # type: ignore[misc]
        """aiokafka's reader, which writes down what it was given."""

        def __init__(self, tp: TopicPartition, records: Kept, aborted: Any, start: int, *rest: Any) -> None:
            sent.append((records.data, list(aborted or []), start))
            super().__init__(tp, records, aborted, start, *rest)

    monkeypatch.setattr(fetching, "MemoryRecords", Kept)
    monkeypatch.setattr(fetching, "PartitionRecords", Listening)
    theirs = await fetched(kafka, topic, level, sent)

    columns = [
        columns
        for data, aborted, start in sent
        for columns in read(
            data,
            topic=topic,
            partition=0,
            start=start,
            aborted=AbortedTransactions(aborted) if level == "read_committed" else None,
        )
    ]
    assert ours(columns) == theirs
    assert len(theirs) > len(CODECS) * RECORDS
    assert all(before.next == after.start for before, after in pairwise(columns))
    assert not any(batch.refused for batch in columns)
