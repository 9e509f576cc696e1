"""k8s/kafka.yaml, made from the table of topics: what a Strimzi cluster must have for the workers.

A KafkaTopic for each live topic and one KafkaUser with the rights of a worker and no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from .topics import GROUP, TOPICS, Role, Topic, configs

PARTITIONS: Final = 12
"""Lanes of a cluster: the most workers that can share the load. Raising it later moves agents to other lanes."""
REPLICAS: Final = 3

_RIGHTS: Final[dict[Role, tuple[str, ...]]] = {
    "source": ("Read", "Describe", "DescribeConfigs"),
    "derived": ("Write", "Describe", "DescribeConfigs"),
    "internal": ("Read", "Write", "Describe", "DescribeConfigs"),
}


def page() -> str:
    """The whole file: several YAML documents."""
    documents = [*(_topic(row) for row in TOPICS), _user()]
    return "# Made by `make docs` from schemas/topics.py; change that, not this.\n" + "---\n".join(documents)


def _head(kind: str, name: str) -> str:
    return (
        f"apiVersion: kafka.strimzi.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\n"
        "  labels:\n    strimzi.io/cluster: kafka\nspec:\n"
    )


def _topic(row: Topic) -> str:
    settings = {**configs(row, live=True), "min.insync.replicas": str(REPLICAS - 1)}
    lines = "".join(f'    {name}: "{value}"\n' for name, value in settings.items())
    return _head("KafkaTopic", row.name) + f"  partitions: {PARTITIONS}\n  replicas: {REPLICAS}\n  config:\n{lines}"


def _user() -> str:
    rights = "".join(_rights())
    return (
        _head("KafkaUser", GROUP)
        + f"  authentication:\n    type: tls\n  authorization:\n    type: simple\n    acls:\n{rights}"
    )


def _rights() -> Iterator[str]:
    for row in TOPICS:
        yield _right("topic", row.name, "literal", _RIGHTS[row.role])
    yield _right("group", GROUP, "literal", ("Read",))
    yield _right("transactionalId", f"{GROUP}.", "prefix", ("Write", "Describe"))


def _right(kind: str, name: str, pattern: str, operations: Iterable[str]) -> str:
    return (
        f'      - resource: {{type: {kind}, name: "{name}", patternType: {pattern}}}\n'
        f"        operations: [{', '.join(operations)}]\n"
    )
