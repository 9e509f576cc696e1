"""From told events to the columns of the three sources: what each event says, field by field.

The step of an event says most of it (type, decision, component); its task says the rest (risk, words, who waits);
durations, token counts and money are drawn with heavy tails. One method a source, one line or two a field.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from schemas.columns import Bytes, Doubles, Frame, Longs

from .scenarios import SEVERITY_DRAWN, Steps
from .stretch import SOURCES, Fleet, Part, Stretch, index_of, layout_of
from .words import (
    ACTIONS,
    CERTIFICATES,
    ERRORS,
    INTENTS,
    KINDS,
    MODELS,
    Table,
    Words,
    hexadecimal,
    scrambled,
)

MONDAY = 1_767_571_200_000
"""Where invented time starts: Monday, 5 January 2026, 00:00 UTC, in ms."""

USERS = 5000
IDS = 32
"""Bytes of fresh ids for each event: 16 of the event, 16 of its task."""

_EMPTY_MAP = b"\x00"
_SECOND_TRY = b"\x02\x0eattempt\x022\x00"
_CREATIONS = np.array([0] * 13 + [1, 1, 2, 2, 3, 4, -1])
_CLASSES = np.array([-1, 0, 1, 1, 2, 2, 2, 3, 3, 4])
_SEVERITIES = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 2])
_DOLLARS_IN, _DOLLARS_OUT = 3e-6, 15e-6
_CRITICAL = 3

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Told:
    """Events before they have columns; arrays of shape (n,). `ms` since the start, `task` a number, `word` a draw."""

    ms: Longs
    agent: Longs
    step: Longs
    risk: Longs
    task: Longs
    word: Longs

    @classmethod
    def none(cls) -> Told:
        """No events."""
        return cls(*(np.empty(0, np.int64) for _ in fields(cls)))

    @classmethod
    def join(cls, first: Told, second: Told) -> Told:
        """The events of both, in time order; equal times keep their order."""
        rows = [np.concatenate([getattr(first, f.name), getattr(second, f.name)]) for f in fields(cls)]
        order = np.argsort(rows[0], kind="stable")
        return cls(*(row[order] for row in rows))

    def split(self, until: int) -> tuple[Told, Told]:
        """The events before `until` and the others; the events must be in time order."""
        at = int(np.searchsorted(self.ms, until))
        return self[slice(at)], self[slice(at, None)]

    def __getitem__(self, chosen: slice | Longs) -> Told:
        return Told(*(getattr(self, f.name)[chosen] for f in fields(self)))


class Filler:
    """Writes the columns of an invented fleet; holds its words and what is constant of each agent and step."""

    def __init__(self, fleet: Fleet, steps: Steps, model: Longs, rng: np.random.Generator) -> None:
        words = Words(fleet)
        self._fleet, self._steps, self._model = fleet, steps, model
        self._creation = rng.choice(_CREATIONS, len(fleet))
        self._class = rng.choice(_CLASSES, len(fleet))
        self._intents, self._actions, self._models = words.table(INTENTS), words.table(ACTIONS), words.table(MODELS)
        self._kinds, self._errors = words.table(KINDS), words.table(ERRORS)
        self._certificates = words.table(CERTIFICATES)
        self._users = words.table([f"u-{int(n):016x}" for n in scrambled(np.arange(1, USERS + 1, dtype=np.uint64))])
        self._maps = words.table([_EMPTY_MAP, _SECOND_TRY])
        self._component = _by_step(words, steps.component)
        self._signal = _by_step(words, steps.kind)
        self._bank = words.bank()
        self._kaizen = {name: index_of(SOURCES[0], "event_type", name) for name in _KAIZEN}
        self._anchor = {name: index_of(SOURCES[1], "event_type", name) for name in _ANCHOR}
        self._aurais = {name: index_of(SOURCES[2], "event_type", name) for name in _AURAIS}

    def stretch(self, rng: np.random.Generator, first: int, told: Told) -> Stretch:
        """The columns of `told`, whose first event is number `first` of the traffic."""
        n = len(told.ms)
        ids = np.stack([np.arange(first, first + n), told.task + (1 << 62)], axis=1).astype(np.uint64)
        aux = hexadecimal(scrambled(ids.reshape(-1)))
        source = self._steps.source[told.step]
        fill = (self._fill_kaizen, self._fill_anchor, self._fill_aurais)
        parts = []
        for number, topic in enumerate(SOURCES):
            place = np.flatnonzero(source == number)
            part = self._part(rng, topic, told[place], place, aux)
            fill[number](rng, part.frame, told[place])
            parts.append(part)
        return Stretch(first, n, tuple(parts))

    def _part(self, rng: np.random.Generator, topic: str, told: Told, place: Longs, aux: Bytes) -> Part:
        """A part with the fields that all sources share."""
        frame = layout_of(topic).frame(len(place), self._bank, aux)
        ts = MONDAY + told.ms
        _put_text(frame, "event_id", place * IDS, 16)
        _put_text(frame, "correlation_id", place * IDS + 16, 16)
        start, tenant = self._fleet.start[told.agent], self._fleet.tenant[told.agent]
        _put_text(frame, "tenant_id", start, tenant)
        _put_text(frame, "agent_id", start + tenant + 1, self._fleet.length[told.agent] - tenant - 1)
        frame["event_type"][:] = self._steps.event[told.step]
        frame["occurred_at"][:] = ts - rng.integers(0, 50, len(place))
        self._maps.put(frame, "attributes", np.zeros(len(place), np.int64))
        return Part(topic, frame, ts, told.agent, place)

    def _fill_kaizen(self, rng: np.random.Generator, frame: Frame, told: Told) -> None:
        event, n, steps = frame["event_type"], frame.n, self._steps
        intent, failed = event == self._kaizen["intent.declared"], event == self._kaizen["execution.failed"]
        ended = failed | (event == self._kaizen["execution.completed"])
        self._intents.put(frame, "intent", np.where(intent, told.word % len(INTENTS), -1))
        self._actions.put(frame, "action", told.risk * 3 + told.word % 3)
        _put_choice(frame, "risk", told.risk)
        _put_choice(frame, "decision", steps.decision[told.step])
        self._component.put(frame, "component", told.step)
        self._models.put(frame, "model", self._model[told.agent])
        self._put_work(rng, frame, ended)
        frame["user_facing"][:] = steps.asked[told.step]
        security = event >= self._kaizen["security.violation"]
        frame["security_relevant"][:] = security | (told.risk == _CRITICAL)
        money = intent & (told.risk >= _CRITICAL - 1) & (told.word % 10 < 3)
        _put_doubles(frame, "revenue_usd", money, np.round(rng.lognormal(7.5, 2.0, int(money.sum())), 2))
        severity = steps.severity[told.step]
        _put_choice(frame, "severity", np.where(severity == SEVERITY_DRAWN, rng.choice(_SEVERITIES, n), severity))
        self._errors.put(frame, "error", np.where(failed, told.word % len(ERRORS), -1))
        self._maps.put(frame, "attributes", (failed & (told.word % 4 == 0)).astype(np.int64))

    @staticmethod
    def _put_work(rng: np.random.Generator, frame: Frame, ended: Flags) -> None:
        """Duration, tokens and cost of what ended."""
        m = int(ended.sum())
        tokens_in = np.ceil(rng.lognormal(6.5, 1.0, m)).astype(np.int64)
        tokens_out = np.ceil(rng.lognormal(4.8, 0.9, m)).astype(np.int64)
        _put_doubles(frame, "duration_ms", ended, np.round(tokens_out * 25.0 + rng.exponential(400.0, m), 1))
        _put_some(frame, "tokens_in", ended, tokens_in)
        _put_some(frame, "tokens_out", ended, tokens_out)
        _put_doubles(frame, "cost_usd", ended, tokens_in * _DOLLARS_IN + tokens_out * _DOLLARS_OUT)

    def _fill_anchor(self, _rng: np.random.Generator, frame: Frame, told: Told) -> None:
        event = frame["event_type"]
        registered = event == self._anchor["agent.registered"]
        watched = registered | (event == self._anchor["observability.changed"])
        certificate = (event == self._anchor["certification.granted"]) | (
            event == self._anchor["certification.expired"]
        )
        _put_choice(frame, "creation", np.where(registered, self._creation[told.agent], -1))
        _put_choice(frame, "observability", np.where(watched, self._class[told.agent], -1))
        self._signal.put(frame, "signal_kind", told.step)
        weight = self._steps.weight[told.step]
        told_weight = ~np.isnan(weight)
        _put_doubles(frame, "signal_weight", told_weight, weight[told_weight])
        self._certificates.put(frame, "certification", np.where(certificate, told.word % len(CERTIFICATES), -1))

    def _fill_aurais(self, rng: np.random.Generator, frame: Frame, told: Told) -> None:
        event, n = frame["event_type"], frame.n
        request = event == self._aurais["request.submitted"]
        self._users.put(frame, "user", told.word % USERS)
        frame["session"][:] = frame["correlation_id"]
        frame.second("session")[:] = frame.second("correlation_id")
        _put_choice(frame, "rating", self._steps.rating[told.step])
        self._kinds.put(frame, "request_kind", np.where(request, told.word % len(KINDS), -1))
        _put_choice(frame, "required_tier", np.where(request, told.risk + 1, -1))
        _put_choice(frame, "prefer", np.where(request, rng.integers(-1, 2, n), -1))
        _put_doubles(frame, "budget_usd", request, np.round(rng.exponential(0.5, int(request.sum())), 2))
        _put_choice(frame, "escalation", self._steps.escalation[told.step])


_KAIZEN = ("intent.declared", "execution.completed", "execution.failed", "security.violation")
_ANCHOR = ("agent.registered", "observability.changed", "certification.granted", "certification.expired")
_AURAIS = ("request.submitted",)


def _by_step(words: Words, texts: tuple[str | None, ...]) -> Table:
    """A table with one entry a step; null where the step has no text."""
    table = words.table([text or "" for text in texts])
    table.length[:-1][[text is None for text in texts]] = -1
    return table


def _put_text(frame: Frame, name: str, start: Longs, length: Longs | int) -> None:
    frame[name][:] = start
    frame.second(name)[:] = length


def _put_choice(frame: Frame, name: str, index: Longs) -> None:
    """A nullable number; -1 is null."""
    frame[name][:] = np.maximum(index, 0)
    frame.second(name)[:] = index >= 0


def _put_some(frame: Frame, name: str, where: Flags, values: Longs) -> None:
    """A nullable number with `values` where `where` holds, null elsewhere."""
    frame[name][:] = 0
    frame[name][where] = values
    frame.second(name)[:] = where


def _put_doubles(frame: Frame, name: str, where: Flags, values: Doubles) -> None:
    _put_some(frame, name, where, values.view(np.int64))
