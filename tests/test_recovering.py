"""How long recovery still takes is told from how fast what is left has fallen so far."""

from __future__ import annotations

import pytest

from agents.cli.recovery import about
from agents.runtime.recovering import Recovering


class Clock:
    """Tells what it is told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_estimate_follows_the_pace() -> None:
    clock = Clock()
    subject = Recovering(clock)
    assert subject.seconds == 0
    subject.take(1000)
    assert subject.seconds is None
    clock.now += 2
    subject.take(750)
    assert (subject.total, subject.seconds) == (1000, 6)
    subject.take(0)
    assert subject.seconds == 0


def test_what_is_found_on_the_way_adds_to_the_total() -> None:
    subject = Recovering(Clock())
    for left in (100, 10, 60):
        subject.take(left)
    assert (subject.left, subject.total) == (60, 150)


def test_the_next_recovery_begins_anew() -> None:
    clock = Clock()
    subject = Recovering(clock)
    for left in (100, 0, 40):
        subject.take(left)
        clock.now += 1
    assert (subject.total, subject.seconds) == (40, None)


@pytest.mark.parametrize(
    ("seconds", "words"), [(None, "no estimate yet"), (12.4, "about 12 s left"), (300.0, "about 5 min left")]
)
def test_an_estimate_reads_as_people_say_it(seconds: float | None, words: str) -> None:
    assert about(seconds) == words
