"""Records of our own topics, damaged: the state that a lane recovers from, the journal, and single values as people
look at them.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from schemas.catalog import LocalIds
from schemas.columns import ColumnBatch
from schemas.errors import FormatError
from schemas.examples import Example, examples
from schemas.topics import TOPICS
from schemas.wire import WireError, decode
from streams.journal import JOURNAL, entries, left_out
from streams.pipeline import Lane
from streams.policy import Policy
from streams.state_codec import STATE, StateCodec
from streams.table import StateTable
from tests.lanes import Record, batch_of

from .mutate import mutated
from .target import Outcomes

IDS = LocalIds()
EVENTS = "kaizen.events"
NOW = 1_767_225_600_000


def _harmed(rng: Random, example: Example) -> tuple[bytes | None, bytes]:
    """Key and value of an example, one of them damaged."""
    if example.key is None or rng.randrange(5):
        return example.key, mutated(rng, example.framed, most=3)
    return mutated(rng, example.key), example.framed


class StateRecords:
    """Records of `agent.state`: a whole row, or a refusal that names partition and offset."""

    name = "state rows"

    def __init__(self, _rng: Random) -> None:
        self._examples = examples(STATE)
        self._codec = StateCodec(IDS)
        self._events = examples(EVENTS)
        self._policy = Policy()

    def run(self, rng: Random) -> Outcomes:
        """One damaged record behind a sound one."""
        sound = rng.choice(self._examples)
        pairs = [(sound.key, sound.framed), _harmed(rng, rng.choice(self._examples))]
        batch = batch_of(STATE, 3, 70, [Record(STATE, 1, *pair) for pair in pairs])
        try:
            self._codec.read(batch, StateTable(room=2))
            if not rng.randrange(20):
                self._go_on(batch)
        except FormatError as error:
            refusal = str(error)
        else:
            return Counter({"read": 1})
        assert f"{STATE}[3]" in refusal, "a refusal that does not say where"
        return Counter({"refused": 1})

    def _go_on(self, batch: ColumnBatch) -> None:
        """What a lane has taken it can decide on."""
        lane = Lane(3, 0, policy=self._policy, ids=IDS, build="fuzz", window=64)
        lane.restore(batch)
        records = [Record(EVENTS, NOW, event.key, event.framed) for event in self._events]
        lane.step([batch_of(EVENTS, 3, lane.positions.get(EVENTS, 0), records)])


class JournalRecords:
    """Records of `audit.log`, as a check, a replay and a recovery read them."""

    name = "journal entries"

    def __init__(self, _rng: Random) -> None:
        self._examples = examples(JOURNAL)

    def run(self, rng: Random) -> Outcomes:
        """One damaged record."""
        pair = _harmed(rng, rng.choice(self._examples))
        try:
            found = list(entries([batch_of(JOURNAL, 3, 70, [Record(JOURNAL, 1, *pair)])], IDS))
            left_out(found, "kaizen")
        except FormatError:
            return Counter({"refused": 1})
        return Counter({"read": 1})


class SingleValues:
    """Values of any topic, one by one, as `tail` and `dlq show` decode them."""

    name = "single values"

    def __init__(self, _rng: Random) -> None:
        self._framed = [example.framed for row in TOPICS for example in examples(row.name)]

    def run(self, rng: Random) -> Outcomes:
        """One damaged value."""
        try:
            decode(mutated(rng, rng.choice(self._framed), most=3), IDS)
        except WireError as error:
            return Counter({error.reason.label: 1})
        return Counter({"read": 1})
