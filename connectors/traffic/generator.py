"""An invented fleet at work: tasks drawn in blocks, told as events, sorted in time.

A block of tasks is drawn at once (who, when, which scenario) and told step by step into events; events that lie
beyond the block's time wait for the next one. All of it is numpy over a block, and a function of the arguments alone:
two generators with the same arguments give the same bytes. Popularity follows Zipf's law with exponent 1.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.columns import Longs

from .characters import DAY_MS, cast, compile_mixes
from .fill import Filler, Told
from .rhythm import Incidents, Rhythm
from .scenarios import NAMES, compile_steps
from .stretch import Fleet, Stretch
from .words import MODELS, invented_fleet

ZIPF = 1.1
TASKS = 4096
"""Tasks drawn at a time: about 17,000 events."""

RISKS = np.cumsum([0.55, 0.30, 0.12])
"""Running shares of low, medium and high risk; the rest is critical."""

_REGISTERED = NAMES.index("registered")


@dataclass(frozen=True, slots=True)
class Tasks:
    """Tasks of a block; arrays of shape (tasks,). `number` is new with every task, `word` a draw for its words."""

    ms: Longs
    agent: Longs
    scenario: Longs
    risk: Longs
    number: Longs
    word: Longs

    def __getitem__(self, chosen: NDArray[np.bool_] | Longs) -> Tasks:
        return Tasks(*(getattr(self, name)[chosen] for name in self.__slots__))


class Generator:
    """Traffic without an end: `agents` invented agents with `tasks_per_day` each on average, from a fixed Monday on."""

    def __init__(self, *, seed: int = 1, agents: int = 1000, tasks_per_day: float = 10.0) -> None:
        self._rng = np.random.default_rng(seed)
        self.fleet: Fleet = invented_fleet(agents)
        self.character: Longs = cast(agents, self._rng)
        self._phase = self._rng.integers(0, 30 * DAY_MS, agents)
        self._model = self._rng.integers(0, len(MODELS), agents)
        shares = np.arange(1, agents + 1) ** -ZIPF
        self._popular = np.cumsum(shares / shares.sum())
        self._per_ms = agents * tasks_per_day / DAY_MS
        self._mixes, self._steps, self._rhythm = compile_mixes(), compile_steps(), Rhythm()
        self._incidents = Incidents.drawn(self._rng, len(MODELS))
        self._filler = Filler(self.fleet, self._steps, self._model, self._rng)
        self._seed = seed

    def stretches(self) -> Iterator[Stretch]:
        """Blocks of events, in time order within each and from one to the next."""
        rng = np.random.default_rng([self._seed, 1])
        seen = ~self._mixes.registers[self.character]
        waiting = Told.none()
        work, number, first = 0.0, 0, 0
        while True:
            span = TASKS / self._per_ms
            tasks, until = self._draw(rng, work, span, number)
            told = Told.join(waiting, self._tell(rng, self._with_registrations(tasks, seen)))
            now, waiting = told.split(until)
            yield self._filler.stretch(rng, first, now)
            work, number, first = work + span, number + 2 * TASKS, first + len(now.ms)

    def _draw(self, rng: np.random.Generator, work: float, span: float, number: int) -> tuple[Tasks, int]:
        """The tasks between `work` and `work` + `span` of work time, and the calendar time of its end."""
        ms = self._rhythm.calendar(work + np.sort(rng.random(TASKS)) * span).astype(np.int64)
        until = int(self._rhythm.calendar(np.array([work + span]))[0])
        agent = np.searchsorted(self._popular, rng.random(TASKS) * self._popular[-1])
        character = self.character[agent]
        apart, silent = self._phases(ms, agent, character)
        scenario = self._mixes.draw(2 * character + apart, rng.random(TASKS))
        hit = self._incidents.hold(ms, self._model[agent]) & (rng.random(TASKS) < 0.7)
        scenario = np.where(hit, self._mixes.worse[scenario], scenario)
        risk = np.searchsorted(RISKS, rng.random(TASKS), side="right")
        tasks = Tasks(ms, agent, scenario, risk, number + np.arange(TASKS), rng.integers(0, 1 << 30, TASKS))
        return tasks[~silent], until

    def _phases(self, ms: Longs, agent: Longs, character: Longs) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether each task's agent is in the first part of its period, and whether it is silent."""
        period = self._mixes.period_ms[character]
        place = (ms + self._phase[agent]) % np.maximum(period, 1)
        apart = (period > 0) & (place < self._mixes.part_ms[character])
        return apart, self._mixes.silent[character] & ~apart

    def _with_registrations(self, tasks: Tasks, seen: NDArray[np.bool_]) -> Tasks:
        """The tasks, before them a registration for each agent met for the first time; marks those as seen."""
        new = np.flatnonzero(~seen[tasks.agent])
        if not len(new):
            return tasks
        first = tasks[new[np.unique(tasks.agent[new], return_index=True)[1]]]
        seen[first.agent] = True
        count = len(first.agent)
        told = Tasks(first.ms, first.agent, np.full(count, _REGISTERED), first.risk, first.number + TASKS, first.word)
        return Tasks(*(np.concatenate([getattr(told, n), getattr(tasks, n)]) for n in Tasks.__slots__))

    def _tell(self, rng: np.random.Generator, tasks: Tasks) -> Told:
        """Every step of every task as an event; waits are exponential around the step's mean."""
        count = self._steps.count[tasks.scenario]
        task = np.repeat(np.arange(len(count)), count)
        ends = np.cumsum(count)
        step = self._steps.first[tasks.scenario][task] + np.arange(len(task)) - (ends - count)[task]
        stretched = rng.standard_exponential(len(task))
        stretched = np.where(self._steps.regular[step], 0.9 + 0.2 * (stretched % 1.0), stretched)
        waits = np.cumsum(stretched * self._steps.wait_ms[step])
        before = np.concatenate([[0.0], waits])[(ends - count)][task]
        ms = tasks.ms[task] + (waits - before).astype(np.int64)
        return Told(ms, tasks.agent[task], step, tasks.risk[task], tasks.number[task], tasks.word[task])
