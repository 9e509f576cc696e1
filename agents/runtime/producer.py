"""One transactional producer per lane: takes finished record batches, and does not wait where aiokafka would.

The transactional id belongs to the partition, so that starting a producer fences whoever wrote the partition before
and ends what they left open. aiokafka's own batches are built record by record on the event loop; ours were built,
compressed and summed in the thread of the step (`FinishedBatch`). Between two transactions of one id the broker answers
"concurrent transactions" until its markers are written, a millisecond or two; aiokafka then waits 20 ms, this 1 ms.
"""

from __future__ import annotations

from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.client import CoordinationType
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.producer.sender import BACKOFF_OVERRIDE, AddPartitionsToTxnHandler, InitPIDHandler, Sender
from aiokafka.producer.transaction_manager import TransactionManager
from aiokafka.structs import TopicPartition

from schemas.recordbatch_write import RecordsBody, frame_batch

from .requests import UnjoinedHandler

CONCURRENT_BACKOFF = 0.001
"""Seconds until a transaction is tried again whose predecessor's markers are still being written."""
TRANSACTION_MS = 60_000
"""How long a broker keeps a transaction open that nobody ends; one that was away for longer ends it when it is back."""
REQUEST_MS = 20_000
INIT_BACKOFF = 0.02
"""Seconds until a producer id is asked for again while the broker ends what the former owner left open."""


class FinishedBatch(BatchBuilder):  # type: ignore[misc]
    """A record batch for `AIOKafkaProducer.send_batch` whose bytes are made at once, for the producer state expected.

    aiokafka tells the state when it sends; only if it is another one (never, with one sender) are they made again.
    """

    def __init__(self, body: RecordsBody, codec: int, owner: tuple[int, int, int]) -> None:
        self._body, self._codec, self._owner = body, codec, owner
        self._closed = True
        self._buffer = self._frame()

    def _frame(self) -> bytes:
        return frame_batch(self._body, codec=self._codec, transactional=True, producer=self._owner)

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        told = (producer_id, producer_epoch, base_sequence)
        if told != self._owner:
            self._owner = told
            self._buffer = self._frame()

    def _build(self) -> bytes:
        return self._buffer

    def size(self) -> int:
        """Bytes of the batch."""
        return len(self._buffer)

    def record_count(self) -> int:
        """Records in it."""
        return self._body.count


def following(sequence: int, count: int) -> int:
    """Sequence number after `count` records from `sequence` on. It wraps to 0, where aiokafka goes on at -2^31, which
    no broker takes: a busy partition gets there within hours.
    """
    return (sequence + count) & 0x7FFFFFFF


class _Sequences(TransactionManager):  # type: ignore[misc]
    def increment_sequence_number(self, tp: TopicPartition, increment: int) -> None:
        self._sequence_numbers[tp] = following(self._sequence_numbers[tp], increment)


class _AddPartitions(AddPartitionsToTxnHandler):  # type: ignore[misc]
    def handle_response(self, response: Any) -> float | None:
        backoff = super().handle_response(response)
        return CONCURRENT_BACKOFF if backoff == BACKOFF_OVERRIDE else backoff


class _InitProducerId(InitPIDHandler):  # type: ignore[misc]
    def handle_response(self, response: Any) -> float | None:
        backoff = super().handle_response(response)
        return None if backoff is None else INIT_BACKOFF


class _Sender(Sender):  # type: ignore[misc]
    async def _do_add_partitions_to_txn(self, partitions: Any) -> Any:
        node = await self._find_coordinator(CoordinationType.TRANSACTION, self._txn_manager.transactional_id)
        return await _AddPartitions(self, partitions).do(node)

    async def _do_init_pid(self, node: int) -> Any:
        return await _InitProducerId(self).do(node)

    async def _send_produce_req(self, node: int, batches: Any) -> None:
        await UnjoinedHandler(self, batches).do(node)
        self._in_flight.remove(node)
        for place in batches:
            self._muted_partitions.remove(place)


class LaneProducer(AIOKafkaProducer):  # type: ignore[misc]
    """A producer of one partition; `start` fences its predecessors."""

    def __init__(self, transactional_id: str, **connection: Any) -> None:
        super().__init__(
            transactional_id=transactional_id,
            enable_idempotence=True,
            linger_ms=0,
            transaction_timeout_ms=TRANSACTION_MS,
            request_timeout_ms=REQUEST_MS,
            **connection,
        )
        # aiokafka gives a batch up after one request's time; a broker that is away is waited for.
        self._message_accumulator._batch_ttl = float("inf")
        self._sender.__class__ = _Sender
        self._txn_manager.__class__ = _Sequences

    async def know(self, topics: list[str]) -> None:
        """Fetch the metadata of all `topics` in one go."""
        await self.client.set_topics(topics)

    def state(self, sequences: dict[str, int], topic: str, partition: int, count: int) -> tuple[int, int, int]:
        """Producer id, epoch and base sequence that the next `count` records of `topic` will be sent with.

        `sequences` holds the numbers of the transaction being prepared; read in the lane's thread while nothing is
        being sent, which is always so between two transactions.
        """
        manager = self._txn_manager
        if topic not in sequences:
            sequences[topic] = manager.sequence_number(TopicPartition(topic, partition))
        base = sequences[topic]
        sequences[topic] = following(base, count)
        return manager.producer_id, manager.producer_epoch, base
