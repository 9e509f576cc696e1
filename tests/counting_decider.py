"""A decider that any reader can check: it counts the records of each key, and tells the count for every record."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence

from schemas.columns import ColumnBatch
from schemas.recordbatch_write import RecordsBody
from schemas.topics import POSITION_KEY
from streams.pipeline import Counts, Effects

OUTPUT = "priority.normal"
POISON = b"poison"
SLOW = b"slow"


class CountingDecider:
    """Counts per key; a record whose value is POISON raises, one that is SLOW takes a second."""

    def __init__(self, partition: int, partitions: int) -> None:
        self.partition, self.partitions = partition, partitions
        self.counts: Counter[bytes] = Counter()
        self.positions: dict[str, int] = {}
        self.ticks: list[int] = []

    @property
    def rows(self) -> int:
        """Keys known."""
        return len(self.counts)

    def restore(self, batch: ColumnBatch) -> None:
        """Take counts and position."""
        for i in range(batch.n):
            key, value = batch.key(i) or b"", batch.value(i) or b"0"
            if key == POSITION_KEY:
                self.positions = json.loads(value)
            else:
                self.counts[key] = int(value)

    def recollection(self) -> None:
        """It remembers nothing but its rows."""

    def resume(self, topic: str, until: int) -> bool:  # noqa: ARG002
        """It has no breaker."""
        return False

    def step(self, batches: Sequence[ColumnBatch], *, tick: int | None = None) -> Effects:
        """One output per record: the key, and how often it was seen."""
        outputs, state, read, touched = RecordsBody(), RecordsBody(), 0, {}
        for batch in batches:
            assert self.positions.get(batch.topic, batch.start) == batch.start
            for i in range(batch.n):
                key = batch.key(i) or b""
                if batch.value(i) == POISON:
                    raise ValueError("a stage met poison")
                if batch.value(i) == SLOW:
                    time.sleep(1)
                self.counts[key] += 1
                touched[key] = self.counts[key]
                outputs.append(key, b"%s/%d/%d" % (batch.topic.encode(), batch.off[i], touched[key]), int(batch.ts[i]))
            self.positions[batch.topic] = batch.next
            read += batch.n
        if tick is not None:
            self.ticks.append(tick)
        for key, count in touched.items():
            state.append(key, b"%d" % count, 1)
        state.append(POSITION_KEY, json.dumps(self.positions).encode(), 1)
        counts = Counts(read=read, decided=read, written=Counter({OUTPUT: outputs.count, "agent.state": state.count}))
        return Effects({OUTPUT: [outputs], "agent.state": [state]}, counts, dict(self.positions))
