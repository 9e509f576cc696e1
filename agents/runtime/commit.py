"""How a step becomes durable: the numbered steps of one partition's life, each with the failure that it survives.

1. **Fence.** When a partition is assigned, its producer starts (`InitProducerId` of the partition's transactional id)
   before anything of its state is read. Survives: a former owner that is slow, paused or cut off; the broker ends the
   transaction that it left open and refuses whatever it sends later.
2. **Recover.** The rows and positions of `agent.state` are read, committed transactions only, to the end that the topic
   had after step 1. Survives: a death between steps 5 and 6; what was sent and not committed is never seen.
3. **Seek.** Each source is read from the position in the state. Survives: group offsets that lag or were lost; they
   only serve lag displays.
4. **Decide.** A step takes batches and changes memory alone. Survives: an exception in a stage; nothing was sent, the
   lane stops, memory is dropped, and the next owner begins at step 1.
5. **Send.** All record batches of the step go out in one transaction: outputs, dead letters, journal, changed rows, and
   the position last. All must be acknowledged. Survives: a refused or lost batch; the transaction is aborted and the
   lane stops as in 4. A broker that is away is waited for, up to the time that a transaction may stay open.
6. **Commit.** `EndTxn`: the step is now true for every reader, position included, or not at all. Survives: a death on
   either side of it; the position in the state says which side it was.
7. **Tell.** The lane takes note of the durable position. Group offsets are committed from it, about every second.
   Survives: a death before; the next owner commits them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiokafka.errors import KafkaError, ProducerFenced

from schemas.errors import CognistreamError
from schemas.topics import full_name
from streams.pipeline import Effects

from .producer import TRANSACTION_MS, FinishedBatch, LaneProducer

STATE = "agent.state"


class Fenced(CognistreamError):
    """Another worker owns the partition now."""


class CommitFailed(CognistreamError):
    """A step could not be made durable."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A record batch ready to go to the topic of that full name."""

    topic: str
    batch: FinishedBatch


class Commit:
    """Writes the steps of one partition, one after the other."""

    def __init__(self, producer: LaneProducer, partition: int, prefix: str, codec: int) -> None:
        self._producer, self._partition, self._prefix, self._codec = producer, partition, prefix, codec
        self._state_topic = full_name(prefix, STATE)
        self.state_end: int | None = None
        """Offset after the last record of `agent.state` that was written; None before the first."""

    def prepare(self, effects: Effects) -> list[Prepared]:
        """Make the record batches of a step; runs in the lane's thread."""
        sequences: dict[str, int] = {}
        made = []
        for name, bodies in effects.outputs.items():
            topic = full_name(self._prefix, name)
            for body in bodies:
                if body.count:
                    owner = self._producer.state(sequences, topic, self._partition, body.count)
                    made.append(Prepared(topic, FinishedBatch(body, self._codec, owner)))
        return made

    async def write(self, prepared: list[Prepared]) -> None:
        """Steps 5 and 6. Raises `Fenced` or `CommitFailed`; the memory of the lane must not be used after that."""
        try:
            async with self._producer.transaction():
                sent = [await self._producer.send_batch(p.batch, p.topic, partition=self._partition) for p in prepared]
                places = await asyncio.gather(*sent)
        except ProducerFenced:
            raise Fenced(
                f"partition {self._partition}: another worker took over, or the broker was away for more than "
                f"{TRANSACTION_MS // 1000} s. Nothing of the step under way was kept; start this worker again."
            ) from None
        except KafkaError as error:
            topics = ", ".join(sorted({p.topic for p in prepared}))
            raise CommitFailed(
                f"partition {self._partition}: a transaction on {topics} failed: {error!r}. Nothing of it was kept; "
                "start the worker again when the cause is gone."
            ) from error
        for one, place in zip(prepared, places, strict=True):
            if one.topic == self._state_topic:
                self.state_end = place.offset + one.batch.record_count()
