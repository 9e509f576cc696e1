"""What decides in a worker: a `streams.pipeline.Lane` per partition, by the policy and schemas of the settings."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from agents.runtime.decider import Decider, DeciderFactory
from agents.settings import Settings
from connectors import metrics
from connectors.registry import RegisteredIds, Registry
from schemas.catalog import LocalIds, SchemaIds
from streams.pipeline import Lane
from streams.policy import Policy


def deciders(settings: Settings) -> DeciderFactory:
    """A factory of lanes. Raises `PolicyError`, `RegistryRefused` and `RegistryUnreachable`."""
    policy, ids = policy_of(settings), ids_of(settings)
    build = f"cognistream-{version('cognistream')}"
    metrics.RUNNING.info({"policy": policy.version, "build": build})

    def make(partition: int, partitions: int) -> Decider:
        lane = Lane(partition, partitions, policy=policy, ids=ids, build=build)
        lane.trace = _measured
        return lane

    return make


def policy_of(settings: Settings) -> Policy:
    """The policy file that is named, or the built-in policy."""
    return Policy.load(settings.policy_file) if settings.policy_file else Policy()


def ids_of(settings: Settings) -> SchemaIds:
    """The committed table of schema ids, and behind it the registry if one is named; ours are registered there."""
    if not settings.registry_url:
        return LocalIds()
    ids = RegisteredIds(Registry(settings.registry_url), LocalIds())
    ids.register_all()
    return ids


@contextmanager
def _measured(name: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    metrics.STAGE_SECONDS.labels(name).observe(time.perf_counter() - begun)
