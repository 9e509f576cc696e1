"""What is fuzzed: a target takes one case after the other, and says what became of each input."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tests.record_batches import Cliff

Outcomes = Counter[str]
"""What became of inputs, e.g. "decoded" or the reason of a refusal -> how many."""

CANARIES = b"\0", b"\xff"
"""What stands around an input, once this and once that: no result may depend on it."""
_CLIFF = Cliff(1 << 20)


class Target(Protocol):
    """One entrance for bytes from outside."""

    name: str

    def run(self, rng: Random) -> Outcomes:
        """Try the inputs that `rng` draws; anything raised is a finding."""
        ...


def at_the_edge(data: bytes) -> NDArray[np.uint8]:
    """`data` in memory that ends where the process is stopped for reading on; good until the next call."""
    return _CLIFF.at_the_edge(data)
