"""How a step becomes durable: the numbered steps of one partition's life, each with the failure that it survives.

1. **Fence.** When a partition is assigned, its producer starts (`InitProducerId` of the partition's transactional id)
   before anything of its state is read. Survives: a former owner that is slow, paused or cut off; the broker ends the
   transaction that it left open and refuses whatever it sends later. One that is refused drops what it remembers and
   joins its group anew: whatever it is given begins here.
2. **Recover.** The rows and positions of `agent.state` are read, committed transactions only, to the end that the topic
   had after step 1. Rows and journal must be those of the position, else the worker refuses; the windows of repeats
   are filled from the sources. Survives: a death between steps 5 and 6; what was sent and not committed is never seen.
   A changelog that was cut, restored or damaged.
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

from collections.abc import Sequence

from schemas.topics import full_name
from streams.pipeline import Effects

from .producer import LaneProducer, RecordBatch

STATE = "agent.state"


class Commit:
    """Makes the steps of one partition durable, one after the other."""

    def __init__(self, producer: LaneProducer, prefix: str, codec: int) -> None:
        self._producer, self._prefix, self._codec = producer, prefix, codec
        self.state_end: int | None = None
        """Offset after the last record of `agent.state` that was written; None before the first."""

    def prepare(self, effects: Effects) -> list[RecordBatch]:
        """Finish the record batches of a step; runs in the lane's thread."""
        return [
            self._producer.frame(full_name(self._prefix, name), body, self._codec)
            for name, bodies in effects.outputs.items()
            for body in bodies
            if body.count
        ]

    async def write(self, batches: Sequence[RecordBatch]) -> None:
        """Steps 5 and 6. Raises `Fenced` or `CommitFailed`; the memory of the lane must not be used after that."""
        ends = await self._producer.write(batches)
        self.state_end = ends.get(full_name(self._prefix, STATE), self.state_end)
