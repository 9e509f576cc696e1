"""What a demo tells in the end: figures for people, the same as JSON for machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from .tally import Conservation


class Latency(BaseModel):
    """Milliseconds from publishing (wall clock) to a read-committed reader; null when nothing was measured."""

    p50: float | None
    p99: float | None
    max: float | None
    probes: int

    @classmethod
    def of(cls, samples: Sequence[float]) -> Latency:
        """The figures of all samples."""
        if not len(samples):
            return cls(p50=None, p99=None, max=None, probes=0)
        p50, p99, most = (round(float(p), 3) for p in np.percentile(np.array(samples), (50, 99, 100)))
        return cls(p50=p50, p99=p99, max=most, probes=len(samples))


class Account(BaseModel):
    """`events_published` = `events_decided` + `dead_letters` + `repeats`, each record of the sources once."""

    holds: bool
    lost: int
    twice: int
    invented: int
    journal_gaps: int
    sentence: str

    @classmethod
    def of(cls, found: Conservation) -> Account:
        """As the tally has it."""
        return cls(
            holds=found.holds,
            lost=found.lost,
            twice=found.twice,
            invented=found.invented,
            journal_gaps=found.gaps,
            sentence=found.sentence(),
        )


class Report(BaseModel):
    """The whole result. `duplicates` are records that came out more than once; `repeats` were sent twice on purpose."""

    events_published: int
    events_decided: int
    repeats: int
    duplicates: int
    dead_letters: int
    dead_letters_by_reason: dict[str, int]
    records_out: dict[str, int]
    conservation: Account
    throughput_per_s: float
    latency_ms: Latency
    lag_end: int
    wall_s: float
    published_s: float
    worker_rss_mb: float
    agents: int
    tiers: list[int]
    limits: dict[str, int]
    kafka_version: str
    policy_version: str
    source: str
    seed: int
    prefix: str
    interrupted: bool
    problem: str

    @property
    def good(self) -> bool:
        """Whether every record is accounted for and nothing went wrong."""
        return self.conservation.holds and self.lag_end == 0 and not self.problem

    def write(self, path: Path) -> None:
        """As JSON, for machines."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.model_dump_json(indent=2) + "\n")

    def lines(self) -> list[str]:
        """For people."""
        dead = ", ".join(f"{reason} {count:,}" for reason, count in sorted(self.dead_letters_by_reason.items()))
        latency = self.latency_ms
        return [
            f"published {self.events_published:,} records in {self.published_s:.1f} s, decided {self.events_decided:,} "
            f"({self.throughput_per_s:,.0f}/s), repeats {self.repeats:,}, dead letters {self.dead_letters:,}",
            *([f"dead letters: {dead}"] if dead else []),
            *([f"latency ms: p50 {latency.p50}, p99 {latency.p99}, max {latency.max}"] if latency.probes else []),
            f"worker: {self.worker_rss_mb:.0f} MB at most; policy {self.policy_version}; Kafka {self.kafka_version}",
            self.conservation.sentence,
            *([self.problem] if self.problem else []),
        ]
