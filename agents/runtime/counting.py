"""What the runtime tells the metrics: everything that a committed step did, counted in one place."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from connectors import metrics
from schemas.columns import ColumnBatch
from streams.pipeline import Effects

from .lane import LaneTask, StepTimes


class Counting:
    """Counts into `connectors.metrics`, and keeps the sums that /ready shows."""

    def __init__(self) -> None:
        self.decided = 0
        self.commits = 0

    def stepped(self, lane: LaneTask, batches: Sequence[ColumnBatch], effects: Effects, times: StepTimes) -> None:
        """A step was committed."""
        counts, partition = effects.counts, str(lane.partition)
        self.decided += counts.decided
        self.commits += 1
        metrics.EVENTS_DECIDED.labels(partition).inc(counts.decided)
        metrics.EVENTS_REPEATED.labels(partition).inc(counts.repeats)
        for reason, number in counts.refused.items():
            metrics.DEAD_LETTERS.labels(reason).inc(number)
        for topic, number in counts.written.items():
            metrics.RECORDS_OUT.labels(topic).inc(number)
        metrics.STATE_ROWS.labels(partition).set(lane.decider.rows)
        metrics.LANE_WAITING_BYTES.labels(partition).set(lane.waiting)
        metrics.COMMITS.labels("done").inc()
        self._times(times)
        if batches:
            metrics.STEP_EVENTS.observe(counts.read)
            self._read(batches)
        else:
            metrics.TICKS.labels(partition).inc()

    def _times(self, times: StepTimes) -> None:
        metrics.STAGE_SECONDS.labels("decide").observe(times.decide)
        metrics.STAGE_SECONDS.labels("frame").observe(times.frame)
        metrics.COMMIT_SECONDS.observe(times.commit)

    def _read(self, batches: Sequence[ColumnBatch]) -> None:
        now = time.time() * 1000
        for batch in batches:
            metrics.EVENTS_IN.labels(batch.topic).inc(batch.n)
            metrics.BATCHES_IN.labels(batch.topic).inc()
            metrics.LATENCY_SECONDS.observe(batch.topic, np.maximum(now - batch.ts, 0) / 1000)

    def failed(self) -> None:
        """A transaction was aborted."""
        metrics.COMMITS.labels("aborted").inc()

    def recovered(self, partition: int, rows: int) -> None:
        """Rows of the changelog were read."""
        metrics.RECOVERED_ROWS.labels(str(partition)).inc(rows)

    def remaining(self, partition: int, offsets: int) -> None:
        """Offsets of the changelog are left to read."""
        metrics.RECOVERY_REMAINING.labels(str(partition)).set(offsets)

    def lag(self, topic: str, partition: int, records: int) -> None:
        """Records of a source that are not decided yet."""
        metrics.LAG.labels(topic, str(partition)).set(records)

    def paused(self, partition: int, reason: str, on: bool) -> None:
        """A partition is held, or goes on."""
        metrics.PARTITION_PAUSED.labels(str(partition), reason).set(int(on))

    def ready(self, on: bool) -> None:
        """Every assigned partition is recovered and read."""
        metrics.READY.set(int(on))
