"""The partitions of a worker that a breaker stopped: told to people, and released when one of them says how far."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from aiokafka.errors import KafkaError

from agents.resumes import resumes
from agents.settings import Settings
from schemas.errors import CognistreamError
from streams.breaker import Tripped

from .counting import Counting
from .lane import LaneTask

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0


class Breaks:
    """`why` says of each partition that is held why it is."""

    def __init__(self, settings: Settings, counting: Counting) -> None:
        self._settings, self._counting = settings, counting
        self._held: dict[int, LaneTask] = {}
        self._announced: set[int] = set()
        """Held partitions of which the log tells: not those that an earlier word releases at once."""
        self._task: asyncio.Task[None] | None = None

    @property
    def why(self) -> dict[int, str]:
        """Partition -> why it is held."""
        return {number: _told(number, lane.tripped) for number, lane in self._held.items() if lane.tripped is not None}

    def hold(self, lane: LaneTask) -> None:
        """A breaker has stopped `lane`; it is released as soon as somebody has said, or says, how far."""
        self._held[lane.partition] = lane
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch(), name="breaks")

    def forget(self) -> None:
        """The partitions are no longer ours."""
        for partition in self._held:
            self._counting.paused(partition, "breaker", False)
        self._held.clear()
        self._announced.clear()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _watch(self) -> None:
        while self._held:
            try:
                said = await resumes(self._settings, list(self._held))
            except (CognistreamError, KafkaError) as error:
                log.warning("cannot see whether a stopped partition shall go on: %s", error)
                said = {}
            for partition, lane in list(self._held.items()):
                self._look(partition, lane, said)
            await asyncio.sleep(POLL_SECONDS)

    def _look(self, partition: int, lane: LaneTask, said: Mapping[tuple[str, int], int]) -> None:
        """Release a lane, or say why it is held."""
        for (source, number), until in said.items():
            if number == partition:
                lane.resume(source, until)
        if lane.tripped is None:
            del self._held[partition]
            if partition in self._announced:
                self._announced.remove(partition)
                log.warning("partition %d goes on", partition)
            self._counting.paused(partition, "breaker", False)
        elif partition not in self._announced:
            self._announced.add(partition)
            log.error("%s", _told(partition, lane.tripped))
            self._counting.paused(partition, "breaker", True)


def _told(partition: int, tripped: Tripped) -> str:
    reasons = ", ".join(f"{count} x {reason}" for reason, count in tripped.refused.most_common())
    return (
        f"partition {partition} is paused, the others go on: too many records of {tripped.source} before and from "
        f"offset {tripped.offset} on would be refused ({reasons}), as after a bad deploy. None of them is lost "
        "or decided. Mend the cause; then `cognistream dlq resume "
        f"--source {tripped.source} --partition {partition}` decides them."
    )
