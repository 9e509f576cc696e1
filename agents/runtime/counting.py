"""What the runtime tells the metrics: everything that a committed step did, counted in one place."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from connectors import metrics
from schemas.columns import ColumnBatch
from streams.pipeline import Effects

from .lane import LaneTask, StepTimes


@cache
def _of(metric: Any, *labels: str) -> Any:
    """A metric with its labels: prometheus_client looks them up anew at each call, and a step makes many."""
    return metric.labels(*labels)


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
        _of(metrics.EVENTS_DECIDED, partition).inc(counts.decided)
        _of(metrics.EVENTS_REPEATED, partition).inc(counts.repeats)
        for reason, number in counts.refused.items():
            _of(metrics.DEAD_LETTERS, reason).inc(number)
        for topic, number in counts.written.items():
            _of(metrics.RECORDS_OUT, topic).inc(number)
        _of(metrics.STATE_ROWS, partition).set(lane.decider.rows)
        _of(metrics.LANE_WAITING_BYTES, partition).set(lane.waiting)
        _of(metrics.COMMITS, "done").inc()
        self._times(times)
        if batches:
            metrics.STEP_EVENTS.observe(counts.read)
            self._read(batches)
        else:
            _of(metrics.TICKS, partition).inc()

    def _times(self, times: StepTimes) -> None:
        _of(metrics.STAGE_SECONDS, "decide").observe(times.decide)
        _of(metrics.STAGE_SECONDS, "frame").observe(times.frame)
        metrics.COMMIT_SECONDS.observe(times.commit)

    def _read(self, batches: Sequence[ColumnBatch]) -> None:
        now = time.time() * 1000
        for batch in batches:
            _of(metrics.EVENTS_IN, batch.topic).inc(batch.n)
            _of(metrics.BATCHES_IN, batch.topic).inc()
            metrics.LATENCY_SECONDS.observe(batch.topic, np.maximum(now - batch.ts, 0) / 1000)

    def aborted(self) -> None:
        """A transaction was aborted."""
        _of(metrics.COMMITS, "aborted").inc()

    def recovered(self, partition: int, rows: int) -> None:
        """Rows of the changelog were read."""
        _of(metrics.RECOVERED_ROWS, str(partition)).inc(rows)

    def remaining(self, partition: int, offsets: int) -> None:
        """Offsets of the changelog are left to read."""
        _of(metrics.RECOVERY_REMAINING, str(partition)).set(offsets)

    def lag(self, topic: str, partition: int, records: int) -> None:
        """Records of a source that are not decided yet."""
        _of(metrics.LAG, topic, str(partition)).set(records)

    def paused(self, partition: int, reason: str, on: bool) -> None:
        """A partition is held, or goes on."""
        _of(metrics.PARTITION_PAUSED, str(partition), reason).set(int(on))

    def ready(self, on: bool) -> None:
        """Every assigned partition is recovered and read."""
        metrics.READY.set(int(on))
