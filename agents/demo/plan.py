"""What a demo shall do, as one object: made by the command line, handed to the publisher process as JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from agents.settings import Compression
from connectors.traffic import azure_llm, tau_bench
from connectors.traffic.flaws import POISON, REPEATS, Flaws
from connectors.traffic.generator import Generator
from connectors.traffic.stretch import Traffic
from connectors.traffic.trace import Trace
from schemas.errors import CognistreamError
from schemas.topics import DEFAULT_PARTITIONS

DAYS = 30.0
"""Invented days that a whole demo spans, so that idle agents decay before one's eyes."""
TASK_EVENTS = 4.0
"""Events of an invented task, about."""
FASTEST = 250_000.0
"""Events a second that `max` is taken for when the pace of invented time is chosen."""
GENERATOR = "generator"
PROBES = 200.0
"""Events a second, about, that carry the moment of their publishing."""

_READERS: dict[str, Callable[[Path], Trace]] = {"azure-llm": azure_llm.read, "tau-bench": tau_bench.read}


class SourceUnknown(CognistreamError):
    """A source of events that does not exist."""


class Plan(BaseModel):
    """A demo. `rate` is in events a second, None as fast as it goes; `source` "generator" or "NAME:FILE"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(default=30.0, gt=0)
    rate: float | None = Field(default=20_000.0, gt=0)
    agents: int = Field(default=1000, ge=1, le=1_000_000)
    source: str = GENERATOR
    seed: int = Field(default=1, ge=0)
    repeats: float = Field(default=REPEATS, ge=0, le=1)
    poison: float = Field(default=POISON, ge=0, le=1)
    partitions: int = Field(default=DEFAULT_PARTITIONS, ge=1)
    compression: Compression = "none"

    @property
    def flaws(self) -> Flaws:
        """The shares of repeats and damaged records."""
        return Flaws(self.repeats, self.poison, self.seed)

    @property
    def expected_rate(self) -> float:
        """Events a second to expect at most."""
        return self.rate or FASTEST

    @property
    def probe_every(self) -> int:
        """One event in so many is a probe."""
        return max(1, round(self.expected_rate / PROBES))

    def traffic(self) -> Traffic:
        """The events; reads the file of a trace. Raises `SourceUnknown` and `TraceError`."""
        if self.source == GENERATOR:
            tasks = self.expected_rate * self.seconds / TASK_EVENTS
            return Generator(seed=self.seed, agents=self.agents, tasks_per_day=tasks / self.agents / DAYS)
        name, _, file = self.source.partition(":")
        if name not in _READERS or not file:
            known = ", ".join([GENERATOR, *(f"{one}:FILE" for one in _READERS)])
            raise SourceUnknown(f"no source of events is called {self.source!r}; choose one of {known}")
        return _READERS[name](Path(file).expanduser())
