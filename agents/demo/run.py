"""A demo from its first topic to its last record: starts the processes, watches, drains, and draws up the report.

1. Topics are made under the prefix, and a reader is put before the first record.
2. The worker is started and owns its partitions before anything is published.
3. The publisher sends until the time is over, the trace has ended, or somebody interrupts.
4. What was published is waited for. Then the worker is stopped, so that nothing can be added,
5. and the rest is read: only now the account is closed.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from agents.settings import Settings
from connectors.admin import TopicAdmin
from schemas.errors import CognistreamError

from .observer import Observer
from .plan import Plan
from .processes import Child, ProcessFailed, free_port, until_ready
from .publisher import Orders, Told
from .pulse import Pulse, Rates
from .report import Account, Latency, Report

LOOK_EVERY = 0.25
"""Seconds between two looks at the figures."""
PATIENCE = 30.0
"""Seconds without any progress after which what has not come out is called lost."""
PREPARED_WITHIN = 300.0
"""Seconds that the publisher may take to read or invent its fleet."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WORKER = ("-m", "agents.cli", "worker")
PUBLISHER = ("-m", "agents.demo.publisher")


class PrefixTaken(CognistreamError):
    """A prefix whose topics are not the demo's own."""


class Face(Protocol):
    """Who shows a demo to a person."""

    def say(self, text: str) -> None:
        """One thing that happened."""

    def show(self, pulse: Pulse) -> None:
        """How it stands; called four times a second."""


@dataclass(slots=True)
class Demo:
    """One demo on the cluster and prefix of `settings`."""

    plan: Plan
    settings: Settings
    face: Face
    kafka_version: str
    logs: Path
    told: Told = field(default_factory=Told)
    made_topics: bool = False
    interrupted: bool = False
    problem: str = ""
    _rates: Rates = field(default_factory=Rates)
    _phase: str = "starting"
    _publisher: Child | None = None

    async def run(self) -> Report:
        """The whole demo. Raises a CognistreamError when it could not even begin; later problems are in the report.

        A signal ends it early, but well; one before anything is published, or a second one, cancels it.
        """
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None  # noqa: S101  a coroutine runs in one
        for number in SIGNALS:
            loop.add_signal_handler(number, self._interrupt, task)
        try:
            return await self._run(time.monotonic())
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)

    async def _run(self, started: float) -> Report:
        await asyncio.to_thread(self._make_topics)
        observer = Observer(self.settings, self.plan.partitions)
        await observer.start()
        try:
            worker, publisher = await self._start()
            try:
                await self._watch(observer, worker, publisher)
            finally:
                await publisher.stop()
                self.face.say("stopping the worker")
                await worker.stop()
            return await self._account(observer, worker, started)
        finally:
            await observer.stop()

    def _make_topics(self) -> None:
        """Fresh ones: an account begins with nothing, and what the demo removes afterwards must be its own."""
        prefix = self.settings.prefix
        admin = TopicAdmin(self.settings.confluent(), prefix)
        if not prefix or admin.describe():
            raise PrefixTaken(f"there are topics under the prefix {prefix!r} already: give --prefix a new name")
        admin.create(partitions=self.plan.partitions)
        self.made_topics = True

    async def _start(self) -> tuple[Child, Child]:
        """The worker, ready, and the publisher, sending."""
        self.face.say("starting the worker")
        port = free_port()
        worker = await Child.start("worker", WORKER, self._environment(port), self.logs / "worker.log")
        try:
            await until_ready(worker, port)
            publisher = await Child.start(
                "publisher", PUBLISHER, self._environment(0), self.logs / "publisher.log", piped=True
            )
        except BaseException:
            await worker.stop()
            raise
        orders = Orders(plan=self.plan, bootstrap=self.settings.bootstrap_servers, prefix=self.settings.prefix)
        assert publisher.process.stdin is not None  # noqa: S101  it is piped
        publisher.process.stdin.write(orders.model_dump_json().encode())
        publisher.process.stdin.close()
        self._publisher = publisher
        return worker, publisher

    def _environment(self, port: int) -> Mapping[str, str]:
        return {
            "BOOTSTRAP_SERVERS": self.settings.bootstrap_servers,
            "COGNISTREAM_PREFIX": self.settings.prefix,
            "COGNISTREAM_STATE": str(self.settings.state),
            "COGNISTREAM_PORT": str(port),
        }

    # ------------------------------------------------------------------ while it runs

    async def _watch(self, observer: Observer, worker: Child, publisher: Child) -> None:
        """Until everything published has come out, or cannot any more."""
        watching = asyncio.create_task(observer.watch())
        listening = asyncio.create_task(self._listen(publisher))
        looking = asyncio.create_task(self._look(observer, worker))
        drained = asyncio.create_task(self._drained(observer, worker, listening))
        try:
            await asyncio.wait([watching, drained, looking], return_when=asyncio.FIRST_COMPLETED)
            for task in (watching, looking, drained):
                if task.done():
                    task.result()
        except CognistreamError as error:
            self.problem = str(error)
        finally:
            for task in (watching, listening, looking, drained):
                task.cancel()
            await asyncio.gather(watching, listening, looking, drained, return_exceptions=True)

    def _interrupt(self, task: asyncio.Task[Any]) -> None:
        """Publish no more, then decide what was published; the second time leave at once."""
        if self.interrupted or self._publisher is None:
            task.cancel()
            return
        self.interrupted = True
        self.face.say("interrupted: deciding what was published (again: leave at once)")
        if self._publisher.running:
            self._publisher.process.send_signal(signal.SIGTERM)

    async def _listen(self, publisher: Child) -> None:
        """Follow what the publisher says until it ends."""
        assert publisher.process.stdout is not None  # noqa: S101  it is piped
        self._phase = "preparing the traffic"
        while line := await self._line(publisher, publisher.process.stdout):
            self.told = Told(**json.loads(line))
            self._phase = "publishing"
        await publisher.process.wait()
        self._phase = "draining"
        if self.told.error:
            raise ProcessFailed(self.told.error)
        if not self.told.done:
            raise publisher.failure()

    async def _line(self, publisher: Child, said: asyncio.StreamReader) -> bytes:
        """The publisher's next word; it says something four times a second once the traffic is prepared."""
        try:
            async with asyncio.timeout(PATIENCE if self.told.published else PREPARED_WITHIN):
                return await said.readline()
        except TimeoutError:
            raise ProcessFailed(f"the publisher says nothing any more (log: {publisher.log})") from None

    async def _look(self, observer: Observer, worker: Child) -> None:
        """Show how it stands, again and again; raises when the worker ended."""
        while True:
            self.face.show(self._pulse(observer, worker))
            if not worker.running:
                raise worker.failure()
            await asyncio.sleep(LOOK_EVERY)

    def _pulse(self, observer: Observer, worker: Child) -> Pulse:
        worker.measure()
        now, seen = time.monotonic(), observer.observations
        rates = self._rates.look(now, self.told.published, seen.decided)
        elapsed = (time.time_ns() - self.told.began_ns) / 1e9 if self.told.began_ns else 0.0
        return Pulse(elapsed, self._phase, self.told, seen, *rates, worker.peak_mb)

    async def _drained(self, observer: Observer, worker: Child, listening: asyncio.Task[None]) -> None:
        """Until the publisher has ended and all it sent has come out, or nothing comes out any more."""
        await listening
        tally, since, last = observer.observations.tally, time.monotonic(), -1
        while tally.marked < self.told.published and worker.running and not self.problem:
            if tally.marked != last:
                last, since = tally.marked, time.monotonic()
            if time.monotonic() - since > PATIENCE:
                self.problem = f"nothing came out for {PATIENCE:.0f} s (log: {worker.log})"
            await asyncio.sleep(0.02)
        self.face.show(self._pulse(observer, worker))

    # ------------------------------------------------------------------ when it is over

    async def _account(self, observer: Observer, worker: Child, started: float) -> Report:
        await observer.catch_up()
        ends = await observer.source_ends()
        seen = observer.observations
        found = seen.tally.conservation(ends)
        span = (seen.last_ns - self.told.began_ns) / 1e9
        return Report(
            events_published=found.published,
            events_decided=seen.decided,
            repeats=seen.repeats,
            duplicates=found.twice,
            dead_letters=seen.written["dead.letters"],
            dead_letters_by_reason=dict(seen.reasons),
            records_out=dict(seen.written),
            conservation=Account.of(found),
            throughput_per_s=round(seen.decided / span, 1) if span > 0 else 0.0,
            latency_ms=Latency.of(seen.latencies_ms),
            lag_end=found.lost,
            wall_s=round(time.monotonic() - started, 3),
            published_s=self.told.seconds,
            worker_rss_mb=round(worker.peak_mb, 1),
            agents=self.told.agents,
            tiers=seen.tiers(self.told.agents),
            limits=dict(seen.limits),
            kafka_version=self.kafka_version,
            policy_version=seen.policy_version,
            source=self.plan.source,
            seed=self.plan.seed,
            prefix=self.settings.prefix,
            interrupted=self.interrupted,
            problem=self.problem or self._surprise(seen.repeats, dict(seen.reasons)),
        )

    def _surprise(self, repeats: int, reasons: Mapping[str, int]) -> str:
        """What the publisher did on purpose and did not come out as such; empty when all did."""
        if not self.told.done:
            return ""
        if repeats != self.told.repeats:
            return f"{self.told.repeats:,} repeats were sent, {repeats:,} were recognised"
        if reasons != self.told.poison:
            return f"damaged records sent: {self.told.poison}, refused: {dict(reasons)}"
        return ""
