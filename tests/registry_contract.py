"""What every schema registry does for us, whoever made it: one set of tests for each that we can ask."""

from __future__ import annotations

from connectors.registry import RegisteredIds, Registry, subject
from schemas import wire
from schemas.catalog import FIRST_LOCAL_ID, schema_of
from schemas.examples import examples
from schemas.topics import TOPICS


class RegistryContract:
    """Needs the fixtures `registry` and `prefix`."""

    def test_all_topics_are_registered_and_pools_share_one_id(self, registry: Registry, prefix: str) -> None:
        ids = RegisteredIds(registry, prefix=prefix)
        numbers = ids.register_all()
        assert numbers["priority.urgent"] == numbers["priority.normal"] == numbers["priority.background"]
        assert len(set(numbers.values())) == len({row.schema for row in TOPICS})
        assert ids.register_all() == numbers

    def test_an_id_means_the_schema_that_got_it(self, registry: Registry, prefix: str) -> None:
        for name in ("trust.levels", "agent.state"):
            assert registry.schema(registry.register(subject(name, prefix), schema_of(name))) == schema_of(name)
        assert registry.schema((1 << 31) - 1) is None

    def test_topics_under_a_prefix_have_subjects_of_their_own_and_the_same_ids(
        self, registry: Registry, prefix: str
    ) -> None:
        live, replay = RegisteredIds(registry), RegisteredIds(registry, prefix=prefix)
        assert live.register_all() == replay.register_all()
        assert subject("trust.levels", prefix) == f"{prefix}.trust.levels-value"

    def test_records_bear_the_registry_s_ids_once_registered(self, registry: Registry, prefix: str) -> None:
        ids = RegisteredIds(registry, prefix=prefix)
        value = examples("trust.levels")[0].value
        before = wire.encode("trust.levels", value, ids)
        ids.register_all()
        after = wire.encode("trust.levels", value, ids)
        assert wire.frame_id(before) >= FIRST_LOCAL_ID > wire.frame_id(after)
        assert wire.decode(before, ids)[1] == wire.decode(after, ids)[1] == value

    def test_a_program_that_starts_anew_reads_what_another_registered(self, registry: Registry, prefix: str) -> None:
        writer = RegisteredIds(registry, prefix=prefix)
        writer.register_all()
        framed = wire.encode("audit.log", examples("audit.log")[0].value, writer)
        assert wire.decode(framed, RegisteredIds(registry))[1] == examples("audit.log")[0].value
