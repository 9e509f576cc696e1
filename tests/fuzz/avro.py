"""Values of topics, damaged: decoded in columns by the plans of the real topics and by random ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from schemas.avro_decode import decode, frame_ids
from schemas.avro_plan import Plan, PlanError, compile_plan, layout
from schemas.catalog import schema_of
from schemas.columns import Bytes, Frame, Longs
from schemas.examples import examples
from schemas.reasons import Reason
from schemas.topics import TOPICS
from tests.avro_cases import leaves

from . import random_avro
from .mutate import mutated
from .target import CANARIES, Outcomes, at_the_edge

_ID = 7
_FRAME = b"\0" + _ID.to_bytes(4)
_INPUTS = 16
_VALUES = 40


@dataclass(frozen=True)
class _Case:
    """A plan, and framed values of its writer's schema."""

    plan: Plan
    values: list[bytes]


def _case(rng: Random, writer: Any, reader: Any, more: list[bytes]) -> _Case:
    names = leaves(reader)
    plan = compile_plan(writer, reader, layout(reader, rng.sample(names, rng.randint(0, len(names)))))
    made = [_FRAME + random_avro.value(rng, plan.writer, plan.writer.root) for _ in range(_VALUES)]
    return _Case(plan, made + more)


def _of_topics(rng: Random) -> list[_Case]:
    """Each topic's plan, with its golden examples among the values."""
    found = []
    for row in TOPICS:
        schema = schema_of(row.name)
        golden = [_FRAME + example.framed[len(_FRAME) :] for example in examples(row.name)]
        found += [_case(rng, schema, schema, golden) for _ in range(3)]
    return found


def _of_chance(rng: Random, most: int = 150) -> list[_Case]:
    """Plans of random schemas, half of them read by a later version."""
    found: list[_Case] = []
    while len(found) < most:
        writer = random_avro.record(rng)
        reader = writer if rng.random() < 0.5 else random_avro.later(rng, writer)
        try:
            found.append(_case(rng, writer, reader, []))
        except PlanError:
            continue
    return found


class AvroValues:
    """Values side by side in one buffer, as a fetch brings them."""

    def __init__(self, name: str, cases: list[_Case]) -> None:
        self.name = name
        self._cases = cases

    @classmethod
    def of_topics(cls, rng: Random) -> AvroValues:
        """By the plans of the real topics."""
        return cls("values of the topics", _of_topics(rng))

    @classmethod
    def of_chance(cls, rng: Random) -> AvroValues:
        """By random plans."""
        return cls("values of random schemas", _of_chance(rng))

    def run(self, rng: Random) -> Outcomes:
        """Some values of one schema, decoded between two kinds of neighbours."""
        case = rng.choice(self._cases)
        parts = [mutated(rng, rng.choice(case.values), most=3) for _ in range(_INPUTS)]
        gap = rng.choice((1, 7, 8, 20))
        (frame, error), (other, again) = [
            _decoded(case.plan, parts, canary * gap, blank)
            for canary, blank in zip(CANARIES, (-1, 12_345), strict=True)
        ]
        assert error.tolist() == again.tolist(), "what is refused depends on the neighbours"
        told = error == Reason.OK
        for row in range(case.plan.layout.rows):
            assert (frame.matrix[row, told] == other.matrix[row, told]).all(), "a column depends on the neighbours"
        return Counter(Reason(int(number)).label for number in error)


def _decoded(plan: Plan, parts: list[bytes], canary: bytes, blank: int) -> tuple[Frame, Longs]:
    lengths = np.array([len(part) for part in parts], np.int64)
    starts = len(canary) + np.concatenate(([0], np.cumsum(lengths + len(canary))))[:-1]
    buf = at_the_edge(canary + canary.join(parts))
    frame, error = plan.layout.frame(len(parts), buf), np.zeros(len(parts), np.int64)
    frame.matrix[:] = blank
    ids = frame_ids(buf, starts, lengths, error)
    error[(ids != _ID) & (error == Reason.OK)] = Reason.UNKNOWN_SCHEMA
    decode(plan, buf, starts, lengths, np.flatnonzero(error == Reason.OK), frame, error)
    _check_spans(plan, frame, buf, (starts, lengths), error)
    return frame, error


def _check_spans(plan: Plan, frame: Frame, buf: Bytes, values: tuple[Longs, Longs], error: Longs) -> None:
    """Every text lies in its own value, or behind all of them with what was made here."""
    good = np.flatnonzero(error == Reason.OK)
    starts, ends = values[0][good], (values[0] + values[1])[good]
    for column in plan.layout.columns:
        if column.kind == "span":
            at, size = frame[column.name][good], frame.second(column.name)[good]
            inside = (at >= starts) & (at + size <= ends)
            made = (at >= len(buf)) & (at + size <= len(frame.buf))
            assert ((size == -1) | ((size >= 0) & (inside | made))).all(), f"{column.name} outside its value"
