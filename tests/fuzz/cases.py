"""The run itself, in a process of its own: case after case in turn, and a line of what was found at the end.

The number of the case stands in a file while it runs, so that whoever watches knows what killed this process or made
it hang.
"""

from __future__ import annotations

import os
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from .avro import AvroValues
from .batches import Batches
from .headers import HeaderSpans
from .lanes import LaneSteps
from .policies import PolicyFiles
from .records import JournalRecords, SingleValues, StateRecords
from .target import Outcomes, Target

MAKERS: Sequence[tuple[Callable[[Random], Target], int]] = (
    (Batches, 200),
    (AvroValues.of_topics, 8),
    (AvroValues.of_chance, 8),
    (HeaderSpans, 3),
    (PolicyFiles, 20),
    (StateRecords, 20),
    (JournalRecords, 20),
    (SingleValues, 80),
    (LaneSteps, 1),
)
"""What is fuzzed, and how many cases of each in a turn."""


@dataclass
class Finding:
    """A law that did not hold: what was raised, where, in which case first, and how often."""

    target: str
    case: int
    raised: str
    times: int = 1


@dataclass
class Run:
    """What was tried and what became of it."""

    outcomes: dict[str, Outcomes] = field(default_factory=dict)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    findings: dict[str, Finding] = field(default_factory=dict)
    inputs: int = 0

    def try_case(self, target: Target, seed: int, case: int) -> None:
        """Run case number `case`; what it raises is noted."""
        begun = time.process_time()
        try:
            told = target.run(Random(f"{seed}/{target.name}/{case}"))
        except Exception as error:
            self._note(target.name, case, error)
            told = Counter(raised=1)
        self.outcomes.setdefault(target.name, Counter()).update(told)
        self.seconds[target.name] += time.process_time() - begun
        self.inputs += told.total()

    def _note(self, target: str, case: int, error: Exception) -> None:
        lines = traceback.format_exception(error)
        where = "".join(traceback.format_tb(error.__traceback__)[-1:])
        seen = self.findings.setdefault(f"{target}: {type(error).__name__}: {where}", Finding(target, case, "", 0))
        seen.raised = seen.raised or "".join(lines)[-4_000:]
        seen.times += 1


def targets(seed: int, only: str | None = None) -> list[tuple[Target, int]]:
    """Every target with its share of a turn; the one called `only`."""
    made = [(make(Random(f"{seed}/{number}")), share) for number, (make, share) in enumerate(MAKERS)]
    return [(target, share) for target, share in made if only in (None, target.name)]


def fuzz(seed: int, inputs: int, seconds: float, said: Path, only: str | None = None) -> Run:
    """Case after case until `inputs` were tried or `seconds` are over; `said` gets the case that is being tried."""
    run, case, until = Run(), 0, time.monotonic() + seconds
    turn = [target for target, share in targets(seed, only) for _ in range(share)]
    file = os.open(said, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    while run.inputs < inputs and time.monotonic() < until:
        target = turn[case % len(turn)]
        os.pwrite(file, f"{case:12} {run.inputs:12} {target.name:40}".encode(), 0)
        run.try_case(target, seed, case)
        case += 1
    os.close(file)
    return run


def report(run: Run) -> dict[str, Any]:
    """A run as plain values."""
    return {
        "inputs": run.inputs,
        "targets": {
            name: {"inputs": told.total(), "seconds": round(run.seconds[name], 1), "outcomes": dict(told.most_common())}
            for name, told in run.outcomes.items()
        },
        "findings": [vars(finding) for finding in run.findings.values()],
    }
