"""Reads partitions back and checks their journal: the proof that a cluster holds, asked for by a person or a test.

A partition is held in memory while `streams.verify` goes through it; partitions are checked one after the other.
"""

from __future__ import annotations

from agents.column_reader import column_reader
from agents.settings import Settings
from schemas.catalog import SchemaIds
from schemas.topics import TOPICS
from streams.verify import Report, verify

READ = tuple(
    topic.name for topic in TOPICS if topic.role == "source" or (topic.role == "derived" and not topic.compacted)
)
"""What the journal's hashes speak of: sources and derived topics, compacted ones left out."""


async def check(settings: Settings, partition: int, ids: SchemaIds) -> Report:
    """Check the journal of `partition` against all that its topics hold now."""
    async with column_reader(settings) as reader:
        found = await reader.held(READ, partition)
    return verify(found, ids)
