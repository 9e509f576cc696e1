"""A log says what is said again and again now and then, and how often it was."""

from __future__ import annotations

import logging

from agents.damping import SECONDS, Damper


def line(at: float, text: str, *args: object, name: str = "aiokafka") -> logging.LogRecord:
    """A record of the log at a time."""
    record = logging.LogRecord(name, logging.WARNING, __file__, 1, text, args, None)
    record.created = at
    return record


def test_the_same_message_comes_once_in_a_while_with_a_count() -> None:
    damper = Damper()
    lines = [line(i * 0.1, "Unable connect to node %s", 1) for i in range(250)]
    through = [record.getMessage() for record in lines if damper.filter(record)]
    each = int(SECONDS / 0.1) - 1
    again = f"Unable connect to node 1 (and {each} times more)"
    assert through == ["Unable connect to node 1", again, again]


def test_other_messages_and_other_loggers_are_not_held_back() -> None:
    damper = Damper()
    assert damper.filter(line(0, "partition %d waits", 1))
    assert damper.filter(line(0, "partition %d waits", 2))
    assert damper.filter(line(0, "partition %d waits", 1, name="other"))
    assert not damper.filter(line(1, "partition %d waits", 2))


def test_messages_with_percent_signs_are_told_as_they_are() -> None:
    damper = Damper()
    damper.filter(line(0, "100% of it"))
    damper.filter(line(1, "100% of it"))
    told = line(SECONDS + 1, "100% of it")
    assert damper.filter(told)
    assert told.getMessage() == "100% of it (and 1 times more)"


def test_memory_of_messages_is_bounded() -> None:
    damper = Damper()
    for i in range(5000):
        damper.filter(line(i * 0.001, "message %d", i))
    assert len(damper._said) <= 1000
