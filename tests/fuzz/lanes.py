"""Whole steps of a lane over damaged events: every record is decided, a repeat or a dead letter, and counted once."""

from __future__ import annotations

from collections import Counter
from random import Random

from schemas.catalog import LocalIds
from schemas.event_types import SOURCES
from schemas.examples import Example, examples
from streams.pipeline import Lane
from tests.lanes import Record, batch_of

from .mutate import EDGES, mutated
from .policies import PolicyFiles
from .target import Outcomes

IDS = LocalIds()
_STEPS, _RECORDS = 4, 100


class LaneSteps:
    """A new lane's first steps."""

    name = "steps of a lane"

    def __init__(self, rng: Random) -> None:
        self._policies = PolicyFiles(rng)
        self._examples = {f"{source}.events": examples(f"{source}.events") for source in SOURCES}

    def run(self, rng: Random) -> Outcomes:
        """Some steps under some policy, each of one batch of a source."""
        policy, told = self._policies.taken(rng), Counter[str]()
        lane = Lane(0, 0, policy=policy, ids=IDS, build="fuzz", window=64)
        for _ in range(_STEPS):
            topic = rng.choice(list(self._examples))
            records = [_record(rng, topic, rng.choice(self._examples[topic])) for _ in range(_RECORDS)]
            counts = lane.step([batch_of(topic, 0, lane.positions.get(topic, 0), records)]).counts
            assert counts.read == _RECORDS == counts.decided + counts.repeats + counts.refused.total(), "not conserved"
            assert counts.written["dead.letters"] == counts.refused.total(), "a dead letter is missing"
            told += Counter({"decided": counts.decided, "repeat": counts.repeats}) + counts.refused
        return told


def _record(rng: Random, topic: str, sound: Example) -> Record:
    """An event, sound or with one of its parts damaged."""
    time, key, value = 1_767_225_600_000 + rng.randrange(10**8), sound.key, sound.framed
    match rng.randrange(8):
        case 0:
            key = mutated(rng, key or b"a/b")
        case 1:
            time = rng.choice((-1, 1)) * rng.choice(EDGES[:-2])
        case 2 | 3 | 4 | 5:
            value = mutated(rng, value, most=2)
    return Record(topic, time, key, value)
