"""What goes wrong, and how often: one function a scenario, all of them played on a stage under load.

Moments and victims are drawn from the stage's chance, so that a seed repeats what is drawn, though never the machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from agents.app import SESSION_SECONDS
from agents.runtime.producer import TRANSACTION_MS

from . import changelog
from .flatness import Flatness
from .mounted import NOT_ALLOWED, fill
from .stage import Load, Stage

MOUNTED = ("-m", "chaos.mounted")
OUTAGE_SECONDS = TRANSACTION_MS / 1000 + 30


@dataclass(frozen=True, slots=True)
class Scenario:
    """`play` does its harm `times` times; `short` times in the short form, where 0 leaves it out."""

    name: str
    about: str
    play: Callable[[Stage, int], Awaitable[None]]
    times: int
    short: int = 0
    load: Load = field(default_factory=Load)
    workers: int = 2
    registry: bool = False
    """Whether there is a schema registry."""


async def kill_workers(stage: Stage, times: int) -> None:
    """One of two workers dies at any moment: deciding, committing, joining or recovering."""
    for _ in range(times):
        await asyncio.sleep(stage.chance.uniform(0.2, 14))
        await stage.crew.kill(stage.chance.choice(stage.crew.workers))
        await asyncio.sleep(stage.chance.uniform(0, 2))
        await stage.crew.hire()


async def freeze_workers(stage: Stage, times: int) -> None:
    """A worker sleeps past its session: another takes its partitions, and it wakes as a zombie."""
    for _ in range(times):
        await asyncio.sleep(stage.chance.uniform(1, 4))
        victim = stage.chance.choice(stage.crew.workers)
        await stage.crew.freeze(victim, SESSION_SECONDS + stage.chance.uniform(2, 6))
        await asyncio.sleep(stage.chance.uniform(4, 8))


async def restart_broker(stage: Stage, times: int) -> None:
    """The broker is stopped in order and comes back after some seconds."""
    await _without_broker(stage, times, stage.stop_broker, before=(2, 6), away=(0, 5))


async def lose_broker(stage: Stage, times: int) -> None:
    """The broker is away for longer than transactions, sessions and requests wait."""
    await _without_broker(stage, times, stage.stop_broker, before=(3, 8), away=(OUTAGE_SECONDS, OUTAGE_SECONDS))


async def kill_broker(stage: Stage, times: int) -> None:
    """The broker dies and comes back."""
    await _without_broker(stage, times, stage.kill_broker, before=(3, 8), away=(0, 3))


async def _without_broker(
    stage: Stage,
    times: int,
    end: Callable[[], Awaitable[None]],
    *,
    before: tuple[float, float],
    away: tuple[float, float],
) -> None:
    """End the broker and start it again; `before` and `away` are the bounds of the seconds until then and between."""
    for _ in range(times):
        await asyncio.sleep(stage.chance.uniform(*before))
        await end()
        await asyncio.sleep(stage.chance.uniform(*away))
        await stage.start_broker()
    await asyncio.sleep(2)


async def come_and_go(stage: Stage, times: int) -> None:
    """Workers join and leave all the time, one to four of them."""
    for _ in range(times):
        await asyncio.sleep(stage.chance.uniform(1, 6))
        there = stage.crew.workers
        if len(there) == 1 or (len(there) < 4 and stage.chance.random() < 0.5):
            await stage.crew.hire()
            stage.counts["workers joined"] += 1
        else:
            await stage.crew.dismiss(stage.chance.choice(there))


async def compact_changelog(stage: Stage, times: int) -> None:
    """Recover from a changelog that the broker rolls and compacts all the time."""
    await changelog.compact_eagerly(stage)
    for _ in range(times):
        await asyncio.sleep(stage.chance.uniform(5, 10))
        await stage.crew.kill(stage.chance.choice(stage.crew.workers))
        await stage.crew.hire()
    await changelog.until_compacted(stage, 60)
    await stage.crew.kill(stage.crew.workers[0])
    await stage.crew.hire()


async def lose_changelog(stage: Stage, times: int) -> None:
    """The changelog is deleted, cut or damaged: refused with the way back, and the way back leads on."""
    harms = changelog.delete, changelog.truncate, changelog.damage
    for number in range(times):
        await asyncio.sleep(stage.chance.uniform(3, 6))
        await stage.crew.dismiss_all()
        await harms[number % len(harms)](stage)
        await stage.crew.refused("cognistream state rebuild")
        await changelog.rebuild(stage)
        for _ in range(2):
            await stage.crew.hire()
        await stage.crew.ready()


async def evolve(stage: Stage, times: int) -> None:
    """Producers move to other versions of their schema while nobody waits; a worker starts again meanwhile."""
    await asyncio.sleep(times)
    await stage.crew.dismiss(stage.crew.workers[0])
    await stage.crew.hire()
    await asyncio.sleep(times)


async def fill_disk(stage: Stage, times: int) -> None:
    """The state folder cannot be written: refused at start; filled up under a worker: it goes on."""
    folder = str(stage.folder / "disk")
    for options in ("ro", "size=16k,nr_inodes=4"):
        if await stage.crew.refused("cannot be written", (*MOUNTED, options, folder)) == NOT_ALLOWED:
            stage.counts["left out: mounts are not allowed here"] += 1
            return
    worker = await stage.crew.hire((*MOUNTED, "size=256k", folder))
    await stage.crew.ready()
    fill(worker.child.process.pid, folder)
    stage.counts["state folders filled"] += 1
    await stage.crew.kill(stage.crew.workers[0])
    await stage.crew.hire()
    await asyncio.sleep(times)


async def stay_flat(stage: Stage, times: int) -> None:
    """Steady load for `times` seconds; memory, threads and handles of the workers must stay as they are."""
    flatness = Flatness()
    await flatness.watch(stage.crew.workers, times)
    stage.crew.problems.extend(flatness.problems())
    stage.say(flatness.told())


async def steady(_stage: Stage, times: int) -> None:
    """Nothing is done to anybody for `times` seconds: poison and repeats are in the traffic of every scenario."""
    await asyncio.sleep(times)


async def abort_transactions(stage: Stage, times: int) -> None:
    """Producers abort half of their transactions, and some die in one."""
    for _ in range(times):
        await asyncio.sleep(stage.chance.uniform(4, 8))
        await stage.replace_publisher(ABORTING)
    await asyncio.sleep(4)


async def everything(stage: Stage, times: int) -> None:
    """One harm after the other to the same workers."""
    for _ in range(times):
        broker = stage.chance.choice((restart_broker, kill_broker))
        harms = [kill_workers, freeze_workers, broker, come_and_go]
        stage.chance.shuffle(harms)
        for harm in harms:
            stage.say(f"{stage.prefix}: {harm.__name__.replace('_', ' ')}")
            await harm(stage, 1)


ABORTING = Load(rate=1000, aborts=0.5)

SCENARIOS = (
    Scenario("mixed", "one harm after the other", everything, 4, 1, Load(rate=600)),
    Scenario("kill", "SIGKILL of one of two workers", kill_workers, 50),
    Scenario("zombie", "SIGSTOP past the session, then SIGCONT", freeze_workers, 5),
    Scenario("broker", "broker stopped and started", restart_broker, 10),
    Scenario("outage", "broker away for a minute and a half", lose_broker, 1),
    Scenario("broker-kill", "broker SIGKILLed", kill_broker, 3),
    Scenario("rebalance", "workers joining and leaving", come_and_go, 34),
    Scenario("poison", "5 % poison, 2 % repeats, nothing else", steady, 30),
    Scenario("aborts", "producer transactions aborted", abort_transactions, 4, 1, ABORTING),
    Scenario("compaction", "changelog compacted and rolled", compact_changelog, 4),
    Scenario("changelog", "changelog deleted, cut or damaged, and made anew", lose_changelog, 6, load=Load(rate=600)),
    Scenario("schema", "a schema evolved in mid-stream", evolve, 20, 2, Load(rate=800), registry=True),
    Scenario("disk", "state folder read-only or full", fill_disk, 10),
    Scenario("steady", "steady load", stay_flat, 600),
)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
