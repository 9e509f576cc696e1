"""Figures: what one run showed, what several show together, and how they are told."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Run:
    """One timed run: `events` in `seconds`, and the CPU seconds that each process took meanwhile."""

    events: int
    seconds: float
    cpu: dict[str, float]
    rss_mb: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds by stage of a step, summed over lanes, of the whole run."""

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds

    @property
    def per_cpu_second(self) -> float:
        """Events for a CPU second of the measured process."""
        return self.events / self.cpu["process"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Several figures of the same thing."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, figures: Iterable[float]) -> Spread:
        """Of at least one figure."""
        found = sorted(figures)
        return cls(statistics.median(found), found[0], found[-1])

    def told(self, digits: int = 0) -> str:
        """`median (least..most)`."""
        return f"{self.median:,.{digits}f} ({self.least:,.{digits}f}..{self.most:,.{digits}f})"


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that was asked for; `most`: it must not be larger, else not smaller."""

    name: str
    value: float
    wanted: float
    must: bool = True
    most: bool = False

    @property
    def met(self) -> bool:
        """Whether it is."""
        return self.value <= self.wanted if self.most else self.value >= self.wanted

    def told(self) -> str:
        """A line for a person."""
        word = "must be" if self.must else "aim"
        sign = "<=" if self.most else ">="
        asked = f"{word} {sign} {_number(self.wanted)}"
        return f"{'ok  ' if self.met else 'MISS'} {self.name}: {_number(self.value)} ({asked})"


@dataclass(slots=True)
class Result:
    """What a measurement answers: figures for machines, lines for people, and how targets were met."""

    figures: dict[str, Any]
    lines: list[str]
    targets: list[Target]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {**self.figures, "targets": [{**asdict(t), "met": t.met} for t in self.targets]}


def spread_of(runs: Sequence[Run], figure: Callable[[Run], float]) -> Spread:
    """A figure of several runs."""
    return Spread.of(map(figure, runs))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown, its columns aligned."""
    wide = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    rule = "|" + "|".join("-" * (w + 1) + ("-" if i == 0 else ":") for i, w in enumerate(wide)) + "|"
    told = [
        "| "
        + " | ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, wide, strict=True)))
        + " |"
        for row in (heads, *rows)
    ]
    return [told[0], rule, *told[1:]]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
