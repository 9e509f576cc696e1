"""Kafka's transactions of one partition, in the three requests that they are: add partitions, produce, end.

aiokafka's producer keeps queues, batches and a sender task between a caller and these requests, made for records that
come one by one. A lane has all its record batches ready, finished in the thread of its step, and one transaction at a
time: it sends them itself, over aiokafka's client, for less than half of the processor time. Also mended on the way:
between two transactions of one id the broker answers "concurrent transactions" until its markers are written, a
millisecond or two (aiokafka waits 20); and sequence numbers wrap to 0 (aiokafka's go on below zero, which no broker
takes).

The transactional id belongs to the partition, so that `start` fences whoever wrote it before and ends what they left
open. A broker that is away, or a leader that moves, is waited for; a transaction that stayed open too long meanwhile
ends as if another worker had taken over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from aiokafka import errors
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.protocol.transaction import AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest
from aiokafka.structs import TopicPartition

from schemas.errors import CognistreamError
from schemas.recordbatch_write import RecordsBody, framed

from .requests import UnjoinedRequest

log = logging.getLogger(__name__)

TRANSACTION_MS = 60_000
"""How long a broker keeps a transaction open that nobody ends; one that was away for longer ends it when it is back."""
REQUEST_MS = 20_000
CONCURRENT_SECONDS = 0.001
"""Until a transaction is tried again whose predecessor's markers are still being written."""
RETRY_SECONDS = 0.1
"""Until a request is tried again that met a broker that is away, busy or not the right one."""

_ALL_REPLICAS = -1
_FENCED = (errors.InvalidProducerEpoch, errors.ProducerFenced, errors.InvalidProducerIdMapping)
_PASSING = (
    errors.ConcurrentTransactions,
    errors.CoordinatorLoadInProgressError,
    errors.CoordinatorNotAvailableError,
    errors.NotCoordinatorError,
    errors.UnknownTopicOrPartitionError,
)


class Fenced(CognistreamError):
    """Another worker owns the partition now."""


class CommitFailed(CognistreamError):
    """A step could not be made durable."""


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """A finished record batch of `count` records for the topic of that full name."""

    topic: str
    count: int
    data: memoryview


def following(sequence: int, count: int) -> int:
    """Sequence number after `count` records from `sequence` on."""
    return (sequence + count) & 0x7FFFFFFF


class LaneProducer:
    """Writes the partition `partition` of any topic, a transaction at a time."""

    def __init__(
        self, transactional_id: str, partition: int, *, transaction_ms: int | None = None, **connection: Any
    ) -> None:
        """`connection` is what aiokafka's clients take; `transaction_ms` None: TRANSACTION_MS."""
        self._id, self._partition = transactional_id, partition
        self._transaction_ms = transaction_ms or TRANSACTION_MS
        self._client = AIOKafkaClient(client_id=transactional_id, request_timeout_ms=REQUEST_MS, **connection)
        self._owner, self._epoch = -1, -1
        self._sequences: defaultdict[str, int] = defaultdict(int)
        self._coordinator: int | None = None

    async def start(self, topics: Iterable[str] = ()) -> None:
        """Fence the predecessors, and know where the partition of these topics is."""
        await self._bootstrap()
        await self._client.set_topics(list(topics))
        request = InitProducerIdRequest(self._id, self._transaction_ms)
        answer = await self._ask(request, lambda answer: [answer.error_code])
        self._owner, self._epoch = answer.producer_id, answer.producer_epoch

    async def _bootstrap(self) -> None:
        while True:
            try:
                await self._client.bootstrap()
            except errors.KafkaConnectionError as error:
                log.warning("partition %d: %s; trying again", self._partition, error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    async def stop(self) -> None:
        """Close the connections; an open transaction is left to the successor."""
        await self._client.close()

    def frame(self, topic: str, body: RecordsBody, codec: int) -> RecordBatch:
        """Finish a batch; runs in any thread while nothing is being written. It lies in the memory of `body`.

        The next call for the topic continues its numbers: whatever is framed must be written, in this order.
        """
        sequence = self._sequences[topic]
        self._sequences[topic] = following(sequence, body.count)
        owner = (self._owner, self._epoch, sequence)
        return RecordBatch(topic, body.count, framed(body, codec=codec, transactional=True, producer=owner))

    async def write(self, batches: Sequence[RecordBatch]) -> dict[str, int]:
        """One transaction that holds `batches`; gives the offset behind the last record of each topic.

        Raises `Fenced` and `CommitFailed`; nothing of it is seen by readers then.
        """
        topics = list(dict.fromkeys(batch.topic for batch in batches))
        places = [(topic, [self._partition]) for topic in topics]
        await self._ask(AddPartitionsToTxnRequest(self._id, self._owner, self._epoch, places), _codes_of_partitions)
        ends: dict[str, int] = {}
        try:
            for together in _rounds(batches):
                ends |= await self._produce(together)
        except CommitFailed:
            with contextlib.suppress(CognistreamError):
                await self._end(commit=False)
            raise
        await self._end(commit=True)
        return ends

    async def _end(self, *, commit: bool) -> None:
        request = EndTxnRequest(self._id, self._owner, self._epoch, commit)
        await self._ask(request, lambda answer: [answer.error_code])

    # ------------------------------------------------------------------ the coordinator of the transactional id

    async def _ask(self, request: Any, codes: Any) -> Any:
        """The coordinator's answer, once it is without a passing error; `codes` finds the error codes in it."""
        while True:
            try:
                answer = await self._client.send(await self._find(), request)
            except errors.KafkaError as error:
                await self._pass_over(type(error), type(request).__name__)
                continue
            kinds = {errors.for_code(code) for code in codes(answer)} - {errors.NoError, errors.OperationNotAttempted}
            if not kinds:
                return answer
            await self._pass_over(kinds.pop(), type(request).__name__)

    async def _find(self) -> int:
        if self._coordinator is None:
            self._coordinator = await self._client.coordinator_lookup(CoordinationType.TRANSACTION, self._id)
        return self._coordinator

    async def _pass_over(self, kind: type[errors.KafkaError], what: str) -> None:
        """Wait until it makes sense to ask again; raise when it does not."""
        if kind is errors.ConcurrentTransactions:
            await asyncio.sleep(CONCURRENT_SECONDS)
            return
        if issubclass(kind, _FENCED):
            raise Fenced(
                f"partition {self._partition}: another worker took over, or the broker was away for more than "
                f"{TRANSACTION_MS // 1000} s. Nothing of the step under way was kept."
            )
        if not (kind.retriable or issubclass(kind, _PASSING)):
            raise self._failed(what, kind)
        log.warning("partition %d: %s met %s; trying again", self._partition, what, kind.__name__)
        self._coordinator = None
        await asyncio.sleep(RETRY_SECONDS)

    def _failed(self, what: str, kind: type[errors.KafkaError]) -> CommitFailed:
        return CommitFailed(
            f"partition {self._partition}: {what} of {self._id} was refused: {kind.__name__}: {kind.description}. "
            "Nothing of the transaction is kept; start the worker again when the cause is gone."
        )

    # ------------------------------------------------------------------ the leaders of the partition

    async def _produce(self, batches: Sequence[RecordBatch]) -> dict[str, int]:
        """Write batches of different topics; gives the offset behind each."""
        left = {batch.topic: batch for batch in batches}
        ends: dict[str, int] = {}
        while left:
            done = await self._produce_once(list(left.values()))
            for topic, offset in done.items():
                count = left.pop(topic).count
                if offset >= 0:  # a broker that took the batch before may have forgotten where
                    ends[topic] = offset + count
            if left:
                await self._client.force_metadata_update()
                await asyncio.sleep(RETRY_SECONDS)
        return ends

    async def _produce_once(self, batches: list[RecordBatch]) -> dict[str, int]:
        by_node: defaultdict[int, list[RecordBatch]] = defaultdict(list)
        for batch in batches:
            node = self._client.cluster.leader_for_partition(TopicPartition(batch.topic, self._partition))
            by_node[-1 if node is None else node].append(batch)
        if by_node.pop(-1, None):
            log.warning("partition %d: no leader is known; asking again", self._partition)
        done: dict[str, int] = {}
        for some in await asyncio.gather(*(self._produce_to(node, sent) for node, sent in by_node.items())):
            done |= some
        return done

    async def _produce_to(self, node: int, batches: list[RecordBatch]) -> dict[str, int]:
        topics = [(batch.topic, [(self._partition, batch.data)]) for batch in batches]
        try:
            answer = await self._client.send(node, UnjoinedRequest(self._id, _ALL_REPLICAS, REQUEST_MS, topics))
        except errors.KafkaError as error:
            if not error.retriable:
                raise self._failed("writing", type(error)) from error
            log.warning("partition %d: %r; trying again", self._partition, error)
            return {}
        return {
            topic: offset
            for topic, places in answer.topics
            for _, code, offset, *_ in places
            if self._is_written(topic, errors.for_code(code))
        }

    def _is_written(self, topic: str, kind: type[errors.KafkaError]) -> bool:
        """Whether a batch is in the log; False when it must be sent again."""
        if kind in (errors.NoError, errors.DuplicateSequenceNumber):
            return True
        if issubclass(kind, _FENCED):
            raise Fenced(f"partition {self._partition}: another worker took over. Nothing of the step was kept.")
        if not kind.retriable:
            raise self._failed(f"writing to {topic}", kind)
        log.warning("partition %d: writing to %s met %s; trying again", self._partition, topic, kind.__name__)
        return False


def _codes_of_partitions(answer: Any) -> list[int]:
    return [code for _, partitions in answer.errors for _, code in partitions]


def _rounds(batches: Sequence[RecordBatch]) -> Iterable[list[RecordBatch]]:
    """The first batch of each topic, then the second of each: a request holds one batch of a partition."""
    by_topic: defaultdict[str, list[RecordBatch]] = defaultdict(list)
    for batch in batches:
        by_topic[batch.topic].append(batch)
    for together in zip_longest(*by_topic.values()):
        yield [batch for batch in together if batch is not None]
