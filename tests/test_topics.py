"""The table of topics: names, prefixes, and the broker settings that follow from it."""

from __future__ import annotations

import pytest

from schemas.event_types import SOURCES
from schemas.topics import SOURCE_TOPICS, TOPICS, UNBOUNDED, Topic, TopicError, bare_name, configs, full_name, topic

any_topic = pytest.mark.parametrize("row", TOPICS, ids=lambda row: row.name)
any_source = pytest.mark.parametrize("row", SOURCE_TOPICS, ids=lambda row: row.name)


def test_sources_stand_in_the_order_of_their_numbers() -> None:
    assert [row.name for row in SOURCE_TOPICS] == [f"{source}.events" for source in SOURCES]


def test_names_are_unique_and_the_state_stands_last() -> None:
    names = [row.name for row in TOPICS]
    assert len(set(names)) == len(names)
    assert names[-1] == "agent.state"


def test_an_unknown_topic_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(TopicError, match=r"no topic 'trust\.level'; choose one of kaizen\.events, "):
        topic("trust.level")


@any_topic
def test_a_prefix_stands_before_the_name_and_comes_off_again(row: Topic) -> None:
    assert full_name("", row.name) == bare_name("", row.name) == row.name
    assert full_name("demo-1", row.name) == f"demo-1.{row.name}"
    assert bare_name("demo-1", f"demo-1.{row.name}") == row.name


@pytest.mark.parametrize("prefix", ["ab", "a" * 33, "Demo", "demo.", "de mo", "démo"])
def test_impossible_prefixes_are_refused(prefix: str) -> None:
    with pytest.raises(TopicError, match="prefix"):
        full_name(prefix, "audit.log")


def test_a_name_outside_the_prefix_is_refused() -> None:
    with pytest.raises(TopicError, match="not under the prefix 'demo'"):
        bare_name("demo", "demo-1.audit.log")


@any_source
def test_live_sources_bound_the_timestamps_that_producers_may_claim(row: Topic) -> None:
    settings = configs(row, live=True)
    assert settings["message.timestamp.after.max.ms"] == "60000"
    assert settings["message.timestamp.before.max.ms"] == str(7 * 86_400_000)
    assert settings["message.timestamp.type"] == "CreateTime"


@any_topic
def test_under_a_prefix_time_decides_nothing(row: Topic) -> None:
    settings = configs(row, live=False)
    assert settings["message.timestamp.after.max.ms"] == UNBOUNDED
    assert settings["message.timestamp.before.max.ms"] == UNBOUNDED
    assert settings.get("retention.ms", "-1") == "-1"


@any_topic
def test_no_live_output_is_refused_for_its_time(row: Topic) -> None:
    if row.role != "source":
        assert configs(row, live=True)["message.timestamp.after.max.ms"] == UNBOUNDED


@any_topic
def test_a_topic_is_either_compacted_or_expires(row: Topic) -> None:
    settings = configs(row, live=True)
    assert settings["cleanup.policy"] == ("compact" if row.compacted else "delete")
    assert ("retention.ms" in settings) != row.compacted


@any_source
def test_the_journal_outlives_what_it_tells_of(row: Topic) -> None:
    journal = topic("audit.log")
    assert journal.retention_ms is not None
    assert row.retention_ms is not None
    assert journal.retention_ms >= row.retention_ms
    assert "retention.bytes" not in configs(journal, live=False)


@any_source
def test_a_dead_letter_has_room_for_a_whole_source_batch(row: Topic) -> None:
    assert topic("dead.letters").max_message_bytes >= row.max_message_bytes + 64 * 1024


def test_the_state_compacts_early() -> None:
    settings = configs(topic("agent.state"), live=True)
    assert settings["segment.bytes"] == str(64 << 20)
    assert settings["min.cleanable.dirty.ratio"] == "0.1"
    assert settings["max.compaction.lag.ms"] == "600000"
    assert settings["max.message.bytes"] == str(8 << 20)
