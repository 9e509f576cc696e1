"""docs/topics.md says what the code says."""

from __future__ import annotations

from pathlib import Path

from schemas.docs import page
from schemas.topics import TOPICS

PAGE = Path(__file__).parents[1] / "docs" / "topics.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "make docs writes it anew"


def test_every_topic_has_its_row_and_its_example() -> None:
    text = page()
    for row in TOPICS:
        assert f"| [`{row.name}`](#{row.schema}) | {row.role} |" in text
        assert f"`{row.name}`, " in text
