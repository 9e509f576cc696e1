"""Pages that are made from the code say what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.pages import PAGES, policy, settings
from agents.settings import variables
from schemas.topics import TOPICS
from schemas.topics_page import page as topics
from streams.policy import Policy

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("path", PAGES)
def test_a_committed_page_is_current(path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == PAGES[path](), "make docs writes it anew"


def test_every_topic_has_its_row_and_its_example() -> None:
    text = topics()
    for row in TOPICS:
        assert f"| [`{row.name}`](#{row.schema}) | {row.role} |" in text
        assert f"`{row.name}`, " in text


def test_every_setting_has_its_row_and_no_secret_is_shown() -> None:
    for variable in variables().values():
        assert f"| `{variable}` |" in settings()
    assert "Secret" not in settings()


def test_the_policy_page_names_every_number_and_the_version() -> None:
    assert Policy().version in policy()
    for line in Policy().to_toml().splitlines():
        name, equals, _ = line.partition(" = ")
        if equals and name.isidentifier():
            assert f"| `{name}` |" in policy()
