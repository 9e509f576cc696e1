"""Keeps a log readable while a broker is away: what is said again and again is said now and then, with a count.

Every connection of aiokafka and every lane tries again several times a second, and each try has its line: a short
outage wrote fourteen thousand of them.
"""

from __future__ import annotations

import logging

SECONDS = 10.0
"""The same message of the same logger comes through once in this time."""
_MOST = 1000
"""Messages that are remembered."""


class Damper(logging.Filter):
    """A filter for handlers."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether `record` comes through; it is told how many like it did not."""
        said = record.name, record.getMessage()
        at, held = self._said.get(said, (-SECONDS, 0))
        if record.created - at < SECONDS:
            self._said[said] = at, held + 1
            return False
        if len(self._said) >= _MOST:
            self._said.clear()
        self._said[said] = record.created, 0
        if held:
            record.msg, record.args = f"{said[1]} (and {held} times more)", ()
        return True
