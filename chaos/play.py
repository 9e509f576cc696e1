"""Plays scenarios one after the other on one broker, and tells what came of each."""

from __future__ import annotations

import random
import shutil
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from connectors.admin import TopicAdmin
from connectors.local_kafka import LocalKafka
from schemas.errors import CognistreamError
from tests.registry_server import schema_server

from .scenarios import Scenario
from .stage import Stage


@dataclass(slots=True)
class Outcome:
    """What a scenario showed; `folder` holds the logs and the ledger where something differs."""

    scenario: str
    seconds: float
    counts: dict[str, int]
    problems: list[str]
    folder: str

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not self.problems


async def play(
    kafka: LocalKafka, scenario: Scenario, times: int, seed: int, folder: Path, say: Callable[[str], None]
) -> Outcome:
    """Play one scenario; its topics are removed, and its folder too when everything holds."""
    begun = time.monotonic()
    broker = kafka.start()
    stage = Stage(
        kafka, broker, folder / scenario.name, f"chaos-{scenario.name}-{seed}"[:32],
        random.Random(f"{scenario.name} {seed}"), seed, say,
    )  # fmt: skip
    with schema_server() if scenario.registry else nullcontext() as server:
        stage.registry = server.url if server else ""
        problems = await _problems(stage, scenario, times)
    kafka.start()
    TopicAdmin(stage.settings.confluent(), stage.prefix).remove()
    if not problems:
        shutil.rmtree(stage.folder, ignore_errors=True)
    return Outcome(scenario.name, time.monotonic() - begun, dict(stage.counts), problems, str(stage.folder))


async def _problems(stage: Stage, scenario: Scenario, times: int) -> list[str]:
    try:
        async with stage.open(scenario.load, scenario.workers):
            await scenario.play(stage, times)
            await stage.settle()
            return (await stage.judge()).problems
    except CognistreamError as error:
        return [*stage.crew.problems, str(error)]
    except Exception as error:  # the other scenarios are played all the same
        (stage.folder / "driver.log").write_text(traceback.format_exc())
        return [*stage.crew.problems, f"the driver failed: {type(error).__name__}: {error}"]
