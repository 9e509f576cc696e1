"""Controller and senders together, without Kafka: an overload stays bounded, fair and calm, and ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from cognistream_client.consequence import Consequence
from cognistream_client.pressure import Level, Verdict, verdict
from cognistream_client.throttle import Throttle
from streams.pressure import Pressure, Reading, Rules, judge

RULES = Rules()
LIMIT = 10_000
CAPACITY = 1_000
"""Events per second that the worker takes."""
STEP = 0.01
LOAD_S, AFTER_S = 90, 40
KINDS = [Consequence.NORMAL] * 7 + [Consequence.BACKGROUND] * 2 + [Consequence.VITAL]


@dataclass
class Sender:
    """Says so many events a second, unless its throttle keeps it waiting."""

    rate: float
    throttle: Throttle = field(default_factory=lambda: Throttle(0.0))
    made: float = 0.0
    paced: bool = False
    sent: int = 0
    kept: int = 0

    def send(self, now: float, level: Level, accepts: float) -> int:
        self.made += self.rate * STEP
        self.paced = level is Level.HARD or (self.paced and level is not Level.NONE)
        arrived = 0
        while self.made >= 1:
            self.made -= 1
            kind = KINDS[(self.sent + self.kept) % len(KINDS)]
            found = verdict(kind, level, f"{now}-{self.made}", paced=self.paced)
            if found is Verdict.PACE:
                if not self.throttle.passes(now):
                    self.made = 0.0  # whoever waits for its turn makes nothing new
                    break
                self.throttle.answered(now, accepts)
            if found in (Verdict.SEND, Verdict.PACE):
                arrived += 1
                self.sent += 1
            else:
                self.kept += 1
        return arrived


@dataclass
class Run:
    lags: list[float]
    levels: list[tuple[float, Level]]
    senders: list[Sender]


def play(times: float, *, controlled: bool = True) -> Run:
    """Twenty senders of `times` the capacity together, one told of every second's judgement."""
    senders = [Sender(CAPACITY * times / 20) for _ in range(20)]
    run, lag, told = Run([], [], senders), 0.0, None
    came = taken = 0.0
    for step in range(int((LOAD_S + AFTER_S) / STEP)):
        now = step * STEP
        if step % 100 == 0:
            told = _judged(told, lag, came, taken, now)
            run.levels.append((now, Level(told.level)))
            came = taken = 0.0
        level = Level(told.level) if told and controlled else Level.NONE
        if now < LOAD_S:
            new = sum(sender.send(now, level, told.accepts if told else 1.0) for sender in senders)
            lag, came = lag + new, came + new
        done = min(lag, CAPACITY * STEP)
        lag, taken = lag - done, taken + done
        run.lags.append(lag)
    return run


def _judged(told: Pressure | None, lag: float, came: float, taken: float, now: float) -> Pressure:
    return judge(told, Reading(int(lag), came, taken), LIMIT, int(now * 1_000), RULES)


@pytest.mark.parametrize("times", [2, 5])
def test_an_overload_is_bounded_and_shared_and_goes_without_flapping(times: float) -> None:
    run, free = play(times), play(times, controlled=False)
    assert max(run.lags) < min(2.5 * LIMIT, max(free.lags) / 2)
    late = run.lags[int(60 / STEP) : int(LOAD_S / STEP)]
    assert max(late) < 1.2 * LIMIT, "it has settled about the limit"
    assert min(late) > 0, "and the worker is never idle"
    changes = [at for (_, old), (at, new) in pairwise(run.levels) if old != new]
    assert all(later - earlier >= RULES.hold_ms / 1_000 for earlier, later in pairwise(changes))
    shares = [sender.sent for sender in run.senders]
    assert sum(shares) ** 2 / (len(shares) * sum(one * one for one in shares)) > 0.95
    recovered = min(at for at, level in run.levels if at > LOAD_S and level is Level.NONE)
    assert recovered - LOAD_S < 30


def test_who_keeps_up_is_left_alone() -> None:
    run = play(0.9)
    assert {level for _, level in run.levels} == {Level.NONE}
    assert not any(sender.kept for sender in run.senders)
