"""Who the agents are: seven characters, each a mix of scenarios, some with a second mix or with silence at times.

The shares and mixes are chosen so that every rule of the domain has somebody to meet it: steady agents climb to their
ceiling, failing ones sink, on-off attackers earn trust and spend it, whitewashers try to wash a record by registering
again, watchers repeat themselves as a clock does, idle ones come back after days and find themselves decayed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from schemas.columns import Doubles, Longs

from .scenarios import NAMES, WORSE

DAY_MS = 86_400_000

_HONEST = {
    "asked": 34.0,
    "routine": 44.0,
    "praised": 6.0,
    "asked_failed": 1.0,
    "routine_failed": 1.0,
    "refused": 1.0,
    "escalated": 2.0,
    "needless": 0.6,
    "chat": 8.0,
    "good_word": 1.0,
    "attested": 0.3,
    "certified": 0.2,
    "expired": 0.05,
    "updated": 0.3,
    "anomaly": 0.1,
    "reinstated": 0.8,
}
_PARDONED = {"reinstated": 3.0}


@dataclass(frozen=True, slots=True)
class Character:
    """`share` of the fleet in 1/25; `mix` weights of scenarios, `other` the mix in the first `part` of each `period`.

    An `other` that is empty means silence outside that part. Periods are in days, phases differ by agent.
    """

    name: str
    share: int
    mix: dict[str, float]
    period: float = 0.0
    part: float = 0.0
    other: dict[str, float] = field(default_factory=dict)
    registers: bool = True


CHARACTERS = (
    Character("steady", 14, _HONEST),
    Character("bursty", 3, _HONEST | {"burst": 9.0}),
    Character(
        "failing",
        2,
        _HONEST | {"routine_failed": 18.0, "asked_failed": 9.0, "blamed": 5.0, "bad_word": 3.0} | _PARDONED,
    ),
    Character(
        "on-off attacker",
        2,
        _HONEST | {"routine": 60.0} | _PARDONED,
        period=3.0,
        part=0.15,
        other={"attack": 4.0, "violation": 14.0, "routine_failed": 12.0, "burst": 3.0, "asked": 10.0, "suspended": 0.5},
    ),
    Character(
        "whitewasher",
        1,
        _HONEST | {"routine_failed": 9.0, "violation": 3.0, "registered": 8.0, "revoked": 1.0} | _PARDONED,
        registers=False,
    ),
    Character("watcher", 1, _HONEST | {"watch": 12.0}),
    Character("idle", 2, _HONEST | {"retired": 0.02}, period=12.0, part=0.2),
)
"""Their shares add up to 25."""


@dataclass(frozen=True, slots=True)
class Mixes:
    """Two rows a character (its mix, its other): running sums of probability, in one ascending array.

    A draw u in [0, 1) of row r is scenario `searchsorted(steps, r + u)` - r x scenarios. `worse` (scenarios,) is what
    a scenario becomes in an incident. Arrays of shape (characters,): `period_ms` (0: no phases), `part_ms`, `silent`,
    `registers`.
    """

    steps: Doubles
    worse: Longs
    period_ms: Longs
    part_ms: Longs
    silent: NDArray[np.bool_]
    registers: NDArray[np.bool_]

    def draw(self, rows: Longs, u: Doubles) -> Longs:
        """Scenario for each row and uniform draw."""
        drawn: Longs = np.searchsorted(self.steps, rows + u, side="right") - rows * len(NAMES)
        return np.minimum(drawn, len(NAMES) - 1)


def compile_mixes() -> Mixes:
    """The arrays of `CHARACTERS`."""
    rows = [mix for one in CHARACTERS for mix in (one.mix, one.other or one.mix)]
    period = np.array([round(one.period * DAY_MS) for one in CHARACTERS], np.int64)
    part = np.array([round(one.period * one.part * DAY_MS) for one in CHARACTERS], np.int64)
    return Mixes(
        steps=np.concatenate([number + _running(mix) for number, mix in enumerate(rows)]),
        worse=np.array([NAMES.index(WORSE.get(name, name)) for name in NAMES], np.int64),
        period_ms=period,
        part_ms=part,
        silent=np.array([one.period > 0 and not one.other for one in CHARACTERS]),
        registers=np.array([one.registers for one in CHARACTERS]),
    )


def _running(mix: dict[str, float]) -> Doubles:
    weights = np.array([mix.get(name, 0.0) for name in NAMES])
    running: Doubles = np.cumsum(weights) / weights.sum()
    running[-1] = 1.0
    return running


def cast(agents: int, rng: np.random.Generator) -> Longs:
    """A character for each agent, shape (agents,), in rank order; the most popular agent is steady.

    Every 25 ranks hold each character by its share.
    """
    hand = np.repeat(np.arange(len(CHARACTERS)), [one.share for one in CHARACTERS])
    hands = -(-agents // len(hand))
    cards = np.concatenate([rng.permutation(hand) for _ in range(hands)])
    steady = int(np.flatnonzero(cards == 0)[0])
    cards[[0, steady]] = cards[[steady, 0]]
    return cards[:agents]
