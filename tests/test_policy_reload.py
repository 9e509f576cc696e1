"""A policy can be changed while a worker decides: a good one from the next step on, one with a mistake not at all."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from agents.deciding import Deciders
from agents.settings import Settings
from streams.pipeline import Lane
from streams.policy import Policy

from .lanes import records_of

OTHER = "[admission]\nmax_unregistered = 7\n"


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    file = tmp_path / "policy.toml"
    file.write_text("")
    return file


def lane_of(deciders: Deciders) -> Lane:
    lane = deciders(0, 1)
    assert isinstance(lane, Lane)
    return lane


def governed_by(lane: Lane) -> str:
    """The policy version that the journal entry of a step names."""
    ((_, _, entry),) = records_of(lane.step([], tick=1_700_000_000_000), "audit.log")
    return str(entry["step"]["policy_version"])


def test_a_new_policy_holds_from_the_next_step_on_and_the_journal_names_it(policy_file: Path) -> None:
    deciders = Deciders(Settings.read(policy_file=policy_file))
    lane = lane_of(deciders)
    assert governed_by(lane) == Policy().version
    policy_file.write_text(OTHER)
    assert governed_by(lane) == Policy().version, "a file that changed is not read before it is asked for"
    deciders.reload()
    assert governed_by(lane) == Policy.load(policy_file).version != Policy().version


def test_a_policy_with_a_mistake_is_refused_by_line_and_field_and_the_old_one_stays(
    policy_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deciders = Deciders(Settings.read(policy_file=policy_file))
    lane = lane_of(deciders)
    policy_file.write_text("[admission]\n\nmax_unregistered = -1\n")
    with caplog.at_level(logging.ERROR):
        deciders.reload()
    assert f"{policy_file}:3: admission.max_unregistered" in caplog.text
    assert governed_by(lane) == Policy().version
