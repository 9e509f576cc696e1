"""The chaos driver in its short form: each scenario does its harm once or twice, and the comparison must hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.play import play
from chaos.scenarios import SCENARIOS, Scenario
from connectors.local_kafka import LocalKafka, borrowed_kafka
from connectors.state_folder import state_folder

pytestmark = [pytest.mark.kafka, pytest.mark.usefixtures("warm_kernels")]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """A Kafka that may be killed: nobody else is on it."""
    jars = state_folder() / "maven"
    with borrowed_kafka(tmp_path_factory.mktemp("brokers"), jars) as broker:
        yield LocalKafka(Path(broker.folder), jars, brief=True)


@pytest.mark.parametrize("scenario", [one for one in SCENARIOS if one.short], ids=lambda one: one.name)
async def test_whatever_happens_nothing_is_lost_and_nothing_counted_twice(
    scenario: Scenario, local: LocalKafka, tmp_path: Path
) -> None:
    outcome = await play(local, scenario, scenario.short, 1, tmp_path, print)
    assert outcome.problems == []
    assert outcome.counts["acknowledged"] > 0
    assert (
        outcome.counts["pooled"] + outcome.counts["repeats"] + outcome.counts["dead letters"]
        == outcome.counts["records"]
    )
