"""Whole steps of a lane over damaged events: every record is decided, a repeat or a dead letter, and counted once."""

from __future__ import annotations

from collections import Counter
from random import Random

from schemas.catalog import LocalIds
from schemas.event_types import SOURCES
from schemas.examples import examples
from schemas.wire import encode
from streams.pipeline import Lane
from tests.lanes import Record, batch_of

from .mutate import EDGES, mutated
from .policies import PolicyFiles
from .target import Outcomes

IDS = LocalIds()
_STEPS, _RECORDS, _EVENTS = 4, 100, 2_000
NOW = 1_767_225_600_000


class LaneSteps:
    """A new lane's first steps."""

    name = "steps of a lane"

    def __init__(self, rng: Random) -> None:
        self._policies = PolicyFiles(rng)
        self._sound = {topic: _events(rng, topic) for topic in (f"{source}.events" for source in SOURCES)}

    def run(self, rng: Random) -> Outcomes:
        """Some steps under some policy, each of one batch of a source."""
        policy, told = self._policies.taken(rng), Counter[str]()
        lane = Lane(0, 0, policy=policy, ids=IDS, build="fuzz", window=64)
        for _ in range(_STEPS):
            topic = rng.choice(list(self._sound))
            records = [_record(rng, rng.choice(self._sound[topic])) for _ in range(_RECORDS)]
            counts = lane.step([batch_of(topic, 0, lane.positions.get(topic, 0), records)]).counts
            assert counts.read == _RECORDS == counts.decided + counts.repeats + counts.refused.total(), "not conserved"
            assert counts.written["dead.letters"] == counts.refused.total(), "a dead letter is missing"
            told += Counter({"decided": counts.decided, "repeat": counts.repeats}) + counts.refused
        return told


def _events(rng: Random, topic: str) -> list[Record]:
    """Sound events of some agents, made of the golden examples."""
    made, golden = [], examples(topic)
    for number in range(_EVENTS):
        says = rng.choice(golden).value | {"event_id": f"e{number}", "agent_id": f"a{rng.randrange(20)}"}
        key = f"{says['tenant_id']}/{says['agent_id']}".encode()
        made.append(Record(topic, 0, key, encode(topic, says, IDS)))
    return made


def _record(rng: Random, sound: Record) -> Record:
    """An event at some time, sound or with one of its parts damaged."""
    event = sound._replace(timestamp=NOW + rng.randrange(10**8))
    match rng.randrange(8):
        case 0:
            return event._replace(key=mutated(rng, sound.key or b""))
        case 1:
            return event._replace(timestamp=rng.choice((-1, 1)) * rng.choice(EDGES[:-2]))
        case 2 | 3 | 4 | 5:
            return event._replace(value=mutated(rng, sound.value or b"", most=2))
    return event
