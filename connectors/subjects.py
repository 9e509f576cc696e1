"""How the schemas of our topics stand in a registry, and how they get there.

A subject has level FULL_TRANSITIVE before it has its first schema: consumers and producers of any age then understand
each other, in whichever order they are deployed, and records of any age stay readable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from connectors.registry import Registry, RegistryRefused, Version, subject
from connectors.schema_changes import Change, changes, refusals
from schemas.catalog import LocalIds, Schema, local_table, schema_named, schema_of
from schemas.topics import TOPICS, Topic, topic

LEVEL: Final = "FULL_TRANSITIVE"

State = Literal["newest", "older", "absent"]


@dataclass(frozen=True, slots=True)
class Standing:
    """A topic's subject: the version that is our schema, its newest version, and the level that holds."""

    topic: Topic
    subject: str
    ours: Version | None
    latest: Version | None
    level: str

    @property
    def state(self) -> State:
        """Whether ours is the newest version, an older one, or none."""
        if self.ours is None or self.latest is None:
            return "absent"
        return "newest" if self.ours.number == self.latest.number else "older"


@dataclass(frozen=True, slots=True)
class Registered:
    """What `register` did: the id of our schema, and whether it was new there."""

    topic: Topic
    subject: str
    schema_id: int
    added: bool


def rows(names: Sequence[str] | None) -> list[Topic]:
    """The topics of these names, all when None; TopicError for one that there is not."""
    return list(TOPICS) if names is None else [topic(name) for name in names]


class Subjects:
    """The subjects of the topics under `prefix` in a registry.

    All methods raise RegistryUnreachable without a clear answer.
    """

    def __init__(self, registry: Registry, prefix: str = "") -> None:
        self.registry = registry
        self._prefix = prefix

    def standing(self, row: Topic) -> Standing:
        """How the schema of a topic stands."""
        name = subject(row.name, self._prefix)
        ours = self.registry.registered(name, schema_of(row.name))
        return Standing(row, name, ours, self.registry.latest(name), self.registry.level(name))

    def register(self, row: Topic) -> Registered:
        """Register ours unless it is there, at level FULL_TRANSITIVE; RegistryRefused when it contradicts others."""
        before = self.standing(row)
        if before.level != LEVEL:
            self.registry.set_level(before.subject, LEVEL)
        number = self.registry.register(before.subject, schema_of(row.name))
        return Registered(row, before.subject, number, before.ours is None)

    def register_all(self, wanted: Sequence[Topic]) -> list[Registered]:
        """Register several, all or none: RegistryRefused names every reason, and nothing was changed then."""
        refused = [f"{row.name}: {reason}" for row in wanted for reason in self.refusals(row)]
        if refused:
            told = "; ".join(refused)
            raise RegistryRefused(
                f"nothing was registered, for {self.registry.url} has other schemas: {told}. "
                "`cognistream schemas diff` shows the fields"
            )
        return [self.register(row) for row in wanted]

    def changes(self, row: Topic) -> list[Change] | None:
        """What is new in ours beside the registry's newest version; None when it has none that is Avro."""
        latest = self.registry.latest(subject(row.name, self._prefix))
        return None if latest is None or latest.schema is None else changes(latest.schema, schema_of(row.name))

    def refusals(self, row: Topic) -> list[str]:
        """Why ours would be refused: held against every version in the registry, and the registry's own word."""
        name, ours = subject(row.name, self._prefix), schema_of(row.name)
        if self.registry.registered(name, ours) is not None:
            return []
        return [reason for version in self.registry.versions(name) for reason in self._against(version, name, ours)]

    def _against(self, version: Version, name: str, ours: Schema) -> Iterator[str]:
        called = f"version {version.number}"
        reasons = [f"{called} is not Avro"] if version.schema is None else refusals(version.schema, ours, called)
        if not reasons and not self.registry.takes(name, version.number, ours):
            reasons = [f"the registry says that it does not fit {called}"]
        yield from reasons


def released(stem: str) -> list[tuple[str, Schema]]:
    """All texts that an Avro file ever had, by the names of the table of ids, oldest first; the last is the current."""
    found = [name for name in local_table().values() if name == stem or name.startswith(f"{stem}.v")]
    return [(name, schema_named(name)) for name in sorted(found, key=lambda name: (name == stem, len(name), name))]


def released_refusals(row: Topic) -> list[str]:
    """Why the schema of a topic contradicts what was released before it."""
    *older, (_, current) = released(row.schema)
    return [reason for name, schema in older for reason in refusals(schema, current, f"{name}.avsc")]


def local_id(row: Topic) -> int:
    """The id of a topic's schema where there is no registry."""
    return LocalIds().id_of(row.name)
