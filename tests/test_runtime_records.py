"""The seam into aiokafka's fetcher: our topics leave it as columns; damaged bytes are fetched again, then given up."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import READ_COMMITTED, Fetcher
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.structs import ConsumerRecord, TopicPartition

from agents.runtime.records import REFETCHES, ColumnFetcher, ColumnRecords, RawRecords
from schemas.columns import ColumnBatch
from schemas.recordbatch import BadCrc, Limits
from schemas.recordbatch_write import HEADER, RecordsBody, frame_batch

OURS, OTHER = TopicPartition("demo.kaizen.events", 0), TopicPartition("other", 0)


def batch(base: int, *values: bytes) -> bytes:
    """A record batch whose first record has offset `base`."""
    body = RecordsBody()
    for value in values:
        body.append(b"key", value, 1000)
    return base.to_bytes(8, "big") + frame_batch(body)[8:]


def damaged(base: int) -> bytes:
    """A record batch of one record with a byte turned over."""
    good = bytearray(batch(base, b"value"))
    good[HEADER.size + 3] ^= 1
    return bytes(good)


class Response:
    """A fetch response as aiokafka's protocol classes give it, of one partition."""

    API_VERSION = 4

    def __init__(self, tp: TopicPartition, data: bytes) -> None:
        self.topics: list[Any] = [(tp.topic, [(tp.partition, 0, 100, 100, [], data)])]


class Request:
    """The fetch request that it answers."""

    def __init__(self, tp: TopicPartition, offset: int) -> None:
        self.topics = [(tp.topic, [(tp.partition, offset, 1 << 20)])]


class Bench:
    """A fetcher without a broker: `fetch` feeds it a response."""

    def __init__(self, limits: Limits) -> None:
        self.subscriptions = SubscriptionState()
        self.subscriptions.assign_from_user({OURS, OTHER})
        client = AIOKafkaClient(bootstrap_servers="127.0.0.1:1")
        self.broken: list[tuple[str, int, BadCrc]] = []
        stock = Fetcher(client, self.subscriptions, isolation_level="read_committed")
        names = {OURS.topic: "kaizen.events"}
        self.fetcher = ColumnFetcher.adopt(stock, names.get, limits, lambda *what: self.broken.append(what))
        self.assignment: Any = self.subscriptions.subscription.assignment
        for tp in (OURS, OTHER):
            self.assignment.state_value(tp).seek(5)
        self._client = client

    async def fetch(self, tp: TopicPartition, data: bytes) -> list[Any]:
        """What the fetcher hands out of a response that holds `data`."""

        async def send(*_: Any) -> Response:
            return Response(tp, data)

        self._client.send = send
        position = self.assignment.state_value(tp).position
        await self.fetcher._proc_fetch_request(self.assignment, 0, Request(tp, position))
        found = await self.fetcher.fetched_records({OURS, OTHER}, timeout=0, max_records=64)
        return list(found.get(tp, []))


@pytest.fixture
async def bench() -> Any:
    """A fetcher with small limits."""
    made = Bench(Limits(chunk=1 << 20))
    yield made
    await made.fetcher.close()
    await made._client.close()


async def test_all_record_batches_of_a_response_become_one_column_batch(bench: Bench) -> None:
    found = await bench.fetch(OURS, batch(5, b"a", b"b") + batch(9, b"c"))
    assert [type(one) for one in found] == [ColumnBatch]
    assert (found[0].topic, found[0].start, found[0].next) == ("kaizen.events", 5, 10)
    assert [found[0].value(i) for i in range(3)] == [b"a", b"b", b"c"]
    assert bench.assignment.state_value(OURS).position == 10


async def test_other_topics_keep_the_records_of_aiokafka(bench: Bench) -> None:
    found = await bench.fetch(OTHER, batch(5, b"a", b"b"))
    assert [type(one) for one in found] == [ConsumerRecord] * 2
    assert bench.assignment.state_value(OTHER).position == 7


async def test_a_cut_record_batch_is_left_for_the_next_fetch(bench: Bench) -> None:
    whole, cut = batch(5, b"a"), batch(6, b"b")[:-1]
    assert [one.next for one in await bench.fetch(OURS, whole + cut)] == [6]
    assert not RawRecords(cut).has_next()


async def test_what_stands_before_damaged_bytes_is_decided(bench: Bench) -> None:
    found = await bench.fetch(OURS, batch(5, b"a") + damaged(6))
    assert [(one.start, one.next) for one in found] == [(5, 6)]
    assert not bench.broken


async def test_damaged_bytes_are_fetched_again_and_then_the_partition_stops(bench: Bench) -> None:
    for _ in range(REFETCHES):
        assert await bench.fetch(OURS, damaged(5)) == []
        assert not bench.broken
        assert bench.assignment.state_value(OURS).position == 5
    assert await bench.fetch(OURS, damaged(5)) == []
    assert [(topic, partition, error.offset) for topic, partition, error in bench.broken] == [(*OURS, 5)]
    assert bench.assignment.state_value(OURS).paused
    assert not bench.assignment.state_value(OTHER).paused


async def test_damage_on_the_way_is_forgotten(bench: Bench) -> None:
    for base in range(5, 15):
        assert await bench.fetch(OURS, damaged(base)) == []
        assert [one.next for one in await bench.fetch(OURS, batch(base, b"a"))] == [base + 1]
    assert not bench.broken


async def test_a_response_is_handed_out_in_pieces_of_bounded_size(bench: Bench) -> None:
    body = RecordsBody()
    body.append(b"key", bytes(900_000), 1000)
    packed = [(5 + i).to_bytes(8, "big") + frame_batch(body, codec=1)[8:] for i in range(4)]
    first = await bench.fetch(OURS, b"".join(packed))
    assert [one.n for one in first] == [2]
    rest = await bench.fetcher.fetched_records({OURS}, timeout=0, max_records=64)
    assert [one.n for one in rest[OURS]] == [2]


async def test_aborted_transactions_are_left_out() -> None:
    body = RecordsBody()
    body.append(b"key", b"value", 1000)
    owned = frame_batch(body, transactional=True, producer=(7, 0, 0))
    records = ColumnRecords(OURS, RawRecords(owned), [(7, 0)], 0, None, None, True, READ_COMMITTED)
    records.name, records.limits = "kaizen.events", Limits()
    assert [(one.n, one.next) for one in records] == [(0, 1)]


def test_the_names_that_the_seam_replaces_are_those_that_aiokafka_uses() -> None:
    for procedure, names in (
        (Fetcher._proc_fetch_request, {"MemoryRecords", "PartitionRecords", "FetchResult"}),
        (Fetcher.fetched_records, {"FetchResult"}),
    ):
        assert names <= set(procedure.__code__.co_names), f"{procedure.__name__} of another aiokafka: the seam is off"
