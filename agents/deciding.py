"""What decides in a worker: a `streams.pipeline.Lane` per partition, by the policy and schemas of the settings."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from agents.runtime.decider import Decider
from agents.settings import Settings
from connectors import metrics
from connectors.registry import RegisteredIds, Registry
from schemas.catalog import LocalIds, SchemaIds
from schemas.columns import ColumnBatch
from streams.pipeline import Effects, Lane
from streams.policy import Policy, PolicyError
from streams.recollection import Recollection

log = logging.getLogger(__name__)


class Deciders:
    """Makes the lanes of a worker; all of them follow one policy, which can be read again while they decide."""

    def __init__(self, settings: Settings) -> None:
        """Raises `PolicyError`, `RegistryRefused` and `RegistryUnreachable`."""
        self._settings = settings
        self._build = f"cognistream-{version('cognistream')}"
        self._ids = ids_of(settings)
        self._follow(policy_of(settings))

    def __call__(self, partition: int, partitions: int) -> Decider:
        """A lane without state. A commit ends before the next step, so that a step may use the memory of the last."""
        made_of = {"policy": self.policy, "ids": self._ids, "build": self._build}
        lane = _Follower(self, partition, partitions, **made_of, breaks=True, reuse=True)
        lane.trace = _measured
        return lane

    def reload(self) -> None:
        """Read the policy again; a mistake is told, with its line and field, and the old policy stays."""
        try:
            read = policy_of(self._settings)
        except PolicyError as error:
            log.error("policy %s stays, because the new one has mistakes: %s", self.policy.version, error)
            return
        log.info("policy %s, after %s, from each lane's next step on", read.version, self.policy.version)
        self._follow(read)

    def _follow(self, policy: Policy) -> None:
        self.policy = policy
        metrics.RUNNING.info({"policy": policy.version, "build": self._build})


class _Follower(Lane):
    """A lane that takes over the worker's policy at the boundary of a step."""

    def __init__(self, leader: Deciders, partition: int, partitions: int, **made_of: Any) -> None:
        super().__init__(partition, partitions, **made_of)
        self._leader = leader

    def recollection(self) -> Recollection:
        """What fills the windows of repeats, once all rows are restored; `StateApart` when rows are missing."""
        return Recollection(self)

    def step(self, batches: Sequence[ColumnBatch], *, tick: int | None = None, policy: Policy | None = None) -> Effects:
        """As `Lane.step`, under the worker's policy of this moment unless another is given."""
        now = policy or self._leader.policy
        return super().step(batches, tick=tick, policy=None if now is self.policy else now)


def policy_of(settings: Settings) -> Policy:
    """The policy file that is named, or the built-in policy."""
    return Policy.load(settings.policy_file) if settings.policy_file else Policy()


def ids_of(settings: Settings) -> SchemaIds:
    """The committed table of schema ids, and behind it the registry if one is named; ours are registered there."""
    if not settings.registry_url:
        return LocalIds()
    ids = RegisteredIds(Registry(settings.registry_url), LocalIds(), prefix=settings.prefix)
    ids.register_all()
    return ids


@contextmanager
def _measured(name: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    metrics.STAGE_SECONDS.labels(name).observe(time.perf_counter() - begun)
