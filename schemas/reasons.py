"""Why a record goes to the dead letters: the numbers that kernels write and the names that people read.

The order is the order of the checks (docs/rules.md, "Order of one event"): the first check that fails names the
reason. Reasons of whole record batches come last.
"""

from enum import IntEnum


class Reason(IntEnum):
    """OK, or the first check that a record failed."""

    OK = 0
    NO_VALUE = 1
    EMPTY_VALUE = 2
    BAD_MAGIC = 3
    TRUNCATED = 4
    UNKNOWN_SCHEMA = 5
    SCHEMA_UNRESOLVABLE = 6
    UNDECODABLE = 7
    NO_KEY = 8
    BAD_KEY = 9
    BAD_AGENT_ID = 10
    KEY_MISMATCH = 11
    BAD_EVENT_ID = 12
    BAD_NUMBER = 13
    BAD_TIMESTAMP = 14
    EVENT_ID_REUSED = 15
    WRONG_PARTITION = 16
    TOO_MANY_UNREGISTERED = 17
    TEXT_TOO_LONG = 18
    BATCH_TOO_LARGE = 19
    RECORD_TOO_LARGE = 20
    UNPARSABLE_BATCH = 21
    BAD_CRC = 22

    @property
    def label(self) -> str:
        """The name in dead letters and metrics, e.g. `no_value`."""
        return self.name.lower()
